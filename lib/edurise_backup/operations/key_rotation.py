"""Change the configured passphrase so that it opens the repository at every moment, whatever is cut off.

Add the new key, prove that it opens, put the new passphrase where the
configuration looks for it, open by the configuration alone, and only then take
the old key away. After a crash one or both passphrases open, and the configured
one always does; the same command goes on from there.
"""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConflictError, ProofError
from edurise_backup.model.database import Secret
from edurise_backup.model.people import Actor, Permission
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.keys import add_proved, key_opened_by, recorded, refuse_weak
from edurise_backup.operations.primary import accept_primary
from edurise_backup.operations.secrets import read_secret
from edurise_backup.repository.keys import RECOVERY_USER


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation came to."""

    new_id: str
    old_id: str
    removed: bool
    """Whether the old key is gone: only when the configuration opens the repository by the new one."""
    to_do: str = ""
    """What a person must do before the old key can go."""


def rotate_key(settings: Settings, new: Secret, *, actor: Actor, name: str = "") -> Rotation:
    """Replace the configured passphrase by a new one.

    A passphrase in a file is replaced in the file. Where we cannot write (a
    variable, a command, a key ring, a file of somebody else), the new key is
    added, the old one stays, and `to_do` says what is left. Raises ForbiddenError,
    InputError, ConflictError when the new passphrase is the configured one.
    """
    actor.require(Permission.ADMINISTER)
    refuse_weak(new)
    repository = opened_repository(settings)
    old_id, old_name = repository.key_id, repository.key_file(repository.key_id).username
    opened = key_opened_by(repository, new)
    if opened == old_id:
        raise ConflictError(
            "the new passphrase is the configured one",
            safe="nothing was changed",
            hint="choose another; after a rotation that was cut off, `key remove` takes the older key away",
        )
    with open_catalog(settings) as catalog, recorded(catalog, actor, "key.rotate", old_id) as told:
        accept_primary(settings, catalog, repository)
        catalog.audit.add(actor, "key.rotate", old_id, detail={"step": "begins"})
        new_id = opened or add_proved(repository, new, name=name or (None if old_name == RECOVERY_USER else old_name))
        told |= {"new": new_id}
        to_do = _put_in_place(settings, new) or _opens_by(settings, new_id)
        if not to_do:
            repository.remove_key(old_id, in_use=True)
        told |= {"removed": not to_do}
    after = f"; then `edurise-backup key remove {old_id[:8]}`" if to_do else ""
    return Rotation(new_id, old_id, not to_do, to_do + after)


def _opens_by(settings: Settings, new_id: str) -> str:
    """Return nothing when the configuration opens the repository by the new key; raises ProofError otherwise."""
    try:
        opened = opened_repository(settings).key_id
    except BackupError as error:
        raise ProofError(
            f"the configuration does not open the repository any more: {error.message}",
            safe="the old key and the new one are both there",
            hint="put the new or the old passphrase where the configuration names it",
        ) from error
    return "" if opened == new_id else "put the new passphrase where the configuration names it"


def _put_in_place(settings: Settings, new: Secret) -> str:
    """Put the new passphrase where the configuration looks; return what a person must do when we cannot."""
    place = settings.repository.password("repository")
    if read_secret(place) == new:  # a person was quicker
        return ""
    if not place.file:
        return f"put the new passphrase into {place}"
    try:
        replace_secret_file(Path(place.file), new)
    except OSError as error:
        return f"put the new passphrase into {place} ({error.strerror})"
    return ""


def replace_secret_file(path: Path, new: Secret) -> None:
    """Put a secret into the place of a file's, whole or not at all, with its owner; nobody else may read it.

    Raises OSError for what is not a regular file (a pipe, a descriptor) and for what may not be written.
    """
    target = path.resolve(strict=True)
    there = target.stat()
    if not stat.S_ISREG(there.st_mode):
        raise OSError(0, "not a regular file")
    descriptor, unfinished = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            os.fchmod(descriptor, stat.S_IMODE(there.st_mode) & 0o700 | 0o600)
            if (there.st_uid, there.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, there.st_uid, there.st_gid)
            file.write(new.reveal() + "\n")
            file.flush()
            os.fsync(descriptor)
        Path(unfinished).replace(target)
    finally:
        with suppress(FileNotFoundError):
            Path(unfinished).unlink()
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
