"""Sign in, or choose a password of one's own: what stands in every page's place for whom is not known."""

from __future__ import annotations

import streamlit as st
from streamlit.errors import StreamlitAuthError

from dashboard import formatting as words
from dashboard import people, queries
from dashboard.readings import show_error
from edurise_backup.errors import BackupError, ConfigError, InputError
from edurise_backup.model.accounts import SHORTEST
from edurise_backup.model.database import Secret


def show() -> None:
    """Draw the sign-in."""
    st.title("EduRise Backup")
    try:
        there = people.visitor()
    except BackupError as error:
        show_error(error)
        return
    if there.must_change:
        show_change(there.must_change)
        return
    if there.why != people.NOBODY:
        st.warning(words.plain(there.why), icon=":material/lock:")
    if queries.settings().sign_in.provider == "oidc":
        show_provider()
    else:
        show_form()


def show_form() -> None:
    """Ask for a name and a password."""
    with st.form("sign in", clear_on_submit=True):
        name = st.text_input("Name", key="sign-in name", autocomplete="username", max_chars=64)
        password = st.text_input("Password", type="password", key="sign-in password", max_chars=256)
        pressed = st.form_submit_button("Sign in", type="primary", icon=":material/login:")
    st.caption(
        words.plain("No account, or locked out? An admin makes and unlocks accounts with") + " `edurise-backup user`."
    )
    if not pressed:
        return
    try:
        people.sign_in(name.strip(), Secret(password))
    except BackupError as error:
        show_error(error)
        return
    st.rerun()


def show_change(name: str) -> None:
    """Ask for a password of one's own, in place of the one that somebody else knows."""
    st.info(f"Welcome, {words.plain(name)}. Choose a password that nobody else knows.", icon=":material/key:")
    with st.form("change password", clear_on_submit=True):
        old = st.text_input("Password so far", type="password", key="old password", max_chars=256)
        new = st.text_input(f"New password, at least {SHORTEST} characters", type="password", key="new password")
        again = st.text_input("New password once more", type="password", key="new password again")
        pressed = st.form_submit_button("Change it", type="primary")
    st.button("Sign out", key="sign out", on_click=people.sign_out)
    if not pressed:
        return
    try:
        if new != again:
            raise InputError("the two new passwords differ", safe="nothing was changed", hint="type them again")
        people.change_password(name, Secret(old), Secret(new))
    except BackupError as error:
        show_error(error)
        return
    st.rerun()


def show_provider() -> None:
    """Hand over to the identity provider."""
    if st.button("Sign in", key="sign in with the provider", type="primary", icon=":material/login:"):
        try:
            st.login()
        except StreamlitAuthError as error:
            show_error(
                ConfigError(
                    f"signing in with the identity provider is not set up: {error}",
                    safe="nobody was let in",
                    hint="docs/operations/sign-in.md has the file that is needed, and where it lies",
                )
            )
    if getattr(st.user, "is_logged_in", False):
        st.button("Sign out", key="sign out", on_click=people.sign_out)
