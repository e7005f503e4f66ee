"""Bring the catalog's tables up to this release, one numbered SQL file after the other.

Each file runs once, in a transaction of its own, under an advisory lock, so
that two processes may start at once. Its digest is kept: a file that was
changed after it ran is noticed, and so is a catalog of a newer release.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import ConfigError, UnsupportedVersionError

_LOCK = 0x45647552697365  # any number that no other program uses on this database
_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql\Z")


@dataclass(frozen=True, slots=True)
class Migration:
    """One SQL file."""

    version: int
    name: str
    sql: bytes

    @property
    def sha256(self) -> str:
        """The file's digest in hex."""
        return hashlib.sha256(self.sql).hexdigest()


def packaged_migrations() -> tuple[Migration, ...]:
    """Return this release's migrations in order; they count from 1 without a gap."""
    found = []
    for file in files("edurise_backup.catalog").joinpath("migrations").iterdir():
        if match := _NAME.match(file.name):
            found.append(Migration(int(match[1]), file.name, file.read_bytes()))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ConfigError("the catalog's migrations are not complete", hint="install this release again")
    return tuple(found)


def migrate(sessions: Sessions, migrations: Sequence[Migration] | None = None) -> tuple[int, ...]:
    """Apply what is missing and return the versions that were applied now, none when all was done.

    Raises UnsupportedVersionError for a catalog of a newer release and
    ConfigError when a migration that was applied is not the one of this release.
    """
    wanted = packaged_migrations() if migrations is None else tuple(migrations)
    if sessions.run(partial(_is_done, wanted=wanted)):  # one question, before every command
        return ()
    return tuple(
        migration.version for migration in wanted if sessions.run(partial(_apply, migration=migration, wanted=wanted))
    )


def _is_done(connection: Connection, wanted: Sequence[Migration]) -> bool:
    if not schema_version(connection):
        return False
    applied = _read_applied(connection)
    _check(applied, wanted)
    return all(migration.version in applied for migration in wanted)


def schema_version(connection: Connection) -> int:
    """Return the newest applied migration, 0 for a database without a catalog."""
    if connection.execute("SELECT to_regclass('public.catalog_migrations')").fetchone() == (None,):
        return 0
    row = connection.execute("SELECT coalesce(max(version), 0) FROM catalog_migrations").fetchone()
    return row[0] if row and isinstance(row[0], int) else 0


def _apply(connection: Connection, migration: Migration, wanted: Sequence[Migration]) -> bool:
    connection.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    applied = _applied(connection)
    _check(applied, wanted)
    if migration.version in applied:
        return False
    connection.execute(migration.sql)
    connection.execute(
        "INSERT INTO catalog_migrations (version, name, sha256) VALUES (%s, %s, %s)",
        (migration.version, migration.name, migration.sha256),
    )
    return True


def _applied(connection: Connection) -> dict[int, tuple[str, str]]:
    connection.execute(
        """CREATE TABLE IF NOT EXISTS catalog_migrations (
               version integer PRIMARY KEY CHECK (version > 0),
               name text NOT NULL,
               sha256 text NOT NULL CHECK (sha256 ~ '^[0-9a-f]{64}$'),
               applied_at timestamptz NOT NULL DEFAULT now())"""
    )
    return _read_applied(connection)


def _read_applied(connection: Connection) -> dict[int, tuple[str, str]]:
    rows = connection.execute("SELECT version, name, sha256 FROM catalog_migrations").fetchall()
    return {int(str(version)): (str(name), str(digest)) for version, name, digest in rows}


def _check(applied: dict[int, tuple[str, str]], wanted: Sequence[Migration]) -> None:
    known = {migration.version: migration for migration in wanted}
    if newer := sorted(applied.keys() - known.keys()):
        raise UnsupportedVersionError(
            f"the catalog is of a newer release: it has migration {applied[newer[-1]][0]}",
            safe="nothing was changed",
            hint="install the release that migrated it, or a newer one",
        )
    for version, (name, digest) in applied.items():
        if known[version].sha256 != digest:
            raise ConfigError(
                f"the migration {name} was changed after the catalog was migrated by it",
                safe="nothing was changed",
                hint="install the release again, or restore the file",
            )
