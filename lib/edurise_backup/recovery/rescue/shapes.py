"""What a table is, as far as bringing its rows back depends on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class TableName(NamedTuple):
    """A table's full name; sorts as tables are locked."""

    schema: str
    name: str

    def __str__(self) -> str:
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A table that is asked for, or those of its rows for which an SQL condition holds.

    The condition sees the table's columns; whatever is not PostgreSQL's own
    must be qualified (`public.f(x)`): the search path is empty.
    """

    schema: str
    name: str
    where: str = ""

    @property
    def table(self) -> TableName:
        """Its name."""
        return TableName(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Column:
    """A column; `type` as `format_type` writes it under an empty search path."""

    name: str
    type: str
    not_null: bool
    has_default: bool
    generated: bool
    identity: str
    """`always`, `by default`, or empty."""
    foreign_type: bool
    """Whether the type is not PostgreSQL's own."""

    @property
    def fills_itself(self) -> bool:
        """Whether a row may be inserted without it."""
        return not self.not_null or self.has_default or self.generated or bool(self.identity)


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A column of a key; what is equal for the key's index is found with `operator` of `operator_schema`."""

    name: str
    type: str
    base_type: str
    """The type below all domains."""
    operator_schema: str
    operator: str
    deterministic: bool
    """Whether only equal texts are equal, as far as the collation decides."""


Key = tuple[KeyColumn, ...]


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """A foreign key of `child` that refers to `parent`."""

    name: str
    child: TableName
    columns: tuple[str, ...]
    types: tuple[str, ...]
    parent: TableName
    parent_columns: tuple[str, ...]
    operators: tuple[tuple[str, str], ...]
    """Schema and name of what compares a parent's column (left) with the child's."""
    on_update: str
    on_delete: str
    """`a` and `r` refuse; `c`, `n` and `d` change the child's rows."""
    definition: str


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger of users on a table or on one of its partitions; states as in `pg_trigger.tgenabled`."""

    table: TableName
    name: str
    state: str


@dataclass(frozen=True, slots=True)
class NumberSequence:
    """A sequence that numbers a column: owned by it, its identity, or in its default."""

    schema: str
    name: str
    column: str
    increment: int
    lowest: int
    highest: int
    cache: int
    owned: bool
    """Whether it comes and goes with the table."""


@dataclass(frozen=True, slots=True)
class TableShape:
    """A table as the catalog describes it, in the order in which it was asked."""

    table: TableName
    partitioned: bool
    partition: bool
    logged: bool
    inherited: bool
    """Whether other tables inherit from it, or are its partitions."""
    row_security: bool
    rules: bool
    columns: tuple[Column, ...]
    keys: tuple[Key, ...]
    """Primary key first; each is unique and has no nulls."""
    foreign_keys: tuple[ForeignKey, ...]
    referenced_by: tuple[ForeignKey, ...]
    triggers: tuple[Trigger, ...]
    sequences: tuple[NumberSequence, ...]

    def column(self, name: str) -> Column | None:
        """Return the column of this name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)
