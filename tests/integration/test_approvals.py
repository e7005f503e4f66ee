"""What needs two people: asked in the operations, below the command line, the dashboard and Prefect."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest

from edurise_backup import operations
from edurise_backup.catalog.accounts import Accounts
from edurise_backup.catalog.approvals import Approvals
from edurise_backup.errors import BackupError, ConflictError, ForbiddenError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.approvals import STANDS, WAITS, Approval, ApprovalState
from edurise_backup.model.audit import Outcome
from edurise_backup.model.jobs import BackupJob, JobStatus
from edurise_backup.model.people import SYSTEM, Actor, Role, Via
from edurise_backup.operations import accounts
from edurise_backup.operations.approvals import authorise
from edurise_backup.operations.guarding import authorise_key_removal
from edurise_backup.stores.local import LocalStore
from tests.integration.test_catalog_doors import NOW, SetClock
from tests.support import engine
from tests.support.catalog import Product, run, run_json
from tests.support.people import FIRST, PASSWORD, QUICK, add_person

ALICE = Actor("alice", Via.COMMAND_LINE, frozenset(Role))
BOB = Actor("bob", Via.DASHBOARD, frozenset({Role.APPROVER}))
PREFECT = Actor("Prefect", Via.FLOW, frozenset(Role))
PLAN = {"packs": ["a", "b"]}


@pytest.fixture
def product(files_product: Product) -> Product:
    """Give a product of a site with several people."""
    files_product.configure("break_glass = true", "break_glass = false")
    return files_product


def asked(product: Product) -> Approval:
    with operations.open_catalog(product.settings) as catalog:
        return catalog.approvals.newest(limit=1)[0]


def approve(product: Product, *, by: Actor = BOB) -> None:
    with operations.open_catalog(product.settings) as catalog:
        catalog.approvals.decide(catalog.approvals.waiting()[0].id, by, agreed=True)


def test_an_approval_is_for_one_plan_one_time_and_another_person(product: Product) -> None:
    with operations.open_catalog(product.settings) as catalog:
        for _ in range(2):  # asked twice it is still one request
            with pytest.raises(ForbiddenError, match="needs a second person"):
                authorise(catalog, ALICE, "key.remove", PLAN)
        (request,) = catalog.approvals.waiting()
        with pytest.raises(ForbiddenError, match="cannot approve it"):
            catalog.approvals.decide(request.id, Actor("ALICE@host", Via.DASHBOARD, frozenset(Role)), agreed=True)
        with pytest.raises(ForbiddenError, match="may not approve"):
            catalog.approvals.decide(request.id, Actor("carol", Via.DASHBOARD, frozenset({Role.ADMIN})), agreed=True)
        catalog.approvals.decide(request.id, BOB, agreed=True)
        with pytest.raises(ConflictError, match="can no longer be decided"):
            catalog.approvals.decide(request.id, BOB, agreed=False)
        for act, plan in (("key.remove", {"packs": ["a"]}), ("repository.prune", PLAN)):
            with pytest.raises(ForbiddenError):
                authorise(catalog, ALICE, act, plan)
        with pytest.raises(ForbiddenError):  # who approved does not act on it himself
            authorise(catalog, Actor("bob@host", Via.COMMAND_LINE, frozenset(Role)), "key.remove", PLAN)
        authorise(catalog, ALICE, "key.remove", PLAN)
        with pytest.raises(ForbiddenError):
            authorise(catalog, ALICE, "key.remove", PLAN)
        assert catalog.approvals.get(request.id).state(NOW) is ApprovalState.USED


def test_a_request_lapses_and_an_approval_lasts_an_hour(product: Product) -> None:
    clock = SetClock()
    with operations.open_catalog(product.settings) as catalog:
        catalog.approvals = Approvals(catalog.sessions, clock=clock)
        first = catalog.approvals.request(ALICE, "key.remove", "{}")
        clock.now += WAITS
        with pytest.raises(ConflictError, match="is expired"):
            catalog.approvals.decide(first.id, BOB, agreed=True)
        second = catalog.approvals.request(ALICE, "key.remove", "{}")
        assert second.id != first.id
        catalog.approvals.decide(second.id, BOB, agreed=True)
        clock.now += STANDS
        assert catalog.approvals.use(ALICE, "key.remove", "{}") is None


def test_who_has_the_approvers_account_in_hand_cannot_approve_with_it_for_a_day(product: Product) -> None:
    clock = SetClock()
    with operations.open_catalog(product.settings) as catalog:
        catalog.approvals = Approvals(catalog.sessions, clock=clock)
        catalog.accounts = Accounts(catalog.sessions, clock=clock)
        accounts.add_account(catalog, "bob", ["approver"], by=ALICE, password=FIRST, cost=QUICK)
        bob = accounts.change_password(catalog, "bob", FIRST, PASSWORD, cost=QUICK).actor(Via.DASHBOARD)
        clock.now += timedelta(hours=23)
        request = catalog.approvals.request(Actor("root@host", Via.COMMAND_LINE, frozenset(Role)), "key.remove", "{}")
        with pytest.raises(ForbiddenError, match="alice changed the account bob"):
            catalog.approvals.decide(request.id, bob, agreed=True)
        clock.now += timedelta(hours=0.99)
        accounts.reset_password(catalog, "bob", by=ALICE, password=FIRST, cost=QUICK)
        clock.now += timedelta(hours=23.9)
        later = catalog.approvals.request(ALICE, "key.remove", "{}")
        with pytest.raises(ForbiddenError, match="alice changed the account bob"):
            catalog.approvals.decide(later.id, bob, agreed=True)
        accounts.change_password(catalog, "bob", FIRST, PASSWORD, cost=QUICK)
        clock.now += timedelta(hours=0.1)
        assert catalog.approvals.decide(later.id, bob, agreed=True).agreed
        denied = catalog.approvals.request(ALICE, "key.remove", '{"a": 1}')
        accounts.set_roles(catalog, "bob", ["approver", "viewer"], by=ALICE)
        assert not catalog.approvals.decide(denied.id, bob, agreed=False).agreed


def test_a_flow_run_asks_for_nothing_and_uses_what_two_people_agreed_to(product: Product) -> None:
    with operations.open_catalog(product.settings) as catalog:
        for nobody in (PREFECT, SYSTEM):
            with pytest.raises(ForbiddenError, match="a flow run is none"):
                authorise(catalog, nobody, "key.remove", PLAN, break_glass=True)
        assert catalog.approvals.newest() == ()
        with pytest.raises(ForbiddenError):
            authorise(catalog, ALICE, "key.remove", PLAN)
        catalog.approvals.decide(catalog.approvals.waiting()[0].id, BOB, agreed=True)
        authorise(catalog, PREFECT, "key.remove", PLAN)
        refused = [row for row in catalog.audit.rows() if row.outcome is Outcome.REFUSED]
        assert [(row.actor, row.via) for row in refused] == [("Prefect", "flow"), ("edurise-backup", "system")]


def test_the_server_refuses_to_write_an_approval_anew(product: Product) -> None:
    with operations.open_catalog(product.settings) as catalog:
        approval = catalog.approvals.request(ALICE, "key.remove", "{}")
        catalog.approvals.decide(approval.id, BOB, agreed=True)
        for change in ("plan = '{\"a\": 1}'", "decided_by = 'carol'", "requested_by = 'bob'"):
            with pytest.raises(BackupError), catalog.sessions.transaction() as connection:
                connection.execute(f"UPDATE approvals SET {change}".encode())


def test_breaking_the_glass_is_written_down_and_alarmed(product: Product) -> None:
    with operations.open_catalog(product.settings) as catalog:
        authorise(catalog, ALICE, "key.remove", PLAN, break_glass=True)
        assert [(row.actor, row.action) for row in catalog.audit.rows()] == [("alice", "approval.break_glass")]
        (alarm,) = catalog.alarms.open()
        assert alarm.kind is AlarmKind.BREAK_GLASS
        assert "alice did key.remove without a second person" in alarm.message


# Wired into the operations


def backup(product: Product) -> BackupJob:
    return operations.create_backup("files", settings=product.settings)


def forget_at_once(product: Product) -> Callable[[], object]:
    job = backup(product)
    backup(product)
    return lambda: operations.forget_backups([job.id], settings=product.settings, grace="0")


def forget_almost_at_once(product: Product) -> Callable[[], object]:
    job = backup(product)
    backup(product)
    return lambda: operations.forget_backups([job.id], settings=product.settings, grace="23h59m")


def accept_as_gone(product: Product) -> Callable[[], object]:
    job = backup(product)
    backup(product)
    (product.repository / "snapshots" / job.parts[0].snapshot_id).unlink()
    with pytest.raises(ConflictError):  # a prune notices it
        operations.prune_repository(settings=product.settings)
    return lambda: operations.accept_gone([job.id], settings=product.settings)


def prune_most(product: Product) -> Callable[[], object]:
    product.put("media/kept.bin", random.Random(3).randbytes(100_000))
    film = product.put("media/film.bin", random.Random(1).randbytes(400_000))
    job = backup(product)
    film.unlink()
    backup(product)
    operations.forget_backups([job.id], settings=product.settings, grace="1d")
    engine_note_over(product)
    return lambda: operations.prune_repository(settings=product.settings, grace="0", max_unused="0", max_removed="100%")


def engine_note_over(product: Product) -> None:
    """Give a forgotten snapshot up at once: what a prune does once its grace is over."""
    for path in (product.repository / "edurise" / "forgotten").iterdir():
        path.unlink()


@pytest.mark.parametrize("destructive", [forget_at_once, forget_almost_at_once, accept_as_gone, prune_most])
def test_a_destructive_act_is_done_once_two_people_want_it(
    product: Product, destructive: Callable[[Product], Callable[[], object]]
) -> None:
    act = destructive(product)
    before = sorted(path.name for path in product.repository.rglob("*") if path.is_file() and "jobs" not in str(path))
    with pytest.raises(ForbiddenError, match="needs a second person") as refused:
        act()
    assert refused.value.exit_status == 2
    assert "approval approve" in refused.value.hint
    after = sorted(path.name for path in product.repository.rglob("*") if path.is_file() and "jobs" not in str(path))
    assert after == before
    approve(product)
    act()
    assert asked(product).state(NOW) is ApprovalState.USED
    with operations.open_catalog(product.settings) as catalog:
        refused_jobs = [job for job in catalog.maintenance.newest(limit=10) if "second person" in str(job.error)]
        assert {job.status for job in refused_jobs} <= {JobStatus.CANCELLED}, "it waits, and nothing is wrong"


def test_more_than_was_approved_is_not_pruned(product: Product) -> None:
    act = prune_most(product)
    with pytest.raises(ForbiddenError):
        act()
    approve(product)
    more = product.put("media/more.bin", random.Random(2).randbytes(400_000))
    backup(product)
    more.unlink()
    job = backup(product)
    operations.forget_backups([operations.get_backups(settings=product.settings)[1].id], settings=product.settings)
    engine_note_over(product)
    with pytest.raises(ForbiddenError, match="needs a second person"):
        act()
    assert operations.verify_backup(job.id, settings=product.settings).completed_at


def test_a_prune_below_the_threshold_asks_nobody_and_a_dry_run_neither(product: Product) -> None:
    act = prune_most(product)
    dry = operations.prune_repository(settings=product.settings, dry_run=True, grace="0", max_removed="100%")
    assert dry.status.good
    product.configure("break_glass = false", "prune_removes_percent = 90\nbreak_glass = false")
    act()
    with operations.open_catalog(product.settings) as catalog:
        assert catalog.approvals.newest() == ()
        assert "repository.prune" in {row.action for row in catalog.audit.rows()}


def test_a_flow_run_that_prunes_most_is_refused_whatever_its_parameters_say(product: Product) -> None:
    prune_most(product)
    product.configure("break_glass = false", "break_glass = true")  # no person is there to break it
    with pytest.raises(ForbiddenError, match="a flow run is none"):
        operations.prune_repository(
            settings=product.settings, grace="0", max_unused="0", max_removed="100%", flow_run_id=uuid4()
        )
    with operations.open_catalog(product.settings) as catalog:
        row = catalog.maintenance.newest(limit=1)[0]
    assert "two people" in (row.error or "")
    assert row.hint


def test_the_removal_of_a_key_is_for_that_key_alone(product: Product) -> None:
    repository = engine.opened(LocalStore(product.repository))
    with operations.open_catalog(product.settings) as catalog:
        with pytest.raises(ForbiddenError):
            authorise_key_removal(catalog, product.settings, ALICE, repository, "a" * 64)
        catalog.approvals.decide(catalog.approvals.waiting()[0].id, BOB, agreed=True)
        with pytest.raises(ForbiddenError):
            authorise_key_removal(catalog, product.settings, ALICE, repository, "b" * 64)
        authorise_key_removal(catalog, product.settings, ALICE, repository, "a" * 64)


# The command line


def test_the_way_through_the_command_line(product: Product) -> None:
    job = backup(product)
    backup(product)
    own = product.home / "own"
    own.write_text(PASSWORD.reveal())
    with operations.open_catalog(product.settings) as catalog:
        add_person(catalog, "bob", Role.APPROVER)
        add_person(catalog, "carol", Role.ADMIN)
    refused = run(product, "forget", str(job.id), "--grace", "0")
    assert refused.returncode == 2
    (waiting,) = run_json(product, "approval", "list", "--waiting")  # type: ignore[misc]  # a list of one
    assert waiting["plan"] == {"backups": [str(job.id)], "grace_seconds": 0}
    short = str(waiting["id"])[:8]
    assert short in refused.stderr
    for name, path, told in (
        ("carol", own, "may not approve"),
        ("bob", product.home / "passphrase", "the name or the password is wrong"),
        ("nobody", own, "the name or the password is wrong"),
    ):
        wrong = run(product, "approval", "approve", short, "--as", name, "--password-file", path)
        assert (wrong.returncode, told in wrong.stderr) == (2, True), wrong.stderr
    shown = run(product, "approval", "show", short)
    assert str(job.id) in shown.stdout
    done = run(product, "approval", "approve", short, "--as", "bob", "--password-file", own, "--note", "checked it")
    assert done.returncode == 0, done.stderr
    assert run(product, "forget", str(job.id), "--grace", "0").returncode == 0
    said = json.loads(run(product, "approval", "show", short, "--json").stdout)
    assert (said["state"], said["decided_by"], said["note"]) == ("used", "bob", "checked it")
    assert run(product, "approval", "show", "ffffffff").returncode == 2


def test_what_is_denied_is_not_done(product: Product) -> None:
    act = forget_at_once(product)
    with pytest.raises(ForbiddenError):
        act()
    with operations.open_catalog(product.settings) as catalog:
        catalog.approvals.decide(catalog.approvals.waiting()[0].id, BOB, agreed=False, note="no")
    with pytest.raises(ForbiddenError, match="needs a second person"):
        act()
