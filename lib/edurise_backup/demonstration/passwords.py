"""Password verifiers as PostgreSQL stores them, made here so that the same seed gives the same platform.

Source: RFC 5802 and RFC 7677 (SCRAM-SHA-256). The server draws its salt by
chance; a demonstration that must be reproducible cannot.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from random import Random

_ROUNDS = 4096


def fake_secret(random: Random, label: str) -> str:
    """Return a secret that anybody can tell from a real one."""
    return f"demo-{label}-not-secret-{random.getrandbits(96):024x}"


def scram_verifier(password: str, random: Random) -> str:
    """Return what `ALTER ROLE … PASSWORD` stores as it is; `password` must be ASCII."""
    salt = random.randbytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ROUNDS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    return f"SCRAM-SHA-256${_ROUNDS}:{_text(salt)}${_text(stored_key)}:{_text(server_key)}"


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
