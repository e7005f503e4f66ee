"""scrypt, which takes a fifth of a second of every command: begun early, it is over when the program has been loaded.

This module needs nothing that takes long to load. Parameters of a foreign key
file are held between a floor (a weakened key) and a ceiling (a memory bomb)
before any memory is spent (SECURITY 6).
"""

from __future__ import annotations

import hashlib
import threading

_FLOOR, _CEILING = 1 << 20, 1 << 30
RECOVERY_USER = "recovery-key"
"""The `username` of the key file that the printed recovery key opens: rarely meant, so it is tried last."""
_LENGTH = 64
"""Bytes: an encryption key and the two halves of a MAC key (restic's `doc/design.rst`)."""

Asked = tuple[str, bytes, int, int, int]
"""Passphrase, salt, N, r, p."""


def possible(n: int, r: int, p: int) -> bool:
    """Whether we spend the memory (128 · N · r bytes) and the time that these parameters ask for."""
    return n >= 2 and not n & (n - 1) and 1 <= p <= 64 and r >= 1 and _FLOOR <= 128 * n * r <= _CEILING


def derive(passphrase: str, salt: bytes, n: int, r: int, p: int) -> bytes:
    """Return 64 bytes of key material, from `begin` when that was asked the same; raises ValueError."""
    asked = (passphrase, salt, n, r, p)
    early = _begun.pop(asked, None)
    return _derived(asked) if early is None else early.result()


def begin(passphrase: str, salt: bytes, n: int, r: int, p: int) -> None:
    """Derive in a thread what `derive` will probably be asked for; it holds no lock of Python's."""
    if possible(n, r, p):
        asked = (passphrase, salt, n, r, p)
        _begun[asked] = _Early(asked)


class _Early:
    def __init__(self, asked: Asked) -> None:
        self._asked = asked
        self._material = b""
        self._thread = threading.Thread(target=self._run, name="derive", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._material = _derived(self._asked)
        except ValueError:
            return  # whoever asks gets the error from a try of his own

    def result(self) -> bytes:
        self._thread.join()
        return self._material or _derived(self._asked)


_begun: dict[Asked, _Early] = {}
"""What was begun and not asked for yet: a process derives a key once, so one is all that there ever is."""


def _derived(asked: Asked) -> bytes:
    passphrase, salt, n, r, p = asked
    limit = 128 * n * r + (32 << 20)
    return hashlib.scrypt(passphrase.encode(), salt=salt, n=n, r=r, p=p, dklen=_LENGTH, maxmem=limit)
