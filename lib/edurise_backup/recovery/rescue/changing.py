"""Change the live tables from the temporary ones: the statements, and the orders in which they may succeed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from edurise_backup.errors import ConflictError
from edurise_backup.postgres.session import Connection
from edurise_backup.recovery.rescue.conditions import AS_IT_WAS, said_of_table
from edurise_backup.recovery.rescue.loading import Staging, identifiers
from edurise_backup.recovery.rescue.parents import matches
from edurise_backup.recovery.rescue.plan import TablePlan
from edurise_backup.recovery.rescue.shapes import ForeignKey, TableShape
from edurise_backup.recovery.rescue.sides import columns_of, named, raw, relation

Act = Literal["insert", "update", "delete"]

# Keys must be free before they are taken, and parents be there before they are referred to:
# no order is right for all, so each is tried in a savepoint, the likeliest first.
_ORDERS: tuple[tuple[tuple[Act, ...], ...], ...] = (
    (("delete",), ("insert", "update")),
    (("insert", "update"), ("delete",)),
    (("delete",), ("update", "insert")),
    (("update", "insert"), ("delete",)),
)
_CHANGES_CHILDREN = ("c", "n", "d")


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to one table that exists, from its temporary tables."""

    plan: TablePlan
    shape: TableShape
    staging: Staging


def change_all(here: Connection, changes: Sequence[Change], keep_on: Callable[[], None]) -> None:
    """Insert, update and delete as planned (parents come first in `changes`); deferred constraints are checked, too.

    Raises ConflictError when rows do not fit what is here, CancelledError, and our other errors.
    """
    first: ConflictError | None = None
    for order in _ORDERS:
        try:
            with here.transaction():
                _in_order(here, changes, order, keep_on)
            return
        except ConflictError as error:
            first = first or error
    assert first is not None
    raise first


def _in_order(
    here: Connection, changes: Sequence[Change], order: tuple[tuple[Act, ...], ...], keep_on: Callable[[], None]
) -> None:
    here.execute("SET CONSTRAINTS ALL DEFERRED")
    for acts in order:
        for change in reversed(changes) if acts == ("delete",) else changes:
            for act in acts:
                keep_on()
                with said_of_table(change.shape.table):
                    _ACTS[act](here, change)
    keep_on()
    try:
        here.execute("SET CONSTRAINTS ALL IMMEDIATE")
    except psycopg.errors.IntegrityError as error:
        raise ConflictError(
            f"the rows do not fit together: {error.diag.message_primary} ({error.diag.message_detail})",
            safe=AS_IT_WAS,
            hint="bring back the tables that these refer to, too",
        ) from error


def _insert(here: Connection, change: Change) -> None:
    if not change.plan.insert:
        return
    columns = identifiers(change.plan.comparison.match.columns)
    done = here.execute(
        sql.SQL("INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE SELECT {} FROM {}").format(
            named(change.shape.table), columns, columns, change.staging.insert
        )
    )
    _expect(change, "inserted", done.rowcount, change.plan.insert)


def _update(here: Connection, change: Change) -> None:
    columns = change.plan.set_columns
    if not columns:
        return
    for foreign in change.shape.referenced_by:
        if foreign.on_update in _CHANGES_CHILDREN and set(columns).intersection(foreign.parent_columns):
            _refuse_cascade(here, change, foreign, change.staging.update, "updating")
    done = here.execute(
        sql.SQL("UPDATE {} AS t SET {} FROM {} AS s WHERE {}").format(
            relation(change.shape),
            sql.SQL(", ").join(
                sql.SQL("{} = {}").format(sql.Identifier(name), sql.Identifier("s", name)) for name in columns
            ),
            change.staging.update,
            _same_key(change, "t", "s"),
        )
    )
    _expect(change, "updated", done.rowcount, change.plan.update)


def _delete(here: Connection, change: Change) -> None:
    if not change.plan.delete:
        return
    for foreign in change.shape.referenced_by:
        if foreign.on_delete in _CHANGES_CHILDREN:
            _refuse_cascade(here, change, foreign, change.staging.delete, "deleting")
    done = here.execute(
        sql.SQL("DELETE FROM {} AS t USING {} AS s WHERE {}").format(
            relation(change.shape), change.staging.delete, _same_key(change, "t", "s")
        )
    )
    _expect(change, "deleted", done.rowcount, change.plan.delete)


_ACTS: dict[Act, Callable[[Connection, Change], None]] = {"insert": _insert, "update": _update, "delete": _delete}


def _same_key(change: Change, one: str, other: str) -> sql.Composed:
    return sql.SQL(" AND ").join(
        sql.SQL("{} OPERATOR({}.{}) {}").format(
            sql.Identifier(one, column.name),
            sql.Identifier(column.operator_schema),
            raw(column.operator),
            sql.Identifier(other, column.name),
        )
        for column in change.plan.comparison.match.key
    )


def _refuse_cascade(here: Connection, change: Change, foreign: ForeignKey, staged: sql.Identifier, doing: str) -> None:
    """Raise ConflictError when the foreign key would change or delete rows that nobody was shown."""
    conditions = [
        _same_key(change, "t", "s"),
        matches(foreign, columns_of("t", foreign.parent_columns), columns_of("c", foreign.columns)),
    ]
    if doing == "updating":
        before, after = (sql.SQL(", ").join(columns_of(alias, foreign.parent_columns)) for alias in ("t", "s"))
        conditions.append(sql.SQL("ROW({})::pg_catalog.text <> ROW({})::pg_catalog.text").format(before, after))
    elif foreign.child == change.shape.table:  # its own rows may go with it
        conditions.append(
            sql.SQL("NOT EXISTS (SELECT FROM {} AS s WHERE {})").format(staged, _same_key(change, "c", "s"))
        )
    query = sql.SQL("SELECT pg_catalog.count(*) FROM {} AS t, {} AS s, {} AS c WHERE {}").format(
        relation(change.shape), staged, named(foreign.child), sql.SQL(" AND ").join(conditions)
    )
    ((count,),) = here.execute(query).fetchall()
    if count:
        raise ConflictError(
            f"{doing} rows of {change.shape.table} would change {count} rows of {foreign.child} "
            f"(foreign key {foreign.name})",
            safe=AS_IT_WAS,
            hint=f"bring {foreign.child} back together with it, or leave those rows",
        )


def _expect(change: Change, what: str, count: int, wanted: int) -> None:
    if count != wanted:
        raise ConflictError(
            f"{count:,} rows of {change.shape.table} would be {what} instead of {wanted:,}",
            safe=AS_IT_WAS,
            hint="a trigger may keep rows back: leave triggers off",
        )
