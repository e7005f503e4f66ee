"""Read the facts of a period from the catalog: the server counts, and all of it shows one moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.settings import ObjectivesSettings
from reports import questions
from reports.facts import (
    Bin,
    CopyFacts,
    Durations,
    ExpectedFacts,
    Facts,
    Outcomes,
    Proofs,
    RetentionFacts,
    SourceFacts,
    StorageFacts,
)
from reports.periods import Period

Row = dict[str, object]
_Facts = TypeVar("_Facts", Durations, Outcomes, Proofs, ExpectedFacts, RetentionFacts, CopyFacts)
Expected = Sequence[tuple[BackupType, str]]
"""The sources that are configured, by part and name."""

_UNITS = (("hour", timedelta(days=3)), ("day", timedelta(days=100)), ("week", timedelta(days=750)))


def begin(connection: Connection) -> None:
    """Have everything that the transaction reads show one moment, and change nothing."""
    connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")


def parameters_of(
    connection: Connection, period: Period, source: str, now: datetime, objectives: ObjectivesSettings
) -> dict[str, object]:
    """Return what every question of a report is asked with."""
    parts = connection.execute("SELECT DISTINCT part FROM backup_parts WHERE source = %s", (source,)).fetchall()
    return {
        "start": period.start,
        "end": period.end,
        "until": period.until(now),
        "zone": period.zone,
        "unit": bin_unit(period),
        "source": source,
        "parts": [str(part) for (part,) in parts],
        "full": timedelta(minutes=objectives.full_backup_minutes),
        "incremental": timedelta(minutes=objectives.incremental_backup_minutes),
        "verification": timedelta(minutes=objectives.verification_minutes),
        "recovery": timedelta(minutes=objectives.recovery_minutes),
        "age": timedelta(hours=objectives.good_backup_hours),
    }


def bin_unit(period: Period) -> str:
    """Return the part of a period that is one bar of its charts: at most about a hundred of them."""
    return next((unit for unit, longest in _UNITS if period.length <= longest), "month")


def read_facts(
    connection: Connection, period: Period, source: str, expected: Expected, parameters: Mapping[str, object]
) -> Facts:
    """Return the facts; `connection` is in a transaction that `begin` began."""

    def one(query: str) -> Row:
        return _rows(connection, query, parameters)[0]

    jobs = one(questions.BACKUPS)
    verifications, recoveries = one(questions.VERIFICATIONS), one(questions.RECOVERIES)
    until = parameters["until"]
    assert isinstance(until, datetime)
    return Facts(
        period=period,
        until=until,
        source=source,
        full=_durations(jobs, "full_"),
        incremental=_durations(jobs, "incremental_"),
        verification=_durations(verifications, ""),
        recovery=_durations(recoveries, ""),
        backups=_pick(jobs, Outcomes),
        verified=int(str(jobs["verified"])),
        verifications=_pick(verifications, Proofs),
        recoveries=_pick(recoveries, Proofs),
        checks=_pick(one(questions.CHECKS), Proofs),
        sources=_sources(_rows(connection, questions.SOURCES, parameters), expected, source),
        expected=_pick(one(questions.EXPECTED), ExpectedFacts),
        retention=_pick(one(questions.RETENTION), RetentionFacts),
        copies=_pick(one(questions.COPIES), CopyFacts),
        storage=msgspec.convert(_rows(connection, questions.STORAGE, parameters), tuple[StorageFacts, ...]),
        bins=msgspec.convert(_rows(connection, questions.BINS, parameters), tuple[Bin, ...]),
        repository_bytes=tuple(
            msgspec.convert((row["at"], row["bytes"]), tuple[datetime, int])
            for row in _rows(connection, questions.REPOSITORY, parameters)
        ),
    )


def _rows(connection: Connection, query: str, parameters: Mapping[str, object]) -> list[Row]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query.encode(), parameters).fetchall()


def _durations(row: Row, prefix: str) -> Durations:
    names = {name.removeprefix(prefix): value for name, value in row.items() if name.startswith(prefix)}
    return _pick(names, Durations)


def _pick(row: Row, kind: type[_Facts]) -> _Facts:
    """Return the columns of a row that a kind of facts has."""
    names = {field.name for field in fields(kind)}
    return msgspec.convert({name: value for name, value in row.items() if name in names}, kind)


def _sources(rows: list[Row], expected: Expected, source: str) -> tuple[SourceFacts, ...]:
    """Return every source that is configured or was backed up; a kind without any is one that is not covered.

    One that is configured no more counts in the periods in which it was backed up, or when it was asked for.
    """
    found = {(row["part"], row["name"]): msgspec.convert(row, SourceFacts) for row in rows}
    wanted = [(part, name) for part, name in expected if source in ("", name)]
    names = [*wanted, *((facts.part, facts.name) for facts in found.values() if facts.backups or source)]
    missing = set[BackupType]() if source else _uncovered({part for part, _ in names})
    names += [(part, "") for part in sorted(missing)]
    order = {part: place for place, part in enumerate(BackupType.FULL.parts)}
    return tuple(
        found.get((part.value, name)) or SourceFacts(part, name, 0, None, None, 0, 0)
        for part, name in sorted(set(names), key=lambda pair: (order[pair[0]], pair[1]))
    )


def _uncovered(parts: set[BackupType]) -> set[BackupType]:
    """Return the kinds of data that no source is of; a base backup of a cluster holds its databases, too."""
    wanted = set(BackupType.FULL.parts) - {BackupType.CLUSTER}
    return wanted - parts - ({BackupType.DATABASE} if BackupType.CLUSTER in parts else set())
