"""When a cluster's log is a reason to wake somebody."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.model.alarm_facts import Facts, WalFacts
from edurise_backup.model.alarm_wal import WAL_KINDS, WAL_RULES
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.wal import Lsn, Timeline
from edurise_backup.model.wal_status import WalState, WalStatus

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
GIB = 1 << 30
WELL = WalStatus(
    source="main",
    system_identifier="7",
    segment_size=16 << 20,
    timeline=Timeline(1),
    method="stream",
    slot="edurise_backup_main",
    host="lms-1",
    pid=1,
    started_at=NOW - timedelta(days=1),
    seen_at=NOW,
    state=WalState.RECEIVING,
    ship_seconds=30,
    spool_limit_bytes=16 * GIB,
    server_lsn=Lsn(100 * GIB),
    received_lsn=Lsn(100 * GIB),
    shipped_lsn=Lsn(100 * GIB),
    slot_status="reserved",
)


def alarms(status: WalStatus | None, **more: object) -> list[Alarm]:
    facts = Facts(NOW, wal=(WalFacts("main", status, **more),))  # type: ignore[arg-type]
    return [alarm for rule in WAL_RULES for alarm in rule(facts)]


def test_all_well_is_no_alarm_and_an_idle_server_neither() -> None:
    assert alarms(WELL) == []
    assert alarms(replace(WELL, exposed_since=NOW - timedelta(seconds=34))) == []


@pytest.mark.parametrize(
    ("status", "kind", "severity", "words"),
    [
        (None, AlarmKind.WAL_NOT_RECEIVED, Severity.CRITICAL, "was never received"),
        (replace(WELL, state=WalState.STOPPED), AlarmKind.WAL_NOT_RECEIVED, Severity.CRITICAL, "was stopped"),
        (replace(WELL, slot_status="lost"), AlarmKind.WAL_SLOT, Severity.CRITICAL, "is lost"),
        (replace(WELL, received_lsn=Lsn(98 * GIB)), AlarmKind.WAL_SLOT, Severity.WARNING, "its disk fills"),
        (replace(WELL, received_lsn=Lsn(90 * GIB)), AlarmKind.WAL_SLOT, Severity.CRITICAL, "its disk fills"),
        (replace(WELL, slot_safe_bytes=5 << 20), AlarmKind.WAL_SLOT, Severity.WARNING, "5 MiB more"),
        (replace(WELL, spool_bytes=17 * GIB), AlarmKind.WAL_SPOOL, Severity.CRITICAL, "lms-1"),
        (replace(WELL, conflicts=1), AlarmKind.WAL_FOREIGN, Severity.CRITICAL, "other bytes"),
        (replace(WELL, quarantined=2), AlarmKind.WAL_FOREIGN, Severity.WARNING, "put aside"),
    ],
)
def test_each_danger_has_its_alarm(status: WalStatus | None, kind: AlarmKind, severity: Severity, words: str) -> None:
    (alarm,) = alarms(status)
    assert (alarm.kind, alarm.severity) == (kind, severity)
    assert words in alarm.message
    assert alarm.remedy


def test_a_silent_reception_is_away_and_as_exposed_as_it_is_silent() -> None:
    found = alarms(replace(WELL, seen_at=NOW - timedelta(minutes=20)))
    assert {alarm.kind for alarm in found} == {AlarmKind.WAL_NOT_RECEIVED, AlarmKind.WAL_BEHIND}


def test_what_would_be_lost_decides_how_soon_somebody_must_look() -> None:
    late = replace(
        WELL, exposed_since=NOW - timedelta(minutes=3), trouble="shipping: no repository", hint="bring it back"
    )
    (alarm,) = alarms(late)
    assert (alarm.kind, alarm.severity, alarm.remedy) == (AlarmKind.WAL_BEHIND, Severity.WARNING, "bring it back")
    assert "no repository" in alarm.message
    (alarm,) = alarms(replace(late, exposed_since=NOW - timedelta(minutes=16)))
    assert alarm.severity is Severity.CRITICAL
    slow = replace(WELL, ship_seconds=300, exposed_since=NOW - timedelta(minutes=3))
    assert alarms(slow) == []


def test_a_hole_is_told_until_a_base_backup_begins_a_new_window() -> None:
    (alarm,) = alarms(WELL, broken_at=5 << 24, window_end=NOW)
    assert (alarm.kind, alarm.severity) == (AlarmKind.WAL_GAP, Severity.CRITICAL)
    assert "0/5000000" in alarm.message
    assert "backup cluster" in alarm.remedy


def test_every_kind_of_these_rules_is_theirs() -> None:
    assert {kind for kind in AlarmKind if kind.value.startswith("wal_")} == WAL_KINDS
