"""Lines of `micro`: trees, times, and what an index is made of and asked."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from typing import TypeVar

from edurise_backup.model.content import (
    BlobId,
    BlobKind,
    Node,
    decode_tree,
    encode_tree,
    nanoseconds,
    rfc3339,
)
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import ListedPack, encode_index, listed_packs
from edurise_backup.repository.packs import PackedBlob, decode_header, encode_header
from tests.benchmarks.micro import Line, Setting

Item = TypeVar("Item")
_IN_PACK = 64
_LOOKUPS = 10_000
_NODES = 1000


def trees(of: Setting) -> Iterator[Line]:
    """A directory of files of one blob each."""
    nodes = [_node(number) for number in range(_NODES)]
    plaintext = encode_tree(nodes)
    yield Line("tree encode (encode_tree)", "a node", partial(encode_tree, nodes), _NODES)
    yield Line("tree decode (decode_tree)", "a node", partial(decode_tree, plaintext), _NODES)


def _node(number: int) -> Node:
    random = Random(number)
    time = rfc3339(1_700_000_000_000_000_000 + random.randrange(10**16))
    return Node(
        name=f"file-{number:05}.txt",
        type="file",
        mode=0o644,
        mtime=time,
        atime=time,
        ctime=time,
        uid=1000,
        gid=1000,
        user="learner",
        group="learner",
        inode=number + 1,
        device_id=64768,
        size=random.randrange(1 << 20),
        links=1,
        content=[random.randbytes(32).hex()],
    )


def times(of: Setting) -> Iterator[Line]:
    """Seconds that were converted lately are remembered: files that were made together are quicker."""
    random = Random(1)
    base = 1_700_000_000_000_000_000
    for name, spread in (("within an hour", 3600), ("within a year", 365 * 86400)):
        moments = [base + random.randrange(spread * 1_000_000_000) for _ in range(_LOOKUPS)]
        texts = list(map(rfc3339, moments))
        yield Line("rfc3339", name, partial(_all, rfc3339, moments), _LOOKUPS)
        yield Line("nanoseconds", name, partial(_all, nanoseconds, texts), _LOOKUPS)


def _all(work: Callable[[Item], object], items: list[Item]) -> None:
    for item in items:
        work(item)


def index_files(of: Setting) -> Iterator[Line]:
    """An index file's plaintext, of as many blobs as ours list, 64 in a pack."""
    packs = _packs(min(of.scale.blobs, 50_000))
    count = sum(len(blobs) for _, blobs in packs)
    plaintext = encode_index(packs)
    yield Line("index file encode (encode_index)", "a blob", partial(encode_index, packs), count)
    yield Line("index file decode (listed_packs)", "a blob", partial(listed_packs, plaintext), count)
    header = encode_header(packs[0][1])
    yield Line("pack header encode (encode_header)", "a blob", partial(encode_header, packs[0][1]), _IN_PACK)
    yield Line("pack header decode (decode_header)", "a blob", partial(decode_header, header), _IN_PACK)


def loading(of: Setting) -> Iterator[Line]:
    """Into an empty index: below RECENT blobs go to a dictionary, above they are sorted in."""
    for name, listed, recent in _indexes(of):

        def load(listed: list[ListedPack] = listed, recent: int = recent) -> None:
            Index(recent=recent).extend(listed)

        yield Line("index load (Index.extend)", f"{name}, a blob", load, len(listed) * _IN_PACK)


def lookups(of: Setting) -> Iterator[Line]:
    """Ids that are there, in random order, and ids that are not."""
    random = Random(2)
    for name, listed, recent in _indexes(of):
        index = Index(recent=recent)
        index.extend(listed)
        known = [_id_in(listed, random.randrange(len(listed) * _IN_PACK)) for _ in range(_LOOKUPS)]
        unknown = [BlobId(random.randbytes(32)) for _ in range(_LOOKUPS)]
        for what, ids in (("known", known), ("unknown", unknown)):
            yield Line("index lookup (Index.number)", f"{name}, {what} id", partial(_look_up, index, ids), _LOOKUPS)


def _look_up(index: Index, ids: list[BlobId]) -> None:
    for blob in ids:
        index.number(BlobKind.DATA, blob)


def _id_in(listed: list[ListedPack], number: int) -> BlobId:
    at = number % _IN_PACK * 32
    return BlobId(listed[number // _IN_PACK].ids[at : at + 32])


def _indexes(of: Setting) -> Iterator[tuple[str, list[ListedPack], int]]:
    """Yield (name, packs, from how many blobs on they are sorted in): an index below that, and one above."""
    few, many = of.scale.blobs // 5, of.scale.blobs
    recent = few + 2 * _IN_PACK
    yield f"{few:,} blobs, dictionary", _listed(few), recent
    yield f"{many:,} blobs, sorted", _listed(many), recent


def _listed(count: int) -> list[ListedPack]:
    random = Random(count)
    offsets, lengths = array("I", range(0, 1000 * _IN_PACK, 1000)), array("I", [1000] * _IN_PACK)
    return [
        ListedPack(random.randbytes(32), random.randbytes(32 * _IN_PACK), bytes(_IN_PACK), offsets, lengths, lengths)
        for _ in range(count // _IN_PACK)
    ]


def _packs(count: int) -> list[tuple[str, list[PackedBlob]]]:
    return [(pack.id.hex(), pack.blobs()) for pack in _listed(count)]


GROUPS = (trees, times, index_files, loading, lookups)
