"""Bring back what a stranger has deleted or replaced in a bucket that keeps versions.

A deletion there is a marker on top, a replacement a newer version: what was
written first is below. Objects are never replaced by us, so the right version
of one that is named by its hash is the one whose bytes have it, of any other
the oldest. What we have removed ourselves stays hidden: sealed notes say so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from edurise_backup.model.object_lock import Version
from edurise_backup.ports import Progress, Vault
from edurise_backup.repository.layout import CONFIG, NOTES, Kind, object_id
from edurise_backup.repository.removals import FOLDER, Removed

DOORS = (CONFIG, f"{Kind.KEY}/")
"""Without these nobody opens the repository, so nobody can read which of them we have removed ourselves."""
SIGNS = f"{NOTES}/{FOLDER}/"
"""Without these nobody knows what we have removed ourselves."""
EVERYTHING = (*DOORS, f"{Kind.SNAPSHOT}/", f"{Kind.INDEX}/", f"{Kind.PACK}/", f"{NOTES}/")
_TRIALS = f"{NOTES}/probe/"


@dataclass(frozen=True, slots=True)
class Recovered:
    """An object to bring back, and how."""

    right: Version
    markers: tuple[Version, ...]
    buried: bool
    """Other bytes lie on top of it."""
    deleted: bool
    """The newest of it is a delete marker."""

    @property
    def name(self) -> str:
        """The object's name."""
        return self.right.name


@dataclass(frozen=True, slots=True)
class Undeletion:
    """What can be brought back, and what not."""

    objects: tuple[Recovered, ...]
    lost: tuple[str, ...] = ()
    """Objects of which no version is the right one."""
    ours: int = 0
    """Objects that we have removed ourselves: they stay so."""


def plan_undeletion(
    vault: Vault, removed: Removed, *, progress: Progress, prefixes: Iterable[str] = EVERYTHING
) -> Undeletion:
    """Look through all versions; bytes are read only of objects that have several."""
    objects: list[Recovered] = []
    lost: list[str] = []
    ours = 0
    progress.phase("versions")
    for name, versions in _grouped(vault, prefixes):
        progress.raise_if_cancelled()
        real = [version for version in versions if not version.marker]
        markers = tuple(version for version in versions if version.marker)
        deleted = any(marker.newest for marker in markers)
        if not real or (len(real) == 1 and not deleted):
            continue
        if deleted and removed.ours(name, real[0].modified, (marker.modified for marker in markers)):
            ours += 1
            continue
        right = _right(vault, real)
        if right is None:
            lost.append(name)
        elif deleted or right is not real[0]:
            objects.append(Recovered(right, markers, right is not real[0], deleted))
    return Undeletion(tuple(objects), tuple(lost), ours)


def bring_back(vault: Vault, plan: Undeletion, progress: Progress) -> None:
    """Do it: each object is back, whole, or as it was; may be done again after a crash."""
    progress.phase("bring back")
    for one in plan.objects:
        progress.raise_if_cancelled()
        if one.buried:  # what lies on top may be locked, so it cannot be removed: what is right goes on top of it
            vault.put_on_top(one.name, vault.read(one.right))
        else:
            for marker in one.markers:
                vault.drop(marker)
        progress.advance(files_done=1)


def _grouped(vault: Vault, prefixes: Iterable[str]) -> Iterator[tuple[str, list[Version]]]:
    for prefix in prefixes:
        for name, versions in groupby(vault.versions(prefix), key=lambda version: version.name):
            if not name.startswith(_TRIALS) and not (prefix == CONFIG and name != CONFIG):
                yield name, list(versions)


def _right(vault: Vault, real: list[Version]) -> Version | None:
    """Return the version that we have written."""
    wanted = object_id(real[0].name)
    if len(real) == 1 or wanted is None:
        return real[-1]
    return next((one for one in real if hashlib.sha256(vault.read(one)).hexdigest() == wanted), None)
