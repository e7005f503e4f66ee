"""A ledger that says of each of its transactions where it stands in the log; and recoveries of it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.wal import Lsn, parse_lsn
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from edurise_backup.recovery.cluster.recovering import (
    RecoveryOptions,
    RunningCluster,
    recovered_server,
)
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive, WalContent
from tests.support import engine
from tests.support.clusters import SOURCE, back_up_cluster

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
QUICKLY = RecoveryOptions(amcheck=False, settings={"shared_buffers": "16MB"})


@dataclass(frozen=True, slots=True)
class Entry:
    """A transaction of the ledger: its row, and where it stands."""

    n: int
    hash: str
    xid: int
    committed: datetime
    """Its commit's own time."""
    after: datetime
    """A time after its commit and before the next one's."""
    lsn: Lsn
    """A position behind its commit, and at or before what came next."""


@dataclass(slots=True)
class Ledger:
    """What was written, in order; needs track_commit_timestamp."""

    entries: list[Entry] = field(default_factory=list)
    branch: str = ""

    def write(self, address: Address, count: int) -> None:
        """Append transactions."""
        with closing(connect(address, autocommit=True)) as connection:
            if not self.entries:
                connection.execute("CREATE TABLE ledger (n bigint PRIMARY KEY, hash text NOT NULL)")
            for _ in range(count):
                n, link = len(self.entries) + 1, self._next()
                with connection.transaction():
                    connection.execute("INSERT INTO ledger VALUES (%s, %s)", [n, link])
                    xid = _one(connection.execute("SELECT pg_current_xact_id()::text").fetchone())
                found = connection.execute(
                    "SELECT pg_current_wal_insert_lsn()::text, clock_timestamp(), pg_xact_commit_timestamp(%s::xid)",
                    [str(xid)],
                ).fetchone()
                assert found is not None
                lsn, after, committed = found
                assert isinstance(after, datetime)
                assert isinstance(committed, datetime)
                self.entries.append(Entry(n, link, int(str(xid)), committed, after, parse_lsn(str(lsn))))

    def branched(self, entries: int, branch: str) -> Ledger:
        """Return a ledger that goes on differently behind some entries."""
        return Ledger(self.entries[:entries], branch)

    def _next(self) -> str:
        before = self.entries[-1].hash if self.entries else ""
        return hashlib.sha256(f"{before}{self.branch}{len(self.entries) + 1}".encode()).hexdigest()


def ledger_of(address: Address) -> list[tuple[int, str]]:
    """Return what a database has of the ledger."""
    with closing(connect(address, autocommit=True)) as connection:
        if _one(connection.execute("SELECT to_regclass('ledger') IS NULL").fetchone()):
            return []
        rows = connection.execute("SELECT n, hash FROM ledger ORDER BY n").fetchall()
    return [(int(str(n)), str(link)) for n, link in rows]


@dataclass(slots=True)
class Recoverable:
    """A repository with a base backup and its log, and what the cluster held."""

    repository: Repository
    tree: str
    record: ClusterRecord
    archive: WalArchive
    ledger: Ledger
    branch: Ledger | None = None
    """The ledger as it went on on the next timeline."""
    branched_at: int = 0

    @contextmanager
    def recovered(
        self,
        folder: Path,
        moment: TargetMoment,
        *,
        archive: WalArchive | None = None,
        progress: Progress | None = None,
        options: RecoveryOptions = QUICKLY,
        remove: bool = True,
    ) -> Iterator[RunningCluster]:
        """Recover into a folder and look at the running server."""
        began = False
        try:
            with recovered_server(
                self.repository,
                self.tree,
                self.record,
                archive or self.archive,
                moment,
                folder,
                options=options,
                progress=progress or SilentProgress(),
            ) as running:
                began = True
                yield running
        finally:
            if remove and began:
                for ending in ("", ".recovery", ".tablespaces"):
                    shutil.rmtree(folder.with_name(f"{folder.name}{ending}"), ignore_errors=True)

    def landed(self, folder: Path, moment: TargetMoment, **more: object) -> int:
        """Recover, prove that the ledger is whole, and return how many entries it has."""
        with self.recovered(folder, moment, **more) as running:  # type: ignore[arg-type]
            findings = [one for one in running.recovered.proof.findings if "unlogged" not in one]
            assert findings == [], findings
            found = ledger_of(running.address)
            other = self.branch and running.recovered.replayed.timeline != self.record.timeline
            ledger = self.branch if other and self.branch else self.ledger
            assert found == [(one.n, one.hash) for one in ledger.entries[: len(found)]]
            return len(found)


def published(
    repository: Repository, archive: WalArchive, pg_wal: Path, *, only: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """Publish the files of a server's pg_wal that end before its current segment; return their names."""
    names = sorted(one.name for one in pg_wal.iterdir() if one.is_file() and only(one.name))
    publish(repository, archive, [(name, (pg_wal / name).read_bytes()) for name in names])
    return names


def publish(repository: Repository, archive: WalArchive, files: Sequence[tuple[str, bytes]]) -> None:
    """Publish files of the log."""
    with repository.lock(settle=engine.AT_ONCE) as lock:
        archive.refresh()
        archive.publish([WalContent(name, content, NOON) for name, content in files], lock)


def switched(address: Address) -> str:
    """Have a server begin a new segment; return its name: those before it are complete."""
    with closing(connect(address, autocommit=True)) as connection:
        connection.execute("SELECT pg_switch_wal()")
        # something is in the new one, so that its name is the current one's
        connection.execute("SELECT pg_create_restore_point('switched')")
        return str(_one(connection.execute("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").fetchone()))


def restore_point(address: Address, name: str) -> None:
    """Name this moment in the log."""
    with closing(connect(address, autocommit=True)) as connection:
        connection.execute("SELECT pg_create_restore_point(%s)", [name])


def backed_up(server: Server, method: str = "local") -> Recoverable:
    """Take a base backup with an empty archive beside it."""
    repository = engine.create()
    saved, record = back_up_cluster(repository, server, method)
    archive = archive_of(repository, record)
    return Recoverable(repository, saved.snapshot.tree, record, archive, Ledger())


def archive_of(repository: Repository, record: ClusterRecord) -> WalArchive:
    """Return the archive of a base backup's cluster."""
    return WalArchive(repository, SOURCE, record.system_identifier, record.segment_size, host="tests", now=lambda: NOON)


def _one(row: tuple[object, ...] | None) -> object:
    assert row is not None
    return row[0]
