"""Three hosts work for one catalog, one Prefect server and one bucket; one is killed, one is frozen.

The tests build on one another, in their order; the last one looks at everything that happened.
"""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConflictError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobStatus
from edurise_backup.operations.configured import make_repository, opened_repository
from edurise_backup.operations.people import local_actor
from edurise_backup.operations.places import Places
from edurise_backup.operations.workers import list_workers, remove_worker
from edurise_backup.repository.locks import read_locks
from edurise_backup.repository.repository import Repository
from flows.deploy import refuse_pool
from flows.prefect_api import FlowRun
from flows.processes import wait_until
from flows.schedules import EXACT
from tests.support.engine import restore
from tests.support.hosts import SECONDS, Host, Site, site
from tests.support.restic import Restic
from tests.support.s3_servers import S3Server

pytestmark = [pytest.mark.slow, pytest.mark.crowded, pytest.mark.timeout(900)]
ONE, TWO, THREE = "lms-1", "lms-2", "lms-3"
MADE: list[dict[str, bytes]] = []
"""What `shared` held, each time that it changed."""


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, swift: S3Server) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("hosts"), swift) as made:
        essays = made.folder / "essays"
        essays.mkdir()
        (essays / "only here.txt").write_text("of one host")
        more = f'[[files]]\nname = "essays"\npaths = ["{essays}"]\n'
        for name in (ONE, TWO, THREE):
            made.add(name, more=more if name == TWO else "")
        grow(made)
        make_repository(made.hosts[ONE].settings)
        told = made.hosts[ONE].run("flows.deploy")
        assert told.returncode == 0, told.stderr
        for name in (ONE, TWO, THREE):
            made.hosts[name].start()
        wait_until(
            lambda: all(made.hosts[name].started() for name in (ONE, TWO, THREE)), "the workers", seconds=SECONDS
        )
        yield made


def grow(made: Site) -> None:
    """Have something new to back up."""
    (made.shared / f"lesson {len(MADE)}.bin").write_bytes(uuid4().bytes * 4000)
    MADE.append(content_of(made.shared))


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def begin(made: Site, flow: str, parameters: dict[str, object], queue: str = "") -> FlowRun:
    with made.api() as api:
        return api.create_run(f"{flow}/edurise", parameters, idempotency_key=str(uuid4()), queue=queue)


def ended(made: Site, run: FlowRun) -> FlowRun:
    with made.api() as api:
        wait_until(lambda: api.run(run.id).ended, f"the run {run.name}", seconds=SECONDS)
        return api.run(run.id)


def files_of(source: str) -> dict[str, object]:
    return {"type": "files", "source": source}


def job_of(made: Site, run: FlowRun) -> BackupJob | None:
    """Return the backup job of a run; looking ends no job, as opening the catalog anew would."""
    with operations.open_catalog(made.hosts["prefect-host"].settings) as catalog:
        return next((job for job in catalog.jobs.find(BackupFilters(limit=500)) if job.flow_run_id == run.id), None)


def the_job(made: Site, run: FlowRun) -> BackupJob:
    job = job_of(made, run)
    assert job is not None
    return job


def holder(made: Site) -> Host:
    """Return the host whose backup of `shared` waits."""
    wait_until(lambda: any(host.held() for host in made.hosts.values()), "a backup that waits", seconds=SECONDS)
    return next(host for host in made.hosts.values() if host.held())


def test_work_goes_to_whoever_can_do_it_and_everything_is_done(hosts: Site) -> None:
    for words in (["essays", "--type", "files", "--source", "essays"], ["facts", "--type", "metadata"]):
        every = ["--every", "every minute", "--retention", "7"]
        made = hosts.hosts[TWO].run("edurise_backup", "schedule", "add", *words, *every)
        assert made.returncode == 0, made.stderr
    with operations.open_catalog(hosts.hosts[ONE].settings) as catalog:
        places = Places.of(catalog)
    assert places.backup(BackupType.FILES, "shared") == ""
    assert places.backup(BackupType.FILES, "essays") == TWO
    assert places.backup(BackupType.FULL, None) == TWO  # it alone reads everything
    first = ended(hosts, begin(hosts, "backup", files_of("shared")))
    assert first.state_type == "COMPLETED", first.message
    runs = [begin(hosts, "backup", files_of("essays"), TWO), begin(hosts, "backup", {"type": "full"}, TWO)]
    runs += [begin(hosts, "verify", {"backup_id": str(the_job(hosts, first).id)}) for _ in range(3)]
    runs += [begin(hosts, "backup", {"type": "metadata"})]
    done = [ended(hosts, run) for run in runs]
    # the two of one host may meet at a source: one of them is told who holds it
    told = [run.message for run in done if run.state_type != "COMPLETED"]
    assert all("is being backed up by the job" in message for message in told), told
    assert len(told) <= 1


def test_two_backups_of_one_source_at_once_one_works_and_the_other_is_told_who_does(hosts: Site) -> None:
    for host in hosts.hosts.values():
        host.hold()
    working = begin(hosts, "backup", files_of("shared"))
    host = holder(hosts)
    refused = ended(hosts, begin(hosts, "backup", files_of("shared")))
    for each in hosts.hosts.values():
        each.let_go()
    assert refused.state_type == "FAILED"
    assert f"files/shared is being backed up by the job {the_job(hosts, working).id}" in refused.message
    assert f" on {host.name}, since " in refused.message
    assert the_job(hosts, refused).status is JobStatus.CANCELLED
    assert ended(hosts, working).state_type == "COMPLETED"


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (files_of("essays"), "there is no source named 'essays'"),
        ({"type": "files"}, f"the host {THREE} lacks sources that others read: files/essays (on {TWO})"),
        ({"type": "full"}, f"the host {THREE} lacks sources that others read: files/essays (on {TWO})"),
    ],
    ids=["a source", "all of a type", "everything"],
)
def test_a_run_that_lands_where_a_source_is_missing_fails_and_harms_nothing(
    hosts: Site, parameters: dict[str, object], words: str
) -> None:
    run = ended(hosts, begin(hosts, "backup", parameters, THREE))
    assert run.state_type == "FAILED"
    assert words in run.message
    assert "To do: " in run.message
    job = the_job(hosts, run)
    assert (job.status, job.parts) == (JobStatus.FAILED, ())


def test_a_host_that_loses_its_power_in_the_middle_is_found_and_its_work_is_done_by_another(hosts: Site) -> None:
    grow(hosts)
    dying = hosts.hosts[ONE]
    dying.hold()
    run = begin(hosts, "backup", files_of("shared"), ONE)
    wait_until(dying.held, "the backup that waits", seconds=SECONDS)
    dying.kill()
    crashed = ended(hosts, run)
    assert crashed.state_type == "CRASHED"
    job = the_job(hosts, run)
    assert job.status is JobStatus.FAILED
    assert "no sign of life for " in (job.error or "")
    assert f" on {ONE}" in (job.error or "")
    dying.let_go()
    again = ended(hosts, begin(hosts, "backup", files_of("shared")))
    assert again.state_type == "COMPLETED", again.message
    assert the_job(hosts, again).host != ONE
    dying.start()
    wait_until(lambda: dying.log.read_text().count(f"Worker '{ONE}' started!") == 2, "the worker", seconds=SECONDS)


def test_a_host_that_stood_still_past_its_lease_publishes_nothing_and_raises_the_alarm(hosts: Site) -> None:
    grow(hosts)
    frozen = hosts.hosts[ONE]
    frozen.hold()
    run = begin(hosts, "backup", files_of("shared"), ONE)
    wait_until(frozen.held, "the backup that waits", seconds=SECONDS)
    frozen.signal(signal.SIGSTOP)
    assert ended(hosts, run).state_type == "CRASHED"
    taken_over = ended(hosts, begin(hosts, "backup", files_of("shared")))
    assert taken_over.state_type == "COMPLETED", taken_over.message
    assert the_job(hosts, taken_over).host != ONE
    before = the_job(hosts, run)
    frozen.let_go()
    frozen.signal(signal.SIGCONT)
    with operations.open_catalog(hosts.hosts[TWO].settings) as catalog:
        wait_until(
            lambda: AlarmKind.LEASE_STOLEN in [alarm.kind for alarm in catalog.alarms.open()],
            "the alarm",
            seconds=SECONDS,
        )
    with hosts.api() as api:
        wait_until(lambda: api.run(run.id).state_type == "FAILED", "the frozen run's end", seconds=SECONDS)
    assert before.status is JobStatus.FAILED
    assert the_job(hosts, run) == before
    assert f"job={before.id}" not in {tag for tags in tags_of(opened(hosts)) for tag in tags}
    with hosts.api() as api:  # Prefect lets a run say of itself, later, how it ended
        assert api.run(run.id).state_type == "FAILED"
        assert "has gone to somebody else" in api.run(run.id).message
    wait_until(lambda: lives(hosts, ONE), "the thawed worker's sign", seconds=SECONDS)


def test_one_machine_does_not_serve_what_is_the_pools(hosts: Site) -> None:
    told = hosts.hosts[THREE].run("flows.serve", PREFECT_API_URL=hosts.api_url)
    assert told.returncode == 2
    assert "belong to the work pool edurise" in told.stderr
    assert "python -m flows.worker --pool edurise" in told.stderr
    other = hosts.hosts[THREE].run("flows.deploy", "--pool", "another")
    assert (other.returncode, "belongs to the work pool edurise" in other.stderr) == (2, True)
    again = hosts.hosts[THREE].run("flows.worker")
    assert (again.returncode, f"a worker of the host {THREE} lives already" in again.stderr) == (2, True)


def test_a_host_with_a_repository_of_its_own_is_refused(hosts: Site) -> None:
    stranger = hosts.add("stranger", location="repository")
    make_repository(stranger.settings)
    told = stranger.run("flows.worker")
    assert told.returncode == 2
    assert "is not the one that the worker on" in told.stderr
    assert "a directory of one machine is no place for several" in told.stderr
    del hosts.hosts["stranger"]


def test_no_secret_is_where_somebody_else_could_read_it(hosts: Site) -> None:
    secrets = [(hosts.folder / ONE / name).read_text() for name in ("passphrase", "catalog.password", "prefect.auth")]
    secrets += [hosts.server.secret_key] if len(hosts.server.secret_key) > 8 else []
    with hosts.api() as api:
        seen = [str(api.pool_template("edurise")), *(str(run) for run in all_runs(hosts))]
        seen += [str(api._call("POST", path, {})) for path in ("/deployments/filter", "/logs/filter")]
    for host in hosts.hosts.values():
        seen += [path.read_text(errors="replace") for path in (host.log, hosts.folder / "prefect.log") if path.exists()]
        for pid in host.processes():
            seen.append(Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace"))
    assert len(seen) > 10
    assert not [secret for secret in secrets for text in seen if secret.strip() in text]


def test_schedules_ran_meanwhile_each_where_it_could(hosts: Site) -> None:
    with operations.open_catalog(hosts.hosts[TWO].settings) as catalog:
        [essays] = [row.id for row in catalog.schedules.all() if row.source == "essays"]

    def jobs(kind: BackupType) -> list[BackupJob]:
        with operations.open_catalog(hosts.hosts[TWO].settings) as catalog:
            found = catalog.jobs.find(BackupFilters(type=kind, limit=500))
        return [job for job in found if any(tag.startswith("schedule=") for tag in job.tags) and job.status.good]

    wait_until(lambda: bool(jobs(BackupType.FILES) and jobs(BackupType.METADATA)), "scheduled runs", seconds=150)
    assert {job.host for job in jobs(BackupType.FILES)} == {TWO}
    with hosts.api() as api:
        deployment = api.deployment_id("scheduled/edurise")
        assert len(api.schedules(deployment)) == 1  # the one that any host may run; the other is asked for run by run
        # what any host may run is asked for one by one, too, where Prefect's own scheduler is late
        queues = {run["work_queue_name"] for run in runs_with(hosts, EXACT) if str(essays) in str(run["parameters"])}
    assert queues == {TWO}


def test_at_the_end_everything_restores_and_nothing_is_left_behind(hosts: Site, tmp_path: Path) -> None:
    for host in hosts.hosts.values():
        with operations.open_catalog(host.settings) as catalog:
            for schedule in catalog.schedules.all():
                operations.pause_schedule(schedule.name, actor=local_actor(), settings=host.settings)
        break
    pruned = ended(hosts, begin(hosts, "prune", {"wait": "5m"}))
    assert pruned.state_type == "COMPLETED", pruned.message
    wait_until(lambda: not unfinished(hosts), "the runs under way", seconds=150)
    hosts.stop()
    with operations.open_catalog(hosts.hosts[TWO].settings) as catalog:
        assert catalog.leases.held() == ()
        assert not any(state.lives for state in list_workers(catalog))
        found = catalog.jobs.find(BackupFilters(limit=500))
        assert all(job.status.ended for job in found)
        runs = [job.flow_run_id for job in found if job.flow_run_id or job.status.good]  # else: died before that
        assert len(set(runs)) == len(runs)
        assert set(runs) <= {UUID(str(run["id"])) for run in all_runs(hosts)}
        remove_worker(catalog, local_actor(), THREE)
        assert [state.worker.host for state in list_workers(catalog)] == [ONE, TWO]
    repository = opened(hosts)
    assert read_locks(repository.box) == {}
    good = {f"job={job.id}" for job in found if job.status.good}
    seen = []
    for number, snapshot in enumerate(repository.snapshots().values()):
        assert good & set(snapshot.tags)
        if "source=shared" in snapshot.tags:
            target = tmp_path / str(number)
            restore(repository, snapshot.tree, target)
            restored = content_of(target / hosts.shared.relative_to("/"))
            assert restored in MADE
            seen.append(MADE.index(restored))
            shutil.rmtree(target)
    assert seen.count(len(MADE) - 1) == 1  # of the newest state one backup was published: not the frozen one's
    checked = hosts.hosts[TWO].run("edurise_backup", "check", "--read-data")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    with pytest.MonkeyPatch.context() as patch:
        for name, value in hosts.server.environment.items():
            patch.setenv(name, value)
        Restic(hosts.location, tmp_path / "restic").check()  # type: ignore[arg-type]


def test_without_its_pool_one_machine_may_serve_again(hosts: Site) -> None:
    with hosts.api() as api:
        with pytest.raises(ConflictError, match="belong to the work pool edurise"):
            refuse_pool(api)
        api._call("DELETE", "/work_pools/edurise")
        refuse_pool(api)


def opened(made: Site) -> Repository:
    repository = opened_repository(made.hosts[TWO].settings)
    repository.load_index()
    return repository


def tags_of(repository: Repository) -> list[list[str]]:
    return [list(snapshot.tags) for snapshot in repository.snapshots().values()]


def lives(made: Site, host: str) -> bool:
    with operations.open_catalog(made.hosts[TWO].settings) as catalog:
        return any(state.lives for state in list_workers(catalog) if state.worker.host == host)


def runs_with(made: Site, tag: str) -> list[dict[str, object]]:
    return [run for run in all_runs(made) if tag in str(run["tags"])]


def all_runs(made: Site) -> list[dict[str, object]]:
    with made.api() as api:
        found: list[dict[str, object]] = api._call("POST", "/flow_runs/filter", {"limit": 200})
        return found


def unfinished(made: Site) -> list[dict[str, object]]:
    """Return the runs that have begun and not ended, or are late: what is planned for later waits."""
    return [run for run in all_runs(made) if run["state_type"] in ("PENDING", "RUNNING", "CANCELLING")]
