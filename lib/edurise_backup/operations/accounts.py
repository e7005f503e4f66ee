"""Local accounts: make one, prove a password, sign in to the dashboard.

Whoever is refused hears the same words whatever the reason is: a stranger
learns neither which names there are nor which are locked.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from edurise_backup.catalog.signed_in import Ended
from edurise_backup.errors import ForbiddenError, InputError
from edurise_backup.model.accounts import (
    Account,
    PasswordCost,
    check_new_password,
    checked_name,
    password_record,
    proves,
)
from edurise_backup.model.audit import Outcome
from edurise_backup.model.database import Secret
from edurise_backup.model.people import Actor, Permission, Role, Via, parse_roles
from edurise_backup.model.sign_in import SignInSettings
from edurise_backup.operations.catalogs import Catalog

COST = PasswordCost()


@dataclass(frozen=True, slots=True)
class NewPassword:
    """An account whose password was set by somebody else."""

    account: Account
    one_time: Secret | None
    """To be shown once; None when a password was given."""


@dataclass(frozen=True, slots=True)
class Session:
    """A sign-in: the token stays in the browser's session, on the server's side."""

    token: Secret
    account: Account


def add_account(
    catalog: Catalog,
    name: str,
    roles: Iterable[str],
    *,
    by: Actor,
    password: Secret | None = None,
    cost: PasswordCost = COST,
) -> NewPassword:
    """Make an account; the person must choose another password first of all.

    Without a password a one-time password is made. Raises InputError for a name,
    role or password that cannot be, ConflictError for a name that is taken,
    ForbiddenError.
    """
    by.require(Permission.ADMINISTER)
    given, record = _first_password(checked_name(name), password, cost)
    account = Account(
        id=uuid4(),
        name=name,
        roles=_some(roles),
        created_at=datetime.now(UTC),
        created_by=by.name,
        disabled_at=None,
        must_change=True,
        failures=0,
        locked_until=None,
        last_sign_in_at=None,
    )
    catalog.accounts.add(account, record, by)
    return NewPassword(catalog.accounts.get(name), given)


def set_roles(catalog: Catalog, name: str, roles: Iterable[str], *, by: Actor) -> Account:
    """Give an account these roles and no others; raises InputError, NotFoundError, ConflictError, ForbiddenError."""
    by.require(Permission.ADMINISTER)
    return catalog.accounts.set_roles(name, _some(roles), by)


def disable_account(catalog: Catalog, name: str, *, by: Actor) -> Account:
    """Let an account sign in no more; raises NotFoundError, ConflictError for the last admin, ForbiddenError."""
    by.require(Permission.ADMINISTER)
    return catalog.accounts.disable(name, by)


def enable_account(catalog: Catalog, name: str, *, by: Actor) -> Account:
    """Let an account sign in again, and end its lock; raises NotFoundError, ForbiddenError."""
    by.require(Permission.ADMINISTER)
    return catalog.accounts.enable(name, by)


def remove_account(catalog: Catalog, name: str, *, by: Actor) -> Account:
    """Remove an account; raises NotFoundError, ConflictError for the last admin, ForbiddenError."""
    by.require(Permission.ADMINISTER)
    return catalog.accounts.remove(name, by)


def reset_password(
    catalog: Catalog, name: str, *, by: Actor, password: Secret | None = None, cost: PasswordCost = COST
) -> NewPassword:
    """Give an account a password that must be changed, and end its sessions; raises as `add_account`."""
    by.require(Permission.ADMINISTER)
    given, record = _first_password(catalog.accounts.get(name).name, password, cost)
    return NewPassword(catalog.accounts.set_password(name, record, by, must_change=True), given)


def change_password(
    catalog: Catalog,
    name: str,
    old: Secret,
    new: Secret,
    *,
    via: Via = Via.DASHBOARD,
    session: Secret | None = None,
    cost: PasswordCost = COST,
) -> Account:
    """Choose a password of one's own; other sessions end. Raises ForbiddenError, InputError for a weak or old one."""
    account = prove_password(catalog, name, old, via=via)
    check_new_password(new, account.name)
    if new == old:
        raise InputError("the new password is the old one", safe="nothing was changed", hint="choose another one")
    record = password_record(new, salt=os.urandom(16), cost=cost)
    keep = catalog.signed_in.identity(session.reveal()) if session else None
    return catalog.accounts.set_password(account.name, record, account.actor(via), must_change=False, keep=keep)


def prove_password(catalog: Catalog, name: str, password: Secret, *, via: Via) -> Account:
    """Return the account whose password it is; raises ForbiddenError, for whatever reason, in the same words."""
    attempt = catalog.accounts.begin_attempt(name)
    record = attempt[1] if attempt else password_record(Secret(""), salt=b"nobody's account", cost=COST)
    right = proves(password, record)  # takes as long for a name that nobody has
    if attempt is None or not right:
        who = Actor(attempt[0].name if attempt else "unknown", via)
        catalog.audit.add(who, "user.sign_in", attempt[0].name if attempt else "", outcome=Outcome.REFUSED)
        raise ForbiddenError(
            "the name or the password is wrong, or the account is locked or disabled",
            safe="nothing was done",
            hint="after five failures an account is locked for a minute, then for longer; "
            "an admin sees it with `edurise-backup user list` and ends it with `user enable`",
        )
    catalog.accounts.end_attempt(attempt[0])
    return catalog.accounts.get(attempt[0].name)


def prove_person(catalog: Catalog, name: str, password: Secret) -> Actor:
    """Return the person at this command line as the account that the password proves; raises ForbiddenError."""
    account = prove_password(catalog, name, password, via=Via.COMMAND_LINE)
    if account.must_change:
        raise ForbiddenError(
            f"the password of {account.name} was given by somebody else",
            safe="nothing was done",
            hint=f"choose one of your own first: `edurise-backup user change-password {account.name}`, or sign in to "
            "the dashboard",
        )
    return account.actor(Via.COMMAND_LINE)


def sign_in(catalog: Catalog, name: str, password: Secret) -> Session:
    """Begin a session of the dashboard; raises ForbiddenError."""
    account = prove_password(catalog, name, password, via=Via.DASHBOARD)
    token = Secret(secrets.token_urlsafe(32))
    catalog.signed_in.begin(account, uuid4(), token.reveal())
    return Session(token, account)


def session_account(
    catalog: Catalog, token: Secret, settings: SignInSettings, *, touch: bool = False
) -> Account | Ended:
    """Return whose session it is, with the roles of now, or why it has ended; `touch` notes that it is used."""
    return catalog.signed_in.account(
        token.reveal(),
        idle=timedelta(minutes=settings.idle_minutes),
        longest=timedelta(hours=settings.longest_hours),
        touch=touch,
    )


def sign_out(catalog: Catalog, token: Secret) -> None:
    """End a session."""
    catalog.signed_in.end(token.reveal())


def _some(roles: Iterable[str]) -> frozenset[Role]:
    found = parse_roles(roles)
    if not found:
        raise InputError(
            "no role is named", safe="nothing was changed", hint="give at least one: --role viewer, --role admin, …"
        )
    return found


def _first_password(name: str, password: Secret | None, cost: PasswordCost) -> tuple[Secret | None, str]:
    one_time = None if password else Secret(secrets.token_urlsafe(15))
    chosen = password or one_time
    assert chosen is not None
    check_new_password(chosen, name)
    return one_time, password_record(chosen, salt=os.urandom(16), cost=cost)
