"""Which pack holds which blob.

Index files are JSON (restic's `doc/design.rst`, "Indexing"). In memory every
blob has a number, in the order in which packs became known, so that the blobs
of a pack are a range; what is known of a blob stands in columns of bytes.
A blob is found through a dictionary while there are few, and through sorted
numbers (`Settled`) once there are many: about 60 bytes a blob.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.pipeline.codec import OVERHEAD
from edurise_backup.repository.index_files import ListedPack
from edurise_backup.repository.packs import PackedBlob, size_of_pack
from edurise_backup.repository.settled import Settled

_ID = 32
_KIND_OF = (BlobKind.DATA, BlobKind.TREE)
RECENT = 200_000
"""This many blobs are found through a dictionary, which takes some 200 bytes for each; then they are sorted in."""


class Place(NamedTuple):
    """Where a blob's sealed bytes lie."""

    pack: str
    offset: int
    length: int
    raw_length: int

    @property
    def plain_length(self) -> int:
        """Bytes of the plaintext."""
        return self.raw_length or self.length - OVERHEAD


class Index:
    """All blobs of a repository, in memory; lookups need no lock, additions are made by one thread at a time.

    A blob's number is its place among all blobs, copies included; `blob_range`
    gives the numbers of a pack's blobs.
    """

    def __init__(self, *, recent: int = RECENT) -> None:
        self._limit = recent
        self._packs: dict[bytes, int] = {}
        self._pack_ids: list[str] = []
        self._starts = array("I")
        """The number of each pack's first blob."""
        self._sizes = array("Q")
        self._ids = bytearray()
        self._kinds = bytearray()
        self._offsets = array("I")
        self._lengths = array("I")
        self._raw_lengths = array("I")
        self._recent: dict[bytes, int] = {}
        self._copies: dict[bytes, list[int]] = {}
        """Further numbers of recent blobs that lie in several packs."""
        self._settled = Settled()

    def __len__(self) -> int:
        return len(self._kinds)

    def __contains__(self, blob: tuple[BlobKind, BlobId]) -> bool:
        return self.number(*blob) is not None

    def has_data(self, name: str) -> bool:
        """Whether a data blob (hex id) is known; asked for each file of each backup."""
        blob = bytes.fromhex(name)
        number = self._recent.get(blob)
        if number is not None and not self._kinds[number]:
            return True
        return self.number(BlobKind.DATA, BlobId(blob)) is not None

    # Packs

    @property
    def packs(self) -> list[str]:
        """The ids of all packs that the index knows, by their numbers."""
        return list(self._pack_ids)

    def has_pack(self, pack_id: str) -> bool:
        """Whether the index knows the pack."""
        return bytes.fromhex(pack_id) in self._packs

    def pack_number(self, pack_id: bytes) -> int | None:
        """Return a pack's place in `packs`, or None when the index does not know it."""
        return self._packs.get(pack_id)

    def pack_id(self, pack: int) -> str:
        """Return the id of the pack at this place in `packs`."""
        return self._pack_ids[pack]

    def pack_size(self, pack: int) -> int:
        """Return the bytes that the pack at this place must have."""
        return self._sizes[pack]

    @property
    def pack_count(self) -> int:
        """How many packs the index knows."""
        return len(self._pack_ids)

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yield (pack id, bytes that it must have), by the packs' numbers."""
        yield from zip(self._pack_ids, self._sizes, strict=True)

    def blob_range(self, pack: int) -> range:
        """Return the numbers of a pack's blobs; `pack` is its place in `packs`."""
        end = self._starts[pack + 1] if pack + 1 < len(self._starts) else len(self._kinds)
        return range(self._starts[pack], end)

    def lists(self, pack_id: str, blobs: Sequence[PackedBlob]) -> bool:
        """Whether the pack's blobs are known as exactly these, in this order."""
        pack = self._packs.get(bytes.fromhex(pack_id))
        if pack is None:
            return False
        numbers = self.blob_range(pack)
        part = slice(numbers.start, numbers.stop)
        return (
            self._ids[part.start * _ID : part.stop * _ID] == b"".join([blob.id for blob in blobs])
            and self._offsets[part] == array("I", [blob.offset for blob in blobs])
            and self._lengths[part] == array("I", [blob.length for blob in blobs])
            and self._raw_lengths[part] == array("I", [blob.raw_length for blob in blobs])
            and self._kinds[part] == bytes([blob.kind for blob in blobs])
        )

    def pack_of(self, number: int) -> int:
        """Return the pack (its place in `packs`) that holds the blob of this number."""
        return bisect_right(self._starts, number) - 1

    # Blobs

    def lengths(self, numbers: range) -> array[int]:
        """Return the sealed bytes of each blob of a range of numbers."""
        return self._lengths[numbers.start : numbers.stop]

    def kinds(self, numbers: range) -> bytes:
        """Return the kinds (`BlobKind`) of a range of numbers, a byte each."""
        return bytes(self._kinds[numbers.start : numbers.stop])

    def blob(self, number: int) -> PackedBlob:
        """Return what is known of the blob of this number."""
        return PackedBlob(
            _KIND_OF[self._kinds[number]],
            BlobId(bytes(self._ids[number * _ID : number * _ID + _ID])),
            self._offsets[number],
            self._lengths[number],
            self._raw_lengths[number],
        )

    def number(self, kind: BlobKind, blob_id: BlobId) -> int | None:
        """Return the number of a blob's first copy, or None."""
        number = self._recent.get(blob_id)
        if number is not None and self._kinds[number] == kind and not self._settled.count:
            return number
        return next(iter(self.numbers(kind, blob_id)), None)

    def numbers(self, kind: BlobKind, blob_id: BlobId) -> list[int]:
        """Return the numbers of all copies of a blob, the first known first."""
        first = self._recent.get(blob_id)
        recent = () if first is None else (first, *self._copies.get(blob_id, ()))
        settled = self._settled.find(self._ids, blob_id) if self._settled.count else ()
        return [number for number in chain(settled, recent) if self._kinds[number] == kind]

    def find(self, kind: BlobKind, blob_id: BlobId) -> Place | None:
        """Return the blob's place, or None."""
        number = self.number(kind, blob_id)
        return None if number is None else self.place(number)

    def all_places(self, kind: BlobKind, blob_id: BlobId) -> list[Place]:
        """Return every place of a blob: a second copy heals a damaged first one."""
        return [self.place(number) for number in self.numbers(kind, blob_id)]

    def place(self, number: int) -> Place:
        """Return where the blob of this number lies."""
        pack = self._pack_ids[self.pack_of(number)]
        return Place(pack, self._offsets[number], self._lengths[number], self._raw_lengths[number])

    def copies(self) -> Iterator[tuple[BlobKind, BlobId, list[Place]]]:
        """Yield every blob that lies in more than one pack, with all its places."""
        found = [BlobId(blob) for blob in {*self._copies, *self._settled.repeated(self._ids)}]
        found += [BlobId(blob) for blob in self._recent if self._settled.count and blob not in self._copies]
        for blob in found:
            for kind in _KIND_OF:
                places = self.all_places(kind, blob)
                if len(places) > 1:
                    yield kind, blob, places

    def blobs(self, kind: BlobKind) -> Iterator[BlobId]:
        """Yield the ids of all blobs of one kind, copies once."""
        for number, its_kind in enumerate(self._kinds):
            if its_kind == kind:
                blob = BlobId(bytes(self._ids[number * _ID : number * _ID + _ID]))
                if self.number(kind, blob) == number:
                    yield blob

    # Additions

    def add_pack(self, pack_id: str, blobs: Iterable[PackedBlob]) -> None:
        """Make a pack's blobs known; the first pack that has a blob is the one it is read from."""
        found = list(blobs)
        self.extend(
            [
                ListedPack(
                    bytes.fromhex(pack_id),
                    b"".join([blob.id for blob in found]),
                    bytes([blob.kind for blob in found]),
                    array("I", [blob.offset for blob in found]),
                    array("I", [blob.length for blob in found]),
                    array("I", [blob.raw_length for blob in found]),
                )
            ]
        )

    def extend(self, packs: Iterable[ListedPack]) -> None:
        """Make the blobs of packs known at once; they are found only when this returns.

        A pack that is known already is left as it is: two index files may list it.
        """
        start = len(self._kinds)
        for pack in packs:
            if pack.id not in self._packs:
                self._append(pack)
        if len(self._kinds) - start + len(self._recent) >= self._limit:
            self._settle()
        else:
            self._remember(start)

    def _append(self, pack: ListedPack) -> None:
        self._packs[pack.id] = len(self._pack_ids)
        self._pack_ids.append(pack.id.hex())
        self._starts.append(len(self._kinds))
        self._sizes.append(size_of_pack(pack.lengths, pack.raw_lengths))
        self._ids += pack.ids
        self._offsets += pack.offsets
        self._lengths += pack.lengths
        self._raw_lengths += pack.raw_lengths
        self._kinds += pack.kinds

    def _remember(self, start: int) -> None:
        for number in range(start, len(self._kinds)):
            blob = bytes(self._ids[number * _ID : number * _ID + _ID])
            if self._recent.setdefault(blob, number) != number:
                self._copies.setdefault(blob, []).append(number)

    def _settle(self) -> None:
        # in this order: who looks a blob up meanwhile finds it in one of the two
        self._settled = Settled.of(self._ids)
        self._recent = {}
        self._copies = {}
