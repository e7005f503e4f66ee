"""Look into a damaged pack: which of its blobs are whole, by the pack's own header and by the index."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.ports import Progress
from edurise_backup.repository.blobs import read_copy
from edurise_backup.repository.index import Index, Place
from edurise_backup.repository.index_files import decode_index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import PackedBlob, read_header
from edurise_backup.repository.repairing.affected import Blob
from edurise_backup.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class ExaminedPack:
    """What is left of a pack; `size` in bytes. Each blob comes once, in `whole` or in `broken`."""

    pack: str
    size: int
    whole: tuple[PackedBlob, ...]
    broken: tuple[PackedBlob, ...]
    trouble: tuple[str, ...]
    """What is wrong with the pack apart from its broken blobs, a phrase each."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.broken and not self.trouble


def examine_pack(box: ObjectBox, pack: str, indexed: list[PackedBlob] | None, *, progress: Progress) -> ExaminedPack:
    """Read a pack and prove every blob that its header or the index (None: knows no such pack) puts there.

    Raises NotFoundError for a pack that is missing, and what the store raises.
    """
    content = box.store.get(object_name(Kind.PACK, pack))
    trouble = []
    if hashlib.sha256(content).hexdigest() != pack:
        trouble.append("its bytes are not those that were written")
    listed: list[PackedBlob] = []
    try:
        listed = read_header(content, box.key)
    except DamageError as error:
        trouble.append(error.message)
    else:
        if indexed is not None and set(listed) != set(indexed):
            trouble.append("its header and the index disagree")
    view = memoryview(content)
    whole: dict[Blob, PackedBlob] = {}
    broken: dict[Blob, PackedBlob] = {}
    for blob in dict.fromkeys((*listed, *(indexed or ()))):
        progress.raise_if_cancelled()
        name = (blob.kind, blob.id)
        sealed = view[blob.offset : blob.offset + blob.length]
        try:
            open_blob(box.key, sealed, wanted=blob.id, raw_length=blob.raw_length)
        except DamageError:
            broken[name] = blob
        else:
            whole.setdefault(name, blob)
    left = tuple(blob for name, blob in broken.items() if name not in whole)
    return ExaminedPack(pack, len(content), tuple(whole.values()), left, tuple(trouble))


def indexed_blobs(
    box: ObjectBox, packs: Collection[str], *, progress: Progress, problems: list[str] | None = None
) -> dict[str, list[PackedBlob]]:
    """Return what the index files say about some packs, without holding the rest of the index.

    An index file that is not readable raises DamageError, or is told in `problems`.
    """
    found: dict[str, list[PackedBlob]] = {}
    for index_id in box.ids(Kind.INDEX) if packs else ():
        progress.raise_if_cancelled()
        try:
            for pack, blobs in decode_index(box.load(Kind.INDEX, index_id)):
                if pack in packs:
                    found[pack] = list(dict.fromkeys((*found.get(pack, ()), *blobs)))
        except NotFoundError:  # replaced since the listing
            continue
        except DamageError as error:
            if problems is None:
                raise
            problems.append(f"index {index_id[:8]}: {error.message}")
    return found


def lost_blobs(
    repository: Repository, index: Index, packs: Iterable[ExaminedPack], *, progress: Progress
) -> frozenset[Blob]:
    """Return the broken blobs of which no whole copy is anywhere; a copy elsewhere counts when it proves whole."""
    examined = list(packs)
    bad = {one.pack for one in examined}
    saved = {(blob.kind, blob.id) for one in examined for blob in one.whole}
    lost = set()
    for blob in (blob for one in examined for blob in one.broken):
        if (blob.kind, blob.id) not in saved and not _copied(repository, index, blob, bad, progress):
            lost.add((blob.kind, blob.id))
    return frozenset(lost)


def _copied(repository: Repository, index: Index, blob: PackedBlob, bad: set[str], progress: Progress) -> bool:
    for place in index.all_places(blob.kind, blob.id):
        progress.raise_if_cancelled()
        if place.pack in bad:
            continue
        try:
            read_copy(repository.box, place, blob.id)
        except DamageError:
            continue
        return True
    return False


def indexed_alike(index: Index, pack: str, blobs: Sequence[PackedBlob]) -> bool:
    """Whether the index knows each of the header's blobs at its place in this pack.

    It then knows no other one there, provided that the pack has the size that
    the index says: sizes add up over the blobs.
    """
    if index.lists(pack, blobs):  # the quick answer; stock restic lists a pack's blobs in any order
        return True
    for blob in blobs:
        wanted = Place(pack, blob.offset, blob.length, blob.raw_length)
        if index.find(blob.kind, blob.id) != wanted and wanted not in index.all_places(blob.kind, blob.id):
            return False
    return True
