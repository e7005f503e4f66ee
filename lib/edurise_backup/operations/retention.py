"""Apply the retention of the schedules: forget whole backups that none of them keeps.

The plan is a value; nothing is forgotten when a snapshot is not readable, when
a backup that the catalog knows is missing (the listing may be short), or when
a pin or hold cannot be read.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, CancelledError, ConflictError
from edurise_backup.model.audit import Outcome
from edurise_backup.model.jobs import JobId, JobStatus
from edurise_backup.model.maintenance import ForgetFigures, MaintenanceFigures, MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import SYSTEM, Actor, Permission
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.copy_retention import retain_copy
from edurise_backup.operations.forgetting import forget_whole
from edurise_backup.operations.guarding import authorise_forgetting
from edurise_backup.operations.jobs import storable
from edurise_backup.operations.maintenance import run_maintenance
from edurise_backup.operations.people import acting
from edurise_backup.operations.primary import opened_primary
from edurise_backup.operations.protections import look_for_protections
from edurise_backup.operations.pruning import parse_duration
from edurise_backup.operations.retention_drift import look_for_drift
from edurise_backup.operations.retention_plan import RetentionPlan, make_plan
from edurise_backup.operations.store_use import refuse_append_only
from edurise_backup.operations.stores import known_copies
from edurise_backup.ports import Progress
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository

_SHOWN = 1000


def plan_retention(settings: Settings | None = None) -> RetentionPlan:
    """Return what the schedules' retention means now; nothing is changed.

    Raises DamageError when a snapshot, pin or hold is not readable, InputError
    for a policy that would keep nothing.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        repository = opened_primary(settings, catalog)
        return make_plan(catalog, repository, settings.objectives, catalog.clock())


def apply_retention(
    *,
    settings: Settings | None = None,
    actor: Actor = SYSTEM,
    dry_run: bool = False,
    grace: str = "7d",
    wait: str = "0",
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Forget every backup that no policy, pin or hold keeps, and return the finished job.

    Until `grace` is over what went can be brought back; `wait`: how long to wait
    for a prune. A dry run only says what would go. The copies follow, each as a
    job of its own; one that cannot be reached is told there. Raises ForbiddenError, InputError, ConflictError when it
    refuses, DamageError: then nothing was forgotten.
    """
    actor.require(Permission.OPERATE if dry_run else Permission.ADMINISTER)
    length, patience = parse_duration(grace), parse_duration(wait)
    settings = settings or load_settings()
    who = actor if flow_run_id is None else acting(flow_run_id)
    with open_catalog(settings) as catalog:

        def work(repository: Repository, reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            reporter.phase("judge")
            look_for_protections(catalog, repository)
            plan = make_plan(catalog, repository, settings.objectives, catalog.clock())
            refuse(plan)
            done = ForgetFigures(plan.dropped)
            if not dry_run:
                refuse_append_only(settings.repository, "forgetting")
                authorise_forgetting(catalog, settings, who, plan.dropped, length)
                done = forget_planned(catalog, repository, plan, reporter, who, started.id, grace=length, wait=patience)
                look_for_drift(catalog, plan.as_of)
            return _told(started, plan, done, len(repository.box.ids(Kind.SNAPSHOT)))

        done = run_maintenance(
            catalog,
            settings,
            _new_job(job_id, dry_run, grace),
            work,
            flow_run_id=flow_run_id,
            progress=progress,
            stop=stop,
            queued=job_id,
        )
        for copy in known_copies(settings, catalog):
            try:
                retain_copy(
                    settings,
                    catalog,
                    copy.name,
                    actor=who,
                    grace=length,
                    wait=patience,
                    dry_run=dry_run,
                    progress=progress,
                    stop=stop,
                )
            except CancelledError:
                raise
            except BackupError:  # its own row says why, and an alarm; the other copies are no worse for it
                continue
        return done


def queue_retention(*, settings: Settings | None = None, dry_run: bool = False, grace: str = "7d") -> JobId:
    """Write the row of a retention that a flow run will do; return its id. Raises InputError for a wrong grace."""
    parse_duration(grace)
    with open_catalog(settings or load_settings()) as catalog:
        job = _new_job(None, dry_run, grace)
        catalog.maintenance.create(job)
        return job.id


def _new_job(job_id: JobId | None, dry_run: bool, grace: str) -> MaintenanceJob:
    asked = f"grace {grace}, by the schedules' retention"
    return MaintenanceJob(
        job_id or JobId(uuid4()), MaintenanceKind.FORGET, JobStatus.QUEUED, dry_run=dry_run, asked=asked
    )


def refuse(plan: RetentionPlan) -> None:
    """Raise ConflictError when nothing may be forgotten now."""
    if plan.refusal:
        raise ConflictError(
            plan.refusal,
            safe="nothing was forgotten",
            hint="find out who removed their snapshots, and whether the store lists everything; "
            "when they are meant to be gone: `edurise-backup forget --gone ID`",
        )


def forget_planned(
    catalog: Catalog,
    repository: Repository,
    plan: RetentionPlan,
    progress: Progress,
    actor: Actor,
    job_id: JobId,
    *,
    grace: timedelta,
    wait: timedelta = timedelta(0),
) -> ForgetFigures:
    """Forget what the plan drops; the audit row is written first: what cannot be recorded is not done."""
    if not plan.dropped:
        return ForgetFigures(())
    detail = {"job": str(job_id), "backups": [str(one) for one in plan.dropped], "grace": str(grace)}
    catalog.audit.add(actor, "retention.forget", str(job_id), detail=detail)
    try:
        chosen = [catalog.jobs.get(backup) for backup in plan.dropped]
        return forget_whole(catalog, repository, chosen, progress, grace=grace, now=plan.as_of, wait=wait)
    except BackupError as error:
        told = {"job": str(job_id), "error": error.message}
        catalog.audit.add(actor, "retention.forget", str(job_id), outcome=Outcome.FAILED, detail=told)
        raise


def _told(job: MaintenanceJob, plan: RetentionPlan, done: ForgetFigures, snapshots: int) -> MaintenanceJob:
    told = [
        f"the backup {decision.point.id} {decision.reasons[-1]}"
        for one in plan.series
        for decision in one.decisions
        if not decision.judged and decision.point.ours and one.schedules
    ]
    return replace(
        job,
        status=JobStatus.COMPLETED_WITH_WARNINGS if told else JobStatus.COMPLETED,
        figures=MaintenanceFigures(snapshots=snapshots, forgotten=done),
        warnings=tuple(map(storable, told[:_SHOWN])),
        remarks=tuple(map(storable, [*plan.breaks, *plan.remarks][:_SHOWN])),
    )
