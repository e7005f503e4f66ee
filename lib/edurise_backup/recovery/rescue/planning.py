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
from edurise_backup.postgres.session import Connection, close_quietly, reading_session
from edurise_backup.recovery.rescue.comparison import (
    LOCK_TIMEOUT,
    Pair,
    Visit,
    compare_pair,
    read_pairs,
)
from edurise_backup.recovery.rescue.conditions import said_of_table
from edurise_backup.recovery.rescue.differences import Difference
from edurise_backup.recovery.rescue.parents import ChildCheck, ParentCheck
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
    there = reading_session(sandbox, sandbox.database, lock_timeout=lock_timeout)
    try:
        here = reading_session(live, live.database, lock_timeout=lock_timeout)
        try:
            return plan_pairs(read_pairs(there, here, tables), here, options=options, progress=progress)
        finally:
            close_quietly(here)
    finally:
        close_quietly(there)


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
        plan, content = _plan_pair(pair, by_name, here, options, (loaders or {}).get(pair.wanted.table), progress)
        plans.append(plan)
        total.update(content)
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


def _plan_pair(
    pair: Pair,
    pairs: Mapping[TableName, Pair],
    here: Connection,
    options: Options,
    loader: Visit | None,
    progress: Progress | None,
) -> tuple[TablePlan, bytes]:
    match = pair.match
    content = hashlib.sha256(msgspec.json.encode((pair.wanted, match.there, match.here)))
    parents = ParentCheck(pair, pairs, here=here)
    children = ChildCheck(pair, pairs.__contains__)

    def visit(batch: list[Difference]) -> None:
        done = [one for one in batch if acts(one, pair, options)]
        for one in done:
            content.update(msgspec.json.encode(one))
        if coming := [one for one in done if one.kind != "only here"]:
            parents.visit(coming)
        if going := [one for one in done if one.kind == "only here"]:
            children.visit(going)
        if loader is not None and done:
            loader(done)

    comparison = compare_pair(pair, [visit], progress=progress)
    plan = TablePlan(
        wanted=pair.wanted,
        comparison=comparison,
        options=options,
        violations=(*parents.violations(), *children.violations()),
        missing=tuple(_missing(pair, here)),
    )
    return plan, content.digest()


def _missing(pair: Pair, here: Connection) -> list[str]:
    if pair.match.here is not None:
        return []
    with said_of_table(pair.wanted.table):
        return [
            *(f"the schema {name}" for name in [pair.wanted.schema] if not has_schema(here, name)),
            *(f"the type {name}" for name in missing_types(here, pair.match.there)),
            *(f"the sequence {name}" for name in missing_sequences(here, pair.match.there)),
        ]
