"""Retention, pins and holds as an operator meets them: commands, jobs, rows, refusals, and a rebuilt catalog."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import uuid4

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConflictError, DamageError, ForbiddenError, InputError, LockedError, NotFoundError
from edurise_backup.model.database import Secret
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus
from edurise_backup.model.people import SYSTEM, Actor, Role, Via
from edurise_backup.model.sign_in import ApprovalSettings
from edurise_backup.postgres.connection import Address, parse_address
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.calendar import plant_schedule
from tests.support.catalog import Acting, Product, opened, run, run_json
from tests.support.people import add_person
from tests.support.postgres import execute

ANN = Actor("ann@office", Via.COMMAND_LINE, frozenset(Role))
EVE = Actor("eve@street", Via.COMMAND_LINE, frozenset({Role.VIEWER}))


def backups(product: Product, count: int) -> list[BackupJob]:
    """Take backups, each with something new; the oldest first."""
    made = []
    for number in range(count):
        product.put(f"new {number}.txt", b"%d" % number * 700)
        made.append(operations.create_backup("files", settings=product.settings))
    return made


def last_only(product: Product) -> None:
    """Have a schedule that keeps the last backup of files: its days are of the newest one, a moment ago."""
    with opened(product) as catalog:
        plant_schedule(catalog, "files hourly", retention=1)


def age(product: Product, job: BackupJob, days: int) -> None:
    """Have a backup look as if it had been taken days ago; its snapshot, too, is published anew with that date."""
    repository = engine.opened(LocalStore(product.repository))
    part = job.parts[0]
    snapshot = repository.load_snapshot(engine.SnapshotId(part.snapshot_id))
    moment = datetime.now(UTC) - timedelta(days=days)
    snapshot.time = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    with repository.lock(settle=engine.AT_ONCE) as lock:
        made = repository.publish(snapshot, lock)
    repository.forget(engine.SnapshotId(part.snapshot_id), grace=engine.AT_ONCE)
    execute(
        catalog_of(product),
        f"UPDATE backup_parts SET snapshot_id = '{made}' WHERE snapshot_id = '{part.snapshot_id}'",
        f"UPDATE backup_jobs SET started_at = '{moment.isoformat()}' WHERE id = '{job.id}'",
    )


def catalog_of(product: Product) -> Address:
    password = Secret((product.home / "catalog.password").read_text().strip())
    return parse_address(product.settings.catalog.url, password=password)


def document(product: Product, *words: str) -> dict[str, Any]:
    return cast(dict[str, Any], run_json(product, *words))


def row_of(product: Product, job: BackupJob) -> BackupJob:
    with opened(product) as catalog:
        return catalog.jobs.get(job.id)


def audited(product: Product) -> list[tuple[str, str]]:
    """Return what was done to the backups after they were taken, and by whom."""
    with opened(product) as catalog:
        return [(row.action, row.actor) for row in catalog.audit.rows() if row.action != "backup.complete"]


# Plan and apply


def test_the_plan_says_what_goes_and_why_and_applying_it_forgets_exactly_that(files_product: Product) -> None:
    old, middle, new = backups(files_product, 3)
    age(files_product, old, 30)
    age(files_product, middle, 20)
    last_only(files_product)
    planned = document(files_product, "retention", "plan")
    assert planned["dropped"] == [str(middle.id), str(old.id)]
    (series,) = planned["series"]
    assert (series["kept"], series["dropped"]) == (1, 2)
    told = {one["id"]: one["reasons"] for one in series["decisions"]}
    assert told[str(new.id)] == ["within 24 h of the newest", "the newest of its series", *told[str(new.id)][2:]]
    assert "the policy promises restore points of the last 24 h, 30 days are asked for" in planned["breaks"][0]

    dry = operations.apply_retention(settings=files_product.settings, dry_run=True)
    assert dry.figures
    assert dry.figures.forgotten
    assert dry.figures.forgotten.backups == (middle.id, old.id)
    assert row_of(files_product, old).restorable
    assert audited(files_product) == []

    done = run(files_product, "retention", "apply")
    assert done.returncode == 0, done.stderr
    assert "2 backups forgotten; `forget --undo ID` brings them back until" in done.stdout
    assert [row_of(files_product, one).restorable for one in (old, middle, new)] == [False, False, True]
    assert [action for action, _ in audited(files_product)] == ["retention.forget", "backup.forget", "backup.forget"]
    assert document(files_product, "retention", "plan")["dropped"] == []
    assert run(files_product, "forget", "--undo", str(old.id)).returncode == 0
    assert row_of(files_product, old).restorable


def test_without_a_schedule_nothing_is_judged_and_nothing_goes(files_product: Product) -> None:
    old, _ = backups(files_product, 2)
    age(files_product, old, 400)
    done = run(files_product, "retention", "plan")
    assert "no schedule says what to keep of it; all 2 stay" in done.stdout
    job = operations.apply_retention(settings=files_product.settings)
    assert (job.status, job.figures and job.figures.forgotten and job.figures.forgotten.backups) == (
        JobStatus.COMPLETED,
        (),
    )


def test_a_retention_refuses_while_a_backup_is_missing_and_its_row_says_so(files_product: Product) -> None:
    old, new = backups(files_product, 2)
    age(files_product, old, 30)
    last_only(files_product)
    lost = files_product.repository / "snapshots" / new.parts[0].snapshot_id
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(ConflictError, match="1 backups that the catalog knows are not in the repository"):
        operations.apply_retention(settings=files_product.settings)
    with opened(files_product) as catalog:
        assert catalog.maintenance.newest(limit=1)[0].status is JobStatus.FAILED
    assert row_of(files_product, old).restorable
    lost.write_bytes(content[:-1])
    with pytest.raises(DamageError):
        operations.apply_retention(settings=files_product.settings)
    assert row_of(files_product, old).restorable


def test_a_queued_retention_is_run_under_its_id(files_product: Product) -> None:
    backups(files_product, 1)
    job_id = operations.queue_retention(settings=files_product.settings, dry_run=True)
    done = operations.apply_retention(settings=files_product.settings, dry_run=True, job_id=job_id)
    assert (done.id, done.dry_run, done.status) == (job_id, True, JobStatus.COMPLETED)


def test_a_schedule_that_has_just_been_added_is_simulated_by_its_own_clock(files_product: Product) -> None:
    added = ("schedule", "add", "new", "--type", "files", "--every", "every 6 hours", "--retention", "30")
    assert run(files_product, *added).returncode == 0
    done = run(files_product, "retention", "simulate", "--schedule", "new", "--days", "40", "--json")
    assert done.returncode in (0, 1), done.stderr
    assert 115 <= max(day["kept"] for day in json.loads(done.stdout)["days"]) <= 121


def test_drift_and_simulation_speak_by_exit_status_and_json(files_product: Product) -> None:
    old, middle, _ = backups(files_product, 3)
    age(files_product, old, 30)
    age(files_product, middle, 20)  # was the newest until just now: nobody is late with it
    assert "no series has a policy" in run(files_product, "retention", "drift").stdout
    last_only(files_product)
    drifted = run(files_product, "retention", "drift", "--json")
    assert drifted.returncode == 1
    (series,) = json.loads(drifted.stdout)
    assert (series["there"], series["meant"], series["too_many"]) == (3, 2, [str(old.id)])
    operations.apply_retention(settings=files_product.settings)
    assert run(files_product, "retention", "drift").returncode == 0
    simulated = run(files_product, "retention", "simulate", "--schedule", "files hourly", "--every", "1h", "--json")
    assert simulated.returncode == 1
    found = json.loads(simulated.stdout)
    assert len(found["days"]) == 90
    assert [one["control"] for one in found["broken"]] == ["retention", "verified"]
    own = run(files_product, "retention", "simulate", "--type", "files", "--within", "60", "--every", "12h")
    assert "misses verified" in own.stdout
    assert "misses retention" not in own.stdout


# Pins and holds


def test_what_is_pinned_or_held_is_dropped_by_nobody_until_it_is_released(files_product: Product) -> None:
    old, middle, _ = backups(files_product, 3)
    age(files_product, old, 30)
    age(files_product, middle, 20)
    last_only(files_product)
    pin = document(files_product, "pin", "add", str(old.id), "--reason", "before the exams")
    hold = document(files_product, "hold", "add", str(middle.id), "--reason", "case 7", "--until", "2099-01-01")
    assert hold["until"] == "2099-01-01T00:00:00Z"
    assert document(files_product, "retention", "plan")["dropped"] == []
    for words in (("forget", str(old.id)), ("forget", str(middle.id), "--dry-run")):
        refused = run(files_product, *words)
        assert refused.returncode == 2
        assert "edurise-backup pin remove" in refused.stderr or "edurise-backup hold release" in refused.stderr
    by_name = run(
        files_product,
        *("repo", "forget", snapshot_of(files_product, old), "--repository"),
        *(files_product.repository, "--password-file", files_product.home / "passphrase"),
    )
    assert by_name.returncode == 2
    assert "is pinned by" in by_name.stderr
    listed = run(files_product, "hold", "list")
    assert (listed.returncode, "case 7" in listed.stdout) == (0, True)

    assert run(files_product, "pin", "remove", pin["id"][:8]).returncode == 0
    assert run(files_product, "hold", "release", str(middle.id)).returncode == 0
    assert document(files_product, "retention", "plan")["dropped"] == [str(middle.id), str(old.id)]
    acts = ["pin.add", "hold.add", "pin.release", "approval.break_glass", "hold.release"]
    assert [action for action, _ in audited(files_product)] == acts
    assert {actor.partition("@")[2] != "" for _, actor in audited(files_product)} == {True}


def snapshot_of(product: Product, job: BackupJob) -> str:
    return row_of(product, job).parts[0].snapshot_id


def test_a_rebuilt_catalog_knows_pins_and_holds_again(files_product: Product) -> None:
    (job,) = backups(files_product, 1)
    made = operations.hold_backup(job.id, "case 7", actor=ANN, settings=files_product.settings)
    execute(catalog_of(files_product), "DROP SCHEMA public CASCADE; DROP SCHEMA analytics CASCADE")
    execute(catalog_of(files_product), "CREATE SCHEMA public")
    assert operations.rebuild_catalog(settings=files_product.settings).remarks == ()
    (row,) = operations.list_protections(settings=files_product.settings)
    assert row.protection == replace(made, since=row.since)
    with pytest.raises(ConflictError, match="is held by ann@office"):
        operations.forget_backups([job.id], settings=files_product.settings)


def test_a_prune_refuses_when_the_note_of_a_hold_was_deleted(files_product: Product) -> None:
    (job,) = backups(files_product, 1)
    made = operations.hold_backup(job.id, "case 7", actor=ANN, settings=files_product.settings)
    (files_product.repository / "edurise" / "holds" / str(made.id)).unlink()
    with pytest.raises(ConflictError, match="nobody has released it"):
        operations.prune_repository(settings=files_product.settings)
    listed = run(files_product, "hold", "list")
    assert listed.returncode == 1
    assert "VANISHED" in listed.stdout
    with pytest.raises(ConflictError, match="is held"):
        operations.forget_backups([job.id], settings=files_product.settings)
    operations.release_hold(made.id, actor=ANN, settings=files_product.settings)
    operations.prune_repository(settings=files_product.settings)


def test_a_release_asks_for_the_second_person_before_anything_is_changed(files_product: Product) -> None:
    (job,) = backups(files_product, 1)
    settings = replace(files_product.settings, approvals=ApprovalSettings())
    made = operations.hold_backup(job.id, "case 7", actor=ANN, settings=settings)
    with pytest.raises(ForbiddenError, match=r"hold\.release needs a second person"):
        operations.release_hold(made.id, actor=ANN, settings=settings)
    assert len(operations.list_protections(settings=settings)) == 1
    with operations.open_catalog(settings) as catalog:
        (asked,) = catalog.approvals.newest()
        assert json.loads(asked.plan)["id"] == str(made.id)
        approver = add_person(catalog, "bob", Role.APPROVER)
        catalog.approvals.decide(asked.id, approver, agreed=True)
    operations.release_hold(made.id, actor=ANN, settings=settings)
    assert operations.list_protections(settings=settings) == ()


def test_a_forgotten_backup_can_be_held_and_then_outlives_its_grace(files_product: Product) -> None:
    old, _ = backups(files_product, 2)
    settings = files_product.settings
    operations.forget_backups([old.id], settings=settings, grace="1s")
    operations.hold_backup(old.id, "case 7", actor=ANN, settings=settings)
    operations.prune_repository(settings=settings, grace="0", max_unused="0", max_removed="100%")
    operations.bring_backups_back([old.id], settings=settings)
    assert row_of(files_product, old).restorable
    assert operations.verify_backup(old.id, settings=settings).findings == ()


def test_whoever_may_not_administer_changes_nothing(files_product: Product) -> None:
    (job,) = backups(files_product, 1)
    settings = files_product.settings
    made = operations.pin_backup(job.id, "exams", actor=SYSTEM, settings=settings)
    for attempt in (
        lambda: operations.pin_backup(job.id, "x", actor=EVE, settings=settings),
        lambda: operations.hold_backup(job.id, "x", actor=EVE, settings=settings),
        lambda: operations.remove_pin(made.id, actor=EVE, settings=settings),
        lambda: operations.apply_retention(settings=settings, actor=EVE),
        lambda: operations.apply_retention(settings=settings, actor=EVE, dry_run=True),
    ):
        with pytest.raises(ForbiddenError):
            attempt()
    assert len(operations.list_protections(settings=settings)) == 1


def test_bad_input_is_refused_with_what_to_do_and_changes_nothing(files_product: Product) -> None:
    (job,) = backups(files_product, 1)
    for words, said, to_do in (
        (("hold", "add", str(job.id), "--reason", "  "), "no reason is given", "--reason TEXT"),
        (("hold", "add", str(job.id), "--reason", "x" * 501), "at most 500 characters", "shorter"),
        (("hold", "add", str(job.id), "--reason", "x", "--until", "2001-01-01"), "ends in the future", "2030-12-31"),
        (("hold", "add", "00000000", "--reason", "x"), "no backup has the id", "edurise-backup list"),
        (("pin", "remove", "nothing"), "no pin is named 'nothing'", "edurise-backup pin list"),
        (("hold", "release", str(job.id)), "no hold is named", "edurise-backup hold list"),
        (("retention", "apply", "--grace", "soon"), "'soon' is no time", "7d"),
        (("retention", "simulate", "--schedule", "nightly"), "there is no schedule 'nightly'", "there is no schedule"),
        (("retention", "simulate"), "no policy is given", "--schedule"),
        (("retention", "simulate", "--within", "7"), "nothing says how often", "--every 1h"),
        (("retention", "simulate", "--within", "7", "--every", "10s"), "nothing says how often", "at least a minute"),
        (("retention", "simulate", "--within", "7", "--every", "1h", "--days", "0"), "1 to 3660 days", "--days 90"),
        (
            ("retention", "simulate", "--within", "7", "--every", "1h", "--type", "x"),
            "there is no backup type 'x'",
            "full",
        ),
    ):
        refused = run(files_product, *words, "--json")
        told = json.loads(refused.stderr)
        assert refused.returncode == 2, words
        assert said in told["error"], words
        assert to_do in told["hint"], words
    assert audited(files_product) == []
    assert operations.list_protections(settings=files_product.settings) == ()
    assert not (files_product.repository / "edurise" / "holds").exists() or not list(
        (files_product.repository / "edurise" / "holds").iterdir()
    )


def test_what_is_no_restore_point_cannot_be_kept(files_product: Product) -> None:
    (job,) = backups(files_product, 1)
    settings = files_product.settings
    with pytest.raises(NotFoundError):
        operations.hold_backup(uuid4(), "x", actor=ANN, settings=settings)
    with opened(files_product) as catalog:
        queued = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED)
        catalog.jobs.create(queued)
    with pytest.raises(InputError, match="is no restore point"):
        operations.hold_backup(queued.id, "x", actor=ANN, settings=settings)
    operations.forget_backups([job.id], settings=settings, grace="0")
    with pytest.raises(NotFoundError, match="not in the repository any more"):
        operations.pin_backup(job.id, "x", actor=ANN, settings=settings)


def test_forgetting_by_a_policy_on_the_command_line_leaves_the_only_verified_backup(files_product: Product) -> None:
    old, middle, _ = backups(files_product, 3)
    operations.verify_backup(old.id, settings=files_product.settings)
    done = document(files_product, "forget", "--keep-last", "1")
    assert done["forgotten"] == [str(middle.id)]
    told = {one["id"]: one["reasons"] for one in done["decisions"]}
    assert told[str(old.id)] == ["the newest verified of its series", "the newest verified of source files/uploads"]


def test_a_retention_beside_a_prune_refuses_or_waits_as_it_is_told(files_product: Product) -> None:
    old, _ = backups(files_product, 2)
    age(files_product, old, 30)
    last_only(files_product)
    held = engine.opened(LocalStore(files_product.repository)).lock(exclusive=True, settle=engine.AT_ONCE)
    with pytest.raises(LockedError):
        operations.apply_retention(settings=files_product.settings)
    assert row_of(files_product, old).restorable
    letting_go = Acting({"forget": threading.Timer(0.3, held.release).start})
    done = operations.apply_retention(settings=files_product.settings, wait="1m", progress=letting_go)
    assert letting_go.done
    assert done.figures
    assert done.figures.forgotten
    assert done.figures.forgotten.backups == (old.id,)
