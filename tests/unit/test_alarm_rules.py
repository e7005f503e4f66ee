"""Each rule of alarms at its borders: what holds, what does not hold yet, and what no data means."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from edurise_backup.model import alarm_rules as rules
from edurise_backup.model.alarm_change import LEAST, unusual_change
from edurise_backup.model.alarm_facts import FULL, Change, Ended, Facts, FailedProof, LastGood, Locks, Sign, Size, Store
from edurise_backup.model.alarm_locks import locks_run_out
from edurise_backup.model.alarm_store import LITTLE_ROOM, NO_ROOM, days_to_full, store_filling
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.robust import spread, steepest_slope

NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
MIB, GIB = 1024**2, 1024**3
UPLOADS = ("files", "uploads")
JOB = UUID("aaaaaaaa-0000-4000-8000-000000000001")


def good(age: timedelta, *, verified: timedelta | None = None, first: timedelta | None = None) -> LastGood:
    return LastGood(*UPLOADS, NOW - (first or age), NOW - age, None if verified is None else NOW - verified)


def ended(status: str, ago: timedelta = HOUR, **changes: object) -> Ended:
    well = status in ("completed", "completed_with_warnings")
    job = Ended("backup", "files", "uploads", JOB, status, NOW - ago, well, False, 0, "", "")
    return replace(job, **changes)  # type: ignore[arg-type]


def one(alarms: object) -> Alarm:
    (alarm,) = alarms  # type: ignore[misc]
    assert isinstance(alarm, Alarm)
    return alarm


# Object locks


@pytest.mark.parametrize(
    ("earliest", "since", "severity"),
    [
        (20 * DAY, 90 * DAY, None),
        (7.5 * DAY + HOUR, 90 * DAY, None),
        (7.5 * DAY, 90 * DAY, Severity.WARNING),
        (timedelta(0), 90 * DAY, Severity.CRITICAL),
        (None, None, None),
        (None, 22 * DAY, None),
        (None, 23 * DAY, Severity.WARNING),
        (None, 31 * DAY, Severity.CRITICAL),
    ],
)
def test_locks_that_nobody_extends_are_told_before_they_end(
    earliest: timedelta | None, since: timedelta | None, severity: Severity | None
) -> None:
    ends = None if earliest is None else NOW + earliest
    locks = Locks("primary", 30, ends, None if since is None else NOW - since)
    found = list(locks_run_out(Facts(NOW, locks=(locks,))))
    assert [alarm.severity for alarm in found] == ([severity] if severity else [])
    assert all("more often than every 15 days" in alarm.remedy for alarm in found)


# No good backup


def test_a_source_without_any_good_backup_is_critical() -> None:
    alarm = one(rules.no_good_backup(Facts(NOW, expected=(UPLOADS,))))
    assert (alarm.subject, alarm.severity) == ("files/uploads", Severity.CRITICAL)


@pytest.mark.parametrize(
    ("age", "severity"),
    [
        (26 * HOUR, None),
        (26 * HOUR + timedelta(seconds=1), Severity.WARNING),
        (52 * HOUR, Severity.WARNING),
        (52 * HOUR + timedelta(seconds=1), Severity.CRITICAL),
        (-HOUR, None),
    ],
)
def test_the_age_of_the_newest_good_backup_is_measured_against_the_objective(
    age: timedelta, severity: Severity | None
) -> None:
    found = list(rules.no_good_backup(Facts(NOW, expected=(UPLOADS,), last_good=(good(age),))))
    assert [alarm.severity for alarm in found] == ([severity] if severity else [])


def test_the_whole_set_is_judged_by_itself_and_what_is_not_configured_is_not() -> None:
    facts = Facts(
        NOW, expected=(FULL, UPLOADS), last_good=(good(HOUR), LastGood("files", "old", NOW, NOW - 90 * DAY, None))
    )
    assert one(rules.no_good_backup(facts)).subject == "full set"


# Not verified


@pytest.mark.parametrize(
    ("last", "holds"),
    [
        (good(HOUR, verified=7 * DAY), False),
        (good(HOUR, verified=7 * DAY + timedelta(seconds=1)), True),
        (good(HOUR, first=6 * DAY), False),
        (good(HOUR, first=8 * DAY), True),
    ],
)
def test_a_proof_may_be_as_old_as_the_objective_and_without_one_the_first_backup(last: LastGood, holds: bool) -> None:
    found = list(rules.not_verified(Facts(NOW, expected=(UPLOADS,), last_good=(last,))))
    assert bool(found) is holds


def test_a_source_that_was_never_backed_up_is_not_said_to_be_unverified_as_well() -> None:
    assert not list(rules.not_verified(Facts(NOW, expected=(UPLOADS,))))


# Jobs


@pytest.mark.parametrize(
    ("job", "kind"),
    [
        (ended("failed"), AlarmKind.JOB_FAILED),
        (ended("failed", died=True), AlarmKind.JOB_DIED),
        (ended("completed_with_warnings", warnings=3), AlarmKind.JOB_PARTIAL),
    ],
)
def test_how_a_job_ended_badly_decides_the_kind(job: Ended, kind: AlarmKind) -> None:
    alarm = one(rules.jobs_that_ended_badly(Facts(NOW, ended=(job,))))
    assert (alarm.kind, alarm.subject) == (kind, "backup files/uploads")
    assert alarm.remedy


@pytest.mark.parametrize(
    ("later", "settled"),
    [
        (ended("completed", 0 * HOUR), True),
        (ended("completed_with_warnings", 0 * HOUR), True),
        (ended("completed", 0 * HOUR, source=""), True),
        (ended("completed", 0 * HOUR, type="full", source=""), True),
        (ended("completed", 2 * HOUR), False),
        (ended("completed", 0 * HOUR, source="other"), False),
        (ended("completed", 0 * HOUR, type="database", source=""), False),
        (ended("completed", 0 * HOUR, kind="verification", type="verification", source=""), False),
    ],
)
def test_a_failure_is_over_when_a_later_job_did_well_what_it_did_not(later: Ended, settled: bool) -> None:
    found = [
        a
        for a in rules.jobs_that_ended_badly(Facts(NOW, ended=(ended("failed"), later)))
        if a.kind is AlarmKind.JOB_FAILED
    ]
    assert bool(found) is not settled


def test_a_part_alone_does_not_make_up_for_a_full_set() -> None:
    full = ended("failed", type="full", source="")
    facts = Facts(NOW, ended=(full, ended("completed", 0 * HOUR, source="")))
    assert one(rules.jobs_that_ended_badly(facts)).subject == "backup full"


def test_warnings_are_not_made_up_for_by_more_warnings() -> None:
    facts = Facts(
        NOW, ended=(ended("completed_with_warnings"), ended("completed_with_warnings", 0 * HOUR, type="full"))
    )
    assert len(list(rules.jobs_that_ended_badly(facts))) == 2


# Proofs, presence, clocks, services


def test_damage_names_what_was_found_first() -> None:
    proof = FailedProof("backup aaaaaaaa", NOW, ("pack 12 is\nbroken", "pack 13 is missing"))
    alarm = one(rules.verification_failed(Facts(NOW, failed_proofs=(proof,))))
    assert alarm.severity is Severity.CRITICAL
    assert "pack 12 is broken (and 1 more)" in alarm.message


def test_missing_backups_are_one_alarm_that_names_the_first() -> None:
    ids = tuple(uuid4() for _ in range(7))
    alarm = one(rules.catalog_disagrees(Facts(NOW, missing=ids)))
    assert "7 good backups" in alarm.message
    assert str(ids[4])[:8] in alarm.message
    assert "and 2 more" in alarm.message
    assert not list(rules.catalog_disagrees(Facts(NOW)))


@pytest.mark.parametrize(
    ("seconds", "severity"),
    [(None, None), (5, None), (-5, None), (6, Severity.WARNING), (-60, Severity.WARNING), (61, Severity.CRITICAL)],
)
def test_clocks_may_differ_by_a_few_seconds(seconds: int | None, severity: Severity | None) -> None:
    offset = None if seconds is None else timedelta(seconds=seconds)
    found = list(rules.clock_off(Facts(NOW, clock_offset=offset)))
    assert [alarm.severity for alarm in found] == ([severity] if severity else [])


def test_a_row_of_the_future_is_a_clock_that_was_wrong() -> None:
    assert not list(rules.clock_off(Facts(NOW, newest_moment=NOW + timedelta(minutes=1))))
    assert one(rules.clock_off(Facts(NOW, newest_moment=NOW + timedelta(minutes=2)))).subject == "catalog"


def test_a_service_is_down_when_no_host_gave_a_sign_of_it() -> None:
    old = Sign("watch", "a", NOW - timedelta(minutes=6))
    assert one(rules.service_down(Facts(NOW, signs=(old,)))).subject == "watch"
    assert not list(rules.service_down(Facts(NOW, signs=(old, Sign("watch", "b", NOW - timedelta(minutes=5))))))
    assert not list(rules.service_down(Facts(NOW)))


# The store


def sizes(*gib: float, days: float = 1.0) -> tuple[Size, ...]:
    first = NOW - timedelta(days=days * (len(gib) - 1))
    return tuple(Size(first + timedelta(days=days * at), int(value * GIB)) for at, value in enumerate(gib))


def test_a_steady_growth_gives_the_days_that_are_left() -> None:
    store = Store("r", 20 * GIB, sizes(*range(10, 20)))
    assert days_to_full(store) == pytest.approx(20)


def test_one_wild_size_does_not_move_the_forecast_much() -> None:
    grown = list(map(float, range(10, 30)))
    grown[10] = 500.0
    days = days_to_full(Store("r", 20 * GIB, sizes(*grown)))
    assert days is not None
    assert 10 < days <= 20


def test_a_noisy_growth_is_taken_at_its_steeper_bound() -> None:
    noisy = [10, 12.5, 11, 13.2, 15.9, 13.5, 17, 16.2, 19.5, 18, 21.3, 20]
    days = days_to_full(Store("r", 20 * GIB, sizes(*noisy)))
    assert days is not None
    assert days < 20


@pytest.mark.parametrize(
    ("free", "grown", "severity"),
    [
        (400 * GIB, sizes(10, 11, 12), None),
        (29 * GIB, sizes(10, 11, 12), Severity.WARNING),
        (7 * GIB, sizes(10, 11, 12), Severity.CRITICAL),
        (LITTLE_ROOM, sizes(10, 10, 10), None),
        (LITTLE_ROOM - 1, sizes(10, 10, 10), Severity.WARNING),
        (NO_ROOM - 1, sizes(10, 10, 10), Severity.CRITICAL),
        (50 * GIB, sizes(12, 11, 10), None),
        (None, sizes(10, 11, 12), Severity.WARNING),
        (50 * GIB, (), None),
        (50 * GIB, sizes(10, 11, days=8), Severity.INFO),
        (50 * GIB, sizes(10, 11, days=6), None),
        (LITTLE_ROOM - 1, (), Severity.WARNING),
    ],
)
def test_the_store_is_judged_by_its_forecast_and_by_what_is_left(
    free: int | None, grown: tuple[Size, ...], severity: Severity | None
) -> None:
    found = list(store_filling(Facts(NOW, store=Store("repository", free, grown))))
    assert [alarm.severity for alarm in found] == ([severity] if severity else [])


def test_without_a_repository_nothing_is_said_of_one() -> None:
    assert not list(store_filling(Facts(NOW)))


def test_statistics_hold_what_they_promise() -> None:
    assert spread([1.0, 1.0, 1.0]) == 0
    assert spread([1.0, 2.0, 3.0, 4.0, 100.0]) == pytest.approx(1.4826)
    assert steepest_slope([(0, 1)]) is None
    assert steepest_slope([(0, 1), (0, 5)]) is None
    assert steepest_slope([(0, 0), (1, 2), (2, 4), (3, 6)]) == 2


# Unusual change


def change(ago: timedelta, **figures: int) -> Change:
    usual = {"source_bytes": 100 * MIB, "stored_bytes": MIB, "read_bytes": 4 * MIB, "files": 1000} | figures
    return Change(JOB, NOW - ago, **usual)


def history(count: int, **last: int) -> Facts:
    """`count` usual backups with a little noise, then one."""
    before = [
        change((count - at) * DAY + HOUR, stored_bytes=MIB + at * 9000, files=1000 + at % 3) for at in range(count)
    ]
    return Facts(NOW, changes={UPLOADS: (*before, change(HOUR, **last))})


def test_a_usual_backup_is_no_alarm() -> None:
    assert not list(unusual_change(history(20)))


@pytest.mark.parametrize(
    ("figures", "words", "severity"),
    [
        (
            {"stored_bytes": 15 * MIB, "read_bytes": 60 * MIB},
            "new data of all data 15 %, usually 1 %",
            Severity.WARNING,
        ),
        ({"stored_bytes": 4 * MIB}, "stored bytes for those that were read 100 %", Severity.WARNING),
        ({"files": 700}, "files 700, usually 1,00", Severity.WARNING),
        ({"files": 2000}, "files 2,000", Severity.WARNING),
        ({"source_bytes": 50 * MIB}, "bytes of the source", Severity.WARNING),
        ({"stored_bytes": 95 * MIB, "read_bytes": 96 * MIB}, "new data of all data 95 %", Severity.CRITICAL),
    ],
)
def test_each_figure_is_compared_with_what_is_usual(figures: dict[str, int], words: str, severity: Severity) -> None:
    alarm = one(unusual_change(history(20, **figures)))
    assert words in alarm.message
    assert alarm.severity is severity


@pytest.mark.parametrize(
    "figures",
    [
        {"stored_bytes": 10 * MIB, "read_bytes": 40 * MIB},  # 10 points more would be; this is 9
        {"files": 760},
        {"stored_bytes": 0, "read_bytes": 0},  # nothing changed, for once
    ],
)
def test_what_differs_a_little_or_brings_less_new_data_is_usual(figures: dict[str, int]) -> None:
    assert not list(unusual_change(history(20, **figures)))


@pytest.mark.parametrize(("before", "holds"), [(LEAST - 1, False), (LEAST, True)])
def test_a_verdict_needs_enough_backups_before(before: int, holds: bool) -> None:
    assert bool(list(unusual_change(history(before, files=10)))) is holds


def test_an_encrypted_source_is_told_of_for_a_week_though_the_next_backups_are_usual() -> None:
    encrypted = {"stored_bytes": 95 * MIB, "read_bytes": 96 * MIB}
    before = tuple(change((30 - at) * DAY) for at in range(20))

    def facts(ago: timedelta) -> Facts:
        return Facts(NOW, changes={UPLOADS: (*before, change(ago, **encrypted), change(HOUR))})

    assert one(unusual_change(facts(7 * DAY))).severity is Severity.CRITICAL
    assert not list(unusual_change(facts(7 * DAY + HOUR)))


# All of them


def test_every_kind_that_a_rule_decides_is_listed_as_its_own_and_no_other() -> None:
    source = "".join(re.sub(r"KINDS = .*?\}\n( +\| WAL_KINDS\n)?\)", "", text, flags=re.DOTALL) for text in _sources())
    assert {AlarmKind[name] for name in re.findall(r"AlarmKind\.([A-Z_]+)", source)} == rules.KINDS


def _sources() -> list[str]:
    import inspect

    from edurise_backup.model import alarm_change, alarm_copies, alarm_locks, alarm_store, alarm_wal

    modules = (rules, alarm_change, alarm_copies, alarm_locks, alarm_store, alarm_wal)
    return [inspect.getsource(module) for module in modules]


def test_nothing_known_and_nothing_configured_is_no_alarm() -> None:
    assert rules.judge(Facts(NOW)) == ()


def test_remedies_name_commands_and_options_that_exist() -> None:
    from typer.main import get_command

    from edurise_backup.cli.main import application

    top = get_command(application([]))
    for words in re.findall(r"`edurise-backup ([a-z -]+)", "".join(_sources())):
        command, options = top, [word for word in words.split() if word.startswith("--")]
        for word in words.split():
            inner = getattr(command, "commands", {}).get(word)
            if inner is None:
                assert command is not top or word == "schedule", words  # which comes with schedules
                break
            command = inner
        known = {option for parameter in command.params for option in parameter.opts}
        assert command is top or set(options) <= known, words
