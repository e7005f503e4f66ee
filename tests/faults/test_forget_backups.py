"""Forgetting whole backups, and bringing them back, crashes at every write; the catalog always tells the truth."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.presence import known_backups, mark_forgotten, note_presence
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus, PartResult
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.forgetting import bring_whole_back, forget_whole
from edurise_backup.operations.presence import look_for_backups
from edurise_backup.postgres.connection import Address
from edurise_backup.repository.forgetting import GRACE
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from tests.support import engine
from tests.support.stores import Crash, CrashingStore, MemoryStore
from tests.support.trees import small_tree, write

PARTS = (BackupType.DATABASE, BackupType.FILES, BackupType.METADATA)
AT_ONCE = timedelta(0)
SILENT = SilentProgress()


@pytest.fixture
def catalog(catalog_database: Address) -> Iterator[Catalog]:
    sessions = Sessions.to(catalog_database)
    migrate(sessions)
    with ExitStack() as held:
        held.callback(sessions.close)
        yield Catalog(sessions, held)


class Sets:
    """Two recovery sets of three snapshots each, in a repository and in the catalog."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog = catalog
        self.store = MemoryStore()
        engine.create(self.store)
        tree = small_tree(folder / "tree")
        self.first = self._take(tree, 1)
        self.second = self._take(tree, 2)

    def _take(self, tree: Path, number: int) -> BackupJob:
        parts = []
        for part in PARTS:
            write(tree / f"{part.value} {number}", b"%d of " % number + part.value.encode())
            saved = engine.back_up(engine.opened(self.store), tree)
            parts.append(PartResult(part, saved.id, part.value, 1, 1, 1, 1))
        queued = BackupJob(JobId(uuid4()), BackupType.FULL, JobStatus.QUEUED)
        self.catalog.jobs.create(queued)
        self.catalog.jobs.start(queued.id)
        done = replace(queued, status=JobStatus.COMPLETED, size=1, location="memory", parts=tuple(parts))
        self.catalog.jobs.finish(replace(done, checksum=hashlib.sha256(queued.id.bytes).hexdigest()))
        return self.catalog.jobs.get(queued.id)

    def row(self, backup: BackupJob) -> BackupJob:
        return self.catalog.jobs.get(backup.id)

    def look(self, disk: MemoryStore) -> list[JobId]:
        """Compare catalog and disk; returns the backups that are missing."""
        return list(look_for_backups(self.catalog, engine.opened(disk)).missing)

    def forget(self, repository: Repository, grace: timedelta = GRACE) -> None:
        forget_whole(self.catalog, repository, [self.first], SILENT, grace=grace)

    def bring_back(self, repository: Repository) -> None:
        bring_whole_back(self.catalog, repository, self.first, SILENT)

    def crashes(
        self, store: MemoryStore, work: Callable[[Repository], None], *, at_least: int
    ) -> Iterator[MemoryStore]:
        """Yield the disk after a crash at each write; the catalog has what was written to it until then."""
        for survive in range(100):
            disk = store.copy()
            self.look(disk)  # the rows are again as the disk is
            try:
                work(Repository.open(CrashingStore(disk, survive), engine.PASSPHRASE))
            except Crash:
                for lock in [name for name in disk.objects if name.startswith("locks/")]:
                    disk.delete(lock)  # the process is gone; ours, whose id it has, is not
                yield disk
                continue
            assert survive >= at_least
            return
        raise AssertionError("the work never ended")


@pytest.fixture
def sets(catalog: Catalog, tmp_path: Path) -> Sets:
    return Sets(catalog, tmp_path)


def snapshots(disk: MemoryStore) -> set[str]:
    return set(engine.opened(disk).box.ids(Kind.SNAPSHOT))


def parts_of(backup: BackupJob) -> set[str]:
    return {part.snapshot_id for part in backup.parts}


@pytest.mark.parametrize("grace", [GRACE, AT_ONCE])
def test_a_crash_while_forgetting_leaves_a_backup_that_is_there_or_forgotten_and_never_missing(
    sets: Sets, grace: timedelta
) -> None:
    for disk in sets.crashes(sets.store, lambda repository: sets.forget(repository, grace), at_least=5):
        whole = parts_of(sets.first) <= snapshots(disk)
        assert sets.look(disk) == []
        assert sets.row(sets.first).restorable == whole
        assert sets.row(sets.second).restorable
        sets.forget(engine.opened(disk), grace)  # the same again finishes it
        assert sets.look(disk) == []
        assert snapshots(disk) == parts_of(sets.second)
        assert not sets.row(sets.first).restorable
        engine.prune(engine.opened(disk), known=[])
        assert engine.check(engine.opened(disk)).findings == []


def test_a_crash_while_bringing_back_loses_nothing_and_the_same_again_finishes_it(sets: Sets) -> None:
    sets.forget(engine.opened(sets.store))
    for disk in sets.crashes(sets.store, sets.bring_back, at_least=6):
        assert sets.look(disk) == []
        if not parts_of(sets.first) <= snapshots(disk):
            assert sets.row(sets.first).forgotten_at is not None
            sets.bring_back(engine.opened(disk))
        sets.look(disk)
        assert sets.row(sets.first).restorable
        assert parts_of(sets.first) | parts_of(sets.second) == snapshots(disk)
        assert engine.check(engine.opened(disk)).findings == []


def test_a_set_is_forgotten_metadata_first_so_that_no_half_of_it_looks_whole(sets: Sets) -> None:
    database, files, metadata = (part.snapshot_id for part in sets.first.parts)
    seen = []
    for disk in sets.crashes(sets.store, sets.forget, at_least=5):
        left = parts_of(sets.first) & snapshots(disk)
        seen.append(left)
        assert metadata not in left or left == {database, files, metadata}
    assert {database, files} in seen
    assert {database} in seen


def test_a_part_that_is_gone_without_a_word_makes_the_backup_missing_until_somebody_accepts_it(
    sets: Sets,
) -> None:
    repository = engine.opened(sets.store)
    sets.store.delete(f"snapshots/{sets.first.parts[1].snapshot_id}")
    assert sets.look(sets.store) == [sets.first.id]
    since = sets.row(sets.first).missing_since
    assert since is not None
    assert not sets.row(sets.first).restorable
    assert sets.look(sets.store) == [sets.first.id]
    assert sets.row(sets.first).missing_since == since
    mark_forgotten(sets.catalog.sessions, [sets.first.id], at=datetime.now(UTC), until=None)
    present = look_for_backups(sets.catalog, repository)
    assert present.missing == ()
    assert set(present.known) == parts_of(sets.second)


def test_a_backup_that_is_forgotten_between_two_looks_is_not_taken_for_missing(sets: Sets) -> None:
    before = known_backups(sets.catalog.sessions)
    sets.forget(engine.opened(sets.store), AT_ONCE)
    now = datetime.now(UTC)
    missing = note_presence(sets.catalog.sessions, before, listed=parts_of(sets.second), waiting={}, now=now)
    assert missing == ()
    row = sets.row(sets.first)
    assert row.forgotten_at is not None
    assert row.missing_since is None


def test_a_snapshot_that_is_listed_again_makes_its_backup_restorable_again(sets: Sets) -> None:
    name = f"snapshots/{sets.first.parts[0].snapshot_id}"
    kept = sets.store.objects.pop(name)
    assert sets.look(sets.store) == [sets.first.id]
    sets.store.objects[name] = kept
    assert sets.look(sets.store) == []
    assert sets.row(sets.first).restorable


def test_one_part_that_the_engine_has_forgotten_makes_the_set_forgotten_not_missing(sets: Sets) -> None:
    repository = engine.opened(sets.store)
    at = datetime.now(UTC).replace(microsecond=0)
    repository.forget(engine.SnapshotId(sets.first.parts[0].snapshot_id), grace=timedelta(days=2), now=at)
    assert sets.look(sets.store) == []
    row = sets.row(sets.first)
    assert (row.forgotten_at, row.forgotten_until) == (at, at + timedelta(days=2))
    sets.bring_back(engine.opened(sets.store))
    assert sets.row(sets.first).restorable


def test_a_note_that_is_not_readable_judges_no_backup(sets: Sets) -> None:
    sets.forget(engine.opened(sets.store))
    note = next(name for name in sets.store.objects if name.startswith("edurise/forgotten/"))
    sets.store.objects[note] = b"x" * len(sets.store.objects[note])
    present = look_for_backups(sets.catalog, engine.opened(sets.store))
    assert present.missing == ()
    assert note in present.problems[0]
    assert sets.row(sets.first).forgotten_at is not None
