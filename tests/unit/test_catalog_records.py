"""Job records as JSON, and which of two tells more."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.catalog.records import JobRecord, record_from_json, record_to_json, supersedes
from edurise_backup.errors import DamageError, UnsupportedVersionError
from edurise_backup.model.jobs import (
    BackupJob,
    BackupType,
    JobId,
    JobStatus,
    PartResult,
    Phase,
    RecoveryJob,
    RecoveryTarget,
    Usage,
    Verification,
)

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
BACKUP = BackupJob(JobId(UUID(int=1)), BackupType.FULL, JobStatus.COMPLETED, NOON, NOON, 1, "somewhere", "a" * 64)

_moments = st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(9000, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 (Hypothesis adds the zone)
_texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
_sizes = st.integers(0, 2**63 - 1)
_backups = st.builds(
    BackupJob,
    id=st.uuids().map(JobId),
    type=st.sampled_from(BackupType),
    status=st.sampled_from(JobStatus),
    started_at=st.none() | _moments,
    size=st.none() | _sizes,
    source=_texts,
    tags=st.lists(_texts, max_size=3).map(tuple),
    progress=st.none() | st.floats(0, 1),
    phases=st.lists(st.builds(Phase, name=_texts, started_at=_moments, bytes_done=_sizes), max_size=3).map(tuple),
    usage=st.builds(Usage, cpu_seconds=st.floats(0, 1e12), peak_memory=_sizes, sent_bytes=_sizes),
)
_verifications = st.builds(
    Verification, st.uuids().map(JobId), st.uuids().map(JobId), st.sampled_from(JobStatus), started_at=_moments
)
_recoveries = st.builds(
    RecoveryJob,
    *(st.uuids().map(JobId), st.uuids().map(JobId), st.sampled_from(BackupType), st.sampled_from(JobStatus)),
    target=st.none() | st.builds(RecoveryTarget, _texts, st.none() | _texts),
)


@given(_backups | _verifications | _recoveries)
def test_a_record_comes_back_from_json_as_it_was(record: JobRecord) -> None:
    line = record_to_json(record)
    assert b"\n" not in line
    assert record_from_json(line) == record
    assert record_to_json(record_from_json(line)) == line


def test_times_of_any_zone_are_written_in_utc() -> None:
    text = record_to_json(BACKUP)
    for zone in (ZoneInfo("UTC"), timezone(timedelta(hours=5))):
        local = NOON.astimezone(zone)
        assert record_to_json(replace(BACKUP, started_at=local, completed_at=local)) == text
    assert b'"2026-11-01T12:00:00Z"' in text


def test_bytes_of_a_name_that_are_not_text_are_escaped() -> None:
    record = replace(BACKUP, warnings=("caf\udce9 has gone",), error="a\0b")
    again = record_from_json(record_to_json(record))
    assert isinstance(again, BackupJob)
    assert (again.warnings, again.error) == (("caf\\udce9 has gone",), "a\\x00b")


@given(st.binary(max_size=200))
def test_what_is_not_a_record_is_damage(text: bytes) -> None:
    with pytest.raises(DamageError):
        record_from_json(text)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"kind":"backup"', b'"kind":"report"'),
        (b'"type":"full"', b'"type":"half"'),
        (b"T12:00:00Z", b"T12:00:00"),
        (b'"size":1', b'"size":"1"'),
    ],
)
def test_a_record_with_an_impossible_field_is_damage(old: bytes, new: bytes) -> None:
    line = record_to_json(BACKUP)
    assert old in line
    with pytest.raises(DamageError):
        record_from_json(line.replace(old, new))


def test_a_record_of_a_newer_version_is_refused_and_an_unknown_field_is_not() -> None:
    line = record_to_json(BACKUP)
    with pytest.raises(UnsupportedVersionError):
        record_from_json(line.replace(b'"version":1', b'"version":2'))
    assert record_from_json(line.replace(b'"record":{', b'"record":{"future":[],')) == BACKUP


STATES = (JobStatus.QUEUED, JobStatus.FAILED, JobStatus.COMPLETED)


@pytest.mark.parametrize("new", STATES)
@pytest.mark.parametrize("old", STATES)
def test_a_state_that_got_further_supersedes_whatever_the_times(new: JobStatus, old: JobStatus) -> None:
    early, late = replace(BACKUP, status=new), replace(BACKUP, status=old, heartbeat_at=NOON + timedelta(1))
    assert supersedes(early, late) == (STATES.index(new) > STATES.index(old))


def test_of_equal_ends_the_later_supersedes() -> None:
    verified = replace(BACKUP, verified_at=NOON + timedelta(seconds=1))
    assert supersedes(verified, BACKUP)
    assert not supersedes(BACKUP, verified)
    assert not supersedes(BACKUP, BACKUP)


def test_what_has_not_ended_supersedes_nothing() -> None:
    running = replace(BACKUP, status=JobStatus.RUNNING, completed_at=None)
    assert not supersedes(replace(running, heartbeat_at=NOON + timedelta(1)), running)


def test_parts_phases_and_usage_are_in_the_record() -> None:
    record = replace(
        BACKUP,
        parts=(PartResult(BackupType.FILES, "b" * 64, "media", 1, 2, 3, 4),),
        phases=(Phase("reading", NOON),),
        usage=Usage(1.5, 2, 3),
    )
    assert record_from_json(record_to_json(record)) == record
