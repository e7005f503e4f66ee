"""Plan what bringing tables back would do, and change nothing: START HERE, then `merging` or `importing`.

The hash covers what would be done: every row that would be written or
deleted with what it is now, both shapes and the options. Rows that differ
and would stay as they are do not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta

import msgspec

from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.session import Connection
from edurise_backup.recovery.rescue.comparison import Visit, compare_pair
from edurise_backup.recovery.rescue.conditions import said_of_table
from edurise_backup.recovery.rescue.differences import Difference
from edurise_backup.recovery.rescue.pairs import LOCK_TIMEOUT, Pair, read_pairs, reading_both
from edurise_backup.recovery.rescue.parents import ChildCheck, ParentCheck, Violation
from edurise_backup.recovery.rescue.plan import Options, RescuePlan, TablePlan
from edurise_backup.recovery.rescue.reading_shapes import has_schema, missing_sequences, missing_types
from edurise_backup.recovery.rescue.shapes import TableName, Wanted

NOTHING_ELSE = Options()


def plan_rescue(
    sandbox: Address,
    live: Address,
    tables: Sequence[Wanted],
    *,
    options: Options = NOTHING_ELSE,
    lock_timeout: timedelta = LOCK_TIMEOUT,
    progress: Progress | None = None,
) -> RescuePlan:
    """Return what `merge` would do; nothing is written. Raises what `comparison.compare` raises."""
    with reading_both(sandbox, live, lock_timeout) as (there, here):
        return plan_pairs(read_pairs(there, here, tables), here, options=options, progress=progress)


def plan_pairs(
    pairs: Sequence[Pair],
    here: Connection,
    *,
    options: Options,
    loaders: Mapping[TableName, Visit] | None = None,
    progress: Progress | None = None,
) -> RescuePlan:
    """Return the plan for tables of open sessions; what would be done is handed to `loaders`, too."""
    by_name = {pair.wanted.table: pair for pair in pairs}
    total = hashlib.sha256(msgspec.json.encode(options))
    plans = []
    for pair in parents_first(pairs):
        watch = _Watch(pair, by_name, here, options, (loaders or {}).get(pair.wanted.table))
        comparison = compare_pair(pair, [watch.visit], progress=progress)
        plans.append(TablePlan(pair.wanted, comparison, options, watch.violations(), tuple(_missing(pair, here))))
        total.update(watch.content.digest())
    return RescuePlan(tuple(plans), options, total.hexdigest())


def acts(one: Difference, pair: Pair, options: Options) -> bool:
    """Return whether something is done about a row that differs."""
    if one.kind == "changed":
        return options.changed
    return one.kind == "only there" or (options.delete_extra and bool(pair.match.key))


def parents_first(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the tables by name, but parents before their children where foreign keys are no circle."""
    left = {pair.wanted.table: pair for pair in sorted(pairs, key=lambda pair: pair.wanted.table)}
    ordered: list[Pair] = []
    while left:
        free = next(
            (name for name, pair in left.items() if not _parents(pair) & (left.keys() - {name})), next(iter(left))
        )
        ordered.append(left.pop(free))
    return ordered


def _parents(pair: Pair) -> set[TableName]:
    return {foreign.parent for foreign in pair.match.target.foreign_keys}


class _Watch:
    """Sums up what would be done to a table, and looks for foreign keys that would not hold."""

    def __init__(
        self, pair: Pair, pairs: Mapping[TableName, Pair], here: Connection, options: Options, loader: Visit | None
    ) -> None:
        self._pair = pair
        self._options = options
        self._loader = loader
        self._parents = ParentCheck(pair, pairs, here=here)
        self._children = ChildCheck(pair, pairs.__contains__)
        self.content = hashlib.sha256(msgspec.json.encode((pair.wanted, pair.match.there, pair.match.here)))

    def visit(self, batch: list[Difference]) -> None:
        """Take some of what differs; raises psycopg.Error, and what the loader raises."""
        done = [one for one in batch if acts(one, self._pair, self._options)]
        for one in done:
            self.content.update(msgspec.json.encode(one))
        if coming := [one for one in done if one.kind != "only here"]:
            self._parents.visit(coming)
        if going := [one for one in done if one.kind == "only here"]:
            self._children.visit(going)
        if self._loader is not None and done:
            self._loader(done)

    def violations(self) -> tuple[Violation, ...]:
        """Return the foreign keys that would not hold."""
        return (*self._parents.violations(), *self._children.violations())


def _missing(pair: Pair, here: Connection) -> list[str]:
    if pair.match.here is not None:
        return []
    with said_of_table(pair.wanted.table):
        return [
            *(f"the schema {name}" for name in [pair.wanted.schema] if not has_schema(here, name)),
            *(f"the type {name}" for name in missing_types(here, pair.match.there)),
            *(f"the sequence {name}" for name in missing_sequences(here, pair.match.there)),
        ]
