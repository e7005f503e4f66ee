"""Pins and holds of the primary are in force in its copies, too: the same notes, about the copies' own snapshots.

A note goes from a copy only when the audit trail tells of its release: a
primary that has lost its notes, or its catalog, ends no hold elsewhere.
"""

from __future__ import annotations

from dataclasses import replace

from edurise_backup.model.protections import Protection
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.copy_contents import CopyContents
from edurise_backup.repository.holds import drop_protection, read_protections, save_protection
from edurise_backup.repository.repository import Repository


def mirror_protections(catalog: Catalog, repository: Repository, there: CopyContents) -> tuple[Protection, ...]:
    """Bring a copy's pins and holds up to date, and return those that are in it; raises DamageError.

    One is placed once all of its snapshots are there: before that nobody drops
    them here. It is placed anew when they were lost here and copied again.
    """
    kept = {one.id: one for one in read_protections(repository.box)}
    for row in catalog.protections.all():
        snapshots = tuple(str(there.ids[name]) for name in row.snapshots if name in there.ids)
        if row.releasing_at is not None or len(snapshots) < len(row.snapshots):
            continue
        wanted = replace(row.protection, snapshots=snapshots)
        if row.id not in kept:
            save_protection(repository.box, wanted)
            kept[row.id] = wanted
        elif set(snapshots) - set(kept[row.id].snapshots):
            drop_protection(repository.box, row.id)
            save_protection(repository.box, wanted)
            kept[row.id] = wanted
    for one in released(catalog, list(kept.values())):
        drop_protection(repository.box, one.id)
        del kept[one.id]
    return tuple(kept.values())


def released(catalog: Catalog, kept: list[Protection]) -> list[Protection]:
    """Return those of a copy that somebody has released in the primary, by the audit trail."""
    ids = catalog.audit.subjects_of(("pin.release", "hold.release"))
    held = {row.id for row in catalog.protections.all()}
    return [one for one in kept if str(one.id) in ids and one.id not in held]
