"""Read what a database is: its properties, relations, sequences, extensions and objects.

Everything is read in the caller's transaction; names that the server prints
are qualified because its search path is empty.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

from edurise_backup.errors import NotFoundError
from edurise_backup.model.database import (
    DatabaseProperties,
    Extension,
    Grant,
    Kind,
    ObjectFacts,
    RoleSettings,
    Setting,
)
from edurise_backup.postgres import catalog_queries as queries
from edurise_backup.postgres.session import Connection, fetch

_T = TypeVar("_T")
_PROVIDERS: dict[str, Literal["libc", "icu", "builtin"]] = {"c": "libc", "d": "libc", "i": "icu", "b": "builtin"}
_KINDS: dict[str, Kind] = {
    "r": "table",
    "p": "partitioned table",
    "m": "materialized view",
    "f": "foreign table",
}


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation that holds rows, as the catalog describes it."""

    oid: int
    schema: str
    name: str
    kind: Kind
    unlogged: bool
    bytes: int
    """About: from the last VACUUM or ANALYZE; `read_sizes` asks the files."""
    extension: str | None
    columns: tuple[str, ...]
    """In the order of their names, without dropped ones."""
    types: tuple[int, ...]
    """Of the columns: their object ids in pg_type."""
    file_node: int
    populated: bool

    @property
    def lockable(self) -> bool:
        """Whether LOCK TABLE takes it, and pg_dump reads it itself."""
        return self.kind in ("table", "partitioned table") and self.extension is None

    @property
    def countable(self) -> bool:
        """Whether it has rows of its own, here, that a dump brings back (or REFRESH computes)."""
        return self.kind in ("table", "materialized view") and self.extension is None and self.populated

    @property
    def full_name(self) -> str:
        """The name for a person."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True, slots=True)
class Sequence:
    """A sequence's identity."""

    oid: int
    schema: str
    name: str
    table: int | None
    """The table whose column owns it (serial, identity)."""


def read_properties(connection: Connection, database: str) -> DatabaseProperties:
    """Return the properties of a database of the server; raises NotFoundError, psycopg.Error."""
    version = connection.info.server_version
    locale = "datlocale" if version >= 170000 else "daticulocale" if version >= 150000 else "NULL::text"
    rules = "daticurules" if version >= 160000 else "NULL::text"
    provider, collation = ("datlocprovider", "datcollversion") if version >= 150000 else ("'c'::char", "NULL::text")
    columns = {"locale": locale, "rules": rules, "provider": provider, "collation": collation}
    rows = fetch(connection, queries.PROPERTIES.format_map(columns), [database])
    if not rows:
        raise NotFoundError(f"there is no database named {database!r}", hint="check the name; it is case-sensitive")
    (owner, encoding, found, collate, ctype, local, icu, collated, space, limit, template, comment, defaults) = rows[0]
    return DatabaseProperties(
        owner=_text(owner),
        encoding=_text(encoding),
        locale_provider=_PROVIDERS[_text(found)],
        collate=_text(collate),
        ctype=_text(ctype),
        locale=_optional(local, str),
        icu_rules=_optional(icu, str),
        collation_version=_optional(collated, str),
        tablespace=_text(space),
        connection_limit=_int(limit),
        is_template=bool(template),
        comment=_optional(comment, str),
        grants=None if defaults else _grants(connection, database),
        settings=_settings(fetch(connection, queries.DATABASE_SETTINGS, [database])),
        role_settings=_role_settings(connection, database),
    )


def _grants(connection: Connection, database: str) -> list[Grant]:
    return sorted(
        Grant(_text(grantee), _text(privilege), bool(grantable), _text(grantor))
        for grantee, privilege, grantable, grantor in fetch(connection, queries.DATABASE_GRANTS, [database])
    )


def _role_settings(connection: Connection, database: str) -> list[RoleSettings]:
    by_role: dict[str, list[tuple[object, ...]]] = {}
    for role, text in fetch(connection, queries.ROLE_SETTINGS, [database]):
        by_role.setdefault(_text(role), []).append((text,))
    return [RoleSettings(role, _settings(rows)) for role, rows in sorted(by_role.items())]


def _settings(rows: list[tuple[object, ...]]) -> list[Setting]:
    return [Setting(*_text(text).split("=", 1)) for (text,) in rows]


def read_relations(connection: Connection) -> list[Relation]:
    """Return every relation of users that holds rows, sorted; raises psycopg.Error."""
    return [
        Relation(
            oid=_int(oid),
            schema=_text(schema),
            name=_text(name),
            kind=_KINDS[_text(kind)],
            unlogged=bool(unlogged),
            bytes=_int(size),
            extension=_optional(extension, str),
            columns=tuple(cast("list[str]", columns)),
            types=tuple(cast("list[int]", types)),
            file_node=_int(node),
            populated=bool(populated),
        )
        for oid, schema, name, kind, unlogged, size, extension, columns, types, node, populated in fetch(
            connection, queries.RELATIONS
        )
    ]


def read_sizes(connection: Connection, relations: list[Relation]) -> list[int]:
    """Return the bytes on disk of each relation, with TOAST; raises psycopg.Error."""
    return [_int(size) for (size,) in fetch(connection, queries.SIZES, [[relation.oid for relation in relations]])]


def rewritten_since(connection: Connection, relations: list[Relation]) -> list[Relation]:
    """Return the relations whose files were replaced (TRUNCATE, a rewrite) after the snapshot; raises psycopg.Error.

    Rows of a truncated table are gone for every snapshot, older ones too.
    """
    now = fetch(connection, queries.FILE_NODES, [[relation.oid for relation in relations]])
    return [
        relation
        for relation, (node,) in zip(relations, now, strict=True)
        if relation.file_node and _int(node) != relation.file_node
    ]


def hidden_by_policies(connection: Connection, relations: list[Relation]) -> list[Relation]:
    """Return the relations of which row-level security hides rows from this role; raises psycopg.Error."""
    active = fetch(connection, queries.HIDDEN, [[relation.oid for relation in relations]])
    return [relation for relation, (hidden,) in zip(relations, active, strict=True) if hidden]


def read_sequences(connection: Connection) -> list[Sequence]:
    """Return every sequence of users that a dump brings back, sorted; raises psycopg.Error."""
    return [
        Sequence(_int(oid), _text(schema), _text(name), _optional(table, int))
        for oid, schema, name, table in fetch(connection, queries.SEQUENCES)
    ]


def read_extensions(connection: Connection) -> list[Extension]:
    """Return the installed extensions, sorted; raises psycopg.Error."""
    rows = fetch(connection, queries.EXTENSIONS)
    return [Extension(_text(name), _text(version), _text(schema)) for name, version, schema in rows]


def read_objects(connection: Connection) -> list[ObjectFacts]:
    """Return the schema's objects and their states, sorted; raises psycopg.Error."""
    rows: list[ObjectFacts] = []
    for query in queries.OBJECTS:
        found = fetch(connection, query)
        rows += [ObjectFacts(_text(kind), _text(name), _text(state)) for kind, name, state in found]
    return sorted(rows)


def has_user_content(connection: Connection) -> bool:
    """Return whether anybody made or set anything in this database since it was created."""
    return bool(fetch(connection, queries.USER_CONTENT)[0][0])


def system_identifier(connection: Connection) -> str | None:
    """Return the cluster's identifier, or None when the role may not read it; raises psycopg.Error."""
    allowed = fetch(connection, "SELECT has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')")
    if not allowed[0][0]:
        return None
    return _text(fetch(connection, "SELECT system_identifier::text FROM pg_catalog.pg_control_system()")[0][0])


def server_version(connection: Connection) -> str:
    """Return the server's version as it states it, e.g. `18.4`, without the distribution's addition."""
    text = connection.info.parameter_status("server_version") or ""
    match = re.match(r"\S+", text)
    return match[0] if match else text


def _text(value: object) -> str:
    assert isinstance(value, str), type(value)
    return value


def _int(value: object) -> int:
    assert isinstance(value, int), type(value)
    return value


def _optional(value: object, kind: type[_T]) -> _T | None:
    assert value is None or isinstance(value, kind), type(value)
    return value
