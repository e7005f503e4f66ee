"""Compare tables there and here: counts, which columns changed, and some rows to look at."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address
from edurise_backup.recovery.rescue.conditions import said_of_condition, said_of_table
from edurise_backup.recovery.rescue.differences import Difference, Kind, differences
from edurise_backup.recovery.rescue.matching import TableMatch
from edurise_backup.recovery.rescue.pairs import LOCK_TIMEOUT, Pair, read_pairs, reading_both
from edurise_backup.recovery.rescue.shapes import Wanted
from edurise_backup.recovery.rescue.sides import Side, columns_of, digest

_SAMPLES = 10
_SHOWN = 200

Visit = Callable[[list[Difference]], None]


@dataclass(frozen=True, slots=True)
class Sample:
    """A row that differs, its values as text, long ones cut; of a changed one only the columns that changed."""

    kind: Kind
    key: dict[str, str]
    there: dict[str, str | None]
    here: dict[str, str | None]
    copies: int


@dataclass(frozen=True, slots=True)
class TableComparison:
    """How a table differs; counts are exact, samples are the first few of each kind."""

    match: TableMatch
    only_there: int
    only_here: int
    changed: int
    changed_columns: dict[str, int]
    """In how many of the changed rows."""
    samples: tuple[Sample, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """How tables of the sandbox differ from the live ones, in the order in which they were asked for."""

    tables: tuple[TableComparison, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not any(table.only_there or table.only_here or table.changed for table in self.tables)


def compare(
    sandbox: Address,
    live: Address,
    tables: Sequence[Wanted],
    *,
    lock_timeout: timedelta = LOCK_TIMEOUT,
    progress: Progress | None = None,
) -> Comparison:
    """Compare the tables, each side in one snapshot; nothing is written.

    Raises InputError (a condition, names), NotFoundError, SourceError (rights),
    TransientError (locked), UnreachableError, CancelledError.
    """
    with reading_both(sandbox, live, lock_timeout) as (there, here):
        pairs = read_pairs(there, here, tables)
        return Comparison(tuple(compare_pair(pair, progress=progress) for pair in pairs))


def visit_differences(pair: Pair, visits: Sequence[Visit], *, progress: Progress | None) -> None:
    """Hand what differs to each of `visits`, some rows at a time; raises our errors only."""

    def keep_on() -> None:
        if progress is not None:
            progress.raise_if_cancelled()

    if progress is not None:
        progress.phase(f"comparing {pair.wanted.table}")
    keep_on()
    with said_of_table(pair.wanted.table), said_of_condition(pair.wanted):
        for batch in differences(pair.match, pair.there, pair.here, where=pair.wanted.where, keep_on=keep_on):
            keep_on()
            for visit in visits:
                visit(batch)


def compare_pair(pair: Pair, visits: Sequence[Visit] = (), *, progress: Progress | None) -> TableComparison:
    """Compare one table, and hand what differs to `visits`, too; raises our errors only."""
    tally = Tally(pair)
    if pair.match.columns:
        visit_differences(pair, [tally.visit, *visits], progress=progress)
    return tally.result()


class Tally:
    """Counts what differs, finds the columns that changed, and keeps a few rows of each kind."""

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self._counts: Counter[Kind] = Counter()
        self._columns: Counter[str] = Counter()
        self._samples: list[Sample] = []

    def visit(self, batch: list[Difference]) -> None:
        """Take some of what differs; raises psycopg.Error."""
        changed = [one for one in batch if one.kind == "changed"]
        columns = self._changed_columns(changed) if changed else {}
        for names in columns.values():
            self._columns.update(names)
        kinds: tuple[Kind, ...] = ("only there", "only here", "changed")
        for kind in kinds:
            known = sum(sample.kind == kind for sample in self._samples)
            few = [one for one in batch if one.kind == kind][: _SAMPLES - known]
            self._samples += [self._sample(one, columns.get(one.key)) for one in few]
        for one in batch:
            self._counts[one.kind] += one.copies

    def result(self) -> TableComparison:
        """Return what was counted."""
        return TableComparison(
            match=self._pair.match,
            only_there=self._counts["only there"],
            only_here=self._counts["only here"],
            changed=self._counts["changed"],
            changed_columns={name: self._columns[name] for name in self._pair.match.columns if self._columns[name]},
            samples=tuple(self._samples),
        )

    def _changed_columns(self, changed: list[Difference]) -> dict[tuple[str, ...], list[str]]:
        assert self._pair.here is not None
        names = self._pair.match.columns
        theirs, ours = (_column_digests(side, changed) for side in (self._pair.there, self._pair.here))
        return {
            key: [name for name, one, other in zip(names, theirs[key], ours[key], strict=True) if one != other]
            for key in theirs.keys() & ours.keys()
        }

    def _sample(self, one: Difference, changed: Sequence[str] | None) -> Sample:
        names = self._pair.match.columns if changed is None else tuple(changed)
        return Sample(
            kind=one.kind,
            key={column.name: text for column, text in zip(self._pair.match.key, one.key, strict=False)},
            there=_values(self._pair.there, one, names) if one.there else {},
            here=_values(self._pair.here, one, names) if one.here and self._pair.here is not None else {},
            copies=one.copies,
        )


def _column_digests(side: Side, changed: list[Difference]) -> dict[tuple[str, ...], tuple[object, ...]]:
    width = len(side.match.key)
    expressions = [*side.key_texts(), *(digest([name]) for name in side.match.columns)]
    rows = side.read([one.picked for one in changed], expressions)
    return {tuple(str(text) for text in row[:width]): row[width:] for row in rows}


def _values(side: Side, one: Difference, names: Sequence[str]) -> dict[str, str | None]:
    shown = [
        sql.SQL("pg_catalog.left({}::pg_catalog.text, {})").format(column, _SHOWN) for column in columns_of("t", names)
    ]
    rows = side.read([one.picked._replace(copies=1)], shown)
    return (
        {name: None if text is None else str(text) for name, text in zip(names, rows[0], strict=True)} if rows else {}
    )
