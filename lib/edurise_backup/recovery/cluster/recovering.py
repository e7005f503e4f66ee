"""Bring a cluster back as it was at a moment: START HERE.

What is impossible is refused first; then the base backup is restored, the log
replayed up to the target by a server that nobody else can reach, and the
result proved. What ends in between cannot be started by mistake.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from edurise_backup.errors import ConflictError
from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.model.database import Proof
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.wal import Lsn
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.privileges import server_account
from edurise_backup.postgres.tools import ServerBinaries
from edurise_backup.recovery.cluster.feeding import AHEAD, Feeder, wanted_room
from edurise_backup.recovery.cluster.proving import prove_cluster
from edurise_backup.recovery.cluster.replaying import Replayed, replay
from edurise_backup.recovery.cluster.restoring import RestoredCluster, make_unstartable, restore_cluster
from edurise_backup.recovery.cluster.sandbox import Sandbox, find_binaries
from edurise_backup.recovery.cluster.target import Route, plan_route
from edurise_backup.recovery.writing import Writers
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive


@dataclass(frozen=True, slots=True)
class RecoveryOptions:
    """How a recovery is done; sizes in segments."""

    bindir: Path | None = None
    """Where the server programs are; None: wherever those of the backup's major version are found."""
    ahead: int = AHEAD
    workers: int = 4
    """Segments that are fetched at once."""
    amcheck: bool = True
    """Whether every page of every table and index is read in the end."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """For the recovering server, beside those that a sandbox needs; e.g. `shared_buffers`."""
    expected: Lsn | None = None
    """Where the target is believed to lie, for the progress."""


@dataclass(frozen=True, slots=True)
class RecoveredCluster:
    """A cluster as it was at a moment."""

    data: Path
    tablespaces: Mapping[int, Path]
    target: TargetMoment
    """As asked for, with the timeline that was chosen."""
    replayed: Replayed
    proof: Proof
    files: int
    bytes: int
    left_out: tuple[str, ...]
    """Libraries that the server would have loaded, and did not: jobs are held, or this machine has none."""
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunningCluster:
    """A recovered cluster whose server runs: paused at its target and read-only, or promoted."""

    address: Address
    """Its private socket, as the role that initdb made."""
    recovered: RecoveredCluster

    @property
    def read_only(self) -> bool:
        """Whether it is paused."""
        return self.recovered.replayed.new_timeline is None


def recover_cluster(
    repository: Repository,
    tree: str,
    record: ClusterRecord,
    archive: WalArchive,
    moment: TargetMoment,
    target: Path,
    *,
    tablespaces: Mapping[int, Path] | None = None,
    options: RecoveryOptions | None = None,
    progress: Progress,
) -> RecoveredCluster:
    """Restore the base backup of `record` in the snapshot's whole `tree` to `target`, recover and prove it.

    Afterwards no server runs. Promoted, the directory is a cluster of its own,
    durable, on a new timeline: give it its own archive and take a base backup.
    Paused, it stays in recovery. On an error or a cancellation it cannot be
    started any more, and the server's log lies in TARGET.recovery.

    Raises InputError, NotFoundError, ConflictError, UnsupportedVersionError and
    SpaceError before anything is written; DamageError, ToolError, CancelledError.
    """
    with recovered_server(
        repository,
        tree,
        record,
        archive,
        moment,
        target,
        tablespaces=tablespaces,
        options=options,
        durable=True,
        progress=progress,
    ) as running:
        return running.recovered


@contextmanager
def recovered_server(
    repository: Repository,
    tree: str,
    record: ClusterRecord,
    archive: WalArchive,
    moment: TargetMoment,
    target: Path,
    *,
    tablespaces: Mapping[int, Path] | None = None,
    options: RecoveryOptions | None = None,
    durable: bool = False,
    progress: Progress,
) -> Iterator[RunningCluster]:
    """Do the same, and leave the server running inside of the `with` block; afterwards it is stopped.

    `durable=False`: nothing is synced, the cluster is only to be looked at.
    """
    options = options or RecoveryOptions()
    target = target.absolute()
    folder = target.with_name(f"{target.name}.recovery")
    with Writers() as writers:
        writers.begin()
        binaries = find_binaries(record, options.bindir)
        route = plan_route([name for name, _ in archive.names()], archive.read, record, moment)
        _refuse_folder(folder)
        restored = restore_cluster(
            repository,
            tree,
            record,
            target,
            tablespaces=tablespaces or {},
            progress=progress,
            extra_room=wanted_room(route, options.ahead),
            writers=writers,
        )
    recovered = False
    try:
        with _Recovery(record, archive, route, moment, restored, folder, binaries, options, durable) as recovery:
            running = recovery.run(progress)
            recovered = True
            yield running
    finally:
        if not recovered:  # whatever kept it from it: started as it is, it would be the base backup, writable
            make_unstartable(restored.data)


class _Recovery:
    """The parts of a recovery that must end together, and in order."""

    def __init__(
        self,
        record: ClusterRecord,
        archive: WalArchive,
        route: Route,
        moment: TargetMoment,
        restored: RestoredCluster,
        folder: Path,
        binaries: ServerBinaries,
        options: RecoveryOptions,
        durable: bool,
    ) -> None:
        self._record = record
        self._route = route
        self._moment = moment
        self._restored = restored
        self._folder = folder
        self._options = options
        self._done = False
        account = server_account(restored.data)
        self._feeder = Feeder(
            archive, route, folder / "wal", account=account, ahead=options.ahead, workers=options.workers
        )
        # the server is told the number: what it would choose itself depends on what is archived meanwhile
        own = route.timeline == record.timeline
        chosen = moment.on_timeline("current" if own else int(route.timeline))
        self._sandbox = Sandbox(
            restored.data,
            folder,
            record,
            binaries=binaries,
            recovery={**chosen.settings(), "restore_command": self._feeder.restore_command},
            durable=durable,
            extra=options.settings,
        )

    def __enter__(self) -> _Recovery:
        return self

    def run(self, progress: Progress) -> RunningCluster:
        """Recover and prove; the server runs afterwards."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._sandbox.prepare()
        self._feeder.__enter__()
        replayed = replay(
            self._sandbox,
            self._feeder,
            self._route,
            self._moment,
            progress=progress,
            expected=self._options.expected,
        )
        proof = prove_cluster(
            self._sandbox.address,
            self._record,
            self._route,
            self._moment,
            replayed,
            bindir=self._sandbox.binaries.bindir,
            amcheck=self._options.amcheck,
            progress=progress,
        )
        self._done = True
        return RunningCluster(self._sandbox.address, self._result(replayed, proof))

    def __exit__(self, *_: object) -> None:
        self._feeder.close()  # first: a command that waits would keep the server
        self._sandbox.stop()
        if self._done:
            self._sandbox.give_back()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _result(self, replayed: Replayed, proof: Proof) -> RecoveredCluster:
        return RecoveredCluster(
            data=self._restored.data,
            tablespaces=self._restored.tablespaces,
            target=replace(self._moment, timeline=int(self._route.timeline)),
            replayed=replayed,
            proof=proof,
            files=self._restored.files,
            bytes=self._restored.bytes,
            left_out=self._sandbox.left_out,
            problems=self._restored.problems,
        )


def _refuse_folder(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        raise ConflictError(
            f"{folder} is there: it holds the log of a recovery that failed, or one is under way",
            safe="nothing was restored or changed",
            hint="remove it when no recovery runs, or restore to another directory",
        )
