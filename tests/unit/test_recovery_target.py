"""Targets of a recovery: what a person may write, and what PostgreSQL is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from edurise_backup.errors import DamageError, InputError, NotFoundError
from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.model.recovery_target import TargetMoment, parse_target, parse_time
from edurise_backup.model.wal import Lsn
from edurise_backup.recovery.cluster.replaying import explain, parse_stop
from edurise_backup.recovery.cluster.sandbox import usable_libraries
from edurise_backup.recovery.cluster.target import Route, plan_route

MIB = 1024 * 1024
NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)


def name(number: int, timeline: int = 1) -> str:
    return f"{timeline:08X}00000000{number:08X}"


def record(**changes: object) -> ClusterRecord:
    facts: dict[str, object] = {
        "name": "main", "method": "local", "system_identifier": "7", "server_version": "18.1", "server_major": 18,
        "catalog_version": 1, "timeline": 1, "start_lsn": "0/2000028", "start_time": NOON, "stop_lsn": "0/2000150",
        "stop_time": NOON, "segment_size": 16 * MIB, "block_size": 8192, "data_checksums": True,
        "data_directory": "", "settings": {}, "superuser": "postgres", "databases": [], "tablespaces": [],
        "wal": [name(2)], "damaged": [],
    }  # fmt: skip
    return ClusterRecord(**(facts | changes))  # type: ignore[arg-type]


def route(names: list[str], target: TargetMoment, histories: dict[str, bytes] | None = None) -> Route:
    return plan_route([*names, *(histories or {})], (histories or {}).__getitem__, record(), target)


HISTORY = {"00000002.history": b"1\t0/4000100\tno recovery target specified\n"}
LATEST = TargetMoment(latest=True)


@pytest.mark.parametrize(
    ("text", "setting", "value"),
    [
        ("time:2026-11-28T13:00:00.5+01:00", "recovery_target_time", "2026-11-28 12:00:00.500000+00"),
        ("2026-11-28 12:00:00.123456+00", "recovery_target_time", "2026-11-28 12:00:00.123456+00"),
        ("2026-11-28T12:00Z", "recovery_target_time", "2026-11-28 12:00:00.000000+00"),
        ("xid:81234", "recovery_target_xid", "81234"),
        ("lsn:16/B374D848", "recovery_target_lsn", "16/B374D848"),
        ("16/b374d848", "recovery_target_lsn", "16/B374D848"),
        ("name:before: the change", "recovery_target_name", "before: the change"),
        ("immediate", "recovery_target", "immediate"),
        ("latest", "", ""),
    ],
)
def test_a_target_is_one_setting_and_all_the_others_are_emptied_before_it(text: str, setting: str, value: str) -> None:
    settings = parse_target(text, timeline="3").settings()
    targets = [
        (key, text) for key, text in settings.items() if key.partition("recovery_target")[2] not in
        ("_inclusive", "_timeline", "_action")
    ]  # fmt: skip
    assert [(key, text) for key, text in targets if text] == ([(setting, value)] if setting else [])
    assert len(targets) == 5
    assert not setting or list(settings)[-1] == setting
    assert settings["recovery_target_timeline"] == "3"


def test_a_time_must_say_its_zone() -> None:
    for text in ("2026-11-28 12:00:00", "time:2026-11-28T12:00:00.5", "2026-11-28"):
        with pytest.raises(InputError, match="does not say its zone") as refused:
            parse_target(text)
        assert "Z for UTC" in refused.value.hint
    with pytest.raises(InputError, match="zone"):
        TargetMoment(time=datetime(2026, 11, 28))  # noqa: DTZ001
    assert parse_time("2026-11-28 14:03:07.4+02") == datetime(
        2026, 11, 28, 14, 3, 7, 400000, timezone(timedelta(hours=2))
    )


@pytest.mark.parametrize(
    "text",
    ["", "yesterday", "xid:-1", "xid:2", "xid:x", "lsn:5", "time:2026-13-01T00:00Z", "name:", f"name:{'n' * 64}"],
)
def test_what_is_no_target_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_target(text)


def test_exactly_one_target_and_no_pause_at_the_end() -> None:
    for wrong in ({}, {"xid": 5, "immediate": True}, {"latest": True, "action": "pause"}, {"xid": 5, "timeline": 0}):
        with pytest.raises(InputError):
            TargetMoment(**wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no timeline"):
        parse_target("latest", timeline="newest")


def test_the_way_follows_the_newest_timeline_that_the_base_backup_leads_to() -> None:
    names = [name(number) for number in (2, 3, 4, 5)] + [name(number, 2) for number in (4, 5)]
    found = route(names, LATEST, HISTORY)
    assert [step.name for step in found.steps] == [name(2), name(3), name(4, 2), name(5, 2)]
    assert (found.timeline, found.timeline_at(0x4000000), found.timeline_at(0x4000100)) == (2, 1, 2)
    current = route(names, LATEST.on_timeline("current"), HISTORY)
    assert [step.name for step in current.steps] == [name(number) for number in (2, 3, 4, 5)]
    stranger = {"00000003.history": b"1\t0/2000100\tleft before the backup's end\n"}
    assert route(names[:4], LATEST, stranger).timeline == 1
    with pytest.raises(InputError, match="does not lead to the timeline 3"):
        route(names[:4], LATEST.on_timeline(3), stranger)
    with pytest.raises(NotFoundError, match="nothing leads to the timeline 9"):
        route(names, LATEST.on_timeline(9), HISTORY)


def test_a_partial_segment_serves_only_where_nothing_newer_has_its_number_and_is_cut_where_its_timeline_was_left() -> (
    None
):
    """SCENARIOS S-33: timeline_switch_between_bases, .partial."""
    old = [name(2), name(3), f"{name(4)}.partial"]
    found = route(old, LATEST, HISTORY)
    assert (found.steps[-1].stored, found.steps[-1].cut) == (f"{name(4)}.partial", 0x4000100)
    found = route([*old, name(4, 2)], LATEST, HISTORY)
    assert (found.steps[-1].name, found.steps[-1].stored) == (name(4, 2), name(4, 2))
    found = route([*old, name(4, 2)], LATEST.on_timeline("current"), HISTORY)
    assert found.steps[-1].name == name(3)
    assert route(old, LATEST).steps[-1].stored == f"{name(4)}.partial"
    assert route([*old, name(4)], LATEST).steps[-1].stored == name(4)


def test_a_gap_and_an_end_are_told_before_anything_is_restored() -> None:
    names = [name(number) for number in (2, 3, 5)]
    with pytest.raises(DamageError, match=name(4)):
        route(names, LATEST)
    with pytest.raises(DamageError, match=name(4)):
        route(names, TargetMoment(lsn=Lsn(0x5000000)))
    assert route(names, TargetMoment(lsn=Lsn(0x3000000))).missing == name(4)
    with pytest.raises(NotFoundError, match="behind the end of the archive"):
        route(names[:2], TargetMoment(lsn=Lsn(0x5000000)))
    with pytest.raises(InputError, match="before the end of the base backup"):
        route(names, TargetMoment(lsn=Lsn(0x2000100)))
    with pytest.raises(InputError, match="before the base backup"):
        route(names, TargetMoment(time=NOON - timedelta(seconds=1)))
    assert route([], TargetMoment(immediate=True)).steps[0].stored is None


def test_the_servers_words_are_read() -> None:
    line = "LOG:  recovery stopping before commit of transaction 735, time 2026-11-28 01:12:34.5+00\n"
    stop = parse_stop(f"x\n{line}y")
    assert stop is not None
    assert (stop.how, stop.xid) == ("before", 735)
    assert stop.time == datetime(2026, 11, 28, 1, 12, 34, 500000, UTC)
    stop = parse_stop('recovery stopping after WAL location (LSN) "0/3000060"')
    assert stop is not None
    assert (stop.how, stop.lsn) == ("after", 0x3000060)
    stop = parse_stop('recovery stopping at restore point "a", time 2026-11-28 01:12:34.123456+00')
    assert stop is not None
    assert (stop.how, stop.name) == ("at", "a")
    assert parse_stop("recovery stopping after reaching consistency") is not None
    assert parse_stop("nothing") is None


def test_a_failure_is_told_in_our_words() -> None:
    found = route([name(2), name(3)], LATEST)
    told = explain("FATAL:  recovery ended before configured recovery target was reached", found, TargetMoment(xid=9))
    assert isinstance(told, NotFoundError)
    assert "was not reached" in told.message
    told = explain("FATAL:  requested recovery stop point is before consistent recovery point", found, LATEST)
    assert "before the end of the base backup" in told.message
    assert "it said nothing" in explain("", found, LATEST).message


def test_libraries_that_run_jobs_or_are_not_here_are_left_out(tmp_path: object) -> None:
    assert usable_libraries('pg_cron, "pg_net",nowhere', None) == ("", ("pg_cron", "pg_net", "nowhere"))
