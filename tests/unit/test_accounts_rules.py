"""Names, passwords and locks of accounts; roles by the claims of an identity provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.people import only_this_machine, provider_visitor
from edurise_backup.errors import DamageError, ForbiddenError, InputError
from edurise_backup.model.accounts import (
    LONGEST_LOCK,
    TRIES,
    PasswordCost,
    check_new_password,
    checked_name,
    lock_after,
    password_record,
    proves,
)
from edurise_backup.model.approvals import person, plan_hash, plan_text
from edurise_backup.model.database import Secret
from edurise_backup.model.people import Role
from edurise_backup.model.sign_in import GrantSettings, SignInSettings, actor_of_claims

NOW = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
QUICK = PasswordCost(n=16)
SETTINGS = SignInSettings(
    provider="oidc",
    grant=(
        GrantSettings(claim="groups", value="backup-admins", roles=(Role.ADMIN,)),
        GrantSettings(claim="email", value="bob@school.org", roles=(Role.APPROVER, Role.VIEWER)),
    ),
)


def test_a_password_is_proved_by_its_record_alone_and_no_two_records_are_alike() -> None:
    password = Secret("a password of some length")
    one, other = (password_record(password, salt=salt * 16, cost=QUICK) for salt in (b"a", b"b"))
    assert one != other
    assert proves(password, one)
    assert not proves(Secret("another password of it"), one)
    assert password.reveal() not in one


@pytest.mark.parametrize("record", ["", "scrypt$16$8", "argon2$16$8$1$YQ==$YQ==", "scrypt$1073741824$8$1$YQ==$YQ=="])
def test_a_record_that_is_none_or_asks_for_all_memory_lets_nobody_in(record: str) -> None:
    with pytest.raises(DamageError):
        proves(Secret("a password of some length"), record)


@pytest.mark.parametrize("text", ["short", "x" * 257, "abababababababab", "alice.baker1"])
def test_a_weak_password_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(InputError, match="the password"):
        check_new_password(Secret(text), "alice.baker")


@pytest.mark.parametrize("name", ["", " alice", "alice bob", "alíce", "-alice", "a" * 65, "alice\n", "<b>alice</b>"])
def test_a_name_that_could_be_mistaken_for_another_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="cannot be an account's name"):
        checked_name(name)


def test_the_lock_comes_after_a_few_failures_and_doubles_up_to_an_hour() -> None:
    assert lock_after(TRIES - 1, NOW) is None
    delays = [(lock_after(TRIES + more, NOW) or NOW) - NOW for more in range(20)]
    assert delays[:4] == [timedelta(minutes=minutes) for minutes in (1, 2, 4, 8)]
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_LOCK
    assert lock_after(10**9, NOW) == NOW + LONGEST_LOCK


def test_names_of_one_person_are_one_person() -> None:
    assert {person(name) for name in ("alice", "Alice", "ALICE@host", "alice@school.org")} == {"alice"}


def test_the_same_plan_has_the_same_hash_in_whatever_order_it_is_written() -> None:
    assert plan_text({"b": 1, "a": [2]}) == plan_text({"a": [2], "b": 1}) == '{"a":[2],"b":1}'
    assert plan_hash(plan_text({"a": 1})) != plan_hash(plan_text({"a": "1"}))
    with pytest.raises(TypeError):
        plan_text({"a": NOW})


def test_claims_grant_the_roles_that_the_configuration_names() -> None:
    admin = actor_of_claims({"email": "alice@school.org", "groups": ["staff", "backup-admins"]}, SETTINGS)
    assert (admin.name, admin.roles) == ("alice@school.org", {Role.ADMIN})
    bob = actor_of_claims({"email": "Bob@School.org", "email_verified": True}, SETTINGS)
    assert bob.roles == {Role.APPROVER, Role.VIEWER}


@pytest.mark.parametrize(
    ("claims", "told"),
    [
        ({"email": "eve@school.org", "groups": ["backup-admin"]}, "has no role here"),
        ({"email": "eve@school.org", "groups": "x backup-admins"}, "has no role here"),
        ({"email": "bob@school.org", "email_verified": False}, "says no email of you"),
        ({"groups": ["backup-admins"]}, "says no email of you"),
        ({"email": 7}, "says no email of you"),
    ],
)
def test_whom_no_claim_grants_a_role_is_refused(claims: dict[str, object], told: str) -> None:
    with pytest.raises(ForbiddenError, match=told):
        actor_of_claims(claims, SETTINGS)


def test_a_sign_in_with_the_provider_that_is_too_old_or_of_no_time_lets_nobody_act() -> None:
    claims = {"email": "bob@school.org", "iat": int(NOW.timestamp())}
    assert provider_visitor(claims, SETTINGS, NOW + timedelta(hours=11)).actor
    assert provider_visitor(claims, SETTINGS, NOW + timedelta(hours=13)).actor is None
    assert provider_visitor({"email": "bob@school.org"}, SETTINGS, NOW).actor is None
    assert "no role here" in provider_visitor({**claims, "email": "eve@school.org"}, SETTINGS, NOW).why


@pytest.mark.parametrize(
    ("address", "headers", "here"),
    [
        ("127.0.0.1", {}, True),
        ("localhost", {"Host": "localhost:8501"}, True),
        ("::1", {"host": "[::1]:8501"}, True),
        ("127.0.0.1", {"Host": "rebound.example:8501"}, False),
        ("127.0.0.1", {"Host": "127.0.0.1:8501", "X-Forwarded-For": "10.0.0.1"}, False),
        ("0.0.0.0", {"Host": "localhost:8501"}, False),  # noqa: S104
        (None, {"Host": "localhost:8501"}, False),
        ("", {}, False),
    ],
)
def test_only_a_request_of_this_machine_counts_as_one(address: str | None, headers: dict[str, str], here: bool) -> None:
    assert only_this_machine(address, headers) is here
