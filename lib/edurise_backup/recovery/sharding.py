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
from edurise_backup.model.content import BlobId, Node, name_bytes
from edurise_backup.model.shards import Range, ShardGoal, ShardPlan
from edurise_backup.pipeline.shards.part import nodes_at
from edurise_backup.pipeline.shards.weighing import plan_from_tree
from edurise_backup.ports import Progress
from edurise_backup.recovery.extraction import Extraction
from edurise_backup.recovery.fetching import Fetcher
from edurise_backup.recovery.planning import Piece, PlannedFile, RestorePlan, WantedBlob, walk_nodes
from edurise_backup.recovery.restorer import Restored, prove_nodes, refuse_damage, restore
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
    _require(target)
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


class Proved(msgspec.Struct, frozen=True, array_like=True):
    """What a worker has compared."""

    files: int
    differences: tuple[str, ...]
    left: bool = False
    """The store did not give what it takes to compare: somebody else must."""


def cut_tree(repository: Repository, tree: str, count: int, *, progress: Progress) -> ShardPlan:
    """Cut a snapshot's tree into shards; by names alone, whatever its source was."""
    return plan_from_tree(repository.read_tree_once, tree, ShardGoal(count=count), progress, ())


def prove_ranges(
    repository: Repository, tree: str, ranges: Sequence[Range], target: Path, *, progress: Progress
) -> Proved:
    """Read what was restored of ranges of a tree and compare it with the snapshot; the index must be loaded."""
    _require(target)
    files, differences = 0, list[str]()
    for one in ranges:
        held = nodes_at(repository.read_tree_once, tree, one.folder)
        nodes = [node for node in held if name_bytes(node.name) in one.names]
        folder = "".join(f"/{name}" for name in one.folder)
        found = prove_nodes(repository, walk_nodes(repository, folder, nodes), target, progress=progress)
        files, differences = files + found[0], differences + found[1]
    return Proved(files, tuple(differences))


def prove_opened(repository: Repository, tree: str, plan: ShardPlan, target: Path, *, progress: Progress) -> Proved:
    """Compare the directories that lie in several shards, which nobody else does."""
    ways = sorted(way for way in plan.opened if way)
    held = [(way, nodes_at(repository.read_tree_once, tree, way[:-1])) for way in ways]
    nodes = [("/" + "/".join(way), node) for way, found in held for node in found if node.name == way[-1]]
    files, differences = prove_nodes(repository, nodes, target, progress=progress)
    return Proved(files, tuple(differences))


def _require(target: Path) -> None:
    if not target.is_dir():
        raise InputError(
            f"this worker does not see {target}",
            safe="nothing was written by it",
            hint="recover into a directory that all workers share, at the same place",
        )


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
