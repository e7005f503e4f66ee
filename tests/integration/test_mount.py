"""A mounted repository: what is in it is what was backed up, nothing can be written, damage is an error."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ctypes.util import find_library
from importlib.util import find_spec
from pathlib import Path

import pytest

from edurise_backup.errors import DamageError, InputError
from edurise_backup.model.content import BlobKind
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.recovery.mounting import mount
from edurise_backup.recovery.snapshot_files import SnapshotFiles
from edurise_backup.stores.local import LocalStore
from tests.integration.test_engine_command_line import Engine, without_repository
from tests.support.engine import PASSPHRASE, back_up, create, opened
from tests.support.stores import Fault, FaultyStore, MemoryStore
from tests.support.trees import describe, differences, odd_tree, small_tree, write

UNPACKED = Path(__file__).resolve().parents[2] / ".tools"


# Without the kernel


@pytest.fixture
def stored(tmp_path: Path) -> tuple[MemoryStore, Path, bytes]:
    """Give a repository of one snapshot with a large file, the tree, and the file's bytes."""
    content = random.Random(4).randbytes(9_000_000)
    tree = small_tree(tmp_path / "tree")
    write(tree / "large", content)
    store = MemoryStore()
    create(store)
    back_up(opened(store), tree)
    return store, tree, content


def shown(store: MemoryStore | FaultyStore, cache_bytes: int = 1 << 24) -> SnapshotFiles:
    repository = opened(store)
    return SnapshotFiles(repository, repository.snapshots(), cache_bytes=cache_bytes)


def test_any_part_of_a_file_is_read_as_it_was(stored: tuple[MemoryStore, Path, bytes]) -> None:
    store, tree, content = stored
    files = shown(store, cache_bytes=3_000_000)
    (number,) = files.names("/ids")
    file = files.open(f"/ids/{number}{tree}/large")
    rng = random.Random(8)
    for _ in range(200):
        offset, size = rng.randrange(len(content) + 1000), rng.choice((1, 4096, 131072, 5_000_000))
        assert files.read(file, offset, size) == content[offset : offset + size]
    for start in file.starts:
        assert files.read(file, max(start - 1, 0), 2) == content[max(start - 1, 0) :][:2]
    empty = files.open(f"/ids/{number}{tree}/empty")
    assert files.read(empty, 0, 10) == b""


def test_only_the_blobs_that_are_asked_for_are_read_and_once_while_they_are_kept(
    stored: tuple[MemoryStore, Path, bytes],
) -> None:
    store, tree, _ = stored
    reads = Fault("get", "data/", answer=lambda content: content, times=10_000)
    files = shown(FaultyStore(store, reads))
    (number,) = files.names("/ids")
    file = files.open(f"/ids/{number}{tree}/large")
    trees = reads.fired
    for _ in range(3):
        files.read(file, 5, 100)
    assert reads.fired == trees + 1


def test_what_is_not_there_is_told_as_the_system_tells_it(stored: tuple[MemoryStore, Path, bytes]) -> None:
    store, tree, _ = stored
    files = shown(store)
    top = f"/ids/{files.names('/ids')[0]}{tree}"
    with pytest.raises(FileNotFoundError):
        files.node("/ids/00000000")
    with pytest.raises(FileNotFoundError):
        files.node(f"{top}/nothing")
    with pytest.raises(NotADirectoryError):
        files.node(f"{top}/large/below")
    with pytest.raises(IsADirectoryError):
        files.open(top)
    with pytest.raises(PermissionError):
        files.open(f"{top}/link")


def test_damage_is_an_error_and_no_bytes(stored: tuple[MemoryStore, Path, bytes]) -> None:
    store, tree, _ = stored
    files = shown(store)
    file = files.open(f"/ids/{files.names('/ids')[0]}{tree}/large")
    place = opened(store).index.find(BlobKind.DATA, file.blobs[1])
    assert place is not None
    for name in [name for name in store.objects if name.endswith(place.pack)]:
        store.objects[name] = bytes(len(store.objects[name]))
    with pytest.raises(DamageError):
        files.read(file, file.starts[1], 10)


def test_snapshots_of_one_second_hosts_with_odd_names_and_like_ids_keep_apart() -> None:
    def shot(host: str) -> Snapshot:
        return Snapshot(time="2024-01-01T00:00:00.5Z", tree="0" * 64, paths=["/x"], hostname=host)

    snapshots = {
        SnapshotId(f"{'a' * 9}{number}{'0' * 54}"): shot(host) for number, host in enumerate(["../..", "", "h"])
    }
    files = SnapshotFiles(create(), snapshots, cache_bytes=0)
    assert files.names("/ids") == [f"{'a' * 9}{number}" for number in range(3)]
    names = ["2024-01-01T00:00:00", "2024-01-01T00:00:00-2", "2024-01-01T00:00:00-3"]
    assert sorted(files.names("/snapshots")) == [*names, "latest"]
    assert sorted(files.names("/hosts")) == [".._..", "h", "unknown"]
    assert files.node("/hosts/h/latest").linktarget == "../../ids/aaaaaaaaa2"
    assert files.node("/snapshots/latest").linktarget == "../ids/aaaaaaaaa2"


def test_a_directory_that_cannot_be_mounted_on_is_refused(
    stored: tuple[MemoryStore, Path, bytes], tmp_path: Path
) -> None:
    files = shown(stored[0])
    with pytest.raises(InputError, match="is not empty"):
        mount(files, tmp_path)
    with pytest.raises(InputError, match="No such file"):
        mount(files, tmp_path / "nothing")


def test_without_the_binding_the_command_says_what_to_install(
    stored: tuple[MemoryStore, Path, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mfusepy", None)
    (tmp_path / "m").mkdir()
    with pytest.raises(InputError, match="mfusepy is not installed") as error:
        mount(shown(stored[0]), tmp_path / "m")
    assert "libfuse" in error.value.hint


# With the kernel


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Give an empty repository."""
    create(LocalStore(tmp_path / "repository"))
    (tmp_path / "mounted").mkdir()
    return without_repository(tmp_path)


def libfuse() -> dict[str, str]:
    """Return the environment that finds libfuse; skip where the kernel, this user or this .venv has no FUSE."""
    if find_spec("mfusepy") is None:
        pytest.skip("mfusepy is not installed: `make install` brings it with the extra `dev`")
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"/dev/fuse is not offered to this user: {error.strerror}")
    helper = shutil.which("fusermount3") or shutil.which("fusermount")
    if os.geteuid() != 0 and helper is None:
        pytest.skip("an ordinary user mounts through fusermount, which is not installed")
    if find_library("fuse") or find_library("fuse3"):
        return {}
    unpacked = [*UNPACKED.rglob("libfuse.so.2"), *UNPACKED.rglob("libfuse3.so.3")]
    if not unpacked:
        pytest.skip("libfuse is not installed: `make tools` unpacks Debian's package into .tools/")
    return {"FUSE_LIBRARY_PATH": str(unpacked[0])}


@contextmanager
def mounted(engine: Engine, *words: str) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """Have the repository mounted by the command line."""
    engine_environment = {**engine.environment, **libfuse()}
    place = engine.folder / "mounted"
    process = subprocess.Popen(
        [sys.executable, "-c", "from edurise_backup.cli import main; main()", "repo", "mount", *words, str(place)],
        env=engine_environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        while not os.path.ismount(place):
            if process.poll() is not None:
                _, said = process.communicate()
                assert b"Traceback" not in said
                if b"Operation not permitted" in said or b"not permitted" in said:
                    pytest.skip(f"this user may not mount: {said.decode()}")
                raise AssertionError(said.decode())
            threading.Event().wait(0.02)
        yield place, process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
        process.kill()
        process.communicate()


def test_what_is_mounted_is_what_was_backed_up(engine: Engine) -> None:
    tree = odd_tree(engine.folder / "tree")
    back_up(engine.repository(), tree)
    with mounted(engine) as (place, _):
        seen = place / "snapshots" / "latest" / str(tree).lstrip("/")
        found = describe(seen)
    expected = describe(tree)
    # FUSE gives every path a number of its own: which names are one file is not seen
    assert differences(unlinked(expected), unlinked(found)) == []


def unlinked(described: dict[bytes, object]) -> dict[bytes, object]:
    from dataclasses import replace

    return {name: replace(one, linked=()) for name, one in described.items()}  # type: ignore[type-var]


def test_nothing_can_be_written_and_the_lock_goes_with_the_mount(engine: Engine) -> None:
    tree = small_tree(engine.folder / "tree")
    back_up(engine.repository(), tree)
    with mounted(engine) as (place, process):
        assert len(list(engine.place.glob("locks/*"))) == 1
        for path in (place / "new", place / "ids" / "new"):
            with pytest.raises(OSError) as error:
                path.write_bytes(b"")
            assert error.value.errno == errno.EROFS
        file = place / "snapshots" / "latest" / str(tree / "twice").lstrip("/")
        with pytest.raises(OSError) as error:
            file.open("r+b").close()
        assert error.value.errno == errno.EROFS
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=20)
        assert process.returncode == 0, said
        assert b"was unmounted" in said[0]
        assert not os.path.ismount(place)
    assert not list(engine.place.glob("locks/*"))


def test_a_damaged_file_gives_an_input_output_error_and_the_others_are_read(engine: Engine) -> None:
    tree = small_tree(engine.folder / "tree")
    write(tree / "large", random.Random(4).randbytes(3_000_000))
    back_up(engine.repository(), tree)
    largest = max(engine.place.glob("data/*/*"), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    largest.write_bytes(bytes(largest.stat().st_size))
    with mounted(engine) as (place, process):
        top = place / "ids" / os.listdir(place / "ids")[0] / str(tree).lstrip("/")
        with pytest.raises(OSError) as error:
            (top / "large").read_bytes()
        assert error.value.errno == errno.EIO
        assert (top / "twice").read_bytes() == (tree / "twice").read_bytes()
        process.send_signal(signal.SIGTERM)
        told, _ = process.communicate(timeout=20)
    assert process.returncode == 3
    assert b"/large" in told


def test_only_the_snapshots_that_are_named_are_shown(engine: Engine) -> None:
    tree = small_tree(engine.folder / "tree")
    first = back_up(engine.repository(), tree).id
    back_up(engine.repository(), tree)
    with mounted(engine, first[:10], "--no-lock") as (place, _):
        assert os.listdir(place / "ids") == [first[:8]]
        assert not list(engine.place.glob("locks/*"))
    assert PASSPHRASE not in " ".join(os.environ.values())
