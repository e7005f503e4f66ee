"""Where a recovery's bytes come from: the nearest store that has them whole, with the others ready to step in.

Every store keeps the same blobs under the same ids, and each blob is proved by
its id wherever it comes from. So when a store fails in the middle, what it
cannot give comes from the next one, and nothing is done twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace

from edurise_backup.catalog.records import JobRecord
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, CancelledError, DamageError, NotFoundError, UnreachableError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.model.jobs import BackupJob, PartResult
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.model.stores import KnownStore
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.configured import repository_place
from edurise_backup.operations.copy_contents import read_contents
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.opening import Limits
from edurise_backup.operations.primary import told_of_primary
from edurise_backup.operations.records import keep_record
from edurise_backup.operations.stores import known_stores, nearest_first, opened_store
from edurise_backup.recovery.planning import blob_lengths, walk_files
from edurise_backup.repository.layout import Kind, object_id
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.standby import Standby

STEP_IN_SECONDS = 60.0
"""A server that is silent for so long is left for the next store, where there is one."""


@dataclass(slots=True)
class _Candidate:
    """A store that may serve; opened when it is asked for the first time."""

    store: KnownStore
    repository: Repository | None = None
    shots: dict[str, Snapshot] = field(default_factory=dict)
    """By the id that the backup's row names."""
    failed: str = ""
    """Why it cannot serve; empty: it may."""
    away: bool = False
    """It is out of reach: asking once more would take as long as asking did."""

    @property
    def name(self) -> str:
        return self.store.name


class Supply:
    """The store that was chosen, and those that step in; used from any number of threads."""

    def __init__(self, settings: Settings, candidates: Sequence[_Candidate], errand: Errand) -> None:
        self._settings = settings
        self._errand = errand
        self._candidates = list(candidates)
        self._guard = threading.Lock()
        self._stack = ExitStack()
        self._stepped_in: dict[str, int] = {}
        self._chosen: _Candidate | None = None
        self.notes: list[str] = []
        """Why the store was taken and others were not, a sentence each."""

    @property
    def repository(self) -> Repository:
        """The repository that was chosen."""
        assert self._chosen is not None and self._chosen.repository is not None
        return self._chosen.repository

    @property
    def stores(self) -> tuple[str, ...]:
        """The names of the stores that bytes came from, the chosen one first."""
        assert self._chosen is not None
        return (self._chosen.name, *self._stepped_in)

    @property
    def helped(self) -> bool:
        """Whether another store steps in for what the chosen one does not give."""
        return len(self._candidates) > 1

    def tree_of(self, part: PartResult) -> str:
        """Return the tree of a part's snapshot."""
        return self.shot_of(part).tree

    def shot_of(self, part: PartResult) -> Snapshot:
        """Return the snapshot of a part, as the chosen store has it."""
        assert self._chosen is not None
        return self._chosen.shots[part.snapshot_id]

    def choose(self, parts: Sequence[PartResult]) -> None:
        """Take the first store that has all of it whole; without one, the first that knows all of its snapshots.

        Raises why the only store cannot serve, and of several, UnreachableError that names them all.
        """
        alone = len(self._candidates) == 1
        for candidate in self._candidates:
            try:
                self._open(candidate, parts)
                if not alone:
                    _prove_whole(candidate)
            except CancelledError:
                raise
            except BackupError as error:
                if alone:
                    raise
                candidate.failed = error.message
                self.notes.append(f"{candidate.name} was passed over: {error.message}")
                continue
            self._take(candidate, alone)
            return
        self._take_damaged()

    def _take(self, candidate: _Candidate, alone: bool) -> None:
        self._chosen = candidate
        if not alone:
            self.repository.standby = Standby(self._step_in)
            self.notes.append(f"{candidate.name} serves: {candidate.store.settings.location}")

    def _take_damaged(self) -> None:
        """No store is whole: take one that knows what is wanted; what it lacks another one may have."""
        usable = [one for one in self._candidates if one.repository is not None and one.shots]
        if not usable:
            raise UnreachableError(
                "no store can serve this backup: " + "; ".join(f"{one.name}: {one.failed}" for one in self._candidates),
                safe="nothing was changed",
                hint="bring one of them back; `edurise-backup copy status` says what each was last seen to have",
            )
        self._take(usable[0], alone=False)
        self.notes.append(f"no store has it whole: what {usable[0].name} lacks is asked of the others")

    def _open(self, candidate: _Candidate, parts: Sequence[PartResult]) -> None:
        repository = opened_store(self._settings, candidate.store, self._limits(candidate))
        candidate.shots = _snapshots(repository, parts, candidate.store)
        candidate.repository = repository

    def _limits(self, candidate: _Candidate) -> Limits:
        silence = None if len(self._candidates) == 1 else STEP_IN_SECONDS
        return replace(self._errand.limits_of(candidate.name, candidate.store.settings), silence=silence)

    def _step_in(self, kind: BlobKind, blob_id: BlobId, error: BackupError) -> bytes:
        """Return a blob that the chosen store could not give, from the nearest other one that has it whole."""
        for candidate in self._candidates:
            repository = self._ready(candidate)
            if repository is None:
                continue
            try:
                found = repository.read_blob(kind, blob_id)
            except (DamageError, NotFoundError):
                continue
            except BackupError as trouble:
                candidate.failed, candidate.away = trouble.message, True
                continue
            self._count(candidate, error)
            return found
        raise error

    def _ready(self, candidate: _Candidate) -> Repository | None:
        """Return another store's repository, opened, locked and with its index; None when it cannot serve."""
        with self._guard:
            if candidate is self._chosen or candidate.away or (candidate.failed and candidate.repository is None):
                return None
            try:
                repository = self._opened(candidate)
                if not len(repository.index):
                    with suppress(BackupError):  # what is read is proved by its id in any case
                        self._stack.callback(_let_go, repository.lock(at_once=True).release)
                    repository.load_index(strict=False)
            except BackupError as error:
                candidate.failed, candidate.away = error.message, True
                return None
            return repository

    def _count(self, candidate: _Candidate, error: BackupError) -> None:
        with self._guard:
            if candidate.name not in self._stepped_in:
                assert self._chosen is not None
                self.notes.append(f"{candidate.name} stepped in for {self._chosen.name}: {error.message}")
            self._stepped_in[candidate.name] = self._stepped_in.get(candidate.name, 0) + 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a lock on the chosen repository, so that nothing is pruned; one that is lost meanwhile is let go."""
        lock = self.repository.lock(at_once=True)
        try:
            if not len(self.repository.index):
                self.repository.load_index(strict=False)
            yield
        finally:
            self._stack.close()
            if self.repository.standby is None:
                lock.release()
            else:
                _let_go(lock.release)

    def tell(self) -> tuple[str, ...]:
        """Return the notes, with how much the others gave."""
        given = [f"{name} gave {count:,} blobs in its place" for name, count in self._stepped_in.items()]
        return (*self.notes, *given)

    def keep(self, job: JobRecord) -> None:
        """Keep the job's record in the chosen store, or in the first that takes it; raises when none does."""
        assert self._chosen is not None
        try:
            keep_record(self.repository, job)
        except BackupError:
            for candidate in self._candidates:
                if candidate is not self._chosen:
                    with suppress(BackupError):
                        keep_record(self._opened(candidate), job)
                        return
            raise

    def _opened(self, candidate: _Candidate) -> Repository:
        if candidate.repository is None:
            candidate.repository = opened_store(self._settings, candidate.store, self._limits(candidate))
        return candidate.repository


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
    stores = known_stores(settings, catalog)
    if not stores:
        repository_place(settings)  # raises
    primary = [store for store in stores if store.primary]
    ordered = [*primary, *nearest_first([store for store in stores if not store.primary])]
    if only:
        ordered = [store for store in ordered if store.name == only]
        if not ordered:
            raise NotFoundError(
                f"no store is named {only!r}",
                safe="nothing was changed",
                hint=f"there are {', '.join(store.name for store in stores)}",
            )
    else:
        ordered = _that_may_have_it(catalog, backup, ordered)
    supply = Supply(settings, [_Candidate(store) for store in ordered], errand)
    alone = [store.primary for store in ordered] == [True]
    with told_of_primary(settings, catalog) if alone else nullcontext():
        supply.choose(parts)
    return supply


def _that_may_have_it(catalog: Catalog, backup: BackupJob, stores: list[KnownStore]) -> list[KnownStore]:
    """Leave out copies of which it is known that they never had the backup."""
    copies = catalog.copies.of_backup(backup.id)
    return [store for store in stores if store.primary or store.name in copies]


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


def _prove_whole(candidate: _Candidate) -> None:
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


def _let_go(release: Callable[[], None]) -> None:
    with suppress(BackupError):  # it dies by itself; the store may be gone
        release()
