"""The log in a repository: what is published is there, costs little, and one snapshot has all of it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.errors import BackupError, ConfigError, ConflictError, NotFoundError
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import Published, WalArchive, WalContent, open_archive
from tests.support import engine
from tests.support.stores import Crash, CrashingStore, Fault, FaultyStore, MemoryStore

MIB = 1024 * 1024
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
SYSTEM = "7123456789012345678"


def name(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}{number // 256:08X}{number % 256:08X}"


def content(seed: int, size: int = MIB, filled: int | None = None) -> bytes:
    made = random.Random(seed).randbytes(size if filled is None else filled)
    return made + bytes(size - len(made))


def archive(repository: Repository, system: str = SYSTEM) -> WalArchive:
    return WalArchive(repository, "main", system, 16 * MIB, host="tests", now=lambda: NOON)


def publish(found: WalArchive, repository: Repository, *files: tuple[str, bytes]) -> Published | None:
    with repository.lock(settle=engine.AT_ONCE) as lock:
        found.refresh()
        return found.publish([WalContent(one, data, NOON) for one, data in files], lock)


def names(found: WalArchive) -> Sequence[str]:
    return [one for one, _ in found.names()]


def test_what_is_published_is_read_back_and_one_snapshot_has_all_of_it() -> None:
    repository = engine.create()
    found = archive(repository)
    for number in range(254, 259):
        assert publish(found, repository, (name(number), content(number))) is not None
    assert publish(found, repository, ("00000002.history", b"1\t0/5\tx\n")) is not None
    assert names(found) == ["00000002.history", *(name(number) for number in range(254, 259))]
    assert [found.read(name(number)) for number in (254, 258)] == [content(254), content(258)]
    assert len(repository.snapshots()) == 1
    assert engine.check(repository).findings == []
    fresh = open_archive(engine.opened(repository.store), "main", host="tests")
    assert fresh is not None
    assert names(fresh) == names(found)
    with pytest.raises(NotFoundError):
        found.read(name(9))


def test_few_segments_share_a_folder_so_that_publishing_one_writes_little() -> None:
    repository = engine.create()
    found = archive(repository)
    publish(found, repository, *((name(number), content(number, 1000)) for number in range(300)))
    folders = Counter[bytes]()

    def walk(tree: str) -> None:
        for node in repository.read_tree(tree):
            if node.subtree is not None:
                walk(node.subtree)
            else:
                folders[bytes.fromhex(tree)] += 1

    (snapshot,) = repository.snapshots().values()
    walk(snapshot.tree)
    assert sum(folders.values()) == 300
    assert max(folders.values()) == 16


def test_nothing_new_publishes_nothing() -> None:
    repository = engine.create()
    found = archive(repository)
    publish(found, repository, (name(1), content(1)))
    before = dict(repository.store.objects)  # type: ignore[attr-defined]
    assert publish(found, repository, (name(1), content(1))) is None
    assert repository.store.objects == before  # type: ignore[attr-defined]


def test_a_growing_segment_is_stored_piece_by_piece_and_replaced_when_it_is_complete() -> None:
    repository = engine.create()
    found = archive(repository)
    whole = content(7, 4 * MIB)
    stored = 0
    for filled in (MIB // 2, MIB, 3 * MIB):
        done = publish(found, repository, (f"{name(3)}.partial", whole[:filled] + bytes(4 * MIB - filled)))
        assert done is not None
        stored += done.stored_bytes
    done = publish(found, repository, (name(3), whole))
    assert done is not None
    assert names(found) == [name(3)]
    assert found.read(name(3)) == whole
    assert stored + done.stored_bytes < 5 * MIB


def test_a_publication_costs_five_objects_and_little_beside_the_log() -> None:
    store = MemoryStore()
    repository = engine.create(store)
    found = archive(repository)
    for number in range(250):
        publish(found, repository, (name(number), content(number, 1000)))
    before = dict(store.objects)
    done = publish(found, repository, (name(250), content(250)))
    new = {one: data for one, data in store.objects.items() if one not in before}
    assert done is not None
    assert len(new) <= 5
    assert sum(map(len, new.values())) - done.stored_bytes < 100_000


def test_another_content_of_the_same_name_is_kept_beside_the_first_and_told() -> None:
    """SCENARIOS S-29: wal_same_name_other_content."""
    repository = engine.create()
    found = archive(repository)
    publish(found, repository, (name(1), content(1)))
    done = publish(found, repository, (name(1), content(2)))
    assert done is not None
    assert done.conflicts == (name(1),)
    assert found.read(name(1)) == content(1)
    (other,) = [one for one in names(found) if "conflict" in one]
    assert found.read(other) == content(2)


def test_another_clusters_log_is_refused() -> None:
    repository = engine.create()
    publish(archive(repository), repository, (name(1), content(1)))
    with pytest.raises(ConflictError, match="is of the cluster"):
        publish(archive(repository, "42"), repository, (name(2), content(2)))


def test_what_no_recovery_needs_can_be_taken_away_and_its_folders_with_it() -> None:
    repository = engine.create()
    found = archive(repository)
    for number in (1, 2, 300):
        publish(found, repository, (name(number), content(number)))
    with repository.lock(settle=engine.AT_ONCE) as lock:
        found.trim([name(1), name(2)], lock)
    assert names(found) == [name(300)]
    engine.prune(repository)
    assert engine.check(repository).findings == []
    assert found.read(name(300)) == content(300)


def test_a_prune_in_between_is_noticed() -> None:
    repository = engine.create()
    found = archive(repository)
    publish(found, repository, (name(1), content(1)))
    publish(found, repository, (f"{name(2)}.partial", content(2)))
    publish(found, repository, (name(2), content(3)))
    other = engine.opened(repository.store)
    engine.prune(other)
    assert publish(found, repository, (name(3), content(2))) is not None  # its chunks are gone, and known to it
    assert found.read(name(3)) == content(2)
    assert engine.check(engine.opened(repository.store)).findings == []


def test_a_crash_at_any_write_leaves_an_archive_that_goes_on() -> None:
    files = [(name(1), content(1)), (name(2), content(2))]
    for crash in range(40):
        store = MemoryStore()
        repository = engine.create(store)
        publish(archive(repository), repository, files[0])
        crashing = CrashingStore(store, crash)
        try:
            opened = engine.opened(crashing)
            publish(archive(opened), opened, files[1])
            ended = True
        except (Crash, BackupError):
            ended = False
        after = engine.opened(store)
        found = archive(after)
        assert found.read(name(1)) == content(1), crash
        publish(found, after, files[1])
        assert names(found) == [name(1), name(2)], crash
        assert len(after.snapshots()) == 1, crash
        assert engine.check(after).findings == [], crash
        if ended:
            return
    raise AssertionError("the run never ended")


def test_objects_of_the_series_are_one_snapshot_and_no_lock() -> None:
    store = MemoryStore()
    repository = engine.create(store)
    publish(archive(repository), repository, (name(1), content(1)))
    assert engine.count(store, Kind.SNAPSHOT) == 1
    assert engine.count(store, Kind.LOCK) == 0


def test_a_credential_that_may_only_add_publishes_on_and_asks_again_an_hour_later() -> None:
    store = MemoryStore()
    engine.create(store)
    refused = Fault("delete", "snapshots/", error=lambda: ConfigError("this credential may not delete"))
    with FaultyStore(store, refused) as faulty:
        repository, now = engine.opened(faulty), [NOON]
        found = WalArchive(repository, "main", SYSTEM, 16 * MIB, host="tests", now=lambda: now[0])
        for number in range(1, 5):
            published = publish(found, repository, (name(number), content(number)))
            assert published is not None
            assert published.files == (name(number),)
        assert len(repository.snapshots()) == 4
        now[0] += timedelta(hours=1)
        publish(found, repository, (name(5), content(5)))
        assert len(repository.snapshots()) == 1
    assert names(archive(engine.opened(store))) == [name(number) for number in range(1, 6)]


def test_who_reads_keeps_what_he_began_with_while_the_log_goes_on() -> None:
    repository = engine.create()
    publish(archive(repository), repository, (name(1), content(1)))
    elsewhere = engine.opened(repository.store)
    publish(archive(repository), repository, (name(2), content(2)))
    reader = open_archive(elsewhere, "main", host="tests")
    assert reader is not None
    for number in (3, 4):
        publish(archive(repository), repository, (name(number), content(number)))
    assert names(reader) == [name(1), name(2)]
    assert [reader.read(name(number)) for number in (1, 2)] == [content(1), content(2)]
