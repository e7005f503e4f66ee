"""What stands around every page: who is there, sign-out, and which pages that person sees.

A page that is not shown is not forbidden by that: each action checks by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st
from streamlit.navigation.page import StreamlitPage

from dashboard import formatting as words
from dashboard import people
from edurise_backup.errors import BackupError
from edurise_backup.model.people import Actor, Permission, Role

NEEDS: Mapping[str, frozenset[Permission]] = {
    "administration": frozenset({Permission.AUDIT, Permission.APPROVE, Permission.ADMINISTER}),
}
"""Pages (by the last part of their address) that need one of these; all others need VIEW."""
LOOK_SECONDS = 30.0


def pages_for(actor: Actor, pages: Mapping[str, Sequence[StreamlitPage]]) -> dict[str, list[StreamlitPage]]:
    """Return the pages that this person's roles show, in their groups."""
    shown = {group: [page for page in found if may_see(actor, page.url_path)] for group, found in pages.items()}
    return {group: found for group, found in shown.items() if found}


def may_see(actor: Actor, url_path: str) -> bool:
    """Whether a role of this person shows the page; pure."""
    return any(actor.may(permission) for permission in NEEDS.get(url_path, {Permission.VIEW}))


def show_visitor(visitor: people.Visitor) -> None:
    """Show who is signed in, and the way out; keep looking whether it is still so."""
    actor = visitor.actor
    if actor is None:
        return
    with st.sidebar:
        if visitor.unnamed:
            st.warning(people.NO_ACCOUNT, icon=":material/lock_open:")
        else:
            st.markdown(f"**{words.plain(actor.name)}**")
            st.caption(", ".join(role.value for role in Role if role in actor.roles))
            st.button("Sign out", key="sign out", icon=":material/logout:", on_click=people.sign_out)
    st.fragment(_look_again, run_every=LOOK_SECONDS)()


def _look_again() -> None:
    """End the page when its session has ended: parts of it go on by themselves, and nobody may be there."""
    try:
        gone = people.visitor().actor is None
    except BackupError:
        return  # the page tells of it
    if gone:
        st.rerun()
