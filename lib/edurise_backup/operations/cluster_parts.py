"""A base backup as a part of a recovery set: brought back as it was at its end, started once, and proved."""

from __future__ import annotations

from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.errors import DamageError
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.operations.clusters import record_in
from edurise_backup.ports import Progress
from edurise_backup.recovery.cluster.recovering import RecoveredCluster, RecoveryOptions, recover_cluster
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive

AT_ITS_END = TargetMoment(immediate=True, timeline="current")


def bring_back_cluster(
    settings: Settings, repository: Repository, tree: str, source: str, directory: Path, progress: Progress
) -> RecoveredCluster:
    """Restore a base backup into DIRECTORY/data, replay the log that it holds itself, and prove it.

    Raises what `recover_cluster` raises; no log of the repository is needed.
    """
    record = record_in(repository, tree, source)
    if record is None:
        raise DamageError(f"the record of the base backup of {source} cannot be read", hint="verify the backup")
    configured = next((one for one in settings.clusters if one.name == source), None)
    bindir = Path(configured.bindir) if configured and configured.bindir else None
    archive = WalArchive(repository, source, record.system_identifier, record.segment_size, host=settings.host).pin()
    return recover_cluster(
        repository,
        tree,
        record,
        archive,
        AT_ITS_END,
        directory / "data",
        options=RecoveryOptions(bindir=bindir),
        progress=progress,
    )
