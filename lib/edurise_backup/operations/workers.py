"""The workers of a pool: each announces its host, gives signs of life, and says when it is stopped in order."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from edurise_backup import __version__
from edurise_backup.catalog import workers as rows
from edurise_backup.catalog.alarm_facts import clock_offset
from edurise_backup.catalog.workers import Announcement
from edurise_backup.config import Settings
from edurise_backup.errors import ConfigError, ConflictError
from edurise_backup.model.people import Actor, Permission
from edurise_backup.model.workers import Worker
from edurise_backup.operations.alarms import allowed
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.places import readable_sources, refuse_other_repository
from edurise_backup.ports import utc_now

REMOVE = "worker.remove"
"""The audit trail's word."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as people see it."""

    worker: Worker
    lives: bool


def list_workers(catalog: Catalog) -> tuple[WorkerState, ...]:
    """Return every host that has, or had, a worker, and whether it lives; by the catalog server's clock."""
    seen = rows.read_workers(catalog.sessions)
    return tuple(WorkerState(worker, worker.lives(seen.now)) for worker in seen.workers)


def remove_worker(catalog: Catalog, actor: Actor, host: str) -> None:
    """Forget a host for good: its sources are not expected any more.

    Raises ForbiddenError, NotFoundError, and ConflictError while its worker lives.
    """
    allowed(catalog, actor, Permission.ADMINISTER, REMOVE, host)
    rows.remove(catalog.sessions, host)
    catalog.audit.add(actor, REMOVE, host)


def refuse_one_machine(settings: Settings) -> None:
    """Raise ConfigError for a catalog that only this machine could work with."""
    if not settings.catalog.url:
        raise ConfigError(
            "the catalog is embedded: no other machine can reach it, so workers cannot share it",
            safe="nothing was started",
            hint="set catalog.url to a database that every host reaches: docs/operations/several-machines.md",
        )


def begin_worker(catalog: Catalog, settings: Settings, worker_id: UUID, *, pool: str, slots: int) -> Announcement:
    """Announce this host's worker; the repository is opened, so that what is wrong here shows now.

    Raises ConfigError, and ConflictError when the repository is not the others', or the host's name is in use.
    """
    refuse_one_machine(settings)
    repository = opened_repository(settings).config.id
    refuse_other_repository(catalog, settings, repository)
    sources = readable_sources(settings)
    said = Announcement(settings.host, worker_id, pool, slots, sources, repository, __version__)
    rows.announce(catalog.sessions, said)
    return said


def give_sign(catalog: Catalog, said: Announcement) -> None:
    """Say that this host's worker lives; raises ConflictError when its row is somebody else's, or was removed."""
    offset = clock_offset(catalog.sessions, utc_now).total_seconds()
    if not rows.beat(catalog.sessions, said.host, said.id, clock_offset=offset):
        raise ConflictError(
            f"the worker of the host {said.host} was removed, or another one has taken its name",
            safe="runs under way are stopped in order; what they published is whole",
            hint="give each machine a `host` of its own, and start the worker again",
        )


def end_worker(catalog: Catalog, said: Announcement) -> None:
    """Say that this host's worker was stopped in order."""
    rows.leave(catalog.sessions, said.host, said.id)
