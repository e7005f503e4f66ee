"""Prove, prune and thin out a copy on its own: its own bytes, its own key, by the same rules as the primary.

What is found is kept on the copy's rows, and never counts as the primary's.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import replace
from uuid import UUID, uuid4

from edurise_backup.catalog.heartbeat import JobReporter
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import ConflictError, NotFoundError
from edurise_backup.model.jobs import BackupJob, JobId, JobStatus, PartResult, Verdict
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import Actor
from edurise_backup.model.stores import BackupCopy, CopyState
from edurise_backup.operations.backups import find_backup
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.copy_contents import follow_contents, read_contents
from edurise_backup.operations.copy_holds import mirror_protections
from edurise_backup.operations.copy_jobs import run_on_copy
from edurise_backup.operations.copy_proofs import BACKUP, note_verdicts
from edurise_backup.operations.figures import checked_figures
from edurise_backup.operations.guarding import PRUNE, authorised_prune
from edurise_backup.operations.jobs import storable
from edurise_backup.operations.maintenance import check_bound, check_words, findings_of, prune_words, pruned_job
from edurise_backup.operations.people import acting
from edurise_backup.operations.pruning import prune_wish
from edurise_backup.operations.stores import find_copy
from edurise_backup.ports import Progress
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.checker import CheckResult, check

_SHOWN = 1000


def verify_copy(
    store: str,
    backup: UUID | str = "",
    *,
    settings: Settings | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Read every byte that a backup needs back from a copy, and return the finished job.

    Without a backup it is the newest one there that was never verified there,
    else the one whose proof is oldest. What is wrong is no error:
    `verification_status` is then `failed`, and `findings` says what. Raises
    NotFoundError for an unknown copy, or a backup that it does not have.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        job = _verification(settings, catalog, store, backup, job_id)
        chosen = find_backup(catalog, job.asked.removeprefix(BACKUP))

        def work(repository: Repository, reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            there = read_contents(repository)
            ids = there.of_backup(chosen)
            with repository.lock():
                listed = [name for name in ids if name]
                found = check(repository, progress=reporter, read_data=True, snapshots=listed, now=catalog.clock)
            lost = [f"a snapshot of its {part.part.value} part is not there" for part in _absent(chosen, ids)]
            return _checked(repository, started, found, lost, there.problems)

        done = run_on_copy(
            settings, catalog, job, work, flow_run_id=flow_run_id, progress=progress, stop=stop, queued=job_id
        )
        note_verdicts(catalog, done, {chosen.id: done.verification_status})
        return done


def check_copy(
    store: str,
    *,
    settings: Settings | None = None,
    budget: str = "",
    read_data: bool = False,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Check a copy as `check_repository` checks the primary; raises as that, and NotFoundError for an unknown copy."""
    settings, bound = settings or load_settings(), check_bound(budget, read_data)
    job = _check(store, budget, read_data, job_id)
    with open_catalog(settings) as catalog:
        verdicts: dict[UUID, Verdict] = {}

        def work(repository: Repository, reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            there = read_contents(repository)
            rows = follow_contents(catalog, store, there, catalog.clock())
            with repository.lock():
                found = check(repository, progress=reporter, read_data=read_data, budget=bound, now=catalog.clock)
            gone = [
                f"the backup {row.backup_id} is gone from it" for row in rows.values() if row.state is CopyState.GONE
            ]
            verdicts.update(_verdicts(rows, found, everything=read_data))
            return _checked(repository, started, found, gone)

        done = run_on_copy(
            settings, catalog, job, work, flow_run_id=flow_run_id, progress=progress, stop=stop, queued=job_id
        )
        note_verdicts(catalog, done, verdicts)
        return done


def prune_copy(
    store: str,
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
    """Remove from a copy what no snapshot there refers to; raises as `prune_repository`.

    It refuses while a restore point is gone there that nobody has forgotten, and keeps what is pinned or held.
    """
    wish = prune_wish(grace, max_unused, max_repack_size, max_removed, wait)
    settings, who = settings or load_settings(), actor or acting(flow_run_id)
    asked = prune_words(grace, max_unused, max_repack_size, max_removed)
    job = _new(job_id, MaintenanceKind.PRUNE, store, asked, dry_run=dry_run)
    with open_catalog(settings) as catalog:

        def work(repository: Repository, reporter: JobReporter, started: MaintenanceJob) -> MaintenanceJob:
            known = _known_there(catalog, repository, store)
            options = wish.options
            if not dry_run:
                options = authorised_prune(catalog, settings, who, repository, options, known=known, progress=reporter)
                catalog.audit.add(who, PRUNE, str(started.id), detail={"asked": started.asked, "store": store})
            chosen = replace(wish, options=options)
            return pruned_job(repository, known, chosen, reporter, started, now=catalog.clock)

        return run_on_copy(
            settings, catalog, job, work, flow_run_id=flow_run_id, progress=progress, stop=stop, queued=job_id
        )


def queue_copy_verification(store: str, backup: UUID | str = "", *, settings: Settings | None = None) -> JobId:
    """Write the row of a verification that a flow run will do on a copy; return its id. Raises NotFoundError."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        job = _verification(settings, catalog, store, backup, None)
        catalog.maintenance.create(job)
        return job.id


def queue_copy_check(
    store: str, *, settings: Settings | None = None, budget: str = "", read_data: bool = False
) -> JobId:
    """Write the row of a check that a flow run will do on a copy; return its id. Raises NotFoundError, InputError."""
    check_bound(budget, read_data)
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        find_copy(settings, catalog, store)
        job = _check(store, budget, read_data, None)
        catalog.maintenance.create(job)
        return job.id


def queue_copy_prune(store: str, *, settings: Settings | None = None, dry_run: bool = False) -> JobId:
    """Write the row of a prune that a flow run will do on a copy; return its id. Raises NotFoundError."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        find_copy(settings, catalog, store)
        asked = prune_words("1d", "5%", "", "50%")
        job = _new(None, MaintenanceKind.PRUNE, store, asked, dry_run=dry_run)
        catalog.maintenance.create(job)
        return job.id


def _new(
    job_id: JobId | None, kind: MaintenanceKind, store: str, asked: str, *, dry_run: bool = False
) -> MaintenanceJob:
    return MaintenanceJob(job_id or JobId(uuid4()), kind, JobStatus.QUEUED, dry_run=dry_run, store=store, asked=asked)


def _check(store: str, budget: str, read_data: bool, job_id: JobId | None) -> MaintenanceJob:
    return _new(job_id, MaintenanceKind.CHECK, store, check_words(budget, read_data))


def _verification(
    settings: Settings, catalog: Catalog, store: str, backup: UUID | str, job_id: JobId | None
) -> MaintenanceJob:
    find_copy(settings, catalog, store)
    rows = {key: row for key, row in catalog.copies.of_store(store).items() if row.state is CopyState.WHOLE}
    chosen = find_backup(catalog, backup).id if backup else _next_to_prove(catalog, rows, store)
    if chosen not in rows:
        raise NotFoundError(
            f"the copy {store} does not have the backup {chosen} whole, as far as is known",
            safe="nothing was done",
            hint=f"`edurise-backup copy run {store}` brings what is new",
        )
    return _new(job_id, MaintenanceKind.VERIFY, store, f"{BACKUP}{chosen}")


def _next_to_prove(catalog: Catalog, rows: Mapping[UUID, BackupCopy], store: str) -> JobId:
    """Return the newest backup that was never verified in the copy, else the one whose proof is oldest."""
    there = [catalog.jobs.get(key) for key in rows]
    if not there:
        raise NotFoundError(
            f"the copy {store} has no whole restore point yet",
            safe="nothing was done",
            hint=f"`edurise-backup copy run {store}` brings them",
        )
    fresh = [job for job in there if rows[job.id].verified_at is None]
    newest = sorted(fresh, key=lambda job: (str(job.completed_at), job.id), reverse=True)
    return newest[0].id if newest else min(there, key=lambda job: (str(rows[job.id].verified_at), job.id)).id


def _absent(backup: BackupJob, ids: Collection[str]) -> list[PartResult]:
    return [part for part, name in zip(backup.parts, ids, strict=True) if not name]


def _checked(
    repository: Repository, job: MaintenanceJob, found: CheckResult, more: Collection[str], beside: Collection[str] = ()
) -> MaintenanceJob:
    """Return the finished job; `beside` is wrong there, too, and no fault of what was looked at."""
    findings = [*more, *found.findings]
    return replace(
        job,
        status=JobStatus.COMPLETED,
        verification_status=Verdict.FAILED if findings else Verdict.PASSED,
        figures=checked_figures(repository, found),
        findings=findings_of(findings, found),
        remarks=tuple(map(storable, [*beside, *found.remarks][:_SHOWN])),
    )


def _verdicts(rows: Mapping[UUID, BackupCopy], found: CheckResult, *, everything: bool) -> dict[UUID, Verdict]:
    """Return what a check says of each restore point: damaged ones, and the others when every byte was sound."""
    hit = set(found.affected.snapshots)
    failed = {key: Verdict.FAILED for key, row in rows.items() if hit.intersection(row.snapshots)}
    if not everything or found.findings:
        return failed
    return {key: Verdict.PASSED for key, row in rows.items() if row.state is CopyState.WHOLE}


def _known_there(catalog: Catalog, repository: Repository, store: str) -> tuple[str, ...]:
    """Return the snapshots that must be there; raises ConflictError when a restore point is gone."""
    there = read_contents(repository)
    rows = follow_contents(catalog, store, there, catalog.clock())
    mirror_protections(catalog, repository, there)
    gone = [str(row.backup_id)[:8] for row in rows.values() if row.state is CopyState.GONE]
    if gone:
        raise ConflictError(
            f"{len(gone)} restore points are gone from the copy {store}, and nobody has forgotten them: "
            f"{', '.join(gone[:5])}",
            safe="nothing was removed",
            hint=f"find out who removed them; `edurise-backup copy run {store}` brings back what the primary has",
        )
    return tuple(
        name for row in rows.values() if row.state is not CopyState.FORGOTTEN for name in row.snapshots if name
    )
