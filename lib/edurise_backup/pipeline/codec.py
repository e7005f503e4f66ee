"""Compress, encrypt, authenticate, and back; the repository's cryptography as restic defines it.

Source: restic's `doc/design.rst`, "Keys, Encryption and MAC" and "Pack Format".
A sealed message is IV (16) || AES-256-CTR ciphertext || Poly1305-AES tag (16).
The nonce is 16 fresh bytes of the system's generator for every message.
"""

from __future__ import annotations

import hmac
import os
import threading
from mmap import PAGESIZE, mmap

import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from edurise_backup.errors import DamageError
from edurise_backup.model.compression import Compression
from edurise_backup.model.content import BlobId, blob_id
from edurise_backup.ports import Buffer

OVERHEAD = 32
"""Bytes that sealing adds to a message."""

_SAMPLE = 8 * 1024
_SAMPLE_FROM = 32 * _SAMPLE
_WORTH_IT = 0.97


class _Ciphers(threading.local):
    """The two ciphers of one key, made once for each thread: making them costs more than sealing a small file."""

    def __init__(self, encrypt: bytes, mac_k: bytes) -> None:
        self.counter = Cipher(algorithms.AES(encrypt), modes.CTR(bytes(16))).encryptor()
        self.block = Cipher(algorithms.AES(mac_k), modes.ECB()).encryptor()  # noqa: S305  Poly1305-AES: one block


class MasterKey:
    """The three secrets that seal everything in one repository."""

    __slots__ = ("_ciphers", "_encrypt", "_mac_k", "_mac_r")

    def __init__(self, *, encrypt: bytes, mac_k: bytes, mac_r: bytes) -> None:
        if (len(encrypt), len(mac_k), len(mac_r)) != (32, 16, 16):
            raise DamageError("a key has the wrong length")
        self._encrypt = encrypt
        self._mac_k = mac_k
        self._mac_r = mac_r
        self._ciphers = _Ciphers(encrypt, mac_k)

    @classmethod
    def generate(cls) -> MasterKey:
        """Return a new random key."""
        return cls(encrypt=os.urandom(32), mac_k=os.urandom(16), mac_r=os.urandom(16))

    @classmethod
    def from_bytes(cls, material: bytes) -> MasterKey:
        """Return the key for 64 bytes: encryption key, then MAC key k and r (as scrypt derives them)."""
        return cls(encrypt=material[:32], mac_k=material[32:48], mac_r=material[48:64])

    def parts(self) -> tuple[bytes, bytes, bytes]:
        """Return (encrypt, mac k, mac r), to be wrapped in a key file."""
        return self._encrypt, self._mac_k, self._mac_r

    def to_bytes(self) -> bytes:
        """Return what `from_bytes` takes, for another process of ours."""
        return self._encrypt + self._mac_k + self._mac_r

    def seal(self, plaintext: Buffer) -> bytearray:
        """Return the sealed message; a fresh nonce each time."""
        sealed = bytearray(len(plaintext) + OVERHEAD)
        self.seal_into(plaintext, memoryview(sealed))
        return sealed

    def seal_into(self, plaintext: Buffer, sealed: memoryview) -> None:
        """Write the sealed message into `sealed`, which is longer than the plaintext by OVERHEAD."""
        nonce = os.urandom(16)
        sealed[:16] = nonce
        counter = self._ciphers.counter
        counter.reset_nonce(nonce)
        counter.update_into(plaintext, sealed[16:])
        sealed[-16:] = self._tag(nonce, sealed[16:-16])

    def open(self, sealed: Buffer) -> bytes:
        """Return the plaintext; raises DamageError when a bit differs from what was sealed."""
        return bytes(self.open_into(sealed, memoryview(bytearray(len(sealed)))))

    def open_into(self, sealed: Buffer, room: memoryview) -> memoryview:
        """Write the plaintext into `room` (at least as long as `sealed`) and return that part of it.

        Raises DamageError when a bit differs from what was sealed; `room` then holds nothing of it.
        """
        view = memoryview(sealed)
        length = len(view) - OVERHEAD
        if length < 0:
            raise DamageError(f"a sealed object is cut short ({len(view)} bytes)")
        nonce, ciphertext = bytes(view[:16]), view[16:-16]
        if not hmac.compare_digest(self._tag(nonce, ciphertext), bytes(view[-16:])):
            raise DamageError("a sealed object fails its authentication: its bytes are not those that were written")
        counter = self._ciphers.counter
        counter.reset_nonce(nonce)
        counter.update_into(ciphertext, room)
        return room[:length]

    def _tag(self, nonce: bytes, ciphertext: memoryview) -> bytes:
        one_time = self._mac_r + self._ciphers.block.update(nonce)  # Poly1305 itself masks r
        return Poly1305.generate_tag(one_time, ciphertext)

    def __repr__(self) -> str:
        return "MasterKey(…)"


class _Zstd(threading.local):
    """One compressor and decompressor for each thread: zstd contexts must not be shared."""

    def __init__(self) -> None:
        self.compressors: dict[int, zstandard.ZstdCompressor] = {}
        self.decompressor = zstandard.ZstdDecompressor()


_zstd = _Zstd()


def compress(plaintext: Buffer, level: int) -> bytes:
    """Return one zstd frame that carries its content size."""
    compressor = _zstd.compressors.get(level)
    if compressor is None:
        compressor = _zstd.compressors[level] = zstandard.ZstdCompressor(level=level)
    return compressor.compress(plaintext)


def decompress(frame: Buffer, limit: int) -> bytes:
    """Return a frame's content; raises DamageError when it is not a frame, or holds more than `limit` bytes."""
    try:
        declared = zstandard.frame_content_size(frame)
        if declared > limit:
            raise DamageError(f"a compressed object claims {declared} bytes, at most {limit} are possible")
        if declared >= 0:
            return _zstd.decompressor.decompress(frame, max_output_size=limit)
        with _zstd.decompressor.stream_reader(frame) as reader:  # a frame that does not say how long it gets
            content = reader.read(limit + 1)
    except zstandard.ZstdError as error:
        raise DamageError(f"a compressed object cannot be decompressed: {error}") from error
    if len(content) > limit:
        raise DamageError(f"a compressed object holds more than the {limit} bytes that are possible")
    return content


def compress_if_smaller(plaintext: Buffer, compression: Compression) -> bytes | None:
    """Return the compressed plaintext, or None when storing it as it is costs no more, or is wanted.

    Media and other incompressible data is recognised by samples from three places.
    """
    length, level = len(plaintext), compression.level
    if level is None:
        return None
    if compression.sampled and length >= _SAMPLE_FROM:
        view, quarter = memoryview(plaintext), length // 4
        sample = b"".join([view[at : at + _SAMPLE] for at in (quarter, 2 * quarter, 3 * quarter)])
        if len(compress(sample, 1)) > len(sample) * _WORTH_IT:
            return None
    frame = compress(plaintext, level)
    return frame if len(frame) < length else None


class Scratch:
    """Two buffers in which one thread opens blob after blob: fresh memory for each would cost more than opening it."""

    def __init__(self) -> None:
        self._opened = _room(1 << 16)
        self._plain = _room(1 << 16)

    def open_blob(
        self, key: MasterKey, sealed: Buffer, *, wanted: BlobId, raw_length: int, goes_to: int = 0
    ) -> memoryview:
        """Return a blob's plaintext, proved by its id, until the next call; raises DamageError.

        `raw_length` is 0 for a blob that is stored uncompressed. The plaintext
        begins as many bytes into a page as the file offset `goes_to`, so that it
        can be written directly.
        """
        shift = goes_to % PAGESIZE
        if len(self._opened) < len(sealed) + shift:
            self._opened = _room(len(sealed) + PAGESIZE)
        plaintext = key.open_into(sealed, self._opened[shift:])
        if raw_length:
            if len(self._plain) < raw_length + shift:
                _refuse_bomb(plaintext, raw_length)
                self._plain = _room(raw_length + PAGESIZE)
            plaintext = _decompress_into(plaintext, self._plain[shift : shift + raw_length], wanted)
        if blob_id(plaintext) != wanted:
            raise DamageError(f"blob {wanted.hex()} decodes to other bytes than those that were stored")
        return plaintext


def _room(size: int) -> memoryview:
    return memoryview(mmap(-1, size))  # begins with a page, and takes memory only where it is filled


class _Scratches(threading.local):
    def __init__(self) -> None:
        self.own = Scratch()


_scratches = _Scratches()


def open_blob(key: MasterKey, sealed: Buffer, *, wanted: BlobId, raw_length: int) -> bytes:
    """Return a blob's plaintext, proved by its id; `raw_length` is 0 for a blob stored uncompressed."""
    return bytes(opened_blob(key, sealed, wanted=wanted, raw_length=raw_length))


def opened_blob(key: MasterKey, sealed: Buffer, *, wanted: BlobId, raw_length: int) -> memoryview:
    """Return the same in this thread's own buffer, whose content lasts until its next call of these two."""
    return _scratches.own.open_blob(key, sealed, wanted=wanted, raw_length=raw_length)


def _refuse_bomb(frame: memoryview, raw_length: int) -> None:
    """Raise DamageError for a frame that cannot hold `raw_length` bytes, before that much memory is taken.

    zstd shrinks a run of equal bytes to a few bytes for each block of 128 KiB (RFC 8878, 3.1.1.2.3).
    """
    if raw_length > (len(frame) + 1) << 17:
        raise DamageError(f"a compressed object of {len(frame)} bytes claims {raw_length}, which cannot be")


def _decompress_into(frame: memoryview, room: memoryview, wanted: BlobId) -> memoryview:
    """Fill `room` with a frame's content; raises DamageError unless it fits exactly."""
    try:
        with _zstd.decompressor.stream_reader(frame) as reader:
            filled = reader.readinto(room)
            while filled < len(room) and (more := reader.readinto(room[filled:])):
                filled += more
            over = reader.read(1)
    except zstandard.ZstdError as error:
        raise DamageError(f"a compressed object cannot be decompressed: {error}") from error
    if filled != len(room) or over:
        held = f"more than {filled}" if over else str(filled)
        raise DamageError(f"blob {wanted.hex()} has {held} bytes, its pack says {len(room)}")
    return room
