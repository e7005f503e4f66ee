"""What the page "Activity" reads, and what a person may do there: start the same again, cancel.

Each act asks for the role that the work itself needs, and is in the audit trail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import streamlit as st

from dashboard import queries
from dashboard.actions import Actions, Launched
from dashboard.people import permitted
from edurise_backup import operations
from edurise_backup.catalog.activity import Activity, ActivityFilters, Place, backed_up_sources, list_activity
from edurise_backup.catalog.records import JobRecord
from edurise_backup.catalog.shards import ShardRow
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConflictError, InputError
from edurise_backup.model.jobs import BackupJob, JobId, RecoveryJob, RecoveryTarget, Verification
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import Permission
from edurise_backup.operations.places import Places

PAGE_ROWS = 50
_FRESH = timedelta(seconds=2)
_PRUNE_OPTIONS = ("grace", "max_unused", "max_repack_size", "max_removed")


@st.cache_data(ttl=_FRESH, show_spinner=False)
def page_of(filters: ActivityFilters, after: Place | None) -> tuple[Activity, ...]:
    """Return one page of jobs and the first of the next; raises UnreachableError or TransientError."""
    return list_activity(queries.catalog().sessions, filters, after=after, limit=PAGE_ROWS + 1)


@st.cache_data(ttl=timedelta(minutes=1), show_spinner=False)
def sources() -> tuple[str, ...]:
    """Return every source that is configured or that a backup holds."""
    settings = queries.settings()
    configured = {one.name for one in settings.databases}
    configured |= {one.name for one in settings.files} | {one.name for one in settings.buckets}
    configured |= {one.name for one in settings.configuration}
    return tuple(sorted(configured | set(backed_up_sources(queries.catalog().sessions))))


@st.cache_data(ttl=_FRESH, show_spinner=False)
def shards_of(job_id: JobId) -> tuple[ShardRow, ...]:
    """Return the shards of a run that several workers share; raises UnreachableError or TransientError."""
    return queries.catalog().shards.of(job_id)


@dataclass(frozen=True, slots=True)
class Again:
    """How the same is started again: what of, by which flow, with which words."""

    kind: str
    flow: str
    queue: Callable[[], JobId]
    parameters: Mapping[str, object]
    permission: Permission
    host: str = ""
    """Where, when only one host can; empty: wherever there is room."""


def start_again(job: JobRecord, *, actions: Actions, settings: Settings) -> Launched:
    """Start what a job did once more, as a job of its own; raises ForbiddenError, InputError, UnreachableError."""
    if not job.status.ended:
        raise ConflictError("it has not ended yet", safe="nothing was started", hint="cancel it first, or wait")
    again = _again(job, actions, settings)
    return actions.start(again.permission, again.kind, again.flow, again.queue, again.parameters, host=again.host)


def cancel(kind: str, job: JobRecord, *, actions: Actions) -> str:
    """Ask a job and its flow run to stop; return what will happen. Raises ForbiddenError, ConflictError.

    The row decides: it is told first, and work on the command line hears it, too.
    """
    actor = permitted(Permission.OPERATE, "job.cancel", str(job.id))
    if not queries.request_cancel(kind, job.id):
        raise ConflictError("it has ended already", safe="nothing was changed", hint="refresh the page")
    queries.catalog().audit.add(actor, "job.cancel", str(job.id), detail={"kind": kind})
    if job.flow_run_id is None:
        return "It is asked to stop, and does at its next sign of life."
    try:
        actions.cancel(job.flow_run_id)
    except BackupError as error:
        return (
            f"It is asked to stop, and does at its next sign of life; its flow run could not be told: {error.message}"
        )
    return "It is asked to stop, and its flow run is being cancelled."


def permission_to_start(job: JobRecord) -> Permission:
    """Return what starting the same again asks for."""
    match job:
        case RecoveryJob():
            return Permission.RESTORE
        case MaintenanceJob(kind=MaintenanceKind.PRUNE, dry_run=False):
            return Permission.ADMINISTER
        case _:
            return Permission.OPERATE


def _again(job: JobRecord, actions: Actions, settings: Settings) -> Again:
    match job:
        case BackupJob():
            return _backup_again(job, settings)
        case Verification():
            return _verification_again(job, settings)
        case RecoveryJob():
            return _recovery_again(job, settings)
        case MaintenanceJob():
            return _maintenance_again(job, actions, settings)


def _verification_again(job: Verification, settings: Settings) -> Again:
    def queue() -> JobId:
        return operations.queue_verification(job.backup_id, settings=settings)

    return Again("verification", "verify", queue, {"backup_id": str(job.backup_id)}, permission_to_start(job))


def _backup_again(job: BackupJob, settings: Settings) -> Again:
    source, tags = job.source or None, list(job.tags)

    def queue() -> JobId:
        return operations.queue_backup(
            job.type, settings=settings, source=source, incremental=job.incremental, tags=tags
        )

    parameters = {"type": job.type.value, "source": source, "incremental": job.incremental, "tags": tags}
    host = Places.of(queries.catalog()).backup(job.type, source)
    return Again("backup", "backup", queue, parameters, permission_to_start(job), host)


def _recovery_again(job: RecoveryJob, settings: Settings) -> Again:
    target = job.target
    if target is None:
        raise InputError(
            "its row does not say where it went", safe="nothing was started", hint="start it on the page Overview"
        )
    parameters = {
        "backup_id": str(job.backup_id),
        "directory": target.directory,
        "database_suffix": target.database_suffix,
        "database_source": target.database_source,
        "parts": [part.value for part in target.parts] or None,
        "store": target.store,
        "buckets": target.buckets.value,
    }

    def queue(wanted: RecoveryTarget = target) -> JobId:
        return operations.queue_recovery(job.backup_id, wanted, settings=settings)

    living = {state.worker.host for state in queries.workers() if state.lives}
    host = job.host if job.host in living else ""  # its target is a folder of that host
    return Again("recovery", "recover", queue, parameters, permission_to_start(job), host)


def _maintenance_again(job: MaintenanceJob, actions: Actions, settings: Settings) -> Again:
    """Return how a check, prune or copy is started again: its options are kept by Prefect alone."""
    if job.kind is MaintenanceKind.COPY:
        return _copy_again(job, settings)
    if job.kind not in (MaintenanceKind.CHECK, MaintenanceKind.PRUNE) or job.flow_run_id is None:
        raise InputError(
            f"this {job.kind.value} was asked for on the command line, which alone knows its options",
            safe="nothing was started",
            hint=f"run `edurise-backup {job.kind.value}` there again",
        )
    given = {
        name: value
        for name, value in actions.parameters(job.flow_run_id).items()
        if name not in ("job_id", "config_path")
    }
    words = {name: str(given[name]) for name in _PRUNE_OPTIONS if name in given}

    def queue() -> JobId:
        if job.kind is MaintenanceKind.CHECK:
            budget, all_of_it = str(given.get("budget", "5%")), bool(given.get("read_data"))
            if job.store:
                return operations.queue_copy_check(job.store, settings=settings, budget=budget, read_data=all_of_it)
            return operations.queue_check(settings=settings, budget=budget, read_data=all_of_it)
        if job.store:
            return operations.queue_copy_prune(job.store, settings=settings, dry_run=job.dry_run)
        return operations.queue_prune(settings=settings, dry_run=job.dry_run, **words)

    return Again("maintenance", job.kind.value, queue, given, permission_to_start(job))


def _copy_again(job: MaintenanceJob, settings: Settings) -> Again:
    def queue() -> JobId:
        return operations.queue_copy(job.store, settings=settings)

    return Again("maintenance", "copy", queue, {"store": job.store}, permission_to_start(job))


def since_of(word: str, now: datetime) -> datetime | None:
    """Return the moment from which on jobs are shown; None for all."""
    days = {"24 hours": 1, "7 days": 7, "30 days": 30, "a year": 366}.get(word)
    # to the minute: the same question within a minute is answered from the cache
    return None if days is None else (now - timedelta(days=days)).replace(second=0, microsecond=0)
