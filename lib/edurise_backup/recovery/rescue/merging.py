"""Bring tables back into the live ones: one transaction, everything or nothing, proved before it is committed.

The tables are locked (readers go on), compared again, and changed only if
that gives the plan which a person was shown. A condition is evaluated in a
read-only part of the transaction; what writes holds no words of the operator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from edurise_backup.errors import ConflictError, InputError, ProofError
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import Connection, close_quietly, fetch, reading_session, set_all
from edurise_backup.postgres.tools import Tools
from edurise_backup.recovery.rescue.changing import Change, change_all
from edurise_backup.recovery.rescue.comparison import TableComparison, compare_pair
from edurise_backup.recovery.rescue.conditions import AS_IT_WAS, said_of_table
from edurise_backup.recovery.rescue.creating import Structure, dump_structure, fill, run_script, set_sequence
from edurise_backup.recovery.rescue.loading import Loader, analyse
from edurise_backup.recovery.rescue.pairs import LOCK_TIMEOUT, Pair, read_pairs
from edurise_backup.recovery.rescue.plan import Options, RescuePlan, TablePlan
from edurise_backup.recovery.rescue.planning import NOTHING_ELSE, plan_pairs
from edurise_backup.recovery.rescue.reading_shapes import table_shape
from edurise_backup.recovery.rescue.sequences import Advanced, advance
from edurise_backup.recovery.rescue.shapes import TableName, Wanted
from edurise_backup.recovery.rescue.sides import relation
from edurise_backup.recovery.rescue.transaction import live_transaction
from edurise_backup.recovery.rescue.triggers import check_role, switch_off, switch_on


@dataclass(frozen=True, slots=True)
class RescuedTable:
    """What was done to one table, proved."""

    table: TableName
    created: bool
    inserted: int
    updated: int
    deleted: int


@dataclass(frozen=True, slots=True)
class Rescued:
    """What a merge has done: tables, and sequences that were advanced."""

    tables: tuple[RescuedTable, ...]
    sequences: tuple[Advanced, ...]


def merge(
    sandbox: Address,
    live: Address,
    tables: Sequence[Wanted],
    *,
    expected: str,
    tools: Tools,
    options: Options = NOTHING_ELSE,
    lock_timeout: timedelta = LOCK_TIMEOUT,
    progress: Progress | None = None,
) -> Rescued:
    """Do what the plan with the hash `expected` says, or nothing.

    Raises ConflictError (the plan would be another one now, or rows do not
    fit), InputError (the plan has obstacles), SourceError (rights),
    TransientError (locked by others), ProofError, ToolError,
    UnreachableError, CancelledError. After an error the live database is as
    it was; only when the connection is lost in the commit it may be done.
    """
    if sandbox == live:
        raise InputError("the sandbox is the live database", safe="nothing was changed")
    there = reading_session(sandbox, sandbox.database, lock_timeout=lock_timeout)
    try:
        with live_transaction(live, lock_timeout) as here:
            work = _Merge(sandbox, there, here, tables, options, progress)
            plan = work.prepare(expected)
            made = work.creations()
            structure = dump_structure(sandbox, there, made, tools=tools, lock_timeout=lock_timeout) if made else None
            advanced = work.change(plan, structure)
            work.prove(plan)
    finally:
        close_quietly(there)
    return Rescued(
        tuple(RescuedTable(one.table, one.create, one.insert, one.update, one.delete) for one in plan.tables),
        tuple(advanced),
    )


class _Merge:
    """The steps of one merge, in two open transactions."""

    def __init__(
        self,
        sandbox: Address,
        there: Connection,
        here: Connection,
        tables: Sequence[Wanted],
        options: Options,
        progress: Progress | None,
    ) -> None:
        self._sandbox = sandbox
        self._there = there
        self._here = here
        self._tables = tables
        self._options = options
        self._progress = progress
        self._pairs: dict[TableName, Pair] = {}
        self._loaders: dict[TableName, Loader] = {}
        self._user_path = ""

    def prepare(self, expected: str) -> RescuePlan:
        """Lock, compare again, and have the rows in temporary tables; refuse what is not the expected plan."""
        check_role(self._here)
        ((path,),) = fetch(self._here, "SELECT reset_val FROM pg_catalog.pg_settings WHERE name = 'search_path'")
        self._user_path = str(path)
        self._phase("locking")
        for table in sorted(wanted.table for wanted in self._tables):
            self._lock(table)
        self._pairs = {pair.wanted.table: pair for pair in read_pairs(self._there, self._here, self._tables)}
        for place, pair in enumerate(self._pairs.values()):
            if pair.here is not None and pair.match.columns:
                loader = self._loaders[pair.wanted.table] = Loader(pair, place, progress=self._progress)
                loader.create()
        with self._reading_only():
            visits = {table: loader.visit for table, loader in self._loaders.items()}
            plan = plan_pairs(
                list(self._pairs.values()), self._here, options=self._options, loaders=visits, progress=self._progress
            )
        _refuse(plan, expected)
        return plan

    def creations(self) -> list[Pair]:
        """Return the tables that are made again."""
        return [pair for pair in self._pairs.values() if pair.here is None]

    def change(self, plan: RescuePlan, structure: Structure | None) -> list[Advanced]:
        """Make, insert, update, delete, and advance sequences; returns those that were advanced."""
        if structure is not None:
            self._phase("making tables")
            run_script(self._here, structure.before)
        set_all(self._here, {"search_path": self._user_path})  # code of users finds what it finds every day
        for pair in self.creations():
            self._phase(f"filling {pair.wanted.table}")
            with said_of_table(pair.wanted.table):
                fill(pair, self._here, progress=self._progress)
        advanced = self._change_existing([one for one in plan.tables if one.acts and not one.create])
        set_all(self._here, {"search_path": ""})
        if structure is not None:
            self._phase("making indexes and constraints")
            run_script(self._here, structure.after)
            for pair in self.creations():
                advanced += self._number(pair)
        return advanced

    def _number(self, pair: Pair) -> list[Advanced]:
        """Let the sequences of a table that was made go on; those of others are only advanced."""
        shape = pair.match.there
        for sequence in shape.sequences:
            if sequence.owned:
                set_sequence(self._there, self._here, sequence)
        shared = [advance(self._here, shape, sequence) for sequence in shape.sequences if not sequence.owned]
        return [one for one in shared if one is not None]

    def _change_existing(self, plans: Sequence[TablePlan]) -> list[Advanced]:
        changes = []
        for plan in plans:
            shape, staging = plan.comparison.match.target, self._loaders[plan.table].staging
            analyse(self._here, staging)
            changes.append(Change(plan, shape, staging))
        self._phase("changing rows")
        for change in changes if not self._options.triggers else ():
            switch_off(self._here, change.shape)
        change_all(self._here, changes, self._keep_on)
        for change in changes if not self._options.triggers else ():
            switch_on(self._here, change.shape)
        advanced = []
        for change in changes:
            for sequence in change.shape.sequences:
                if change.plan.sequences and sequence.column in change.plan.comparison.match.columns:
                    self._keep_on()
                    advanced.append(advance(self._here, change.shape, sequence))
        return [one for one in advanced if one is not None]

    def prove(self, plan: RescuePlan) -> None:
        """Compare once more, before the commit: what was asked for must be there, all else as before."""
        planned = {one.table: one for one in plan.tables}
        with self._reading_only():
            for pair in read_pairs(self._there, self._here, self._tables):
                _prove(planned[pair.wanted.table], compare_pair(pair, progress=self._progress))
        self._phase("committing")

    def _lock(self, table: TableName) -> None:
        self._keep_on()
        with said_of_table(table):
            shape = table_shape(self._here, *table)
            if shape is not None:
                self._here.execute(sql.SQL("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE").format(relation(shape)))

    @contextmanager
    def _reading_only(self) -> Iterator[None]:
        with self._here.transaction():
            self._here.execute("SET TRANSACTION READ ONLY")  # until the savepoint is released
            yield

    def _phase(self, name: str) -> None:
        if self._progress is not None:
            self._progress.phase(name)
        self._keep_on()

    def _keep_on(self) -> None:
        if self._progress is not None:
            self._progress.raise_if_cancelled()


def _prove(plan: TablePlan, found: TableComparison) -> None:
    before = plan.comparison
    left = (found.only_there, found.changed, found.only_here)
    if left != (0, before.changed - plan.update, before.only_here - plan.delete):
        raise ProofError(
            f"{plan.table} would still differ: {left[0]:,} rows missing, {left[1]:,} changed, {left[2]:,} extra",
            safe=AS_IT_WAS,
            hint="a trigger or default changes the rows: leave triggers off, or import as a new schema",
        )


def _refuse(plan: RescuePlan, expected: str) -> None:
    if plan.hash != expected:
        raise ConflictError(
            "the plan would be another one now: tables or rows have changed since it was shown",
            safe=AS_IT_WAS,
            hint="look at a new plan, then apply that one",
        )
    if plan.obstacles:
        raise InputError(
            "the plan cannot be done: " + " ".join(plan.obstacles),
            safe=AS_IT_WAS,
            hint="ask for less or for more tables, or import the tables as a new schema",
        )
