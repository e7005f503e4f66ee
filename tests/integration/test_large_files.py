"""Large files: read, cut and sealed window by window, here and in another process, and told when they change."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from mmap import mmap
from pathlib import Path

import pytest

from edurise_backup.machine.crew import Member, Program
from edurise_backup.model.compression import AUTO
from edurise_backup.model.content import BlobId, BlobKind, blob_id
from edurise_backup.model.paging import Paged
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.pipeline.archiver import archive
from edurise_backup.pipeline.chunker import ChunkSizes
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.pipeline.large_files import LargeFiles, room_for
from edurise_backup.pipeline.sealer import Sealer, SealSettings
from edurise_backup.pipeline.sealing import Sealing
from edurise_backup.ports import CHANGED, Buffer, FileState, LiveFile, StoredFile
from edurise_backup.sources.files import FilesSource
from tests.support import streams
from tests.support.sealed import KEY, Taken

SIZES = ChunkSizes(minimum=16 * 1024, average=64 * 1024, maximum=256 * 1024)


def content_of_size(size: int) -> bytes:
    """Return content of which half shrinks."""
    return (os.urandom(size // 2) + b"a line of text\n" * (size // 30 + 1))[:size]


def large_files() -> tuple[LargeFiles, memoryview]:
    room = memoryview(mmap(-1, room_for(SIZES)))
    return LargeFiles(Sealer(KEY, SealSettings(AUTO, check=True), room), SIZES), room


@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 5_000_000, 9_123_456])
def test_a_file_is_cut_as_a_stream_is_and_every_chunk_opens_again(tmp_path: Path, size: int) -> None:
    content = content_of_size(size)
    (tmp_path / "file").write_bytes(content)
    files, room = large_files()
    assert files.open(str(tmp_path / "file")).status is not None
    found, plain = [], b""
    while (part := files.next()).ids:
        found += part.ids
        start = 0
        for blob in files.seal([True] * len(part.ids)):
            sealed = room[start : start + blob.length]
            plain += open_blob(KEY, sealed, wanted=blob.id, raw_length=blob.raw_length)
            start += blob.length
    assert files.ended().still
    assert plain == content
    assert found == [blob_id(chunk) for chunk in streams.cut(streams.Bytes(content), SIZES, window=1 << 20)]


def test_a_file_that_changes_between_two_windows_did_not_hold_still(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(content_of_size(9_000_000))
    files, _ = large_files()
    files.open(str(path))
    assert files.next().ids
    with path.open("ab") as stream:
        stream.write(b"more")
    while files.next().ids:
        pass
    assert not files.ended().still


def test_another_process_brings_the_same_and_goes_on_after_a_file_that_it_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = content_of_size(20_000_000)
    (tmp_path / "file").write_bytes(content)
    started = []
    real = Member.__init__

    def init(self: Member, program: Program, setup: object, **named: int) -> None:
        real(self, program, setup, **named)
        started.append(self)

    monkeypatch.setattr(Member, "__init__", init)
    sealing = Sealing(KEY, SealSettings(AUTO, check=True), SIZES, members=1)
    taken, read = Taken(), list[int]()
    try:
        file = None
        while file is None:  # the first ones are not worth a process
            file = sealing.file(str(tmp_path / "file"), None, taken.claim, taken.take, read.append)
        assert file.trouble == ""
        assert b"".join(taken.plain[name] for name in file.blobs) == content
        assert sum(read) == file.size == len(content)
        for name, expected in (("nothing", errno.ENOENT), (".", errno.EINVAL)):
            missing = sealing.file(str(tmp_path / name), None, taken.claim, taken.take, read.append)
            assert missing == StoredFile(None, [], 0, os.strerror(expected))
        again = sealing.file(str(tmp_path / "file"), None, taken.claim, taken.take, read.append)
        assert again is not None
        assert again.blobs == file.blobs
    finally:
        sealing.close()
    assert len(started) == 1


class RestlessSink:
    """A sink for which each file changes the first times that it is read."""

    def __init__(self, times: int) -> None:
        self.reads = 0
        self._times = times

    def store(self, kind: BlobKind, pieces: Sequence[Buffer]) -> Future[list[BlobId]]:
        done: Future[list[BlobId]] = Future()
        done.set_result([blob_id(piece) for piece in pieces])
        return done

    def store_files(self, files: Sequence[FileState]) -> list[BlobId | None]:
        raise AssertionError("there are no small files")

    def store_live(self, files: Sequence[LiveFile]) -> list[StoredFile | None]:
        raise AssertionError("there are no files that may change")

    def store_file(self, path: str, advance: Callable[[int], None], paged: Paged | None = None) -> StoredFile | None:
        self.reads += 1
        source = FilesSource([path])._entry(path)
        assert source is not None
        size = 1000 + self.reads
        advance(size)
        trouble = CHANGED if self.reads <= self._times else ""
        return StoredFile(source.status, [blob_id(b"%d" % self.reads)], size, trouble)


@pytest.mark.parametrize(("times", "reads", "problems"), [(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 3, 1), (9, 3, 1)])
def test_a_restless_file_is_read_three_times_at_most_and_then_reported(
    tmp_path: Path, times: int, reads: int, problems: int
) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "file").write_bytes(bytes(1_000_000))
    sink = RestlessSink(times)
    archived = archive(FilesSource([str(tmp_path / "tree")]), sink, progress=SilentProgress(), sizes=SIZES)
    assert sink.reads == reads
    assert [problem for problem in archived.problems if CHANGED in problem] == [
        f"{tmp_path}/tree/file: {CHANGED}"
    ] * problems
    assert archived.stats.source_bytes == 1000 + reads
