"""Which snapshots a policy lets go when a date is wrong (S-14)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.operations.engine import choose_forgotten
from edurise_backup.operations.snapshots import Span

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def dated(*ages: timedelta) -> dict[SnapshotId, Snapshot]:
    """Return a snapshot of each age, named a, b, c, …"""
    return {
        SnapshotId("abcdef"[number]): Snapshot(
            time=(NOW - age).strftime("%Y-%m-%dT%H:%M:%SZ"), tree="0" * 64, paths=["/data"], hostname="host"
        )
        for number, age in enumerate(ages)
    }


def test_s14_a_snapshot_dated_in_the_future_pushes_out_no_real_one_and_is_told() -> None:
    found = dated(timedelta(days=2), timedelta(days=1), -timedelta(days=3650), -timedelta(minutes=61))
    gone, decisions = choose_forgotten(found, [], RetentionPolicy(last=1), now=NOW)
    assert gone == ["a"]
    told = {decision.id: decision.reasons for decision in decisions}
    assert told["b"] == ("last snapshot",)
    assert told["c"] == told["d"] == ("is dated in the future: not judged",)


def test_s14_a_span_is_counted_from_the_newest_real_snapshot() -> None:
    found = dated(timedelta(days=9), timedelta(days=6), timedelta(0), -timedelta(days=3650))
    gone, _ = choose_forgotten(found, [], RetentionPolicy(), within=Span(days=7), now=NOW)
    assert gone == ["a"]


def test_a_clock_that_is_a_little_behind_still_judges() -> None:
    found = dated(timedelta(days=1), -timedelta(minutes=59))
    assert choose_forgotten(found, [], RetentionPolicy(last=1), now=NOW)[0] == ["a"]


def test_a_snapshot_of_the_future_can_be_named() -> None:
    found = dated(timedelta(days=1), -timedelta(days=3650))
    assert choose_forgotten(found, ["b"], RetentionPolicy(), now=NOW)[0] == ["b"]
