"""The catalog as lines of JSON, dropped and brought back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from edurise_backup.catalog.export import export, import_rows, read_export
from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.records import JobRecord
from edurise_backup.catalog.recoveries import RecoveryJobs
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.verifications import Verifications
from edurise_backup.errors import DamageError
from edurise_backup.model.jobs import (
    BackupJob,
    BackupType,
    JobId,
    JobStatus,
    PartResult,
    Phase,
    RecoveryJob,
    RecoveryTarget,
    Usage,
    Verdict,
    Verification,
)
from edurise_backup.postgres.connection import Address
from tests.support.postgres import execute

NOON = datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
BACKUP = BackupJob(
    id=JobId(UUID(int=7)),
    type=BackupType.FULL,
    status=JobStatus.COMPLETED_WITH_WARNINGS,
    started_at=NOON,
    completed_at=NOON + MINUTE,
    size=1 << 50,
    location="local:somewhere",
    checksum="c" * 64,
    stored_bytes=10,
    read_bytes=11,
    files=12,
    incremental=True,
    set_id=UUID(int=8),
    source="edurise",
    tags=("nightly", 'with "quotes", {braces}'),
    host="here",
    pid=13,
    flow_run_id=UUID(int=9),
    heartbeat_at=NOON + MINUTE,
    phase="publishing",
    progress=1 / 3,
    warnings=("ein Fehler: ü\n",),
    parts=(PartResult(BackupType.DATABASE, "d" * 64, "edurise", 1, 2, 3, 4, lsn="A/1B", snapshot_time=NOON),),
    phases=(Phase("reading", NOON, NOON + MINUTE, 5, 6, 7), Phase("publishing", NOON + MINUTE)),
    usage=Usage(0.1, 1 << 33, 14),
    verified_at=NOON + 2 * MINUTE,
    verification_status=Verdict.PASSED,
    created_at=NOON - MINUTE,
    product_version="0.1.0",
)
VERIFICATION = Verification(
    id=JobId(UUID(int=3)),
    backup_id=BACKUP.id,
    status=JobStatus.COMPLETED,
    verification_status=Verdict.FAILED,
    started_at=NOON,
    completed_at=NOON + MINUTE,
    bytes_read=1,
    blobs=2,
    findings=("a blob is missing",),
    phases=(Phase("reading", NOON),),
    usage=Usage(1.5, 2, 3),
)
RECOVERY = RecoveryJob(
    id=JobId(UUID(int=2)),
    backup_id=BACKUP.id,
    type=BackupType.FILES,
    status=JobStatus.COMPLETED,
    target_time=NOON,
    started_at=NOON,
    completed_at=NOON + MINUTE,
    verification_status=Verdict.PASSED,
    target=RecoveryTarget("a directory", None, "", (BackupType.FILES,)),
    restored_bytes=5,
    checks=("7 files are equal",),
    warnings=("an owner could not be set",),
)


@pytest.fixture
def sessions(empty_database: Address) -> Iterator[Sessions]:
    with Sessions.to(empty_database) as sessions:
        migrate(sessions)
        yield sessions


def _export(sessions: Sessions) -> list[bytes]:
    with sessions.transaction() as connection:
        return list(export(connection))


def _drop(sessions: Sessions, address: Address) -> None:
    execute(address, "DROP SCHEMA public, analytics CASCADE", "CREATE SCHEMA public")
    migrate(sessions)


def test_a_dropped_catalog_comes_back_byte_for_byte(sessions: Sessions, empty_database: Address) -> None:
    execute(
        empty_database,
        """INSERT INTO backup_schedules (id, name, type, frequency, retention, last_run, next_run, is_active)
           VALUES (gen_random_uuid(), 'nightly', 'full', '0 2 * * *', 30, now(), NULL, true),
                  (gen_random_uuid(), 'weekly', 'files', '@weekly', 90, NULL, now(), false)""",
    )
    others = [BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED, created_at=NOON) for _ in range(700)]
    for job in others[:3]:
        BackupJobs(sessions).create(job)
    import_rows(sessions, [VERIFICATION, RECOVERY, BACKUP, *others[3:]], now=NOON)
    before = _export(sessions)
    _drop(sessions, empty_database)
    assert len(_export(sessions)) == 1
    result = import_rows(sessions, read_export(before), now=NOON)
    assert (result.written, result.kept, result.refused) == (len(before) - 1, 0, ())
    assert _export(sessions) == before
    assert len(before) == 1 + 2 + 700 + 3


def test_records_come_back_as_they_were(sessions: Sessions) -> None:
    import_rows(sessions, [BACKUP, VERIFICATION, RECOVERY], now=NOON)
    assert BackupJobs(sessions).get(BACKUP.id) == BACKUP
    assert Verifications(sessions).get(VERIFICATION.id) == VERIFICATION
    assert RecoveryJobs(sessions).get(RECOVERY.id) == RECOVERY


def test_an_import_may_be_repeated(sessions: Sessions) -> None:
    records: list[JobRecord] = [BACKUP, VERIFICATION, RECOVERY]
    assert import_rows(sessions, records, now=NOON).written == 3
    before = _export(sessions)
    again = import_rows(sessions, records, now=NOON)
    assert (again.written, again.kept) == (0, 3)
    assert _export(sessions) == before


def test_a_newer_row_is_kept_and_an_older_one_replaced(sessions: Sessions) -> None:
    newer = replace(BACKUP, verified_at=NOON + timedelta(days=1), verification_status=Verdict.FAILED, parts=())
    import_rows(sessions, [newer], now=NOON)
    assert import_rows(sessions, [BACKUP], now=NOON).kept == 1
    assert BackupJobs(sessions).get(BACKUP.id) == newer
    newest = replace(BACKUP, verified_at=NOON + timedelta(days=2), phases=())
    assert import_rows(sessions, [newest], now=NOON).written == 1
    assert BackupJobs(sessions).get(BACKUP.id) == newest


def test_a_published_backup_beats_the_row_of_a_process_that_died_just_after(sessions: Sessions) -> None:
    failed = replace(BACKUP, status=JobStatus.FAILED, completed_at=NOON + timedelta(days=1), error="died")
    import_rows(sessions, [failed], now=NOON)
    assert import_rows(sessions, [BACKUP], now=NOON).written == 1
    assert BackupJobs(sessions).get(BACKUP.id) == BACKUP


def test_records_without_their_backup_are_refused_by_name_and_the_others_written(sessions: Sessions) -> None:
    stray = replace(RECOVERY, id=JobId(uuid4()), backup_id=JobId(uuid4()))
    result = import_rows(sessions, [stray, BACKUP, RECOVERY], now=NOON)
    assert (result.written, result.kept) == (2, 0)
    assert len(result.refused) == 1
    assert str(stray.id) in result.refused[0]


def test_lines_that_are_not_an_export_are_damage() -> None:
    with pytest.raises(DamageError):
        list(read_export([b'{"kind":"backup"}']))
