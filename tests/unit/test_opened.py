"""Files that are read once: around the page cache or not, with holes or not, under a lease, or not what they were."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from mmap import mmap
from pathlib import Path

import pytest

from edurise_backup.machine.direct import BLOCK, WORTH_IT, SequentialFile, read_range
from edurise_backup.machine.opened import OpenedFile

SHARED_MEMORY = Path("/dev/shm")


@contextmanager
def uncached(path: Path) -> Iterator[int]:
    """Give a descriptor of a file whose bytes the page cache does not hold."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        yield descriptor
    finally:
        os.close(descriptor)


def all_of(file: SequentialFile | OpenedFile, step: int) -> bytes:
    found = b""
    buffer = memoryview(mmap(-1, step + BLOCK))[:step]
    while count := file.readinto(buffer):
        found += buffer[:count]
    return found


@pytest.mark.parametrize("size", [0, 1, BLOCK, WORTH_IT, WORTH_IT + 1, 3 * WORTH_IT + 777])
@pytest.mark.parametrize("step", [BLOCK, WORTH_IT, WORTH_IT + 123, 2 * WORTH_IT])
def test_a_file_is_read_as_it_is_with_a_cold_and_a_warm_cache(tmp_path: Path, size: int, step: int) -> None:
    content = os.urandom(size)
    path = tmp_path / "file"
    path.write_bytes(content)
    with uncached(path) as descriptor:
        assert all_of(SequentialFile(descriptor), step) == content
    with path.open("rb") as warm:
        assert warm.read() == content
        assert all_of(SequentialFile(warm.fileno()), step) == content
        assert all_of(SequentialFile(warm.fileno(), from_disk=True), step) == content


def test_what_is_not_yet_on_the_disk_is_read_too(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(2 * WORTH_IT))
    with uncached(path) as descriptor, path.open("r+b") as stream:
        stream.seek(WORTH_IT)
        stream.write(b"just written")
        stream.flush()
        assert all_of(SequentialFile(descriptor, from_disk=True), WORTH_IT)[WORTH_IT:].startswith(b"just written")


@pytest.mark.parametrize("offset", [0, 1, BLOCK, 5 * BLOCK + 17, 3 * WORTH_IT])
@pytest.mark.parametrize("length", [1, BLOCK, WORTH_IT + 5, 4 * WORTH_IT])
def test_a_range_is_read_as_far_as_the_file_goes(tmp_path: Path, offset: int, length: int) -> None:
    content = os.urandom(3 * WORTH_IT + 99)
    path = tmp_path / "file"
    path.write_bytes(content)
    room = memoryview(mmap(-1, length + 2 * BLOCK))
    with uncached(path) as descriptor:
        assert read_range(descriptor, offset, length, room) == content[offset : offset + length]


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no file system in memory to read from")
def test_a_file_system_in_memory_is_read_the_ordinary_way() -> None:
    path = SHARED_MEMORY / f"opened-{os.getpid()}"
    content = os.urandom(2 * WORTH_IT + 5)
    try:
        path.write_bytes(content)
        with path.open("rb") as stream:
            assert all_of(SequentialFile(stream.fileno(), from_disk=True), WORTH_IT) == content
    finally:
        path.unlink()


def test_holes_are_passed_over_in_whole_units_and_what_lies_between_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.write(b"a" * BLOCK)
        stream.seek(64 * BLOCK)
        stream.write(b"b" * BLOCK)
        stream.truncate(200 * BLOCK + 7)
    with closing(OpenedFile(str(path))) as file:
        unit = 10 * BLOCK
        buffer = memoryview(mmap(-1, BLOCK))
        assert file.skip_hole(0, unit) == 0
        assert file.readinto(buffer) == BLOCK
        skipped = file.skip_hole(0, unit)
        assert skipped in (0, 60 * BLOCK)  # a file system that keeps no holes says 0
        if skipped:
            assert file.readinto(buffer) == BLOCK
            assert file.readinto(buffer) == BLOCK
            assert bytes(buffer) == bytes(BLOCK)
            assert file.readinto(buffer) == BLOCK
            assert file.readinto(buffer) == BLOCK
            assert bytes(buffer) == b"b" * BLOCK
            assert file.skip_hole(0, unit) == 130 * BLOCK
        while file.readinto(buffer):
            pass
        assert file.held_still()


def test_a_file_that_changed_or_was_not_read_to_its_end_did_not_hold_still(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with closing(OpenedFile(str(path))) as file:
        assert not file.held_still()
        assert all_of(file, BLOCK) == b"content"
        assert file.held_still()
        os.utime(path, (1, 1))
        assert not file.held_still()


def test_a_link_a_pipe_and_a_directory_are_no_files_and_nobody_waits(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    for name, expected in (("link", errno.ELOOP), ("pipe", errno.EINVAL), (".", errno.EINVAL), ("no", errno.ENOENT)):
        with pytest.raises(OSError) as raised:
            OpenedFile(str(tmp_path / name))
        assert raised.value.errno == expected


def test_a_file_under_a_lease_is_read_once_its_holder_lets_go(tmp_path: Path) -> None:
    """As Samba takes them: an open that may not wait is refused while another process is asked for its lease."""
    path = tmp_path / "file"
    path.write_bytes(b"content")
    ready, tell = os.pipe()
    holder = os.fork()
    if holder == 0:
        status = 1
        with suppress(BaseException):
            import signal

            descriptor = os.open(path, os.O_RDWR)
            # the kernel asks by SIGIO, perhaps before we wait; an ordinary holder then gives its lease back
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGIO})
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            os.write(tell, b"1")
            signal.sigwait({signal.SIGIO})
            fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            status = 0
        os._exit(status)
    os.close(tell)
    try:
        if os.read(ready, 1) != b"1":
            pytest.skip("this file system knows no leases")
        with closing(OpenedFile(str(path))) as file:
            assert all_of(file, BLOCK) == b"content"
    finally:
        os.close(ready)
        os.waitpid(holder, 0)
