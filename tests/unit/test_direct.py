"""Writing around the page cache: the same bytes, wherever they go and whatever the file system allows."""

from __future__ import annotations

import os
from mmap import mmap
from pathlib import Path

import pytest

from edurise_backup.machine.direct import BLOCK, WORTH_IT, write_at

SHARED_MEMORY = Path("/dev/shm")


def written(path: Path, data: memoryview, offset: int) -> bytes:
    """Write into a file that has bytes of its own before and behind, and return them all."""
    path.write_bytes(b"x" * (offset + len(data) + 3 * BLOCK))
    descriptor = os.open(path, os.O_WRONLY)
    try:
        write_at(descriptor, data, offset)
    finally:
        os.close(descriptor)
    return path.read_bytes()


@pytest.mark.parametrize("offset", [0, 1, BLOCK - 1, BLOCK, 10 * BLOCK + 77])
@pytest.mark.parametrize("length", [0, 1, 1000, WORTH_IT - 1, WORTH_IT + 1, 3 * WORTH_IT + 123])
@pytest.mark.parametrize("aligned", [True, False])
def test_what_is_written_is_there_and_nothing_else_changes(
    tmp_path: Path, offset: int, length: int, aligned: bool
) -> None:
    room = memoryview(mmap(-1, length + 2 * BLOCK))
    start = offset % BLOCK if aligned else (offset + 1) % BLOCK
    data = room[start : start + length]
    data[:] = os.urandom(length)
    expected = b"x" * offset + bytes(data) + b"x" * (3 * BLOCK)
    assert written(tmp_path / "file", data, offset) == expected


@pytest.mark.skipif(not os.access(SHARED_MEMORY, os.W_OK), reason="there is no file system in memory to write to")
def test_a_file_system_in_memory_is_written_the_ordinary_way() -> None:
    path = SHARED_MEMORY / f"direct-{os.getpid()}"
    data = memoryview(bytearray(os.urandom(2 * WORTH_IT)))
    try:
        assert written(path, data, 5) == b"xxxxx" + bytes(data) + b"x" * (3 * BLOCK)
    finally:
        path.unlink()
