"""One snapshot of each cluster's log in a repository, with all that its own base backups need."""

from __future__ import annotations

from edurise_backup.errors import BackupError, DamageError
from edurise_backup.model.wal import Lsn, parse_lsn
from edurise_backup.operations.clusters import record_in
from edurise_backup.operations.copy_contents import CopyContents
from edurise_backup.operations.opening import locked
from edurise_backup.ports import Clock
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undoing import list_forgotten
from edurise_backup.repository.wal_merging import merge_logs
from edurise_backup.repository.wal_series import newest_logs, series_of


def merge_copied_logs(
    repository: Repository, there: CopyContents, lock: Lock, *, now: Clock, may_delete: bool = True
) -> tuple[BackupError, ...]:
    """Merge the snapshots of each log into the newest one, and note in `there` what changed; the index is loaded.

    Returns why what is superseded could not be taken away.
    """
    refused = []
    for source in _several(there):
        needed = _needed(repository, source)
        merged = merge_logs(repository, source, lock, needed=needed, now=now, may_delete=may_delete)
        if merged.published is not None:
            there.add(*merged.published)
        for gone in merged.gone:
            there.snapshots.pop(gone, None)
        refused += [merged.refused] if merged.refused else []
    return tuple(refused)


def tidy_logs(repository: Repository, there: CopyContents, *, now: Clock) -> None:
    """Do the same under a lock of its own, if there is anything to do: where daily runs may only add."""
    if _several(there):
        with locked(repository) as lock:
            for refused in merge_copied_logs(repository, there, lock, now=now):
                raise refused


def _needed(repository: Repository, source: str) -> Lsn | None:
    """Return from where on a base backup needs the log, also one that was forgotten and can be brought back.

    All of it, where that cannot be told: nothing goes because something cannot be read.
    """
    unreadable: list[str] = []
    try:
        snapshots = list(repository.readable_snapshots(unreadable).values())
        snapshots += [forgotten.snapshot for forgotten in list_forgotten(repository).values()]
    except DamageError:
        return Lsn(0)
    own = [one for one in snapshots if one.tag("type") == "cluster" and one.tag("source") == source]
    records = [record_in(repository, one.tree, source) for one in own]
    if unreadable or None in records:
        return Lsn(0)
    return min((parse_lsn(record.start_lsn) for record in records if record), default=None)


def _several(there: CopyContents) -> list[str]:
    return [source for source in newest_logs(there.snapshots) if len(series_of(there.snapshots, source)) > 1]
