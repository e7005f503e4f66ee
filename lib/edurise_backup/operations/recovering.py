"""One recovery under way: part after part is brought back and proved; a database that fails keeps nothing else back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, CancelledError, DamageError, NotFoundError, UnreachableError
from edurise_backup.model.database import DatabaseRecord, Globals, decode_record
from edurise_backup.model.jobs import BackupType, BucketsTo, JobStatus, PartResult, RecoveryJob, RecoveryTarget, Verdict
from edurise_backup.model.settings import DatabaseSettings
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.buckets import bucket_target, is_of_bucket
from edurise_backup.operations.cluster_parts import bring_back_cluster
from edurise_backup.operations.collection import database_folder
from edurise_backup.operations.jobs import storable
from edurise_backup.operations.recovery_target import (
    Needs,
    NewDatabase,
    make_private_directory,
    part_directory,
    refuse_names,
    refuse_taken,
    refuse_used_directory,
)
from edurise_backup.operations.servers import database_address, database_tools, recovery_address
from edurise_backup.operations.sharding import ShardedJob
from edurise_backup.operations.shared_sources import shared_source
from edurise_backup.operations.supply import Supply
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.recovery.database import restore_database
from edurise_backup.recovery.database_proof import prove_database
from edurise_backup.recovery.database_rights import refuse_without_rights
from edurise_backup.recovery.into_bucket import BucketTarget, Existing, plan_objects, restore_into_bucket
from edurise_backup.recovery.planning import plan_restore
from edurise_backup.recovery.restorer import prove_files, restore
from edurise_backup.recovery.streaming import SnapshotFiles
from edurise_backup.recovery.writing import Writers
from edurise_backup.sources.database import GLOBALS

_SHOWN = 1000


class Recovery:
    """One running recovery job."""

    def __init__(self, settings: Settings, supply: Supply, target: RecoveryTarget, parts: list[PartResult]) -> None:
        self._settings = settings
        self._supply = supply
        self._repository = supply.repository
        self._target = target
        self._parts = parts
        self._checks: list[str] = []
        self._findings: list[str] = []
        self._warnings: list[str] = []
        self._bytes = 0
        self._done = 0
        """How many databases, trees and buckets are there."""
        self._failures: list[tuple[str, BackupError]] = []

    def check_target(self) -> None:
        """Raise InputError, ConflictError, SpaceError when the target is in use, impossible or too small."""
        directory = Path(self._target.directory)
        refuse_used_directory(directory)
        if not len(self._repository.index):
            self._repository.load_index(strict=False)
        needs = Needs()
        new: list[NewDatabase] = []
        for part in self._parts:
            own = part_directory(directory, part)
            with suppress(DamageError):  # the recovery itself meets the damage, and tells it in its row
                if part.part is BackupType.DATABASE:
                    new += self._new_databases(part)
                elif self._goes_back(part):
                    self._bucket_target(part).check(SilentProgress())
                else:
                    needs.add(own, plan_restore(self._repository, self._supply.tree_of(part)).room)
        refuse_names(new)
        self._checks += refuse_taken(new, needs)
        needs.refuse_without_room()

    def _new_databases(self, part: PartResult) -> list[NewDatabase]:
        server, files = self._server(part), self._files(part)
        address, records = recovery_address(server), self._records(part, files)
        with suppress(DamageError):  # of the roles' record: the names are checked all the same
            self._refuse_without_rights(server, address, self._globals(part, files), records)
        return [
            NewDatabase(record, record.name + self._target.database_suffix, server.name, address) for record in records
        ]

    @staticmethod
    def _refuse_without_rights(
        server: DatabaseSettings, address: Address, roles: Globals, records: list[DatabaseRecord]
    ) -> None:
        try:
            with connect(address, autocommit=True) as connection:
                refuse_without_rights(connection, server.name, roles, records)
        except UnreachableError as error:
            error.hint = f"{error.hint}; --part brings the other parts back now"
            raise

    def run(self, progress: Progress, job: RecoveryJob, shared: ShardedJob | None) -> RecoveryJob:
        """Restore part after part, each proved right after it is there."""
        with self._supply.held():
            for part in self._parts:
                if part.part is BackupType.DATABASE:
                    with self._failing_alone(f"the databases of {part.source}", progress):
                        self._databases(part, progress)
                    continue
                if part.part is BackupType.CLUSTER:
                    with self._failing_alone(f"the cluster {part.source}", progress):
                        self._cluster(part, progress)
                    continue
                try:
                    if self._goes_back(part):
                        self._bucket(part, progress)
                    else:
                        self._tree(part, progress, shared)
                except BackupError as error:
                    error.message = ". ".join([error.message, *(f"{what} failed, too" for what, _ in self._failures)])
                    raise
        if self._failures and not self._done:
            raise self._failures[0][1]
        return self._ended(job)

    @contextmanager
    def _failing_alone(self, what: str, progress: Progress) -> Iterator[None]:
        """Keep a database's failure for the end: whoever lost a server wants the files all the same."""
        try:
            yield
        except CancelledError:
            raise
        except BackupError as error:
            progress.raise_if_cancelled()  # a Ctrl-C kills the programs that we run, too
            self._failures.append((what, error))
            self._findings.append(f"{what} was not brought back: {' '.join(error.lines())}")

    def _ended(self, job: RecoveryJob) -> RecoveryJob:
        passed = not self._findings
        error = f"what was restored differs from the backup in {len(self._findings)} places"
        hint = "verify the backup, then recover into another fresh target"
        if self._failures:
            lost = ", ".join(what for what, _ in self._failures)
            differs = len(self._findings) - len(self._failures)
            rest = f"what else is there differs in {differs} places" if differs else "everything else is there"
            error = f"{lost} could not be brought back; {rest}: {self._failures[0][1].message}"
            hint = self._failures[0][1].hint or "mend that, then recover it alone with --part database"
        return replace(
            job,
            status=(JobStatus.COMPLETED_WITH_WARNINGS if self._warnings else JobStatus.COMPLETED)
            if passed
            else JobStatus.FAILED,
            verification_status=Verdict.PASSED if passed else Verdict.FAILED,
            restored_bytes=self._bytes,
            findings=tuple(map(storable, self._findings[:_SHOWN])),
            checks=tuple(self._checks),
            stores=self._supply.stores,
            store_notes=self._supply.tell(),
            warnings=tuple(map(storable, self._warnings[:_SHOWN])),
            error=None if passed else storable(error),
            hint=None if passed else storable(hint),
        )

    def _databases(self, part: PartResult, progress: Progress) -> None:
        settings = self._server(part)
        address = recovery_address(settings)
        tools = database_tools(settings, address)
        files = self._files(part)
        server_globals = self._globals(part, files)
        failed, done = len(self._failures), self._done
        for record in self._records(part, files):
            name = record.name + self._target.database_suffix
            with self._failing_alone(f"the database {name}", progress):
                progress.phase(f"restore database {name}")
                restored = restore_database(
                    files,
                    record,
                    address=address,
                    new_name=name,
                    tools=tools,
                    server_globals=server_globals,
                    parallel=settings.parallel,
                    progress=progress,
                )
                self._checks += [note for note in restored.notes if note not in self._checks]
                progress.phase(f"prove database {name}")
                proof = prove_database(
                    record, address=address, new_name=name, parallel=settings.parallel, progress=progress
                )
                self._checks += [f"{name}: {check}" for check in proof.checks]
                self._findings += [f"{name}: {finding}" for finding in proof.findings]
                self._done += 1
        if len(self._failures) == failed:
            self._bytes += part.source_bytes
        backed_up = database_address(settings)
        if self._done > done and (address.host, address.port) == (backed_up.host, backed_up.port):
            self._checks.append(f"{settings.name} backs up what was recovered, too, until it is dropped there")

    def _cluster(self, part: PartResult, progress: Progress) -> None:
        directory = part_directory(Path(self._target.directory), part)
        tree = self._supply.tree_of(part)
        done = bring_back_cluster(self._settings, self._repository, tree, part.source, directory, progress)
        self._bytes += done.bytes
        self._done += 1
        self._warnings += done.problems
        self._checks += [f"cluster {part.source}: {check}" for check in done.proof.checks]
        self._findings += [f"cluster {part.source}: {finding}" for finding in done.proof.findings]

    def _tree(self, part: PartResult, progress: Progress, shared: ShardedJob | None) -> None:
        shot = self._supply.shot_of(part)
        directory = part_directory(Path(self._target.directory), part)
        if not shared_source(self._settings, part.part, part.source):
            shared = None
        with Writers() as writers:
            when_large = writers.begin if shared is None else lambda: None
            plan = plan_restore(self._repository, shot.tree, paths=shot.paths, when_large=when_large)
            progress.phase(f"restore {part.part.value} {part.source}", bytes_total=plan.bytes)
            make_private_directory(Path(self._target.directory))
            if shared is not None:
                restored = shared.restore(plan, directory, helped=self._supply.helped)
            else:
                restored = restore(self._repository, plan, directory, progress=progress, writers=writers)
        self._bytes += restored.bytes
        self._warnings += restored.problems
        progress.phase(f"prove {part.part.value} {part.source}", bytes_total=plan.bytes)
        if shared is not None:
            compared, differences = shared.prove_restored(shot.tree, directory, helped=self._supply.helped)
        else:
            compared, differences = prove_files(self._repository, shot.tree, directory, progress=progress)
        self._done += 1
        self._checks.append(f"{part.part.value} {part.source}: {compared} files have the bytes of the backup")
        self._findings += differences

    def _goes_back(self, part: PartResult) -> bool:
        """Whether the part is a bucket's, and goes into a bucket."""
        return self._target.buckets is not BucketsTo.FILES and is_of_bucket(self._supply.shot_of(part))

    def _bucket_target(self, part: PartResult) -> BucketTarget:
        existing = Existing.REFUSE if self._target.buckets is BucketsTo.EMPTY else Existing.KEEP
        return bucket_target(self._settings, part.source, existing)

    def _bucket(self, part: PartResult, progress: Progress) -> None:
        plan = plan_objects(plan_restore(self._repository, self._supply.tree_of(part)))
        target = self._bucket_target(part)
        progress.phase(f"restore bucket {part.source}", bytes_total=plan.bytes)
        done = restore_into_bucket(self._repository, plan, target, progress=progress)
        self._bytes += done.bytes
        self._warnings += [*plan.left_out, *done.problems]
        self._done += 1
        self._checks.append(
            f"bucket {part.source}: {done.sent} objects were sent to {target.wire.place.address} and looked at there, "
            f"{done.equal} were there and have the bytes and headers of the backup"
        )
        self._findings += done.failed

    def _server(self, part: PartResult) -> DatabaseSettings:
        wanted = self._target.database_source or part.source
        for source in self._settings.databases:
            if source.name == wanted:
                return source
        raise NotFoundError(
            f"no database source is named {wanted!r}",
            hint="name the server that receives the databases with --database-source",
        )

    @staticmethod
    def _globals(part: PartResult, files: SnapshotFiles) -> Globals:
        return decode_record(files.read(f"{database_folder(part.source)}/{GLOBALS}"), Globals)

    def _records(self, part: PartResult, files: SnapshotFiles) -> list[DatabaseRecord]:
        top = database_folder(part.source)
        return [
            decode_record(files.read(f"{top}/{folder}/database.json"), DatabaseRecord) for folder in files.names(top)
        ]

    def _files(self, part: PartResult) -> SnapshotFiles:
        return SnapshotFiles(self._repository, self._supply.tree_of(part))
