"""Local accounts: names, passwords and lock-outs; pure.

A password is kept as scrypt of it, with a salt of its own and the costs that
were used, so that they can grow (RFC 7914; OWASP's password storage advice).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from edurise_backup.errors import DamageError, InputError
from edurise_backup.model.database import Secret
from edurise_backup.model.people import Actor, Role, Via

SHORTEST = 12
LONGEST = 256
"""Characters of a password."""
TRIES = 5
"""Failed attempts before an account is locked for a while."""
FIRST_LOCK = timedelta(minutes=1)
LONGEST_LOCK = timedelta(hours=1)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}\Z")
_SCHEME = "scrypt"
_MOST_MEMORY = 256 * 1024**2
"""Bytes: a stored record that asks for more was not written by us."""


@dataclass(frozen=True, slots=True)
class PasswordCost:
    """What one attempt costs: 128 · n · r bytes, and time in proportion to n · r · p."""

    n: int = 1 << 15
    r: int = 8
    p: int = 1


@dataclass(frozen=True, slots=True)
class Account:
    """A row of `accounts`, without what proves the password."""

    id: UUID
    name: str
    roles: frozenset[Role]
    created_at: datetime
    created_by: str
    disabled_at: datetime | None
    must_change: bool
    """The password was given by somebody else: nothing may be done before a new one is chosen."""
    failures: int
    """Attempts since the last good one."""
    locked_until: datetime | None
    last_sign_in_at: datetime | None

    @property
    def enabled(self) -> bool:
        """Whether the person may sign in at all."""
        return self.disabled_at is None

    def actor(self, via: Via) -> Actor:
        """Return who acts, once the password was proved."""
        return Actor(self.name, via, self.roles)


def checked_name(name: str) -> str:
    """Return the account's name; raises InputError for one that could be mistaken for another."""
    if not _NAME.match(name):
        raise InputError(
            f"{name!r} cannot be an account's name",
            safe="nothing was changed",
            hint="1 to 64 letters, digits, and . _ @ + - inside, for instance alice or alice@school.org",
        )
    return name


def folded(name: str) -> str:
    """Return the name as names are compared."""
    return name.casefold()


def check_new_password(password: Secret, name: str) -> None:
    """Raise InputError for a password that is too short, too long, or the name."""
    text = password.reveal()
    problem = ""
    if len(text) < SHORTEST:
        problem = f"has fewer than {SHORTEST} characters"
    elif len(text) > LONGEST:
        problem = f"has more than {LONGEST} characters"
    elif len(set(text)) < 5:
        problem = "repeats the same few characters"
    elif folded(name) in folded(text) and len(text) - len(name) < SHORTEST // 2:
        problem = "is little more than the account's name"
    if problem:
        raise InputError(
            f"the password {problem}",
            safe="nothing was changed",
            hint="take several words, or what a password store makes",
        )


def password_record(password: Secret, *, salt: bytes, cost: PasswordCost) -> str:
    """Return what is kept of a password."""
    digest = _derive(password, salt, cost)
    return "$".join(
        (_SCHEME, str(cost.n), str(cost.r), str(cost.p), b64encode(salt).decode(), b64encode(digest).decode())
    )


def proves(password: Secret, record: str) -> bool:
    """Whether it is the password of the record; raises DamageError for a record that is none."""
    try:
        scheme, n, r, p, salt, digest = record.split("$")
        cost = PasswordCost(int(n), int(r), int(p))
        if scheme != _SCHEME or 128 * cost.n * cost.r > _MOST_MEMORY:
            raise ValueError(scheme)
        return hmac.compare_digest(_derive(password, b64decode(salt, validate=True), cost), b64decode(digest))
    except ValueError as error:
        raise DamageError(
            "what the catalog keeps of a password is not readable",
            safe="nobody was let in",
            hint="`edurise-backup user reset-password NAME` writes it anew",
        ) from error


def lock_after(failures: int, now: datetime) -> datetime | None:
    """Return until when an account is locked after so many failed attempts: each further one doubles the delay."""
    if failures < TRIES:
        return None
    delay: timedelta = FIRST_LOCK * 2 ** min(failures - TRIES, 16)
    return now + min(delay, LONGEST_LOCK)


def _derive(password: Secret, salt: bytes, cost: PasswordCost) -> bytes:
    return hashlib.scrypt(
        password.reveal().encode("utf-8", "surrogatepass"),
        salt=salt,
        n=cost.n,
        r=cost.r,
        p=cost.p,
        maxmem=_MOST_MEMORY + 1024**2,
        dklen=32,
    )
