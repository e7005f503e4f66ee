"""Tell a server that its files are being copied, and until when: the manual, "Low Level API" of base backups.

Start and stop must be called in one session that lives throughout: a server
that loses it takes the backup back. A temporary replication slot in the same
session keeps the WAL that the copy needs, and goes with it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import errors

from edurise_backup.errors import BackupError, ConfigError, SourceError, UnreachableError
from edurise_backup.model.wal import Lsn, parse_lsn
from edurise_backup.postgres.cluster_facts import ClusterFacts, read_cluster, refuse_impossible
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.session import close_quietly, fetch, set_all

_SAFE = "nothing of the server was changed"
_SLOT = "SELECT pg_catalog.pg_create_physical_replication_slot(%s, true, true)"
_START = "SELECT pg_catalog.pg_backup_start(%s, %s)::text"
_STOP = "SELECT lsn::text, labelfile, spcmapfile FROM pg_catalog.pg_backup_stop(false)"
_START_14 = "SELECT pg_catalog.pg_start_backup(%s, %s, false)::text"
_STOP_14 = "SELECT lsn::text, labelfile, spcmapfile FROM pg_catalog.pg_stop_backup(false, false)"
_NO_TIMEOUTS = ("statement_timeout", "idle_session_timeout", "lock_timeout", "transaction_timeout")
LABEL = "edurise-backup"


@dataclass(frozen=True, slots=True)
class Stopped:
    """What the server gives at the end; both files go into the copy byte for byte, never into the live directory."""

    lsn: Lsn
    label: bytes
    tablespace_map: bytes
    """Empty when there are no tablespaces: then there is no such file."""


class BackupSession:
    """One base backup from the server's point of view; as a context manager it is taken back unless it was stopped."""

    def __init__(self, address: Address, source: str) -> None:
        """Connect and look; raises UnreachableError, SourceError for a server that cannot be copied."""
        self._source = source
        self._connection = connect(address, autocommit=True)
        try:
            self.facts: ClusterFacts = read_cluster(self._connection)
            refuse_impossible(self.facts, source)
        except BaseException:
            self.close()
            raise

    @property
    def connection(self) -> psycopg.Connection[tuple[object, ...]]:
        """The session, for questions meanwhile."""
        return self._connection

    def now(self) -> datetime:
        """Return the server's time; raises SourceError when the session is lost."""
        try:
            ((moment,),) = fetch(self._connection, "SELECT pg_catalog.clock_timestamp()")
        except psycopg.Error as error:
            raise SourceError(f"the session with {self._source} was lost", safe="nothing was published") from error
        assert isinstance(moment, datetime)
        return moment

    def start(self, *, fast: bool) -> Lsn:
        """Begin; return where the WAL is needed from. `fast`: with a checkpoint at once, else one spread over time.

        Raises ConfigError for a missing right or setting, UnreachableError.
        """
        try:
            known = fetch(
                self._connection, "SELECT name FROM pg_catalog.pg_settings WHERE name = ANY (%s)", [list(_NO_TIMEOUTS)]
            )
            set_all(self._connection, {str(name): "0" for (name,) in known})
            fetch(self._connection, _SLOT, [f"edurise_backup_{os.getpid()}_{self._connection.info.backend_pid}"])
            query = _START if self.facts.major >= 15 else _START_14
            ((lsn,),) = fetch(self._connection, query, [LABEL, fast])
        except psycopg.Error as error:
            raise _refused(error, self._source, self._connection.info.user) from error
        return parse_lsn(str(lsn))

    def stop(self) -> Stopped:
        """End; raises SourceError when the session was lost meanwhile: then what was copied is no backup."""
        try:
            ((lsn, label, spaces),) = fetch(self._connection, _STOP if self.facts.major >= 15 else _STOP_14)
        except psycopg.Error as error:
            raise SourceError(
                f"the server has taken the backup of {self._source} back: {str(error).strip().splitlines()[0]}",
                safe="nothing was published; earlier backups are whole",
                hint="run the backup again; look into the server's log for a restart or an ended session",
            ) from error
        return Stopped(parse_lsn(str(lsn)), str(label).encode(), str(spaces or "").encode())

    def close(self) -> None:
        """Let go of the session; a backup that was not stopped is taken back, and the slot is gone."""
        close_quietly(self._connection)

    def __enter__(self) -> BackupSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refused(error: psycopg.Error, source: str, role: str) -> BackupError:
    said = (error.diag.message_primary or str(error)).strip()
    if isinstance(error, errors.InsufficientPrivilege):
        return ConfigError(
            f"the role {role} may not take a base backup of {source}: {said}",
            safe=_SAFE,
            hint=f"ALTER ROLE {role} REPLICATION; GRANT EXECUTE ON FUNCTION pg_backup_start, pg_backup_stop TO {role}; "
            f"GRANT pg_read_all_settings TO {role}",
        )
    if isinstance(error, errors.ConfigurationLimitExceeded):
        return ConfigError(
            f"{source} has no replication slot to spare: {said}",
            safe=_SAFE,
            hint="raise max_replication_slots (a base backup needs one for as long as it runs), or drop a slot that "
            "nobody uses",
        )
    if isinstance(error, errors.ObjectNotInPrerequisiteState):
        return ConfigError(
            f"{source} cannot be backed up as it is set up: {said}",
            safe=_SAFE,
            hint="set wal_level = replica and max_replication_slots and max_wal_senders above 0, then restart it",
        )
    if isinstance(error, psycopg.OperationalError) and error.sqlstate in (None, "57P01", "57P02", "57P03"):
        return UnreachableError(f"the connection to {source} was lost: {said}", safe=_SAFE, hint="try again")
    return SourceError(f"{source} did not begin a base backup: {said}", safe=_SAFE)
