"""The page "Activity", run by Streamlit's AppTest against a real catalog, and the list that it pages through."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from dashboard import activity, queries
from edurise_backup.catalog.activity import (
    ActivityFilters,
    activity_query,
    backed_up_sources,
    list_activity,
)
from edurise_backup.catalog.audit import AuditTrail
from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.maintenance import MaintenanceJobs
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.records import JobKind
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.shards import Shards, ShardStatus
from edurise_backup.catalog.verifications import Verifications
from edurise_backup.catalog.workers import Announcement, announce, leave, read_workers
from edurise_backup.errors import ConflictError, ForbiddenError, InputError, UnreachableError
from edurise_backup.model.audit import Outcome
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobId, JobStatus, Verification
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import Permission, Role
from edurise_backup.postgres.connection import Address
from tests.support.pages import DASHBOARD, configure_pages, everything_on
from tests.support.people import be

pytestmark = pytest.mark.usefixtures("fresh_caches")
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1))"
NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)

_MANY = """
INSERT INTO backup_jobs (id, type, status, started_at, completed_at, size, location, checksum, source, error)
SELECT gen_random_uuid(), 'files', CASE WHEN n % 50 = 0 THEN 'failed' ELSE 'completed' END,
       timestamptz '2026-01-01' + n / 2 * interval '1 minute',
       timestamptz '2026-01-01' + (n / 2 + 1) * interval '1 minute',
       1, 'here', repeat('ab', 32), '', CASE WHEN n % 50 = 0 THEN 'it broke' END
FROM generate_series(1, 20000) n
"""


@pytest.fixture
def sessions(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sessions]:
    """Point the page at an empty catalog, and at a Prefect server that is not there."""
    configure_pages(catalog_database, tmp_path, monkeypatch, '[[files]]\nname = "uploads"\npaths = ["uploads"]\n')
    (tmp_path / "uploads").mkdir()
    with Sessions.to(catalog_database) as opened:
        migrate(opened)
        yield opened


def plant(
    sessions: Sessions, status: JobStatus = JobStatus.COMPLETED, *, at: datetime | None = None, **changes: object
) -> JobId:
    """Write a backup of files as it stands at some moment."""
    moment = at or datetime.now(UTC)
    jobs = BackupJobs(sessions, clock=lambda: moment)
    job = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)
    asked = {name: changes.pop(name) for name in ("source", "tags", "incremental") if name in changes}
    jobs.create(replace(job, **asked))  # type: ignore[arg-type]  # fields of the record
    if status is JobStatus.QUEUED:
        return job.id
    jobs.start(job.id)
    if not status.ended:
        return job.id
    good: dict[str, object] = {"size": 1, "location": "here", "checksum": "ab" * 32} if status.good else {}
    assert jobs.finish(replace(jobs.get(job.id), status=status, **{**good, **changes}))  # type: ignore[arg-type]
    return job.id


def verification_of(sessions: Sessions, backup_id: JobId) -> JobId:
    job = Verification(JobId(uuid4()), backup_id, JobStatus.QUEUED)
    Verifications(sessions).create(job)
    return job.id


def maintenance(sessions: Sessions, kind: MaintenanceKind, *, dry_run: bool = False) -> MaintenanceJob:
    jobs = MaintenanceJobs(sessions)
    job = MaintenanceJob(JobId(uuid4()), kind, JobStatus.QUEUED, dry_run=dry_run, asked="x")
    jobs.create(job)
    jobs.start(job.id)
    assert jobs.finish(replace(job, status=JobStatus.FAILED, error="it broke"))
    return jobs.get(job.id)


def page(run: UUID | None = None) -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "views" / "activity.py"), default_timeout=60)
    if run is not None:
        app.query_params["run"] = str(run)
    app.run()
    assert not app.exception
    return app


def button(app: AppTest, label: str) -> Button:
    return next(one for one in app.button if one.label == label)


def ids_on(app: AppTest) -> list[str]:
    return list(app.dataframe[0].value["Id"])


# The list


def test_all_kinds_come_newest_first_and_filters_choose(sessions: Sessions) -> None:
    old = plant(sessions, at=NOON - timedelta(days=3))
    failed = plant(sessions, JobStatus.FAILED, at=NOON, error="it broke", source="uploads")
    proof = verification_of(sessions, failed)
    check = maintenance(sessions, MaintenanceKind.CHECK).id

    def found(**filters: object) -> set[UUID]:
        return {job.id for job in list_activity(sessions, ActivityFilters(**filters))}  # type: ignore[arg-type]

    assert [job.moment for job in list_activity(sessions, ActivityFilters())] == sorted(
        (job.moment for job in list_activity(sessions, ActivityFilters())), reverse=True
    )
    assert found() == {old, failed, proof, check}
    assert found(kinds=(JobKind.BACKUP,)) == {old, failed}
    assert found(statuses=(JobStatus.FAILED,)) == {failed, check}
    assert found(source="uploads") == {failed, proof}
    assert found(kinds=(JobKind.MAINTENANCE,), source="uploads") == set()
    assert found(since=NOON, until=NOON + timedelta(seconds=1)) == {failed}


def test_pages_hold_every_job_once_though_many_share_a_moment(sessions: Sessions) -> None:
    sessions.run(lambda connection: connection.execute(_MANY))
    filters = ActivityFilters(statuses=(JobStatus.FAILED,))
    seen: list[UUID] = []
    after = None
    while rows := list_activity(sessions, filters, after=after, limit=37):
        plant(sessions, JobStatus.FAILED, error="new ones come while somebody reads")
        seen += [job.id for job in rows]
        after = rows[-1].place
    assert len(seen) == len(set(seen)) == 400


def test_a_page_far_down_is_read_by_the_index(sessions: Sessions) -> None:
    sessions.run(lambda connection: connection.execute(_MANY))
    sessions.run(lambda connection: connection.execute("ANALYZE backup_jobs"))
    query = activity_query(ActivityFilters(kinds=(JobKind.BACKUP,)), paged=True)
    assert query is not None
    values = {"moment": datetime(2026, 1, 3, tzinfo=UTC), "id": UUID(int=0), "limit": 50}
    plan = sessions.run(
        lambda connection: connection.execute(b"EXPLAIN " + query.as_bytes(None), values).fetchall()  # type: ignore[arg-type]
    )
    text = "\n".join(str(row[0]) for row in plan)
    assert "backup_jobs_newest" in text
    assert "Seq Scan on backup_jobs" not in text


def test_the_sources_are_those_of_all_backups(sessions: Sessions) -> None:
    assert backed_up_sources(sessions) == ()
    parts = """INSERT INTO backup_parts SELECT %s, n, 'files', repeat('ab', 32), 'source ' || n %% 3, 1, 1, 1, 1
               FROM generate_series(1, 9) n"""
    sessions.run(lambda connection: connection.execute(parts, (plant(sessions),)))
    assert backed_up_sources(sessions) == ("source 0", "source 1", "source 2")


# The page


def test_an_empty_catalog_says_so(sessions: Sessions) -> None:
    assert "No run passes these filters" in everything_on(page())


def test_the_page_lists_runs_and_older_ones_on_further_pages(sessions: Sessions) -> None:
    now = datetime.now(UTC)
    planted = [str(plant(sessions, at=now - timedelta(minutes=n)))[:8] for n in range(activity.PAGE_ROWS + 3)]
    app = page()
    assert ids_on(app) == planted[: activity.PAGE_ROWS]
    button(app, "Older").click().run()
    assert ids_on(app) == planted[activity.PAGE_ROWS :]
    assert button(app, "Older").disabled
    button(app, "Newest").click().run()
    assert ids_on(app) == planted[: activity.PAGE_ROWS]


def test_another_question_begins_at_the_top(sessions: Sessions) -> None:
    for _ in range(activity.PAGE_ROWS + 3):
        plant(sessions)
    failed = plant(sessions, JobStatus.FAILED, error="it broke")
    app = page()
    button(app, "Older").click().run()
    app.multiselect(key="activity statuses").select(JobStatus.FAILED).run()
    assert ids_on(app) == [str(failed)[:8]]


def test_what_is_older_than_asked_is_not_shown(sessions: Sessions) -> None:
    old = plant(sessions, at=datetime.now(UTC) - timedelta(days=20))
    app = page()
    assert not app.dataframe
    app.selectbox(key="activity time").select("all").run()
    assert ids_on(app) == [str(old)[:8]]


def test_hosts_that_share_the_work_are_shown_and_nothing_of_them_where_there_are_none(sessions: Sessions) -> None:
    plant(sessions)
    assert "Workers" not in everything_on(page())
    said = Announcement("lms-1", uuid4(), "edurise", 2, ["files/uploads"], "a" * 64, "1")
    announce(sessions, said)
    announce(sessions, replace(said, host="lms-2", id=uuid4()))
    leave(sessions, "lms-2", uuid4())  # of another process: no word of this one
    queries.workers.clear()
    assert [one.label for one in page().expander] == ["Workers: 2 of 2 live"]
    seen = read_workers(sessions).workers[1]
    leave(sessions, "lms-2", seen.id)
    queries.workers.clear()
    app = page()
    assert [one.label for one in app.expander] == ["Workers: 1 of 2 live"]
    table = app.dataframe[1].value
    assert [list(table[name]) for name in ("Host", "Worker")] == [["lms-1", "lms-2"], ["lives", "stopped"]]
    assert list(app.dataframe[0].value["Host"]) == [socket.gethostname()]


def test_an_error_is_told_in_full_with_what_is_safe_and_what_to_do(sessions: Sessions) -> None:
    long = "it broke because " + "x" * 3000 + " of the end"
    failed = plant(sessions, JobStatus.FAILED, error=f"{long} Safe: the other backups.", hint="mend it")
    message = page(failed).error[0].value
    assert long in message
    assert "Safe: the other backups." in message
    assert "To do: mend it" in message


def test_texts_from_the_catalog_are_data_and_never_markup(sessions: Sessions) -> None:
    failed = plant(sessions, JobStatus.FAILED, error=HOSTILE, hint=HOSTILE, source=HOSTILE, warnings=(HOSTILE,))
    app = page(failed)
    assert HOSTILE not in everything_on(app)
    assert not any(element.allow_html for element in app.markdown)
    assert app.dataframe[0].value["Error"][0] == HOSTILE


def test_a_waiting_run_is_cancelled_and_that_is_recorded(sessions: Sessions) -> None:
    waiting = plant(sessions, JobStatus.QUEUED)
    app = page(waiting)
    button(app, "Cancel").click().run()
    assert BackupJobs(sessions).get(waiting).status is JobStatus.CANCELLED
    (row,) = AuditTrail(sessions).rows()
    assert (row.action, row.subject, row.via) == ("job.cancel", str(waiting), "dashboard")


def test_a_running_job_is_asked_to_stop_though_prefect_is_gone(sessions: Sessions) -> None:
    running = plant(sessions, JobStatus.RUNNING)
    BackupJobs(sessions).attach_flow_run(running, uuid4())
    app = page(running)
    button(app, "Cancel").click().run()
    assert "its flow run could not be told" in app.success[0].value
    asked = sessions.run(
        lambda connection: connection.execute("SELECT cancel_requested_at FROM backup_jobs").fetchone()
    )
    assert asked is not None
    assert asked[0] is not None


def test_without_prefect_nothing_is_started_again_and_the_page_says_so(sessions: Sessions) -> None:
    failed = plant(sessions, JobStatus.FAILED, error="it broke")
    app = page(failed)
    button(app, "Start again").click().run()
    assert any("does not answer" in error.value for error in app.error)
    assert [job.id for job in BackupJobs(sessions).find(BackupFilters())] == [failed]
    assert [(row.action, row.outcome) for row in AuditTrail(sessions).rows()] == [("backup.start", Outcome.FAILED)]


def test_a_viewer_starts_and_cancels_nothing(sessions: Sessions) -> None:
    failed = BackupJobs(sessions).get(plant(sessions, JobStatus.FAILED, error="it broke"))
    running = BackupJobs(sessions).get(plant(sessions, JobStatus.RUNNING))
    be(queries.catalog(), "vic", Role.VIEWER)
    with pytest.raises(ForbiddenError):
        activity.start_again(failed, actions=queries.actions(), settings=queries.settings())
    with pytest.raises(ForbiddenError):
        activity.cancel("backup", running, actions=queries.actions())
    asked = "SELECT count(*) FROM backup_jobs WHERE cancel_requested_at IS NOT NULL"
    assert sessions.run(lambda connection: connection.execute(asked).fetchone()) == (0,)


def test_what_removes_data_or_restores_it_asks_for_more_than_operating(sessions: Sessions) -> None:
    prune = maintenance(sessions, MaintenanceKind.PRUNE)
    assert activity.permission_to_start(prune) is Permission.ADMINISTER
    assert activity.permission_to_start(replace(prune, dry_run=True)) is Permission.OPERATE
    with pytest.raises(InputError, match="on the command line"):
        activity.start_again(prune, actions=queries.actions(), settings=queries.settings())


def test_what_has_not_ended_is_not_started_again_and_what_has_ended_not_cancelled(sessions: Sessions) -> None:
    running = BackupJobs(sessions).get(plant(sessions, JobStatus.RUNNING))
    done = BackupJobs(sessions).get(plant(sessions))
    with pytest.raises(ConflictError, match="not ended"):
        activity.start_again(running, actions=queries.actions(), settings=queries.settings())
    with pytest.raises(ConflictError, match="ended already"):
        activity.cancel("backup", done, actions=queries.actions())
    with pytest.raises(UnreachableError):
        activity.start_again(done, actions=queries.actions(), settings=queries.settings())


def test_a_run_that_several_workers_share_shows_each_shard(sessions: Sessions) -> None:
    job_id = plant(sessions, JobStatus.RUNNING)
    shards = Shards(sessions)
    shards.plan(JobKind.BACKUP, job_id, [f"/srv/{HOSTILE}", "/srv/b", "/srv/c"])
    shards.begin(job_id, 0)
    shards.end(job_id, 0, ShardStatus.DONE, bytes_done=5000, files_done=7)
    shards.begin(job_id, 1)
    shards.begin(job_id, 1)  # by another worker: the first one died

    app = page(job_id)
    table = app.dataframe[-1].value
    assert list(table["Status"]) == ["done", "running", "waiting"]
    assert list(table["Tries"]) == [1, 2, 0]
    assert list(table["Files"]) == [7, 0, 0]
    assert table["What"][0] == f"/srv/{HOSTILE}"
