"""Who sits before this page: asked anew for every act, in the catalog, not in the browser's session.

The browser's session holds a token only. With local accounts the catalog says
whose it is and what he may do now; with an identity provider its claims and the
configuration do. As long as there is no account at all, whoever reaches the
dashboard on its own machine may look, back up, verify and recover.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from dashboard import queries
from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError, ForbiddenError
from edurise_backup.model.accounts import Account
from edurise_backup.model.audit import Outcome
from edurise_backup.model.database import Secret
from edurise_backup.model.people import PERMITS, Actor, Permission, Role, Via
from edurise_backup.model.sign_in import SignInSettings, actor_of_claims, claimed_name
from edurise_backup.operations import accounts

TOKEN = "signed in"  # noqa: S105  the name of a place in the session, not what lies there
NOBODY = "nobody is signed in"
_LAST = "last visitor"
_ENDED = "why the session ended"
_NOTED = "whom the audit trail names"
UNNAMED_ROLES = frozenset({Role.VIEWER, Role.OPERATOR, Role.RESTORER, Role.AUDITOR})
"""What the person at the machine may do before there is an account: nothing that removes, weakens or lets in."""
NO_ACCOUNT = """\
**There is no account yet: whoever uses this machine may back up, verify and recover here.** Prunes, schedules,
approvals and people need accounts. Make the first one on the command line; from then on a sign-in is asked for:
`edurise-backup user add YOUR-NAME --role admin`"""
_NOT_HERE = """\
there is no account yet, and this dashboard can be reached from other machines: nobody is let in"""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is there, as far as it is known."""

    actor: Actor | None
    why: str = ""
    """Why nobody may act, for a visitor without an actor."""
    must_change: str = ""
    """The account whose password must be changed before anything else."""
    unnamed: bool = False


def visitor(*, touch: bool = False) -> Visitor:
    """Return who is there now; `touch`: the person did something. Raises UnreachableError and its kin."""
    settings = queries.settings().sign_in
    if settings.provider == "oidc":
        return _of_provider()
    token: Secret | None = st.session_state.get(TOKEN)
    if token is not None:
        return _of_session(token, settings, touch=touch)
    if queries.catalog().accounts.any():
        return Visitor(None, st.session_state.get(_ENDED, NOBODY))
    if not only_this_machine(_listens_on(), _headers()):
        return Visitor(None, _NOT_HERE)
    return Visitor(Actor(f"unnamed@{socket.gethostname()}", Via.DASHBOARD, UNNAMED_ROLES), unnamed=True)


def admitted() -> Visitor:
    """Return who may see pages now; while the catalog does not answer, whoever was let in a short while ago.

    That is for old figures only: actions ask `current_actor`. Raises as `visitor`.
    """
    now = datetime.now(UTC)
    try:
        there = visitor(touch=True)
    except BackupError:
        last: tuple[Visitor, datetime] | None = st.session_state.get(_LAST)
        if last is None or now - last[1] > timedelta(minutes=queries.settings().sign_in.idle_minutes):
            raise
        return last[0]
    if queries.settings().sign_in.provider == "oidc":
        _note_arrival(there)
    if there.actor is not None:
        st.session_state[_LAST] = (there, now)
    elif _LAST in st.session_state:
        _forget(_ENDED, TOKEN)
    return there


def current_actor(*, touch: bool = False) -> Actor:
    """Return the person whose session this is; every action asks again, and checks the role. Raises ForbiddenError."""
    there = visitor(touch=touch)
    if there.actor is None:
        raise ForbiddenError(there.why, safe="nothing was done", hint="sign in, then try again")
    return there.actor


def button(label: str, permission: Permission, place: DeltaGenerator | None = None, **options: object) -> bool:
    """Draw a button that is disabled, with the reason, for who may not do what it does; the action itself asks again.

    Whose page it is was found when the page began (`admitted`).
    """
    last: tuple[Visitor, datetime] | None = st.session_state.get(_LAST)
    if last is not None and last[0].actor is not None and not last[0].actor.may(permission):
        roles = ", ".join(role.value for role in Role if permission in PERMITS[role])
        options |= {"disabled": True, "help": f"Needs the role {roles}"}
    return (place or st.container()).button(label, **options)  # type: ignore[arg-type]  # as `st.button` takes them


def permitted(permission: Permission, action: str, subject: str = "") -> Actor:
    """Return the person when a role permits it; else write that it was refused, and raise ForbiddenError."""
    who = Actor("nobody signed in", Via.DASHBOARD)
    try:
        who = current_actor(touch=True)
        who.require(permission)
    except ForbiddenError:
        queries.catalog().audit.add(who, action, subject, outcome=Outcome.REFUSED)
        raise
    return who


def sign_in(name: str, password: Secret) -> Account:
    """Begin a session of this browser; raises ForbiddenError."""
    session = accounts.sign_in(queries.catalog(), name, password)
    st.session_state[TOKEN] = session.token
    st.session_state.pop(_ENDED, None)
    return session.account


def change_password(name: str, old: Secret, new: Secret) -> None:
    """Choose another password, and stay signed in here; raises ForbiddenError, InputError."""
    accounts.change_password(queries.catalog(), name, old, new, session=st.session_state.get(TOKEN))


def sign_out() -> None:
    """End this browser's session."""
    token: Secret | None = st.session_state.get(TOKEN)
    noted: str = st.session_state.get(_NOTED, "")
    _forget()
    if token is not None:
        accounts.sign_out(queries.catalog(), token)
    if queries.settings().sign_in.provider == "oidc":
        if noted:
            queries.catalog().audit.add(Actor(noted, Via.DASHBOARD), "user.sign_out", noted)
        st.logout()


def _forget(*kept: str) -> None:
    """Leave nothing of what was read or typed to whoever sits there next."""
    for name in list(st.session_state):
        if name not in kept:
            del st.session_state[name]


def only_this_machine(address: str | None, headers: Mapping[str, str]) -> bool:
    """Whether only people at this machine can have sent this: the server listens on loopback, with no proxy before it.

    The name in the request must be the loopback's, too: a page of somebody
    else's can point its own name at 127.0.0.1 (DNS rebinding). Pure.
    """
    if not _loopback(address or "0.0.0.0"):  # noqa: S104  what Streamlit does when nothing is set
        return False
    given = {name.casefold(): value for name, value in headers.items()}
    if any(name in given for name in ("forwarded", "x-forwarded-for", "x-real-ip", "x-forwarded-host")):
        return False
    host = given.get("host")
    return host is None or _loopback(host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host)


def _loopback(host: str) -> bool:
    name = host.strip("[]").casefold()
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _listens_on() -> str | None:
    address: str | None = st.get_option("server.address")
    return address or os.environ.get("STREAMLIT_SERVER_ADDRESS")  # Streamlit's own variable; its server puts it first


def _headers() -> Mapping[str, str]:
    return st.context.headers.to_dict()


def _of_session(token: Secret, settings: SignInSettings, *, touch: bool) -> Visitor:
    found = accounts.session_account(queries.catalog(), token, settings, touch=touch)
    if not isinstance(found, Account):
        why = f"this session has ended: {found.reason}"
        st.session_state.pop(TOKEN, None)
        st.session_state[_ENDED] = why  # until somebody signs in: the page that says it comes next
        return Visitor(None, why)
    if found.must_change:
        return Visitor(None, "the password must be changed first", must_change=found.name)
    return Visitor(found.actor(Via.DASHBOARD))


def _note_arrival(there: Visitor) -> None:
    """Leave a row of whom the provider sends, once for each session of a browser; of one without a role here, too."""
    if not getattr(st.user, "is_logged_in", False):
        return
    name = there.actor.name if there.actor else claimed_name(st.user.to_dict(), queries.settings().sign_in)
    if st.session_state.get(_NOTED) == name:
        return
    outcome = Outcome.DONE if there.actor else Outcome.REFUSED
    queries.catalog().audit.add(Actor(name, Via.DASHBOARD), "user.sign_in", name, outcome=outcome)
    st.session_state[_NOTED] = name


def _of_provider() -> Visitor:
    settings = load_settings(queries.settings().path).sign_in  # grants count as the file says them now
    if not getattr(st.user, "is_logged_in", False):
        return Visitor(None, NOBODY)
    return provider_visitor(st.user.to_dict(), settings, datetime.now(UTC))


def provider_visitor(claims: Mapping[str, object], settings: SignInSettings, now: datetime) -> Visitor:
    """Return whom the provider's claims name; nobody when they are too old, or grant nothing. Pure."""
    issued = claims.get("iat")
    if (
        not isinstance(issued, int | float)
        or now.timestamp() - issued > timedelta(hours=settings.longest_hours).total_seconds()
    ):
        return Visitor(None, "this sign-in is too old: sign out, and in again")
    try:
        return Visitor(actor_of_claims(claims, settings))
    except BackupError as error:
        return Visitor(None, " ".join(error.lines()))
