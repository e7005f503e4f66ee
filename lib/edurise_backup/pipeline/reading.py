"""Read changed files in threads: small ones many at a time, each large one chunk by chunk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

from edurise_backup.errors import SourceError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.pipeline.chunker import ChunkSizes, chunks
from edurise_backup.ports import BlobSink, Content, Entry, Progress

_TRIES = 3
_BATCH_FILES, _BATCH_BYTES = 64, 1024 * 1024
_WINDOW = 4 * 1024 * 1024
_AHEAD = 64
"""Read jobs under way at most: the walk does not run far ahead of the readers."""

Result = TypeVar("Result")
_Stored = tuple["Future[list[BlobId]]", int, int]


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


@dataclass(slots=True)
class _ReadFile:
    """A file that was read: its node (None: it could not be), and the blobs that are being stored."""

    node: Node | None
    stored: list[_Stored] = field(default_factory=list)


@dataclass(slots=True)
class _Job:
    """Files that one reader thread reads together."""

    entries: list[Entry]
    size: int = 0
    done: Future[list[_ReadFile]] = field(default_factory=Future)
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A file whose blobs are not all stored yet."""

    job: _Job
    number: int

    @property
    def sent(self) -> bool:
        """Whether a reader has it; otherwise it waits in a batch for `flush`."""
        return self.job.sent

    def finished(self) -> Node | None:
        """Wait for the blobs and return the complete node; None for a file that could not be read."""
        file = self.job.done.result()[self.number]
        if file.node is not None:
            file.node.content = [
                blob.hex() for future, start, stop in file.stored for blob in future.result()[start:stop]
            ]
        return file.node


class Reading:
    """Gives files to reader threads, and their chunks to the sink, which decides how far ahead."""

    def __init__(self, sink: BlobSink, progress: Progress, sizes: ChunkSizes, pool: ThreadPoolExecutor) -> None:
        self.stats = ArchiveStats()
        self.problems: list[str] = []
        self._sink = sink
        self._progress = progress
        self._sizes = sizes
        self._pool = pool
        self._guard = threading.Lock()
        self._batch = _Job([])
        self._under_way: deque[Future[list[_ReadFile]]] = deque()
        self._failure: BaseException | None = None
        """What ended a reader: the others stop at their next chunk instead of reading on for nothing."""

    def add(self, entry: Entry) -> Pending:
        """Have the file read; one without a known size (0) is read as a stream."""
        self._raise_if_ended()
        size = entry.node.size
        if size == 0 or size > self._sizes.minimum:
            job = _Job([entry])
            self._send(job, self._read_stream)
            return Pending(job, 0)
        if len(self._batch.entries) >= _BATCH_FILES or self._batch.size + size > _BATCH_BYTES:
            self.flush()
        self._batch.entries.append(entry)
        self._batch.size += size
        return Pending(self._batch, len(self._batch.entries) - 1)

    def flush(self) -> None:
        """Send the gathered batch to the readers."""
        if self._batch.entries:
            self._send(self._batch, self._read_batch)
            self._batch = _Job([])

    def _send(self, job: _Job, read: Callable[[list[Entry]], list[_ReadFile]]) -> None:
        while len(self._under_way) >= _AHEAD:
            self._under_way.popleft().exception()  # waits; whoever needs the result gets the error
        self._under_way.append(job.done)
        job.sent = True

        def run() -> None:
            try:
                job.done.set_result(read(job.entries))
            except BaseException as error:  # noqa: BLE001
                self._failure = self._failure or error
                job.done.set_exception(error)  # raised again where the result is asked for
            finally:
                job.entries = []

        self._pool.submit(run)

    def _read_batch(self, entries: list[Entry]) -> list[_ReadFile]:
        """Read files of one chunk each, and hand all their chunks to the sink at once."""
        self._raise_if_ended()
        read = [self._until_still(entry, self._small) for entry in entries]
        pieces = [piece for file in read if file is not None for piece in file[1] if not isinstance(piece, tuple)]
        stored = self._sink.store(BlobKind.DATA, pieces)
        files = []
        start = 0
        for file in read:
            if file is None:
                files.append(_ReadFile(None))
                continue
            parts: list[_Stored] = []
            for piece in file[1]:
                if isinstance(piece, tuple):
                    parts.append(piece)
                else:
                    parts.append((stored, start, start + 1))
                    start += 1
            files.append(_ReadFile(file[0], parts))
        return files

    def _small(self, content: Content) -> list[memoryview | _Stored]:
        """Read a file of one chunk; one that has grown since it was found is stored as it is read."""
        pieces: list[memoryview | _Stored] = []
        for chunk in self._chunks(content):
            alone = not pieces and len(chunk) <= self._sizes.minimum
            pieces.append(chunk if alone else (self._sink.store(BlobKind.DATA, [chunk]), 0, 1))
        return pieces

    def _read_stream(self, entries: list[Entry]) -> list[_ReadFile]:
        def store(content: Content) -> list[_Stored]:
            return [(self._sink.store(BlobKind.DATA, [chunk]), 0, 1) for chunk in self._chunks(content)]

        file = self._until_still(entries[0], store)
        return [_ReadFile(*file) if file else _ReadFile(None)]

    def _chunks(self, content: Content) -> Iterator[memoryview]:
        """Yield the chunks; afterwards the node has the size that was really read."""
        window = min(_WINDOW, content.node.size + 1) if content.node.size else _WINDOW
        size = 0
        for chunk in chunks(content.readinto, self._sizes, window=window):
            self._raise_if_ended()
            self._progress.advance(bytes_done=len(chunk))
            size += len(chunk)
            yield chunk
        content.node.size = size
        with self._guard:
            self.stats.read_bytes += size

    def _raise_if_ended(self) -> None:
        if self._failure is not None:
            raise self._failure
        self._progress.raise_if_cancelled()

    def _until_still(self, entry: Entry, read: Callable[[Content], Result]) -> tuple[Node, Result] | None:
        """Read until the file held still meanwhile; one that never does is kept as last read, and reported."""
        assert entry.open is not None
        try:
            for attempt in range(1, _TRIES + 1):
                with closing(entry.open()) as content:
                    result = read(content)
                    trouble = content.finish()
                if trouble is None or attempt == _TRIES:
                    break
        except SourceError as error:
            trouble, result = error.message, None
        with self._guard:
            if trouble is not None:
                self.problems.append(trouble)
            if result is None:
                return None
            self.stats.source_bytes += content.node.size
        self._progress.advance(files_done=1)
        return content.node, result
