"""One snapshot of each cluster's log in a repository, with all that its own base backups need."""

from __future__ import annotations

from edurise_backup.operations.copy_contents import CopyContents
from edurise_backup.operations.opening import locked
from edurise_backup.operations.point_in_time.windows import bases_in
from edurise_backup.ports import Clock
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_merging import merge_logs
from edurise_backup.repository.wal_series import newest_logs, series_of


def merge_copied_logs(repository: Repository, there: CopyContents, lock: Lock, *, now: Clock) -> None:
    """Merge the snapshots of each log into the newest one, and note in `there` which went; the index is loaded."""
    for source in _several(there):
        needed = min((base.start_lsn for base in bases_in(repository, source)), default=None)
        for gone in merge_logs(repository, source, lock, needed=needed, now=now):
            there.snapshots.pop(gone, None)


def tidy_logs(repository: Repository, there: CopyContents, *, now: Clock) -> None:
    """Do the same under a lock of its own, if there is anything to do: where daily runs may only add."""
    if _several(there):
        with locked(repository) as lock:
            merge_copied_logs(repository, there, lock, now=now)


def _several(there: CopyContents) -> list[str]:
    return [source for source in newest_logs(there.snapshots) if len(series_of(there.snapshots, source)) > 1]
