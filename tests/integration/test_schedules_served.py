"""Schedules with a real Prefect server: a run happens without anybody starting it, drift is repaired."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from edurise_backup import operations
from edurise_backup.config import Settings, load_settings
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.jobs import BackupFilters, JobStatus
from edurise_backup.model.schedules import ExpectedRun, RunOutcome, Schedule, Work
from edurise_backup.operations.secrets import authorization
from edurise_backup.operations.works import WORKS
from edurise_backup.postgres.server import Server
from flows.credentials import LocalApi
from flows.local import local_prefect, run_deployment
from flows.prefect_api import PrefectApi, PrefectSchedule
from flows.processes import wait_until
from flows.schedules import DEPLOYMENT, EXACT, Reconciled, reconcile, slug_of
from tests.support.postgres import drop_database, execute
from tests.support.product import configure

CATALOG = "scheduled_flows_catalog"
pytestmark = pytest.mark.timeout(600)


@dataclass(frozen=True, slots=True)
class Served:
    """A product whose flows are served, and its catalog."""

    settings: Settings
    catalog: operations.Catalog
    url: LocalApi
    api: PrefectApi
    deployment: UUID

    def add(self, name: str, frequency: str, **fields: object) -> Schedule:
        config = {"name": name, "type": "files", "frequency": frequency, **fields}
        return operations.schedule_backup(config, settings=self.settings)

    def look(self) -> Reconciled:
        found = reconcile(self.catalog, self.api, datetime.now(UTC))
        assert found.faults == ()
        return found

    def in_prefect(self, schedule: Schedule) -> PrefectSchedule | None:
        return next((one for one in self.api.schedules(self.deployment) if one.slug == slug_of(schedule.id)), None)

    def raw(self, method: str, path: str, body: object = None) -> Any:
        """Call Prefect as somebody else does."""
        headers = {"Authorization": authorization(self.url.auth)}
        answer = httpx.request(method, f"{self.url}{path}", json=body, headers=headers, timeout=15, trust_env=False)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def runs(self, schedule: Schedule) -> Sequence[ExpectedRun]:
        return self.catalog.expected_runs.newest(schedule.id, before=datetime.now(UTC))

    def one_by_one(self, schedule: Schedule) -> set[datetime]:
        """Return when the runs are due that were asked for one by one."""
        found = self.api.open_runs(self.deployment, until=datetime.now(UTC) + timedelta(days=30), tags=[EXACT])
        return {run.expected_start for run in found if run.parameters["schedule_id"] == str(schedule.id)}


@pytest.fixture(scope="module")
def served(cluster: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("scheduled")
    execute(cluster.address, f"CREATE DATABASE {CATALOG}")
    path = configure(folder, cluster.address.with_database(CATALOG))
    with local_prefect(folder / "prefect", path) as url:
        settings = load_settings(path, environment={"PREFECT_API_URL": url})
        with operations.open_catalog(settings) as catalog, PrefectApi(url) as api:
            yield Served(settings, catalog, url, api, api.deployment_id(DEPLOYMENT))
    drop_database(cluster.address, CATALOG)


def wait_for(true: Callable[[], bool], what: str) -> None:
    wait_until(true, what, seconds=120)


def test_a_schedule_runs_by_itself_and_a_pause_ends_that(served: Served) -> None:
    schedule = served.add("every so often", "every 20 seconds", tags=["by itself"])
    assert served.look().drifts == ()
    there = served.in_prefect(schedule)
    assert there is not None
    assert (there.active, there.schedule["interval"]) == (True, 20.0)
    assert there.parameters == {"schedule_id": str(schedule.id)}
    # from here on nobody but Prefect's own scheduler starts anything
    wait_for(lambda: any(run.outcome is RunOutcome.KEPT for run in served.runs(schedule)), "a scheduled run")
    kept = next(run for run in served.runs(schedule) if run.outcome is RunOutcome.KEPT)
    assert kept.job_id is not None
    job = served.catalog.jobs.get(kept.job_id)
    assert (job.status, job.flow_run_id) == (JobStatus.COMPLETED, kept.flow_run_id)
    assert set(job.tags) == {"by itself", f"schedule={schedule.id}"}
    run = served.raw("GET", f"/flow_runs/{kept.flow_run_id}")
    assert run["auto_scheduled"]
    assert datetime.fromisoformat(run["expected_start_time"]) == kept.due_at
    after = served.catalog.schedules.get(schedule.id)
    assert after.last_run is not None
    assert after.last_run >= kept.due_at - timedelta(seconds=30)
    assert after.next_run is not None
    assert after.next_run > after.last_run

    operations.pause_schedule("every so often", settings=served.settings)
    served.look()
    assert served.in_prefect(schedule) is None
    assert served.catalog.schedules.get(schedule.id).prefect_schedule_id is None
    wait_for(
        lambda: not served.api.open_runs(served.deployment, until=datetime.now(UTC) + timedelta(days=1)), "the end"
    )
    started = len(operations.get_backups(BackupFilters(tag="by itself"), settings=served.settings))
    assert started == sum(run.job_id is not None for run in served.runs(schedule))


@pytest.mark.slow
def test_verifications_checks_and_prunes_run_by_themselves_and_a_failure_is_told(served: Served) -> None:
    backup = operations.create_backup("files", settings=served.settings)
    kinds: dict[str, dict[str, object]] = {
        "verify": {},
        "check": {"options": {"budget": "100%"}},
        "prune": {"options": {"wait": "1m", "dry_run": True}},
    }
    made = [served.add(kind, "every 20 seconds", type=kind, **fields) for kind, fields in kinds.items()]
    # its row is made to name a source that is not there any more
    broken = served.add("broken", "every 20 seconds", source="uploads")
    with served.catalog.sessions.transaction() as connection:
        connection.execute("UPDATE backup_schedules SET source = 'gone' WHERE name = 'broken'")
    served.look()
    for schedule in made:
        wait_for(lambda of=schedule: RunOutcome.KEPT in [run.outcome for run in served.runs(of)], schedule.name)  # type: ignore[misc]
    wait_for(lambda: RunOutcome.FAILED in [run.outcome for run in served.runs(broken)], "the failure")
    for name in (*kinds, "broken"):
        operations.pause_schedule(name, settings=served.settings)
    served.look()
    assert served.catalog.jobs.get(backup.id).verified_at is not None
    done = {job.kind.value: job for job in served.catalog.maintenance.newest()}
    assert done["check"].asked == "budget 100%"
    assert done["prune"].dry_run
    alarms = {alarm.subject: alarm for alarm in served.catalog.alarms.open() if alarm.kind is AlarmKind.JOB_FAILED}
    assert "no source named 'gone'" in alarms["schedule broken"].message


def test_every_kind_of_drift_is_repaired_and_reported(served: Served) -> None:
    schedule = served.add("nightly", "every day at 02:30", zone="Europe/Berlin")
    served.look()
    there = served.in_prefect(schedule)
    assert there is not None
    assert there.schedule == {"cron": "30 2 * * *", "timezone": "Europe/Berlin", "day_or": True}
    path = f"/deployments/{served.deployment}/schedules/{there.id}"
    served.raw("PATCH", path, {"active": False})  # as Prefect's page does: it wipes the parameters, too
    assert served.in_prefect(schedule) != there
    (drift,) = served.look().drifts
    assert drift == "nightly: somebody changed its schedule in Prefect (switched off)"
    repaired = served.in_prefect(schedule)
    assert repaired is not None
    assert (repaired.id, repaired.active, repaired.parameters) == (there.id, True, {"schedule_id": str(schedule.id)})
    assert served.look() == Reconciled((), (), ())
    (alarm,) = [one for one in served.catalog.alarms.open() if one.kind is AlarmKind.SCHEDULE_DRIFT]
    assert alarm.subject == "schedule nightly"

    served.raw("DELETE", path)
    assert "gone from Prefect" in served.look().drifts[0]
    assert served.in_prefect(schedule) is not None
    operations.edit_schedule("nightly", {"frequency": "0 3 * * *"}, settings=served.settings)
    edited = served.look()
    assert (edited.drifts, edited.changes) == ((), ("nightly: written to Prefect anew",))
    reconcile(served.catalog, served.api, datetime.now(UTC) + timedelta(hours=2))
    assert not [one for one in served.catalog.alarms.open() if one.kind is AlarmKind.SCHEDULE_DRIFT]


def test_schedules_that_no_row_asks_for_are_removed_and_those_of_others_are_left(served: Served) -> None:
    schedule = served.add("weekly", "0 4 * * 0")
    served.look()
    body = {"schedule": {"cron": "0 1 * * *", "timezone": "UTC"}, "active": False, "parameters": {}}
    orphan = served.api.create_schedule(served.deployment, body | {"slug": slug_of(uuid4())})
    foreign = served.api.create_schedule(served.deployment, body | {"slug": "mine"})
    served.look()
    left = {one.id for one in served.api.schedules(served.deployment)}
    assert foreign in left
    assert orphan not in left
    operations.remove_schedule("weekly", settings=served.settings)
    served.look()
    assert served.in_prefect(schedule) is None
    served.api.delete_schedule(served.deployment, foreign)


def test_what_prefect_cannot_express_is_asked_for_run_by_run(served: Served) -> None:
    hours = sorted((datetime.now(UTC).hour + ahead) % 24 for ahead in (6, 12))  # none is due while the test runs
    schedule = served.add("jittered", f"0 {hours[0]},{hours[1]} * * *", jitter="30m")
    assert served.look().faults == ()
    assert served.in_prefect(schedule) is None
    expected = served.catalog.expected_runs.ahead(
        schedule.id, after=datetime.now(UTC), until=datetime.now(UTC) + timedelta(hours=24)
    )
    assert served.one_by_one(schedule) == {run.due_at for run in expected}
    served.look()
    assert len(served.one_by_one(schedule)) == len(expected) == 2
    operations.edit_schedule("jittered", {"jitter": "20m"}, settings=served.settings)
    served.look()
    assert not served.one_by_one(schedule) & {run.due_at for run in expected}
    operations.pause_schedule("jittered", settings=served.settings)
    served.look()
    assert served.one_by_one(schedule) == set()


def test_runs_that_are_late_and_replaced_by_newer_ones_are_ended_without_a_process(served: Served) -> None:
    schedule = served.add("late", "0 0 1 1 *")
    # it waits for a time ahead, so that nobody takes it up; the looks come from after that time
    run = served.api.create_run_at(
        served.deployment,
        datetime.now(UTC) + timedelta(minutes=30),
        {"schedule_id": str(schedule.id)},
        idempotency_key="late",
        tags=[],
    )
    reconcile(served.catalog, served.api, datetime.now(UTC) + timedelta(hours=1))
    assert served.api.run(run).state_type == "SCHEDULED"  # it is newer than anything that was due
    operations.remove_schedule("late", settings=served.settings)
    reconcile(served.catalog, served.api, datetime.now(UTC) + timedelta(hours=1))
    assert served.api.run(run).state_type == "CANCELLED"


def test_a_run_that_nothing_expects_is_skipped_and_does_nothing(served: Served) -> None:
    schedule = served.add("yearly", "0 0 1 1 *")
    before = len(operations.get_backups(settings=served.settings))
    done = run_deployment(
        served.url, DEPLOYMENT, {"schedule_id": str(schedule.id)}, idempotency_key="by hand", on_state=None
    )
    assert done.completed
    assert "nothing was run: no run of this schedule is due" in done.message
    gone = run_deployment(served.url, DEPLOYMENT, {"schedule_id": str(uuid4())}, idempotency_key="of nobody")
    assert "was removed" in gone.message
    assert len(operations.get_backups(settings=served.settings)) == before


def test_what_a_schedule_can_ask_for_is_what_its_flow_can_do() -> None:
    from flows.scheduled import WORK

    assert set(WORK) == set(WORKS)
    assert {Work.FULL, Work.VERIFY, Work.CHECK, Work.PRUNE} <= set(WORK)


def test_no_secret_is_a_parameter_and_the_log_holds_none(served: Served) -> None:
    passphrase = Path(served.settings.repository.password_file).read_bytes()
    home = served.settings.data_directory.parent / "prefect"
    assert not [path for path in home.rglob("*") if path.is_file() and passphrase in path.read_bytes()]
