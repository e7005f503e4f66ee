"""Blobs of a run become pieces of files: each in its place, neighbours together, and no write's trouble is lost."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.errors import SpaceError
from edurise_backup.machine.linux import allocate
from edurise_backup.model.content import Node, blob_id
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.ports import Buffer
from edurise_backup.recovery.metadata import Troubles
from edurise_backup.recovery.planning import Names
from edurise_backup.recovery.writing import BlobOrder, PieceOrder, RunOrder, RunWriter

KEY = MasterKey.generate()


class Files:
    """Takes pieces in memory; full for a file that is named so."""

    def __init__(self) -> None:
        self.content: dict[str, bytearray] = {}
        self.writes = 0

    def write_whole(self, names: Names, data: Buffer, node: Node) -> None:
        raise AssertionError("no file of one piece is written here")

    def write_piece(self, names: Names, data: Buffer, offset: int) -> None:
        if names == ("full",):
            raise SpaceError("no room left")
        self.writes += 1
        file = self.content.setdefault("/".join(names), bytearray())
        file.extend(bytes(max(0, offset + len(data) - len(file))))
        file[offset : offset + len(data)] = data

    def hand_over(self) -> Troubles:
        return [], {}

    def take_over(self, troubles: Troubles) -> None:
        raise AssertionError(f"nobody had {troubles}")


def run_of(pieces: Sequence[tuple[str, int, bytes]]) -> RunOrder:
    """Return the order for blobs of one place each: (file, offset in it, content)."""
    sealed = bytearray()
    blobs = []
    for name, offset, content in pieces:
        blob = KEY.seal(content)
        where = [PieceOrder(name.encode(), offset, None)]
        blobs.append(BlobOrder(blob_id(content), len(sealed), len(blob), 0, where))
        sealed += blob
    return RunOrder(None, bytes(sealed), 0, len(sealed), blobs)


@given(
    sizes=st.lists(st.integers(1, 70_000), min_size=1, max_size=12),
    files=st.lists(st.sampled_from(["one", "two/other"]), min_size=12, max_size=12),
    order=st.randoms(use_true_random=False),
)
def test_every_piece_comes_to_its_place_whatever_their_order(sizes: list[int], files: list[str], order: object) -> None:
    wanted: dict[str, bytes] = {}
    pieces = []
    for name, size in zip(files, sizes, strict=False):
        content = os.urandom(size - 1) + b"x"
        pieces.append((name, len(wanted.get(name, b"")), content))
        wanted[name] = wanted.get(name, b"") + content
    order.shuffle(pieces)  # type: ignore[attr-defined]
    taker = Files()
    result = RunWriter(KEY, taker).write(run_of(pieces))
    assert taker.content == wanted
    assert result.written == sum(sizes[: len(pieces)])


def test_neighbours_are_written_at_once() -> None:
    taker = Files()
    RunWriter(KEY, taker).write(run_of([("one", 1000 * number, os.urandom(1000)) for number in range(50)]))
    assert taker.writes == 1


def test_what_a_write_meets_ends_its_run_and_nothing_of_it_comes_into_the_next() -> None:
    taker = Files()
    writer = RunWriter(KEY, taker)
    for _ in range(2):
        with pytest.raises(SpaceError):
            writer.write(run_of([("full", 0, b"lost" * 9), ("one", 0, b"a" * 9), ("full", 40, b"lost" * 9)]))
    taker.content.clear()
    writer.write(run_of([("two", 0, b"kept")]))
    assert taker.content == {"two": b"kept"}


def test_a_file_gets_its_room_at_once(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        allocated = allocate(file.fileno(), 1 << 20)
        status = os.fstat(file.fileno())
    assert (status.st_size, status.st_blocks * 512 >= 1 << 20) == ((1 << 20, True) if allocated else (0, False))


def test_when_a_run_ends_nothing_of_it_is_being_written_any_more() -> None:
    failed = threading.Event()

    class Slow(Files):
        def write_piece(self, names: Names, data: Buffer, offset: int) -> None:
            if names == ("large",):
                failed.set()
                raise SpaceError("no room left")
            assert failed.wait(60), "the write beside goes on until the other one has failed"
            super().write_piece(names, data, offset)

    taker = Slow()
    with pytest.raises(SpaceError):
        RunWriter(KEY, taker).write(run_of([("one", 0, b"a" * 9), ("two", 0, b"b" * 9), ("large", 0, b"c" * 400_000)]))
    assert taker.content == {"one": b"a" * 9}
