"""A made-up history in a catalog, written by COPY: as many jobs as a test or benchmark wants, the same each time."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from psycopg import sql

from edurise_backup.catalog.sessions import Connection

PARTS = (("database", "school"), ("files", "uploads"), ("configuration", "settings"), ("metadata", "platform"))
_BACKUPS = (
    *("id", "type", "status", "started_at", "completed_at", "created_at", "size", "location", "checksum"),
    *("stored_bytes", "read_bytes", "files", "incremental", "source", "warnings", "error", "hint"),
    *("verified_at", "verification_status", "new_bytes", "compressed_bytes"),
)
_PARTS = (
    *("backup_id", "ordinal", "part", "snapshot_id", "source", "source_bytes", "stored_bytes", "read_bytes", "files"),
    *("new_bytes", "compressed_bytes"),
)
_PROVED = ("id", "backup_id", "status", "verification_status", "started_at", "completed_at")
_EXPECTED = (
    *("schedule_id", "due_at", "name", "type", "grace_until", "frozen_at", "outcome", "judged_at", "job_id", "reason"),
)
_MIB = 1024**2


def write_history(connection: Connection, *, jobs: int, start: datetime, length: timedelta, seed: int = 1) -> None:
    """Write `jobs` backups over a span of time, with parts, verifications, recoveries, expected runs and a schedule.

    Of 100 backups one fails and one has warnings; every tenth is verified, every thousandth (and the first) recovered.
    """
    rng = random.Random(seed)
    schedule = UUID(int=rng.getrandbits(128))
    connection.execute(
        "INSERT INTO backup_schedules (id, name, type, frequency, retention, next_run) VALUES (%s, %s, %s, %s, 7, %s)",
        (schedule, f"hourly {seed}", "full", "every hour", start + length),
    )
    backups = list(_backups(rng, jobs, start, length))
    copy(connection, "backup_jobs", _BACKUPS, backups)
    copy(connection, "backup_parts", _PARTS, _parts(backups))
    copy(connection, "verification_jobs", _PROVED, _proofs(rng, backups, 10, ()))
    copy(connection, "recovery_jobs", (*_PROVED, "type"), _proofs(rng, backups, 1000, ("full",)))
    copy(connection, "expected_runs", _EXPECTED, _expected(schedule, backups))
    connection.execute("ANALYZE")


def copy(connection: Connection, table: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows by COPY."""
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    with (
        connection.cursor() as cursor,
        cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), names)) as sink,
    ):
        for row in rows:
            sink.write_row(row)


def _backups(rng: random.Random, jobs: int, start: datetime, length: timedelta) -> Iterator[tuple[object, ...]]:
    for number in range(jobs):
        began = start + length * number / jobs
        ended = began + timedelta(seconds=rng.uniform(20, 900))
        status = {50: "failed", 51: "completed_with_warnings"}.get(number % 100, "completed")
        good, verified = status != "failed", number % 10 == 0
        size = 10_000 * _MIB + number * 2 * _MIB // 100
        new = rng.randrange(_MIB, 60 * _MIB)
        job_id = UUID(int=rng.getrandbits(128))
        yield (
            *(job_id, "full", status, began, ended, began),
            *(
                (size, f"local:/srv/repository {job_id}", hashlib.sha256(job_id.bytes).hexdigest())
                if good
                else (None,) * 3
            ),
            *((new // 3, size // 20, 5_000 + number % 7) if good else (None,) * 3),
            *(number % 24 != 0, ""),
            *(["a file changed while it was read: essays/essay 5.txt"] if status == "completed_with_warnings" else [],),
            *(("the server went away", "start it") if not good else (None, None)),
            *((ended + timedelta(minutes=5), "passed") if good and verified else (None, None)),
            *((new, new // 3 - 4096) if good else (None, None)),
        )


def _parts(backups: Iterable[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    for row in backups:
        if row[2] != "failed":
            for place, (part, source) in enumerate(PARTS):
                snapshot = hashlib.sha256(f"{row[0]} {part}".encode()).hexdigest()
                sizes = [int(str(row[column])) // 4 for column in (6, 9, 10)]
                news = [int(str(row[column])) // 4 for column in (19, 20)]
                yield (row[0], place, part, snapshot, source, *sizes, 1000, *news)


def _proofs(
    rng: random.Random, backups: Sequence[tuple[object, ...]], every: int, more: tuple[object, ...]
) -> Iterator[tuple[object, ...]]:
    for row in backups[::every]:
        ended = row[4]
        assert isinstance(ended, datetime)
        begin = ended + timedelta(minutes=1)
        end = begin + timedelta(seconds=rng.uniform(30, 240))
        yield (UUID(int=rng.getrandbits(128)), row[0], "completed", "passed", begin, end, *more)


def _expected(schedule: UUID, backups: Iterable[tuple[object, ...]]) -> Iterator[tuple[object, ...]]:
    for row in backups:
        due, ended, failed = row[3], row[4], row[2] == "failed"
        assert isinstance(due, datetime)
        frozen = due - timedelta(days=1)
        outcome = "failed" if failed else "kept"
        grace = due + timedelta(hours=1)
        yield (
            schedule,
            due,
            "hourly",
            "full",
            grace,
            frozen,
            outcome,
            ended,
            row[0],
            "the server went away" if failed else "",
        )


def plant(
    connection: Connection,
    began: datetime,
    minutes: float,
    *,
    kind: str = "full",
    status: str = "completed",
    parts: Sequence[tuple[str, str]] = PARTS,
    **columns: object,
) -> UUID:
    """Write one backup that ran, with a snapshot of 1,000 bytes for each part; return its id."""
    job_id = uuid4()
    good = status.startswith("completed")
    row: dict[str, object] = {
        "id": job_id,
        "type": kind,
        "status": status,
        "started_at": began,
        "created_at": began,
        "completed_at": began + timedelta(minutes=minutes),
        **({"size": 1000 * len(parts), "location": "local:/r x", "checksum": "0" * 64} if good else {}),
        **({"stored_bytes": 100, "read_bytes": 500, "new_bytes": 400, "compressed_bytes": 90} if good else {}),
        **columns,
    }
    insert(connection, "backup_jobs", row)
    if good:
        for place, (part, source) in enumerate(parts):
            snapshot = hashlib.sha256(f"{job_id} {place}".encode()).hexdigest()
            copy(
                connection, "backup_parts", _PARTS, [(job_id, place, part, snapshot, source, 1000, 25, 125, 3, 100, 22)]
            )
    return job_id


def insert(connection: Connection, table: str, row: Mapping[str, object]) -> None:
    """Write one row."""
    names = sql.SQL(", ").join(map(sql.Identifier, row))
    places = sql.SQL(", ").join(map(sql.Placeholder, row))
    connection.execute(sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(sql.Identifier(table), names, places), row)


def prove(
    connection: Connection, table: str, backup_id: UUID, began: datetime, minutes: float, **columns: object
) -> UUID:
    """Write one verification or recovery of a backup, which passed unless `columns` say otherwise; return its id."""
    job_id = uuid4()
    row: dict[str, object] = {
        "id": job_id,
        "backup_id": backup_id,
        "status": "completed",
        "verification_status": "passed",
        "started_at": began,
        "created_at": began,
        "completed_at": began + timedelta(minutes=minutes),
        **({"type": "full"} if table == "recovery_jobs" else {}),
        **columns,
    }
    insert(connection, table, row)
    return job_id
