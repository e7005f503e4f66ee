"""Remove data that no snapshot refers to: plan and write again beside running backups, then un-index, wait, delete.

The order is the safety. Under a shared lock: what is wanted from packs that go
is written into new packs and indexed, which only adds. Under the exclusive
lock: look again at what has come since; note the packs that go; new index
files; old index files go; and only packs that no index has listed for the
grace are deleted. A crash at any step leaves every snapshot whole, some data
too much, and nothing that the next prune does not finish.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from edurise_backup.errors import ConflictError, DamageError, LockedError, NotFoundError
from edurise_backup.model.content import BlobKind
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.ports import Clock, Progress, Vault, utc_now
from edurise_backup.repository import reindexing
from edurise_backup.repository.condemned import condemn, note_locked, read_condemned, tidy
from edurise_backup.repository.fates import DEFAULTS, PruneOptions
from edurise_backup.repository.forgetting import drop_notes
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.lock_upkeep import LockUpkeep, keep_locked
from edurise_backup.repository.locks import SETTLE, Lock, wait_for_lock
from edurise_backup.repository.prune_plan import Departure, PrunePlan, departure, plan_prune
from edurise_backup.repository.removals import purge
from edurise_backup.repository.repacking import repack
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.survey import Roots, Survey, read_roots

_BATCH = 64
"""Packs that are deleted between two looks at the lock."""
_THREADS = 8


@dataclass(frozen=True, slots=True)
class Pruned:
    """What a prune did; sizes in bytes."""

    plan: PrunePlan
    departure: Departure
    """Which packs were deleted, and which wait."""
    needed_after_all: int
    """Packs that the plan would have removed, and that a newer snapshot needs."""
    locks: LockUpkeep | None = None
    """What was done for the locks of objects; None where the store locks nothing."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What should be looked at, a sentence each."""
        return (*self.plan.warnings, *(self.locks.troubles if self.locks else ()))

    @property
    def freed_bytes(self) -> int:
        """What the store holds less now; negative when packs that were written again still wait."""
        return self.departure.due_bytes - self.plan.fates.repack_bytes


def prune(
    repository: Repository,
    options: PruneOptions = DEFAULTS,
    *,
    progress: Progress,
    known: Collection[str] = (),
    wait: timedelta = timedelta(0),
    now: Clock = utc_now,
    settle: timedelta = SETTLE,
) -> Pruned:
    """Plan, write again, un-index, delete; raises what `prepare_prune` and `finish_prune` raise."""
    with repository.lock(settle=settle, at_once=True) as lock:
        plan = prepare_prune(repository, lock, options, progress=progress, known=known, now=now)
    return finish_prune(repository, plan, progress=progress, known=known, wait=wait, now=now, settle=settle)


def prepare_prune(
    repository: Repository,
    lock: Lock,
    options: PruneOptions = DEFAULTS,
    *,
    progress: Progress,
    known: Collection[str] = (),
    seen: Mapping[SnapshotId, Snapshot] | None = None,
    now: Clock = utc_now,
) -> PrunePlan:
    """Plan under a shared lock, and write again what is wanted of packs that go: nothing is removed yet.

    Raises what `plan_prune` raises, ConflictError when too much would go,
    LockedError when the lock was lost.
    """
    plan = plan_prune(repository, options, now=now(), progress=progress, known=known, seen=seen)
    plan.refuse()
    repack(plan, lock, progress)
    return plan


def finish_prune(
    repository: Repository,
    plan: PrunePlan,
    *,
    progress: Progress,
    known: Collection[str] = (),
    wait: timedelta = timedelta(0),
    now: Clock = utc_now,
    settle: timedelta = SETTLE,
) -> Pruned:
    """Un-index and delete what the plan says, under the exclusive lock; a shared lock of ours must be released.

    Waits for others up to `wait`. Raises LockedError, and ConflictError when
    another prune has come in between: everything that was written stays, and
    the next prune uses it.
    """
    progress.phase("wait for the lock")
    try:
        lock = wait_for_lock(lambda: repository.lock(exclusive=True, settle=settle), wait, progress.raise_if_cancelled)
    except LockedError as error:
        raise LockedError(
            error.message,
            safe="nothing was removed; what was written again stays and serves the next prune",
            hint="prune when no backup runs, or let it wait for them: --wait 1h",
        ) from error
    with lock:
        done = apply_prune(repository, plan, lock, progress=progress, known=known, now=now)
    vault = repository.box.vault
    return done if vault is None else replace(done, locks=_keep_locked(repository, vault, done, progress, now()))


def _keep_locked(repository: Repository, vault: Vault, done: Pruned, progress: Progress, now: datetime) -> LockUpkeep:
    """Extend what lives on, and remove older versions of what does not: both harm nobody, so no lock is held."""
    index, gone = done.plan.survey.index, {*done.departure.due, *done.departure.waiting, *done.departure.locked}
    packs = {index.pack_id(pack) for pack in range(index.pack_count)} - gone
    upkeep = keep_locked(repository.box, vault, packs, now=now, progress=progress)
    return replace(upkeep, troubles=(*upkeep.troubles, *purge(repository.box, vault, now=now)))


def apply_prune(
    repository: Repository,
    plan: PrunePlan,
    lock: Lock,
    *,
    progress: Progress,
    known: Collection[str] = (),
    now: Clock = utc_now,
) -> Pruned:
    """Do what the plan says and what is still right; `lock` is the exclusive lock."""
    survey, box = plan.survey, repository.box
    progress.phase("look again")
    lock.confirm()
    roots, going = _look_again(repository, plan, known)
    condemned = read_condemned(box)
    moment = now()
    leaving = departure(survey, going, condemned, now=moment, grace=plan.options.grace)
    sizes = {**survey.unlisted, **{survey.index.pack_id(pack): survey.stored[pack] for pack in going}}
    progress.phase("un-index")
    progress.raise_if_cancelled()
    repository.drop_index()
    lock.confirm()
    for forgotten in roots.over.values():
        drop_notes(box, forgotten)  # before its data goes: what cannot be brought back must not look as if it could
    named = {survey.index.pack_id(pack) for pack in going}
    condemn(box, [pack for pack in leaving.waiting if pack in named or pack not in condemned.since], now=moment)
    indexes = reindexing.rewrite(survey, going | set(plan.fates.absent), lock.confirm, progress)
    if leaving.due:
        progress.phase("delete", bytes_total=leaving.due_bytes)
        _refuse_newcomers(repository, roots, indexes)
        held = _delete(repository, leaving, lock, progress)
        note_locked(box, condemned, held, now=moment)
        leaving = leaving.held(held, sizes)
    lock.confirm()
    for kind in (Kind.PACK, Kind.INDEX, Kind.SNAPSHOT):
        box.store.sweep(kind)
    tidy(box, condemned, (*leaving.waiting, *leaving.locked))
    return Pruned(plan, leaving, len(plan.fates.remove) + len(plan.fates.repack) - len(going))


def _look_again(repository: Repository, plan: PrunePlan, known: Collection[str]) -> tuple[Roots, set[int]]:
    """Return the roots of now, and the packs (by number) that may still go."""
    survey = plan.survey
    before = survey.roots
    roots = read_roots(repository, now=plan.moment, known=known, seen=before.snapshots)
    if before.snapshots and not roots.snapshots:
        raise ConflictError(
            "the repository lists no snapshot any more",
            safe="nothing was removed",
            hint="check that the snapshots are there, then run the same command again",
        )
    _load_new_indexes(survey)
    reach = survey.reach
    reach.second_look()
    reach.again()
    reach.walk(roots.trees(without=before.ids()))
    survey.find_missing()
    plan.kept.extend(bytes(len(survey.index) - len(plan.kept)))
    going = {*plan.fates.remove, *plan.fates.repack} - _needed_late(survey)
    _prove_written_again(plan, going)
    return roots, going


def _load_new_indexes(survey: Survey) -> None:
    there = survey.box.ids(Kind.INDEX)
    if not survey.files.keys() <= set(there):
        raise ConflictError(
            "index files went away while this prune was planned: another one has been here",
            safe="nothing was removed; what was written again stays",
            hint="run the same command again",
        )
    first = survey.index.pack_count
    survey.load(index_id for index_id in there if index_id not in survey.files)
    for pack in range(first, survey.index.pack_count):
        if survey.stored[pack] < 0:  # newer than our listing of packs
            try:
                survey.stored[pack] = survey.box.store.size(object_name(Kind.PACK, survey.index.pack_id(pack)))
            except NotFoundError:
                continue


def _needed_late(survey: Survey) -> set[int]:
    """Return the packs that hold what only the second look found; raises DamageError when one of them is missing."""
    needed = set()
    for number in survey.reach.found_late():
        blob = survey.index.blob(number)
        packs = {survey.index.pack_of(copy) for copy in survey.index.numbers(blob.kind, blob.id)}
        if all(survey.stored[pack] < 0 for pack in packs):
            raise DamageError(
                f"the {blob.kind.word} blob {blob.id.hex()[:8]}, which a new snapshot refers to, is in no pack",
                safe="nothing was removed",
                hint="run `check` to see which snapshots are affected",
            )
        needed |= packs
    return needed


def _prove_written_again(plan: PrunePlan, going: set[int]) -> None:
    """Raise DamageError when a blob that is wanted would be lost with its pack: the last look before anything goes."""
    survey = plan.survey
    for pack in going.intersection(plan.fates.repack):
        for number in survey.index.blob_range(pack):
            if plan.kept[number] and not _serves_elsewhere(survey, survey.index.blob(number).kind, number, going):
                raise DamageError("a blob that snapshots refer to was not written again", safe="nothing was removed")


def _serves_elsewhere(survey: Survey, kind: BlobKind, number: int, going: set[int]) -> bool:
    packs = map(survey.index.pack_of, survey.index.numbers(kind, survey.index.blob(number).id))
    return any(pack not in going and survey.stored[pack] >= 0 for pack in packs)


def _refuse_newcomers(repository: Repository, roots: Roots, indexes: set[str]) -> None:
    """Raise ConflictError when somebody published or indexed something behind the exclusive lock."""
    box = repository.box
    if not (set(box.ids(Kind.SNAPSHOT)) <= roots.snapshots.keys() and set(box.ids(Kind.INDEX)) <= indexes):
        raise ConflictError(
            "a process that was frozen went on while this prune held the exclusive lock",
            safe="no pack was deleted",
            hint="run the same command again: it keeps what a new snapshot needs",
        )


def _delete(repository: Repository, leaving: Departure, lock: Lock, progress: Progress) -> dict[str, datetime]:
    """Delete the packs that are due; return those that the store holds, and until when.

    The lock is proved before each batch.
    """
    vault, held = repository.box.vault, dict[str, datetime]()

    def delete(pack: str) -> None:
        name = object_name(Kind.PACK, pack)
        if vault is None:
            repository.store.delete(name)
        elif (until := vault.remove(name)) is not None:
            held[pack] = until

    with ThreadPoolExecutor(_THREADS, thread_name_prefix="delete") as pool:
        for start in range(0, len(leaving.due), _BATCH):
            progress.raise_if_cancelled()
            lock.confirm()
            for _ in pool.map(delete, leaving.due[start : start + _BATCH]):
                progress.advance(files_done=1)
    return held
