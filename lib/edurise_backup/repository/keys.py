"""Key files: each wraps the master key with one passphrase, through scrypt.

Source: restic's `doc/design.rst`, "Keys, Encryption and MAC".
"""

from __future__ import annotations

import getpass
import os
import secrets
import socket
from dataclasses import dataclass

import msgspec

from edurise_backup.errors import DamageError, UnsupportedVersionError
from edurise_backup.model.content import rfc3339
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.repository import derivation

RECOVERY_USER = derivation.RECOVERY_USER

_ALPHABET = "ABCDEFGHJKMNPQRSTVWXYZ23456789"  # no 0 O, 1 I L, U


class KeyFile(msgspec.Struct, kw_only=True):
    """The JSON of an object in `keys/`."""

    created: str
    username: str = ""
    hostname: str = ""
    kdf: str
    N: int
    r: int
    p: int
    salt: bytes
    data: bytes


class _Mac(msgspec.Struct):
    k: bytes
    r: bytes


class _Wrapped(msgspec.Struct):
    mac: _Mac
    encrypt: bytes


@dataclass(frozen=True, slots=True)
class ScryptCost:
    """scrypt's parameters; memory is 128 · N · r bytes."""

    n: int = 1 << 15
    r: int = 8
    p: int = 3


def wrap(key: MasterKey, passphrase: str, *, cost: ScryptCost, now: int, username: str | None = None) -> bytes:
    """Return a new key file's bytes; `now` in nanoseconds since 1970."""
    salt = os.urandom(64)
    encrypt, mac_k, mac_r = key.parts()
    plain = msgspec.json.encode(_Wrapped(_Mac(mac_k, mac_r), encrypt))
    sealed = _derive(passphrase, salt, cost).seal(plain)
    return msgspec.json.encode(
        KeyFile(
            created=rfc3339(now),
            username=username or user_name(),
            hostname=socket.gethostname(),
            kdf="scrypt",
            N=cost.n,
            r=cost.r,
            p=cost.p,
            salt=salt,
            data=bytes(sealed),
        )
    )


def read_key_file(content: bytes) -> KeyFile:
    """Return the key file; raises DamageError, and UnsupportedVersionError for an unknown derivation."""
    try:
        key_file = msgspec.json.decode(content, type=KeyFile)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise DamageError(f"a key file is not readable: {error}") from error
    if key_file.kdf != "scrypt":
        raise UnsupportedVersionError(f"a key file uses the unknown key derivation {key_file.kdf!r}")
    n, r, p = key_file.N, key_file.r, key_file.p
    if not derivation.possible(n, r, p):
        raise DamageError(f"a key file asks for impossible scrypt parameters (N={n}, r={r}, p={p})")
    return key_file


def unwrap(key_file: KeyFile, passphrase: str) -> MasterKey:
    """Return the master key; raises DamageError when the passphrase does not open this key file."""
    cost = ScryptCost(key_file.N, key_file.r, key_file.p)
    plain = _derive(passphrase, key_file.salt, cost).open(key_file.data)
    try:
        wrapped = msgspec.json.decode(plain, type=_Wrapped)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise DamageError(f"a key file holds no key: {error}") from error
    return MasterKey(encrypt=wrapped.encrypt, mac_k=wrapped.mac.k, mac_r=wrapped.mac.r)


def new_recovery_key() -> str:
    """Return a random passphrase of 157 bits in groups that can be read aloud and typed from paper."""
    return "-".join("".join(secrets.choice(_ALPHABET) for _ in range(4)) for _ in range(8))


def user_name() -> str:
    """Return the login name, or the number of a user that has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _derive(passphrase: str, salt: bytes, cost: ScryptCost) -> MasterKey:
    try:
        return MasterKey.from_bytes(derivation.derive(passphrase, salt, cost.n, cost.r, cost.p))
    except ValueError as error:  # OpenSSL's own limits, such as N < 2^(16 r)
        raise DamageError(f"a key file asks for impossible scrypt parameters: {error}") from error
