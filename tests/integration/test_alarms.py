"""Alarms on a real catalog: what is read of it, who is told, what a fault between two steps leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from edurise_backup.catalog.alarms import Alarms
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.notices import CLAIM, Notices
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.signs import write_sign
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import (
    AmbiguousError,
    BackupError,
    ConflictError,
    ForbiddenError,
    NotFoundError,
    UnreachableError,
)
from edurise_backup.model.alarm_targets import AlarmTargetSettings
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.audit import Outcome
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus, Verdict
from edurise_backup.model.maintenance import MaintenanceFigures, MaintenanceKind
from edurise_backup.model.notices import Event
from edurise_backup.model.people import SYSTEM, Actor, Role, Via
from edurise_backup.monitoring.notifications import Message, Target, send
from edurise_backup.operations.alarms import acknowledge, find_alarm, gather, look
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.telling import deliver, queue_test, targets, try_target
from edurise_backup.postgres.connection import Address
from tests.support import planted
from tests.support.receivers import HttpReceiver, http_receiver, mail_receiver

NOW = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
VIEWER = Actor("vera", Via.DASHBOARD, frozenset({Role.VIEWER}))


@pytest.fixture
def catalog(catalog_database: Address) -> Iterator[Catalog]:
    with ExitStack() as stack:
        sessions = stack.enter_context(Sessions.to(catalog_database))
        migrate(sessions)
        yield Catalog(sessions, stack)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Give settings with two sources and a repository on this disk."""
    path = tmp_path / "edurise-backup.toml"
    path.write_text(
        """host = "tests"
[repository]
location = "."
[[files]]
name = "uploads"
paths = ["uploads"]
[[configuration]]
name = "settings"
paths = ["settings"]
"""
    )
    return load_settings(path, {})


def with_targets(settings: Settings, tmp_path: Path, **urls: str) -> Settings:
    made = []
    for name, url in urls.items():
        (tmp_path / f"{name}.url").write_text(url)
        made.append(AlarmTargetSettings(name=name, url_file=str(tmp_path / f"{name}.url"), allow_private=True))
    return replace(settings, alarm_targets=tuple(made))


def tuned(settings: Settings, name: str, **changes: object) -> Settings:
    return replace(
        settings,
        alarm_targets=tuple(
            msgspec.structs.replace(one, **changes) if one.name == name else one for one in settings.alarm_targets
        ),
    )


def told(receiver: HttpReceiver) -> list[tuple[str, str, str]]:
    """Return (event, kind, subject) of everything that the receiver got."""
    bodies = [json.loads(request.body) for request in receiver.requests]
    return [(body["event"], body.get("kind", ""), body.get("subject", "")) for body in bodies]


def kinds(catalog: Catalog) -> dict[str, AlarmKind]:
    return {alarm.subject: alarm.kind for alarm in catalog.alarms.open()}


def raise_one(catalog: Catalog, severity: Severity = Severity.WARNING, at: datetime = NOW, subject: str = "x") -> None:
    Alarms(catalog.sessions, clock=lambda: at).raise_alarm(
        Alarm(AlarmKind.RUN_MISSED, subject, severity, "a run was missed", "look")
    )


def settle_one(catalog: Catalog, at: datetime) -> None:
    Alarms(catalog.sessions, clock=lambda: at).settle(AlarmKind.RUN_MISSED, "x")


# What the rules see


def test_a_catalog_without_a_backup_raises_one_alarm_for_each_source_and_the_set(
    catalog: Catalog, settings: Settings
) -> None:
    new = look(settings, catalog, NOW)
    assert {alarm.subject for alarm in new if alarm.kind is AlarmKind.NO_GOOD_BACKUP} == {
        "full set",
        "files/uploads",
        "configuration/settings",
        "metadata/platform",
    }
    assert look(settings, catalog, NOW + timedelta(seconds=30)) == ()


def test_a_good_verified_full_set_settles_them_and_age_brings_them_back(catalog: Catalog, settings: Settings) -> None:
    look(settings, catalog, NOW - HOUR)
    planted.backup(catalog.sessions, NOW - HOUR, verified_at=NOW, verification_status=Verdict.PASSED)
    look(settings, catalog, NOW)
    assert set(kinds(catalog).values()) <= {AlarmKind.STORE_FILLING}  # by how full this machine's disk is
    later = {alarm.kind for alarm in look(settings, catalog, NOW + 8 * DAY)}
    assert later - {AlarmKind.STORE_FILLING} == {AlarmKind.NO_GOOD_BACKUP, AlarmKind.NOT_VERIFIED}


def test_forgotten_and_missing_backups_do_not_count_and_missing_ones_are_told_of(
    catalog: Catalog, settings: Settings
) -> None:
    planted.backup(catalog.sessions, NOW - HOUR, forgotten_at=NOW)
    missing = planted.backup(catalog.sessions, NOW - 2 * HOUR, missing_since=NOW)
    look(settings, catalog, NOW)
    assert kinds(catalog)["full set"] is AlarmKind.NO_GOOD_BACKUP
    assert str(missing)[:8] in {row.subject: row.message for row in catalog.alarms.open()}["repository"]


def test_a_job_that_the_reconciler_ended_has_died(catalog: Catalog, settings: Settings) -> None:
    job = BackupJob(id=JobId(uuid4()), type=BackupType.FILES, status=JobStatus.QUEUED, source="uploads")
    catalog.jobs.create(job)
    catalog.sessions.run(lambda c: c.execute("UPDATE backup_jobs SET created_at = now() - interval '7 hours'"))
    assert [one.id for one in catalog.reconcile()] == [job.id]
    failed = {"status": JobStatus.FAILED, "error": "the disk is full", "parts": ()}
    planted.backup(catalog.sessions, datetime.now(UTC), kind=BackupType.CONFIGURATION, **failed)
    look(settings, catalog, datetime.now(UTC))
    assert kinds(catalog)["backup files/uploads"] is AlarmKind.JOB_DIED
    assert kinds(catalog)["backup configuration"] is AlarmKind.JOB_FAILED


def test_what_others_raise_is_left_to_them(catalog: Catalog, settings: Settings) -> None:
    for kind in (AlarmKind.LEASE_STOLEN, AlarmKind.RUN_MISSED, AlarmKind.SCHEDULE_DRIFT, AlarmKind.AUDIT_BROKEN):
        catalog.alarms.raise_alarm(Alarm(kind, "theirs", Severity.WARNING, "m"))
    catalog.alarms.raise_alarm(Alarm(AlarmKind.JOB_FAILED, "schedule nightly", Severity.WARNING, "m"))
    look(settings, catalog, NOW)
    theirs = [row for row in catalog.alarms.open() if row.subject in ("theirs", "schedule nightly")]
    assert len(theirs) == 5


def test_a_scheduled_run_that_failed_is_told_by_its_schedule_alone(catalog: Catalog, settings: Settings) -> None:
    failed = {"status": JobStatus.FAILED, "error": "the disk is full", "parts": ()}
    job = planted.backup(catalog.sessions, NOW - HOUR, **failed)
    look(settings, catalog, NOW)
    assert "backup full" in kinds(catalog)
    due = NOW - HOUR
    catalog.sessions.run(
        lambda c: c.execute(
            """INSERT INTO expected_runs
                   (schedule_id, due_at, name, type, grace_until, frozen_at, outcome, judged_at, job_id)
               VALUES (%s, %s, 'nightly', 'full', %s, %s, 'failed', %s, %s)""",
            (uuid4(), due, due, due, NOW, job),
        )
    )
    look(settings, catalog, NOW)
    assert "backup full" not in kinds(catalog)


def test_a_check_within_a_budget_does_not_settle_what_another_one_found(catalog: Catalog, settings: Settings) -> None:
    failed = {"verification_status": Verdict.FAILED, "findings": ("pack 1 is broken",), "asked": "budget 5%"}
    planted.maintenance(catalog.sessions, NOW - 3 * HOUR, MaintenanceKind.CHECK, **failed)
    passed = {"verification_status": Verdict.PASSED, "asked": "budget 5%"}
    planted.maintenance(catalog.sessions, NOW - 2 * HOUR, MaintenanceKind.CHECK, **passed)
    look(settings, catalog, NOW)
    assert kinds(catalog)["repository"] is AlarmKind.VERIFICATION_FAILED
    planted.maintenance(catalog.sessions, NOW - HOUR, MaintenanceKind.CHECK, **(passed | {"asked": "every byte"}))
    look(settings, catalog, NOW)
    assert "repository" not in kinds(catalog)


def test_a_backup_that_did_not_pass_is_an_alarm_until_it_is_forgotten(catalog: Catalog, settings: Settings) -> None:
    planted.backup(catalog.sessions, NOW - HOUR, verified_at=NOW, verification_status=Verdict.FAILED)
    look(settings, catalog, NOW)
    assert AlarmKind.VERIFICATION_FAILED in kinds(catalog).values()
    catalog.sessions.run(lambda c: c.execute("UPDATE backup_jobs SET forgotten_at = now()"))
    look(settings, catalog, NOW)
    assert AlarmKind.VERIFICATION_FAILED not in kinds(catalog).values()


def test_an_encrypted_source_stands_out_of_a_month_of_backups(catalog: Catalog, settings: Settings) -> None:
    for day in range(30, 0, -1):
        planted.backup(catalog.sessions, NOW - day * DAY)
    wild = planted.part(
        BackupType.FILES, "uploads", stored_bytes=90 * planted.MIB, read_bytes=95 * planted.MIB, files=1001
    )
    hit = planted.backup(catalog.sessions, NOW - HOUR, kind=BackupType.FILES, parts=(wild,))
    look(settings, catalog, NOW)
    found = [row for row in catalog.alarms.open() if row.kind is AlarmKind.UNUSUAL_CHANGE]
    assert [(row.subject, row.severity) for row in found] == [("files/uploads", Severity.CRITICAL)]
    assert str(hit)[:8] in found[0].message


def test_sizes_come_from_measurements_and_before_there_are_any_from_what_backups_added(
    catalog: Catalog, settings: Settings
) -> None:
    for day in (3, 2, 1):
        planted.backup(catalog.sessions, NOW - day * DAY)
    store = gather(settings, catalog, NOW).store
    assert store is not None
    assert [size.bytes // planted.MIB for size in store.sizes] == [3, 6, 9]
    assert store.free_bytes
    for day in (3, 2, 1):
        figures = MaintenanceFigures(1, 1, (50 - day) * planted.MIB)
        planted.maintenance(catalog.sessions, NOW - day * DAY, MaintenanceKind.PRUNE, figures=figures)
    store = gather(settings, catalog, NOW).store
    assert store is not None
    assert [size.bytes // planted.MIB for size in store.sizes] == [47, 48, 49]


def test_the_catalog_server_s_clock_is_compared_with_ours(catalog: Catalog, settings: Settings) -> None:
    assert gather(settings, catalog, NOW).clock_offset == timedelta(0)
    late = gather(settings, catalog, NOW, clock=lambda: datetime.now(UTC) - HOUR).clock_offset
    assert late is not None
    assert timedelta(minutes=59) < -late <= HOUR


def test_a_watch_that_fell_silent_is_told_of_by_whoever_looks(catalog: Catalog, settings: Settings) -> None:
    write_sign(catalog.sessions, "watch", NOW - HOUR)
    look(settings, catalog, NOW)
    assert kinds(catalog)["watch"] is AlarmKind.SERVICE_DOWN
    write_sign(catalog.sessions, "watch", NOW)
    look(settings, catalog, NOW)
    assert "watch" not in kinds(catalog)


# Who is told


def test_an_alarm_goes_to_a_mailbox_and_a_webhook_once_and_so_does_its_end(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    raise_one(catalog)
    with mail_receiver() as mail, http_receiver() as hook:
        settings = with_targets(
            settings, tmp_path, mail=f"mailto://127.0.0.1:{mail.port}?from=a@b.org&to=c@d.org", hook=hook.url
        )
        assert deliver(settings, catalog, NOW).sent == 2
        assert deliver(settings, catalog, NOW + HOUR).sent == 0
        settle_one(catalog, NOW + HOUR)
        assert deliver(settings, catalog, NOW + HOUR).sent == 2
        assert deliver(settings, catalog, NOW + 2 * HOUR).sent == 0
    assert told(hook) == [("raised", "run_missed", "x"), ("settled", "run_missed", "x")]
    assert ["[warning] run missed: x" in mail.mails[0], "[settled] run missed: x" in mail.mails[1]] == [True, True]
    assert f"alarm acknowledge {str(catalog.alarms.newest()[0].id)[:8]}" in json.loads(hook.requests[0].body)["message"]


def test_a_target_that_does_not_answer_is_an_alarm_for_the_others_and_gets_its_message_later(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    raise_one(catalog)
    with http_receiver() as good, http_receiver() as bad:
        settings = with_targets(settings, tmp_path, bad=bad.url, good=good.url)
        bad.status = 503
        done = deliver(settings, catalog, NOW)
        assert (done.sent, len(done.failed)) == (2, 1)
        assert "HTTP 503" in done.failed[0]
        assert told(good) == [("raised", "run_missed", "x"), ("raised", "target_unreachable", "bad")]
        assert deliver(settings, catalog, NOW + timedelta(seconds=29)).failed == ()  # left alone for a while
        assert len(bad.requests) == 1
        bad.status = 200
        assert deliver(settings, catalog, NOW + timedelta(seconds=30)).sent == 2
    assert told(bad)[1:] == [("raised", "run_missed", "x")]
    assert told(good)[-1] == ("settled", "target_unreachable", "bad")
    assert [row.kind for row in catalog.alarms.open()] == [AlarmKind.RUN_MISSED]


def test_a_crash_between_sending_and_noting_repeats_a_message_and_loses_none(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    class Crash(BaseException):
        """The process ends here."""

    def send_and_die(target: Target, message: Message) -> None:
        send(target, message)
        raise Crash

    raise_one(catalog)
    with http_receiver() as hook:
        settings = with_targets(settings, tmp_path, hook=hook.url)
        with pytest.raises(Crash):
            deliver(settings, catalog, NOW, send_message=send_and_die)
        assert deliver(settings, catalog, NOW + CLAIM - timedelta(seconds=1)).sent == 0
        assert deliver(settings, catalog, NOW + CLAIM).sent == 1
        assert deliver(settings, catalog, NOW + 2 * CLAIM).sent == 0
    assert len(hook.requests) == 2


def test_a_crash_before_sending_loses_nothing(catalog: Catalog, settings: Settings, tmp_path: Path) -> None:
    def die(target: Target, message: Message) -> None:
        raise KeyboardInterrupt

    raise_one(catalog)
    with http_receiver() as hook:
        settings = with_targets(settings, tmp_path, hook=hook.url)
        with pytest.raises(KeyboardInterrupt):
            deliver(settings, catalog, NOW, send_message=die)
        assert deliver(settings, catalog, NOW + CLAIM).sent == 1


def test_two_watches_at_once_send_a_message_once(catalog: Catalog, settings: Settings, tmp_path: Path) -> None:
    raise_one(catalog)
    with http_receiver() as hook:
        settings = with_targets(settings, tmp_path, hook=hook.url)
        inner: list[int] = []

        def send_while_another_watches(target: Target, message: Message) -> None:
            inner.append(deliver(settings, catalog, NOW).sent)
            send(target, message)

        assert deliver(settings, catalog, NOW, send_message=send_while_another_watches).sent == 1
    assert (inner, len(hook.requests)) == ([0], 1)


def test_what_nobody_acknowledges_goes_further(catalog: Catalog, settings: Settings, tmp_path: Path) -> None:
    raise_one(catalog)
    raise_one(catalog, subject="y")
    with http_receiver() as first, http_receiver() as boss:
        settings = tuned(with_targets(settings, tmp_path, first=first.url, boss=boss.url), "boss", after_minutes=30)
        assert deliver(settings, catalog, NOW).sent == 2
        mine = next(row for row in catalog.alarms.open() if row.subject == "y")
        acknowledge(catalog, SYSTEM, mine.id)
        assert deliver(settings, catalog, NOW + timedelta(minutes=29)).sent == 0
        assert deliver(settings, catalog, NOW + timedelta(minutes=30)).sent == 1
    assert told(boss) == [("raised", "run_missed", "x")]


def test_a_message_that_nobody_takes_for_a_week_and_one_to_a_target_that_is_gone_are_given_up(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    raise_one(catalog)
    with http_receiver() as hook:
        hook.status = 500
        there = with_targets(settings, tmp_path, hook=hook.url)
        deliver(there, catalog, NOW)
        deliver(there, catalog, NOW + 8 * DAY)
        assert Notices(catalog.sessions).waiting() == 0
        raise_one(catalog, Severity.CRITICAL)
        deliver(there, catalog, NOW + 8 * DAY)
        assert Notices(catalog.sessions).waiting() == 1
        deliver(settings, catalog, NOW + 8 * DAY)
        assert Notices(catalog.sessions).waiting() == 0


def test_a_target_that_is_taken_away_or_mended_is_no_alarm_any_more(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    raise_one(catalog)
    with http_receiver() as hook:
        there = with_targets(settings, tmp_path, hook=hook.url)
        hook.status = 500
        deliver(there, catalog, NOW)
        assert kinds(catalog)["hook"] is AlarmKind.TARGET_UNREACHABLE
        hook.status = 200
        try_target(there, catalog, SYSTEM, "hook")
        assert "hook" not in kinds(catalog)
        hook.status = 500
        deliver(there, catalog, NOW + HOUR)
        assert "hook" in kinds(catalog)
        deliver(settings, catalog, NOW + HOUR)
        assert "hook" not in kinds(catalog)


def test_a_url_that_cannot_be_read_is_told_and_stops_nothing(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    raise_one(catalog)
    with http_receiver() as hook:
        settings = with_targets(settings, tmp_path, gone="x", variable="x", hook=hook.url)
        (tmp_path / "gone.url").unlink()
        settings = tuned(settings, "variable", url_file="", url_env="NO_SUCH_VARIABLE")
        done = deliver(settings, catalog, NOW, environment={})
        assert done.sent == 3
    assert {line.partition(":")[0] for line in done.failed} == {"gone", "variable"}
    states = {one.settings.name: one.problem for one in targets(settings, catalog, environment={})}
    assert "cannot be read" in states["gone"]
    assert "NO_SUCH_VARIABLE" in states["variable"]
    assert states["hook"] == ""


def test_a_url_is_in_no_row_of_the_catalog(catalog: Catalog, settings: Settings, tmp_path: Path) -> None:
    raise_one(catalog)
    with http_receiver() as hook:
        hook.status = 404
        settings = with_targets(settings, tmp_path, hook=f"{hook.url}/canary-77")
        deliver(settings, catalog, NOW)
        with pytest.raises(BackupError):
            try_target(settings, catalog, SYSTEM, "hook")
    for table in ("alarms", "notifications", "audit_log"):
        rows = catalog.sessions.run(lambda c, t=table: c.execute(f"SELECT t::text FROM {t} t".encode()).fetchall())
        assert "canary-77" not in str(rows)


# Tests of targets, and people


def test_a_test_message_is_sent_at_once_and_audited(catalog: Catalog, settings: Settings, tmp_path: Path) -> None:
    with http_receiver() as hook:
        settings = with_targets(settings, tmp_path, hook=hook.url)
        try_target(settings, catalog, SYSTEM, "hook")
    assert told(hook) == [("test", "", "")]
    assert [(row.action, row.subject) for row in catalog.audit.rows()] == [("alarm_target.test", "hook")]


def test_a_test_that_is_queued_is_sent_by_the_watch_and_tried_once(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    with http_receiver() as hook:
        settings = with_targets(settings, tmp_path, hook=hook.url)
        taken = queue_test(settings, catalog, SYSTEM, "hook", NOW)
        deliver(settings, catalog, NOW)
        hook.status = 403
        refused = queue_test(settings, catalog, SYSTEM, "hook", NOW)
        deliver(settings, catalog, NOW)
    notices = Notices(catalog.sessions)
    first, second = notices.get(taken), notices.get(refused)
    assert first is not None
    assert (first.event, first.sent_at) == (Event.TEST, NOW)
    assert second is not None
    assert (second.given_up_at, "HTTP 403" in second.error) == (NOW, True)


def test_an_unknown_target_and_an_unreachable_one_say_what_to_do(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(NotFoundError, match="nobody") as unknown:
        try_target(settings, catalog, SYSTEM, "nobody")
    assert "[[alarm_target]]" in unknown.value.hint
    with http_receiver() as hook:
        url = hook.url
    with pytest.raises(UnreachableError) as away:
        try_target(with_targets(settings, tmp_path, hook=url), catalog, SYSTEM, "hook")
    assert "url_file" in away.value.hint


def test_who_may_only_look_neither_acknowledges_nor_tests_and_that_is_written_down(
    catalog: Catalog, settings: Settings, tmp_path: Path
) -> None:
    raise_one(catalog)
    settings = with_targets(settings, tmp_path, hook="https://hook.example/")
    (row,) = catalog.alarms.open()
    with pytest.raises(ForbiddenError, match="vera"):
        acknowledge(catalog, VIEWER, row.id)
    with pytest.raises(ForbiddenError):
        queue_test(settings, catalog, VIEWER, "hook", NOW)
    assert catalog.alarms.open()[0].acknowledged_at is None
    assert [entry.outcome for entry in catalog.audit.rows()] == [Outcome.REFUSED, Outcome.REFUSED]


def test_an_alarm_is_acknowledged_once_and_found_by_the_beginning_of_its_id(catalog: Catalog) -> None:
    raise_one(catalog)
    (row,) = catalog.alarms.open()
    assert find_alarm(catalog, str(row.id)[:6]).id == row.id
    for word in ("zz", "", "  "):
        with pytest.raises(NotFoundError):
            find_alarm(catalog, word)
    acknowledge(catalog, SYSTEM, row.id)
    with pytest.raises(ConflictError, match="edurise-backup"):
        acknowledge(catalog, SYSTEM, row.id)
    with pytest.raises(NotFoundError):
        acknowledge(catalog, SYSTEM, uuid4())
    assert [entry.action for entry in catalog.audit.rows()] == ["alarm.acknowledge"]


def test_an_id_that_is_short_for_two_alarms_is_refused(catalog: Catalog) -> None:
    for number in range(20):  # of twenty ids two begin alike
        raise_one(catalog, subject=str(number))
    digits = [str(row.id)[0] for row in catalog.alarms.open()]
    twice = next(digit for digit in digits if digits.count(digit) > 1)
    with pytest.raises(AmbiguousError):
        find_alarm(catalog, twice)
