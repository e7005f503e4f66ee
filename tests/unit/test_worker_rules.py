"""Where work goes among several hosts, what is wrong with them, and what a pool may not bring along."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from edurise_backup.catalog.workers import Seen
from edurise_backup.config import load_settings
from edurise_backup.errors import ConfigError, ConflictError
from edurise_backup.model.alarm_facts import FULL, Facts
from edurise_backup.model.alarm_rules import judge
from edurise_backup.model.alarms import AlarmKind, Severity
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.workers import ANYWHERE, STILL_LIVES, Worker, lacking, place_of
from edurise_backup.operations.alarms import with_other_hosts
from edurise_backup.operations.doctor_workers import judge_workers
from edurise_backup.operations.findings import Level
from edurise_backup.operations.places import Places
from edurise_backup.operations.workers import WorkerState, refuse_one_machine
from flows.deploy import brought_along
from flows.server import DATABASE, server_environment
from flows.worker import SIGN_SECONDS

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


def worker(host: str, *sources: str, silent: timedelta = timedelta(0)) -> Worker:
    return Worker(
        host=host,
        id=uuid4(),
        pool="edurise",
        slots=2,
        sources=tuple(sorted(sources)),
        repository="a" * 64,
        version="1",
        pid=1,
        boot_id="boot",
        machine_id="machine",
        clock_offset_seconds=0.0,
        started_at=NOW - timedelta(days=1),
        seen_at=NOW - silent,
        left_at=None,
    )


ONE = worker("one", "files/all", "files/only", "metadata/platform")
TWO = worker("two", "files/all", "metadata/platform")


def test_what_everybody_reads_goes_anywhere_and_what_one_reads_goes_there() -> None:
    assert place_of([ONE, TWO], ["files/all"], NOW) == ANYWHERE
    assert place_of([ONE, TWO], ["files/only"], NOW) == "one"
    assert place_of([ONE, TWO], ["files/nobody's"], NOW) is None
    assert place_of([], ["files/all"], NOW) == ANYWHERE


def test_of_several_that_can_a_living_one_is_chosen_and_without_any_the_work_waits_for_one() -> None:
    silent = worker("a", "files/only", silent=STILL_LIVES + timedelta(seconds=1))
    assert place_of([silent, ONE, TWO], ["files/only"], NOW) == "one"
    assert place_of([silent, TWO], ["files/only"], NOW) == "a"


def test_a_backup_of_everything_goes_to_who_reads_everything() -> None:
    places = Places(Seen(NOW, (ONE, TWO)))
    assert places.backup(BackupType.FULL, None) == "one"
    assert places.backup(BackupType.FILES, None) == "one"
    assert places.backup(BackupType.FILES, "all") == ANYWHERE
    assert places.backup(BackupType.METADATA, None) == ANYWHERE
    other = worker("three", "files/theirs")
    assert Places(Seen(NOW, (ONE, other))).backup(BackupType.FULL, None) == ANYWHERE  # the job then says why it cannot


def test_where_nobody_reads_everything_no_full_set_is_expected_and_none_can_be_scheduled() -> None:
    apart = (worker("one", "files/a"), worker("two", "database/b"))
    own = (FULL, ("files", "a"))
    assert with_other_hosts(own, apart) == (("files", "a"), ("database", "b"))
    whole = worker("three", "files/a", "database/b")
    assert FULL in with_other_hosts(own, (*apart, whole))
    assert with_other_hosts(own, ()) == own
    with pytest.raises(ConflictError, match="one lacks database/b, two lacks files/a"):
        Places(Seen(NOW, apart)).refuse(BackupType.FULL, None)
    Places(Seen(NOW, apart)).refuse(BackupType.DATABASE, "b")
    Places(Seen(NOW, (*apart, whole))).refuse(BackupType.FULL, None)
    Places(Seen(NOW, ())).refuse(BackupType.FULL, None)
    (alarm,) = [
        one for one in judge(Facts(now=NOW, expected=(("database", "b"),), workers=apart)) if "no_good" in one.kind
    ]
    assert "`edurise-backup backup database --source b` on two" in alarm.remedy


def test_what_others_read_and_this_host_lacks_is_named_with_its_host() -> None:
    assert lacking([ONE], TWO.sources, ["files", "metadata"]) == {"files/only": "one"}
    assert lacking([ONE], TWO.sources, ["database"]) == {}


def test_a_worker_gives_its_sign_several_times_before_it_counts_as_away() -> None:
    assert timedelta(seconds=3 * SIGN_SECONDS) < STILL_LIVES


def alarms_of(*workers: Worker) -> dict[str, Severity]:
    found = judge(Facts(NOW, workers=workers, workers_at=NOW))
    return {f"{alarm.kind.value} {alarm.subject}": alarm.severity for alarm in found}


def test_a_silent_host_is_an_alarm_and_no_living_one_is_a_worse_one() -> None:
    silent = replace(ONE, seen_at=NOW - timedelta(minutes=4))
    assert alarms_of(ONE, TWO) == {}
    assert alarms_of(silent, TWO) == {"service_down worker one": Severity.WARNING}
    assert alarms_of(silent) == {
        "service_down worker one": Severity.WARNING,
        "service_down workers": Severity.CRITICAL,
    }


def test_a_host_that_was_stopped_in_order_is_no_alarm_as_long_as_others_work() -> None:
    stopped = replace(ONE, seen_at=NOW - timedelta(hours=1), left_at=NOW - timedelta(hours=1))
    assert alarms_of(stopped, TWO) == {}
    assert alarms_of(stopped) == {"service_down workers": Severity.CRITICAL}


@pytest.mark.parametrize("seconds", [-8.0, 8.0])
def test_a_host_whose_clock_is_off_is_an_alarm(seconds: float) -> None:
    assert alarms_of(replace(ONE, clock_offset_seconds=seconds)) == {
        f"{AlarmKind.CLOCK_OFF.value} host one": Severity.WARNING
    }


def levels(*states: WorkerState) -> list[Level]:
    return [finding.level for finding in judge_workers(states)]


def test_doctor_tells_of_hosts_that_are_away_or_disagree() -> None:
    assert levels() == []
    assert levels(WorkerState(ONE, True), WorkerState(TWO, True)) == [Level.FINE]
    assert levels(WorkerState(ONE, True), WorkerState(TWO, False)) == [Level.WARNING]
    assert levels(WorkerState(ONE, False)) == [Level.FAULT]
    assert levels(WorkerState(ONE, True), WorkerState(replace(TWO, version="2"), True)) == [Level.WARNING, Level.FINE]
    apart = worker("three", "files/theirs")
    assert levels(WorkerState(ONE, True), WorkerState(apart, True)) == [Level.WARNING, Level.FINE]


def test_a_pool_whose_template_brings_settings_along_is_told_by_their_names_only() -> None:
    plain = {
        "variables": {"properties": {"env": {"type": "object"}, "command": {"default": None}}},
        "job_configuration": {"env": "{{ env }}", "command": "{{ command }}"},
    }
    assert brought_along(plain) == []
    properties = {"env": {"default": {"PGPASSWORD": "canary"}}, "working_dir": {"default": "/srv"}}
    assert brought_along({"variables": {"properties": properties}}) == ["the working_dir", "PGPASSWORD"]
    assert brought_along({"job_configuration": {"env": {"AWS_SECRET_ACCESS_KEY": "canary"}}}) == [
        "AWS_SECRET_ACCESS_KEY"
    ]


def test_an_embedded_catalog_is_refused_for_workers() -> None:
    with pytest.raises(ConfigError, match="embedded"):
        refuse_one_machine(load_settings(None, {}))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "SQLite"),
        ("sqlite+aiosqlite:////var/lib/prefect.db", "SQLite"),
        ("postgresql+asyncpg://prefect:canary@db/prefect", "holds the password"),
    ],
    ids=["nothing", "SQLite", "password"],
)
def test_a_server_for_several_machines_keeps_its_state_in_postgresql_and_no_password_in_sight(
    tmp_path: Path, url: str, why: str
) -> None:
    (tmp_path / "edurise-backup.toml").write_text('data_directory = "data"\n')
    settings = load_settings(tmp_path / "edurise-backup.toml", {})
    with pytest.raises(ConfigError, match=why) as refused:
        server_environment(settings, "127.0.0.1", 4200, {DATABASE: url})
    assert "canary" not in "\n".join(refused.value.lines())


def test_a_server_asks_for_the_credential_that_is_kept_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "edurise-backup.toml").write_text('data_directory = "data"\n')
    settings = load_settings(tmp_path / "edurise-backup.toml", {})
    made = server_environment(settings, "127.0.0.1", 4200, {DATABASE: "postgresql+asyncpg://prefect@db/prefect"})
    assert made["PREFECT_SERVER_API_AUTH_STRING"] == (tmp_path / "data" / "prefect.auth").read_text().strip()
    assert made[DATABASE] == "postgresql+asyncpg://prefect@db/prefect"
