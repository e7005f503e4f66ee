"""Decide what of a table can be compared and brought back, from its shapes there (sandbox) and here (live)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edurise_backup.recovery.rescue.shapes import Column, Key, TableName, TableShape

_EXACT = frozenset(
    (
        *("smallint", "integer", "bigint", "oid", "uuid", "boolean", "date", "bytea", "text", "character varying"),
        *("character", "name", '"char"', "numeric", "real", "double precision", "inet", "cidr", "macaddr", "macaddr8"),
        *("timestamp without time zone", "timestamp with time zone", "time without time zone", "time with time zone"),
    )
)
"""Types whose values are equal exactly when their notation as a key is."""


@dataclass(frozen=True, slots=True)
class TableMatch:
    """A table of the sandbox beside the live one, and what follows from it."""

    there: TableShape
    here: TableShape | None
    """None: the table was dropped."""
    columns: tuple[str, ...]
    """What is compared and brought back."""
    key: Key
    """What rows are told apart by; empty: they are compared as a multiset."""
    notes: tuple[str, ...]
    obstacles: tuple[str, ...]
    """Why nothing of this table may be touched."""
    insert_obstacles: tuple[str, ...]
    """Why no row may be inserted."""

    @property
    def table(self) -> TableName:
        """The table's name."""
        return self.there.table

    @property
    def target(self) -> TableShape:
        """The table that rows go into: the live one, or what is made after the sandbox's."""
        return self.here or self.there

    @property
    def fixed_columns(self) -> tuple[str, ...]:
        """Columns that an UPDATE may not set: GENERATED ALWAYS AS IDENTITY."""
        return tuple(
            column.name for column in self.target.columns if column.identity == "always" and column.name in self.columns
        )


def match_shapes(there: TableShape, here: TableShape | None) -> TableMatch:
    """Return what can be compared and brought back; pure."""
    columns = tuple(column.name for column in there.columns if _comparable(column, here))
    key = _key(there, here, columns)
    return TableMatch(
        there=there,
        here=here,
        columns=columns,
        key=key,
        notes=(*_column_notes(there, here), *_key_notes(there, here, key), *_shape_notes(there, here)),
        obstacles=tuple(_obstacles(there, here, columns)),
        insert_obstacles=tuple(_insert_obstacles(here, columns)),
    )


def _comparable(column: Column, here: TableShape | None) -> bool:
    if here is None:
        return not column.generated
    other = here.column(column.name)
    return other is not None and other.type == column.type and not other.generated


def _key(there: TableShape, here: TableShape | None, columns: tuple[str, ...]) -> Key:
    known = {frozenset(column.name for column in key) for key in there.keys}
    for key in (here or there).keys:
        names = frozenset(column.name for column in key)
        if names in known and names <= set(columns):
            return key
    return ()


def _column_notes(there: TableShape, here: TableShape | None) -> Iterator[str]:
    if here is None:
        return
    for column in there.columns:
        other = here.column(column.name)
        if other is None:
            yield f"The column {column.name} is not here any more: its values are not brought back."
        elif other.type != column.type:
            yield f"The column {column.name} was {column.type} and is {other.type}: its values are not brought back."
    for column in here.columns:
        if there.column(column.name) is None and column.fills_itself and not column.generated:
            what = "gets its default" if column.has_default or column.identity else "stays empty"
            yield f"The column {column.name} was not there yet: in rows that are inserted it {what}."
    generated = [column.name for column in here.columns if column.generated]
    if generated:
        yield f"Generated columns are computed here: {', '.join(generated)}."
    identity = [column.name for column in here.columns if column.identity]
    if identity:
        yield f"Rows keep their identity: {', '.join(identity)}."


def _key_notes(there: TableShape, here: TableShape | None, key: Key) -> Iterator[str]:
    if not key:
        why = "has no primary or unique key" if not (here or there).keys else "has no key on both sides"
        yield f"The table {why}: whole rows are counted and compared, and missing ones inserted; none is changed."
    for column in key:
        if column.base_type not in _EXACT or not column.deterministic:
            yield (
                f"Values of the key column {column.name} ({column.type}) may be equal and written differently: "
                "such rows are told as one only there and one only here."
            )


def _shape_notes(there: TableShape, here: TableShape | None) -> Iterator[str]:
    if here is None:
        yield "The table does not exist here: it is made again as it was, but not views of it, nor its publications."
        for foreign in there.referenced_by:
            if foreign.child != there.table:
                yield (
                    f"The foreign key {foreign.name} of {foreign.child} went with the table and is not made again: "
                    f"{foreign.definition}."
                )
        return
    if here.inherited and not here.partitioned:
        yield "Rows of tables that inherit from it are not touched."
    if here.row_security:
        yield "Row-level security is on: the role must be let past it, or nothing is done."


def _obstacles(there: TableShape, here: TableShape | None, columns: tuple[str, ...]) -> Iterator[str]:
    if not there.logged:
        yield "The table is unlogged: a server that was recovered has none of its rows."
    if (here or there).rules:
        yield "The table has rewrite rules, which would turn what is written into something else."
    if not columns:
        yield "The two tables have no column in common."


def _insert_obstacles(here: TableShape | None, columns: tuple[str, ...]) -> Iterator[str]:
    for column in here.columns if here else ():
        if column.name not in columns and not column.fills_itself:
            yield f"The column {column.name} must have a value here, and there is none to bring back."
