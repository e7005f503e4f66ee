"""Prune and check the configured repository as jobs: with a row in the catalog and a record in the repository.

A prune knows from the catalog which snapshots must be there, and refuses when
one is gone that nobody has forgotten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import ConflictError, InputError
from edurise_backup.model.jobs import JobId, JobStatus, Verdict
from edurise_backup.model.maintenance import MaintenanceFigures, MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import Actor
from edurise_backup.model.stores import PRIMARY
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.copy_contents import read_contents
from edurise_backup.operations.copy_logs import tidy_logs
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.figures import checked_figures, planned_figures, pruned_figures
from edurise_backup.operations.guarding import PRUNE, authorised_prune
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.keys import note_keys
from edurise_backup.operations.people import acting
from edurise_backup.operations.places import refuse_other_repository
from edurise_backup.operations.presence import Presence, look_for_backups
from edurise_backup.operations.primary import opened_primary
from edurise_backup.operations.protections import look_for_protections, refuse_vanished
from edurise_backup.operations.pruning import (
    PruneWish,
    prune_wish,
    show_prune,
)
from edurise_backup.operations.records import keep_record
from edurise_backup.operations.space import note_space
from edurise_backup.operations.store_use import probe_again, refuse_append_only
from edurise_backup.ports import Clock, Progress
from edurise_backup.repository.pruner import prune
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.budget import Budget
from edurise_backup.verification.checker import CheckResult, check

Work = Callable[[Repository, JobReporter, MaintenanceJob], MaintenanceJob]
_SHOWN = 1000


def prune_repository(
    *,
    settings: Settings | None = None,
    dry_run: bool = False,
    grace: str = "1d",
    max_unused: str = "5%",
    max_repack_size: str = "",
    max_removed: str = "50%",
    wait: str = "0",
    actor: Actor | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Remove data that no snapshot refers to, and return the finished job.

    A dry run only says what would go, in the same figures. `grace`: how long
    packs wait, out of the index, before they are deleted; `wait`: how long to
    wait for running backups. To remove more than the site's threshold needs a
    second person: `actor` is who asks, unless named the person at this process,
    and nobody behind a flow run. Raises InputError for an option that means
    nothing, ForbiddenError, ConflictError when the prune refuses (nothing was
    removed), LockedError, DamageError.
    """
    wish = prune_wish(grace, max_unused, max_repack_size, max_removed, wait)
    job = _new_prune(job_id, dry_run, prune_words(grace, max_unused, max_repack_size, max_removed))
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:

        def work(repository: Repository, reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            if not dry_run:
                refuse_append_only(settings.repository, "a prune")
            refuse_vanished(look_for_protections(catalog, repository))
            present, who = look_for_backups(catalog, repository), actor or acting(flow_run_id)
            _refuse_missing(present)
            options = wish.options
            if not dry_run:
                options = authorised_prune(
                    catalog, settings, who, repository, options, known=present.known, progress=reporter
                )
                # before the first deletion: a crash must not leave one of which nobody wrote
                catalog.audit.add(who, PRUNE, str(started.id), detail={"asked": started.asked})
                tidy_logs(repository, read_contents(repository), now=catalog.clock)
            chosen = replace(wish, options=options)
            return pruned_job(repository, present.known, chosen, reporter, started, now=catalog.clock)

        return run_maintenance(
            catalog, settings, job, work, flow_run_id=flow_run_id, progress=progress, stop=stop, queued=job_id
        )


def queue_prune(
    *,
    settings: Settings | None = None,
    dry_run: bool = False,
    grace: str = "1d",
    max_unused: str = "5%",
    max_repack_size: str = "",
    max_removed: str = "50%",
) -> JobId:
    """Write the row of a prune that a flow run will do; return its id. Raises InputError for a wrong option."""
    prune_wish(grace, max_unused, max_repack_size, max_removed, "0")
    job = _new_prune(None, dry_run, prune_words(grace, max_unused, max_repack_size, max_removed))
    return _queue(settings, job)


def check_repository(
    *,
    settings: Settings | None = None,
    budget: str = "",
    read_data: bool = False,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Check that every snapshot can be restored, and that every backup is there; return the finished job.

    `read_data` reads every byte, a budget (`10GiB`, `30m`, `5%`) what was never
    or longest ago proved; without either the structure alone is looked at. What
    is wrong is no error: `verification_status` is then `failed`, and `findings`
    says what. Raises InputError, and BackupError when the check could not be done.
    """
    asked, bound = check_words(budget, read_data), check_bound(budget, read_data)
    job = MaintenanceJob(job_id or JobId(uuid4()), MaintenanceKind.CHECK, JobStatus.QUEUED, asked=asked)
    settings = settings or load_settings()
    errand = Errand(settings, progress=progress, stop=stop)
    with open_catalog(settings) as catalog:

        def work(repository: Repository, reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            present = look_for_backups(catalog, repository)
            note_keys(catalog, repository)
            probe_again(catalog, settings, repository, reporter, errand.limits)
            with repository.lock():
                found = check(repository, progress=reporter, read_data=read_data, budget=bound, now=catalog.clock)
            return _checked(repository, present, found, started)

        return run_maintenance(
            catalog,
            settings,
            job,
            work,
            flow_run_id=flow_run_id,
            progress=progress,
            stop=stop,
            queued=job_id,
            errand=errand,
        )


def queue_check(*, settings: Settings | None = None, budget: str = "", read_data: bool = False) -> JobId:
    """Write the row of a check that a flow run will do; return its id. Raises InputError for a wrong option."""
    check_bound(budget, read_data)
    asked = check_words(budget, read_data)
    return _queue(settings, MaintenanceJob(JobId(uuid4()), MaintenanceKind.CHECK, JobStatus.QUEUED, asked=asked))


def run_maintenance(
    catalog: Catalog,
    settings: Settings,
    job: MaintenanceJob,
    work: Work,
    *,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    queued: JobId | None = None,
    errand: Errand | None = None,
) -> MaintenanceJob:
    """Run a job on the configured repository; what keeps it from starting is told in the row of a flow run's job."""
    if queued is None and flow_run_id is not None:  # nobody watches it: what stops it must be told in a row
        catalog.maintenance.create(job)
        catalog.maintenance.attach_flow_run(job.id, flow_run_id)
        queued = job.id
    with told_in_row(catalog.maintenance, queued):
        errand = errand or Errand(settings, progress=progress, stop=stop)
        errand.await_job(catalog, catalog.maintenance, queued)
        repository = opened_primary(settings, catalog, errand)
        refuse_other_repository(catalog, settings, repository.config.id)
        done = run_job(
            catalog.maintenance,
            job,
            lambda reporter, started: work(repository, reporter, started),
            keep=partial(_keep, repository),
            flow_run_id=flow_run_id,
            progress=progress,
            stop=stop,
            errand=errand,
        )
        note_space(catalog.sessions, settings, catalog.clock())
        if done.figures is not None and done.figures.bytes is not None:
            catalog.stores.note_size(PRIMARY, done.figures.bytes)
        return done


def _keep(repository: Repository, job: MaintenanceJob) -> None:
    if not job.dry_run:  # what was only thought of is no history
        keep_record(repository, job)


def _queue(settings: Settings | None, job: MaintenanceJob) -> JobId:
    with open_catalog(settings or load_settings()) as catalog:
        catalog.maintenance.create(job)
        return job.id


# Prune


def prune_words(grace: str, max_unused: str, max_repack_size: str, max_removed: str) -> str:
    """Say with what options a prune was asked for."""
    words = f"grace {grace}, at most {max_unused} unused, at most {max_removed} removed"
    return words + (f", at most {max_repack_size} written again" if max_repack_size else "")


def _new_prune(job_id: JobId | None, dry_run: bool, asked: str) -> MaintenanceJob:
    return MaintenanceJob(
        job_id or JobId(uuid4()), MaintenanceKind.PRUNE, JobStatus.QUEUED, dry_run=dry_run, asked=asked
    )


def pruned_job(
    repository: Repository,
    known: Collection[str],
    wish: PruneWish,
    progress: Progress,
    job: MaintenanceJob,
    *,
    now: Clock,
) -> MaintenanceJob:
    """Prune, or only plan it for a dry run, and return the job as it ends; `known` snapshots must be there."""
    if job.dry_run:
        plan = show_prune(repository, wish.options, progress=progress, known=known, now=now)
        return _told(job, planned_figures(plan), plan.warnings)
    pruned = prune(repository, wish.options, progress=progress, known=known, wait=wish.wait, now=now)
    return _told(job, pruned_figures(repository, pruned), pruned.warnings)


def _refuse_missing(present: Presence) -> None:
    if present.missing:
        more = len(present.missing) - 5
        raise ConflictError(
            f"{len(present.missing)} backups that the catalog knows are not in the repository any more: "
            + ", ".join(str(job_id)[:8] for job_id in present.missing[:5])
            + (f" and {more} more" if more > 0 else ""),
            safe="nothing was removed",
            hint="find out who removed their snapshots, and whether the store lists everything; "
            "when they are meant to be gone: `edurise-backup forget --gone ID`",
        )


def _told(job: MaintenanceJob, figures: MaintenanceFigures, warnings: tuple[str, ...]) -> MaintenanceJob:
    refusal = figures.pruned.refusal if figures.pruned else ""
    told = (*warnings, f"a prune would be refused: {refusal}") if refusal else warnings
    return replace(
        job,
        status=JobStatus.COMPLETED_WITH_WARNINGS if told else JobStatus.COMPLETED,
        figures=figures,
        warnings=tuple(map(storable, told[:_SHOWN])),
    )


# Check


def check_bound(budget: str, read_data: bool) -> Budget | None:
    """Return how much a check reads; raises InputError."""
    if budget and read_data:
        raise InputError("everything is to be read, and a budget is given", hint="use one of the two")
    return Budget.parse(budget) if budget else None


def check_words(budget: str, read_data: bool) -> str:
    """Say with what options a check was asked for."""
    return f"budget {budget}" if budget else "every byte" if read_data else "structure"


def _checked(repository: Repository, present: Presence, found: CheckResult, job: MaintenanceJob) -> MaintenanceJob:
    findings = [*present.missing_sentences(), *present.problems, *found.findings]
    return replace(
        job,
        status=JobStatus.COMPLETED,
        verification_status=Verdict.FAILED if findings else Verdict.PASSED,
        figures=checked_figures(repository, found),
        findings=findings_of(findings, found),
        remarks=tuple(map(storable, found.remarks[:_SHOWN])),
    )


def findings_of(findings: Sequence[str], found: CheckResult) -> tuple[str, ...]:
    """Return what a row holds of a check's findings: the findings, then the paths that they cost."""
    paths = [f"affected: snapshot {one.snapshot[:8]}, {one.path}" for one in found.affected.paths]
    return tuple(map(storable, [*findings, *paths][:_SHOWN]))
