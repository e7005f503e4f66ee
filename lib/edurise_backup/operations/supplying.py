"""Choose where the parts of a backup come from."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from edurise_backup.config import Settings
from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.model.content import BlobKind
from edurise_backup.model.jobs import BackupJob, PartResult
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.stores import KnownStore
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.copy_contents import read_contents
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.supply import Candidate, Supply, candidates, choose_supply
from edurise_backup.recovery.planning import blob_lengths, walk_files
from edurise_backup.repository.layout import Kind, object_id
from edurise_backup.repository.repository import Repository


def open_supply(
    settings: Settings,
    catalog: Catalog,
    backup: BackupJob,
    parts: Sequence[PartResult],
    errand: Errand,
    *,
    only: str = "",
) -> Supply:
    """Choose where the parts of a backup come from: the primary, then the copies by nearness; or `only` that store.

    Raises NotFoundError for an unknown store, and what `Supply.choose` raises.
    """
    stores = candidates(settings, catalog, only)
    if not only:
        stores = _that_may_have_it(catalog, backup, stores)

    def find(repository: Repository, store: KnownStore) -> dict[str, Snapshot]:
        return _snapshots(repository, parts, store)

    return choose_supply(settings, catalog, stores, errand, find, prove=_prove_whole)


def _that_may_have_it(catalog: Catalog, backup: BackupJob, stores: list[Candidate]) -> list[Candidate]:
    """Leave out copies of which it is known that they never had the backup."""
    copies = catalog.copies.of_backup(backup.id)
    return [one for one in stores if one.store.primary or one.name in copies]


def _snapshots(repository: Repository, parts: Sequence[PartResult], store: KnownStore) -> dict[str, Snapshot]:
    """Return the snapshots of the parts, by the ids that the backup's row names; raises NotFoundError."""
    with suppress(NotFoundError):
        return {part.snapshot_id: repository.load_snapshot(SnapshotId(part.snapshot_id)) for part in parts}
    ids = read_contents(repository).ids
    lost = [f"{part.part.value} ({part.snapshot_id[:8]})" for part in parts if part.snapshot_id not in ids]
    if lost:
        raise NotFoundError(
            f"the snapshots of {', '.join(lost)} are not in {store.settings.location}",
            safe="nothing was changed",
            hint="choose another backup or store; `edurise-backup copy list` shows what each copy has",
        )
    return {part.snapshot_id: repository.load_snapshot(ids[part.snapshot_id]) for part in parts}


def _prove_whole(candidate: Candidate) -> None:
    """Raise DamageError unless every tree can be read and every pack that is needed is there in its full size."""
    repository = candidate.repository
    assert repository is not None
    repository.load_index(strict=False)
    sizes = {object_id(name): size for name, size in repository.store.list(Kind.PACK)}
    expected = dict(repository.index.sizes())
    needed: set[str] = set()
    for shot in candidate.shots.values():
        for _, node in walk_files(repository, shot.tree):
            for blob_id, _ in blob_lengths(repository, node):
                place = repository.index.find(BlobKind.DATA, blob_id)
                if place is not None:
                    needed.add(place.pack)
    lost = sorted(pack for pack in needed if sizes.get(pack) != expected.get(pack))
    if lost:
        raise DamageError(f"{len(lost)} packs that this backup needs are missing or cut short, {lost[0][:8]} first")
