"""Compress, encrypt, authenticate, and back; the repository's cryptography as restic defines it.

Source: restic's `doc/design.rst`, "Keys, Encryption and MAC" and "Pack Format".
A sealed message is IV (16) || AES-256-CTR ciphertext || Poly1305-AES tag (16).
The nonce is 16 fresh bytes of the system's generator for every message.
"""

from __future__ import annotations

import hmac
import os
import threading

import zstandard
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from edurise_backup.errors import DamageError
from edurise_backup.model.content import BlobId, blob_id
from edurise_backup.ports import Buffer

OVERHEAD = 32
"""Bytes that sealing adds to a message."""

_SAMPLE = 16 * 1024
_SAMPLE_FROM = 4 * _SAMPLE
_WORTH_IT = 0.97


class MasterKey:
    """The three secrets that seal everything in one repository."""

    __slots__ = ("_encrypt", "_mac_k", "_mac_r")

    def __init__(self, *, encrypt: bytes, mac_k: bytes, mac_r: bytes) -> None:
        if (len(encrypt), len(mac_k), len(mac_r)) != (32, 16, 16):
            raise DamageError("a key has the wrong length")
        self._encrypt = encrypt
        self._mac_k = mac_k
        self._mac_r = mac_r

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

    def seal(self, plaintext: Buffer) -> bytearray:
        """Return the sealed message; a fresh nonce each time."""
        length = len(plaintext)
        nonce = os.urandom(16)
        sealed = bytearray(length + OVERHEAD)
        view = memoryview(sealed)
        view[:16] = nonce
        encryptor = Cipher(algorithms.AES(self._encrypt), modes.CTR(nonce)).encryptor()
        encryptor.update_into(plaintext, view[16:])
        view[16 + length :] = self._tag(nonce, view[16 : 16 + length])
        return sealed

    def open(self, sealed: Buffer) -> bytes:
        """Return the plaintext; raises DamageError when a bit differs from what was sealed."""
        view = memoryview(sealed)
        if len(view) < OVERHEAD:
            raise DamageError(f"a sealed object is cut short ({len(view)} bytes)")
        nonce, ciphertext, tag = bytes(view[:16]), view[16:-16], view[-16:]
        if not hmac.compare_digest(self._tag(nonce, ciphertext), bytes(tag)):
            raise DamageError("a sealed object fails its authentication: its bytes are not those that were written")
        return Cipher(algorithms.AES(self._encrypt), modes.CTR(nonce)).decryptor().update(ciphertext)

    def _tag(self, nonce: bytes, ciphertext: memoryview) -> bytes:
        block = Cipher(algorithms.AES(self._mac_k), modes.ECB()).encryptor()  # noqa: S305  Poly1305-AES: one block
        one_time = self._mac_r + block.update(nonce)  # Poly1305 itself masks r
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


def compress_if_smaller(plaintext: Buffer, level: int) -> bytes | None:
    """Return the compressed plaintext, or None when storing it as it is costs no more.

    Media and other incompressible data is recognised by a sample from its middle.
    """
    length = len(plaintext)
    if length >= _SAMPLE_FROM:
        middle = length // 2
        sample = memoryview(plaintext)[middle : middle + _SAMPLE]
        if len(compress(sample, 1)) > _SAMPLE * _WORTH_IT:
            return None
    frame = compress(plaintext, level)
    return frame if len(frame) < length else None


def open_blob(key: MasterKey, sealed: Buffer, *, wanted: BlobId, raw_length: int) -> bytes:
    """Return a blob's plaintext, proved by its id; `raw_length` is 0 for a blob stored uncompressed."""
    plaintext = key.open(sealed)
    if raw_length:
        plaintext = decompress(plaintext, raw_length)
        if len(plaintext) != raw_length:
            raise DamageError(f"blob {wanted.hex()} has {len(plaintext)} bytes, its pack says {raw_length}")
    if blob_id(plaintext) != wanted:
        raise DamageError(f"blob {wanted.hex()} decodes to other bytes than those that were stored")
    return plaintext
