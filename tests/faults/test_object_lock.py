"""Objects that the bucket holds: no deletion loses them, a prune waits for them, and what a stranger did is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, UnreachableError
from edurise_backup.model.object_lock import LockMode, ObjectLock
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.lock_upkeep import keep_locked
from edurise_backup.repository.pruner import Pruned
from edurise_backup.repository.removals import Removed, purge, read_removed
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undeleting import DOORS, SIGNS, bring_back, plan_undeletion
from edurise_backup.s3.wire import Answer, Wire
from edurise_backup.stores.s3 import S3Store
from tests.support.engine import (
    AT_ONCE,
    ONE_PACK,
    PASSPHRASE,
    QUICK,
    back_up,
    check,
    forget,
    prune,
    restored_differences,
)
from tests.support.engine import bring_back as undo
from tests.support.locking_server import locked_store, locking_bucket
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import SMALL_PARTS
from tests.support.trees import small_tree, write

DAYS = 10
LOCK = ObjectLock(LockMode.COMPLIANCE, timedelta(days=DAYS))
NAME = "data/ab/" + "ab" * 32


class Calendar:
    """A clock that is set by hand; it begins now, because the server's own cannot be set."""

    def __init__(self) -> None:
        self.moment = datetime.now(UTC)

    def __call__(self) -> datetime:
        """Return the moment."""
        return self.moment

    def pass_days(self, days: float) -> None:
        """Let time pass."""
        self.moment += timedelta(days=days)


class Place:
    """A bucket that enforces locks, and the repository in it."""

    def __init__(self, server: S3Server, folder: Path, lock: ObjectLock = LOCK) -> None:
        self.server, self.folder, self.lock = server, folder, lock
        self.bucket = locking_bucket(server)
        self.clock = Calendar()
        Repository.create(self.store(), PASSPHRASE, cost=QUICK, vault=self.store().vault)

    def store(self, lock: ObjectLock | None = None) -> S3Store:
        """Open the bucket."""
        lock = self.lock if lock is None else lock
        return locked_store(self.server, self.bucket, self.folder / "keys", lock, clock=self.clock)

    def open(self) -> Repository:
        """Open the repository."""
        store = self.store()
        opened = Repository.open(store, PASSPHRASE, vault=store.vault)
        opened.load_index()
        return opened

    def prune(self) -> Pruned:
        """Prune at once; the server's own clock stays where it is, so the lock of what it holds is over only then."""
        return prune(self.open())

    def until(self, name: str) -> datetime | None:
        """Return until when an object is locked."""
        head = self.server.client().head_object(Bucket=self.bucket, Key=f"some/folder/{name}")
        found = head.get("ObjectLockRetainUntilDate")
        assert found is None or isinstance(found, datetime)
        return found

    def names(self) -> list[str]:
        """Return what a listing shows."""
        store = self.store()
        return [
            name for kind in ("keys", "data", "index", "snapshots", "locks", "edurise") for name, _ in store.list(kind)
        ]

    def attack(self) -> int:
        """Delete everything, as whoever has a credential that may; return how many deletions were let through."""
        client, done = self.server.client(), 0
        listing = client.list_object_versions(Bucket=self.bucket)
        for version in listing.get("Versions", []):
            client.delete_object(Bucket=self.bucket, Key=version["Key"])
            done += 1
        return done


@pytest.fixture
def place(locking: S3Server, tmp_path: Path) -> Iterator[Place]:
    """Give a new repository in a bucket that enforces locks."""
    yield Place(locking, tmp_path)


def test_what_is_written_is_locked_by_its_kind(place: Place) -> None:
    back_up(place.open(), small_tree(place.folder / "tree"))
    store = place.store()
    expected = place.clock.moment + timedelta(days=DAYS)
    covered = [name for name in [*place.names(), "config"] if place.lock.covers(name)]
    assert {name.split("/")[0] for name in covered} == {"config", "keys", "data", "index", "snapshots"}
    for name in covered:
        until = place.until(name)
        assert until is not None
        assert abs(until - expected) < timedelta(minutes=1), name
    store.put("locks/" + "0" * 64, [b"lock"])
    store.put("edurise/verified/x", [b"note"])
    assert (place.until("locks/" + "0" * 64), place.until("edurise/verified/x")) == (None, None)


def test_a_large_object_is_locked_too(place: Place) -> None:
    store = locked_store(place.server, place.bucket, place.folder / "keys", LOCK, clock=place.clock, sizes=SMALL_PARTS)
    store.put(NAME, [b"x" * (6 << 20)])
    assert place.until(NAME) is not None
    assert "CreateMultipartUpload" in store.traffic().operations


def test_a_lock_of_the_repository_leaves_no_version_behind(place: Place) -> None:
    with place.open().lock():
        pass
    assert list(place.store().vault.versions("locks/")) == []


def test_an_object_that_is_locked_is_hidden_and_one_that_is_not_goes_for_good(place: Place) -> None:
    store = place.store()
    store.put(NAME, [b"locked"])
    store.delete(NAME)
    assert list(store.list("data")) == []
    assert [version.marker for version in store.vault.versions(NAME)] == [False, True]
    place.store(ObjectLock()).put("data/cd/free", [b"free"])
    store.delete("data/cd/free")
    assert list(store.vault.versions("data/cd")) == []
    store.delete("data/cd/never-was")


def test_the_version_of_a_locked_object_is_never_removed(place: Place) -> None:
    store = place.store()
    store.put(NAME, [b"locked"])
    version = next(iter(store.vault.versions(NAME)))
    with pytest.raises(UnreachableError, match="may not do DeleteObject"):
        store.vault.drop(version)
    assert store.get(NAME) == b"locked"
    until = store.vault.remove(NAME)
    assert until is not None
    assert until > place.clock.moment + timedelta(days=DAYS - 1)


def test_a_prune_leaves_what_is_locked_un_indexed_says_until_when_and_asks_once(place: Place) -> None:
    tree = small_tree(place.folder / "tree")
    first = back_up(place.open(), tree, settings=ONE_PACK)
    write(tree / "later", b"later" * 5000)
    second = back_up(place.open(), tree, settings=ONE_PACK)
    forget(place.open(), first.id)
    for path in tree.iterdir():
        if path.is_file() and path.name != "later":
            path.unlink()
    third = back_up(place.open(), tree, settings=ONE_PACK)
    forget(place.open(), second.id)
    before = {name for name in place.names() if name.startswith("data/")}
    done = place.prune()
    assert done.departure.due == ()
    assert done.departure.locked
    assert done.departure.locked_until is not None
    assert before <= set(place.names())
    indexed = {pack for pack, _ in place.open().index.sizes()}
    assert not indexed & set(done.departure.locked)
    store = place.store()
    again = prune(_opened(store))
    assert set(again.departure.locked) >= set(done.departure.locked)
    assert store.traffic().requests("DeleteObject") <= 6, "locks of the repository and notes, no pack"
    assert check(place.open()).findings == []
    assert restored_differences(place.open(), third.snapshot, tree, place.folder / "target") == []


def _opened(store: S3Store) -> Repository:
    return Repository.open(store, PASSPHRASE, vault=store.vault)


def test_what_was_locked_goes_with_a_later_prune_once_its_lock_is_over(locking: S3Server, tmp_path: Path) -> None:
    """The bucket keeps what nobody has locked: as one does whose locks are over."""
    there = Place(locking, tmp_path)
    tree = small_tree(tmp_path / "tree")
    store = there.store(ObjectLock())
    first = back_up(_opened(store), tree, settings=ONE_PACK)
    forget(there.open(), first.id)
    back_up(_opened(store), small_tree(tmp_path / "other"), settings=ONE_PACK)
    done = there.prune()
    assert done.departure.locked == ()
    assert done.departure.due
    packs = {version.name.rpartition("/")[2] for version in there.store().vault.versions("data/")}
    assert not packs & set(done.departure.due), "no version is left that would be paid for"


def test_locks_of_what_lives_on_are_extended_when_half_of_them_is_over(place: Place) -> None:
    tree = small_tree(place.folder / "tree")
    back_up(place.open(), tree, settings=ONE_PACK)
    first = place.prune().locks
    assert first is not None
    assert first.extended > 4, "the first round trusts nothing"
    store = place.store()
    assert prune(_opened(store)).locks is not None
    assert store.traffic().requests("PutObjectRetention") == 0
    place.clock.pass_days(DAYS / 2 + 1)
    repository = place.open()
    packs = {pack for pack, _ in repository.index.sizes()}
    vault = place.store().vault
    second = keep_locked(repository.box, vault, packs, now=place.clock(), progress=SilentProgress())
    assert second.extended == first.extended
    assert second.troubles == ()
    for name in [*place.names(), "config"]:
        if place.lock.covers(name):
            until = place.until(name)
            assert until is not None
            assert until > place.clock.moment + timedelta(days=DAYS - 1), name


def test_a_round_of_extensions_is_bounded_and_the_next_one_goes_on(place: Place) -> None:
    back_up(place.open(), small_tree(place.folder / "tree"))
    repository = place.open()
    packs = {pack for pack, _ in repository.index.sizes()}
    vault = place.store().vault
    first = keep_locked(repository.box, vault, packs, now=place.clock(), progress=SilentProgress(), most=3)
    assert first.extended == 3
    assert first.behind > 3
    place.clock.pass_days(DAYS / 2 + 1)
    second = keep_locked(repository.box, vault, packs, now=place.clock(), progress=SilentProgress())
    assert second.extended == first.behind + 3
    assert second.behind == 0


@pytest.mark.parametrize(("before", "after"), [(10, 365), (0, 30)], ids=["longer", "set for the first time"])
def test_a_lock_that_is_changed_is_given_to_what_was_written_before(
    locking: S3Server, tmp_path: Path, before: int, after: int
) -> None:
    """What no note knows counts as locked since it was written only when that was with the lock that is set now."""
    one = ObjectLock(LockMode.COMPLIANCE, timedelta(days=before)) if before else ObjectLock()
    place = Place(locking, tmp_path, one)
    back_up(place.open(), small_tree(tmp_path / "tree"))
    if before:
        assert place.prune().locks is not None
    write(tmp_path / "tree" / "more", b"more" * 1000)
    back_up(place.open(), tmp_path / "tree")  # no note of this one's objects
    place.lock = ObjectLock(LockMode.COMPLIANCE, timedelta(days=after))
    repository = place.open()
    packs = {pack for pack, _ in repository.index.sizes()}
    found = keep_locked(
        repository.box, place.store().vault, packs, now=place.clock(), progress=SilentProgress(), most=4
    )
    assert (found.extended, found.earliest) == (4, place.clock()), "what is left may have no lock at all"
    found = keep_locked(repository.box, place.store().vault, packs, now=place.clock(), progress=SilentProgress())
    assert found.behind == 0
    ends = [place.until(name) for name in [*place.names(), "config"] if place.lock.covers(name)]
    assert None not in ends
    first = min(end for end in ends if end)
    assert first > place.clock() + timedelta(days=after - 1)
    assert found.earliest is not None
    assert abs(found.earliest - first) < timedelta(hours=1), "what is told is so"


def test_one_object_that_is_refused_costs_none_of_the_others(place: Place) -> None:
    back_up(place.open(), small_tree(place.folder / "tree"))
    repository, real = place.open(), place.store().vault
    refused = next(name for name in place.names() if name.startswith("keys/"))

    class Stubborn:
        """A server that keeps one object's lock as it is."""

        lock, created, versions = real.lock, real.created, real.versions

        def extend(self, name: str, until: datetime) -> bool:
            if name == refused:
                raise UnreachableError("the server refuses this one")
            return real.extend(name, until)

    found = keep_locked(repository.box, Stubborn(), set(), now=place.clock(), progress=SilentProgress())  # type: ignore[arg-type]
    assert found.extended > 1
    assert found.behind == 1
    assert "the server refuses this one" in found.troubles[0]


def test_whoever_may_not_extend_is_told_and_has_pruned(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    back_up(place.open(), small_tree(place.folder / "tree"))

    class Refusing:
        """A vault whose credential may not lock."""

        def __init__(self, store: S3Store) -> None:
            self.lock = store.vault.lock
            self.created, self.versions = store.vault.created, store.vault.versions

        def extend(self, name: str, until: datetime) -> bool:
            raise UnreachableError(f"the credential may not do PutObjectRetention on {name}", hint="give it")

    repository = place.open()
    found = keep_locked(
        repository.box,
        Refusing(place.store()),
        set(),
        now=place.clock(),
        progress=SilentProgress(),  # type: ignore[arg-type]
    )
    assert found.extended == 0
    assert "could not be extended" in found.troubles[0]


# What a stranger did


def undelete(place: Place) -> int:
    """Bring back what can be; return how much that was."""
    vault = place.store().vault
    first = plan_undeletion(vault, Removed(), progress=SilentProgress(), prefixes=(*DOORS, SIGNS))
    bring_back(vault, first, SilentProgress())
    plan = plan_undeletion(vault, read_removed(_opened(place.store()).box), progress=SilentProgress())
    bring_back(vault, plan, SilentProgress())
    return len(first.objects) + len(plan.objects)


def test_an_attacker_who_deletes_everything_loses_nothing(place: Place) -> None:
    tree = small_tree(place.folder / "tree")
    saved = back_up(place.open(), tree)
    names = {name for name in place.names() if place.lock.covers(name)}
    assert place.attack() > 5
    assert [name for name in place.names() if place.lock.covers(name)] == []
    with pytest.raises(BackupError):
        place.open()
    undelete(place)
    assert {name for name in place.names() if place.lock.covers(name)} == names
    assert check(place.open()).findings == []
    assert restored_differences(place.open(), saved.snapshot, tree, place.folder / "target") == []


def test_an_attacker_who_replaces_everything_loses_nothing(place: Place) -> None:
    """Who may only write can still put other bytes on top, and lock them."""
    tree = small_tree(place.folder / "tree")
    saved = back_up(place.open(), tree)
    client = place.server.client()
    for version in client.list_object_versions(Bucket=place.bucket)["Versions"]:
        client.put_object(
            Bucket=place.bucket,
            Key=version["Key"],
            Body=b"ransom",
            ChecksumAlgorithm="SHA256",
            ObjectLockMode="COMPLIANCE",
            ObjectLockRetainUntilDate=datetime.now(UTC) + timedelta(days=99),
        )
    with pytest.raises(BackupError):
        place.open()
    undelete(place)
    assert check(place.open()).findings == []
    assert restored_differences(place.open(), saved.snapshot, tree, place.folder / "target") == []


def test_what_we_have_removed_ourselves_stays_removed(place: Place) -> None:
    tree = small_tree(place.folder / "tree")
    gone = back_up(place.open(), tree)
    write(tree / "later", b"later" * 1000)
    kept = back_up(place.open(), tree)
    forget(place.open(), gone.id)
    assert undelete(place) == 0
    assert list(place.open().snapshots()) == [kept.id]
    place.attack()
    undelete(place)
    assert list(place.open().snapshots()) == [kept.id]
    assert check(place.open()).findings == []


def test_a_snapshot_that_was_brought_back_is_brought_back_again(place: Place) -> None:
    """The note of its removal is older than what a stranger deletes now."""
    saved = back_up(place.open(), small_tree(place.folder / "tree"))
    place.open().forget(saved.id, now=datetime.now(UTC) - timedelta(minutes=1))
    undo(place.open(), saved.id)
    place.attack()
    undelete(place)
    assert saved.id in place.open().snapshots()


def test_a_removal_that_was_only_announced_hides_nothing(place: Place) -> None:
    """A writer's credential may write the note, and not delete; hours later a stranger does."""
    saved = back_up(place.open(), small_tree(place.folder / "tree"))
    store = place.store()
    store.wire.ask = killed_at(store.wire, 1)  # type: ignore[method-assign]  # the note is the first
    with pytest.raises(BackupError, match="killed"):
        _opened(store).forget(saved.id, grace=AT_ONCE, now=datetime.now(UTC) - timedelta(hours=2), kept={})
    assert f"snapshots/{saved.id}" in read_removed(place.open().box).times
    assert list(place.open().snapshots()) == [saved.id]
    place.attack()
    undelete(place)
    assert list(place.open().snapshots()) == [saved.id]


def test_older_versions_of_what_we_removed_go_for_good_when_no_lock_can_hold_them(place: Place) -> None:
    short = ObjectLock(LockMode.COMPLIANCE, timedelta(days=DAYS))
    saved = back_up(place.open(), small_tree(place.folder / "tree"))
    forget(place.open(), saved.id)
    repository, vault = place.open(), place.store(short).vault
    now = datetime.now(UTC)
    assert purge(repository.box, vault, now=now) == []
    name = f"snapshots/{saved.id}"
    assert len(list(vault.versions(name))) == 2, "the lock still holds it, and nobody asked"
    refused = purge(repository.box, vault, now=now + timedelta(days=DAYS + 2))
    assert "older versions" in refused[0], "the server's clock says that the lock lasts: told, and tried again later"
    assert read_removed(place.open().box).times


def killed_at(wire: Wire, cut: int) -> Callable[..., Answer]:
    """Return a way to ask that ends before the request `cut` that changes something, and at every one after it."""
    ask, left = wire.ask, cut

    def asked(operation: str, *, name: str = "", **parameters: object) -> Answer:
        nonlocal left
        if operation in ("PutObject", "DeleteObject", "PutObjectRetention"):
            left -= 1
            if left < 0:
                raise BackupError("the process was killed")
        return ask(operation, name=name, **parameters)

    return asked


def test_a_crash_anywhere_in_a_prune_of_locked_objects_harms_no_snapshot(place: Place) -> None:
    tree = small_tree(place.folder / "tree")
    first = back_up(place.open(), tree, settings=ONE_PACK)
    write(tree / "later", b"later" * 5000)
    kept = back_up(place.open(), tree, settings=ONE_PACK)
    forget(place.open(), first.id)
    struck = 0
    for cut in (0, 1, 2, 3, 4, 5, 6, 8, 12, 18, 99):
        store = place.store()
        store.wire.ask = killed_at(store.wire, cut)  # type: ignore[method-assign]
        try:
            done = prune(_opened(store))
        except BackupError:
            struck += 1
        else:
            if not (done.locks and done.locks.troubles):
                break
            struck += 1
        with place.open().lock():
            pass  # removes what the killed one has left
        assert check(place.open()).findings == []
    assert struck > 3
    assert restored_differences(place.open(), kept.snapshot, tree, place.folder / "target") == []
