"""Compare a database with the record of the one that was backed up.

Rows are counted and summed up anew; nothing of the restore's own report is
believed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta

import msgspec
import psycopg

from edurise_backup.model.database import (
    CHECKSUM_RULE,
    CHECKSUM_RULES,
    DatabaseProperties,
    DatabaseRecord,
    Extension,
    LargeObjects,
    ObjectFacts,
    Proof,
    SequenceFacts,
    TableFacts,
)
from edurise_backup.ports import Progress
from edurise_backup.postgres import facts
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.counters import Counting
from edurise_backup.postgres.counting import read_sequence
from edurise_backup.postgres.session import close_quietly, reading_session, translated

_LOCK_TIMEOUT = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class FoundDatabase:
    """What is in the database that is to be proved."""

    properties: DatabaseProperties
    extensions: list[Extension]
    tables: dict[tuple[str, str, str], tuple[int | None, str | None]]
    """By kind, schema and name: rows and checksum."""
    sequences: dict[tuple[str, str], tuple[int, bool]]
    large_objects: LargeObjects
    objects: list[ObjectFacts]


def prove_database(
    record: DatabaseRecord, *, address: Address, new_name: str, parallel: int = 2, progress: Progress | None = None
) -> Proof:
    """Return what was compared and what differs, an object a sentence; raises UnreachableError, SourceError."""
    keep_on: Callable[[], None] = progress.raise_if_cancelled if progress else lambda: None
    rule = record.checksum_rule if record.checksum_rule in CHECKSUM_RULES else CHECKSUM_RULE
    return compare(record, _look(address, new_name, parallel, keep_on, rule))


def _look(address: Address, name: str, parallel: int, keep_on: Callable[[], None], rule: str) -> FoundDatabase:
    session = reading_session(address, name, lock_timeout=_LOCK_TIMEOUT)
    try:
        relations = facts.read_relations(session)
        counting = Counting(
            sorted((one for one in relations if one.countable), key=lambda one: -one.bytes),
            open_session=lambda: reading_session(address, name, lock_timeout=_LOCK_TIMEOUT),
            workers=parallel,
            keep_on=keep_on,
            rule=rule,
        )
        try:
            counted = counting.result()
        finally:
            counting.stop()
        sequences = facts.read_sequences(session)
        return FoundDatabase(
            properties=facts.read_properties(session, name),
            extensions=facts.read_extensions(session),
            tables={(one.kind, one.schema, one.name): counted.tables.get(one.oid, (None, None)) for one in relations},
            sequences={(one.schema, one.name): read_sequence(session, one) for one in sequences},
            large_objects=counted.large_objects,
            objects=facts.read_objects(session),
        )
    except psycopg.Error as error:
        raise translated(error, f"the database {name}") from error
    finally:
        close_quietly(session)


def compare(record: DatabaseRecord, found: FoundDatabase) -> Proof:
    """Return the comparison; pure."""
    checks: list[str] = []
    findings = [
        *_tables(record, found, checks),
        *_sequences(record, found, checks),
        *_large_objects(record, found, checks),
        *_objects(record, found, checks),
        *_extensions(record, found, checks),
        *_properties(record.properties, found.properties, checks),
    ]
    return Proof(checks, findings)


def _tables(record: DatabaseRecord, found: FoundDatabase, checks: list[str]) -> Iterator[str]:
    names = set()
    equal = rows = 0
    for table in record.tables:
        names.add((table.kind, table.schema, table.name))
        if table.extension is not None:
            continue
        actual = found.tables.get((table.kind, table.schema, table.name))
        difference = _table(record, table, actual)
        if difference and table.kind == "materialized view" and actual is not None:
            checks.append(f"The materialized view {table.full_name} was computed anew and {difference}.")
        elif difference:
            yield f"The {table.kind} {table.full_name} {difference}."
        elif table.compared:
            equal, rows = equal + 1, rows + (table.rows or 0)
    for kind, schema, name in sorted(found.tables.keys() - names):
        yield f"The {kind} {schema}.{name} was not in the backup."
    sums = " with equal checksums" if record.checksum_rule in CHECKSUM_RULES else ""
    checks.append(f"{equal} tables and materialized views hold the same {rows:,} rows{sums}.")


def _table(record: DatabaseRecord, table: TableFacts, actual: tuple[int | None, str | None] | None) -> str:
    if actual is None:
        return "is missing"
    rows, checksum = actual
    if rows != table.rows:
        return f"has {_count(rows)} instead of {_count(table.rows)}"
    if record.checksum_rule in CHECKSUM_RULES and checksum != table.checksum:
        return f"has {_count(rows)} as in the backup, but not the same ones"
    return ""


def _count(rows: int | None) -> str:
    return "no counted rows" if rows is None else f"{rows:,} row{'' if rows == 1 else 's'}"


def _sequences(record: DatabaseRecord, found: FoundDatabase, checks: list[str]) -> Iterator[str]:
    for one in record.sequences:
        actual = found.sequences.get((one.schema, one.name))
        if actual is None:
            yield f"The sequence {one.schema}.{one.name} is missing."
        elif not _fits(one, *actual):
            wanted = f"{one.before}" if one.before == one.after else f"{one.before} to {one.after}"
            yield f"The sequence {one.schema}.{one.name} stands at {actual[0]} instead of {wanted}."
    known = {(one.schema, one.name) for one in record.sequences}
    for schema, name in sorted(found.sequences.keys() - known):
        yield f"The sequence {schema}.{name} was not in the backup."
    checks.append(f"{len(record.sequences)} sequences were compared.")


def _fits(one: SequenceFacts, value: int, called: bool) -> bool:
    if (one.before, one.before_called) == (one.after, one.after_called):
        return (value, called) == (one.before, one.before_called)
    return min(one.before, one.after) <= value <= max(one.before, one.after)


def _large_objects(record: DatabaseRecord, found: FoundDatabase, checks: list[str]) -> Iterator[str]:
    wanted, actual = record.large_objects, found.large_objects
    if wanted.count != actual.count:
        yield f"There are {actual.count:,} large objects instead of {wanted.count:,}."
    elif wanted.checksum != actual.checksum and record.checksum_rule in CHECKSUM_RULES:
        yield f"The {wanted.count:,} large objects do not hold the same bytes."
    checks.append(f"{wanted.count:,} large objects were compared.")


def _objects(record: DatabaseRecord, found: FoundDatabase, checks: list[str]) -> Iterator[str]:
    wanted = {(one.kind, one.name): one.state for one in record.objects}
    actual = {(one.kind, one.name): one.state for one in found.objects}
    for kind, name in sorted(wanted.keys() | actual.keys()):
        before, now = wanted.get((kind, name)), actual.get((kind, name))
        if now is None:
            yield f"The {kind} {name} is missing."
        elif before is None:
            yield f"The {kind} {name} was not in the backup."
        elif before != now:
            yield f"The {kind} {name} differs: {now}; in the backup: {before}."
    counts: dict[str, int] = {}
    for one in record.objects:
        counts[one.kind] = counts.get(one.kind, 0) + 1
    listed = ", ".join(f"{kind} {count:,}" for kind, count in sorted(counts.items()))
    checks.append(f"Definitions, owners, grants and states were compared: {listed or 'none'}.")


def _extensions(record: DatabaseRecord, found: FoundDatabase, checks: list[str]) -> Iterator[str]:
    wanted = {one.name: one for one in record.extensions}
    actual = {one.name: one for one in found.extensions}
    for name in sorted(wanted.keys() | actual.keys()):
        before, now = wanted.get(name), actual.get(name)
        if now is None:
            yield f"The extension {name} is missing."
        elif before is None:
            yield f"The extension {name} was not in the backup."
        elif before != now:
            yield f"The extension {name} is {now.version} in {now.schema}; it was {before.version} in {before.schema}."
    checks.append(f"{len(wanted)} extensions were compared.")


def _properties(wanted: DatabaseProperties, actual: DatabaseProperties, checks: list[str]) -> Iterator[str]:
    # another version of the same collation is no difference: the indexes were built with it
    left_out = {"collation_version", "tablespace"}
    names = [field.name for field in msgspec.structs.fields(DatabaseProperties) if field.name not in left_out]
    for name in names:
        before, now = getattr(wanted, name), getattr(actual, name)
        if before != now:
            yield f"The database's {name.replace('_', ' ')} is {_shown(now)}; it was {_shown(before)}."
    checks.append(f"Of the database itself were compared: {', '.join(name.replace('_', ' ') for name in names)}.")


def _shown(value: object) -> str:
    return msgspec.json.encode(value).decode()
