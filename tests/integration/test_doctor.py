"""`doctor`: everything that could stop a recovery tomorrow, each with the remedy."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest

from edurise_backup import operations
from edurise_backup.catalog.readiness import Standing
from edurise_backup.catalog.signs import write_sign
from edurise_backup.config import Settings
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.jobs import JobId, JobStatus
from edurise_backup.model.maintenance import CheckFigures, MaintenanceFigures, MaintenanceJob, MaintenanceKind
from edurise_backup.operations.doctor import examine
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.readiness import judge_proof, judge_schedules, secret_files
from tests.support import planted
from tests.support.catalog import Product, opened, run

NOW = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
DAY = timedelta(days=1)


def worst(findings: list[Finding], subject: str) -> list[str]:
    """Return what is wrong with a subject; every bad finding has a remedy."""
    bad = [one for one in findings if one.level is not Level.FINE]
    assert all(one.remedy for one in bad), bad
    return [one.message for one in bad if one.subject == subject]


def test_a_product_that_is_looked_after_has_no_fault_and_a_new_one_says_what_to_do(files_product: Product) -> None:
    before = examine(files_product.settings)
    assert any("there is no good backup of full set" in text for text in worst(before, "alarms"))
    assert worst(before, "export") == ["no export of the catalog is in the repository"]
    assert worst(before, "proof") == ["no check has looked at the repository yet"]
    assert worst(before, "watch") == ["the watch has never run: nobody looks"]
    assert "nothing is backed up by itself" in worst(before, "schedules")[0]
    assert {one.level for one in before} >= {Level.FAULT, Level.WARNING}

    operations.create_backup(settings=files_product.settings)
    operations.verify_backup("latest", settings=files_product.settings)
    operations.check_repository(settings=files_product.settings, read_data=True)
    with opened(files_product) as catalog:
        write_sign(catalog.sessions, "watch", datetime.now(UTC))
    after = examine(files_product.settings)
    assert worst(after, "watch") == worst(after, "proof") == worst(after, "export") == []
    assert [one for one in after if one.level is Level.FAULT] == []


def test_the_command_tells_it_as_text_and_as_json(files_product: Product) -> None:
    told = run(files_product, "doctor")
    assert told.returncode == 1
    assert "FAULT    alarms: no_good_backup: there is no good backup of full set" in told.stdout
    document = json.loads(run(files_product, "doctor", "--json").stdout)
    assert {one["subject"] for one in document} >= {
        "alarms",
        "schedules",
        "proof",
        "secrets",
        "data directory",
        "watch",
    }


def test_what_others_raised_is_told_too(files_product: Product) -> None:
    with opened(files_product) as catalog:
        catalog.alarms.raise_alarm(Alarm(AlarmKind.JOB_FAILED, "schedule nightly", Severity.WARNING, "nightly", "look"))
        catalog.alarms.raise_alarm(Alarm(AlarmKind.AUDIT_BROKEN, "audit", Severity.CRITICAL, "a row is gone", "look"))
        catalog.alarms.raise_alarm(Alarm(AlarmKind.CLOCK_OFF, "host", Severity.CRITICAL, "of yesterday", "look"))
    told = worst(examine(files_product.settings), "alarms")
    assert {"job_failed: nightly", "audit_broken: a row is gone"} <= set(told)
    assert "clock_off: of yesterday" not in told  # judged anew


def test_a_backup_that_is_gone_is_a_fault(files_product: Product) -> None:
    with opened(files_product) as catalog:
        planted.backup(catalog.sessions, datetime.now(UTC), missing_since=datetime.now(UTC))
    assert any("gone from the repository" in text for text in worst(examine(files_product.settings), "alarms"))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.chmod(0o644), "others may read"),
    ],
)
def test_files_with_secrets_are_there_and_private(
    files_product: Product, damage: Callable[[Path], None], said: str
) -> None:
    settings = files_product.settings
    assert worst(list(secret_files(settings)), "secrets") == []
    damage(Path(settings.repository.password_file))
    assert said in worst(list(secret_files(settings)), "secrets")[0]


def test_a_passphrase_beside_what_it_opens_is_a_warning(files_product: Product) -> None:
    inside = str(files_product.repository / "passphrase")
    settings: Settings = files_product.settings
    moved = replace(
        settings, repository=type(settings.repository)(location=settings.repository.location, password_file=inside)
    )
    assert "lies in the repository" in worst(list(secret_files(moved)), "secrets")[0]


def schedule(**changes: object) -> Standing:
    nightly = Standing("nightly", "full", True, NOW + DAY, NOW - DAY, None)
    return replace(nightly, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("schedules", "said"),
    [
        ((), "no schedule of backups is active"),
        ((schedule(is_active=False),), "no schedule of backups is active"),
        ((schedule(paused_until=NOW + DAY),), "no schedule of backups is active"),
        ((schedule(type="prune"),), "no schedule of backups is active"),
        ((schedule(next_run=NOW - timedelta(minutes=11)),), "the schedule nightly was due at 2026-11-27 06:49 UTC"),
        ((schedule(next_run=None),), "the schedule nightly has no next run"),
        ((schedule(),), ""),
        ((schedule(paused_until=NOW - DAY),), ""),
    ],
)
def test_schedules_are_active_and_have_a_next_run(schedules: tuple[Standing, ...], said: str) -> None:
    told = worst(list(judge_schedules(schedules, NOW)), "schedules")
    assert [text.startswith(said) for text in told] == ([True] if said else [])


@pytest.mark.parametrize(
    ("never", "oldest", "said"),
    [
        (0, NOW - 30 * DAY, ""),
        (0, NOW - 31 * DAY, "the oldest proof of bytes is 31 days old"),
        (3, NOW, "3 packs were never read back"),
    ],
)
def test_the_oldest_proof_is_judged(never: int, oldest: datetime, said: str) -> None:
    figures = CheckFigures(1, 1, 1, 0, 0, never, oldest, 0, 0, 100.0)
    check = MaintenanceJob(
        JobId(UUID(int=1)), MaintenanceKind.CHECK, JobStatus.COMPLETED, figures=MaintenanceFigures(1, checked=figures)
    )
    assert worst(list(judge_proof(check, NOW)), "proof") == ([said] if said else [])
