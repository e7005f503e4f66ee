"""The flows in Prefect's harness, with the real operations on a small platform."""

from __future__ import annotations

import shutil
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import yaml
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import State

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.model.jobs import BackupType, JobStatus, RecoveryTarget, Verdict
from edurise_backup.postgres.connection import Address
from flows.backup import backup
from flows.check import check
from flows.deployments import DEPLOYMENTS, NAME, registered
from flows.local import DEPLOYMENT_NAMES
from flows.prune import prune
from flows.recover import recover
from flows.retain import retain
from flows.verify import verify
from tests.support.product import configure
from tests.support.trees import describe

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings_path(prefect_server: None, tmp_path: Path, catalog_database: Address) -> Path:
    return configure(tmp_path, catalog_database)


def run_id_of(state: State[str]) -> UUID:
    run_id = state.state_details.flow_run_id
    assert run_id
    return run_id


def artifact_of(state: State[str]) -> str:
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run_id_of(state)]))
    with get_client(sync_client=True) as client:
        (artifact,) = client.read_artifacts(artifact_filter=wanted)
    return str(artifact.data)


def task_names(state: State[str]) -> set[str]:
    with get_client(sync_client=True) as client:
        runs = client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id_of(state)])))
    return {run.name.rsplit("-", 1)[0] for run in runs}


def completed(flow: Flow[..., str], **parameters: object) -> tuple[State[str], str]:
    """Run the flow and return its end and the id that it returned."""
    state: State[str] = flow(**parameters, return_state=True)
    assert state.is_completed(), state.message
    return state, str(state.result())


def test_backup_verify_and_recover_are_runs_that_agree_with_their_job_rows(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    directory = settings_path.parent / "restored"

    state, backup_id = completed(backup, type=BackupType.FILES, tags=["a test"], config_path=settings_path)
    (job,) = operations.get_backups(settings=settings)
    assert (str(job.id), job.flow_run_id, job.tags) == (backup_id, run_id_of(state), ("a test",))
    assert job.parts[0].snapshot_id[:8] in artifact_of(state)

    state, verification_id = completed(verify, backup_id=UUID(backup_id), config_path=settings_path)
    with operations.open_catalog(settings) as catalog:
        verification = catalog.verifications.get(UUID(verification_id))
    assert (verification.flow_run_id, verification.verification_status) == (run_id_of(state), Verdict.PASSED)
    assert "passed" in artifact_of(state)

    state, recovery_id = completed(
        recover, backup_id=UUID(backup_id), directory=str(directory), config_path=settings_path
    )
    with operations.open_catalog(settings) as catalog:
        recovery = catalog.recoveries.get(UUID(recovery_id))
    assert (recovery.flow_run_id, recovery.verification_status) == (run_id_of(state), Verdict.PASSED)
    platform = settings_path.parent / "platform"
    (restored,) = directory.rglob("platform")
    assert describe(restored) == describe(platform)


def test_a_run_shows_the_operation_s_phases_beside_the_task_that_does_it(settings_path: Path) -> None:
    state, job_id = completed(backup, type=BackupType.FILES, config_path=settings_path)
    with operations.open_catalog(load_settings(settings_path)) as catalog:
        phases = {phase.name for phase in catalog.jobs.get(UUID(job_id)).phases}
    assert phases
    assert task_names(state) == {"take backup", *phases}


def test_a_run_takes_the_row_that_was_queued_for_it(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    queued = operations.queue_backup(BackupType.FILES, settings=settings)
    _, job_id = completed(backup, type=BackupType.FILES, job_id=queued, config_path=settings_path)
    assert job_id == str(queued)
    assert [job.id for job in operations.get_backups(settings=settings)] == [queued]


def test_a_failed_job_is_a_failed_run_that_says_what_to_do(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    shutil.rmtree(settings_path.parent / "platform")
    state: State[str] = backup(type=BackupType.FILES, config_path=settings_path, return_state=True)
    assert state.is_failed()
    assert "platform" in (state.message or "")
    assert "To do:" in (state.message or "")
    (job,) = operations.get_backups(settings=settings)
    assert job.status is JobStatus.FAILED
    assert job.flow_run_id == run_id_of(state)


def test_damage_that_a_verification_finds_fails_its_run(settings_path: Path) -> None:
    _, backup_id = completed(backup, type=BackupType.FILES, config_path=settings_path)
    packs = sorted((settings_path.parent / "repository" / "data").rglob("*"))
    pack = next(path for path in packs if path.is_file())
    damaged = bytearray(pack.read_bytes())
    damaged[10] ^= 1
    pack.chmod(0o600)
    pack.write_bytes(damaged)
    state: State[str] = verify(backup_id=UUID(backup_id), config_path=settings_path, return_state=True)
    assert state.is_failed()
    assert "did not pass" in (state.message or "")
    assert "make a new full backup" in (state.message or "")


def test_a_recovery_into_a_used_directory_changes_nothing_and_says_so(settings_path: Path) -> None:
    _, backup_id = completed(backup, type=BackupType.FILES, config_path=settings_path)
    used = settings_path.parent / "platform"
    before = describe(used)
    state: State[str] = recover(
        backup_id=UUID(backup_id), directory=str(used), config_path=settings_path, return_state=True
    )
    assert state.is_failed()
    assert "Safe: nothing was changed" in (state.message or "")
    assert describe(used) == before


def test_an_unknown_backup_is_named_in_the_run_s_message(settings_path: Path) -> None:
    unknown = uuid4()
    state: State[str] = verify(backup_id=unknown, config_path=settings_path, return_state=True)
    assert state.is_failed()
    assert str(unknown) in (state.message or "")


def test_check_and_prune_are_runs_that_agree_with_their_job_rows(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    completed(backup, type=BackupType.FILES, config_path=settings_path)

    state, check_id = completed(check, budget="100%", config_path=settings_path)
    with operations.open_catalog(settings) as catalog:
        job = catalog.maintenance.get(UUID(check_id))
    assert (job.flow_run_id, job.verification_status) == (run_id_of(state), Verdict.PASSED)
    assert "100 % of all bytes" in artifact_of(state)
    assert task_names(state) == {"check repository", *(phase.name for phase in job.phases)}

    queued = operations.queue_prune(settings=settings, dry_run=True)
    state, prune_id = completed(prune, dry_run=True, wait="0", job_id=queued, config_path=settings_path)
    assert prune_id == str(queued)
    assert "nothing was changed" in artifact_of(state)
    state, prune_id = completed(prune, wait="0", config_path=settings_path)
    with operations.open_catalog(settings) as catalog:
        job = catalog.maintenance.get(UUID(prune_id))
    assert (job.flow_run_id, job.status) == (run_id_of(state), JobStatus.COMPLETED)


def test_a_retention_is_a_run_that_agrees_with_its_job_row(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    completed(backup, type=BackupType.FILES, config_path=settings_path)
    queued = operations.queue_retention(settings=settings, dry_run=True)
    state, job_id = completed(retain, dry_run=True, job_id=queued, config_path=settings_path)
    assert job_id == str(queued)
    assert "nothing was changed" in artifact_of(state)
    state, job_id = completed(retain, config_path=settings_path)
    with operations.open_catalog(settings) as catalog:
        job = catalog.maintenance.get(UUID(job_id))
    assert (job.flow_run_id, job.status) == (run_id_of(state), JobStatus.COMPLETED)
    assert "0 backups" in artifact_of(state)
    assert "no schedule says what to keep" in artifact_of(state)
    assert task_names(state) == {"forget by retention", *(phase.name for phase in job.phases)}


def test_a_missing_backup_fails_the_check_and_stops_the_prune(settings_path: Path) -> None:
    completed(backup, type=BackupType.FILES, config_path=settings_path)
    completed(backup, type=BackupType.FILES, config_path=settings_path)
    next((settings_path.parent / "repository" / "snapshots").iterdir()).unlink()
    state: State[str] = check(budget="", config_path=settings_path, return_state=True)
    assert state.is_failed()
    assert "is missing" in (state.message or "")
    assert "docs/operations/repository.md" in (state.message or "")
    state = prune(wait="0", config_path=settings_path, return_state=True)
    assert state.is_failed()
    assert "Safe: nothing was removed" in (state.message or "")


def test_the_prefect_file_declares_the_deployments_that_are_served() -> None:
    declared = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    listed = [
        {
            "name": NAME,
            "entrypoint": deployment.entrypoint,
            "description": deployment.description,
            "tags": list(deployment.tags),
            "parameters": dict(deployment.parameters),
        }
        for deployment in DEPLOYMENTS
    ]
    for entry in declared:
        assert entry.pop("work_pool") == {"name": NAME}
    assert declared == listed


def test_what_is_served_is_the_list() -> None:
    served = [registered(deployment) for deployment in DEPLOYMENTS]
    assert [made.full_name for made in served] == [deployment.full_name for deployment in DEPLOYMENTS]
    assert [made.full_name for made in served] == list(DEPLOYMENT_NAMES)
    assert [made.entrypoint for made in served] == [deployment.entrypoint for deployment in DEPLOYMENTS]
    assert all(not made.schedules for made in served)


def test_what_a_deployment_takes_holds_no_secret() -> None:
    names = {name for deployment in DEPLOYMENTS for name in deployment.flow.parameters.properties}
    places = {name for name in names if name.endswith("_file")}  # where a secret lies is none
    words = ("pass", "secret", "token", "url", "key")
    assert not [name for name in names - places if any(word in name for word in words)]
    assert RecoveryTarget.__dataclass_fields__.keys() >= {"directory", "database_suffix", "database_source", "parts"}
