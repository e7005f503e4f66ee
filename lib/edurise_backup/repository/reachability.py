"""What trees refer to: the blobs that a prune keeps, and that a backup proves before it is published.

Blobs are marked in one byte each, by their numbers in the index; of a blob that
lies in several packs the first number stands for all. Of a tree only the
references are decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import msgspec

from edurise_backup.errors import DamageError, NotFoundError, TransientError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.pipeline.codec import open_blob
from edurise_backup.ports import Progress
from edurise_backup.repository.index import Index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.objects import ObjectBox

_BATCH = 2000
"""Trees that are read in one go, in the order in which they lie."""
_GAP = 16 * 1024
_READ = 4 * 1024 * 1024
"""Neighbours are read at once when at most `_GAP` lies between them, up to about this many bytes."""


class _Node(msgspec.Struct, gc=False):
    type: str
    content: list[str] | None = None
    subtree: str | None = None


class _Tree(msgspec.Struct, gc=False):
    nodes: list[_Node]


_decoder = msgspec.json.Decoder(_Tree)


class Reachable:
    """Marks what trees refer to; `used[n]` is not 0 when the blob of number n is referred to."""

    def __init__(self, box: ObjectBox, index: Index, progress: Progress) -> None:
        self._box = box
        self._index = index
        self._progress = progress
        self._mark = 1
        self.used = bytearray(len(index))
        self.missing: set[tuple[BlobKind, BlobId]] = set()
        """What is referred to and stands in no index."""

    def second_look(self) -> None:
        """Mark what is found from now on as found late."""
        self._mark = 2

    def again(self) -> None:
        """Take in what the index has learnt, and look for what was missing."""
        self.used.extend(bytes(len(self._index) - len(self.used)))
        missing, self.missing = self.missing, set()
        self._walk([number for kind, blob in missing if (number := self._use(kind, blob)) is not None])

    def found_late(self) -> Iterator[int]:
        """Yield the numbers that only the second look marked."""
        number = self.used.find(2)
        while number >= 0:
            yield number
            number = self.used.find(2, number + 1)

    def walk(self, trees: Iterable[str]) -> None:
        """Mark the trees (ids in hex) and everything below them; raises DamageError when a tree cannot be read."""
        self._walk(
            [number for tree in trees if (number := self._use(BlobKind.TREE, BlobId(bytes.fromhex(tree)))) is not None]
        )

    def _walk(self, pending: list[int]) -> None:
        pending = [number for number in pending if self._index.blob(number).kind is BlobKind.TREE]
        while pending:
            batch = sorted(pending[-_BATCH:])
            del pending[-_BATCH:]
            for number, sealed in read_sealed(self._box, self._index, batch):
                self._progress.raise_if_cancelled()
                pending += self._follow(read_proved(self._box, self._index, number, sealed))

    def _follow(self, plaintext: bytes) -> list[int]:
        """Mark what a tree refers to; return the numbers of trees that were not known to be in use."""
        trees = []
        try:
            for node in _decoder.decode(plaintext).nodes:
                if node.type == "file":
                    for name in node.content or ():
                        self._use(BlobKind.DATA, BlobId(bytes.fromhex(name)))
                elif node.subtree is not None:
                    tree = self._use(BlobKind.TREE, BlobId(bytes.fromhex(node.subtree)))
                    if tree is not None:
                        trees.append(tree)
        except (msgspec.DecodeError, ValueError) as error:
            raise DamageError(f"a tree object is not readable: {error}", hint="run `check`") from error
        return trees

    def _use(self, kind: BlobKind, blob: BlobId) -> int | None:
        """Mark a blob; return its number when it was not marked before."""
        number = self._index.number(kind, blob)
        if number is None:
            self.missing.add((kind, blob))
        elif not self.used[number]:
            self.used[number] = self._mark
            return number
        return None


def prove_stored(box: ObjectBox, index: Index, tree: str) -> None:
    """Raise TransientError when something that the tree refers to is in no index, or its pack is not there whole."""
    reach = Reachable(box, index, SilentProgress())
    reach.walk([tree])
    sizes = {name.rpartition("/")[2]: size for name, size in box.store.list(Kind.PACK)}
    whole = [sizes.get(pack) == size for pack, size in index.sizes()]
    lost = len(reach.missing) + sum(
        not whole[index.pack_of(number)] and not _is_whole_elsewhere(index, number, whole)
        for number, used in enumerate(reach.used)
        if used
    )
    if lost:
        raise TransientError(
            f"{lost} blobs of this snapshot are not in the repository any more: a prune came in between",
            safe="every snapshot that is listed; this one was not published",
            hint="run the same command again: a backup stores what is missing anew",
        )


def _is_whole_elsewhere(index: Index, number: int, whole: list[bool]) -> bool:
    blob = index.blob(number)
    return any(whole[index.pack_of(copy)] for copy in index.numbers(blob.kind, blob.id))


def read_proved(box: ObjectBox, index: Index, number: int, sealed: memoryview | None) -> bytes:
    """Return a blob's plaintext from its sealed bytes, or from another copy; raises DamageError when none is whole."""
    blob = index.blob(number)
    if sealed is not None:
        with suppress(DamageError):
            return open_blob(box.key, sealed, wanted=blob.id, raw_length=blob.raw_length)
    for copy in index.numbers(blob.kind, blob.id):
        with suppress(DamageError):
            return read_copy(box, index, copy)
    raise DamageError(
        f"every copy of the {blob.kind.word} blob {blob.id.hex()[:8]} is damaged",
        safe="nothing was removed",
        hint="run `check --read-data` to see which snapshots are affected",
    )


def read_copy(box: ObjectBox, index: Index, number: int) -> bytes:
    """Return one copy's plaintext; raises DamageError, also when its pack is missing."""
    place = index.place(number)
    try:
        sealed = box.store.get(object_name(Kind.PACK, place.pack), offset=place.offset, length=place.length)
    except NotFoundError as error:
        raise DamageError(f"pack {place.pack[:8]} is missing", hint="run `check`") from error
    return open_blob(box.key, sealed, wanted=index.blob(number).id, raw_length=place.raw_length)


def read_sealed(box: ObjectBox, index: Index, numbers: Iterable[int]) -> Iterator[tuple[int, memoryview | None]]:
    """Yield (number, sealed bytes) of blobs whose numbers ascend; neighbours in a pack are read at once.

    Bytes that cannot be read, or not all of them, come as None.
    """
    for pack, spans in _runs(index, numbers):
        start, end = spans[0][1], spans[-1][1] + spans[-1][2]
        try:
            content = memoryview(box.store.get(object_name(Kind.PACK, pack), offset=start, length=end - start))
        except (DamageError, NotFoundError):
            yield from ((number, None) for number, _, _ in spans)
            continue
        for number, offset, length in spans:
            yield number, content[offset - start : offset - start + length]


def _runs(index: Index, numbers: Iterable[int]) -> Iterator[tuple[str, list[tuple[int, int, int]]]]:
    """Yield (pack id, [(number, offset, length)]) for each read."""
    pack, run = "", list[tuple[int, int, int]]()
    for number in numbers:
        place = index.place(number)
        if run:
            _, offset, length = run[-1]
            near = 0 <= place.offset - offset - length <= _GAP
            if place.pack != pack or not near or place.offset - run[0][1] > _READ:
                yield pack, run
                run = []
        pack = place.pack
        run.append((number, place.offset, place.length))
    if run:
        yield pack, run
