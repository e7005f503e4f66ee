"""Who may do what in the dashboard: every action for every role, through the functions that the buttons call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import UUID, uuid4

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import administering, people, queries
from dashboard.frame import may_see
from edurise_backup import operations
from edurise_backup.catalog.signed_in import IDLE
from edurise_backup.errors import ConflictError, ForbiddenError, UnreachableError
from edurise_backup.model.audit import AuditFilters, Outcome
from edurise_backup.model.jobs import BackupType, JobId, RecoveryTarget
from edurise_backup.model.people import PERMITS, SYSTEM, Actor, Permission, Role, Via
from edurise_backup.operations import accounts
from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port
from tests.support.people import FIRST, PASSWORD, QUICK, add_person, sign_in_to, token_of
from tests.support.product import configure

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1))"
BACKUP = JobId(UUID(int=1))
TARGET = RecoveryTarget(directory="/srv/restored")

ACTIONS: dict[str, tuple[Permission, Callable[[], object]]] = {
    "back_up": (Permission.OPERATE, lambda: queries.actions().back_up(BackupType.FILES)),
    "verify": (Permission.OPERATE, lambda: queries.actions().verify(BACKUP)),
    "check": (Permission.OPERATE, lambda: queries.actions().check("5%")),
    "dry run": (Permission.OPERATE, lambda: queries.actions().prune(dry_run=True)),
    "prune": (Permission.ADMINISTER, lambda: queries.actions().prune(dry_run=False)),
    "recover": (Permission.RESTORE, lambda: queries.actions().recover(BACKUP, TARGET)),
    "user.add": (Permission.ADMINISTER, lambda: administering.add_account("new", ["viewer"])),
    "user.set_roles": (Permission.ADMINISTER, lambda: administering.set_roles("target", ["operator"])),
    "user.disable": (Permission.ADMINISTER, lambda: administering.set_enabled("target", enabled=False)),
    "user.enable": (Permission.ADMINISTER, lambda: administering.set_enabled("target", enabled=True)),
    "user.reset": (Permission.ADMINISTER, lambda: administering.reset_password("target")),
    "user.remove": (Permission.ADMINISTER, lambda: administering.remove_account("target")),
    "approve": (Permission.APPROVE, lambda: administering.decide(waiting(), agreed=True, note="")),
    "deny": (Permission.APPROVE, lambda: administering.decide(waiting(), agreed=False, note="")),
    "audit": (Permission.AUDIT, lambda: administering.audit_rows(AuditFilters(), limit=5)),
    "chain": (Permission.AUDIT, administering.check_chain),
}
WITHOUT_A_ROW = {"audit"}
"""Reading leaves no row."""


def waiting() -> UUID:
    return queries.catalog().approvals.waiting()[0].id


@pytest.fixture(autouse=True)
def fresh(tmp_path: Path, catalog_database: Address, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test is a server of its own, with an empty catalog, and a Prefect server that is not there."""
    path = configure(tmp_path, catalog_database)
    path.write_text(path.read_text() + f'[prefect]\napi_url = "http://{LOOPBACK}:{free_port()}/api"\n')
    monkeypatch.setenv("EDURISE_CONFIG", str(path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.syspath_prepend(str(DASHBOARD.parent))
    monkeypatch.setattr(accounts, "COST", QUICK)
    st.session_state.clear()
    yield
    st.session_state.clear()
    st.cache_data.clear()
    st.cache_resource.clear()


@pytest.fixture
def catalog() -> operations.Catalog:
    """Give the catalog that the pages read, with an admin, a target and something to decide."""
    found = queries.catalog()
    for name in ("root", "target"):
        add_person(found, name, Role.ADMIN if name == "root" else Role.VIEWER)
    found.approvals.request(Actor("root", Via.DASHBOARD), "key.remove", "{}")
    return found


def be(catalog: operations.Catalog, *roles: Role) -> None:
    """Let a person with these roles be the one who clicks."""
    add_person(catalog, "somebody", *roles)
    st.session_state[people.TOKEN] = token_of(catalog, "somebody")


def newest(catalog: operations.Catalog) -> tuple[str, Outcome]:
    row = catalog.audit.newest(limit=1)[0]
    return row.actor, row.outcome


def queued(catalog: operations.Catalog) -> int:
    tables = ("backup_jobs", "verification_jobs", "recovery_jobs", "maintenance_jobs")
    with catalog.sessions.transaction() as connection:
        counts = [connection.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() for table in tables]
    return sum(int(str(count[0])) for count in counts if count)


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("action", list(ACTIONS))
def test_an_action_is_for_the_roles_that_permit_it_and_leaves_a_row(
    catalog: operations.Catalog, role: Role, action: str
) -> None:
    permission, act = ACTIONS[action]
    be(catalog, role)
    if permission not in PERMITS[role]:
        with pytest.raises(ForbiddenError, match=f"somebody may not {permission.value}"):
            act()
        if action not in WITHOUT_A_ROW:
            assert newest(catalog) == ("somebody", Outcome.REFUSED)
    elif permission in (Permission.OPERATE, Permission.RESTORE) or action == "prune":
        with pytest.raises(UnreachableError, match="Prefect"):  # asked after the role
            act()
        assert newest(catalog) == ("somebody", Outcome.FAILED)
    else:
        act()
        if action not in WITHOUT_A_ROW | {"chain"}:
            assert newest(catalog) == ("somebody", Outcome.DONE)
    assert queued(catalog) == 0


@pytest.mark.parametrize("action", list(ACTIONS))
def test_nobody_and_whoever_is_no_longer_somebody_may_do_nothing(catalog: operations.Catalog, action: str) -> None:
    with pytest.raises(ForbiddenError, match="nobody is signed in"):
        ACTIONS[action][1]()
    be(catalog, *Role)
    accounts.disable_account(catalog, "somebody", by=SYSTEM)
    with pytest.raises(ForbiddenError, match="the account was disabled"):
        ACTIONS[action][1]()


def test_a_role_that_was_taken_away_counts_from_the_next_click_on(catalog: operations.Catalog) -> None:
    be(catalog, Role.ADMIN)
    administering.set_enabled("target", enabled=True)
    with catalog.sessions.transaction() as connection:  # even when somebody forgot to end the sessions
        connection.execute("UPDATE accounts SET roles = '{viewer}' WHERE name = 'somebody'")
    with pytest.raises(ForbiddenError, match="may not administer"):
        administering.set_enabled("target", enabled=True)


def test_nobody_decides_his_own_request_nor_takes_the_last_admin_away(catalog: operations.Catalog) -> None:
    st.session_state[people.TOKEN] = token_of(catalog, "root")
    with pytest.raises(ConflictError, match="the last admin"):
        administering.set_roles("root", ["viewer"])
    accounts.set_roles(catalog, "root", ["admin", "approver"], by=SYSTEM)
    st.session_state[people.TOKEN] = token_of(catalog, "root")
    with pytest.raises(ForbiddenError, match="cannot approve it"):
        administering.decide(waiting(), agreed=True, note="")


class _Prefect(BaseHTTPRequestHandler):
    """As much of Prefect's API as a start needs."""

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer()

    def _answer(self) -> None:
        body = f'{{"id": "{uuid4()}", "name": "a-run"}}'.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


def test_what_was_started_has_a_row_with_the_person_and_the_job(
    catalog: operations.Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    be(catalog, Role.OPERATOR)
    with ThreadingHTTPServer((LOOPBACK, 0), _Prefect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PREFECT_API_URL", f"http://{LOOPBACK}:{server.server_address[1]}/api")
        queries.settings.clear()
        queries.actions.clear()
        launched = queries.actions().back_up(BackupType.FILES)
        server.shutdown()
    (row,) = catalog.audit.newest(limit=1)
    assert (row.actor, row.action, row.subject) == ("somebody", "backup.start", str(launched.job_id))
    assert queued(catalog) == 1


# Before there is an account


def test_without_an_account_the_person_at_the_machine_starts_backups_and_lets_nobody_in() -> None:
    assert people.visitor().unnamed
    with pytest.raises(UnreachableError):
        queries.actions().back_up(BackupType.FILES)
    for act in (
        lambda: administering.add_account("mallory", ["admin"]),
        lambda: queries.actions().prune(dry_run=False),
    ):
        with pytest.raises(ForbiddenError, match="unnamed@"):
            act()


def test_without_an_account_nobody_is_let_in_from_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", "0.0.0.0")  # noqa: S104
    with pytest.raises(ForbiddenError, match="can be reached from other machines"):
        queries.actions().back_up(BackupType.FILES)


# Pages


def app() -> AppTest:
    return AppTest.from_file(str(DASHBOARD / "app.py"), default_timeout=60)


def administration() -> AppTest:
    return AppTest.from_file(str(DASHBOARD / "views" / "administration.py"), default_timeout=60)


def everything_on(shown: AppTest) -> str:
    elements = [
        *shown.title,
        *shown.markdown,
        *shown.caption,
        *shown.info,
        *shown.warning,
        *shown.error,
        *shown.success,
    ]
    return "\n".join(str(element.value) for element in elements)


def labels(shown: AppTest) -> list[str]:
    return [button.label for button in shown.button]


def press(shown: AppTest, label: str) -> AppTest:
    next(button for button in shown.button if button.label == label).click()
    return shown.run()


def test_before_the_first_account_the_frame_says_how_to_make_one() -> None:
    shown = app().run()
    assert not shown.exception
    assert "There is no account yet" in everything_on(shown)
    assert "edurise-backup user add" in everything_on(shown)


def test_a_person_signs_in_changes_the_first_password_and_signs_out(catalog: operations.Catalog) -> None:
    accounts.add_account(catalog, "alice", ["viewer"], by=SYSTEM, password=FIRST, cost=QUICK)
    shown = app().run()
    assert labels(shown) == ["Sign in"]
    for password, told in (
        ("wrong password", "the name or the password is wrong"),
        (FIRST.reveal(), "Choose a password"),
    ):
        shown.text_input(key="sign-in name").set_value("alice")
        shown.text_input(key="sign-in password").set_value(password)
        press(shown, "Sign in")
        assert not shown.exception
        assert told in everything_on(shown)
    shown.text_input(key="old password").set_value(FIRST.reveal())
    for again, told in (("something else", "the two new passwords differ"), (PASSWORD.reveal(), "alice")):
        shown.text_input(key="old password").set_value(FIRST.reveal())
        shown.text_input(key="new password").set_value(PASSWORD.reveal())
        shown.text_input(key="new password again").set_value(again)
        press(shown, "Change it")
        assert not shown.exception
        assert told in everything_on(shown)
    assert "Back up now" in labels(shown)
    press(shown, "Sign out")
    assert labels(shown) == ["Sign in"]


def test_a_session_that_has_ended_shows_the_sign_in_and_why(catalog: operations.Catalog) -> None:
    shown = sign_in_to(app(), catalog, "alice", Role.VIEWER).run()
    assert "Back up now" in labels(shown)
    with catalog.sessions.transaction() as connection:
        connection.execute("UPDATE dashboard_sessions SET last_used_at = last_used_at - interval '1 hour'")
    shown.run()
    assert labels(shown) == ["Sign in"]
    assert "idle for too long" in everything_on(shown)
    assert IDLE in {row[0] for row in ended(catalog)}


def test_buttons_that_a_role_does_not_permit_are_disabled_and_say_which_it_takes(catalog: operations.Catalog) -> None:
    for role, allowed in ((Role.VIEWER, False), (Role.OPERATOR, True)):
        shown = sign_in_to(app(), catalog, role.value, role).run()
        (button,) = [one for one in shown.button if one.label == "Back up now"]
        assert (button.disabled, "Needs the role operator, admin" in (button.help or "")) == (not allowed, not allowed)


def ended(catalog: operations.Catalog) -> list[tuple[object, ...]]:
    with catalog.sessions.transaction() as connection:
        return connection.execute("SELECT end_reason FROM dashboard_sessions").fetchall()


@pytest.mark.parametrize("role", list(Role))
def test_pages_are_shown_by_role(role: Role) -> None:
    actor = Actor("x", Via.DASHBOARD, frozenset({role}))
    assert may_see(actor, "")
    assert may_see(actor, "administration") is (role in (Role.APPROVER, Role.ADMIN, Role.AUDITOR))


@pytest.mark.parametrize(
    ("role", "sections"),
    [
        (Role.VIEWER, set()),
        (Role.APPROVER, {"Approvals"}),
        (Role.AUDITOR, {"Approvals", "People", "Keys of the repository", "Audit trail"}),
        (Role.ADMIN, {"Approvals", "People", "Keys of the repository", "Audit trail"}),
    ],
)
def test_the_page_shows_the_sections_of_the_role(catalog: operations.Catalog, role: Role, sections: set[str]) -> None:
    shown = sign_in_to(administration(), catalog, "alice", role).run()
    assert not shown.exception
    assert {heading.value for heading in shown.subheader} == sections
    assert ("Remove" in labels(shown)) is (role is Role.ADMIN)
    assert ("Approve" in labels(shown)) is (role is Role.APPROVER)


def test_an_approver_sees_the_plan_and_decides(catalog: operations.Catalog) -> None:
    catalog.approvals.request(Actor(HOSTILE, Via.COMMAND_LINE), "key.remove", '{"key":"**abc**"}')
    shown = sign_in_to(administration(), catalog, "alice", Role.APPROVER).run()
    assert HOSTILE not in everything_on(shown)
    assert "**abc**" in shown.code[1].value
    press(shown, "Approve")
    assert not shown.exception
    assert [approval.decided_by for approval in catalog.approvals.newest()] == [None, "alice"]
    press(shown, "Deny")
    assert catalog.approvals.waiting() == ()


def test_an_admin_manages_people_and_sees_a_one_time_password_once(catalog: operations.Catalog) -> None:
    shown = sign_in_to(administration(), catalog, "root").run()
    shown.text_input(key="new account name").set_value("carol")
    shown.multiselect(key="new account roles").set_value(["operator"])
    press(shown, "Make the account")
    assert not shown.exception
    assert "carol signs in once with the password" in everything_on(shown)
    assert "signs in once" not in everything_on(shown.run())
    shown.selectbox(key="account").set_value("root").run()
    press(shown, "Disable")
    assert "the last admin" in everything_on(shown)
    shown.selectbox(key="account").set_value("carol").run()
    press(shown, "Disable")
    assert not catalog.accounts.get("carol").enabled
    shown.text_input(key="removal confirmation").set_value("carol").run()
    press(shown, "Remove")
    assert "carol" not in {account.name for account in catalog.accounts.all()}


def test_an_auditor_filters_the_trail_and_follows_the_chain(catalog: operations.Catalog) -> None:
    catalog.audit.add(Actor(HOSTILE, Via.FLOW), "test.add", "the one")
    shown = sign_in_to(administration(), catalog, "alice", Role.AUDITOR).run()
    assert "never anchored" in everything_on(shown)
    shown.text_input(key="audit action").set_value("test").run()
    assert list(shown.dataframe[-1].value["About"]) == ["the one"]
    press(shown, "Follow the chain now")
    assert "rows follow each other" in everything_on(shown)
    with catalog.sessions.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE audit_log SET actor = 'x' WHERE seq = 2")
    press(shown, "Follow the chain now")
    assert "row 2 was altered" in everything_on(shown)
    assert HOSTILE not in everything_on(shown)
