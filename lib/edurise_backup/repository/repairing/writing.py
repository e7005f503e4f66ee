"""The steps that both repairs share: write index files, take packs out of them, keep damaged bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from edurise_backup.errors import ConflictError, NotFoundError
from edurise_backup.ports import Store
from edurise_backup.repository.index_files import decode_index, encode_index
from edurise_backup.repository.layout import NOTES, Kind, object_name
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import PackedBlob
from edurise_backup.repository.removals import take_away
from edurise_backup.repository.writer import INDEX_BLOBS

KEPT = f"{NOTES}/damaged"


def save_index_files(box: ObjectBox, packs: Iterable[tuple[str, list[PackedBlob]]]) -> None:
    """Write index files that list the packs, durable one by one; none when there are no packs."""
    part: list[tuple[str, list[PackedBlob]]] = []
    count = 0
    for pack, blobs in packs:
        part.append((pack, blobs))
        count += len(blobs)
        if count >= INDEX_BLOBS:
            box.save(Kind.INDEX, encode_index(part))
            part, count = [], 0
    if part:
        box.save(Kind.INDEX, encode_index(part))


def unindex(box: ObjectBox, packs: Collection[str]) -> None:
    """Replace each index file that lists one of the packs by one without them, which is durable before the old goes."""
    for index_id in box.ids(Kind.INDEX):
        try:
            listed = list(decode_index(box.load(Kind.INDEX, index_id)))
        except NotFoundError:
            continue
        left = [(pack, blobs) for pack, blobs in listed if pack not in packs]
        if len(left) < len(listed):
            save_index_files(box, left)
            take_away(box, [object_name(Kind.INDEX, index_id)])


def keep_copy(store: Store, object_id: str, content: bytes) -> str:
    """Keep an object's bytes, as they are, under `edurise/damaged/ID`; return the name.

    The same bytes are kept once. Other bytes under the same id (of an object
    that decays) take a name with the beginning of their own hash.
    """
    name = f"{KEPT}/{object_id}"
    for wanted in (name, f"{name}.{hashlib.sha256(content).hexdigest()[:16]}"):
        try:
            store.put(wanted, [content])
        except ConflictError:
            if store.get(wanted) == content:
                return wanted
        else:
            return wanted
    raise ConflictError(
        f"{name} is taken by other bytes",
        safe="nothing was removed",
        hint=f"move the objects below {KEPT} out of the repository and try again",
    )
