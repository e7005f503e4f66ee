"""Say how a server's archive_command must read here, and what keeps it from working."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from edurise_backup import archive_client
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConfigError, NotFoundError
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.operations.servers import cluster_address
from edurise_backup.operations.wal.accepting import LONGEST
from edurise_backup.operations.wal.archiving import IDLE, server_owner, socket_place
from edurise_backup.operations.wal.reaching import Owner, blocked_for
from edurise_backup.postgres.cluster_facts import read_cluster
from edurise_backup.postgres.connection import connect
from edurise_backup.postgres.receiving import Archiver, ServerWatch

_SYSTEM_PYTHON = Path("/usr/bin/python3")
"""Every user can run it, unlike one in a home; the client needs no more than its standard library."""


@dataclass(frozen=True, slots=True)
class HandingOver:
    """A line for postgresql.conf, and what a person should do beside."""

    source: str
    line: str
    command: str
    socket: str
    hints: tuple[str, ...]


def describe_command(settings: Settings, name: str = "") -> HandingOver:
    """Return the line of a configured cluster; a server that cannot be asked is a hint. Raises ConfigError."""
    source = _chosen(settings, name)
    place = socket_place(settings, source)
    client = Path(archive_client.__file__).resolve()
    words = [str(_python()), "-I", "-S", str(client), str(place)]
    command = " ".join(shlex.quote(word).replace("%", "%%") for word in words) + " %p %f"
    quoted = command.replace("\\", "\\\\").replace("'", "''")
    hints = (*_own_hints(source, place), *_server_hints(source, place, client, command))
    return HandingOver(source.name, f"archive_command = '{quoted}'", command, str(place), hints)


def _chosen(settings: Settings, name: str) -> ClusterSettings:
    found = [one for one in settings.clusters if not name or one.name == name]
    archived = [one for one in found if one.wal.method == "archive"]
    if len(found) == 1 or len(archived) == 1:
        return (archived or found)[0]
    names = ", ".join(one.name for one in settings.clusters)
    if found:
        raise ConfigError(f"there are several clusters: {names}", safe="nothing was done", hint="name one of them")
    raise NotFoundError(
        f"no cluster named {name} is configured" if name else "no cluster is configured",
        hint=f"configured are {names}" if names else "name one: [[cluster]] in the configuration",
    )


def _python() -> Path:
    return _SYSTEM_PYTHON if _SYSTEM_PYTHON.exists() else Path(sys.executable).resolve()


def _own_hints(source: ClusterSettings, place: Path) -> Iterator[str]:
    if source.wal.method != "archive":
        yield f'nobody listens there yet: set method = "archive" in [cluster.wal] of {source.name}'
    if len(str(place).encode()) > LONGEST:
        yield f"the socket's path is longer than {LONGEST} bytes: set [cluster.wal] socket to a shorter one"


def _server_hints(source: ClusterSettings, place: Path, client: Path, command: str) -> Iterator[str]:
    """Yield what the server's settings and the permissions of folders still lack."""
    watch: ServerWatch | None = None
    try:
        address = cluster_address(source)
        with connect(address, autocommit=True) as connection:
            facts = read_cluster(connection)
        watch = ServerWatch(address, "")
        found = watch.archiver()
    except (BackupError, psycopg.Error) as error:
        yield f"its server could not be asked for its settings: {error}"
        return
    finally:
        if watch is not None:
            watch.close()
    yield from _setting_hints(found, command)
    owner = server_owner(source, facts)
    if owner is None:
        yield "whether the server's user reaches the socket cannot be told from here: is the server on this machine?"
        return
    yield from _way_hints(owner, place, client)


def _setting_hints(found: Archiver, command: str) -> Iterator[str]:
    if found.mode == "off":
        yield "archive_mode is off: set archive_mode = on, which takes a restart of the server"
    elif found.command != command:
        yield "the server runs another archive_command now: put this line in its place, and reload it"
    if found.library:
        yield f"archive_library is {found.library}: set it to '' or the command is not run"
    if not found.timeout:
        yield IDLE


def _way_hints(owner: Owner, place: Path, client: Path) -> Iterator[str]:
    if place.parent.is_dir() and (blocked := blocked_for(place.parent, owner)):
        yield (
            f"the server's user (id {owner.uid}) cannot pass {blocked} to the socket: set [cluster.wal] socket to a "
            "path that it reaches, for instance /run/edurise-backup/NAME.sock"
        )
    if blocked := blocked_for(client.parent, owner):
        yield (
            f"the server's user cannot pass {blocked} to the client: copy archive_client.py to a place that it reaches "
            "and only root may write, and name that one"
        )
