"""Decide which databases of a server are captured."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import cast

import psycopg

from edurise_backup.errors import NotFoundError, UnsupportedVersionError
from edurise_backup.model.database import Globals
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.roles import read_globals
from edurise_backup.postgres.session import fetch, translated
from edurise_backup.postgres.tools import Tools

# an interrupted DROP DATABASE leaves connection limit -2: nobody can connect
_DATABASES = """
SELECT datname::text, datallowconn AND datconnlimit <> -2 FROM pg_catalog.pg_database
WHERE datname NOT IN ('template0', 'template1') ORDER BY datname::text COLLATE "C"
"""


@dataclass(frozen=True, slots=True)
class Choice:
    """The databases to capture, what they share, and what was left out and why."""

    names: list[str]
    server_globals: Globals
    problems: list[str]


def choose_databases(
    address: Address, *, tools: Tools, wanted: Collection[str] | None, excluded: Collection[str]
) -> Choice:
    """Return the databases of the server, or the `wanted` ones, without the `excluded`.

    Raises UnreachableError, UnsupportedVersionError, NotFoundError for a
    wanted one that does not exist.
    """
    with connect(address, autocommit=True) as connection:
        _check_version(tools, connection.info.server_version // 10000)
        server_globals = read_globals(connection)
        try:
            rows = cast("list[tuple[str, bool]]", fetch(connection, _DATABASES))
        except psycopg.Error as error:
            raise translated(error, "the list of databases") from error
    problems = []
    if not server_globals.verifiers_included:
        problems.append(
            f"The role {address.user} may not read passwords: roles are kept without them "
            "(a restore makes them without a password)."
        )
    open_ones = dict(rows)
    if wanted is not None:
        return Choice(_named(wanted, excluded, open_ones), server_globals, problems)
    names = [name for name in open_ones if name not in excluded]
    problems += [
        f"The database {name} allows no connections and was left out." for name in names if not open_ones[name]
    ]
    return Choice([name for name in names if open_ones[name]], server_globals, problems)


def _named(wanted: Collection[str], excluded: Collection[str], existing: Collection[str]) -> list[str]:
    if missing := [name for name in wanted if name not in existing]:
        raise NotFoundError(
            f"the server has no database named {', '.join(map(repr, missing))}",
            hint=f"it has {', '.join(existing)}",
        )
    return sorted(set(wanted) - set(excluded))


def _check_version(tools: Tools, server_major: int) -> None:
    if tools.version.major < server_major:
        raise UnsupportedVersionError(
            f"server newer than pg_dump: the server runs PostgreSQL {server_major}, {tools.pg_dump} is {tools.version}",
            safe="nothing was read or changed",
            hint=f"install postgresql-client-{server_major}",
        )
