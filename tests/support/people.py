"""People for tests: accounts with quick passwords, and pages on which somebody is signed in."""

from __future__ import annotations

from uuid import uuid4

import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard.people import TOKEN
from edurise_backup import operations
from edurise_backup.model.accounts import PasswordCost
from edurise_backup.model.database import Secret
from edurise_backup.model.people import SYSTEM, Actor, Role, Via
from edurise_backup.operations import accounts

QUICK = PasswordCost(n=1 << 4)
"""A scrypt that costs nothing."""
PASSWORD = Secret("four words of one's own")
FIRST = Secret("a first password to change")


def add_person(catalog: operations.Catalog, name: str, *roles: Role) -> Actor:
    """Make an account with a password of its own; return the person as the dashboard knows him."""
    accounts.add_account(catalog, name, roles, by=SYSTEM, password=FIRST, cost=QUICK)
    account = accounts.change_password(catalog, name, FIRST, PASSWORD, cost=QUICK)
    return account.actor(Via.DASHBOARD)


def token_of(catalog: operations.Catalog, name: str) -> Secret:
    """Begin a session for the account, without its password; return its token."""
    token = Secret(f"token of {name} {uuid4()}")
    catalog.signed_in.begin(catalog.accounts.get(name), uuid4(), token.reveal())
    return token


def sign_in_to(app: AppTest, catalog: operations.Catalog, name: str, *roles: Role) -> AppTest:
    """Have a person with these roles be signed in on the page; its account is made when it is not there."""
    if name not in {account.name for account in catalog.accounts.all()}:
        add_person(catalog, name, *roles)
    app.session_state[TOKEN] = token_of(catalog, name)
    return app


def be(catalog: operations.Catalog, name: str, *roles: Role) -> None:
    """Let a person with these roles be the one who acts, where no page is drawn."""
    add_person(catalog, name, *roles)
    st.session_state[TOKEN] = token_of(catalog, name)
