"""Measure what the size of a base backup's chunks does to its room, its time and its changes.

    python -m tests.benchmarks.cluster_chunks [--scale 1] [--cuts 8,16,32,64,128,256]

A cluster of the newest version with a learning platform's database, page
checksums on. For each size a repository of its own on disk: a first base backup,
one after the newest 2 % of the rows changed and 2 % came (as a real platform
changes: local in time), and one after 2 % changed all over. A checkpoint before
each; what is stored includes the base backup's own log, a segment that is nearly empty.
Where PGBACKREST_NEW names a pgBackRest with block incremental, it backs up the
same moments, by its own settings of ../shared/bench (zstd 3, AES-256, bundles).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.cli.output import table
from edurise_backup.model.cluster import folder_of
from edurise_backup.postgres.privileges import identity, server_account
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.stores.local import LocalStore
from tests.benchmarks.learning_database import LearningDatabase, learning_database
from tests.benchmarks.measuring import empty_page_cache
from tests.support import engine
from tests.support.clusters import SOURCE, ask, opened, reachable_folder
from tests.support.engine import back_up_source

HEAD = ("phase", "chunks", "wall s", "new MB", "stored MB", "x pgBackRest", "blobs")
MB = 1_000_000
_WHOLE_PAGES = {"full_page_writes": "on"}


@dataclass(frozen=True, slots=True)
class Row:
    """What one backup cost; bytes."""

    phase: str
    by: str
    wall: float
    new: int
    stored: int
    blobs: int


class Peer:
    """A pgBackRest that backs up the same server; its repository holds no log, only backups."""

    def __init__(self, program: str, database: LearningDatabase, folder: Path) -> None:
        server = database.server
        self._account = server_account(server.data_directory)
        self._command = [program, f"--config={folder}/pgbackrest.conf", "--stanza=main"]
        self._repository = folder / "repository"
        self._environment = {"PATH": os.environ["PATH"], "PGPASSWORD": database.password, "HOME": str(folder)}
        folder.mkdir()
        (folder / "pgbackrest.conf").write_text(
            f"""[global]
repo1-path={self._repository}
repo1-cipher-type=aes-256-cbc
repo1-cipher-pass=benchmark
repo1-bundle=y
repo1-retention-full=9
repo1-block=y
compress-type=zst
compress-level=3
process-max=2
start-fast=y
log-level-file=off
log-level-console=warn
lock-path={folder}/lock
spool-path={folder}/spool
[main]
pg1-path={server.data_directory}
pg1-socket-path={server.address.host}
pg1-port={server.address.port}
pg1-user={server.address.user}
pg1-database=postgres
"""
        )
        if self._account.switch:
            for path in (folder, folder / "pgbackrest.conf"):
                os.chown(path, self._account.uid, self._account.gid)
        self._run("--no-online", "stanza-create")

    def back_up(self, phase: str, kind: str) -> Row:
        """Take a backup and say what it added."""
        before, began = _size(self._repository), time.monotonic()
        # nothing writes meanwhile; our server knows its directory as a descriptor, which it would take for another one
        self._run("--no-online", "--force", f"--type={kind}", "backup")
        return Row(phase, "pgBackRest", time.monotonic() - began, 0, _size(self._repository) - before, 0)

    def _run(self, *words: str) -> None:
        subprocess.run([*self._command, *words], check=True, cwd="/", env=self._environment, **identity(self._account))


class Trial:
    """The repositories, one for each size, and what was measured."""

    def __init__(self, database: LearningDatabase, folder: Path, cuts: list[int]) -> None:
        self._database = database
        self._peer = None
        if program := os.environ.get("PGBACKREST_NEW"):
            self._peer = Peer(program, database, folder / "peer")
        self._repositories = {cut: _repository(folder / f"cut-{cut}") for cut in cuts}
        self.rows: list[Row] = []

    def take(self, phase: str) -> None:
        """Back up what there is now with every size."""
        first = not self.rows
        ask(self._database.server, "CHECKPOINT")
        if self._peer is not None:
            empty_page_cache()
            self.rows.append(self._peer.back_up(phase, "full" if first else "incr"))
        for cut, repository in self._repositories.items():
            sys.stderr.write(f"{phase}: {cut} KiB\n")
            empty_page_cache()
            began = time.monotonic()
            with opened(self._database.server, "local", cut=cut * 1024) as source:  # type: ignore[attr-defined]
                added = back_up_source(repository, source, [folder_of(SOURCE)], settings=WriterSettings()).added
            wall = time.monotonic() - began
            self.rows.append(Row(phase, f"{cut} KiB", wall, added.plain_bytes, added.sent_bytes, added.data_blobs))


def _repository(place: Path) -> Repository:
    place.mkdir()
    repository = engine.create(LocalStore(place))
    repository.load_index()
    return repository


def _size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


@contextmanager
def _database(scale: float) -> Iterator[tuple[LearningDatabase, Path]]:
    with reachable_folder() as folder, learning_database(folder / "cluster", scale, _WHOLE_PAGES) as database:
        yield database, folder


def main() -> None:
    """Run all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of the database")
    parser.add_argument("--cuts", default="8,16,32,64,128,256", help="KiB")
    given = parser.parse_args()
    with _database(given.scale) as (database, folder):
        trial = Trial(database, folder, [int(word) for word in given.cuts.split(",")])
        trial.take("first")
        database.change_recent()
        trial.take("newest 2 % changed, 2 % added")
        database.change_scattered()
        trial.take("2 % changed all over")
    sys.stdout.write(table(HEAD, list(_told(trial.rows))) + "\n")


def _told(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    peers = {row.phase: row.stored for row in rows if row.by == "pgBackRest"}
    for row in rows:
        peer = peers.get(row.phase)
        yield (
            row.phase,
            row.by,
            f"{row.wall:.2f}",
            f"{row.new / MB:.1f}" if row.new else "",
            f"{row.stored / MB:.1f}",
            f"{row.stored / peer:.2f}" if peer else "",
            f"{row.blobs:,}" if row.blobs else "",
        )


if __name__ == "__main__":
    main()
