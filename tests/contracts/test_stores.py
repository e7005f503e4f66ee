"""What every store promises (`ports.Store`), tried on each one."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, ConflictError, DamageError, NotFoundError
from edurise_backup.ports import Store
from edurise_backup.stores.limited import LimitedStore, Line
from edurise_backup.stores.local import LocalStore
from edurise_backup.stores.s3 import S3Store
from tests.support.s3_stores import new_bucket, remove_bucket, store_at
from tests.support.stores import MemoryStore


@pytest.fixture(params=["local", "memory", "limited", "rclone", "swift", "swift by conditions"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """Give one store of each kind; the last ones are buckets of real servers, asked as any other's and as Amazon's."""
    if request.param.startswith(("rclone", "swift")):
        server = request.getfixturevalue(request.param.split()[0])
        return store_at(server, new_bucket(server), tmp_path / "keys", trusted="conditions" in request.param)
    if request.param == "limited":
        fast = Line(1 << 40)
        return LimitedStore(LocalStore(tmp_path / "store"), upload=fast, download=fast, stop=lambda: None)
    return LocalStore(tmp_path / "store") if request.param == "local" else MemoryStore()


def test_what_was_put_is_there_with_its_size(store: Store) -> None:
    store.put("data/ab/abcd", [b"one ", bytearray(b"two "), memoryview(b"three")])
    assert store.get("data/ab/abcd") == b"one two three"
    assert store.size("data/ab/abcd") == 13


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("locks/empty", [])
    assert store.get("locks/empty") == b""
    assert list(store.list("locks")) == [("locks/empty", 0)]


def test_thousands_of_pieces_are_joined_in_order(store: Store) -> None:
    pieces = [b"%d," % number for number in range(5000)]
    store.put("data/pieces", pieces)
    assert store.get("data/pieces") == b"".join(pieces)


def test_an_existing_object_is_never_replaced(store: Store) -> None:
    store.put("config", [b"first"])
    with pytest.raises(ConflictError):
        store.put("config", [b"second"])
    assert store.get("config") == b"first"


def test_of_many_writers_of_one_name_exactly_one_wins(store: Store) -> None:
    store.put("folder/before", [b""])
    won: list[int] = []

    def write(number: int) -> None:
        try:
            store.put("folder/name", [b"%d" % number * 1000])
            won.append(number)
        except ConflictError:
            return

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert store.get("folder/name") == b"%d" % won[0] * 1000


@pytest.mark.parametrize("call", [Store.get, Store.size])
def test_a_missing_object_is_not_found(store: Store, call: Callable[..., object]) -> None:
    with pytest.raises(NotFoundError):
        getattr(store, call.__name__)("data/no/such")


def test_a_range_brings_exactly_its_bytes(store: Store) -> None:
    store.put("data/range", [bytes(range(100))])
    assert store.get("data/range", offset=10, length=5) == bytes(range(10, 15))
    assert store.get("data/range", offset=95) == bytes(range(95, 100))
    assert store.get("data/range", offset=100, length=0) == b""


@pytest.mark.parametrize(("offset", "length"), [(0, 101), (99, 2), (100, 1), (500, 1)])
def test_a_range_beyond_the_end_is_damage_never_a_short_answer(store: Store, offset: int, length: int) -> None:
    store.put("data/range", [bytes(100)])
    with pytest.raises(DamageError):
        store.get("data/range", offset=offset, length=length)


def test_a_listing_goes_down_into_folders_and_stays_within_its_prefix(store: Store) -> None:
    names = {"data/00/one", "data/00/two", "data/ff/three", "data2/four", "edurise/holds/a/b", "config"}
    for name in names:
        store.put(name, [name.encode()])
    assert sorted(store.list("data")) == [("data/00/one", 11), ("data/00/two", 11), ("data/ff/three", 13)]
    assert list(store.list("edurise")) == [("edurise/holds/a/b", 17)]


def test_a_folder_that_never_was_lists_as_empty_in_a_store_that_is_there(store: Store) -> None:
    store.put("config", [b"x"])
    assert list(store.list("snapshots")) == []


def test_deleting_removes_and_a_second_time_is_no_error(store: Store) -> None:
    store.put("index/a", [b"x"])
    store.delete("index/a")
    store.delete("index/a")
    assert list(store.list("index")) == []
    store.put("index/a", [b"y"])
    assert store.get("index/a") == b"y"


def test_a_store_whose_place_has_gone_never_lists_as_empty(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store.put("snapshots/one", [b"x"])
    if isinstance(store, MemoryStore):
        store.unmounted = True
    elif isinstance(store, S3Store):
        remove_bucket(
            request.getfixturevalue(request.node.callspec.params["store"].split()[0]), store.wire.place.bucket
        )
    else:
        (tmp_path / "store").rename(tmp_path / "elsewhere")
    with pytest.raises(NotFoundError):
        list(store.list("snapshots"))


def test_a_store_tells_its_time_or_that_it_cannot(store: Store, tmp_path: Path) -> None:
    store.put("config", [b"x"])
    told = store.now()
    assert told is None or abs(told - datetime.now(UTC)) < timedelta(minutes=1)
    assert (told is None) == isinstance(store, MemoryStore)
    assert list(store.list("locks")) == []
    if not isinstance(store, MemoryStore | S3Store):
        assert [path.name for path in (tmp_path / "store").iterdir()] == ["config"]


# What only a directory can get wrong


def test_a_directory_that_may_not_be_read_is_an_error_not_an_empty_listing(tmp_path: Path) -> None:
    """As root nothing is forbidden, so the folder is a file there: that cannot be listed by anybody."""
    store = LocalStore(tmp_path)
    folder = tmp_path / "snapshots"
    if os.geteuid():
        folder.mkdir(mode=0)
    else:
        folder.write_bytes(b"not a folder")
    with pytest.raises(BackupError):
        list(store.list("snapshots"))


def test_unfinished_objects_are_not_objects(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    store.put("data/whole", [b"x"])
    (tmp_path / "data" / "half-tmp-1234abcd").write_bytes(b"half")
    assert list(store.list("data")) == [("data/whole", 1)]


def test_after_a_failed_put_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put("data/before", [b"x"])

    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BackupError):
        store.put("data/after", [b"y"])
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["before"]


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from edurise_backup.errors import SpaceError
from edurise_backup.stores.limited import LimitedStore, Line
from edurise_backup.stores.local import LocalStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
store = LocalStore(Path(sys.argv[1]))
store.put("data/small", [b"x" * 1000])
try:
    store.put("data/large", [b"x" * 60_000, b"y" * 60_000])
except SpaceError as error:
    assert error.safe and error.hint
    print("no room")
"""


def test_a_full_disk_is_told_and_leaves_no_part_of_the_object(tmp_path: Path) -> None:
    """RLIMIT_FSIZE makes a write fail halfway for any user, as a full disk does."""
    assert resource.RLIM_INFINITY in resource.getrlimit(resource.RLIMIT_FSIZE)
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "no room\n"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["small"]
