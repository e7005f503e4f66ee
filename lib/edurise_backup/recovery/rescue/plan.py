"""What bringing tables back would do: a value that a person reads, and whose hash stands for what was read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edurise_backup.recovery.rescue.comparison import TableComparison
from edurise_backup.recovery.rescue.parents import Violation
from edurise_backup.recovery.rescue.shapes import TableName, Wanted


@dataclass(frozen=True, slots=True)
class Options:
    """What is done beyond inserting rows that are missing."""

    changed: bool = False
    """Put rows back that have other values now."""
    delete_extra: bool = False
    """Delete rows that were not there."""
    triggers: bool = False
    """Let the triggers of users fire."""


@dataclass(frozen=True, slots=True)
class TablePlan:
    """What would be done to one table, and what not."""

    wanted: Wanted
    comparison: TableComparison
    options: Options
    violations: tuple[Violation, ...]
    missing: tuple[str, ...]
    """What the live database lacks so that the table could be made again."""

    @property
    def table(self) -> TableName:
        """Its name."""
        return self.wanted.table

    @property
    def create(self) -> bool:
        """Whether the table is made again."""
        return self.comparison.match.here is None

    @property
    def insert(self) -> int:
        """Rows that come back."""
        return self.comparison.only_there

    @property
    def update(self) -> int:
        """Rows that get the values that they had."""
        return self.comparison.changed if self.options.changed else 0

    @property
    def delete(self) -> int:
        """Rows that are deleted."""
        return self.comparison.only_here if self.options.delete_extra and self.comparison.match.key else 0

    @property
    def acts(self) -> bool:
        """Whether anything would be done."""
        return bool(self.create or self.insert or self.update or self.delete)

    @property
    def set_columns(self) -> tuple[str, ...]:
        """The columns that an update sets."""
        return tuple(self.comparison.changed_columns) if self.update else ()

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why it may not be done; empty when it may."""
        match = self.comparison.match
        fixed = [name for name in match.fixed_columns if name in self.set_columns]
        return (
            *match.obstacles,
            *(match.insert_obstacles if self.insert else ()),
            *(f"The live database does not have {what}." for what in self.missing),
            *(f"The column {name} changed, and as GENERATED ALWAYS AS IDENTITY cannot be put back." for name in fixed),
            *(str(violation) for violation in self.violations),
        )

    @property
    def not_touched(self) -> tuple[str, ...]:
        """Rows that differ and stay as they are, and why."""
        left = self.comparison
        found = []
        if left.changed and not self.options.changed:
            found.append(f"{left.changed:,} changed rows stay as they are: putting them back was not asked for.")
        if left.only_here and not self.options.delete_extra:
            found.append(f"{left.only_here:,} rows that are only here stay: deleting was not asked for.")
        elif left.only_here and not left.match.key:
            found.append(f"{left.only_here:,} rows that are only here stay: the table has no key to delete by.")
        return tuple(found)

    @property
    def triggers_off(self) -> tuple[str, ...]:
        """Triggers that would fire and are switched off meanwhile."""
        here = self.comparison.match.here
        if here is None or self.options.triggers or not self.acts:
            return ()
        return tuple(f"{trigger.name} on {trigger.table}" for trigger in here.triggers if trigger.state in "OA")

    @property
    def sequences(self) -> tuple[str, ...]:
        """Sequences that are advanced, when they stand lower than the rows."""
        match = self.comparison.match
        if not (self.insert or self.update):
            return ()
        return tuple(f"{one.schema}.{one.name}" for one in match.target.sequences if one.column in match.columns)

    def lines(self) -> Iterator[str]:
        """Yield the plan as it is shown, a line each."""
        what = "is made again, " if self.create else ""
        which = f" where {self.wanted.where}" if self.wanted.where else ""
        yield f"{self.table}{which}: {what}insert {self.insert:,}, update {self.update:,}, delete {self.delete:,}"
        if self.set_columns:
            changes = ", ".join(f"{name} ({self.comparison.changed_columns[name]:,})" for name in self.set_columns)
            yield f"  Columns that get their values back: {changes}."
        yield from (f"  Not touched: {line}" for line in self.not_touched)
        if self.triggers_off:
            yield f"  Triggers that would fire and are off meanwhile: {', '.join(self.triggers_off)}."
        if self.sequences:
            yield f"  Sequences that are advanced where they stand lower: {', '.join(self.sequences)}."
        yield from (f"  {note}" for note in self.comparison.match.notes)
        yield from (f"  Cannot be done: {obstacle}" for obstacle in self.obstacles)


@dataclass(frozen=True, slots=True)
class RescuePlan:
    """What would be done; `hash` stands for these rows, these shapes and these options."""

    tables: tuple[TablePlan, ...]
    """In the order in which rows are inserted: parents first."""
    options: Options
    hash: str

    @property
    def obstacles(self) -> tuple[str, ...]:
        """Why it may not be done, each with its table; empty when it may."""
        return tuple(f"{table.table}: {obstacle}" for table in self.tables for obstacle in table.obstacles)

    def lines(self) -> list[str]:
        """Return the plan as it is shown, a line each."""
        return [line for table in self.tables for line in table.lines()]
