"""Lines of `micro`: from bytes to sealed blobs and back, as the pipeline calls it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from mmap import mmap

from edurise_backup.model.compression import AUTO, Compression
from edurise_backup.model.content import blob_id
from edurise_backup.model.status import Status
from edurise_backup.pipeline.chunker import ChunkSizes, chunks
from edurise_backup.pipeline.codec import OVERHEAD, MasterKey, Scratch, compress, compress_if_smaller, decompress
from edurise_backup.pipeline.large_files import WINDOW, room_for
from edurise_backup.pipeline.sealer import Sealer, SealSettings
from edurise_backup.pipeline.small_files import SmallFiles
from edurise_backup.ports import FileState
from tests.benchmarks.micro import Line, Setting
from tests.support.streams import Bytes

LARGE, SMALL = 1 << 20, 4096
_BATCH = 64
_KEY = MasterKey.from_bytes(bytes(range(64)))


def hashing(of: Setting) -> Iterator[Line]:
    """SHA-256 is as quick whatever it hashes."""
    for size in (LARGE, SMALL):
        yield _each("SHA-256 (blob_id)", f"{size >> 10} KiB", _pieces(of.random, size), blob_id)


def cutting(of: Setting) -> Iterator[Line]:
    """FastCDC through `chunks`: what is read is copied into windows, as from a file in the page cache."""
    buffers = [memoryview(mmap(-1, room_for(ChunkSizes()))) for _ in range(2)]
    for name, data in of.kinds():
        yield Line("FastCDC (chunks)", name, partial(_cut, memoryview(data), buffers), len(data), in_bytes=True)


def _cut(data: memoryview, buffers: list[memoryview]) -> int:
    def window(size: int) -> memoryview:
        buffers.reverse()
        return buffers[0]

    return sum(map(len, chunks(Bytes(data), ChunkSizes(), next_window=window, window=WINDOW)))


def compressing(of: Setting) -> Iterator[Line]:
    """With the sample that recognises media, and without it."""
    for level in (1, 3):
        for name, data in of.kinds():
            for size in (LARGE, SMALL):
                work = partial(compress_if_smaller, compression=Compression(level, sampled=True))
                yield _each(f"zstd -{level} (compress_if_smaller)", _kind(name, size), _pieces(data, size), work)
        bare = partial(compress, level=level)
        yield _each(f"zstd -{level} without sample (compress)", "random, 1024 KiB", _pieces(of.random, LARGE), bare)


def decompressing(of: Setting) -> Iterator[Line]:
    """Into fresh memory, as whole objects are; blobs are under `open_blob`."""
    for name, data in of.kinds():
        frames = [compress(piece, 3) for piece in _pieces(data, LARGE)]
        work = partial(decompress, limit=1 << 30)
        yield _each("zstd decompress (decompress)", _kind(name, LARGE), frames, work, counted=len(data))


def sealing(of: Setting) -> Iterator[Line]:
    """Into a room that is used again, and out of it."""
    for size in (LARGE, SMALL):
        pieces, what = _pieces(of.random, size), f"{size >> 10} KiB"
        room = memoryview(mmap(-1, size + OVERHEAD))
        yield _each("seal (seal_into)", what, pieces, partial(_KEY.seal_into, sealed=room))
        sealed = [bytes(_KEY.seal(piece)) for piece in pieces]
        yield _each("open (open_into)", what, sealed, partial(_KEY.open_into, room=room), counted=size * len(pieces))
        yield _each("open (open)", what, sealed, _KEY.open, counted=size * len(pieces))


def opening(of: Setting) -> Iterator[Line]:
    """Open, decode and hash: what a check, a restore and the look before writing do with each blob."""
    for name, data in of.kinds():
        for size in (LARGE, SMALL):
            yield _opening(_kind(name, size), _pieces(data, size))


def _opening(what: str, pieces: list[bytes]) -> Line:
    scratch, blobs = Scratch(), []
    for piece in pieces:
        frame = compress_if_smaller(piece, AUTO)
        raw_length = 0 if frame is None else len(piece)
        blobs.append((bytes(_KEY.seal(piece if frame is None else frame)), blob_id(piece), raw_length))

    def work() -> None:
        for sealed, wanted, raw_length in blobs:
            scratch.open_blob(_KEY, sealed, wanted=wanted, raw_length=raw_length)

    return _line("open, decode, hash (Scratch.open_blob)", what, work, len(pieces), sum(map(len, pieces)))


def small_files(of: Setting) -> Iterator[Line]:
    """A batch of small files, read from the page cache, hashed and sealed: what one process of the crew does."""
    states = _write_files(of)
    for check in (True, False):
        batch = SmallFiles(Sealer(_KEY, SealSettings(AUTO, check), memoryview(mmap(-1, 1 << 20))))
        words = "read, hash, compress, seal, check" if check else "read, hash, compress, seal"

        def work(batch: SmallFiles = batch) -> None:
            batch.read(states)
            batch.seal([True] * len(states))

        yield Line(f"small files (SmallFiles): {words}", "text, 4 KiB, a file", work, len(states))
    reading = SmallFiles(Sealer(_KEY, SealSettings(AUTO, check=True), memoryview(b"")))
    yield Line("small files (SmallFiles): read, hash", "4 KiB, a file", partial(reading.read, states), len(states))


def _write_files(of: Setting) -> list[FileState]:
    states = []
    for number, piece in enumerate(_pieces(of.text, SMALL)[:_BATCH]):
        path = of.work / f"file-{number}"
        path.write_bytes(piece)
        states.append(FileState(str(path), Status.of(os.lstat(path))))
    return states


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, min(len(data), 1024 * size), size)]


def _kind(name: str, size: int) -> str:
    return f"{name}, {size >> 10} KiB"


def _each(name: str, data: str, pieces: Sequence[bytes], work: Callable[[bytes], object], *, counted: int = 0) -> Line:
    """Measure `work` on one piece after the other; `counted`: the plaintext's bytes, where pieces are none."""

    def every() -> None:
        for piece in pieces:
            work(piece)

    return _line(name, data, every, len(pieces), counted or sum(map(len, pieces)))


def _line(name: str, data: str, work: Callable[[], object], count: int, size: int) -> Line:
    """Count bytes where pieces are large, and pieces where they are small."""
    large = size // count > SMALL
    return Line(name, data if large else f"{data}, a piece", work, size if large else count, in_bytes=large)


GROUPS = (hashing, cutting, compressing, decompressing, sealing, opening, small_files)
