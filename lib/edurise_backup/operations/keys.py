"""The repository's passphrases as the product keeps them: each change is proved, and is in the audit trail.

A key file wraps the one master key for one passphrase. Taking a key away ends a
passphrase; whoever has copied the master key keeps it (copy into a new
repository then). Nothing here returns, prints or records a passphrase, but for
a new recovery key, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from edurise_backup.catalog.repository_keys import SeenKey, note_seen_keys
from edurise_backup.config import Settings, s3_access
from edurise_backup.errors import (
    BackupError,
    ConflictError,
    InputError,
    NotFoundError,
    ProofError,
    WrongPassphraseError,
)
from edurise_backup.model.audit import Outcome
from edurise_backup.model.content import nanoseconds
from edurise_backup.model.database import Secret
from edurise_backup.model.people import Actor, Permission
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.configured import opened_repository, repository_place
from edurise_backup.operations.guarding import authorise_key_removal
from edurise_backup.operations.opening import open_repository
from edurise_backup.operations.primary import accept_primary
from edurise_backup.operations.safekeeping import DRILL
from edurise_backup.operations.secrets import known
from edurise_backup.repository.keys import RECOVERY_USER, KeyFile, new_recovery_key
from edurise_backup.repository.repository import Repository

SHORTEST = 8
"""Characters of a new passphrase: less is guessed from a stolen key file in no time."""
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,100}\Z")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Key:
    """A key file, as it is listed: never what opens it."""

    id: str
    name: str
    """Who made it (the `username` of the format), or what `--name` said; `recovery-key` is the printed one."""
    host: str
    created_at: datetime | None
    """None when the key file does not say, or cannot be read."""
    age: timedelta | None
    current: bool
    """Whether the configured passphrase opens it."""
    trouble: str = ""
    """Why it cannot be read; such a key opens nothing."""

    @property
    def recovery(self) -> bool:
        """Whether the printed recovery key opens it."""
        return self.name == RECOVERY_USER


@dataclass(frozen=True, slots=True)
class KeyRemoval:
    """What is asked for when a key is to go: what a second person would agree to."""

    repository_id: str
    key_id: str
    name: str
    current: bool
    left: int
    """How many keys open the repository afterwards."""


@dataclass(frozen=True, slots=True)
class Drill:
    """A recovery key that was tried, and what it opened."""

    key_id: str
    at: datetime
    snapshots: int
    newest: datetime | None
    """The newest snapshot, whose first tree was read with this key."""


def list_keys(settings: Settings, *, now: datetime | None = None) -> list[Key]:
    """Return the keys, the oldest first; needs no catalog."""
    return _listed(opened_repository(settings), now or datetime.now(UTC))


def note_keys(catalog: Catalog, repository: Repository) -> None:
    """Write into the catalog which keys there are now, for pages; never what opens them."""
    now = catalog.clock()
    note_seen_keys(
        catalog.sessions,
        [
            SeenKey(key.id, key.name, key.host, key.created_at, key.current, key.trouble, now)
            for key in _listed(repository, now)
        ],
    )


def add_key(settings: Settings, new: Secret, *, actor: Actor, name: str = "") -> Key:
    """Let one more passphrase open the repository, and prove that it does before that is said.

    Raises ForbiddenError; InputError for a passphrase that is too short or opens
    a key already; ProofError when it does not open, and then it is taken away again.
    """
    actor.require(Permission.ADMINISTER)
    if (name and not _NAME.match(name)) or name == RECOVERY_USER:
        raise InputError(
            f"{name!r} is no name for a key",
            safe="nothing was changed",
            hint="use 1 to 100 printable characters; `recovery-key` is what --recovery makes",
        )
    refuse_weak(new)
    repository = opened_repository(settings)
    if opened := key_opened_by(repository, new):
        raise ConflictError(
            f"this passphrase opens the key {opened[:8]} already", safe="nothing was changed", hint="choose another one"
        )
    with open_catalog(settings) as catalog, recorded(catalog, actor, "key.add") as told:
        accept_primary(settings, catalog, repository)
        key_id = add_proved(repository, new, name=name or None)
        told |= {"subject": key_id, "name": name}
        note_keys(catalog, repository)
    return _one(repository, key_id)


def add_recovery_key(settings: Settings, *, actor: Actor) -> tuple[Key, str]:
    """Make one more recovery key, prove it, and return it with its text, which is stored nowhere."""
    actor.require(Permission.ADMINISTER)
    repository = opened_repository(settings)
    text = new_recovery_key()
    with open_catalog(settings) as catalog, recorded(catalog, actor, "key.add") as told:
        accept_primary(settings, catalog, repository)
        key_id = add_proved(repository, Secret(text), name=RECOVERY_USER)
        told |= {"subject": key_id, "name": RECOVERY_USER}
        note_keys(catalog, repository)
    return _one(repository, key_id), text


def remove_key(settings: Settings, word: str, *, actor: Actor, current: bool = False) -> KeyRemoval:
    """Take the key away whose id begins so; `current`: also when the configured passphrase opens it.

    Raises ForbiddenError, NotFoundError, and ConflictError for the last key that can be read.
    """
    repository = opened_repository(settings)
    plan = plan_removal(repository, word)
    told = {"name": plan.name, "left": plan.left}
    with open_catalog(settings) as catalog, recorded(catalog, actor, "key.remove", plan.key_id, told):
        accept_primary(settings, catalog, repository)
        actor.require(Permission.ADMINISTER)
        refuse_removal(plan, current=current)
        authorise_key_removal(catalog, settings, actor, repository, plan.key_id)
        # what cannot be recorded is not done: this row is there before the key goes
        catalog.audit.add(actor, "key.remove", plan.key_id, detail={"name": plan.name, "step": "begins"})
        repository.remove_key(plan.key_id, in_use=current)
        note_keys(catalog, repository)
    return plan


def plan_removal(repository: Repository, word: str) -> KeyRemoval:
    """Return what removing a key means; raises NotFoundError."""
    listed = _listed(repository, datetime.now(UTC))
    wanted = repository.find_key(word)
    key = next(key for key in listed if key.id == wanted)
    left = sum(1 for other in listed if other.id != wanted and not other.trouble)
    return KeyRemoval(repository.config.id, wanted, key.name, key.current, left)


def refuse_removal(plan: KeyRemoval, *, current: bool) -> None:
    """Raise ConflictError for a key without which nobody, or not this configuration, would get in."""
    if plan.left < 1:
        raise ConflictError(
            "this is the last key that opens the repository",
            safe="nothing was changed",
            hint="add another one first: `edurise-backup key add`",
        )
    if plan.current and not current:
        raise ConflictError(
            "the configured passphrase opens this key: without it the next backup would fail",
            safe="nothing was changed",
            hint="use `edurise-backup key rotate`, or say --current when another passphrase is ready",
        )


def drill_recovery_key(settings: Settings, typed: Secret, *, actor: Actor) -> Drill:
    """Open the repository with the printed recovery key alone, read something, and record the date.

    Raises WrongPassphraseError, and InputError for a passphrase that is no recovery
    key; both are recorded as refused.
    """
    key = known(as_printed(typed.reveal()))
    with open_catalog(settings) as catalog, recorded(catalog, actor, DRILL) as told:
        try:
            repository = open_repository(
                repository_place(settings), key.reveal(), access=s3_access(settings.repository)
            )
        except WrongPassphraseError as error:
            error.hint = "compare it with the printed one, group by group: is it of this repository? `key list` has all"
            raise
        told["subject"] = repository.key_id
        if repository.key_file(repository.key_id).username != RECOVERY_USER:
            raise InputError(
                f"this passphrase opens the key {repository.key_id[:8]}, which is not a recovery key",
                safe="nothing was changed, and the drill does not count",
                hint="type the key that was printed when the repository was made; `key add --recovery` makes another",
            )
        snapshots = repository.readable_snapshots()
        newest = max((shot for shot in snapshots.values()), key=lambda shot: shot.nanoseconds, default=None)
        if newest is not None:
            repository.load_index(strict=False)
            repository.read_tree(newest.tree)
        told["snapshots"] = len(snapshots)
    moment = None if newest is None else _EPOCH + timedelta(microseconds=newest.nanoseconds // 1000)
    return Drill(repository.key_id, datetime.now(UTC), len(snapshots), moment)


def as_printed(typed: str) -> str:
    """Return a recovery key as it was printed: people leave out dashes, write small letters, add spaces."""
    letters = re.sub(r"[\s-]", "", typed).upper()
    if not re.fullmatch(r"[A-Z0-9]{32}", letters):
        return typed.strip()
    return "-".join(letters[start : start + 4] for start in range(0, 32, 4))


def refuse_weak(new: Secret) -> None:
    """Raise InputError for a passphrase that protects too little."""
    if len(new.reveal()) < SHORTEST:
        raise InputError(
            f"the new passphrase is shorter than {SHORTEST} characters",
            safe="nothing was changed",
            hint="choose a longer one; `python3 -c 'import secrets; print(secrets.token_urlsafe(24))'` makes one",
        )


def key_opened_by(repository: Repository, passphrase: Secret) -> str:
    """Return the id of the key that a passphrase opens, or nothing."""
    try:
        return Repository.open(repository.store, passphrase.reveal()).key_id
    except WrongPassphraseError:
        return ""


def add_proved(repository: Repository, new: Secret, *, name: str | None) -> str:
    """Add a key and open the repository with it, read back from the store; a key that does not open is removed."""
    key_id = repository.add_key(new.reveal(), username=name)
    try:
        opened = Repository.open(repository.store, new.reveal())
        if opened.key_id != key_id or opened.box.key.parts() != repository.box.key.parts():
            raise ProofError("the new key does not hold the repository's master key")
    except BackupError as error:
        repository.remove_key(key_id)
        raise ProofError(
            f"the new passphrase does not open the repository: {error.message}",
            safe="the key was taken away again; the other keys are as they were",
            hint="see that the store keeps what is written to it: `edurise-backup repo check`",
        ) from error
    return key_id


@contextmanager
def recorded(
    catalog: Catalog, actor: Actor, action: str, subject: str = "", detail: Mapping[str, object] | None = None
) -> Iterator[dict[str, object]]:
    """Add a row to the audit trail when the block ends, whatever its end; what the block tells goes into it.

    `subject` in what is told names what the row is about, when that is known in the block only.
    """
    told: dict[str, object] = dict(detail or {})
    try:
        yield told
    except BackupError as error:
        outcome = Outcome.REFUSED if isinstance(error, InputError) else Outcome.FAILED
        what = str(told.pop("subject", subject))
        catalog.audit.add(actor, action, what, outcome=outcome, detail=told | {"error": REDACTOR.clean(error.message)})
        raise
    what = str(told.pop("subject", subject))
    catalog.audit.add(actor, action, what, detail=told)


def _one(repository: Repository, key_id: str) -> Key:
    return next(key for key in _listed(repository, datetime.now(UTC)) if key.id == key_id)


def _listed(repository: Repository, now: datetime) -> list[Key]:
    found = []
    for key_id in repository.key_ids():
        current = key_id == repository.key_id
        try:
            found.append(_key(key_id, repository.key_file(key_id), current=current, now=now))
        except NotFoundError:  # removed since the listing
            continue
        except BackupError as error:
            found.append(Key(key_id, "", "", None, None, current, error.message))
    return sorted(found, key=lambda key: (key.created_at or _EPOCH, key.id))


def _key(key_id: str, file: KeyFile, *, current: bool, now: datetime) -> Key:
    try:
        created = _EPOCH + timedelta(microseconds=nanoseconds(file.created) // 1000)
    except (ValueError, OverflowError):
        created = None
    return Key(key_id, file.username, file.hostname, created, now - created if created else None, current)
