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
from edurise_backup.errors import (
    BackupError,
    CancelledError,
    DamageError,
    NotFoundError,
    TransientError,
    UnreachableError,
)
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.model.jobs import PartResult
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.model.stores import KnownStore
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.configured import repository_place
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.jobs import storable
from edurise_backup.operations.opening import Limits
from edurise_backup.operations.primary import told_of_primary
from edurise_backup.operations.records import keep_record
from edurise_backup.operations.stores import known_stores, nearest_first, opened_store
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.standby import Standby

STEP_IN_SECONDS = 60.0
"""A server that is silent for so long is left for the next store, where there is one."""


Found = dict[str, Snapshot]
"""The snapshots that a recovery needs, by the ids that the catalog names."""
Find = Callable[[Repository, KnownStore], Found]
"""Looks for them in a store; raises NotFoundError."""


@dataclass(slots=True)
class Candidate:
    """A store that may serve; opened when it is asked for the first time."""

    store: KnownStore
    repository: Repository | None = None
    shots: Found = field(default_factory=dict)
    failed: BackupError | None = None
    """Why it cannot serve; None: it may."""
    away: bool = False
    """It is out of reach: asking once more would take as long as asking did."""

    @property
    def name(self) -> str:
        return self.store.name


class Supply:
    """The store that was chosen, and those that step in; used from any number of threads."""

    def __init__(self, settings: Settings, candidates: Sequence[Candidate], errand: Errand) -> None:
        self._settings = settings
        self._errand = errand
        self._candidates = list(candidates)
        self._guard = threading.Lock()
        self._stack = ExitStack()
        self._stepped_in: dict[str, int] = {}
        self._chosen: Candidate | None = None
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
    def first(self) -> str:
        """The name of the store that is asked first."""
        return self._candidates[0].name

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

    def choose(self, find: Find, *, prove: Callable[[Candidate], None] = lambda _: None) -> None:
        """Take the first store in which `find` finds what is wanted and that `prove` does not refuse.

        Without one, the first that knows it all: what it lacks the others may have. Raises why the only store cannot
        serve, and of several, UnreachableError that names them all, NotFoundError when none of them has it.
        """
        alone = len(self._candidates) == 1
        for candidate in self._candidates:
            if candidate.failed is not None:
                continue
            try:
                candidate.repository = self._opened(candidate)
                candidate.shots = find(candidate.repository, candidate.store)
                if not alone:
                    prove(candidate)
            except CancelledError:
                raise
            except BackupError as error:
                if alone:
                    raise
                self._pass_over(candidate, error)
                continue
            self._take(candidate, alone)
            return
        self._take_damaged()

    def pass_over(self, error: BackupError) -> bool:
        """Have the chosen store not be chosen again; return whether there is another one to choose."""
        chosen = self._chosen
        assert chosen is not None
        self.repository.standby, chosen.shots = None, {}
        self._stepped_in.clear()
        self.notes = [note for note in self.notes if not note.startswith(f"{chosen.name} serves")]
        self._pass_over(chosen, error)
        return any(one.failed is None for one in self._candidates)

    def _pass_over(self, candidate: Candidate, error: BackupError) -> None:
        candidate.failed = error
        candidate.away = isinstance(error, TransientError | UnreachableError)
        self.notes.append(f"{candidate.name} was passed over: {error.message}")

    def _take(self, candidate: Candidate, alone: bool) -> None:
        self._chosen = candidate
        if not alone:
            self.repository.standby = Standby(self._step_in)
            self.notes.append(f"{candidate.name} serves: {candidate.store.settings.location}")

    def _take_damaged(self) -> None:
        """No store is whole: take one that knows what is wanted; what it lacks another one may have."""
        usable = [one for one in self._candidates if one.repository is not None and one.shots]
        if not usable:
            failures = [(one.name, one.failed) for one in self._candidates if one.failed is not None]
            nowhere = all(isinstance(failure, NotFoundError) for _, failure in failures)
            raise (NotFoundError if nowhere else UnreachableError)(
                "no store can serve this: " + "; ".join(f"{name}: {failure.message}" for name, failure in failures),
                safe="nothing was changed",
                hint=failures[0][1].hint
                if nowhere
                else "bring one of them back; `edurise-backup copy status` says what each was last seen to have",
            )
        self._take(usable[0], alone=False)
        self.notes.append(f"no store has it whole: what {usable[0].name} lacks is asked of the others")

    def _limits(self, candidate: Candidate) -> Limits:
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
                candidate.failed, candidate.away = trouble, True
                continue
            self._count(candidate, error)
            return found
        raise error

    def _ready(self, candidate: Candidate) -> Repository | None:
        """Return another store's repository, opened, locked and with its index; None when it cannot serve."""
        with self._guard:
            if (
                candidate is self._chosen
                or candidate.away
                or (candidate.failed is not None and candidate.repository is None)
            ):
                return None
            try:
                repository = self._opened(candidate)
                if not len(repository.index):
                    with suppress(BackupError):  # what is read is proved by its id in any case
                        self._stack.callback(_let_go, repository.lock(at_once=True).release)
                    repository.load_index(strict=False)
            except BackupError as error:
                candidate.failed, candidate.away = error, True
                return None
            return repository

    def _count(self, candidate: Candidate, error: BackupError) -> None:
        with self._guard:
            if candidate.name not in self._stepped_in:
                assert self._chosen is not None
                self.notes.append(f"{candidate.name} stepped in for {self._chosen.name}: {error.message}")
            self._stepped_in[candidate.name] = self._stepped_in.get(candidate.name, 0) + 1

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold a lock on the chosen repository, so that nothing is pruned; one that is lost meanwhile is let go."""
        repository = self.repository
        lock = repository.lock(at_once=True)
        try:
            if not len(repository.index):
                repository.load_index(strict=False)
            if not lock.quick:
                lock.settle()
            yield
        except (DamageError, NotFoundError):
            if not self.helped:
                lock.settle()  # it may be missing because somebody prunes
            raise
        finally:
            self._stack.close()
            if self.helped:
                _let_go(lock.release)
            else:
                lock.release()

    def tell(self) -> tuple[str, ...]:
        """Return the notes, with how much the others gave, as a row may hold them."""
        given = [f"{name} gave {count:,} blobs in its place" for name, count in self._stepped_in.items()]
        return tuple(map(storable, (*self.notes, *given)))

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

    def _opened(self, candidate: Candidate) -> Repository:
        if candidate.repository is None:
            candidate.repository = opened_store(self._settings, candidate.store, self._limits(candidate))
        return candidate.repository


def candidates(settings: Settings, catalog: Catalog, only: str = "") -> list[Candidate]:
    """Return the stores in the order in which they are asked: the primary, the copies by nearness; or `only` that one.

    Raises NotFoundError for an unknown one, ConfigError when there is none.
    """
    stores = known_stores(settings, catalog)
    if not stores:
        repository_place(settings)  # raises
    ordered = [*(one for one in stores if one.primary), *nearest_first([one for one in stores if not one.primary])]
    chosen = [Candidate(store) for store in ordered if only in ("", store.name)]
    if not chosen:
        raise NotFoundError(
            f"no store is named {only!r}",
            safe="nothing was changed",
            hint=f"there are {', '.join(store.name for store in stores)}",
        )
    return chosen


def choose_supply(
    settings: Settings,
    catalog: Catalog,
    stores: Sequence[Candidate],
    errand: Errand,
    find: Find,
    *,
    prove: Callable[[Candidate], None] = lambda _: None,
) -> Supply:
    """Return the supply, its store chosen; raises what `Supply.choose` raises."""
    supply = Supply(settings, stores, errand)
    alone = [one.store.primary for one in stores] == [True]
    try:
        with told_of_primary(settings, catalog) if alone else nullcontext():
            supply.choose(find, prove=prove)
    except BackupError:
        errand.note_queued()
        raise
    return supply


def _let_go(release: Callable[[], None]) -> None:
    with suppress(BackupError):  # it dies by itself; the store may be gone
        release()
