"""What `repo undelete` does: look behind the delete markers of a bucket, and bring back what was not ours.

The config, the keys and the notes of our own removals come first: without them
nobody opens the repository, or knows what is to stay removed.
"""

from __future__ import annotations

from dataclasses import dataclass

from edurise_backup.errors import (
    DamageError,
    InputError,
    NotARepositoryError,
    UnsupportedVersionError,
    WrongPassphraseError,
)
from edurise_backup.model.location import S3Access, is_s3
from edurise_backup.operations.opening import Limits, open_bucket, open_repository
from edurise_backup.ports import Progress
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.removals import Removed, read_removed, take_away
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undeleting import DOORS, SIGNS, Recovered, Undeletion, bring_back, plan_undeletion


@dataclass(frozen=True, slots=True)
class Undeleted:
    """What was, or would be, brought back."""

    plan: Undeletion
    applied: bool
    closed: bool = False
    """These come first: without them nobody can open the repository, or tell what we have removed ourselves."""


def undelete(
    location: str, passphrase: str, *, access: S3Access, limits: Limits, apply: bool = False, progress: Progress
) -> Undeleted:
    """Show what strangers have deleted or replaced; `apply` brings it back.

    Raises InputError where no object lock is set: what we have removed
    ourselves is told apart only there.
    """
    if not is_s3(location) or not access.lock:
        raise InputError(
            "what was deleted can be brought back only in a bucket with an object lock",
            safe="nothing was changed",
            hint="say how objects are locked: EDURISE_OBJECT_LOCK=governance:30; docs/operations/object-storage.md",
        )
    vault = open_bucket(location, limits, access=access).vault
    repository = _opened(location, passphrase, access, limits)
    first = (SIGNS,) if repository else (*DOORS, SIGNS)
    doors = plan_undeletion(vault, Removed(), progress=progress, prefixes=first)
    if (repository is None or doors.objects) and not (apply and doors.objects):
        return Undeleted(doors, applied=False, closed=True)
    bring_back(vault, doors, progress)
    if repository is None:
        repository = open_repository(location, passphrase, limits, access=access)
    with repository.lock():
        removed = read_removed(repository.box)
        # among the keys that had to come back are some that we had taken away
        keys = [one for one in doors.objects if one.name.startswith(f"{Kind.KEY}/") and one.deleted]
        take_away(repository.box, [one.name for one in keys if _ours(removed, one)])
        plan = plan_undeletion(vault, removed, progress=progress)
        if apply:
            bring_back(vault, plan, progress)
    return Undeleted(Undeletion((*doors.objects, *plan.objects), plan.lost, plan.ours), applied=apply)


def _ours(removed: Removed, one: Recovered) -> bool:
    return removed.ours(one.name, one.right.modified, (marker.modified for marker in one.markers))


def _opened(location: str, passphrase: str, access: S3Access, limits: Limits) -> Repository | None:
    """Open the repository; None when its config or its keys are not there, or not what was written."""
    try:
        return open_repository(location, passphrase, limits, access=access)
    except (NotARepositoryError, WrongPassphraseError, UnsupportedVersionError, DamageError):
        return None
