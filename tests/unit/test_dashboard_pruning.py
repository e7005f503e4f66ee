"""What the dialog says before a prune; pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from dashboard.pruning import confirmed, dry_run_lines, prune_sentences
from edurise_backup.model.jobs import JobId, JobStatus
from edurise_backup.model.maintenance import MaintenanceFigures, MaintenanceJob, MaintenanceKind, PruneFigures

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
FIGURES = PruneFigures(2, 100, 1024, 3, 2048, 1, 512, NOW + timedelta(days=1))


def dry_run(*, age: timedelta = timedelta(minutes=5), figures: PruneFigures | None = FIGURES) -> MaintenanceJob:
    """Return a dry run that ended `age` ago; without figures it failed."""
    return MaintenanceJob(
        id=JobId(UUID(int=1)),
        kind=MaintenanceKind.PRUNE,
        status=JobStatus.COMPLETED if figures else JobStatus.FAILED,
        dry_run=True,
        completed_at=NOW - age,
        figures=MaintenanceFigures(4, 5, 6000, pruned=figures) if figures else None,
        error=None if figures else "a backup is missing",
        hint=None if figures else "look for it",
    )


@pytest.mark.parametrize(("typed", "starts"), [("prune", True), (" prune ", True), ("", False), ("yes", False)])
def test_a_prune_starts_when_its_word_is_typed_and_not_before(typed: str, starts: bool) -> None:
    assert confirmed(typed) is starts


def test_a_dry_run_of_the_last_hour_stands_for_the_prune() -> None:
    lines = dry_run_lines(dry_run(), NOW)
    assert "2.0 KiB in 3 packs would be deleted" in lines
    assert lines[-1] == "It would not be refused."


@pytest.mark.parametrize("job", [None, dry_run(age=timedelta(hours=2))])
def test_an_old_dry_run_does_not_stand_for_it(job: MaintenanceJob | None) -> None:
    (line,) = dry_run_lines(job, NOW)
    assert "no dry run of the last hour" in line


def test_a_dry_run_that_failed_says_why() -> None:
    assert dry_run_lines(dry_run(figures=None), NOW)[1:] == ["refused: a backup is missing", "look for it"]


def test_a_prune_that_would_be_refused_is_not_called_fine() -> None:
    refused = PruneFigures(0, 0, 0, 0, 0, 0, 0, None, refusal="90% would go")
    assert "It would not be refused." not in dry_run_lines(dry_run(figures=refused), NOW)


def test_what_waits_and_what_is_forgotten_is_told_when_there_is_any() -> None:
    assert len(prune_sentences(FIGURES)) == 4
    assert len(prune_sentences(PruneFigures(0, 0, 0, 0, 0, 0, 0, None))) == 2
