"""The flow of every schedule: it passes the gate, then does what its row says; one run is one expected run.

Its only parameter is the schedule's id. What is to be done is read from the row
when the run begins, so an edit counts for runs that wait already.
"""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import UUID, uuid4, uuid5

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed

from edurise_backup import operations
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, InputError
from edurise_backup.model.jobs import JobId
from edurise_backup.model.schedules import Schedule, Work
from edurise_backup.operations.copies import copy_names
from edurise_backup.operations.schedule_runs import Admission, attach_job, end_run
from edurise_backup.operations.verifications import newest_unverified
from flows.anchor import anchor_markdown, seal_trail
from flows.backup import take_backup
from flows.check import check_repository, show_check
from flows.copies import check_one_copy, copy_each, prove_copy, show_copy_proof
from flows.policies import current_flow_run, told_in_full
from flows.prune import remove_unused
from flows.report import make
from flows.results import backup_markdown, maintenance_markdown, report_markdown
from flows.retain import forget_by_retention
from flows.verify import prove_backup, show_verification

SKIPPED = "Skipped"
"""The name of the state in which a run ends that the gate did not let through."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a kind of work needs to know."""

    settings: Settings
    schedule: Schedule
    note: Callable[[JobId], None]
    """To be told the job that works now."""


@flow(name="scheduled", persist_result=False, result_serializer="json")
@told_in_full
def scheduled(schedule_id: UUID) -> str | State[object]:
    """Run what the schedule says, if the gate lets this run through; returns the job's id."""
    settings = load_settings()
    with operations.open_catalog(settings) as catalog:
        admission = operations.begin_run(
            catalog,
            schedule_id,
            flow_run_id=current_flow_run(),
            expected=flow_run.scheduled_start_time,
            now=datetime.now(UTC),
        )
    if not admission.admitted or admission.schedule is None:
        return Completed(name=SKIPPED, message=f"nothing was run: {admission.reason}")
    try:
        job_id = do_work(settings, admission)
    except BackupError as error:
        note_end(settings, admission, good=False, reason=error.message)
        raise
    except BaseException:  # told to stop: the row must not look as if the work went on
        note_end(settings, admission, good=False, reason="the run was stopped, or broke off")
        raise
    note_end(settings, admission, good=True, reason=admission.reason)
    return str(job_id)


def do_work(settings: Settings, admission: Admission) -> JobId:
    """Do the schedule's work, and tie each job that works for it to the expected run; raises what the work raises."""
    assert admission.schedule is not None

    def note(job_id: JobId) -> None:
        with operations.open_catalog(settings) as catalog:
            attach_job(catalog, admission, job_id)

    work = WORK.get(admission.schedule.type)
    if work is None:
        raise InputError(
            f"{admission.schedule.type.value} cannot be run by a schedule in this release",
            safe="nothing was run",
            hint="install the release that made this schedule",
        )
    job_id = work(Run(settings, admission.schedule, note))
    note(job_id)
    return job_id


def note_end(settings: Settings, admission: Admission, *, good: bool, reason: str) -> None:
    """Note how the run ended; a catalog that does not answer now finds it in the job's row later."""
    with suppress(BackupError), operations.open_catalog(settings) as catalog:
        end_run(catalog, admission, good=good, reason=reason, now=datetime.now(UTC))


def run_backup(run: Run) -> JobId:
    """Take a backup of the schedule's type; it carries the schedule's id as a tag."""
    schedule = run.schedule
    assert schedule.type.backup is not None
    tags = [*schedule.tags, f"schedule={schedule.id}"]
    source = schedule.source or None
    queued = operations.queue_backup(
        schedule.type.backup, settings=run.settings, source=source, incremental=schedule.incremental, tags=tags
    )
    run.note(queued)
    job = take_backup(
        backup_type=schedule.type.backup,
        source=source,
        incremental=schedule.incremental,
        tags=tags,
        job_id=queued,
        config_path=None,
    )
    create_markdown_artifact(backup_markdown(job), key="backup", description=f"Backup {job.id}")
    return job.id


def run_verification(run: Run) -> JobId:
    """Verify the newest good backup that nobody verified yet, or the next one in the copy that the schedule names."""
    if name := str(run.schedule.options.get("store", "")):
        return run_copy_proof(run, name)
    backup_id = newest_unverified(settings=run.settings)
    queued = operations.queue_verification(backup_id, settings=run.settings)
    run.note(queued)
    verification = prove_backup(backup_id, queued, None)
    show_verification(verification)
    return verification.id


def run_check(run: Run) -> JobId:
    """Check the repository, as far as the schedule's budget goes."""
    options = {"budget": "5%", "read_data": False} | dict(run.schedule.options)
    budget = "" if options["read_data"] else str(options["budget"])
    read_data = bool(options["read_data"])
    if name := str(options.get("store", "")):
        queued = operations.queue_copy_check(name, settings=run.settings, budget=budget, read_data=read_data)
        run.note(queued)
        job = check_one_copy(name, budget, read_data, queued, None)
        show_copy_proof(job, "check")
        return job.id
    queued = operations.queue_check(settings=run.settings, budget=budget, read_data=read_data)
    run.note(queued)
    job = check_repository(budget, read_data, queued, None)
    show_check(job)
    return job.id


def run_prune(run: Run) -> JobId:
    """Remove what no backup refers to, waiting for running backups."""
    options = PRUNE | {name: str(value) for name, value in run.schedule.options.items() if name != "dry_run"}
    dry_run, store = bool(run.schedule.options.get("dry_run", False)), options.pop("store", "")
    shares = {name: value for name, value in options.items() if name != "wait"}
    if store:
        queued = operations.queue_copy_prune(store, settings=run.settings, dry_run=dry_run)
    else:
        queued = operations.queue_prune(settings=run.settings, dry_run=dry_run, **shares)
    run.note(queued)
    job = remove_unused(dry_run=dry_run, wait=options["wait"], store=store, job_id=queued, config_path=None, **shares)
    create_markdown_artifact(maintenance_markdown(job), key="prune", description=f"Prune {job.id}")
    return job.id


def run_retention(run: Run) -> JobId:
    """Forget what no schedule's retention keeps, waiting for a prune."""
    options = {"grace": "7d", "wait": "1h", "dry_run": False} | dict(run.schedule.options)
    dry_run, grace = bool(options["dry_run"]), str(options["grace"])
    queued = operations.queue_retention(settings=run.settings, dry_run=dry_run, grace=grace)
    run.note(queued)
    job = forget_by_retention(dry_run=dry_run, grace=grace, wait=str(options["wait"]), job_id=queued, config_path=None)
    create_markdown_artifact(maintenance_markdown(job), key="retain", description=f"Retention {job.id}")
    return job.id


def run_copy(run: Run) -> JobId:
    """Copy what is new into the copy that the schedule names, or into each."""
    names = copy_names(settings=run.settings, store=str(run.schedule.options.get("store", "")))
    queued = operations.queue_copy(names[0], settings=run.settings) if len(names) == 1 else None
    if queued is not None:
        run.note(queued)
    return copy_each(names, queued, None).id


def run_copy_proof(run: Run, store: str) -> JobId:
    """Verify the next restore point in a copy."""
    queued = operations.queue_copy_verification(store, settings=run.settings)
    run.note(queued)
    job = prove_copy(store, "", queued, None)
    show_copy_proof(job, "verification")
    return job.id


def run_report(run: Run) -> JobId:
    """Make the report of the period that ended last; the report's id stands for the job's."""
    options = {"period": "", "source": "", "zone": run.schedule.zone} | dict(run.schedule.options)
    made = make(
        str(options["period"]), str(options["source"]), str(options["zone"]), "", uuid4(), datetime.now(UTC), None
    )
    create_markdown_artifact(report_markdown(made), key="report", description=f"Report {made.id}")
    return JobId(made.id)


def run_anchor(run: Run) -> JobId:
    """Prove the audit trail and seal its head; there is no job: an id that follows from the anchor stands for one."""
    done = seal_trail(None)
    create_markdown_artifact(anchor_markdown(done), key="anchor", description="Anchor of the audit trail")
    return JobId(uuid5(ANCHORS, done.anchor.name))


ANCHORS = UUID("3a1d1f0e-7f0b-4d8c-9a55-0f5a3f5be4a1")
"""Of the ids that stand for anchors in the ledger."""
PRUNE = {"grace": "1d", "max_unused": "5%", "max_repack_size": "", "max_removed": "50%", "wait": "1h"}

WORK: Mapping[Work, Callable[[Run], JobId]] = MappingProxyType(
    {
        **{work: run_backup for work in Work if work.backup},
        Work.VERIFY: run_verification,
        Work.CHECK: run_check,
        Work.PRUNE: run_prune,
        Work.RETAIN: run_retention,
        Work.REPORT: run_report,
        Work.ANCHOR: run_anchor,
        Work.COPY: run_copy,
    }
)
"""What is done for each kind of schedule; a test holds it to the kinds that can be asked for (`operations.works`)."""
