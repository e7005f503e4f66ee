"""Blobs read from packs, each proved by its id."""

from __future__ import annotations

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.repository.index import Index, Place
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.objects import ObjectBox


def read_any_copy(box: ObjectBox, index: Index, kind: BlobKind, blob_id: BlobId) -> bytes:
    """Return a blob from the first of its places that has it whole; raises DamageError."""
    places = index.all_places(kind, blob_id)
    if not places:
        raise DamageError(f"{kind.word} blob {blob_id.hex()} is in no index", hint="run `check`")
    for number, place in enumerate(places, 1):
        try:
            return read_copy(box, place, blob_id)
        except (DamageError, NotFoundError):
            if number == len(places):
                raise
    raise AssertionError("unreachable")


def read_copy(box: ObjectBox, place: Place, blob_id: BlobId) -> bytes:
    """Return a blob from one of its places; raises DamageError."""
    name = object_name(Kind.PACK, place.pack)
    try:
        sealed = box.store.get(name, offset=place.offset, length=place.length)
    except NotFoundError as error:
        raise DamageError(f"pack {place.pack} is missing", hint="run `check`") from error
    return open_blob(box.key, sealed, wanted=blob_id, raw_length=place.raw_length)
