"""Sealing and compressing: known answers, and the choices that properties do not see."""

from __future__ import annotations

import os

import pytest

from edurise_backup.errors import DamageError, InputError
from edurise_backup.model.compression import AUTO, Compression, parse_compression
from edurise_backup.model.content import blob_id
from edurise_backup.pipeline.codec import OVERHEAD, MasterKey, compress, compress_if_smaller, decompress, open_blob

KEY = MasterKey.from_bytes(bytes(range(64)))


def test_poly1305_aes_gives_the_tag_of_its_paper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bernstein, "The Poly1305-AES message-authentication code", appendix B, second example (an empty message)."""
    key = MasterKey(
        encrypt=bytes(32),
        mac_k=bytes.fromhex("75deaa25c09f208e1dc4ce6b5cad3fbf"),
        mac_r=bytes.fromhex("a0f3080000f46400d0c7e9076c834403"),
    )
    nonce = bytes.fromhex("61ee09218d29b0aaed7e154a2c5509cc")
    monkeypatch.setattr(os, "urandom", lambda size: nonce[:size])
    sealed = key.seal(b"")
    assert bytes(sealed) == nonce + bytes.fromhex("dd3fab2251f11ac759f0887129cc2ee7")
    assert key.open(sealed) == b""


def test_sealing_adds_its_overhead_and_hides_the_plaintext() -> None:
    sealed = KEY.seal(b"a plain secret" * 10)
    assert len(sealed) == 140 + OVERHEAD
    assert b"secret" not in sealed
    assert KEY.seal(b"x") != KEY.seal(b"x")


def test_another_key_opens_nothing() -> None:
    with pytest.raises(DamageError):
        MasterKey.generate().open(KEY.seal(b"x"))


def test_a_key_never_shows_itself() -> None:
    assert "0x" not in repr(KEY)
    assert repr(KEY) == "MasterKey(…)"
    with pytest.raises(DamageError):
        MasterKey(encrypt=b"short", mac_k=bytes(16), mac_r=bytes(16))


def test_incompressible_data_is_stored_as_it_is_and_text_is_not() -> None:
    assert compress_if_smaller(os.urandom(200_000), AUTO) is None
    assert compress_if_smaller(b"", AUTO) is None
    text = b"lorem ipsum dolor " * 10_000
    frame = compress_if_smaller(text, AUTO)
    assert frame is not None
    assert len(frame) < len(text) / 10
    assert decompress(frame, len(text)) == text


def test_a_random_middle_does_not_hide_the_rest() -> None:
    blob = b"a" * 100_000 + os.urandom(60_000) + b"a" * 100_000
    frame = compress_if_smaller(blob, AUTO)
    assert frame is not None
    assert len(frame) < 70_000


def test_what_the_samples_misjudge_costs_room_and_never_bytes() -> None:
    random = os.urandom(20_000)
    blob = b"a" * 60_000 + random + b"a" * 60_000 + random + b"a" * 60_000 + random + b"a" * 60_000
    frame = compress_if_smaller(blob, AUTO)
    stored = KEY.seal(blob if frame is None else frame)
    raw_length = 0 if frame is None else len(blob)
    assert open_blob(KEY, stored, wanted=blob_id(blob), raw_length=raw_length) == blob


def test_compression_is_said_in_words_or_as_a_level() -> None:
    text, random = b"lorem ipsum dolor " * 10_000, os.urandom(100_000)
    found = {word: compress_if_smaller(text, parse_compression(word)) for word in ("auto", "off", "max", "1", "19")}
    assert found["off"] is None
    assert found["max"] == found["19"]
    assert all(frame is not None and len(frame) < 10_000 for word, frame in found.items() if word != "off")
    assert compress_if_smaller(text + random, Compression(3)) is not None
    for word in ("", "0", "20", "fast", "AUTO", "3\n"):
        with pytest.raises(InputError, match="no compression"):
            parse_compression(word)


def test_a_frame_of_another_length_or_content_is_damage() -> None:
    sealed = KEY.seal(compress(b"content", 3))
    assert open_blob(KEY, sealed, wanted=blob_id(b"content"), raw_length=7) == b"content"
    for raw_length, wanted in ((8, b"content"), (6, b"content"), (7, b"CONTENT")):
        with pytest.raises(DamageError):
            open_blob(KEY, sealed, wanted=blob_id(wanted), raw_length=raw_length)
