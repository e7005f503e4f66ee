"""The section of people: accounts, their roles, and what an admin does with them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import streamlit as st

from dashboard import administering, queries
from dashboard import formatting as words
from dashboard.readings import read_or_stale, show_error
from edurise_backup.errors import BackupError
from edurise_backup.model.accounts import Account
from edurise_backup.model.people import Actor, Permission, Role
from edurise_backup.operations.accounts import NewPassword

_SAID = "said of people"
ROLES = tuple(role.value for role in Role)


def show_people(actor: Actor) -> None:
    """Show the accounts, and the forms that change them."""
    st.subheader("People")
    if queries.settings().sign_in.provider == "oidc":
        st.caption(
            "People sign in with the identity provider; their roles are in [[sign_in.grant]] of the configuration."
        )
        return
    show_said()
    found = read_or_stale("accounts", administering.all_accounts)
    if found is None:
        return
    now = datetime.now(UTC)
    if not found.value:
        st.caption("There is no account yet: `edurise-backup user add NAME --role admin` makes the first one.")
        return
    st.dataframe([row(account, now) for account in found.value], width="stretch", hide_index=True)
    if not actor.may(Permission.ADMINISTER):
        return
    add, change = st.columns(2)
    with add:
        show_new()
    with change:
        show_change(found.value)


def show_said() -> None:
    """Show, once, what the last act has to say: a one-time password is not kept anywhere."""
    said: str | None = st.session_state.pop(_SAID, None)
    if said:
        st.success(said, icon=":material/check_circle:")


def show_new() -> None:
    """Ask for a new account."""
    with st.form("new account", clear_on_submit=True):
        name = st.text_input("Name", key="new account name", max_chars=64)
        roles = st.multiselect("Roles", ROLES, key="new account roles")
        pressed = st.form_submit_button("Make the account", icon=":material/person_add:")
    if pressed:
        act(lambda: one_time(administering.add_account(name.strip(), roles)))


def show_change(accounts: tuple[Account, ...]) -> None:
    """Let an admin pick an account and change it."""
    named = {account.name: account for account in accounts}
    if not named:
        return
    chosen = st.selectbox("Account", tuple(named), key="account")
    account = named[chosen]
    roles = st.multiselect(
        "Its roles", ROLES, default=[role for role in ROLES if role in account.roles], key=f"roles {account.id}"
    )
    if st.button("Set the roles", key="set roles", icon=":material/badge:"):
        act(lambda: said(administering.set_roles(chosen, roles), f"{chosen} has other roles, and must sign in anew"))
    if account.enabled and st.button("Disable", key="disable", icon=":material/person_off:"):
        act(lambda: said(administering.set_enabled(chosen, enabled=False), f"{chosen} may not sign in any more"))
    if st.button("Enable, and end a lock", key="enable", icon=":material/lock_open:"):
        act(lambda: said(administering.set_enabled(chosen, enabled=True), f"{chosen} may sign in"))
    if st.button("Reset the password", key="reset password", icon=":material/password:"):
        act(lambda: one_time(administering.reset_password(chosen)))
    typed = st.text_input(f"Type {chosen} to remove the account", key="removal confirmation")
    if st.button("Remove", key="remove account", icon=":material/person_remove:", disabled=typed != chosen):
        act(lambda: said(administering.remove_account(chosen), f"the account {chosen} is removed"))


def act(work: Callable[[], str]) -> None:
    """Do it and show the page anew, or show why it was not done."""
    try:
        st.session_state[_SAID] = work()
    except BackupError as error:
        show_error(error)
        return
    st.rerun()


def said(_done: Account, text: str) -> str:
    """Return what to say of something that is done."""
    return words.plain(text)


def one_time(made: NewPassword) -> str:
    """Return what to say of an account with a new password."""
    assert made.one_time is not None
    return (
        f"{words.plain(made.account.name)} signs in once with the password "
        f"`{made.one_time.reveal()}` and must change it then. It is shown this once."
    )


def row(account: Account, now: datetime) -> dict[str, str]:
    """Return an account as a line of the table; cells are text, never markup."""
    return {
        "Name": account.name,
        "Roles": ", ".join(role for role in ROLES if role in account.roles),
        "State": state(account, now),
        "Last sign-in": words.moment_text(account.last_sign_in_at),
        "Failed attempts since": str(account.failures),
        "Made": words.moment_text(account.created_at),
        "Made by": account.created_by,
    }


def state(account: Account, now: datetime) -> str:
    """Return in words with an icon whether the account can sign in."""
    if not account.enabled:
        return "■ disabled"
    if account.locked_until and account.locked_until > now:
        return f"… locked until {words.moment_text(account.locked_until)}"
    return "! must change its password" if account.must_change else "✓ active"
