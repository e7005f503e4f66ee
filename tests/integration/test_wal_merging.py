"""One snapshot of a log in a copy, too, and nothing goes from it that the copy's own base backups need."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from edurise_backup.model.wal import Lsn
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.copying import copy_snapshots
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive, open_archive
from edurise_backup.repository.wal_merging import merge_logs
from edurise_backup.repository.wal_series import newest_logs
from tests.integration.test_wal_archive import MIB, NOON, SYSTEM, archive, content, name, publish
from tests.support import engine
from tests.support.stores import Crash, CrashingStore, MemoryStore


def bring(source: Repository, copy: Repository, needed: Lsn | None, *, may_delete: bool = True) -> None:
    """Copy the newest snapshot of the log unless it is there, and merge, as `operations.copies` does."""
    with copy.lock(settle=engine.AT_ONCE) as lock:
        copy.load_index(strict=False)
        there = {one.original for one in copy.snapshots().values()}
        shots = {key: one for key, one in newest_logs(source.readable_snapshots()).values() if key not in there}
        copy_snapshots(source, copy, shots, lock, progress=SilentProgress())
        merge_logs(copy, "main", lock, needed=needed, now=lambda: NOON, may_delete=may_delete)


def kept(copy: Repository) -> Sequence[str]:
    """Return the names in a copy's log, each of which can be read."""
    found = open_archive(engine.opened(copy.store), "main", host="tests")
    assert found is not None
    names = [one for one, _ in found.names()]
    for one in names:
        found.read(one)
    return names


def trimmed(source: Repository, *numbers: int) -> None:
    with source.lock(settle=engine.AT_ONCE) as lock:
        found = archive(source)
        found.refresh()
        found.trim([name(number) for number in numbers], lock)


def test_a_copy_keeps_what_its_own_base_backups_need_when_the_primary_trims() -> None:
    source, copy = engine.create(), engine.create()
    publish(archive(source), source, *((name(number), content(number)) for number in range(1, 7)))
    bring(source, copy, Lsn(0))
    trimmed(source, 1, 2, 3, 4)
    publish(archive(source), source, (name(7), content(7)))
    bring(source, copy, Lsn(3 * 16 * MIB + 40))
    assert kept(copy) == [name(number) for number in range(3, 8)]
    assert len(copy.snapshots()) == 1
    bring(source, copy, None)
    assert kept(copy) == [name(number) for number in range(3, 8)], "one snapshot: there is nothing to merge"
    publish(archive(source), source, (name(8), content(8)))
    bring(source, copy, None)
    assert kept(copy) == [name(number) for number in range(5, 9)]
    assert engine.check(engine.opened(copy.store)).findings == []


def test_a_copy_that_only_takes_names_all_of_it_in_its_newest_snapshot() -> None:
    source, copy = engine.create(), engine.create()
    publish(archive(source), source, *((name(number), content(number)) for number in range(1, 4)))
    bring(source, copy, Lsn(0), may_delete=False)
    for number in (4, 5):
        trimmed(source, number - 3, number - 2)
        publish(archive(source), source, (name(number), content(number)))
        bring(source, copy, Lsn(0), may_delete=False)
        assert kept(copy) == [name(one) for one in range(1, number + 1)]
    assert len(copy.snapshots()) == 5, "two runs that merged, each beside what it was made from"
    bring(source, copy, Lsn(0))
    assert kept(copy) == [name(one) for one in range(1, 6)]
    assert len(copy.snapshots()) == 1
    assert engine.check(engine.opened(copy.store)).findings == []


def test_a_primary_that_was_made_anew_takes_nothing_from_the_copy() -> None:
    first, second, copy = engine.create(), engine.create(), engine.create()
    files = [("00000002.history", b"1\t0/5\tx\n"), *((name(number), content(number)) for number in (1, 2))]
    publish(archive(first), first, *files, (f"{name(3)}.partial", content(3, filled=MIB // 2)))
    bring(first, copy, Lsn(0))
    later = WalArchive(second, "main", SYSTEM, 16 * MIB, host="tests", now=lambda: NOON + timedelta(hours=1))
    publish(later, second, (name(3), content(3)), (name(4), content(4)))
    bring(second, copy, Lsn(0))
    assert kept(copy) == ["00000002.history", *(name(number) for number in (1, 2, 3, 4))]


def test_the_log_of_another_cluster_stays_beside() -> None:
    first, second, copy = engine.create(), engine.create(), engine.create()
    publish(archive(first), first, (name(1), content(1)))
    bring(first, copy, Lsn(0))
    publish(archive(second, "7999"), second, (name(1), content(9)))
    bring(second, copy, Lsn(0))
    assert {one.tag("system") for one in copy.snapshots().values()} == {"7999", archive(first).system}


def test_a_segment_with_other_bytes_and_a_beginning_of_it_lose_nothing_that_is_whole() -> None:
    first, second, third, copy = (engine.create() for _ in range(4))
    publish(archive(first), first, (name(1), content(1)), (f"{name(2)}.partial", content(2, filled=MIB // 2)))
    bring(first, copy, Lsn(0))
    for hours, source, files in (
        (1, second, ((name(1), content(9)), (name(2), content(2)))),
        (2, third, ((name(3), content(3)),)),
    ):
        later = WalArchive(
            source, "main", SYSTEM, 16 * MIB, host="tests", now=lambda h=hours: NOON + timedelta(hours=h)
        )
        publish(later, source, *files)
        bring(source, copy, Lsn(0))
    found = kept(copy)
    assert [one for one in found if ".conflict-" not in one] == [name(1), name(2), name(3)]
    assert len([one for one in found if one.startswith(f"{name(1)}.conflict-")]) == 1


def test_a_receiver_takes_nothing_away_that_its_own_snapshot_was_not_made_from() -> None:
    first, second, copy = engine.create(), engine.create(), engine.create()
    publish(archive(first), first, (name(1), content(1)))
    later = WalArchive(second, "main", SYSTEM, 16 * MIB, host="tests", now=lambda: NOON + timedelta(hours=1))
    publish(later, second, (name(2), content(2)))
    for source in (first, second):
        with copy.lock(settle=engine.AT_ONCE) as lock:
            copy.load_index(strict=False)
            copy_snapshots(
                source, copy, dict(newest_logs(source.readable_snapshots()).values()), lock, progress=SilentProgress()
            )
    primary = engine.opened(copy.store)
    publish(
        WalArchive(primary, "main", SYSTEM, 16 * MIB, host="tests", now=lambda: NOON + timedelta(hours=2)),
        primary,
        (name(3), content(3)),
    )
    assert len(primary.snapshots()) == 2, "what was not merged yet, and the log as it goes on"
    with primary.lock(settle=engine.AT_ONCE) as lock:
        merge_logs(primary, "main", lock, needed=Lsn(0), now=lambda: NOON)
    assert kept(primary) == [name(number) for number in (1, 2, 3)]


@pytest.mark.parametrize("at", range(1, 12))
def test_a_merge_that_is_cut_at_any_write_loses_nothing_and_is_done_again(at: int) -> None:
    source, store = engine.create(), MemoryStore()
    copy = engine.create(store)
    publish(archive(source), source, *((name(number), content(number)) for number in (1, 2)))
    bring(source, copy, Lsn(0))
    trimmed(source, 1)
    publish(archive(source), source, (name(3), content(3)))
    crashing = Repository.open(CrashingStore(store, at), engine.PASSPHRASE)
    crashed = False
    try:
        bring(source, crashing, Lsn(0))
    except Crash:
        crashed = True
    names = {one for shot in engine.opened(store).snapshots() for one in _names_of(engine.opened(store), shot)}
    assert {name(1), name(2)} <= names
    survivor = engine.opened(store)
    bring(source, survivor, Lsn(0))
    publish(archive(source), source, (name(4), content(4)))
    bring(source, survivor, Lsn(0))
    assert kept(survivor) == [name(number) for number in range(1, 5)]
    assert len(survivor.snapshots()) == 1
    assert crashed or at > 6, "what is cut is reached"


def _names_of(repository: Repository, shot: str) -> list[str]:
    found, trees = [], [next(one.tree for key, one in repository.snapshots().items() if key == shot)]
    while trees:
        for node in repository.read_tree(trees.pop()):
            if node.subtree:
                trees.append(node.subtree)
            else:
                found.append(node.name)
    return found
