"""What a worker does: START HERE for the other side of `sharding`.

An order names things and holds no secret: the worker opens repository, source
and catalog from its own configuration, and refuses when that is another one.
Each order may be done several times, also by two workers at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.errors import (
    BackupError,
    ConfigError,
    DamageError,
    NotARepositoryError,
    NotFoundError,
    TransientError,
    UnreachableError,
)
from edurise_backup.machine.cores import cores
from edurise_backup.model.compression import parse_compression
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.model.stores import KnownStore
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.opening import Limits
from edurise_backup.operations.shard_orders import (
    AnyOrder,
    ArchiveOrder,
    BringOrder,
    ExamineOrder,
    Order,
    ProveOrder,
    decode_order,
    encode_answer,
)
from edurise_backup.operations.shard_telling import telling
from edurise_backup.operations.shared_sources import open_ordered
from edurise_backup.operations.stores import find_store, opened_store
from edurise_backup.operations.supply import STEP_IN_SECONDS
from edurise_backup.recovery.sharding import Brought, Proved, bring_packs, prove_ranges
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.sharded_saving import ShardAnswer, archive_shard
from edurise_backup.repository.standby import Standby
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.verification.packs import Examined
from edurise_backup.verification.sharding import examine_packs

Answer = ShardAnswer | list[tuple[str, Examined]] | Brought | Proved


def do_order(encoded: bytes, settings: Settings) -> bytes:
    """Do what an order says, and return the answer; raises CancelledError once its job is not wanted any more."""
    order, errand = decode_order(encoded), Errand(settings)
    with open_catalog(settings) as catalog, telling(catalog.shards, order, catalog.silence.total_seconds()) as progress:
        errand.follow(progress)
        store = find_store(settings, catalog, order.store)
        limits = errand.limits_of(store.name, store.settings)
        if isinstance(order, BringOrder | ProveOrder) and order.helped:
            limits = replace(limits, silence=STEP_IN_SECONDS)
            answer = _answer_or_leave(order, settings, lambda: _opened(order, settings, store, limits), progress)
        else:
            answer = _answer(order, settings, _opened(order, settings, store, limits), progress)
        return encode_answer(answer, errand.traffic(store.name))


def _opened(order: Order, settings: Settings, store: KnownStore, limits: Limits) -> Repository:
    repository = opened_store(settings, store, limits)
    if repository.config.id != order.repository:
        raise ConfigError(
            f"this worker's configuration names another repository: {repository.store.address}",
            safe="nothing was stored",
            hint="give all workers the same configuration, and start them again",
        )
    return repository


def _answer_or_leave(
    order: BringOrder | ProveOrder, settings: Settings, opened: Callable[[], Repository], progress: SilentProgress
) -> Answer:
    """Do what this store has the bytes for; the rest is left to whoever leads, who has another one."""
    try:
        repository = opened()
        repository.standby = Standby(_nobody)
        return _answer(order, settings, repository, progress)
    except (TransientError, UnreachableError, NotFoundError, NotARepositoryError, DamageError):
        if isinstance(order, ProveOrder):
            return Proved(0, (), left=True)
        return Brought(0, tuple(blob.id for pack in order.packs for blob in pack.blobs), ())


def _nobody(_kind: BlobKind, _blob: BlobId, error: BackupError) -> bytes:
    raise DamageError(error.message) from error


def _answer(order: AnyOrder, settings: Settings, repository: Repository, progress: SilentProgress) -> Answer:
    match order:
        case ArchiveOrder():
            return _archive(order, settings, repository, progress)
        case ExamineOrder():
            with repository.lock(at_once=True):
                return list(examine_packs(repository, order.packs, progress=progress))
        case BringOrder():
            with repository.lock(at_once=True):
                return bring_packs(repository, order.packs, Path(order.target), progress=progress)
        case ProveOrder():
            with repository.lock(at_once=True):
                repository.load_index(strict=False)
                return prove_ranges(repository, order.tree, order.ranges, Path(order.target), progress=progress)


def _archive(order: ArchiveOrder, settings: Settings, repository: Repository, progress: SilentProgress) -> ShardAnswer:
    source, readers = open_ordered(settings, order.source, order.likeness, order.devices, progress)
    processors = order.cores or cores()
    writing = WriterSettings(
        compression=parse_compression(order.compression),
        workers=processors,
        crew=processors + (1 if order.cores else 2),
        check=settings.repository.check_blobs,
    )
    with repository.lock(at_once=True) as lock:
        repository.load_index_without(order.lost)
        return archive_shard(
            repository,
            source,
            order.ranges,
            lock,
            parent=order.parent,
            progress=progress,
            settings=writing,
            readers=readers,
        )
