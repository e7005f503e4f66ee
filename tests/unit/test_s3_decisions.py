"""What a bucket's store decides without asking anybody: locations, parts, patience, lifecycle rules."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as some

from edurise_backup.config import load_settings, s3_access
from edurise_backup.errors import InputError, ThrottledError, TransientError, UnreachableError
from edurise_backup.model.location import directory_of, parse_s3
from edurise_backup.model.probe import Finding, Probe, judge_lifecycle, remarks_on
from edurise_backup.model.traffic import Count
from edurise_backup.operations.engine import refuse_nested
from edurise_backup.s3.parts import LARGEST, LARGEST_OBJECT, MOST, SMALLEST, PartSizes, cut
from edurise_backup.s3.perseverance import Patience, Perseverance
from edurise_backup.s3.traffic import Meter
from tests.support.s3_stores import QuickClock


@pytest.mark.parametrize(
    ("location", "address"),
    [
        ("s3:https://s3.internal:9000/backups/lms", "s3:https://s3.internal:9000/backups/lms"),
        ("s3:s3.amazonaws.com/backups", "s3:https://s3.amazonaws.com/backups"),
        ("s3://s3.internal/backups//a/./b/", "s3:https://s3.internal/backups/a/b"),
        ("s3:http://127.0.0.1:9000/b-1.x/", "s3:http://127.0.0.1:9000/b-1.x"),
        ("s3:https://[::1]:9000/bucket", "s3:https://[::1]:9000/bucket"),
    ],
)
def test_a_location_is_written_as_stock_restic_writes_it(location: str, address: str) -> None:
    place = parse_s3(location)
    assert place.address == address
    assert parse_s3(place.address) == place


def test_amazons_hosts_tell_their_region_and_others_none() -> None:
    assert parse_s3("s3:https://s3.eu-central-1.amazonaws.com/bucket").region == "eu-central-1"
    assert parse_s3("s3:https://s3.dualstack.eu-west-1.amazonaws.com/bucket").region == "eu-west-1"
    assert parse_s3("s3:s3.amazonaws.com/bucket").region == ""
    assert parse_s3("s3:s3.amazonaws.com/bucket").amazon
    assert not parse_s3("s3:https://amazonaws.com.evil.internal/bucket").amazon


def test_a_bucket_is_no_directory_and_holds_none() -> None:
    assert directory_of("s3:https://s3.internal/bucket") is None
    assert str(directory_of("local:s3:x")) == "s3:x"
    refuse_nested(["/"], "s3:https://s3.internal/bucket")


@given(some.integers(min_value=0, max_value=LARGEST_OBJECT))
def test_an_object_of_any_size_goes_within_a_providers_limits(size: int) -> None:
    part = PartSizes().of(size)
    if part:
        assert SMALLEST <= part <= LARGEST
        assert -(-size // part) <= MOST
    else:
        assert size <= LARGEST


def test_the_parts_cover_the_object() -> None:
    assert list(cut(11, 5)) == [(1, 0, 5), (2, 5, 10), (3, 10, 11)]
    with pytest.raises(InputError):
        PartSizes().of(LARGEST_OBJECT + 1)


def persevering(clock: QuickClock, patience: Patience, *, answered: bool = True) -> Perseverance:
    return Perseverance(patience, where="there", answered=lambda: answered, stop=lambda: None, timing=clock.timing)


def failing(times: int, error: type[TransientError] = TransientError) -> Any:
    left = [error("not now")] * times

    def call() -> str:
        if left:
            raise left.pop()
        return "done"

    return call


def test_waits_grow_to_their_longest_and_the_budget_ends_them() -> None:
    clock = QuickClock()
    patience = Patience(seconds=100, first_wait=1, longest_wait=8)
    assert persevering(clock, patience).run(failing(5)) == "done"
    assert clock.seconds == 1 + 2 + 4 + 8 + 8
    with pytest.raises(TransientError, match="tried 15 times in 95 s"):
        persevering(QuickClock(), patience).run(failing(999))
    with pytest.raises(TransientError, match="tried 7 times"):
        persevering(QuickClock(), Patience(attempts=7)).run(failing(999))


def test_who_never_answers_is_given_up_sooner_and_told_as_unreachable() -> None:
    clock = QuickClock()
    with pytest.raises(UnreachableError, match="there does not answer") as caught:
        persevering(clock, Patience(silent_seconds=5), answered=False).run(failing(999))
    assert clock.seconds <= 5
    assert caught.value.exit_status == 2


def test_a_request_for_less_slows_all_requests_down_until_they_succeed_again() -> None:
    clock = QuickClock()
    perseverance = persevering(clock, Patience(first_wait=0, longest_gap=0.5))
    perseverance.run(failing(10, ThrottledError))
    assert 0.3 < perseverance.pace.gap <= 0.5
    before = clock.seconds
    for _ in range(3):
        perseverance.run(failing(0))
    assert clock.seconds > before
    for _ in range(50):
        perseverance.run(failing(0))
    assert perseverance.pace.gap == 0


def test_a_person_who_cancels_does_not_wait_for_the_budget() -> None:
    class Cancelled(Exception):  # noqa: N818  an event
        pass

    def stop() -> None:
        if clock.seconds > 1:
            raise Cancelled

    clock = QuickClock()
    perseverance = Perseverance(Patience(), where="x", answered=lambda: True, stop=stop, timing=clock.timing)
    with pytest.raises(Cancelled):
        perseverance.run(failing(999))
    assert clock.seconds < 2


def test_traffic_is_counted_and_compared() -> None:
    meter = Meter()
    meter.add("PutObject", Count(1, 10, 0))
    before = meter.read()
    meter.add("PutObject", Count(1, 5, 0))
    meter.add("GetObject", Count(1, 0, 7))
    assert meter.read().since(before).total == Count(2, 5, 7)
    assert meter.read().requests("PutObject", "GetObject") == 3


DELETES = {"Status": "Enabled", "ID": "tidy", "Expiration": {"Days": 30}}


@pytest.mark.parametrize(
    ("rule", "dangers", "remarks"),
    [
        (DELETES, ["the lifecycle rule tidy deletes objects after 30 days"], 0),
        ({**DELETES, "Status": "Disabled"}, [], 0),
        ({**DELETES, "Filter": {"Prefix": "elsewhere/"}}, [], 0),
        ({**DELETES, "Filter": {"Prefix": "backups/edurise/data/"}}, [DELETES["ID"]], 0),
        ({**DELETES, "Prefix": "backups"}, [DELETES["ID"]], 0),
        ({**DELETES, "Filter": {"Tag": {"Key": "a", "Value": "b"}}}, [], 0),
        ({**DELETES, "Filter": {"And": {"Prefix": "backups/", "Tags": [{"Key": "a", "Value": "b"}]}}}, [], 0),
        ({"Status": "Enabled", "Expiration": {"ExpiredObjectDeleteMarker": True}}, [], 0),
        ({"Status": "Enabled", "Transitions": [{"Days": 1, "StorageClass": "DEEP_ARCHIVE"}]}, ["cannot be read"], 0),
        ({"Status": "Enabled", "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}, ["cannot be read"], 0),
        ({"Status": "Enabled", "Transitions": [{"Days": 1, "StorageClass": "STANDARD_IA"}]}, [], 1),
        ({"Status": "Enabled", "NoncurrentVersionExpiration": {"NoncurrentDays": 8}}, [], 1),
        ({"Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}}, [], 0),
    ],
)
def test_a_lifecycle_rule_is_judged_by_what_it_does_to_the_repository(
    rule: dict[str, Any], dangers: list[str], remarks: int
) -> None:
    found, told = judge_lifecycle([rule], "backups/edurise")
    assert len(found) == len(dangers)
    assert all(word in danger for word, danger in zip(dangers, found, strict=True))
    assert len(told) == remarks


FINE = Probe(
    address="s3:https://s3.internal/b",
    at=datetime(2026, 1, 1, tzinfo=UTC),
    conditional_create=Finding.YES,
    md5=Finding.YES,
    sha256=Finding.YES,
    metadata=Finding.YES,
    ranges=Finding.YES,
    listed_at_once=Finding.YES,
    deletes=Finding.YES,
    versioning="off",
    object_lock="off",
    clock_skew_seconds=0.2,
    lifecycle="read",
)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"versioning": "enabled"}, "paid for"),
        ({"deletes": Finding.NO}, "may not delete"),
        ({"ranges": Finding.NO}, "whole pack"),
        ({"listed_at_once": Finding.NO}, "lag behind"),
        ({"clock_skew_seconds": -301.0}, "clocks disagree"),
        ({"lifecycle": "unknown"}, "cannot be read"),
    ],
)
def test_what_an_operator_should_know_of_a_probe_is_said(change: dict[str, Any], words: str) -> None:
    assert remarks_on(FINE, []) == []
    (remark,) = remarks_on(msgspec.structs.replace(FINE, **change), [])
    assert words in remark


def test_the_configuration_says_how_a_bucket_is_reached(tmp_path: Any) -> None:
    (tmp_path / "edurise-backup.toml").write_text(
        '[repository]\nlocation = "s3:https://s3.internal/b"\nregion = "r"\n'
        'access_key_file = "a"\nsecret_key_file = "s"\n'
    )
    settings = load_settings(tmp_path / "edurise-backup.toml", {"EDURISE_ALLOW_PLAINTEXT": "1"})
    access = s3_access(settings.repository)
    assert (access.access_key_file, access.secret_key_file) == (str(tmp_path / "a"), str(tmp_path / "s"))
    assert (access.region, access.allow_plaintext) == ("r", True)
    assert not s3_access(environment={}).allow_plaintext
