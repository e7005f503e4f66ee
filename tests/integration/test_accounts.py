"""Accounts, sign-in and sessions on a real catalog, and through the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.catalog.accounts import Accounts
from edurise_backup.catalog.signed_in import Ended, SignedIn
from edurise_backup.config import load_settings
from edurise_backup.errors import ConflictError, ForbiddenError, InputError, NotFoundError
from edurise_backup.model.accounts import TRIES, Account
from edurise_backup.model.audit import Outcome
from edurise_backup.model.database import Secret
from edurise_backup.model.people import SYSTEM, Actor, Role, Via
from edurise_backup.model.sign_in import SignInSettings
from edurise_backup.operations import accounts
from edurise_backup.postgres.connection import Address
from tests.integration.test_catalog_doors import SetClock
from tests.support.catalog import Product, run, run_json
from tests.support.people import FIRST, PASSWORD, QUICK, add_person
from tests.support.product import configure

LIMITS = SignInSettings()


@pytest.fixture
def catalog(tmp_path: Path, catalog_database: Address) -> Iterator[operations.Catalog]:
    with operations.open_catalog(load_settings(configure(tmp_path, catalog_database))) as opened:
        yield opened


def fail(catalog: operations.Catalog, name: str, times: int) -> None:
    for _ in range(times):
        with pytest.raises(ForbiddenError):
            accounts.prove_password(catalog, name, Secret("not the password"), via=Via.DASHBOARD)


def actions(catalog: operations.Catalog) -> list[tuple[str, str, Outcome]]:
    return [(row.action, row.subject, row.outcome) for row in catalog.audit.rows()]


def test_a_first_password_lets_one_in_only_to_change_it(catalog: operations.Catalog) -> None:
    made = accounts.add_account(catalog, "Alice", ["admin"], by=SYSTEM, cost=QUICK)
    assert made.one_time
    session = accounts.sign_in(catalog, "alice", made.one_time)
    assert session.account.must_change
    with pytest.raises(ForbiddenError, match="given by somebody else"):
        accounts.prove_person(catalog, "alice", made.one_time)
    with pytest.raises(InputError, match="the old one"):
        accounts.change_password(catalog, "alice", made.one_time, made.one_time)
    accounts.change_password(catalog, "alice", made.one_time, PASSWORD, session=session.token, cost=QUICK)
    account = accounts.session_account(catalog, session.token, LIMITS)
    assert isinstance(account, Account)
    assert not account.must_change
    assert accounts.prove_person(catalog, "ALICE", PASSWORD).name == "Alice"
    fail(catalog, "alice", 1)


def test_failed_attempts_lock_an_account_and_everybody_hears_the_same_words(catalog: operations.Catalog) -> None:
    clock = SetClock()
    catalog.accounts = Accounts(catalog.sessions, clock=clock)
    add_person(catalog, "alice", Role.VIEWER)
    fail(catalog, "alice", TRIES)
    heard = set()
    for name, password in (("alice", PASSWORD), ("nobody", PASSWORD), ("nobody", Secret("x"))):
        with pytest.raises(ForbiddenError) as refused:
            accounts.sign_in(catalog, name, password)
        heard.add((refused.value.message, refused.value.hint))
    assert len(heard) == 1
    clock.now += timedelta(minutes=1, seconds=1)
    assert accounts.sign_in(catalog, "alice", PASSWORD).account.failures == 0
    assert ("user.sign_in", "alice", Outcome.REFUSED) in actions(catalog)


def test_an_admin_ends_a_lock(catalog: operations.Catalog) -> None:
    add_person(catalog, "alice", Role.VIEWER)
    fail(catalog, "alice", TRIES)
    accounts.enable_account(catalog, "alice", by=SYSTEM)
    accounts.sign_in(catalog, "alice", PASSWORD)


def test_the_last_admin_stays_and_names_differ_in_more_than_case(catalog: operations.Catalog) -> None:
    add_person(catalog, "alice", Role.ADMIN)
    for act in (
        lambda: accounts.remove_account(catalog, "alice", by=SYSTEM),
        lambda: accounts.disable_account(catalog, "Alice", by=SYSTEM),
        lambda: accounts.set_roles(catalog, "alice", ["viewer"], by=SYSTEM),
    ):
        with pytest.raises(ConflictError, match="the last admin"):
            act()
    with pytest.raises(ConflictError, match="there is an account alice already"):
        accounts.add_account(catalog, "ALICE", ["viewer"], by=SYSTEM, cost=QUICK)
    add_person(catalog, "bob", Role.ADMIN)
    accounts.disable_account(catalog, "bob", by=SYSTEM)
    with pytest.raises(ConflictError, match="the last admin"):  # a disabled one does not count
        accounts.remove_account(catalog, "alice", by=SYSTEM)
    accounts.enable_account(catalog, "bob", by=SYSTEM)
    accounts.remove_account(catalog, "alice", by=SYSTEM)
    with pytest.raises(NotFoundError, match="no account 'alice'"):
        accounts.remove_account(catalog, "alice", by=SYSTEM)


def test_only_who_may_administer_changes_people(catalog: operations.Catalog) -> None:
    viewer = Actor("eve", Via.DASHBOARD, frozenset(Role) - {Role.ADMIN})
    with pytest.raises(ForbiddenError, match="eve may not administer"):
        accounts.add_account(catalog, "mallory", ["admin"], by=viewer)
    assert not catalog.accounts.any()


@pytest.mark.parametrize("change", ["roles", "disabled", "password", "removed", "signed out"])
def test_a_session_ends_at_once_when_its_account_changes(catalog: operations.Catalog, change: str) -> None:
    add_person(catalog, "root", Role.ADMIN)
    add_person(catalog, "alice", Role.VIEWER)
    session = accounts.sign_in(catalog, "alice", PASSWORD)
    assert isinstance(accounts.session_account(catalog, session.token, LIMITS), Account)
    match change:
        case "roles":
            accounts.set_roles(catalog, "alice", ["viewer", "operator"], by=SYSTEM)
        case "disabled":
            accounts.disable_account(catalog, "alice", by=SYSTEM)
        case "password":
            accounts.reset_password(catalog, "alice", by=SYSTEM, password=FIRST, cost=QUICK)
        case "removed":
            accounts.remove_account(catalog, "alice", by=SYSTEM)
        case _:
            accounts.sign_out(catalog, session.token)
    assert isinstance(accounts.session_account(catalog, session.token, LIMITS), Ended)


def test_a_session_ends_when_nobody_uses_it_and_after_its_longest_time(catalog: operations.Catalog) -> None:
    clock = SetClock()
    catalog.signed_in = SignedIn(catalog.sessions, clock=clock)
    add_person(catalog, "alice", Role.VIEWER)
    idle, busy = (accounts.sign_in(catalog, "alice", PASSWORD) for _ in range(2))
    for _ in range(5):
        clock.now += timedelta(minutes=29)
        assert isinstance(accounts.session_account(catalog, busy.token, LIMITS, touch=True), Account)
        accounts.session_account(catalog, idle.token, LIMITS)  # looking alone does not keep it
    assert accounts.session_account(catalog, idle.token, LIMITS) == Ended("idle for too long")
    clock.now += timedelta(minutes=29)
    short = SignInSettings(longest_hours=2)
    assert accounts.session_account(catalog, busy.token, short) == Ended("its longest time was over")
    assert accounts.session_account(catalog, busy.token, LIMITS) == Ended("its longest time was over")
    assert accounts.session_account(catalog, Secret("made up"), LIMITS) == Ended("it is not known")


def test_the_catalog_holds_neither_passwords_nor_tokens(catalog: operations.Catalog) -> None:
    add_person(catalog, "alice", Role.VIEWER)
    session = accounts.sign_in(catalog, "alice", PASSWORD)
    tables = ("accounts", "dashboard_sessions", "audit_log", "approvals")
    with catalog.sessions.transaction() as connection:
        text = str([connection.execute(f"SELECT * FROM {table}".encode()).fetchall() for table in tables])
    assert PASSWORD.reveal() not in text
    assert FIRST.reveal() not in text
    assert session.token.reveal() not in text


# The command line


def test_the_first_admin_is_made_on_the_command_line_and_the_password_is_printed_once(files_product: Product) -> None:
    made = run(files_product, "user", "add", "alice", "--role", "admin", "--role", "viewer")
    assert made.returncode == 0, made.stderr
    one_time = made.stdout.split("one-time password: ")[1].splitlines()[0]
    with operations.open_catalog(files_product.settings) as catalog:
        assert accounts.sign_in(catalog, "alice", Secret(one_time)).account.must_change
    (listed,) = run_json(files_product, "user", "list")  # type: ignore[misc]  # a list of one
    assert (listed["roles"], listed["must_change_password"]) == (["viewer", "admin"], True)
    assert one_time not in run(files_product, "user", "list").stdout


def test_people_are_managed_on_the_command_line(files_product: Product) -> None:
    first, own = files_product.home / "first", files_product.home / "own"
    first.write_text(FIRST.reveal() + "\n")
    own.write_text(PASSWORD.reveal() + "\n")
    for words in (
        ("user", "add", "alice", "--role", "admin", "--password-file", first),
        ("user", "add", "bob", "--role", "viewer", "--password-file", first),
        ("user", "change-password", "bob", "--password-file", first, "--new-password-file", own),
        ("user", "set-roles", "bob", "--role", "operator", "--role", "approver"),
        ("user", "disable", "bob"),
        ("user", "enable", "bob"),
        ("user", "reset-password", "bob", "--password-file", first),
    ):
        done = run(files_product, *words)
        assert done.returncode == 0, (words, done.stderr)
    by_name = {one["name"]: one for one in run_json(files_product, "user", "list")}  # type: ignore[attr-defined]
    assert by_name["bob"]["roles"] == ["operator", "approver"]
    assert by_name["bob"]["must_change_password"]
    assert run(files_product, "user", "remove", "bob").returncode == 0
    rows = run_json(files_product, "audit", "list", "--action", "user", "--subject", "BOB")
    assert [row["action"] for row in rows] == [  # type: ignore[attr-defined]
        "user.remove",
        "user.reset_password",
        "user.enable",
        "user.disable",
        "user.set_roles",
        "user.change_password",
        "user.add",
    ]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("add", "bob", "--role", "boss"), "there is no role 'boss'"),
        (("add", "bob"), "no role is named"),
        (("add", "bob baker", "--role", "viewer"), "cannot be an account's name"),
        (("add", "bob", "--role", "viewer", "--prompt"), "nobody can be asked here"),
        (("remove", "bob"), "no account 'bob'"),
        (("set-roles", "alice", "--role", "viewer"), "the last admin"),
        (("remove", "alice"), "the last admin"),
        (("change-password", "alice"), "nobody can be asked here"),
    ],
)
def test_a_wish_that_cannot_be_is_told_and_changes_nothing(
    files_product: Product, words: tuple[str, ...], told: str
) -> None:
    assert run(files_product, "user", "add", "alice", "--role", "admin").returncode == 0
    before = run_json(files_product, "user", "list")
    done = run(files_product, "user", *words)
    assert done.returncode == 2
    assert told in done.stderr
    assert "To do:" in done.stderr
    assert run_json(files_product, "user", "list") == before


def test_an_unknown_role_names_those_that_there_are(files_product: Product) -> None:
    done = run(files_product, "user", "add", "bob", "--role", "boss", "--json")
    assert "viewer, operator, restorer, approver, admin, auditor" in json.loads(done.stderr)["hint"]
