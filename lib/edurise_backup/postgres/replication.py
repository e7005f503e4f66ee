"""Speak the streaming replication protocol, as far as base backups and slots need it.

Source: the PostgreSQL manual, "Streaming Replication Protocol" (BASE_BACKUP).
`pg_basebackup` can write a cluster with tablespaces to no pipe; the protocol
sends all of it in one stream.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from psycopg import pq

from edurise_backup.errors import BackupError, ConfigError, SourceError, UnreachableError
from edurise_backup.model.wal import Lsn, Timeline, parse_lsn
from edurise_backup.postgres.connection import Address, conninfo_of, unreachable

_SAFE = "nothing of the server was changed"
_SLOT_NAME = re.compile(r"[a-z0-9_]{1,63}\Z")
_RIGHTS = r"must be superuser or replication role|permission denied to start WAL sender|REPLICATION"


@dataclass(frozen=True, slots=True)
class System:
    """What IDENTIFY_SYSTEM answers."""

    identifier: str
    timeline: Timeline
    flushed: Lsn


@dataclass(frozen=True, slots=True)
class Position:
    """Where a base backup begins or ends."""

    lsn: Lsn
    timeline: Timeline


@dataclass(frozen=True, slots=True)
class Archive:
    """One of the archives of a base backup that begins now: of the data directory, or of a tablespace."""

    tablespace: int | None
    location: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The manifest begins now."""


Part = Archive | Manifest | bytes | memoryview | Position
"""What a base backup's stream holds; bytes belong to what began before them, a position is its end."""


class ReplicationSession:
    """A connection to a server's WAL sender; raises UnreachableError, ConfigError for a role without the right."""

    def __init__(self, address: Address) -> None:
        self._address = address
        info = {**conninfo_of(address, application_name="edurise-backup"), "replication": "true"}
        self._raw = pq.PGconn.connect(_conninfo(info))
        if self._raw.status != pq.ConnStatus.OK:
            said = self._raw.error_message.decode("utf-8", "replace").strip()
            self._raw.finish()
            raise _not_let_in(address, said)

    @property
    def major(self) -> int:
        """The server's major version."""
        return self._raw.server_version // 10000

    def identify(self) -> System:
        """Ask the server which cluster it is."""
        result = self._run("IDENTIFY_SYSTEM")
        identifier, timeline, flushed = (_text(result, 0, column) for column in range(3))
        return System(identifier, Timeline(int(timeline)), parse_lsn(flushed))

    def reserve(self, slot: str) -> None:
        """Have WAL kept for as long as this session lives, by a temporary slot; raises ConfigError."""
        if not _SLOT_NAME.match(slot):
            raise ValueError(slot)
        reserve = "(RESERVE_WAL)" if self.major >= 15 else "RESERVE_WAL"
        self._run(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY PHYSICAL {reserve}")

    def base_backup(self, label: str, *, fast: bool) -> tuple[Position, Iterator[Part]]:
        """Have a base backup sent, its WAL and manifest with it; return where it begins, and its stream."""
        self._raw.send_query(self._command(label, fast=fast).encode())
        result = self._next()
        start = Position(parse_lsn(_text(result, 0, 0)), Timeline(int(_text(result, 0, 1))))
        spaces = self._next()
        archives = [
            Archive(int(oid) if (oid := _text(spaces, row, 0)) else None, _text(spaces, row, 1))
            for row in range(spaces.ntuples)
        ]
        return start, self._parts(archives) if self.major >= 15 else self._parts_of_14(archives)

    def _command(self, label: str, *, fast: bool) -> str:
        if self.major < 15:
            quick = "FAST " if fast else ""
            return f"BASE_BACKUP LABEL '{label}' {quick}WAL NOWAIT TABLESPACE_MAP NOVERIFY_CHECKSUMS MANIFEST 'yes'"
        words = [
            *(f"LABEL '{label}'", f"CHECKPOINT '{'fast' if fast else 'spread'}'", "WAL", "WAIT 0", "TABLESPACE_MAP"),
            # a damaged page must not end the backup of all the others: we look at the checksums ourselves
            *("VERIFY_CHECKSUMS 0", "MANIFEST 'yes'", "MANIFEST_CHECKSUMS 'CRC32C'"),
        ]
        return f"BASE_BACKUP ({', '.join(words)})"

    def _parts(self, archives: list[Archive]) -> Iterator[Part]:
        """Yield what one COPY holds: its messages say what begins (since version 15)."""
        begun: Iterator[Archive] = iter(archives)
        self._expect_copy()
        for message in self._copied():
            match bytes(message[:1]):
                case b"n":
                    yield next(begun)  # announced once each
                case b"d":
                    yield message[1:]
                case b"m":
                    yield Manifest()
        yield self._ended()

    def _parts_of_14(self, archives: list[Archive]) -> Iterator[Part]:
        """Yield the same of version 14, where each archive is a COPY of its own and the manifest the last."""
        begins: list[Archive | Manifest] = [*archives, Manifest()]
        for begun in begins:
            self._expect_copy()
            yield begun
            yield from self._copied()
        yield self._ended()

    def _copied(self) -> Iterator[memoryview]:
        while True:
            count, data = self._raw.get_copy_data(0)
            if count > 0:
                yield data
            elif count == -1:
                return
            else:
                raise self._broken()

    def _expect_copy(self) -> None:
        result = self._next(wanted=pq.ExecStatus.COPY_OUT)
        result.clear()

    def _ended(self) -> Position:
        result = self._raw.get_result()
        while result is not None and result.status == pq.ExecStatus.COMMAND_OK:  # of the COPY itself
            result = self._raw.get_result()
        if result is None or result.status != pq.ExecStatus.TUPLES_OK:
            raise self._broken(result)
        return Position(parse_lsn(_text(result, 0, 0)), Timeline(int(_text(result, 0, 1))))

    def _next(self, wanted: pq.ExecStatus = pq.ExecStatus.TUPLES_OK) -> pq.abc.PGresult:
        result = self._raw.get_result()
        while result is not None and result.status == pq.ExecStatus.COMMAND_OK:
            result = self._raw.get_result()
        if result is None or result.status != wanted:
            raise self._broken(result)
        return result

    def _run(self, command: str) -> pq.abc.PGresult:
        result = self._raw.exec_(command.encode())
        if result.status not in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
            raise self._broken(result)
        return result

    def _broken(self, result: pq.abc.PGresult | None = None) -> BackupError:
        said = (result.error_message if result is not None else b"") or self._raw.error_message
        text = said.decode("utf-8", "replace").strip().removeprefix("ERROR:").strip().split("\n", 1)[0]
        host = f"{self._address.host}:{self._address.port}"
        if self._raw.status != pq.ConnStatus.OK:
            return UnreachableError(f"the connection to {host} was lost: {text}", safe=_SAFE, hint="try again")
        if re.search(r"all replication slots are in use|max_replication_slots|max_wal_senders|wal_level", text):
            return ConfigError(
                f"{host} cannot send its files as it is set up: {text}",
                safe=_SAFE,
                hint="set wal_level = replica and raise max_wal_senders and max_replication_slots, then restart it",
            )
        return SourceError(f"{host} did not send all of it: {text}", safe="nothing was published", hint="try again")

    def close(self) -> None:
        """End the session; its temporary slot goes with it."""
        self._raw.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _conninfo(parameters: Mapping[str, object]) -> bytes:
    words = []
    for name, value in parameters.items():
        if value is not None:
            text = str(value).replace("\\", "\\\\").replace("'", "\\'")
            words.append(f"{name}='{text}'")
    return " ".join(words).encode()


def _text(result: pq.abc.PGresult, row: int, column: int) -> str:
    return (result.get_value(row, column) or b"").decode()


def _not_let_in(address: Address, said: str) -> BackupError:
    if re.search(_RIGHTS, said):
        return ConfigError(
            f"the role {address.user} may not replicate from {address.host}:{address.port}: {said.splitlines()[-1]}",
            safe=_SAFE,
            hint=f"ALTER ROLE {address.user} REPLICATION",
        )
    if "pg_hba.conf" in said:
        return ConfigError(
            f"the server {address.host}:{address.port} lets {address.user} replicate from nowhere near here",
            safe=_SAFE,
            hint=f"add `host replication {address.user} ADDRESS scram-sha-256` to its pg_hba.conf, and reload it",
        )
    return unreachable(address, said)
