"""What stands on a run's page in Prefect."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from edurise_backup.model.jobs import (
    BackupJob,
    BackupType,
    JobId,
    JobStatus,
    PartResult,
    Phase,
    RecoveryJob,
    RecoveryTarget,
    Verdict,
    Verification,
)
from flows import results

JOB = JobId(UUID("00000000-0000-4000-8000-000000000001"))
BEGAN = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)


def test_a_backup_shows_its_figures_snapshots_phases_and_warnings() -> None:
    job = BackupJob(
        id=JOB,
        type=BackupType.FULL,
        status=JobStatus.COMPLETED_WITH_WARNINGS,
        started_at=BEGAN,
        completed_at=BEGAN + timedelta(seconds=75),
        size=3 * 1024**3,
        stored_bytes=1024**3,
        files=1500,
        warnings=("one file has gone",),
        parts=(PartResult(BackupType.FILES, "ab" * 32, "uploads", 2048, 1024, 2048, 7),),
        phases=(Phase("files", BEGAN, BEGAN + timedelta(seconds=4.5), 2048, None, 7),),
    )
    page = results.backup_markdown(job)
    assert "| Duration | 1 min 15 s |" in page
    assert "| Source | 3.0 GiB |" in page
    assert "| Source bytes for each stored byte | 3.0 |" in page
    assert "| files | uploads | abababab | 2.0 KiB | 1.0 KiB |" in page
    assert "| files | 4.5 s | 2.0 KiB | 7 |" in page
    assert "- one file has gone" in page


def test_names_from_outside_never_become_markup() -> None:
    hostile = "<script>alert(1)</script>\n# | [x](javascript:1)"
    page = results.recovery_markdown(
        RecoveryJob(
            JOB,
            JOB,
            BackupType.FULL,
            JobStatus.COMPLETED,
            findings=(hostile,),
            target=RecoveryTarget(directory=hostile),
            verification_status=Verdict.FAILED,
        )
    )
    assert "<script>" not in page.replace("\\<", "")
    assert "\n# |" not in page
    assert "[x](" not in page.replace("\\[", "").replace("\\]", "")


def test_a_long_list_of_findings_is_cut_and_says_how_much_is_missing() -> None:
    verification = Verification(JOB, JOB, JobStatus.FAILED, findings=tuple(f"pack {n} is damaged" for n in range(60)))
    page = results.verification_markdown(verification)
    assert page.count("is damaged") == results.SHOWN
    assert "and 10 more" in page


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, "unknown"), (0, "0 bytes"), (1023, "1,023 bytes"), (1024, "1.0 KiB"), (5 * 1024**4, "5.0 TiB")],
)
def test_sizes_are_shown_in_binary_units(count: int | None, text: str) -> None:
    assert results.size(count) == text


def test_a_backup_that_stored_nothing_new_has_no_ratio() -> None:
    assert results.ratio(100, 0) == "nothing new stored"
