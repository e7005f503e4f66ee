"""Read changed files in threads: small ones many at a time, each large one chunk by chunk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from typing import TypeAlias

from edurise_backup.errors import SourceError, VanishedError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.model.paging import Paged
from edurise_backup.pipeline.chunker import ChunkSizes, chunks
from edurise_backup.pipeline.large_files import WINDOW, first_window
from edurise_backup.pipeline.paging import PageLook, joined, paged_chunks, ranges_of, reread
from edurise_backup.pipeline.pending import Job, Pending, ReadFile
from edurise_backup.pipeline.pools import Pool, Pools
from edurise_backup.pipeline.small_files import EMPTY
from edurise_backup.pipeline.windows import Stored, Windows
from edurise_backup.ports import BlobSink, Content, Entry, FileState, LiveFile, Progress, StoredFile

_TRIES = 3
_BATCH_FILES, _BATCH_BYTES = 256, 3 * 1024 * 1024
_ALONE = 256 * 1024 * 1024
"""Bytes from which one file is worth several threads."""
_LATEST = (1 << 63) - 1
"""Nanoseconds: a file of the year 1600 or 2300 does not fit into a message."""


@dataclass(slots=True)
class ArchiveStats:
    """What the walk saw; sizes in bytes."""

    files_new: int = 0
    files_changed: int = 0
    files_unmodified: int = 0
    dirs_new: int = 0
    dirs_changed: int = 0
    dirs_unmodified: int = 0
    source_bytes: int = 0
    read_bytes: int = 0

    @property
    def files(self) -> int:
        """All files, read or taken from the parent."""
        return self.files_new + self.files_changed + self.files_unmodified


_Read: TypeAlias = Callable[[list[Entry]], list[ReadFile]]


class _OwnWindows(threading.local):
    def __init__(self) -> None:
        self.windows = Windows()


class Reading:
    """Gives files to reader threads, and their chunks to the sink, which decides how far ahead."""

    def __init__(self, sink: BlobSink, progress: Progress, sizes: ChunkSizes, pools: Pools) -> None:
        self.stats = ArchiveStats()
        self.problems: list[str] = []
        self._sink = sink
        self._progress = progress
        self._sizes = sizes
        self._pools = pools
        self._own = _OwnWindows()
        self._guard = threading.Lock()
        self._gathered: dict[_Read, Job] = {}
        self._under_way: set[Future[list[ReadFile]]] = set()
        self._failure: BaseException | None = None
        """What ended a reader: the others stop at their next chunk instead of reading on for nothing."""

    def add(self, entry: Entry) -> Pending:
        """Have the file read: one of this machine by the sink, a small one with others; anything else as a stream."""
        self._raise_if_ended()
        status = entry.status
        if entry.paged is not None and status is not None:
            if status.st_size > self._sizes.minimum:
                return self._send_alone(entry, self._read_paged)
            return self._gather(entry, status.st_size, self._read_live)
        if status is None or status.st_size >= _ALONE or abs(status.st_mtime_ns) > _LATEST:
            return self._send_alone(entry, self._read_streams)
        if status.st_size > self._sizes.minimum:
            return self._send_alone(entry, self._read_large)
        return self._gather(entry, status.st_size, self._read_batch)

    def add_last(self, entry: Entry) -> Pending:
        """Have all be read that was added before, then this one; raises what ended a reader."""
        self._drain()
        pending = self.add(entry)
        self._drain()
        return pending

    def _drain(self) -> None:
        self.flush()
        with self._guard:
            waiting = list(self._under_way)
        for job in waiting:
            job.exception()
        self._raise_if_ended()

    def flush(self) -> None:
        """Send what was gathered to the readers."""
        gathered, self._gathered = self._gathered, {}
        for read, batch in gathered.items():
            self._send(batch, read, self._pools.batches)

    def _gather(self, entry: Entry, size: int, read: _Read) -> Pending:
        """Have the file read with others that are read in the same way."""
        batch = self._gathered.get(read)
        if batch is not None and (len(batch.entries) >= _BATCH_FILES or batch.size + size > _BATCH_BYTES):
            self.flush()
        batch = self._gathered.setdefault(read, Job([]))
        batch.entries.append(entry)
        batch.size += size
        return Pending(batch, len(batch.entries) - 1)

    def _send_alone(self, entry: Entry, read: _Read) -> Pending:
        job = Job([entry])
        self._send(job, read, self._pools.streams)
        return Pending(job, 0)

    def _send(self, job: Job, read: _Read, pool: Pool) -> None:
        job.sent = True
        with self._guard:
            self._under_way.add(job.done)

        def run() -> None:
            try:
                job.done.set_result(read(job.entries))
            except BaseException as error:  # noqa: BLE001
                self._failure = self._failure or error
                job.done.set_exception(error)  # raised again where the result is asked for
            finally:
                job.entries = []
                with self._guard:
                    self._under_way.discard(job.done)

        pool.submit(run)

    def _read_batch(self, entries: list[Entry]) -> list[ReadFile]:
        """Have the sink read small files; one that is not as it was found is read as a stream."""
        self._raise_if_ended()
        files = [FileState(entry.path, entry.status) for entry in entries if entry.status is not None]
        ids = self._sink.store_files(files)
        self._count(files, ids)
        found = []
        for entry, blob in zip(entries, ids, strict=True):
            if blob is None:
                found += self._read_streams([entry])
            else:
                entry.node.content = [] if blob == EMPTY else [blob.hex()]
                found.append(ReadFile(entry.node))
        return found

    def _count(self, files: Sequence[FileState], ids: Sequence[BlobId | None]) -> None:
        read = [file.status.st_size for file, blob in zip(files, ids, strict=True) if blob is not None]
        with self._guard:
            self.stats.read_bytes += sum(read)
            self.stats.source_bytes += sum(read)
        self._progress.advance(bytes_done=sum(read), files_done=len(read))

    def _read_streams(self, entries: list[Entry]) -> list[ReadFile]:
        return [self._until_still(entry) for entry in entries]

    def _store(self, content: Content, entry: Entry) -> list[Stored]:
        windows = self._own.windows
        stored = []
        for chunk in self._chunks(content, entry, windows):
            future = self._sink.store(BlobKind.DATA, [chunk])
            windows.used_by(future)
            stored.append(future)
        return stored

    def _chunks(self, content: Content, entry: Entry, windows: Windows) -> Iterator[memoryview]:
        """Yield the chunks; afterwards the node has the size that was really read."""
        size = 0
        for part in self._parts(content, entry, windows):
            for chunk in part:
                self._advance(len(chunk))
                size += len(chunk)
                yield chunk
        content.node.size = size

    def _parts(self, content: Content, entry: Entry, windows: Windows) -> Iterator[list[memoryview]]:
        expected = content.node.size
        if entry.paged is None:
            first = first_window(expected)
            yield from chunks(content, self._sizes, next_window=windows.next, first=first, window=WINDOW)
            return
        look = PageLook(entry.paged.check, reread(entry.path) if entry.status is not None else None)
        yield from paged_chunks(content, entry.paged, expected, next_window=windows.next, window=WINDOW, look=look)
        _tell_damaged(entry, look.damaged)

    def _advance(self, count: int) -> None:
        """Count bytes that were read; raises what ends the backup."""
        self._raise_if_ended()
        self._progress.advance(bytes_done=count)
        with self._guard:
            self.stats.read_bytes += count

    def _raise_if_ended(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._progress.raise_if_cancelled()

    def _read_large(self, entries: list[Entry]) -> list[ReadFile]:
        """Have the sink read a large file, until it held still meanwhile."""
        (entry,) = entries
        file = self._stored(entry.path)
        if file is None:
            return self._read_streams(entries)
        trouble = f"{entry.path}: {file.trouble}" if file.trouble else None
        if file.status is None:
            return [self._read(None, trouble)]
        node = entry.described(file.status)
        node.size = file.size
        node.content = [blob.hex() for blob in file.blobs]
        return [self._read(node, trouble)]

    def _read_paged(self, entries: list[Entry]) -> list[ReadFile]:
        """Have the sink read a large file that may change meanwhile; one that has vanished is left out."""
        (entry,) = entries
        self._raise_if_ended()
        assert entry.status is not None
        assert entry.paged is not None
        ranges = list(ranges_of(entry.paged, entry.status.st_size))
        found = [stored.result() for stored in [self._range(entry, one) for one in ranges]]
        if any(one is None for one in found):
            return self._read_streams(entries)
        return [self._live(entry, joined(entry.path, ranges, [one for one in found if one is not None]))]

    def _read_live(self, entries: list[Entry]) -> list[ReadFile]:
        """Have the sink read small files that may change meanwhile; those that have vanished are left out."""
        self._raise_if_ended()
        files = [
            LiveFile(entry.path, next(ranges_of(entry.paged, entry.status.st_size)))
            for entry in entries
            if entry.paged is not None and entry.status is not None
        ]
        read = []
        for entry, live, stored in zip(entries, files, self._sink.store_live(files), strict=True):
            if stored is None:
                read += self._read_streams([entry])
            else:
                self._advance(stored.size)
                read.append(self._live(entry, joined(entry.path, [live.paged], [stored])))
        return read

    def _live(self, entry: Entry, found: StoredFile | None) -> ReadFile:
        """Note what was read of a file that may change meanwhile; None: it has vanished."""
        if found is None:
            return ReadFile(None)
        _tell_damaged(entry, found.damaged)
        assert entry.status is not None
        node = entry.described(entry.status)  # as it was before any of its bytes was read
        node.size, node.content = found.size, [blob.hex() for blob in found.blobs]
        return self._read(node, None)

    def _range(self, entry: Entry, paged: Paged) -> Future[StoredFile | None]:
        """Have a range of a file read by the threads that otherwise read batches."""
        done: Future[StoredFile | None] = Future()

        def run() -> None:
            try:
                self._raise_if_ended()
                done.set_result(self._sink.store_file(entry.path, self._advance, paged))
            except BaseException as error:  # noqa: BLE001
                done.set_exception(error)  # raised where the result is asked for

        self._pools.batches.submit(run)
        return done

    def _stored(self, path: str) -> StoredFile | None:
        for attempt in range(1, _TRIES + 1):
            self._raise_if_ended()
            file = self._sink.store_file(path, self._advance)
            if file is None or file.status is None or not file.trouble or attempt == _TRIES:
                return file
        raise AssertionError("unreachable")

    def _until_still(self, entry: Entry) -> ReadFile:
        """Read until the file held still meanwhile; one that never does is kept as last read, and reported."""
        assert entry.open is not None
        node: Node | None = None
        stored: list[Stored] = []
        try:
            for attempt in range(1, _TRIES + 1):
                with closing(entry.open()) as content:
                    stored = self._store(content, entry)
                    trouble = content.finish()
                    node = content.node
                if trouble is None or attempt == _TRIES:
                    break
        except SourceError as error:
            if entry.paged is not None:
                if isinstance(error, VanishedError):
                    return ReadFile(None)
                raise
            trouble, node = error.message, None
        return self._read(node, trouble, stored)

    def _read(self, node: Node | None, trouble: str | None, stored: Sequence[Stored] = ()) -> ReadFile:
        """Note how reading a file ended; a node of None: it could not be read."""
        with self._guard:
            if trouble is not None:
                self.problems.append(trouble)
            if node is None:
                return ReadFile(None)
            self.stats.source_bytes += node.size
        self._progress.advance(files_done=1)
        return ReadFile(node, list(stored))


def _tell_damaged(entry: Entry, pages: Sequence[int]) -> None:
    if pages and entry.damaged is not None:
        entry.damaged(list(pages))
