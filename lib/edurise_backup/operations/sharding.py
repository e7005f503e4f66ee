"""A job that several workers do: its parts as orders, told in rows of their own, joined here.

Who the workers are is the caller's: flows bring a Dask cluster, tests threads.
The other side is `shard_work`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

from edurise_backup.catalog.records import JobKind
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, NotFoundError
from edurise_backup.model.jobs import BackupJob, JobId
from edurise_backup.model.shards import ShardGoal, ShardPlan
from edurise_backup.model.stores import PRIMARY
from edurise_backup.monitoring.logs import log_event
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.collection import Collected
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.opening import readable
from edurise_backup.operations.shard_orders import (
    ArchiveOrder,
    BringOrder,
    ExamineOrder,
    Order,
    ProveOrder,
    decode_answer,
    encode_order,
    in_lots,
)
from edurise_backup.operations.shard_watch import ShardWatch
from edurise_backup.operations.shared_sources import (
    SharedSettings,
    devices_of,
    divisible_sources,
    likeness,
    open_shared,
    shared_source,
)
from edurise_backup.ports import Progress, Workers
from edurise_backup.recovery.planning import RestorePlan
from edurise_backup.recovery.restorer import Restored
from edurise_backup.recovery.sharding import (
    Brought,
    PackOrder,
    Proved,
    cut_tree,
    prove_opened,
    prove_ranges,
    restore_sharded,
)
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved, find_parent, save_snapshot
from edurise_backup.repository.sharded_saving import ShardAnswer, ShardWork, plan_shards, save_sharded
from edurise_backup.verification.packs import Examined, PackProof
from edurise_backup.verification.sharding import proof_of

_LOTS = 4
"""So many lots of packs for each worker: one that is slow keeps nobody waiting for long."""
_GIB = 1 << 30
_ALONE = "this process backs it up alone: shards are the flows', which bring the workers"
AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True)
class ShardedJob:
    """A running job, and the workers that share it; `store` is the name of where its repository lies."""

    workers: Workers
    catalog: Catalog
    repository: Repository
    kind: JobKind
    id: JobId
    progress: Progress
    errand: Errand
    store: str = PRIMARY

    def archive(self, source: SharedSettings, compression: str, work: ShardWork) -> list[ShardAnswer]:
        """Have all shards of a source stored; return their answers in the plan's order."""
        devices, alike = devices_of(source), likeness(source)

        def order(number: int, at: int) -> ArchiveOrder:
            return ArchiveOrder(
                job=self.id,
                number=number,
                store=self.store,
                repository=self.repository.config.id,
                cores=self.workers.cores,
                source=source.name,
                likeness=alike,
                devices=devices,
                ranges=work.plan.shards[at].ranges,
                parent=work.parent,
                lost=tuple(sorted(work.lost)),
                compression=compression,
            )

        found: dict[int, ShardAnswer] = {}
        for at, answer in self._do([line.partition(": ")[2] for line in work.plan.lines()], order, ShardAnswer):
            stats = answer.archived.stats
            self.progress.advance(bytes_done=stats.source_bytes, files_done=stats.files)
            found[at] = answer
        return [found[at] for at in range(len(work.plan.shards))]

    def prove(self, packs: Sequence[str]) -> Iterator[PackProof]:
        """Have whole packs read and proved; yields the proofs as they come. The index must be loaded."""
        sizes = dict(self.repository.index.sizes())
        lots = in_lots(packs, {pack: sizes.get(pack, 1) for pack in packs}, _LOTS * self.workers.count)

        def order(number: int, at: int) -> ExamineOrder:
            return ExamineOrder(
                job=self.id,
                number=number,
                store=self.store,
                repository=self.repository.config.id,
                packs=tuple(lots[at]),
            )

        answers = self._do([f"{len(lot):,} packs" for lot in lots], order, list[tuple[str, Examined]])
        for _, examined in answers:
            for pack, one in examined:
                self.progress.advance(bytes_done=one.size)
                yield proof_of(one, pack, self.repository.index)

    def restore(self, plan: RestorePlan, target: Path, *, helped: bool) -> Restored:
        """Restore into a directory that all workers share; `helped`: the repository has others that step in."""
        bring = partial(self._bring, target, helped)
        return restore_sharded(self.repository, plan, target, bring, progress=self.progress)

    def prove_restored(self, tree: str, target: Path, *, helped: bool) -> tuple[int, list[str]]:
        """Have what was restored read and compared; return (files compared, differences)."""
        plan = cut_tree(self.repository, tree, _LOTS * self.workers.count, progress=self.progress)

        def order(number: int, at: int) -> ProveOrder:
            return ProveOrder(
                job=self.id,
                number=number,
                store=self.store,
                repository=self.repository.config.id,
                target=str(target),
                tree=tree,
                ranges=plan.shards[at].ranges,
                helped=helped,
            )

        found = [prove_opened(self.repository, tree, plan, target, progress=self.progress)]
        for at, proved in self._do([f"proof of {line}" for line in plan.lines()], order, Proved):
            if proved.left:
                ranges = plan.shards[at].ranges
                proved = prove_ranges(self.repository, tree, ranges, target, progress=self.progress)
            else:
                self.progress.advance(bytes_done=plan.shards[at].weight.bytes, files_done=proved.files)
            found.append(proved)
        return sum(one.files for one in found), [line for one in found for line in one.differences]

    def _bring(self, target: Path, helped: bool, packs: Sequence[PackOrder]) -> Iterator[Brought]:
        by_id = {order.pack: order for order in packs}
        sizes = {order.pack: sum(blob.length for blob in order.blobs) for order in packs}
        lots = in_lots([order.pack for order in packs], sizes, _LOTS * self.workers.count)

        def order(number: int, at: int) -> BringOrder:
            return BringOrder(
                job=self.id,
                number=number,
                store=self.store,
                repository=self.repository.config.id,
                target=str(target),
                packs=tuple(by_id[pack] for pack in lots[at]),
                helped=helped,
            )

        for _, brought in self._do([f"{len(lot):,} packs" for lot in lots], order, Brought):
            self.progress.advance(bytes_done=brought.written)
            yield brought

    def _do(
        self, what: Sequence[str], order: Callable[[int, int], Order], kind: type[AnswerT]
    ) -> Iterator[tuple[int, AnswerT]]:
        first = self.catalog.shards.plan(self.kind, self.id, what)
        orders = [encode_order(order(first + at, at)) for at in range(len(what))]
        watch = ShardWatch(self.catalog.shards, self.id, first, silence=self.catalog.silence)
        try:
            for at, answer in self.workers.do(orders, progress=self.progress, still=watch.still):
                found, traffic = decode_answer(answer, kind)
                self.errand.count(self.store, traffic)
                yield at, cast(AnswerT, found)
        except BaseException:
            with suppress(BackupError):
                self.catalog.shards.stop(self.id)
            raise


def saving(settings: Settings, shared: ShardedJob | None, collected: Collected, job_id: JobId) -> Callable[..., Saved]:
    """Return what publishes a snapshot of a source: this process alone, or workers that share it."""
    alone = partial(save_snapshot, readers=collected.readers)
    source = shared_source(settings, collected.part, collected.name)
    if source is None:
        return alone
    if shared is None:
        log_event("backup_not_sharded", f"{collected.name}: {_ALONE}", job_id=str(job_id))
        return alone
    run = partial(shared.archive, source, settings.repository.compression)
    return partial(save_sharded, run=run, goal=goal_of(source), readers=collected.readers)


def plan_sharding(source: str, *, settings: Settings | None = None, goal: ShardGoal | None = None) -> ShardPlan:
    """Say how a source of files or objects would be cut now, as its settings or `goal` say; nothing is stored.

    Raises NotFoundError, and what opening the repository raises.
    """
    from edurise_backup.operations.configured import opened_repository  # which needs this module

    settings = settings or load_settings()
    sources = divisible_sources(settings)
    found = next((one for one in sources if one.name == source), None)
    if found is None:
        raise NotFoundError(
            f"no source of files or objects is named {source!r}",
            hint=f"choose {', '.join(one.name for one in sources) or 'a name in [[files]] or [[bucket]]'}",
        )
    opened = open_shared(found, SilentProgress())
    repository = opened_repository(settings)
    with readable(repository):
        parent = find_parent(repository, opened.paths, settings.host)
        tree = None if parent is None else parent[1].tree
        return plan_shards(repository, opened, tree, goal or goal_of(found), progress=SilentProgress())


def goal_of(source: SharedSettings) -> ShardGoal:
    """Return into how many shards a source is cut."""
    return ShardGoal(size=source.shard_gib * _GIB) if source.shard_gib else ShardGoal(count=source.shards)


def shares_workers(settings: Settings, backup: BackupJob) -> bool:
    """Whether a backup holds a source that several workers share."""
    return any(shared_source(settings, part.part, part.source) for part in backup.parts)
