"""Bytes near the real ones, by the hundred thousand (`make nightly`): a parser answers, or calls them damage.

`EDURISE_FUZZ` is the number of inputs for each parser; a difference to the property tests is the number only.
"""

from __future__ import annotations

import os
import random
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.errors import BackupError, DamageError, UnsupportedVersionError
from edurise_backup.model.content import BlobId, BlobKind, Node, decode_tree, encode_tree
from edurise_backup.model.snapshot import Snapshot, SnapshotId, decode_snapshot, encode_snapshot
from edurise_backup.pipeline.codec import MasterKey, compress, decompress
from edurise_backup.repository.condemned import condemn, read_condemned
from edurise_backup.repository.forgetting import forget, read_forgotten
from edurise_backup.repository.index_files import decode_index, encode_index
from edurise_backup.repository.keys import read_key_file, wrap
from edurise_backup.repository.layout import NOTES, Kind, object_name
from edurise_backup.repository.locks import read_locks
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import PackedBlob, decode_header, encode_header, read_header
from edurise_backup.verification.coverage import CoverageKeeper, load_coverage
from tests.support.engine import QUICK, create, publish_tree
from tests.support.stores import MemoryStore

INPUTS = int(os.environ.get("EDURISE_FUZZ", "1500"))
NOW = datetime(2026, 1, 1, tzinfo=UTC)
TIME = "2024-01-01T00:00:00Z"
FILE = Node(
    name="a\\xff", type="file", mtime=TIME, atime=TIME, ctime=TIME, uid=0, gid=0, size=3, links=1, content=["ab" * 32]
)
FOLDER = Node(name="b", type="dir", mtime=TIME, atime=TIME, ctime=TIME, uid=0, gid=0, subtree="cd" * 32, content=None)
LINK = Node(name="c", type="symlink", mtime=TIME, atime=TIME, ctime=TIME, uid=0, gid=0, linktarget="x", content=None)
BLOBS = [PackedBlob(BlobKind.DATA, BlobId(bytes([n]) * 32), n * 100, 100, 150 * (n % 2)) for n in range(5)]
KEY = MasterKey.generate()
WORDS = [
    b"-1",
    b"1e400",
    b"null",
    b'"',
    b"\\u",
    b"\\ud800",
    b"\\U",
    b"[",
    b"{",
    b"}",
    b"\xff",
    b"\0",
    b"9" * 30,
    b"true",
]
Parse = Callable[[bytes], object]


def near(rng: random.Random, original: bytes) -> bytes:
    """Return bytes that differ from the original in a few places, or in length."""
    content = bytearray(original)
    for _ in range(rng.randrange(1, 5)):
        at = rng.randrange(len(content) + 1)
        end = min(len(content), at + rng.choice((0, 1, 1, 2, 8, 64)))
        match rng.randrange(5):
            case 0:
                content[at:end] = rng.choice(WORDS)
            case 1:
                content[at:end] = rng.randbytes(end - at)
            case 2:
                del content[at:end]
            case 3:
                content[at:at] = content[at:end]
            case _:
                if at < len(content):
                    content[at] ^= 1 << rng.randrange(8)
    return bytes(content) if rng.randrange(50) else rng.randbytes(rng.randrange(200))


def pack() -> bytes:
    """Return a pack's bytes, whose header can be opened."""
    header = KEY.seal(encode_header(BLOBS))
    return bytes(500) + bytes(header) + len(header).to_bytes(4, "little")


def sealed_object(kind: Kind) -> Callable[[bytes], object]:
    """Return a reader of one object of a kind, given its plaintext."""
    box = ObjectBox(MemoryStore(), KEY, version=2)

    def read(plaintext: bytes) -> object:
        name = object_name(kind, box.save(kind, plaintext))
        try:
            return read_locks(box)
        finally:
            box.store.delete(name)

    return read


LOCK = b'{"time":"2024-01-01T00:00:00Z","exclusive":true,"hostname":"h","username":"u","pid":17,"uid":0,"gid":0}'


def note(
    read: Callable[[ObjectBox], object], make: Callable[[ObjectBox], None]
) -> tuple[bytes, Callable[[bytes], object]]:
    """Return a note's plaintext and a reader of notes like it, under the same name."""
    repository = create()
    publish_tree(repository, [])
    make(repository.box)
    (name,) = [found for found, _ in repository.store.list(NOTES)]
    short = name.removeprefix(f"{NOTES}/")
    plaintext = repository.box.load_note(short)

    def parse(content: bytes) -> object:
        repository.store.delete(name)
        repository.box.save_note(short, content)
        return read(repository.box)

    return plaintext, parse


def forgotten(box: ObjectBox) -> None:
    """Forget the only snapshot."""
    forget(box, SnapshotId(box.ids(Kind.SNAPSHOT)[0]), now=NOW, grace=timedelta(days=1))


def covered(box: ObjectBox) -> None:
    """Note a pack as proved."""
    keeper = CoverageKeeper(box, load_coverage(box), now=lambda: NOW)
    keeper.passed("ab" * 32)
    keeper.close(["ab" * 32])


def told(problems: list[str]) -> None:
    """Raise what a tolerant reader only tells."""
    if problems:
        raise DamageError(problems[0])


PARSERS: dict[str, Callable[[], tuple[bytes, Parse]]] = {
    "pack header": lambda: (encode_header(BLOBS), decode_header),
    "pack": lambda: (pack(), lambda content: read_header(content, KEY)),
    "index": lambda: (encode_index([("ab" * 32, BLOBS), ("cd" * 32, BLOBS[:1])]), lambda c: list(decode_index(c))),
    "tree": lambda: (encode_tree([FILE, FOLDER, LINK]), decode_tree),
    "snapshot": lambda: (
        encode_snapshot(Snapshot(time=TIME, tree="ab" * 32, paths=["/a"], tags=["x"])),
        decode_snapshot,
    ),
    "key": lambda: (wrap(KEY, "passphrase", cost=QUICK, now=0), read_key_file),
    "lock": lambda: (LOCK, sealed_object(Kind.LOCK)),
    "compressed blob": lambda: (compress(b"lorem ipsum " * 50, 3), lambda content: decompress(content, 1000)),
    "sealed message": lambda: (bytes(KEY.seal(b"content" * 20)), KEY.open),
    "forgotten snapshot": lambda: note(read_forgotten, forgotten),
    "condemned packs": lambda: note(
        lambda box: told(read_condemned(box).unreadable), lambda box: condemn(box, ["ab" * 32], now=NOW)
    ),
    "coverage": lambda: note(lambda box: told(load_coverage(box).damage), covered),
}


@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.timeout(3600)
def test_a_parser_answers_or_calls_its_input_damage(parser: str) -> None:
    original, parse = PARSERS[parser]()
    parse(original)  # what is mutated is right
    rng = random.Random(f"{parser} {INPUTS}")
    refused = 0
    tracemalloc.start()
    try:
        for number in range(INPUTS):
            content = near(rng, original)
            try:
                parse(content)
            except (DamageError, UnsupportedVersionError):
                refused += 1
            except BackupError as error:
                raise AssertionError(f"input {number} gives {error!r}: {content!r}") from error
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert refused, "nothing was refused, so nothing was tested"
    assert peak < 256 << 20
