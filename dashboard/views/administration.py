"""Audit and administration: what waits for a second person, who may do what, and who did what."""

from __future__ import annotations

import streamlit as st

from dashboard import people
from dashboard.approving import show_approvals
from dashboard.auditing import show_trail
from dashboard.keyring import show_keys
from dashboard.managing import show_people
from dashboard.readings import show_error
from edurise_backup.errors import BackupError
from edurise_backup.model.people import Permission


def main() -> None:
    """Draw the sections that the person's roles are for, from the most urgent down."""
    st.title("Audit and administration")
    try:
        actor = people.current_actor()
    except BackupError as error:
        show_error(error)
        return
    if not any(actor.may(need) for need in (Permission.APPROVE, Permission.ADMINISTER, Permission.AUDIT)):
        st.info("Your roles show nothing here: it is for admins, approvers and auditors.", icon=":material/lock:")
        return
    show_approvals(actor)
    if actor.may(Permission.ADMINISTER) or actor.may(Permission.AUDIT):
        show_people(actor)
        show_keys()
    if actor.may(Permission.AUDIT):
        show_trail()


main()
