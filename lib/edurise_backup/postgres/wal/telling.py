"""Say what a transaction did in the words that a person would use for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from edurise_backup.postgres.wal.facts import Event, EventKind
from edurise_backup.postgres.wal.naming import FileName, FileNames


class NamedEvent(msgspec.Struct, frozen=True):
    """An event as a person reads it."""

    event: Event
    name: FileName | None
    """The table (or sequence); None when nobody told it."""
    text: str


def name_events(
    events: Iterable[Event], names: FileNames, *, databases: Mapping[int, str] | None = None
) -> list[NamedEvent]:
    """Return the events with names, in the order they came; those about parts of a table are left out.

    An index, a TOAST table and a sequence of a table go with it, in the same
    commit; when one goes alone, no rows are lost but a sequence's value.
    `databases`: names by oid, for the events about whole databases.
    """
    named = [(event, _name_of(event, names)) for event in events]
    told = {(event.commit_lsn, name.oid) for event, name in named if name is not None}
    return [
        NamedEvent(event, name, _words(event, name, databases or {}))
        for event, name in named
        if name is None or not name.owner or (name.kind == "S" and (event.commit_lsn, name.owner) not in told)
    ]


def _name_of(event: Event, names: FileNames) -> FileName | None:
    if event.file is None:
        return None
    return names.name(event.file.database, event.file.number, event.commit_lsn) or _told_by_log(event, names)


def _told_by_log(event: Event, names: FileNames) -> FileName | None:
    if event.file is None or not event.name:
        return None
    return FileName(
        database=event.file.database,
        number=event.file.number,
        tablespace=event.file.tablespace,
        oid=event.relation,
        namespace=event.namespace,
        schema=names.schema(event.file.database, event.namespace),
        name=event.name,
        kind=event.relation_kind,
    )


_DROPPED = {"r": "TABLE", "m": "MATERIALIZED VIEW", "S": "SEQUENCE", "i": "INDEX"}


def _words(event: Event, name: FileName | None, databases: Mapping[int, str]) -> str:
    file = event.file
    what = str(name) if name else f"relation with file {'/'.join(map(str, file))}" if file else ""
    if file is None:
        return f"{event.kind.upper()} {databases.get(event.database, event.database)}"
    if not event.certain:
        return f"{what} was dropped, emptied or rewritten"
    if event.kind is EventKind.DROP:
        return f"DROP {_DROPPED.get(name.kind, 'RELATION') if name else 'of'} {what}"
    if event.kind is EventKind.TRUNCATE:
        return f"TRUNCATE {what}"
    if event.kind is EventKind.REWRITTEN:
        return f"{what} was rewritten (VACUUM FULL, CLUSTER, REFRESH or ALTER TABLE)"
    deed = "DELETE of {} rows from" if event.kind is EventKind.BULK_DELETE else "UPDATE of {} rows of"
    return f"{deed.format(f'{event.rows:,}')} {what}"
