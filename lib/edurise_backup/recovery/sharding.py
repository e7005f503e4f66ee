"""Restore on several workers, by pack: each writes its packs' blobs to their places in files that are there already.

Whoever leads has made directories and files before, and describes and syncs
them afterwards; a blob that is written twice is written with the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from edurise_backup.errors import InputError
from edurise_backup.machine.cores import cores
from edurise_backup.model.content import BlobId, Node
from edurise_backup.ports import Progress
from edurise_backup.recovery.extraction import Extraction
from edurise_backup.recovery.fetching import Fetcher
from edurise_backup.recovery.planning import Piece, PlannedFile, RestorePlan, WantedBlob
from edurise_backup.recovery.restorer import Restored, refuse_damage, restore
from edurise_backup.repository.index import Place
from edurise_backup.repository.repository import Repository


class BlobOrder(msgspec.Struct, frozen=True, array_like=True):
    """A blob of a pack, and where it goes: paths below the target, in the file system's bytes."""

    id: bytes
    offset: int
    length: int
    raw_length: int
    places: tuple[tuple[bytes, int], ...]


class PackOrder(msgspec.Struct, frozen=True, array_like=True):
    """What is wanted of a pack."""

    pack: str
    blobs: tuple[BlobOrder, ...]


class Brought(msgspec.Struct, frozen=True, array_like=True):
    """What a worker has written; `damaged` are blobs that this pack does not have whole."""

    written: int
    """Bytes."""
    damaged: tuple[bytes, ...]
    problems: tuple[str, ...]


Bring = Callable[[Sequence[PackOrder]], Iterable[Brought]]
"""Has packs brought by workers, and yields what each has done."""


def restore_sharded(
    repository: Repository, plan: RestorePlan, target: Path, bring: Bring, *, progress: Progress
) -> Restored:
    """Restore as `restore` does, with the bytes brought by workers to whom `target` is the same directory."""

    def write(extraction: Extraction) -> None:
        damaged: set[bytes] = set()
        for part in bring([_order(pack, blobs) for pack, blobs in plan.packs.items()]):
            damaged.update(part.damaged)
            extraction.take_over((list(part.problems), {}))
        orders = (_order(pack, [blob for blob in blobs if blob.id in damaged]) for pack, blobs in plan.packs.items())
        again = {order.pack: [_wanted(order.pack, blob) for blob in order.blobs] for order in orders if order.blobs}
        # whoever leads knows the index, and so of a second copy
        Fetcher(repository, extraction, progress=progress, lost=refuse_damage).run(again, workers=2)

    return restore(repository, plan, target, progress=progress, write=write)


def bring_packs(repository: Repository, packs: Sequence[PackOrder], target: Path, *, progress: Progress) -> Brought:
    """Write what is wanted of some packs, and make it durable; needs no index. Raises BackupError, SpaceError."""
    if not target.is_dir():
        raise InputError(
            f"this worker does not see {target}",
            safe="nothing was written by it",
            hint="recover into a directory that all workers share, at the same place",
        )
    damaged: list[bytes] = []
    wanted = {order.pack: [_wanted(order.pack, blob) for blob in order.blobs] for order in packs}
    extraction = Extraction(target)
    extraction.open()
    with closing(extraction):
        fetcher = Fetcher(repository, extraction, progress=progress, lost=lambda blob, _error: damaged.append(blob.id))
        fetcher.run(wanted, workers=2 * cores())
        extraction.sync()
        problems = tuple(extraction.problems)
    written = sum(blob.place.plain_length * len(blob.pieces) for blobs in wanted.values() for blob in blobs)
    return Brought(written, tuple(damaged), problems)


def _order(pack: str, blobs: Iterable[WantedBlob]) -> PackOrder:
    return PackOrder(
        pack,
        tuple(
            BlobOrder(
                blob.id,
                blob.place.offset,
                blob.place.length,
                blob.place.raw_length,
                tuple((os.fsencode("/".join(piece.file.names)), piece.offset) for piece in blob.pieces),
            )
            for blob in blobs
        ),
    )


def _wanted(pack: str, order: BlobOrder) -> WantedBlob:
    pieces = [Piece(_made(path), offset) for path, offset in order.places]
    return WantedBlob(BlobId(order.id), Place(pack, order.offset, order.length, order.raw_length), pieces)


def _made(path: bytes) -> PlannedFile:
    """Return a file that was made already: whoever leads describes it."""
    return PlannedFile(tuple(os.fsdecode(path).split("/")), _NOBODY)


_NOBODY = Node(name="", type="file", mtime="", atime="", ctime="", uid=0, gid=0, content=None)
