"""The configured PostgreSQL servers: where they are, which tools fit them, what is on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psycopg

from edurise_backup.model.settings import ClusterSettings, DatabaseSettings, RecoveryRoleSettings
from edurise_backup.operations.secrets import read_secret
from edurise_backup.postgres.connection import Address, connect, parse_address
from edurise_backup.postgres.session import fetch, translated
from edurise_backup.postgres.tools import Tools, find_tools

_DATABASES = """
    SELECT datname::text FROM pg_catalog.pg_database
    WHERE datallowconn AND datconnlimit <> -2 AND datname NOT IN ('template0', 'template1') ORDER BY 1"""
_TAKEN = "SELECT datname::text FROM pg_catalog.pg_database"
_PLACE = """
    SELECT setting, pg_catalog.pg_backend_pid()::text
    FROM pg_catalog.pg_settings WHERE name = 'data_directory'"""  # no row without the right to see it


def database_address(source: DatabaseSettings) -> Address:
    """Return where a configured server is; raises ConfigError."""
    return _address(source, f"database {source.name}")


def recovery_address(source: DatabaseSettings | ClusterSettings) -> Address:
    """Return where databases (or tables) of this source are brought back, and as which role; raises ConfigError."""
    kind = "cluster" if isinstance(source, ClusterSettings) else "database"
    if not source.recovery.url:
        return _address(source, f"{kind} {source.name}")
    return _address(source.recovery, f"{kind} {source.name}, recovery")


def cluster_address(source: ClusterSettings) -> Address:
    """Return where a configured cluster's server is; raises ConfigError."""
    return _address(source, f"cluster {source.name}")


def _address(table: DatabaseSettings | RecoveryRoleSettings | ClusterSettings, owner: str) -> Address:
    place = table.password(owner)
    password = read_secret(place, spaces_count=True) if place else None
    return parse_address(table.url, password=password, allow_plaintext=table.allow_plaintext)


def database_tools(source: DatabaseSettings, address: Address) -> Tools:
    """Return client tools that fit the server; raises UnreachableError, UnsupportedVersionError."""
    with connect(address, autocommit=True) as connection:
        major = connection.info.server_version // 10000
    return find_tools(major, bindir=Path(source.bindir) if source.bindir else None)


def list_databases(address: Address, exclude: Sequence[str]) -> list[str]:
    """Return the databases of a server that are backed up; raises UnreachableError, SourceError."""
    with connect(address, autocommit=True) as connection:
        try:
            names = [str(name) for (name,) in fetch(connection, _DATABASES)]
        except psycopg.Error as error:
            raise translated(error, "the list of databases") from error
    return [name for name in names if name not in exclude]


@dataclass(frozen=True, slots=True)
class Occupied:
    """What a server has already, for whoever wants to add to it."""

    names: frozenset[str]
    """Every database's, also of those that are never backed up."""
    directory: Path | None
    """Its data directory, when that is on this host and its disk can be seen from here."""


def look_at(address: Address) -> Occupied:
    """Return what is on a server; raises UnreachableError."""
    with connect(address, autocommit=True) as connection:
        try:
            names = frozenset(str(name) for (name,) in fetch(connection, _TAKEN))
            places = fetch(connection, _PLACE) if address.on_this_host else []
            seen = [place for path, pid in places if (place := _seen(str(path), str(pid)))]
        except psycopg.Error as error:
            raise translated(error, "the list of databases") from error
    return Occupied(names, seen[0] if seen else None)


def _seen(path: str, pid: str) -> Path | None:
    """Return a data directory when its disk can be seen; our own servers know theirs as a descriptor only."""
    try:
        place = Path(f"/proc/{pid}/cwd").readlink() if path.startswith("/proc/self/") else Path(path)
        os.statvfs(place)
    except OSError:
        return None
    return place
