"""Open the store that a moment comes back from: the first that has it, with the others ready to step in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC

from edurise_backup.config import Settings
from edurise_backup.errors import (
    AmbiguousError,
    BackupError,
    CancelledError,
    DamageError,
    InputError,
    LockedError,
    NotFoundError,
)
from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.recovery_window import RecoveryWindow
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.stores import PRIMARY, KnownStore
from edurise_backup.model.wal_status import BaseBackup
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.clusters import record_in
from edurise_backup.operations.copy_contents import read_snapshots
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.point_in_time.choosing import Choice, choose, no_base_backup
from edurise_backup.operations.point_in_time.known import known_by_catalog, read_known
from edurise_backup.operations.point_in_time.windows import is_base_of
from edurise_backup.operations.supply import Find, Supply, candidates, choose_supply
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.wal_archive import WalArchive, open_archive


@dataclass(frozen=True, slots=True)
class Opened:
    """What a recovery to a moment works with; the store is locked for reading, its index loaded."""

    supply: Supply
    choice: Choice
    """Its base backup is as the catalog knows it."""
    tree: str
    """The base backup's snapshot's."""
    record: ClusterRecord
    archive: WalArchive
    warning: str = ""
    """What another store has that this one, which serves in its place, has not."""

    @property
    def repository(self) -> Repository:
        """Where the bytes come from."""
        return self.supply.repository

    @property
    def store_notes(self) -> tuple[str, ...]:
        """Why that store serves, who stepped in, and what it has not, a sentence each."""
        return (*self.supply.tell(), *filter(None, [self.warning]))


@contextmanager
def open_moment(
    settings: Settings,
    catalog: Catalog,
    source: str,
    target: TargetMoment,
    errand: Errand,
    *,
    base: str = "",
    store: str = "",
) -> Iterator[Opened]:
    """Choose the store and what the recovery begins with, and hold the store; `store`: that one alone.

    The primary comes first, then the copies by nearness. One that does not open, is damaged or has not that moment is
    passed over. Raises LockedError while somebody holds a store exclusively, NotFoundError for an unknown store, and
    when none can serve, why the first that was read cannot: InputError and its kinds, DamageError.
    """

    def find(repository: Repository, _: KnownStore) -> dict[str, Snapshot]:
        shots = repository.readable_snapshots()
        found = {str(key): shot for key, shot in shots.items() if is_base_of(shot, source)}
        if not found:
            raise no_base_backup(source)
        return found

    supply = choose_supply(settings, catalog, candidates(settings, catalog, store), errand, find)
    with ExitStack() as stack:
        try:
            opened = _first(stack, supply, find, lambda: _opened(settings, catalog, supply, source, target, base))
        except BackupError:
            errand.note_queued()
            raise
        yield opened


def _first(stack: ExitStack, supply: Supply, find: Find, read: Callable[[], Opened]) -> Opened:
    """Hold the first store in which `read` succeeds, until the stack is closed; raises why it did not in the first."""
    first: BackupError | None = None
    while True:
        try:
            if first is not None:
                supply.choose(find)
            with ExitStack() as attempt:
                attempt.enter_context(supply.held())
                opened = read()
                stack.push(attempt.pop_all())
                return opened
        except (CancelledError, LockedError):
            raise
        except BackupError as error:
            first = first or error
            if not supply.pass_over(error):
                others = [note for note in supply.notes if first.message not in note]
                first.hint = "; ".join(filter(None, [first.hint, *others]))
                raise first from None


def _opened(
    settings: Settings, catalog: Catalog, supply: Supply, source: str, target: TargetMoment, base: str
) -> Opened:
    """Choose in the store that is held, and open what is read there."""
    repository = supply.repository
    ids = read_snapshots(repository).ids  # a copy's snapshots have names of their own
    known = catalog.wal.bases(source, elsewhere=True)
    there = {str(ids[one.snapshot_id]): one for one in known if one.snapshot_id in ids}
    named = [key for key, one in there.items() if base and _is_named(one, base)]
    if len(named) > 1:
        raise AmbiguousError(f"{len(named)} base backups of {source} begin with {base!r}", hint="write more of it")
    wanted = named[0] if named else base
    choice = choose(read_known(repository, catalog.wal, source, host=settings.host), target, base=wanted)
    snapshot = choice.base.snapshot_id
    if snapshot not in there:
        store = supply.stores[0]
        option = "" if store == PRIMARY else f" --from {store}"
        raise NotFoundError(
            f"the catalog does not know the base backup {snapshot[:8]}",
            safe="nothing was restored or changed",
            hint=f"`edurise-backup rebuild-catalog{option}` reads it from the repository",
        )
    tree = repository.load_snapshot(SnapshotId(snapshot)).tree
    record = record_in(repository, tree, source)
    if record is None:
        raise DamageError(f"the record of the base backup {snapshot[:8]} cannot be read")
    archive = open_archive(repository, source, host=settings.host)
    if archive is None:
        archive = WalArchive(repository, source, record.system_identifier, record.segment_size, host=settings.host)
    warning = _warning(catalog, supply, choice, target) if supply.stores[0] != supply.first else ""
    return Opened(supply, replace(choice, base=there[snapshot]), tree, record, archive, warning)


def _is_named(base: BaseBackup, word: str) -> bool:
    return base.snapshot_id.startswith(word) or str(base.backup_id).startswith(word)


def _warning(catalog: Catalog, supply: Supply, choice: Choice, target: TargetMoment) -> str:
    """Return what the catalog knows of that this store has not: a later end of the log, a newer timeline."""
    source = choice.base.source
    try:
        known = choose(known_by_catalog(catalog, source), target)
    except InputError:
        return ""
    there, here = known.window, choice.window
    later = (target.latest and there.end_lsn > here.end_lsn) or (
        target.immediate and known.base.stop_at > choice.base.stop_at
    )
    if there.timeline == here.timeline and not later:
        return ""
    return (
        f"{supply.stores[0]} served in place of {supply.first}: it has {source} up to {_end(here)}, "
        f"known is up to {_end(there)}"
    )


def _end(window: RecoveryWindow) -> str:
    return f"{window.end_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC on timeline {window.timeline}"
