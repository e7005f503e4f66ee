"""`make demo`, small: it ends by itself with everything equal, and leaves a repository that stock restic opens."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import pytest

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.demonstration.platform import Platform
from edurise_backup.model.jobs import BackupFilters, BackupType, JobStatus
from tests.support.catalog import environment
from tests.support.documents import ROOT
from tests.support.restic import Restic

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCALE = "0.05"


@dataclass(frozen=True, slots=True)
class Shown:
    """A demonstration that has ended."""

    home: Path
    status: int
    said: str


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """Run the demonstration in a copy of the flows: it works beside them, in `.demo`."""
    copy = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "flows", copy / "flows", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-m", "flows.demo"],
        cwd=copy,
        env=environment(None, {"EDURISE_DEMO_SCALE": SCALE}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=500,
    )
    home = copy / ".demo"
    yield Shown(home, done.returncode, done.stdout)
    Platform.open(home / "platform").stop()


def test_it_ends_with_everything_equal(shown: Shown) -> None:
    assert shown.status == 0, shown.said
    assert "VERDICT: every row and every byte is back" in shown.said
    assert re.search(r"Two sets of .* original bytes for each stored byte", shown.said)
    assert "restic -r" in shown.said


def test_every_run_that_it_names_is_the_run_of_a_job(shown: Shown) -> None:
    named = {UUID(found) for found in re.findall(r"Prefect run ([0-9a-f-]{36}) ", shown.said)}
    assert len(named) == 5
    with operations.open_catalog(load_settings(shown.home / "edurise-backup.toml", {})) as catalog:
        backups, verifications, recoveries = (
            catalog.jobs.newest(),
            catalog.verifications.newest(),
            catalog.recoveries.newest(),
        )
    ended = [(job.flow_run_id, job.status) for job in backups]
    ended += [(job.flow_run_id, job.status) for job in verifications]
    ended += [(job.flow_run_id, job.status) for job in recoveries]
    assert set(ended) == {(run, JobStatus.COMPLETED) for run in named}


def test_it_leaves_two_whole_sets_that_stock_restic_checks_to_the_last_byte(shown: Shown, tmp_path: Path) -> None:
    passphrase = (shown.home / "passphrase").read_text().strip()
    restic = Restic(shown.home / "repository", tmp_path / "restic", passphrase=passphrase)
    restic.check()
    settings = load_settings(shown.home / "edurise-backup.toml", {})
    sets = operations.get_backups(BackupFilters(type=BackupType.FULL), settings=settings)
    assert len(sets) == 2
    stored = {str(shot["id"]) for shot in restic.snapshots()}
    for one in sets:
        assert {part.snapshot_id for part in one.parts} <= stored
        parts = [part for part in BackupType.FULL.parts if part is not BackupType.CLUSTER]  # it has a dump instead
        assert [part.part for part in one.parts] == parts


def test_it_leaves_no_process_and_readable_secrets_to_nobody(shown: Shown) -> None:
    assert (shown.home / "passphrase").stat().st_mode & 0o077 == 0
    assert [pid for pid in os.listdir("/proc") if pid.isdecimal() and works_in(pid, shown.home)] == []


def works_in(pid: str, folder: Path) -> bool:
    try:
        return os.path.realpath(f"/proc/{pid}/cwd").startswith(str(folder))
    except OSError:
        return False
