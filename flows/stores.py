"""The store flow: register a copy, or probe a store, for pages, which never ask a store anything."""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

from pathlib import Path
from uuid import UUID

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import InputError
from edurise_backup.model.maintenance import MaintenanceJob
from edurise_backup.model.settings import CopySettings
from flows.phases import run_showing_phases
from flows.policies import current_flow_run, queued_row, told_in_full, whole_operation
from flows.results import maintenance_markdown

ACTS = ("probe", "register")


@flow(name="store", persist_result=False, result_serializer="json")
@told_in_full
def store(
    act: str,
    name: str,
    location: str = "",
    password_file: str = "",
    access_key_file: str = "",
    secret_key_file: str = "",
    region: str = "",
    lag_hours: int = 26,
    job_id: UUID | None = None,
    config_path: Path | None = None,
) -> str:
    """Register a further copy, or probe a store; returns the job's id.

    Secrets are named by the files that hold them on the machine that runs this.
    `job_id` is the row that was queued for this run, if there is one.
    """
    if act not in ACTS:
        raise InputError(f"a store is not {act!r}", safe="nothing was done", hint=f"choose {' or '.join(ACTS)}")
    if act == "probe":
        job = probe(name, job_id, config_path)
    else:
        found = CopySettings(
            name=name,
            location=location,
            password_file=password_file,
            access_key_file=access_key_file,
            secret_key_file=secret_key_file,
            region=region,
            lag_hours=lag_hours,
        )
        job = register(name, found, job_id, config_path)
    create_markdown_artifact(maintenance_markdown(job), key="store", description=f"Store {name}")
    return str(job.id)


@whole_operation("probe store")
def probe(name: str, job_id: UUID | None, config_path: Path | None) -> MaintenanceJob:
    """Probe a store; raises when it does not open."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: operations.probe_store(
            name, settings=settings, job_id=queued, flow_run_id=current_flow_run(), progress=progress
        )
    )


@whole_operation("register store")
def register(name: str, found: CopySettings, job_id: UUID | None, config_path: Path | None) -> MaintenanceJob:
    """Register a copy; raises when it is refused. A recovery key that is made on the way is put into a file."""
    settings = load_settings(config_path)
    queued = queued_row(job_id)
    return run_showing_phases(
        lambda progress: (
            operations.register_store(
                name, found, settings=settings, job_id=queued, flow_run_id=current_flow_run(), progress=progress
            ).job
        )
    )
