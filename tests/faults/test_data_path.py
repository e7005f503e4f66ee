"""Between the source and the store: what is stored is what was read, or the backup says so."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zstandard

from edurise_backup.errors import DamageError
from edurise_backup.model.content import Node
from edurise_backup.model.status import Status
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.ports import Buffer
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.saving import Saved
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from tests.support.engine import back_up, back_up_source, check, count, create, opened, restored_differences
from tests.support.stores import MemoryStore
from tests.support.trees import small_tree, write

RealCompressor = zstandard.ZstdCompressor


class CorruptingCompressor:
    """Compresses, and flips a bit in every `every`-th frame."""

    every = 5
    frames = 0
    guard = threading.Lock()

    def __init__(self, level: int) -> None:
        self._real = RealCompressor(level=level)

    def compress(self, plaintext: Buffer) -> bytes:
        frame = bytearray(self._real.compress(plaintext))
        with self.guard:
            CorruptingCompressor.frames += 1
            if self.frames % self.every == 0:
                frame[len(frame) // 2] ^= 4
        return bytes(frame)


@pytest.mark.parametrize("every", [1, 2, 3, 5, 8, 13])
def test_s18_what_a_broken_compressor_made_is_never_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """S-18: zstd has written frames that do not decode; each is decoded before its pack is written."""
    tree = tmp_path / "tree"
    for number in range(20):
        write(tree / f"text {number}", b"compressible %d " % number * 400)
    store = MemoryStore()
    create(store)
    repository = opened(store)
    monkeypatch.setattr(zstandard, "ZstdCompressor", CorruptingCompressor)
    monkeypatch.setattr(CorruptingCompressor, "every", every)
    monkeypatch.setattr(CorruptingCompressor, "frames", 0)
    with ThreadPoolExecutor(1) as fresh, pytest.raises(DamageError):  # a thread that has no compressor yet
        fresh.submit(back_up, repository, tree).result()
    assert CorruptingCompressor.frames >= every
    monkeypatch.undo()
    assert count(store, Kind.SNAPSHOT) == 0
    assert check(opened(store)).findings == []
    saved = back_up(opened(store), tree)
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "target") == []


def flipping(real: Callable[..., None], *, number: int) -> Callable[..., None]:
    """Return a `seal_into`, through which all that is sealed goes, that flips one bit in its `number`-th message."""
    calls = 0
    guard = threading.Lock()

    def seal_into(key: MasterKey, plaintext: Buffer, sealed: memoryview) -> None:
        nonlocal calls
        real(key, plaintext, sealed)
        with guard:
            calls += 1
            if calls == number:
                sealed[len(sealed) // 2] ^= 1

    return seal_into


@pytest.mark.parametrize("number", [1, 2, 5, 9, 12])
def test_s19_a_bit_that_flips_in_memory_after_sealing_is_found_before_the_pack_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """S-19: memory flips bits; what comes out of the cipher is opened and hashed again."""
    tree = small_tree(tmp_path / "tree")
    store = MemoryStore()
    create(store)
    repository = opened(store)
    monkeypatch.setattr(MasterKey, "seal_into", flipping(MasterKey.seal_into, number=number))
    with pytest.raises(DamageError):
        back_up(repository, tree)
    monkeypatch.undo()
    assert count(store, Kind.SNAPSHOT) == 0
    assert check(opened(store)).findings == []


def test_s19_a_bit_that_flips_before_sealing_is_found_before_the_pack_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = MemoryStore()
    create(store)
    repository = opened(store)
    tree = write(tmp_path / "tree" / "file", os.urandom(5000)).parent
    real = MasterKey.seal_into

    def seal_into(key: MasterKey, plaintext: Buffer, sealed: memoryview) -> None:
        changed = bytearray(plaintext)
        if len(changed) == 5000:
            changed[2500] ^= 1
        real(key, changed, sealed)

    monkeypatch.setattr(MasterKey, "seal_into", seal_into)
    with pytest.raises(DamageError, match="came out damaged"):
        back_up(repository, tree)
    assert count(store, Kind.SNAPSHOT) == 0


def test_s20_no_nonce_is_used_twice(tmp_path: Path) -> None:
    """S-20: a nonce used twice under one key gives both messages away."""
    key = MasterKey.generate()
    with ThreadPoolExecutor(4) as pool:
        nonces = [
            nonce
            for part in pool.map(lambda _: [bytes(key.seal(b"")[:16]) for _ in range(5_000)], range(4))
            for nonce in part
        ]
    assert len(set(nonces)) == len(nonces) == 20_000


def test_s20_a_forked_process_does_not_repeat_its_parents_nonces() -> None:
    key = MasterKey.generate()
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.write(writing, b"".join(bytes(key.seal(b"")[:16]) for _ in range(100)))
        os._exit(0)
    mine = {bytes(key.seal(b"")[:16]) for _ in range(100)}
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        raw = stream.read()
    theirs = {raw[at : at + 16] for at in range(0, len(raw), 16)}
    assert len(theirs) == 100
    assert not mine & theirs


# S-21: files that change while they are read


class Meddler:
    """Changes a file each time that it is being read, `times` times in all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, change: Callable[[Path, int], None], times: int):
        self.changes = 0
        self._guard = threading.Lock()
        real_preadv, real_read = os.preadv, os.read

        def meddle(descriptor: int, count: int) -> None:
            with self._guard:
                if count > 1 and self.changes < times and os.fstat(descriptor).st_ino == path.stat().st_ino:
                    self.changes += 1
                    change(path, self.changes)

        def preadv(descriptor: int, buffers: list[memoryview], offset: int, flags: int = 0) -> int:
            count = real_preadv(descriptor, buffers, offset, flags)
            meddle(descriptor, count)
            return count

        def read(descriptor: int, size: int) -> bytes:
            content = real_read(descriptor, size)
            meddle(descriptor, len(content))
            return content

        monkeypatch.setattr(os, "preadv", preadv)
        monkeypatch.setattr(os, "read", read)


def grow(path: Path, number: int) -> None:
    """Append to the file."""
    with path.open("ab") as stream:
        stream.write(b"more %d" % number)
    _touch(path, number)


def shrink(path: Path, number: int) -> None:
    """Cut the file's end."""
    os.truncate(path, path.stat().st_size - 10)
    _touch(path, number)


def overwrite(path: Path, number: int) -> None:
    """Change bytes in the middle; the size stays."""
    with path.open("r+b") as stream:
        stream.seek(100)
        stream.write(b"overwritten %d" % number)
    _touch(path, number)


def _touch(path: Path, number: int) -> None:
    # two writes within a tick of the kernel's clock leave equal times: the test must not depend on it
    os.utime(path, ns=(10**18 + number, 10**18 + number))


@pytest.mark.parametrize("size", [3000, 700_000], ids=["small", "large"])
@pytest.mark.parametrize("change", [grow, shrink, overwrite])
def test_s21_a_file_that_changes_once_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, int], None], size: int
) -> None:
    path = write(tmp_path / "tree" / "busy", os.urandom(size))
    store = MemoryStore()
    create(store)
    meddler = Meddler(monkeypatch, path, change, times=1)
    saved = back_up(opened(store), path.parent)
    assert meddler.changes == 1
    assert saved.archived.problems == ()
    assert restored_differences(opened(store), saved.snapshot, path.parent, tmp_path / "target") == []


@pytest.mark.parametrize("size", [3000, 700_000], ids=["small", "large"])
def test_s21_a_file_that_never_holds_still_is_reported_and_its_node_fits_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = write(tmp_path / "tree" / "busy", os.urandom(size))
    store = MemoryStore()
    create(store)
    meddler = Meddler(monkeypatch, path, overwrite, times=1000)
    saved = back_up(opened(store), path.parent)
    assert meddler.changes >= 3
    assert saved.archived.problems == (f"{path}: changed while it was read",)
    assert check(opened(store)).findings == []  # size and blobs agree


def test_s21_a_file_that_was_reported_is_read_again_by_the_next_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "tree" / "busy", os.urandom(5000))
    store = MemoryStore()
    create(store)
    Meddler(monkeypatch, path, overwrite, times=1000)
    back_up(opened(store), path.parent)
    monkeypatch.undo()
    saved = back_up(opened(store), path.parent)
    assert saved.archived.stats.files_unmodified == 0
    assert restored_differences(opened(store), saved.snapshot, path.parent, tmp_path / "target") == []


def test_s21_a_file_that_vanishes_before_it_is_read_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = small_tree(tmp_path / "tree")
    victim = tree / "folder 0" / "file 0"
    real = os.open

    def open_after_the_file_is_gone(path: str, *arguments: int, **options: int) -> int:
        if path == str(victim):
            victim.unlink(missing_ok=True)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", open_after_the_file_is_gone)
    saved = back_up(opened(_new_store()), tree)
    assert saved.archived.problems == (f"{victim}: No such file or directory",)


def test_a_file_that_becomes_a_link_to_a_secret_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = small_tree(tmp_path / "tree")
    victim = tree / "folder 0" / "file 0"
    secret = write(tmp_path / "secret", b"secret")
    real = os.open

    def open_after_the_swap(path: str, *arguments: int, **options: int) -> int:
        if path == str(victim) and not victim.is_symlink():
            victim.unlink()
            victim.symlink_to(secret)
        return real(path, *arguments, **options)

    monkeypatch.setattr(os, "open", open_after_the_swap)
    store = _new_store()
    saved = back_up(opened(store), tree)
    assert len(saved.archived.problems) == 1
    assert not any(node.name == "file 0" for _, node in walk_files(opened(store), saved.snapshot.tree))


# Unchanged files


def backed_up_twice(tree: Path, between: Callable[[], object]) -> tuple[Saved, Saved, MemoryStore]:
    """Back up, do something, back up again."""
    store = _new_store()
    first = back_up(opened(store), tree)
    between()
    return first, back_up(opened(store), tree), store


def _old(tree: Path) -> Path:
    """Wait until the files' ctimes are old enough to be believed (the archiver's GRANULARITY of 2 s)."""
    import time

    while time.time() - max(path.lstat().st_ctime for path in tree.rglob("*")) < 2.1:
        threading.Event().wait(0.05)
    return tree


def test_unchanged_files_are_not_opened_and_any_change_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = _old(small_tree(tmp_path / "tree"))
    opened_paths: list[str] = []
    real = os.open

    def recording(path: str, *arguments: int, **options: int) -> int:
        opened_paths.append(str(path))
        return real(path, *arguments, **options)

    def change() -> None:
        monkeypatch.setattr(os, "open", recording)
        same_size = tree / "folder 0" / "file 0"
        before = same_size.stat()
        content = bytearray(same_size.read_bytes())
        content[7] ^= 1
        same_size.write_bytes(content)
        os.utime(same_size, ns=(before.st_atime_ns, before.st_mtime_ns))  # only the ctime tells

    first, second, store = backed_up_twice(tree, change)
    files = [path for path in opened_paths if path.startswith(str(tree))]
    assert files == [str(tree / "folder 0" / "file 0")]
    assert second.archived.stats.files_changed == 1
    assert second.archived.stats.files_unmodified == first.archived.stats.files - 1
    monkeypatch.undo()
    assert restored_differences(opened(store), second.snapshot, tree, tmp_path / "target") == []


def test_a_file_written_just_before_its_backup_is_read_again_by_the_next_one(tmp_path: Path) -> None:
    """Within the clock's grain a second change would leave no trace."""
    tree = write(tmp_path / "tree" / "fresh", b"fresh").parent
    _, second, _ = backed_up_twice(tree, lambda: None)
    assert second.archived.stats.files_unmodified == 0


def test_a_parent_whose_data_is_gone_is_not_trusted(tmp_path: Path) -> None:
    """A pack was lost and its index removed: the unchanged files are stored anew, the repository heals."""
    tree = _old(small_tree(tmp_path / "tree"))
    store = _new_store()
    back_up(opened(store), tree, settings=WriterSettings(workers=1))
    data_packs = [name for name in store.objects if name.startswith("data/")]
    largest = max(data_packs, key=lambda name: len(store.objects[name]))
    del store.objects[largest]
    from edurise_backup.repository.index_files import encode_index
    from edurise_backup.repository.packs import read_header

    repository = opened(store)
    for name in [name for name in store.objects if name.startswith("index/")]:
        del store.objects[name]
    left = [name.rpartition("/")[2] for name in data_packs if name != largest]
    headers = [(pack, read_header(store.objects[f"data/{pack[:2]}/{pack}"], repository.box.key)) for pack in left]
    repository.box.save(Kind.INDEX, encode_index(headers))
    saved = back_up(opened(store), tree)
    assert saved.archived.stats.files_unmodified <= 1  # the empty file
    assert check(opened(store)).findings == []
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "target") == []


def test_cancelling_stops_and_publishes_nothing(tmp_path: Path) -> None:
    from edurise_backup.errors import CancelledError
    from edurise_backup.repository.saving import Label, save_snapshot
    from tests.support.engine import AT_ONCE, TINY

    tree = small_tree(tmp_path / "tree")
    store = _new_store()
    repository = opened(store)
    progress = SilentProgress()
    progress.cancel()
    source = FilesSource([str(tree)])
    with repository.lock(settle=AT_ONCE) as lock, pytest.raises(CancelledError):
        save_snapshot(repository, source, Label(source.paths), lock, progress=progress, settings=TINY)
    assert count(store, Kind.SNAPSHOT) == 0
    assert count(store, Kind.LOCK) == 0


def test_a_source_whose_children_raise_leaves_no_snapshot_and_no_hanging_thread(tmp_path: Path) -> None:
    class Failing(FilesSource):
        def node(self, path: str, status: Status, name: str | None = None) -> Node:
            if path.endswith("file 4"):
                raise RuntimeError("a bug")
            return super().node(path, status, name)

    tree = small_tree(tmp_path / "tree")
    store = _new_store()
    before = threading.active_count()
    with pytest.raises(RuntimeError):
        back_up_source(opened(store), Failing([str(tree)]), [str(tree)])
    assert threading.active_count() <= before
    assert count(store, Kind.SNAPSHOT) == 0


def _new_store() -> MemoryStore:
    store = MemoryStore()
    create(store)
    return store
