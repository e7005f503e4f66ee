"""The audit trail, alarms and leases on a real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from edurise_backup.catalog.alarms import Alarms
from edurise_backup.catalog.audit import AuditTrail
from edurise_backup.catalog.leases import Leases
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.errors import BackupError, ConflictError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.audit import NOTHING
from edurise_backup.model.people import SYSTEM
from edurise_backup.postgres.connection import Address

NOW = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
FULL = Alarm(AlarmKind.STORE_FILLING, "main", Severity.WARNING, "the store fills", "free space")


class SetClock:
    """A clock that stands where it was put."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def sessions(catalog_database: Address) -> Iterator[Sessions]:
    with Sessions.to(catalog_database) as sessions:
        migrate(sessions)
        yield sessions


def test_rows_of_the_audit_trail_are_chained_in_the_order_of_their_commits(sessions: Sessions) -> None:
    trail = AuditTrail(sessions)

    def add(number: int) -> None:
        for turn in range(5):
            trail.add(SYSTEM, "test.add", f"{number}/{turn}", detail={"turn": turn})

    threads = [threading.Thread(target=add, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = list(trail.rows())
    assert [row.seq for row in rows] == list(range(1, 21))
    assert [row.previous for row in rows] == [NOTHING, *(row.hash for row in rows[:-1])]
    assert all(row.hash == row.expected_hash for row in rows)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"]
)
def test_the_server_refuses_to_change_the_audit_trail(sessions: Sessions, statement: str) -> None:
    AuditTrail(sessions).add(SYSTEM, "test.add")
    with pytest.raises(BackupError) as refused, sessions.transaction() as connection:
        connection.execute(statement.encode())
    assert isinstance(refused.value.__cause__, psycopg.errors.InsufficientPrivilege)
    assert len(list(AuditTrail(sessions).rows())) == 1


def test_an_alarm_that_goes_on_is_one_row_and_opens_again_after_it_was_settled(sessions: Sessions) -> None:
    clock = SetClock()
    alarms = Alarms(sessions, clock=clock)
    assert alarms.raise_alarm(FULL)
    clock.now += timedelta(hours=1)
    assert not alarms.raise_alarm(FULL)
    (open_alarm,) = alarms.open()
    assert (open_alarm.seen, open_alarm.last_seen_at) == (2, clock.now)
    assert alarms.settle(FULL.kind, FULL.subject)
    assert not alarms.settle(FULL.kind, FULL.subject)
    assert alarms.raise_alarm(FULL)
    assert len(alarms.newest()) == 2


def test_replacing_alarms_settles_what_was_not_found_again(sessions: Sessions) -> None:
    alarms = Alarms(sessions)
    other = Alarm(AlarmKind.CLOCK_OFF, "host", Severity.CRITICAL, "the clock is off")
    alarms.raise_alarm(other)
    kinds = [AlarmKind.STORE_FILLING]
    assert alarms.replace(kinds, [FULL]) == (FULL,)
    assert alarms.replace(kinds, [FULL]) == ()
    assert alarms.replace(kinds, []) == ()
    assert [alarm.kind for alarm in alarms.open()] == [AlarmKind.CLOCK_OFF]


def test_a_lease_goes_to_one_holder_and_to_the_next_when_it_has_run_out(sessions: Sessions) -> None:
    clock = SetClock()
    leases = Leases(sessions, clock=clock, length=timedelta(minutes=5))
    paused, other = uuid4(), uuid4()
    old = leases.acquire(["files/uploads"], paused)
    with pytest.raises(ConflictError, match="files/uploads is being backed up"):
        leases.acquire(["database/main", "files/uploads"], other)
    assert [lease.name for lease in leases.held()] == ["files/uploads"]  # all or none
    clock.now += timedelta(minutes=6)
    new = leases.acquire(["files/uploads"], other)
    assert new["files/uploads"] > old["files/uploads"]
    with pytest.raises(ConflictError, match="gone to somebody else"):
        leases.confirm(old)
    leases.release(old)  # the late one lets go of nothing
    leases.confirm(new)


def test_a_lease_that_ran_out_and_that_nobody_took_is_still_ones_own(sessions: Sessions) -> None:
    clock = SetClock()
    leases = Leases(sessions, clock=clock)
    tokens = leases.acquire(["files/uploads"], uuid4())
    clock.now += timedelta(hours=3)
    leases.confirm(tokens)
    leases.release(tokens)
    assert leases.held() == ()
