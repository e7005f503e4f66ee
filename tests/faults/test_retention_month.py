"""A month in virtual time: hourly backups, a retention and a prune a day; each day what the policy keeps restores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.presence import mark_forgotten
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.content import Node
from edurise_backup.model.jobs import JobId
from edurise_backup.model.people import SYSTEM
from edurise_backup.model.settings import ObjectivesSettings
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.audited import ACCEPT_GONE, record_backup
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.forgetting import bring_whole_back, forget_whole
from edurise_backup.operations.presence import look_for_backups
from edurise_backup.operations.retention import forget_planned, refuse
from edurise_backup.operations.retention_drift import look_for_drift
from edurise_backup.operations.retention_plan import make_plan
from edurise_backup.postgres.connection import Address
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.fates import PruneOptions, UnusedLimit
from edurise_backup.repository.repository import Repository
from tests.support import engine
from tests.support.calendar import SetClock, back_up, plant_schedule
from tests.support.stores import MemoryStore
from tests.support.trees import write

BEGIN = datetime(2026, 10, 15, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
GRACE = 3 * DAY
DAILY_PRUNE = PruneOptions(grace=DAY, max_unused=UnusedLimit(size=0), max_removed=1.0)
SILENT = SilentProgress()


@pytest.fixture
def catalog(catalog_database: Address) -> Iterator[Catalog]:
    sessions = Sessions.to(catalog_database)
    migrate(sessions)
    with ExitStack() as held:
        held.callback(sessions.close)
        yield Catalog(sessions, held)


@dataclass(slots=True)
class Operation:
    """What runs by schedule, in virtual time; and what each backup held."""

    catalog: Catalog
    tree: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    clock: SetClock = field(default_factory=lambda: SetClock(BEGIN))
    held: dict[JobId, bytes] = field(default_factory=dict)
    times: dict[JobId, datetime] = field(default_factory=dict)

    def opened(self) -> Repository:
        return engine.opened(self.store)

    def back_up(self, content: bytes) -> JobId:
        write(self.tree / "now.txt", content)
        job = back_up(self.catalog, self.opened(), self.tree, at=self.clock.now)
        self.held[job.id], self.times[job.id] = content, self.clock.now
        return job.id

    def retain(self) -> tuple[JobId, ...]:
        repository = self.opened()
        plan = make_plan(self.catalog, repository, ObjectivesSettings(), self.clock.now)
        refuse(plan)
        any_id = next(iter(self.held))
        done = forget_planned(self.catalog, repository, plan, SILENT, SYSTEM, any_id, grace=GRACE)
        return done.backups

    def prune(self) -> int:
        """Prune as every day; return the bytes of packs that the store holds less."""
        repository = self.opened()
        known = look_for_backups(self.catalog, repository).known
        before = self.packs()
        engine.prune(repository, DAILY_PRUNE, now=self.clock, known=known)  # type: ignore[arg-type]
        return before - self.packs()

    def packs(self) -> int:
        """Return the bytes of all packs."""
        return sum(len(content) for name, content in self.store.objects.items() if name.startswith("data/"))

    def restorable(self) -> dict[JobId, bytes]:
        """Return what each backup that the catalog calls restorable really gives back."""
        repository, found = self.opened(), dict[JobId, bytes]()
        snapshots = repository.snapshots()
        for job_id in self.held:
            job = self.catalog.jobs.get(job_id)
            if job.restorable:
                tree = snapshots[engine.SnapshotId(job.parts[0].snapshot_id)].tree
                found[job_id] = read(repository, tree, "now.txt")
        return found


def read(repository: Repository, tree: str, name: str) -> bytes:
    """Read a file of a snapshot, each blob proved by its id."""

    def content(node: Node) -> bytes:
        return b"".join(
            repository.read_blob(engine.BlobKind.DATA, bytes.fromhex(blob))  # type: ignore[arg-type]
            for blob in node.content or ()
        )

    return next(content(node) for path, node in walk_files(repository, tree) if path.endswith(f"/{name}"))


@pytest.fixture
def operation(catalog: Catalog, tmp_path: Path) -> Operation:
    made = Operation(catalog, tmp_path / "tree")
    engine.create(made.store)
    write(made.tree / "always.txt", b"always " * 500)
    return made


@pytest.mark.in_memory_only
def test_after_each_day_of_a_month_everything_that_the_policy_keeps_restores(operation: Operation) -> None:
    plant_schedule(operation.catalog, "often", retention=1, keep='{"daily": 7, "weekly": 3}')
    freed, a_day = 0, 8
    for day in range(1, 31):
        for hour in range(0, 24, 24 // a_day):
            operation.clock.now = BEGIN + (day - 1) * DAY + hour * HOUR
            operation.back_up(b"day %d, hour %d " % (day, hour) * 40)
        operation.clock.now = BEGIN + day * DAY - timedelta(minutes=10)
        operation.retain()
        freed += operation.prune()
        there = operation.restorable()
        assert there == {job_id: operation.held[job_id] for job_id in there}
        assert len([one for one in there if operation.times[one] > operation.clock.now - DAY]) == a_day
        assert len({operation.times[one].date() for one in there}) >= min(day, 7)
        assert look_for_drift(operation.catalog, operation.clock.now)[0].differs is False
    assert a_day + 7 <= len(there) <= a_day + 1 + 7 + 3 + 1
    assert freed > 0
    assert operation.catalog.alarms.open() == ()
    result = engine.check(operation.opened())
    assert result.findings == []
    rows = [row for row in operation.catalog.audit.rows() if row.action == "retention.forget"]
    assert len(rows) == 29  # of the second day on, something goes each day
    gone = {job_id for job_id in operation.held if job_id not in there}
    assert {str(job_id) for job_id in gone} == {word for row in rows for word in words_of(row.detail)}


def words_of(detail: str) -> list[str]:
    """Return the backups that an audit row names."""
    return [word for word in detail.split('"') if word.count("-") == 4][:-1]


def test_forget_prune_undo_and_prune_again_come_out_right_by_the_clock(operation: Operation) -> None:
    plant_schedule(operation.catalog, "hourly", retention=1, keep='{"last": 1}')
    old = operation.back_up(Random(1).randbytes(50_000))
    operation.clock.forward(HOUR)
    assert operation.retain() == ()  # the only one
    operation.clock.forward(2 * DAY)
    newest = operation.back_up(b"newest")
    assert operation.retain() == (old,)
    assert old not in operation.restorable()

    operation.clock.forward(GRACE - HOUR)
    operation.prune()  # its grace lasts: all of its data stays
    bring_whole_back(operation.catalog, operation.opened(), operation.catalog.jobs.get(old), SILENT)
    assert operation.restorable()[old] == operation.held[old]

    operation.retain()
    operation.clock.forward(GRACE + HOUR)
    assert operation.prune() <= 0  # out of the index, and waiting for the packs' own grace
    operation.clock.forward(DAY + HOUR)
    assert operation.prune() > 40_000
    assert operation.restorable() == {newest: b"newest"}
    assert engine.check(operation.opened()).findings == []


def test_a_retention_that_stands_still_is_an_alarm_and_settles_when_it_runs_again(operation: Operation) -> None:
    plant_schedule(operation.catalog, "hourly", retention=1)
    for _ in range(6):
        operation.back_up(b"something")
        operation.clock.forward(DAY)
    drift = look_for_drift(operation.catalog, operation.clock.now)[0]
    assert (drift.there, drift.meant, len(drift.too_many)) == (6, 3, 3)
    look_for_drift(operation.catalog, operation.clock.now)
    alarm = operation.catalog.alarms.open()[0]
    assert (alarm.kind, alarm.subject, alarm.seen) == (AlarmKind.RETENTION_DRIFT, "files", 2)
    assert "6 restore points are there, the policy means 3; 3 should be forgotten" in alarm.message
    operation.retain()
    look_for_drift(operation.catalog, operation.clock.now)
    assert operation.catalog.alarms.open() == ()


def test_a_backup_that_was_forgotten_though_the_policy_keeps_it_is_an_alarm_until_it_is_back(
    operation: Operation,
) -> None:
    plant_schedule(operation.catalog, "hourly", retention=30)
    gone = operation.back_up(b"wanted")
    operation.clock.forward(DAY)
    operation.back_up(b"newest")
    row = operation.catalog.jobs.get(gone)
    forget_whole(operation.catalog, operation.opened(), [row], SILENT, grace=GRACE)
    drift = look_for_drift(operation.catalog, operation.clock.now)[0]
    assert (drift.there, drift.meant, drift.too_few) == (1, 2, (gone,))
    bring_whole_back(operation.catalog, operation.opened(), operation.catalog.jobs.get(gone), SILENT)
    assert look_for_drift(operation.catalog, operation.clock.now)[0].differs is False
    assert operation.catalog.alarms.open() == ()


def test_a_loss_that_two_people_have_accepted_is_no_drift(operation: Operation) -> None:
    plant_schedule(operation.catalog, "hourly", retention=30)
    gone = operation.back_up(b"wanted")
    operation.clock.forward(DAY)
    operation.back_up(b"newest")
    mark_forgotten(operation.catalog.sessions, [gone], at=operation.clock.now, until=None)
    drift = look_for_drift(operation.catalog, operation.clock.now)[0]
    assert drift.too_few == (gone,), "that its grace is over is nobody's consent"
    record_backup(operation.catalog, operation.opened(), SYSTEM, ACCEPT_GONE, operation.catalog.jobs.get(gone))
    assert look_for_drift(operation.catalog, operation.clock.now)[0].differs is False
