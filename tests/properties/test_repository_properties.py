"""Packs, index, keys, locks and sealing: any bytes are read right or refused."""

from __future__ import annotations

import hashlib
from random import Random

import msgspec
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edurise_backup.errors import BackupError, DamageError
from edurise_backup.model.compression import Compression
from edurise_backup.model.content import BlobId, BlobKind, blob_id
from edurise_backup.pipeline.chunker import ChunkSizes
from edurise_backup.pipeline.codec import MasterKey, compress, compress_if_smaller, decompress, open_blob
from edurise_backup.repository.index import RECENT, Index
from edurise_backup.repository.index_files import decode_index, encode_index
from edurise_backup.repository.keys import read_key_file, unwrap, wrap
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.locks import LockFile, read_locks
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import OpenPack, PackedBlob, decode_header, encode_header, pack_size, read_header
from tests.properties.test_content_properties import mutated
from tests.support import streams
from tests.support.engine import QUICK
from tests.support.stores import MemoryStore

KEY = MasterKey.from_bytes(bytes(range(64)))
BLOBS = st.binary(max_size=300)
KINDS = st.sampled_from(list(BlobKind))
ID_BYTES = st.binary(min_size=32, max_size=32).map(BlobId)
KEY_FILE = wrap(KEY, "passphrase", cost=QUICK, now=0)


@given(BLOBS)
def test_opening_undoes_sealing(plaintext: bytes) -> None:
    assert KEY.open(KEY.seal(plaintext)) == plaintext


@given(BLOBS, st.data())
def test_a_sealed_message_with_any_bit_changed_is_refused(plaintext: bytes, data: st.DataObject) -> None:
    sealed = KEY.seal(plaintext)
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DamageError):
        KEY.open(sealed)


@given(st.binary(max_size=100))
def test_bytes_that_nobody_sealed_are_refused(content: bytes) -> None:
    with pytest.raises(DamageError):
        KEY.open(content)


@given(BLOBS, st.integers(1, 700), st.integers(1, 9))
def test_a_blob_survives_compression_and_sealing(piece: bytes, times: int, level: int) -> None:
    plaintext = piece * times  # beyond 64 KiB a sample decides whether it is compressed
    frame = compress_if_smaller(plaintext, Compression(level, sampled=True))
    sealed = KEY.seal(plaintext if frame is None else frame)
    raw_length = 0 if frame is None else len(plaintext)
    assert open_blob(KEY, sealed, wanted=blob_id(plaintext), raw_length=raw_length) == plaintext


@settings(max_examples=300)
@given(st.binary(max_size=100) | mutated(zstandard.ZstdCompressor().compress(b"a plain text, " * 20)))
def test_bytes_that_are_no_frame_are_damage_and_a_frame_never_exceeds_its_limit(content: bytes) -> None:
    try:
        assert len(decompress(content, 1000)) <= 1000
    except DamageError:
        return


def test_a_small_frame_that_would_fill_the_memory_is_refused() -> None:
    bomb = compress(bytes(50_000_000), 3)
    assert len(bomb) < 10_000
    with pytest.raises(DamageError):
        decompress(bomb, 1_000_000)
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50_000_000))
    with pytest.raises(DamageError):
        decompress(silent, 1_000_000)


# Packs


@given(st.lists(st.tuples(BLOBS, st.booleans()), min_size=1, max_size=10), KINDS)
def test_a_packs_header_says_where_its_blobs_lie(blobs: list[tuple[bytes, bool]], kind: BlobKind) -> None:
    pack = OpenPack(kind, memoryview(bytearray(1 << 16)))
    for plaintext, compressed in blobs:
        sealed = KEY.seal(plaintext)
        pack.reserve(blob_id(plaintext), len(sealed), len(plaintext) if compressed else 0)[:] = sealed
    pack_id, pieces = pack.seal(KEY)
    content = b"".join(bytes(piece) for piece in pieces)
    assert hashlib.sha256(content).hexdigest() == pack_id
    found = read_header(content, KEY)
    assert found == pack.blobs
    for blob, (plaintext, _) in zip(found, blobs, strict=True):
        assert KEY.open(content[blob.offset : blob.offset + blob.length]) == plaintext


HEADER = encode_header([PackedBlob(BlobKind.TREE, BlobId(b"i" * 32), 0, 99, 120)])


@settings(max_examples=300)
@given(st.binary(max_size=200) | mutated(HEADER))
def test_bytes_that_are_no_header_are_damage(content: bytes) -> None:
    try:
        assert encode_header(decode_header(content)) in (content, _with_plain_entries(content))
    except DamageError:
        return


def _with_plain_entries(content: bytes) -> bytes:
    """A compressed entry of plain length 0 means the same as an uncompressed one."""
    return encode_header(decode_header(content))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_pack_are_damage(content: bytes) -> None:
    with pytest.raises(DamageError):
        read_header(content, KEY)


# Index

PLACES = st.builds(
    PackedBlob,
    KINDS,
    st.integers(0, 20).map(lambda number: BlobId(bytes([number]) * 32)),
    st.integers(0, 2**32 - 1),
    st.integers(32, 2**32 - 1),
    st.integers(0, 2**32 - 1),
)
PACKS = st.lists(
    st.tuples(ID_BYTES.map(bytes.hex), st.lists(PLACES, max_size=5)), max_size=8, unique_by=lambda pack: pack[0]
)


@given(PACKS)
def test_decoding_undoes_encoding_an_index(packs: list[tuple[str, list[PackedBlob]]]) -> None:
    assert list(decode_index(encode_index(packs))) == packs


@given(PACKS, st.sampled_from([1, 3, RECENT]))
def test_the_index_behaves_like_a_dictionary_of_lists(packs: list[tuple[str, list[PackedBlob]]], recent: int) -> None:
    """S-04: in a dictionary, sorted in, and partly each."""
    index = Index(recent=recent)
    model: dict[tuple[BlobKind, BlobId], list[tuple[str, PackedBlob]]] = {}
    for pack, blobs in packs:
        index.add_pack(pack, blobs)
        index.add_pack(pack, blobs)  # listed by two index files
        for blob in blobs:
            model.setdefault((blob.kind, blob.id), []).append((pack, blob))
    assert len(index) == sum(map(len, model.values()))
    assert {(kind, blob) for kind in BlobKind for blob in index.blobs(kind)} == model.keys()
    assert {(kind, blob) for kind, blob, _ in index.copies()} == {key for key, found in model.items() if len(found) > 1}
    for number, (pack, _) in enumerate(packs):
        assert [index.blob(at) for at in index.blob_range(number)] == packs[number][1]
        assert {index.packs[index.pack_of(at)] for at in index.blob_range(number)} <= {pack}
        assert (index.pack_number(bytes.fromhex(pack)), index.pack_id(number)) == (number, pack)
        blobs = [index.blob(at) for at in index.blob_range(number)]
        assert list(index.lengths(index.blob_range(number))) == [blob.length for blob in blobs]
        assert list(index.kinds(index.blob_range(number))) == [blob.kind for blob in blobs]
        assert index.pack_size(number) == pack_size(blobs)
    assert index.pack_count == len(packs)
    for kind in BlobKind:
        for number in range(21):
            wanted = BlobId(bytes([number]) * 32)
            expected = model.get((kind, wanted), [])
            found = index.all_places(kind, wanted)
            assert ((kind, wanted) in index) == bool(expected)
            assert {(p.pack, p.offset, p.length, p.raw_length) for p in found} == {
                (pack, b.offset, b.length, b.raw_length) for pack, b in expected
            }
            assert index.find(kind, wanted) == (found[0] if found else None)


INDEX = encode_index([("ab" * 32, [PackedBlob(BlobKind.DATA, BlobId(b"i" * 32), 0, 99, 120)])])


@settings(max_examples=500)
@given(st.binary(max_size=200) | mutated(INDEX))
@example(INDEX.replace(b'"offset":0', b'"offset":-1'))
@example(INDEX.replace(b'"length":99', b'"length":4294967296'))
@example(INDEX.replace(b"ab" * 32, b"ab"))
@example(INDEX.replace(b"69" * 32, b"69"))
@example(INDEX.replace(b"ab" * 32, b"../" * 21 + b"a"))
def test_bytes_that_are_no_index_are_damage(content: bytes) -> None:
    try:
        packs = list(decode_index(content))
    except DamageError:
        return
    for pack, blobs in packs:
        assert len(pack) == 64
        assert all(len(blob.id) == 32 and 0 <= blob.offset < 2**32 and 0 < blob.length < 2**32 for blob in blobs)


# Keys and locks


@settings(max_examples=300)
@given(st.binary(max_size=100) | mutated(KEY_FILE))
@example(KEY_FILE.replace(b'"N":1024', b'"N":1073741824'))
@example(KEY_FILE.replace(b'"N":1024,"r":8', b'"N":1048576,"r":1'))
@example(KEY_FILE.replace(b'"N":1024', b'"N":2'))
@example(KEY_FILE.replace(b'"p":1', b'"p":1000000'))
def test_bytes_that_are_no_key_file_open_nothing(content: bytes) -> None:
    try:
        key_file = read_key_file(content)
        if 128 * key_file.N * key_file.r * key_file.p <= 64 << 20:
            unwrap(key_file, "passphrase")
    except BackupError:
        return


@settings(max_examples=200)
@given(
    st.binary(max_size=100)
    | mutated(msgspec.json.encode(LockFile(time="2024-01-01T00:00:00Z", exclusive=True, hostname="h", pid=1)))
)
def test_bytes_that_are_no_lock_are_damage(content: bytes) -> None:
    box = ObjectBox(MemoryStore(), KEY, version=1)
    try:
        sealed = KEY.seal(content)
        box.store.put(object_name(Kind.LOCK, hashlib.sha256(sealed).hexdigest()), [sealed])
        read_locks(box)
    except DamageError:
        return


# Chunks

SIZES = ChunkSizes(minimum=256, average=1024, maximum=4096)


def cut(content: bytes, *, window: int, step: int) -> list[bytes]:
    return list(streams.cut(streams.Bytes(content, step=step), SIZES, window=window))


@given(
    st.integers(0, 40_000).flatmap(lambda size: st.randoms(use_true_random=False).map(lambda r: r.randbytes(size))),
    st.integers(4096, 50_000),
    st.integers(1, 9000),
)
def test_chunks_join_to_the_stream_and_do_not_depend_on_how_it_is_read(content: bytes, window: int, step: int) -> None:
    found = cut(content, window=window, step=max(step, len(content) // 200 + 1))
    assert b"".join(found) == content
    assert found == cut(content, window=1_000_000, step=1_000_000)
    assert all(SIZES.minimum <= len(chunk) <= SIZES.maximum for chunk in found[:-1])
    assert all(len(chunk) <= SIZES.maximum for chunk in found)


@given(
    st.randoms(use_true_random=False),
    st.lists(st.integers(1, 60_000), min_size=1, max_size=6),
    st.integers(4096, 50_000),
)
@settings(max_examples=60)
def test_a_hole_is_cut_as_its_zeros_would_be_and_is_not_read(random: Random, lengths: list[int], window: int) -> None:
    content, holes = b"", []
    for number, length in enumerate(lengths):
        if number % 2:
            holes.append((len(content), len(content) + length))
        content += bytes(length) if number % 2 else random.randbytes(length)
    sparse = streams.Bytes(content, holes=holes)
    assert list(streams.cut(sparse, SIZES, window=window)) == cut(content, window=window, step=1 << 20)
    units = sum((end - start - SIZES.maximum) // SIZES.maximum for start, end in holes if end - start > SIZES.maximum)
    assert sparse.read <= len(content) + len(holes) * window - units * SIZES.maximum


@given(st.randoms(use_true_random=False), st.integers(0, 60_000))
@settings(max_examples=30)
def test_an_insertion_leaves_most_chunks_as_they_were(random: object, at: int) -> None:
    content = Random(at).randbytes(60_000)
    before = set(cut(content, window=100_000, step=100_000))
    after = set(cut(content[:at] + b"inserted" + content[at:], window=100_000, step=100_000))
    assert len(before - after) <= 12
