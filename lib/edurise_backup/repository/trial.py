"""Say what a backup would add, without writing anything: no lock, no pack, no snapshot."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.model.paging import Paged
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.pipeline.archiver import Archived, archive
from edurise_backup.pipeline.chunker import id_of
from edurise_backup.pipeline.small_files import EMPTY, content_of
from edurise_backup.ports import Buffer, FileState, LiveFile, Progress, Source, StoredFile
from edurise_backup.repository.index import Index
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, find_parent, parent_from


@dataclass(slots=True)
class Addition:
    """What would be added; bytes before compression."""

    data_blobs: int = 0
    tree_blobs: int = 0
    plain_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Trial:
    """A backup that was not made."""

    parent: SnapshotId | None
    archived: Archived
    added: Addition


class TrialSink:
    """A `ports.BlobSink` that hashes, looks up and counts; memory: the ids of the new blobs."""

    def __init__(self, index: Index) -> None:
        self.added = Addition()
        self._index = index
        self._guard = threading.Lock()
        self._new: set[tuple[BlobKind, BlobId]] = set()

    def store(self, kind: BlobKind, pieces: Sequence[Buffer]) -> Future[list[BlobId]]:
        """Count the pieces that are not known yet; hashed in the caller's thread, so nothing waits anywhere."""
        ids = [id_of(piece) for piece in pieces]
        for found, piece in zip(ids, pieces, strict=True):
            if (kind, found) not in self._index:
                self._count(kind, found, len(piece))
        done: Future[list[BlobId]] = Future()
        done.set_result(ids)
        return done

    def store_file(self, path: str, advance: Callable[[int], None], paged: Paged | None = None) -> StoredFile | None:
        """Leave it to the caller, who gives the chunks to `store`."""
        return None

    def store_live(self, files: Sequence[LiveFile]) -> list[StoredFile | None]:
        """Leave them to the caller, too."""
        return [None] * len(files)

    def store_files(self, files: Sequence[FileState]) -> list[BlobId | None]:
        """Count the contents that are not known yet."""
        ids: list[BlobId | None] = []
        for content in map(content_of, files):
            ids.append(None if content is None else EMPTY)
            if content:
                ids[-1] = self.store(BlobKind.DATA, [content]).result()[0]
        return ids

    def _count(self, kind: BlobKind, found: BlobId, length: int) -> None:
        with self._guard:
            if (kind, found) in self._new:
                return
            self._new.add((kind, found))
            self.added.plain_bytes += length
            self.added.data_blobs += kind is BlobKind.DATA
            self.added.tree_blobs += kind is BlobKind.TREE


def try_snapshot(
    repository: Repository, source: Source, label: Label, *, progress: Progress, read_everything: bool = False
) -> Trial:
    """Do all of a backup but the writing; the index must be loaded."""
    repository.lost_packs()  # before anybody asks the index: what they held would be stored again
    host = label.host or socket.gethostname()
    before = None if read_everything else find_parent(repository, label.paths, host)
    parent = None if before is None else parent_from(repository, before[1])
    sink = TrialSink(repository.index)
    archived = archive(source, sink, progress=progress, parent=parent)
    return Trial(before[0] if before else None, archived, sink.added)
