"""Pins and holds: nothing drops what they keep, by whatever door, clock or crash; and one that vanishes is seen."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.errors import ConflictError, DamageError, NotFoundError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.jobs import BackupJob
from edurise_backup.model.people import SYSTEM
from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.model.protections import Protection, ProtectionKind
from edurise_backup.model.settings import ObjectivesSettings
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.forgetting import forget_whole
from edurise_backup.operations.protections import kept_here, look_for_protections, refuse_vanished
from edurise_backup.operations.pruning import forget_snapshots
from edurise_backup.operations.retention_plan import make_plan
from edurise_backup.postgres.connection import Address
from edurise_backup.repository.holds import drop_protection, read_protections, save_protection
from edurise_backup.repository.repository import Repository
from tests.support import engine
from tests.support.calendar import SetClock, back_up, plant_schedule
from tests.support.stores import MemoryStore
from tests.support.trees import small_tree, write

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
SILENT = SilentProgress()


@pytest.fixture
def catalog(catalog_database: Address) -> Iterator[Catalog]:
    sessions = Sessions.to(catalog_database)
    migrate(sessions)
    with ExitStack() as held:
        held.callback(sessions.close)
        yield Catalog(sessions, held)


def protection(
    *snapshots: str,
    kind: ProtectionKind = ProtectionKind.HOLD,
    until: datetime | None = None,
    backup: UUID | None = None,
) -> Protection:
    return Protection(uuid4(), kind, backup or uuid4(), snapshots, "the court asked", "ann@office", NOW, until)


class Kept:
    """A repository with two snapshots, the older of which is on hold."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore()
        engine.create(self.store)
        tree = small_tree(folder / "tree")
        self.old = engine.back_up(self.opened(), tree, now=SetClock(NOW - 2 * DAY)).id
        write(tree / "new", b"new")
        self.new = engine.back_up(self.opened(), tree, now=SetClock(NOW - DAY)).id
        self.hold = protection(self.old)
        save_protection(self.opened().box, self.hold)

    def opened(self) -> Repository:
        return engine.opened(self.store)

    def forget(self, *words: str, policy: RetentionPolicy | None = None, dry_run: bool = False) -> tuple[str, ...]:
        done = forget_snapshots(
            self.opened(),
            words,
            policy or RetentionPolicy(),
            dry_run=dry_run,
            progress=SILENT,
            now=SetClock(NOW),
            settle=engine.AT_ONCE,
        )
        return done.gone

    @property
    def listed(self) -> set[str]:
        return set(self.opened().snapshots())


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


# The engine


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_held_is_not_forgotten_by_name_and_the_error_says_how_to_release_it(kept: Kept, dry_run: bool) -> None:
    with pytest.raises(ConflictError, match="is held by ann@office: the court asked") as refused:
        kept.forget(kept.new, kept.old, dry_run=dry_run)
    assert f"edurise-backup hold release {str(kept.hold.id)[:8]}" in refused.value.hint
    assert kept.listed == {kept.old, kept.new}


def test_what_is_held_is_not_forgotten_by_policy(kept: Kept) -> None:
    assert kept.forget(policy=RetentionPolicy(last=1)) == ()
    drop_protection(kept.opened().box, kept.hold.id)
    assert kept.forget(policy=RetentionPolicy(last=1)) == (kept.old,)


def test_the_library_itself_refuses_whoever_calls_it(kept: Kept) -> None:
    with pytest.raises(ConflictError):
        kept.opened().forget(kept.old, grace=engine.AT_ONCE, now=NOW)


def test_a_hold_that_has_ended_keeps_nothing(kept: Kept) -> None:
    drop_protection(kept.opened().box, kept.hold.id)
    save_protection(kept.opened().box, protection(kept.old, until=NOW + DAY))
    with pytest.raises(ConflictError, match="until 2026-11-28"):
        kept.opened().forget(kept.old, now=NOW)
    kept.opened().forget(kept.old, now=NOW + DAY)


def test_what_was_forgotten_before_its_hold_outlives_its_grace_and_can_be_brought_back(kept: Kept) -> None:
    drop_protection(kept.opened().box, kept.hold.id)
    kept.opened().forget(kept.old, now=NOW, grace=DAY)
    save_protection(kept.opened().box, kept.hold)
    engine.prune(kept.opened(), now=SetClock(NOW + 100 * DAY))
    engine.bring_back(kept.opened(), kept.old)
    assert kept.listed == {kept.old, kept.new}
    assert engine.check(kept.opened()).findings == []


def test_once_released_what_was_forgotten_goes_with_the_next_prune(kept: Kept) -> None:
    drop_protection(kept.opened().box, kept.hold.id)
    kept.opened().forget(kept.old, now=NOW, grace=DAY)
    engine.prune(kept.opened(), now=SetClock(NOW + 100 * DAY))
    with pytest.raises(KeyError):
        engine.bring_back(kept.opened(), kept.old)


def test_a_prune_refuses_when_a_held_snapshot_is_neither_listed_nor_forgotten(kept: Kept) -> None:
    snapshot = kept.store.objects.pop(f"snapshots/{kept.old}")
    before = dict(kept.store.objects)
    with pytest.raises(ConflictError, match="neither listed nor forgotten") as refused:
        engine.prune(kept.opened(), now=SetClock(NOW))
    assert "hold release" in refused.value.hint
    assert {name for name in before if name.startswith("data/")} <= kept.store.objects.keys()
    kept.store.objects[f"snapshots/{kept.old}"] = snapshot
    engine.prune(kept.opened(), now=SetClock(NOW))
    assert engine.check(kept.opened()).findings == []


@pytest.mark.parametrize("damage", ["cut", "flipped", "renamed"])
def test_a_note_that_is_not_readable_keeps_everything(kept: Kept, damage: str) -> None:
    name = f"edurise/holds/{kept.hold.id}"
    content = bytearray(kept.store.objects[name])
    if damage == "renamed":
        kept.store.objects[f"edurise/holds/{uuid4()}"] = kept.store.objects.pop(name)
    else:
        content[len(content) // 2] ^= 1
        kept.store.objects[name] = bytes(content[:30] if damage == "cut" else content)
    with pytest.raises(DamageError, match="edurise/holds/"):
        kept.forget(kept.new)
    with pytest.raises(DamageError, match="edurise/holds/"):
        engine.prune(kept.opened(), now=SetClock(NOW))
    assert kept.listed == {kept.old, kept.new}


def test_a_note_comes_back_as_it_was_written(kept: Kept) -> None:
    pin = protection(kept.new, kind=ProtectionKind.PIN)
    save_protection(kept.opened().box, pin)
    assert set(read_protections(kept.opened().box)) == {pin, kept.hold}


# With a catalog


class Sets:
    """Three backups with rows, of one series that keeps the newest."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog = catalog
        self.store = MemoryStore()
        engine.create(self.store)
        plant_schedule(catalog, "hourly", retention=1)
        tree = small_tree(folder / "tree")
        self.backups: list[BackupJob] = []
        for number in range(3):
            write(tree / f"file {number}", b"%d" % number * 50)
            at = NOW - (30 - 10 * number) * DAY
            self.backups.append(back_up(catalog, self.opened(), tree, at=at))

    def opened(self) -> Repository:
        return engine.opened(self.store)

    def hold(self, backup: BackupJob) -> Protection:
        made = protection(*(part.snapshot_id for part in backup.parts), backup=backup.id)
        save_protection(self.opened().box, made)
        self.catalog.protections.add(made, SYSTEM)
        return made

    def dropped(self) -> list[UUID]:
        return list(make_plan(self.catalog, self.opened(), ObjectivesSettings(), NOW).dropped)


@pytest.fixture
def sets(catalog: Catalog, tmp_path: Path) -> Sets:
    return Sets(catalog, tmp_path)


def test_a_hold_keeps_a_backup_from_the_policy_and_says_so(sets: Sets) -> None:
    first, second, _ = sets.backups
    assert sets.dropped() == [second.id, first.id]
    sets.hold(first)
    plan = make_plan(sets.catalog, sets.opened(), ObjectivesSettings(), NOW)
    assert list(plan.dropped) == [second.id]
    told = {one.point.id: one.reasons for series in plan.series for one in series.decisions}
    assert told[first.id] == ("is held by ann@office: the court asked",)


def test_forgetting_whole_backups_looks_at_holds_anew_before_each(sets: Sets) -> None:
    first, second, third = sets.backups
    sets.hold(second)
    with pytest.raises(ConflictError, match="is held"):
        forget_whole(sets.catalog, sets.opened(), [first, second, third], SILENT, grace=DAY)
    assert [sets.catalog.jobs.get(one.id).restorable for one in sets.backups] == [False, True, True]


def test_a_hold_whose_note_somebody_deleted_still_keeps_its_backup_and_raises_the_alarm_once(sets: Sets) -> None:
    first, second, _ = sets.backups
    made = sets.hold(first)
    del sets.store.objects[f"edurise/holds/{made.id}"]
    assert sets.dropped() == [second.id]
    for _ in range(2):
        gone = look_for_protections(sets.catalog, sets.opened())
        with pytest.raises(ConflictError, match="nobody has released it"):
            refuse_vanished(gone)
    alarm = sets.catalog.alarms.open()[0]
    assert (alarm.kind, alarm.subject) == (AlarmKind.PROTECTION_GONE, f"hold {made.id}")
    assert [row.action for row in sets.catalog.audit.rows()] == ["hold.add", "hold.vanished"]

    save_protection(sets.opened().box, made)  # somebody put the object back
    assert look_for_protections(sets.catalog, sets.opened()) == ()
    assert sets.catalog.alarms.open() == ()


def test_a_hold_that_the_catalog_does_not_know_is_learnt_from_the_repository(sets: Sets) -> None:
    made = protection(sets.backups[0].parts[0].snapshot_id, backup=sets.backups[0].id)
    save_protection(sets.opened().box, made)
    assert sets.backups[0].id not in sets.dropped()
    assert look_for_protections(sets.catalog, sets.opened()) == ()
    assert [row.protection for row in sets.catalog.protections.all()] == [made]


def test_a_release_that_is_cut_short_leaves_a_backup_that_is_kept_or_rightly_released(sets: Sets) -> None:
    made = sets.hold(sets.backups[0])
    sets.catalog.protections.begin_release(made, SYSTEM)  # recorded, and then the process dies
    assert sets.backups[0].id not in sets.dropped()
    drop_protection(sets.opened().box, made.id)  # dies one step later
    assert look_for_protections(sets.catalog, sets.opened()) == ()
    assert sets.catalog.protections.all() == ()
    assert sets.backups[0].id in sets.dropped()


def test_a_row_that_came_after_the_notes_were_listed_is_not_taken_for_vanished(sets: Sets) -> None:
    before = [row.id for row in sets.catalog.protections.all()]
    found = read_protections(sets.opened().box)
    sets.hold(sets.backups[0])
    assert sets.catalog.protections.compare(before, found) == ()


def test_a_hold_outranks_a_pin_on_the_same_snapshot(sets: Sets) -> None:
    snapshot = sets.backups[0].parts[0].snapshot_id
    hold = protection(snapshot)
    for one in (replace(protection(snapshot, kind=ProtectionKind.PIN), since=NOW + DAY), hold):
        save_protection(sets.opened().box, one)
    assert kept_here(sets.catalog, sets.opened(), NOW)[snapshot] == hold


# The plan refuses


def test_nothing_is_planned_when_a_snapshot_is_not_readable(sets: Sets) -> None:
    name = f"snapshots/{sets.backups[1].parts[0].snapshot_id}"
    sets.store.objects[name] = sets.store.objects[name][:-1]
    with pytest.raises(DamageError):
        sets.dropped()


def test_a_listing_that_is_short_refuses(sets: Sets) -> None:
    del sets.store.objects[f"snapshots/{sets.backups[2].parts[0].snapshot_id}"]
    plan = make_plan(sets.catalog, sets.opened(), ObjectivesSettings(), NOW)
    assert "1 backups that the catalog knows are not in the repository" in plan.refusal


def test_a_snapshot_that_stock_restic_or_another_forgot_meanwhile_is_no_reason_to_refuse(sets: Sets) -> None:
    first, second, _ = sets.backups
    sets.opened().forget(SnapshotId(first.parts[0].snapshot_id), now=NOW)
    assert sets.dropped() == [second.id]
    with pytest.raises(NotFoundError):
        sets.opened().load_snapshot(SnapshotId(first.parts[0].snapshot_id))


def test_a_snapshot_that_is_published_and_pinned_while_a_prune_looks_is_not_taken_for_lost(kept: Kept) -> None:
    class Late(MemoryStore):
        """Publishes a snapshot, and pins it, once the snapshots were listed."""

        pending = True

        def list(self, prefix: str) -> Iterator[tuple[str, int]]:
            found = list(super().list(prefix))
            if prefix == "snapshots" and self.pending:
                self.pending = False
                self.objects.update(late)
            yield from found

    folder = kept.store.copy()
    repository = engine.opened(folder)
    old = repository.load_snapshot(kept.old)
    with repository.lock(settle=engine.AT_ONCE) as lock:
        made = repository.publish(old, lock)
    save_protection(repository.box, protection(made))
    late = {name: content for name, content in folder.objects.items() if name not in kept.store.objects}
    store = Late(kept.store.objects)
    engine.prune(engine.opened(store), now=SetClock(NOW))
    assert not store.pending
    assert set(engine.opened(store).snapshots()) == {kept.old, kept.new, made}
