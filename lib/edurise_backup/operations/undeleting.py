"""What `repo undelete` does: look behind the delete markers of a bucket, and bring back what was not ours.

The config and the keys come first: while they are hidden nobody opens the
repository, and only who has opened it can read what we have removed ourselves.
"""

from __future__ import annotations

from dataclasses import dataclass

from edurise_backup.errors import InputError, NotARepositoryError, WrongPassphraseError
from edurise_backup.model.location import S3Access, is_s3
from edurise_backup.operations.engine import Limits, open_bucket, open_repository
from edurise_backup.ports import Progress
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.removals import Removed, read_removed, take_away
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undeleting import DOORS, Undeletion, bring_back, plan_undeletion


@dataclass(frozen=True, slots=True)
class Undeleted:
    """What was, or would be, brought back."""

    plan: Undeletion
    applied: bool
    closed: bool = False
    """Nobody can open the repository: this is the config and the keys alone; the rest follows."""


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
    doors = None
    repository = _opened(location, passphrase, access, limits)
    if repository is None:
        doors = plan_undeletion(vault, Removed(), progress=progress, prefixes=DOORS)
        if not apply or not doors.objects:
            return Undeleted(doors, applied=False, closed=True)
        bring_back(vault, doors, progress)
        repository = open_repository(location, passphrase, limits, access=access)
    with repository.lock():
        removed = read_removed(repository.box)
        if doors is not None:  # among the keys that had to come back are some that we had taken away
            keys = [one for one in doors.objects if one.name.startswith(f"{Kind.KEY}/") and one.deleted]
            ours = [one.name for one in keys if removed.ours(one.name, one.right.modified)]
            take_away(repository.box, ours)
        plan = plan_undeletion(vault, removed, progress=progress)
        if apply:
            bring_back(vault, plan, progress)
    back = (*doors.objects, *plan.objects) if doors else plan.objects
    return Undeleted(Undeletion(back, plan.lost, plan.ours), applied=apply)


def _opened(location: str, passphrase: str, access: S3Access, limits: Limits) -> Repository | None:
    """Open the repository; None when its config or its keys are not there."""
    try:
        return open_repository(location, passphrase, limits, access=access)
    except (NotARepositoryError, WrongPassphraseError):
        return None
