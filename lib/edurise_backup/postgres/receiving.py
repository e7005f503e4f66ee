"""Receive a server's WAL as it is written: `pg_receivewal` on a physical replication slot, and what the server says.

The program fsyncs what it has received before it tells the server so
(`--synchronous`); the slot keeps everything that was not told so. It writes
`NAME.partial`, and renames it when the segment is complete (the manual,
"pg_receivewal").
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg

from edurise_backup.errors import BackupError, ConfigError, ConflictError, SourceError, ToolError, UnreachableError
from edurise_backup.model.wal import Lsn, parse_lsn
from edurise_backup.postgres.connection import Address, client_environment, connect
from edurise_backup.postgres.session import Connection, Row, fetch, translated

_WORDS_KEPT = 4
_STOP_SECONDS = 10.0
_SLOT = """
    SELECT active, active_pid, wal_status, safe_wal_size, restart_lsn::text, slot_type
    FROM pg_catalog.pg_replication_slots WHERE slot_name = %s"""
_MAKE_SLOT = "SELECT pg_catalog.pg_create_physical_replication_slot(%s, true)"
_POSITION = """
    SELECT pg_catalog.pg_current_wal_lsn()::text, pg_catalog.clock_timestamp(),
           (SELECT sum(size)::bigint FROM pg_catalog.pg_ls_waldir()) AS bytes"""
_POSITION_ALONE = "SELECT pg_catalog.pg_current_wal_lsn()::text, pg_catalog.clock_timestamp(), NULL"
_ARCHIVER = """
    SELECT last_archived_wal, last_failed_wal, failed_count,
           last_failed_wal IS NOT NULL AND last_failed_time > coalesce(last_archived_time, '-infinity'),
           pg_catalog.current_setting('archive_mode'),
           pg_catalog.current_setting('archive_command'),
           coalesce(pg_catalog.current_setting('archive_library', true), ''),
           (SELECT setting::int FROM pg_catalog.pg_settings WHERE name = 'archive_timeout')
    FROM pg_catalog.pg_stat_archiver"""
_BEAT = "SELECT pg_catalog.pg_logical_emit_message(true, 'edurise-backup', %s)::text"


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot, as its server sees it."""

    active: bool
    pid: int | None
    status: str
    """`reserved`, `extended`, `unreserved` or `lost` (the manual, "pg_replication_slots")."""
    safe_bytes: int | None
    """WAL that may still be written before the slot is in danger; None: no limit is set."""
    restart: Lsn | None


@dataclass(frozen=True, slots=True)
class Position:
    """How far a server has written, by its own clock."""

    lsn: Lsn
    at: datetime
    wal_bytes: int | None
    """What pg_wal takes on the server's disk; None where the role may not see it (pg_monitor)."""


@dataclass(frozen=True, slots=True)
class Archiver:
    """What a server says of its archiving (the manual, "pg_stat_archiver")."""

    archived: str
    """The last file that its command said it has kept; empty: none yet."""
    failed: str
    failures: int
    failing: bool
    """Whether the last thing that happened was a failure."""
    mode: str
    command: str
    library: str
    timeout: int
    """Seconds after which a segment is ended that is not full; 0: never."""


class WalReceiver:
    """One run of `pg_receivewal` into a folder; it ends by itself when the connection is lost."""

    def __init__(self, program: Path, address: Address, *, slot: str, folder: Path) -> None:
        self._program = program
        self._address = address
        self._slot = slot
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._held = ExitStack()
        self._words = -1

    @property
    def running(self) -> bool:
        """Whether it receives."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Begin; raises ToolError when the program cannot be started."""
        self.stop()
        environment = self._held.enter_context(client_environment(self._address))
        self._words = os.memfd_create("stderr", os.MFD_CLOEXEC)
        self._held.callback(os.close, self._words)
        command = [
            *(str(self._program), f"--directory={self._folder}", f"--slot={self._slot}"),
            *("--synchronous", "--no-loop", "--no-password", "--status-interval=5"),
        ]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._words,
                env=environment,
                cwd="/",
                start_new_session=True,  # Ctrl-C is for us, who end it in order
            )
        except OSError as error:
            self._held.close()
            raise ToolError(f"{self._program} cannot be started: {error.strerror}") from error

    def trouble(self) -> BackupError:
        """Return why it has ended, in our words."""
        said = " | ".join(self._last_words()) or "it said nothing"
        if "is active for PID" in said:
            return ConflictError(
                f"the replication slot {self._slot} is in use by somebody else: {said}",
                safe="nothing is lost: the server keeps what nobody has received",
                hint="stop the other receiver, or give each its own slot ([cluster.wal] slot)",
            )
        if re.search(r"requested WAL segment .* has already been removed|slot .* has been invalidated", said):
            return ConfigError(
                f"the server has removed WAL that was not received: {said}",
                safe="everything that was received before is kept",
                hint=f"drop the slot {self._slot} (pg_drop_replication_slot) and take a base backup: "
                "the recovery window begins anew with it. Raise max_slot_wal_keep_size",
            )
        if re.search(r"must be superuser or replication role|permission denied|no pg_hba.conf entry", said):
            return ConfigError(
                f"the role {self._address.user} may not receive WAL: {said}",
                safe="nothing of the server was changed",
                hint=f"ALTER ROLE {self._address.user} REPLICATION, and a line `host replication …` in pg_hba.conf",
            )
        return UnreachableError(f"WAL is not received now: {said}", safe="the server keeps what nobody has received")

    def stop(self) -> None:
        """End it in order: it tells the server how far it came."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._held.close()
        self._words = -1

    def _last_words(self) -> list[str]:
        if self._words < 0:
            return []
        text = os.pread(self._words, os.fstat(self._words).st_size, 0).decode("utf-8", "replace")
        return [line.removeprefix("pg_receivewal: ") for line in text.splitlines() if line.strip()][-_WORDS_KEPT:]


class ServerWatch:
    """Asks a server how its log stands; the session is opened anew when it was lost."""

    def __init__(self, address: Address, slot: str) -> None:
        self._address = address
        self._slot = slot
        self._connection: Connection | None = None
        self._sees_disk = True

    def ensure_slot(self) -> None:
        """Make the slot unless it is there, reserving WAL from now on; raises ConfigError, UnreachableError."""
        found = self.slot()
        if found is not None:
            return
        try:
            fetch(self._session(), _MAKE_SLOT, [self._slot])
        except psycopg.errors.DuplicateObject:
            return
        except psycopg.Error as error:
            said = (error.diag.message_primary or str(error)).strip()
            raise ConfigError(
                f"the replication slot {self._slot} cannot be made: {said}",
                safe="nothing of the server was changed",
                hint=f"ALTER ROLE {self._address.user} REPLICATION; wal_level = replica or more; "
                "max_replication_slots and max_wal_senders must have room",
            ) from error

    def slot(self) -> Slot | None:
        """Return the slot's state; None when there is none. Raises ConflictError for a slot of another kind."""
        rows = self._rows(_SLOT, self._slot)
        if not rows:
            return None
        active, pid, status, safe, restart, kind = rows[0]
        if kind != "physical":
            raise ConflictError(
                f"the replication slot {self._slot} is a logical one",
                safe="nothing of the server was changed",
                hint="name another one: [cluster.wal] slot",
            )
        return Slot(
            bool(active),
            None if pid is None else int(str(pid)),
            str(status or "lost"),
            None if safe is None else int(str(safe)),
            None if restart is None else parse_lsn(str(restart)),
        )

    def position(self) -> Position:
        """Return how far the server has written; raises UnreachableError, SourceError."""
        try:
            ((lsn, at, size),) = self._rows(_POSITION if self._sees_disk else _POSITION_ALONE)
        except SourceError:  # a role that may not list pg_wal
            if not self._sees_disk:
                raise
            self._sees_disk = False
            return self.position()
        assert isinstance(at, datetime)
        return Position(parse_lsn(str(lsn)), at, None if size is None else int(str(size)))

    def archiver(self) -> Archiver:
        """Return what the server says of its archiving; raises UnreachableError, SourceError."""
        ((archived, failed, count, failing, mode, command, library, timeout),) = self._rows(_ARCHIVER)
        return Archiver(
            archived=str(archived or ""),
            failed=str(failed or ""),
            failures=int(str(count)),
            failing=bool(failing),
            mode=str(mode),
            command=str(command),
            library=str(library),
            timeout=int(str(timeout)),
        )

    def beat(self, text: str) -> Lsn:
        """Write a heartbeat: a transaction that changes nothing, and passes through all of the log's way.

        It is a logical message (`pg_logical_emit_message`): no table of ours is in the database, and no right is
        needed. Returns where it lies.
        """
        ((lsn,),) = self._rows(_BEAT, text)
        return parse_lsn(str(lsn))

    def close(self) -> None:
        """Let go of the session."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _rows(self, query: str, *parameters: object) -> list[Row]:
        try:
            return fetch(self._session(), query, list(parameters))
        except psycopg.Error as error:
            self.close()
            raise translated(error, "the state of the log") from error

    def _session(self) -> Connection:
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._address, autocommit=True)
        return self._connection
