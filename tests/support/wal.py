"""Servers with segments of 1 MiB, and what PostgreSQL's own reader says of their log."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.model.database import Secret
from edurise_backup.model.wal import Segment, parse_lsn, parse_wal_name
from edurise_backup.postgres.places import opened_directory
from edurise_backup.postgres.privileges import identity, reachable, server_account
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server

SIZE = 1024 * 1024
_LINE = re.compile(
    r"rmgr: (\w+)\s+len \(rec/tot\):\s+\d+/\s*(\d+), tx:\s+(\d+), lsn: (\S+), prev \S+, desc: (\S+)(.*)", re.ASCII
)
MANAGERS = (
    *("XLOG", "Transaction", "Storage", "CLOG", "Database", "Tablespace", "MultiXact", "RelMap", "Standby", "Heap2"),
    *("Heap", "Btree", "Hash", "Gin", "Gist", "Sequence", "SPGist", "BRIN", "CommitTs", "ReplicationOrigin"),
    *("Generic", "LogicalMessage"),
)


@dataclass(frozen=True)
class Dumped:
    """A record, as pg_waldump shows it."""

    lsn: int
    xid: int
    manager: str
    length: int
    deed: str
    rest: str


@dataclass(frozen=True)
class File:
    """A segment's file."""

    segment: Segment
    content: bytes


def make_server(directory: Path, major: int, settings: dict[str, str]) -> Server:
    """Make a cluster with segments of 1 MiB: many records run over their ends."""
    server = Server(directory, binaries=find_server(major=major), password=Secret("x"), settings=settings)
    server.initialise()
    account = server_account(server.data_directory)
    program = reachable(server.binaries, account).bindir / "pg_resetwal"
    with opened_directory(server.data_directory) as data:  # whose parents may be closed to the server's user
        command = [program, "--wal-segsize=1", "-D", f"/proc/self/fd/{data}"]
        answer = subprocess.run(
            command, capture_output=True, check=False, cwd="/", pass_fds=[data], text=True, **identity(account)
        )
    assert answer.returncode == 0, answer.stderr
    return server


def segments_of(server: Server, *, since: int = 0) -> list[File]:
    """Return the cluster's segments in order, those made ahead included."""
    found = []
    for path in sorted((server.data_directory / "pg_wal").iterdir()):
        file = parse_wal_name(path.name, SIZE)
        if file is not None and file.segment is not None and file.segment.number >= since:
            found.append(File(file.segment, path.read_bytes()))
    return found


def dump(server: Server, files: Iterable[File], directory: Path) -> list[Dumped]:
    """Return what pg_waldump shows of segments that follow each other."""
    names = []
    for file in files:
        names.append(file.segment.name(SIZE))
        (directory / names[-1]).write_bytes(file.content)
    answer = subprocess.run(
        [server.binaries.bindir / "pg_waldump", names[0], names[-1]],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    found = [match.groups() for line in answer.stdout.splitlines() if (match := _LINE.match(line))]
    return [
        Dumped(parse_lsn(lsn), int(xid), manager, int(length), deed, rest)
        for manager, length, xid, lsn, deed, rest in found
    ]
