"""The watch: rounds on a real catalog, with and without it, and the end of zombie runs in Prefect."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from edurise_backup.catalog.flow_runs import GRACE, over_runs
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.signs import read_signs
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, UnreachableError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.watching import CATALOG_AGAIN, CATALOG_PATIENCE, Watch, watch_catalog, watch_once
from edurise_backup.postgres.connection import Address
from flows.prefect_api import PrefectApi
from flows.processes import wait_until
from flows.watch import end_zombies, look_once
from tests.support import planted
from tests.support.catalog import Product, command_line, environment, opened, quote_address, run, write_private
from tests.support.receivers import http_receiver

NOW = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


class SetClock:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def catalog(catalog_database: Address) -> Iterator[Catalog]:
    with ExitStack() as stack:
        sessions = stack.enter_context(Sessions.to(catalog_database))
        migrate(sessions)
        yield Catalog(sessions, stack)


def settings_for(folder: Path, address: Address | None, hook: str = "") -> Settings:
    text = 'data_directory = "data"\n[catalog]\n'
    if address is not None:
        assert address.password
        write_private(folder / "catalog.password", address.password.reveal())
        text += f'url = "{quote_address(address)}"\npassword_file = "catalog.password"\n'
    else:
        text += 'url = "postgresql://nobody@127.0.0.1:9/nothing"\n'
    text += '[[files]]\nname = "uploads"\npaths = ["uploads"]\n'
    if hook:
        (folder / "hook.url").write_text(hook)
        text += '[[alarm_target]]\nname = "hook"\nurl_file = "hook.url"\nallow_private = true\n'
    path = folder / "edurise-backup.toml"
    path.write_text(text)
    return load_settings(path, {})


# Rounds


def test_a_round_ends_the_dead_tells_people_and_says_that_it_works(
    catalog: Catalog, catalog_database: Address, tmp_path: Path
) -> None:
    dead = BackupJob(id=JobId(uuid4()), type=BackupType.FILES, status=JobStatus.QUEUED, source="uploads")
    catalog.jobs.create(dead)
    catalog.sessions.run(lambda c: c.execute("UPDATE backup_jobs SET created_at = now() - interval '7 hours'"))
    with http_receiver() as hook:
        settings = settings_for(tmp_path, catalog_database, hook.url)
        done = watch_catalog(settings, catalog)
        again = watch_catalog(settings, catalog)
    assert [job.id for job in done.dead] == [dead.id]
    assert AlarmKind.JOB_DIED in {alarm.kind for alarm in done.raised}
    assert done.delivered.sent == len([alarm for alarm in done.raised if alarm.severity.rank > 0])
    assert any("was found dead" in line for line in done.lines)
    assert (again.dead, again.raised, again.delivered.sent, again.lines) == ((), (), 0, [])
    assert [sign.service for sign in read_signs(catalog.sessions)] == ["watch"]


def test_a_watch_that_starts_after_a_gap_tells_of_the_gap(
    catalog: Catalog, catalog_database: Address, tmp_path: Path
) -> None:
    clock, settings = SetClock(), settings_for(tmp_path, catalog_database)
    watch_catalog(settings, catalog, clock=clock)
    clock.now += timedelta(hours=2)
    done = watch_catalog(settings, catalog, clock=clock)
    (gap,) = [alarm for alarm in done.raised if alarm.kind is AlarmKind.SERVICE_DOWN]
    assert "for 2 h" in gap.message
    watch_catalog(settings, catalog, clock=clock)
    assert AlarmKind.SERVICE_DOWN not in {row.kind for row in catalog.alarms.open()}


def test_a_catalog_that_stays_away_is_told_of_without_it_once(tmp_path: Path) -> None:
    clock = SetClock()
    with http_receiver() as hook:
        watch = Watch(settings_for(tmp_path, None, hook.url), clock=clock)
        for wait in (timedelta(0), CATALOG_PATIENCE - MINUTE, 2 * MINUTE, MINUTE):
            clock.now += wait
            assert isinstance(watch.round(), UnreachableError)
        assert len(hook.requests) == 1
        clock.now += CATALOG_AGAIN
        watch.round()
    assert len(hook.requests) == 2
    told = json.loads(hook.requests[0].body)
    assert "the catalog does not answer since 2026-11-27 07:00:00 UTC" in told["message"]
    assert told["severity"] == "critical"


def test_a_catalog_that_comes_back_is_watched_again(
    catalog: Catalog, catalog_database: Address, tmp_path: Path
) -> None:
    answers = iter((UnreachableError("away"), None))

    def opener(settings: Settings) -> Catalog:
        if (answer := next(answers)) is not None:
            raise answer
        return Catalog(catalog.sessions, ExitStack())

    watch = Watch(settings_for(tmp_path, catalog_database), opener=opener)
    assert isinstance(watch.round(), BackupError)
    assert not isinstance(watch.round(), BackupError)
    watch.close()


def test_one_round_needs_nothing_but_the_settings(catalog_database: Address, tmp_path: Path) -> None:
    done = watch_once(settings_for(tmp_path, catalog_database))
    assert {alarm.kind for alarm in done.raised} == {AlarmKind.NO_GOOD_BACKUP}


# Zombie runs


@dataclass(slots=True)
class Prefect:
    """What little of a Prefect server the watch asks; runs by id with the type of their state."""

    url: str = ""
    healthy: bool = True
    runs: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


@contextmanager
def prefect() -> Iterator[Prefect]:
    served = Prefect()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            run_id = self.path.rpartition("/")[2]
            if run_id == "ready":
                self._answer({}, 200 if served.healthy else 503)
            elif run_id not in served.runs:
                self._answer({}, 404)
            else:
                self._answer({"id": run_id, "name": "run", "state": {"type": served.runs[run_id]}})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            served.asked.append(self.path)
            if self.path.endswith("/filter"):
                chosen = body["flow_runs"]
                wanted = set(chosen["id"]["any_"])
                types = chosen["state"]["type"]["any_"]
                self._answer([{"id": one} for one, kind in served.runs.items() if one in wanted and kind in types])
            else:
                served.runs[self.path.split("/")[-2]] = body["state"]["type"]
                self._answer({})

        def _answer(self, content: object, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the parent's name
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}/api"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def job(catalog: Catalog, run_id: UUID, ended: timedelta | None, **changes: object) -> None:
    """Write a job of a flow run, that ended so long ago or (None) still runs."""
    if ended is None:
        left = {"status": JobStatus.RUNNING, "completed_at": None, "size": None}
    else:
        left = {"completed_at": NOW - ended}
    planted.backup(catalog.sessions, NOW - timedelta(hours=1), flow_run_id=run_id, **(left | changes))


FAILED = {"status": JobStatus.FAILED, "error": "the disk is full"}
DEAD = {"status": JobStatus.FAILED, "error": "the process 7 on x ended without finishing the job; its last sign …"}


def test_runs_are_over_when_their_last_job_is_dead_or_ended_long_ago(catalog: Catalog) -> None:
    dead, just, long_ago, retried, running = (uuid4() for _ in range(5))
    job(catalog, dead, timedelta(seconds=1), **DEAD)
    job(catalog, just, GRACE, **FAILED)
    job(catalog, long_ago, GRACE + timedelta(seconds=1))
    job(catalog, retried, timedelta(minutes=20), **DEAD)
    job(catalog, retried, timedelta(minutes=2), **FAILED)
    job(catalog, running, timedelta(minutes=20), **FAILED)
    job(catalog, running, None)
    assert {run.id for run in over_runs(catalog.sessions, NOW)} == {dead, long_ago}


def test_a_zombie_run_is_crashed_whoever_ended_its_job_and_others_are_left_alone(catalog: Catalog) -> None:
    zombie, waiting, done, living = (uuid4() for _ in range(4))
    for run_id in (zombie, waiting, done):
        job(catalog, run_id, timedelta(minutes=15), **DEAD)
    job(catalog, living, None)
    with prefect() as server, PrefectApi(server.url) as api:
        server.runs = {
            str(zombie): "RUNNING",
            str(waiting): "SCHEDULED",
            str(done): "COMPLETED",
            str(living): "RUNNING",
        }
        assert end_zombies(api, catalog.sessions, NOW) == (zombie,)
        assert end_zombies(api, catalog.sessions, NOW) == ()
        assert server.runs == {
            str(zombie): "CRASHED",
            str(waiting): "SCHEDULED",
            str(done): "COMPLETED",
            str(living): "RUNNING",
        }


def test_without_jobs_prefect_is_not_asked(catalog: Catalog) -> None:
    with prefect() as server, PrefectApi(server.url) as api:
        assert end_zombies(api, catalog.sessions, NOW) == ()
        assert server.asked == []


def test_the_watch_does_its_rounds_while_prefect_is_away_and_notes_it_when_it_answers(
    catalog: Catalog, catalog_database: Address, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    watch = Watch(settings_for(tmp_path, catalog_database))
    try:
        with prefect() as server, PrefectApi(server.url) as api:
            server.healthy = False
            look_once(watch, api)
            assert [sign.service for sign in read_signs(catalog.sessions)] == ["watch"]
            assert "no good backup" in capsys.readouterr().out
            server.healthy = True
            look_once(watch, api)
        assert [sign.service for sign in read_signs(catalog.sessions)] == ["prefect", "watch"]
    finally:
        watch.close()


# The command line


def test_the_command_watches_lists_and_acknowledges(files_product: Product, tmp_path: Path) -> None:
    once = run(files_product, "watch", "--once")
    assert (once.returncode, "there is no good backup of full set" in once.stdout) == (0, True)
    assert run(files_product, "watch", "--once").stdout.strip() == "nothing new"
    listed = run(files_product, "alarm", "list", "--json")
    alarms = json.loads(listed.stdout)
    assert listed.returncode == 1  # critical ones, of which nobody looks after any
    ids = [alarm["id"] for alarm in alarms if alarm["severity"] == "critical"]
    done = run(files_product, "alarm", "acknowledge", *ids)
    assert (done.returncode, "looks after" in done.stdout) == (0, True)
    again = run(files_product, "alarm", "list")
    assert (again.returncode, "looks after it" in again.stdout) == (0, True)


def test_the_command_watches_until_it_is_told_to_end(files_product: Product, catalog_database: Address) -> None:
    watch = subprocess.Popen(
        command_line("watch", "--every", "1"),
        env=environment(files_product.settings_path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with opened(files_product) as catalog:
            wait_until(lambda: bool(read_signs(catalog.sessions)), "a sign of the watch", seconds=60, process=watch)
            first = read_signs(catalog.sessions)[0].at
            wait_until(lambda: read_signs(catalog.sessions)[0].at > first, "a second round", seconds=60, process=watch)
    finally:
        watch.send_signal(signal.SIGTERM)
        said, complained = watch.communicate(timeout=60)
    assert (watch.returncode, complained) == (0, "")
    assert said.count("there is no good backup of full set") == 1


def test_the_command_tests_targets_and_refuses_what_cannot_be(files_product: Product) -> None:
    for words, said in (
        (("alarm", "test"), "no alarm target is configured"),
        (("alarm", "test", "nobody"), "there is no alarm target named 'nobody'"),
        (("alarm", "acknowledge", "ffffffff"), "no open alarm has the id ffffffff"),
        (("metrics", "--serve", "nonsense"), "'nonsense' is not an address"),
        (("metrics", "--serve", "127.0.0.1:99999"), "is not an address"),
    ):
        refused = run(files_product, *words)
        assert (refused.returncode, refused.stdout) == (2, ""), words
        assert said in refused.stderr
        assert "To do: " in refused.stderr
    text = files_product.settings_path.read_text()
    with http_receiver() as hook:
        (files_product.home / "hook.url").write_text(hook.url)
        target = '[[alarm_target]]\nname = "hook"\nurl_file = "hook.url"\n'
        files_product.settings_path.write_text(f"{text}\n{target}")
        refused = run(files_product, "alarm", "test", "hook")
        assert (refused.returncode, "not https" in refused.stderr) == (2, True)
        files_product.settings_path.write_text(f"{text}\n{target}allow_private = true\n")
        assert run(files_product, "alarm", "test").stdout.strip() == "hook: took the message"
        listed = run(files_product, "alarm", "targets")
        assert (listed.returncode, "fine" in listed.stdout) == (0, True)
    away = run(files_product, "alarm", "test", "hook")
    assert (away.returncode, "does not answer" in away.stderr, "To do: " in away.stderr) == (2, True, True)


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ('name = "a"\n', "url_file or by url_env"),
        ('name = "a"\nurl_file = "x"\nurl_env = "Y"\n', "url_file or by url_env"),
        ('name = "a"\nurl_file = "x"\nzone = "Mars/Base"\n', "no time zone 'Mars/Base'"),
        ('name = "a"\nurl_file = "x"\nquiet_hours = "25:00-06:00"\n', "quiet_hours"),
        ('name = "a"\nurl_file = "x"\nseverities = ["loud"]\n', "severities"),
        ('name = "a"\nurl_file = "x"\nurl = "https://secret"\n', "unknown field"),
        ('name = "a"\nurl_file = "x"\n[[alarm_target]]\nname = "a"\nurl_file = "y"\n', "two alarm targets"),
    ],
)
def test_a_mistake_in_a_target_is_told_with_its_line(tmp_path: Path, lines: str, said: str) -> None:
    path = tmp_path / "edurise-backup.toml"
    path.write_text(f"[[alarm_target]]\n{lines}")
    with pytest.raises(BackupError, match=said) as mistake:
        load_settings(path, {})
    assert "line " in mistake.value.message
