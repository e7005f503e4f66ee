"""What a platform consists of, as the comparison sees it: plain names and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class FileFacts:
    """A name in a directory tree. Access and change times are not kept: nobody can restore them."""

    kind: str
    mode: str
    """Permission bits, octal."""
    owner: str
    """User and group id."""
    mtime_ns: int
    size: int = 0
    digest: str = ""
    """SHA-256 of a regular file's bytes."""
    target: str = ""
    """Of a symbolic link."""
    same_file_as: str = ""
    """Of a file with several names in the tree: the first of them."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Extended attributes: names, and values in hex."""


@dataclass(frozen=True, slots=True)
class TableFacts:
    """The content of a table, whatever the order of its rows."""

    rows: int
    digest: str
    """SHA-256 of the rows as COPY writes them, sorted by their bytes."""


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """A database without its name; `definitions` maps what a thing is to how it is defined."""

    tables: dict[str, TableFacts]
    definitions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Facts:
    """A whole platform: databases by their original names, roles, directory trees by what they hold."""

    databases: dict[str, DatabaseFacts]
    roles: dict[str, str]
    trees: dict[str, dict[str, FileFacts]]

    @property
    def rows(self) -> int:
        """All rows of all tables."""
        return sum(table.rows for database in self.databases.values() for table in database.tables.values())

    @property
    def tables(self) -> int:
        """All tables, partitions and materialized views."""
        return sum(len(database.tables) for database in self.databases.values())

    @property
    def files(self) -> int:
        """All names in all trees, directories and links among them."""
        return sum(map(len, self.trees.values()))

    @property
    def bytes(self) -> int:
        """Bytes of all files, those with several names once."""
        return sum(fact.size for tree in self.trees.values() for fact in tree.values() if not fact.same_file_as)


def compare(before: Facts, after: Facts) -> list[str]:
    """Return every difference as a sentence that names the thing; nothing means that both are equal."""
    found = _compare_texts("", before.roles, after.roles)
    for name in _all_keys(before.databases, after.databases):
        found += _compare_databases(name, before.databases.get(name), after.databases.get(name))
    for name in _all_keys(before.trees, after.trees):
        found += compare_trees(name, before.trees.get(name, {}), after.trees.get(name, {}))
    return found


def compare_trees(name: str, before: dict[str, FileFacts], after: dict[str, FileFacts]) -> list[str]:
    """Return every difference of two directory trees; `name` is what the sentences call them."""
    found = []
    for path in _all_keys(before, after):
        what = f"{name}: {path!r}"
        old, new = before.get(path), after.get(path)
        if new is None:
            found.append(f"{what} is missing")
        elif old is None:
            found.append(f"{what} was not there before")
        elif old != new:
            found += _compare_files(what, old, new)
    return found


def _compare_files(what: str, old: FileFacts, new: FileFacts) -> list[str]:
    if old.kind != new.kind:
        return [f"{what} was a {old.kind} and is a {new.kind}"]
    return [
        f"{what} has another {_FILE_WORDS[field.name]}: {_shown(field.name, old)}, now {_shown(field.name, new)}"
        for field in fields(FileFacts)
        if getattr(old, field.name) != getattr(new, field.name)
    ]


_FILE_WORDS = {
    "mode": "mode",
    "owner": "owner",
    "mtime_ns": "time",
    "size": "size",
    "digest": "content",
    "target": "target",
    "same_file_as": "set of hard links",
    "attributes": "extended attributes",
}


def _shown(name: str, facts: FileFacts) -> str:
    if name == "mtime_ns":
        seconds, nanoseconds = divmod(facts.mtime_ns, 1_000_000_000)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{nanoseconds:09d}"
    if name == "attributes":
        return ", ".join(f"{key}={bytes.fromhex(value)!r}" for key, value in facts.attributes) or "none"
    return str(getattr(facts, name)) or "none"


def _compare_databases(name: str, before: DatabaseFacts | None, after: DatabaseFacts | None) -> list[str]:
    if before is None or after is None:
        return [f"the database {name} {'is missing' if after is None else 'was not there before'}"]
    found = _compare_texts(f" of {name}", before.definitions, after.definitions)
    for table in _all_keys(before.tables, after.tables):
        old, new = before.tables.get(table), after.tables.get(table)
        if new is None:
            found.append(f"the rows of {table} in {name} are missing")
        elif old is None:
            found.append(f"the table {table} in {name} was not there before")
        elif old.rows != new.rows:
            found.append(f"{table} in {name} had {old.rows:,} rows and has {new.rows:,}")
        elif old.digest != new.digest:
            found.append(f"the rows of {table} in {name} are not the same ({old.rows:,} rows)")
    return found


def _compare_texts(where: str, before: dict[str, str], after: dict[str, str]) -> list[str]:
    found = []
    for what in _all_keys(before, after):
        old, new = before.get(what), after.get(what)
        if new is None:
            found.append(f"{what}{where} is missing")
        elif old is None:
            found.append(f"{what}{where} was not there before")
        elif old != new:
            found.append(f"{what}{where} was {old!r} and is {new!r}")
    return found


def _all_keys(before: Mapping[str, object], after: Mapping[str, object]) -> list[str]:
    return sorted(before.keys() | after.keys())
