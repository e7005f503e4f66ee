"""The section of approvals: what waits, its plan word for word, and the two buttons."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import streamlit as st

from dashboard import administering
from dashboard import formatting as words
from dashboard.readings import read_or_stale, show_error
from edurise_backup.errors import BackupError
from edurise_backup.model.approvals import Approval
from edurise_backup.model.people import Actor, Permission


def show_approvals(actor: Actor) -> None:
    """Show what can be decided, and what was."""
    st.subheader("Approvals")
    waiting = read_or_stale("approvals", administering.waiting_approvals)
    if waiting is None:
        return
    if not waiting.value:
        st.caption("Nothing waits for a second person.")
    for approval in waiting.value:
        show_request(approval, may_decide=actor.may(Permission.APPROVE))
    recent = read_or_stale("recent approvals", administering.recent_approvals)
    if recent is not None and recent.value:
        with st.expander("Newest requests and what became of them"):
            now = datetime.now(UTC)
            st.dataframe([row(one, now) for one in recent.value], width="stretch", hide_index=True)


def show_request(approval: Approval, *, may_decide: bool) -> None:
    """Show one request with its plan; who asked for it gets an error from the button, not a hidden button."""
    short = words.short_id(approval.id)
    with st.container(border=True):
        st.markdown(
            f"**{words.plain(approval.act)}** · asked for by {words.plain(approval.requested_by)} "
            f"{words.age(approval.requested_at, datetime.now(UTC))} · until {words.moment_text(approval.expires_at)}"
        )
        st.code(json.dumps(json.loads(approval.plan), indent=2, ensure_ascii=False), language=None)
        st.caption(f"Exactly this plan, SHA-256 {approval.plan_hash}")
        if not may_decide:
            st.caption("Somebody with the role approver decides.")
            return
        note = st.text_input("Why", key=f"note {short}", max_chars=300)
        agree, refuse = st.columns(2)
        if agree.button("Approve", key=f"approve {short}", icon=":material/check:", type="primary"):
            decide(approval, agreed=True, note=note)
        if refuse.button("Deny", key=f"deny {short}", icon=":material/block:"):
            decide(approval, agreed=False, note=note)


def decide(approval: Approval, *, agreed: bool, note: str) -> None:
    """Write the decision, and show the page anew; or show why it was not taken."""
    try:
        administering.decide(approval.id, agreed=agreed, note=note)
    except BackupError as error:
        show_error(error)
        return
    st.rerun()


def row(approval: Approval, now: datetime) -> dict[str, str]:
    """Return an approval as a line of the table; cells are text, never markup."""
    return {
        "Id": words.short_id(approval.id),
        "What": approval.act,
        "State": approval.state(now).value,
        "Asked by": approval.requested_by,
        "Asked": words.moment_text(approval.requested_at),
        "Decided by": approval.decided_by or words.UNKNOWN,
        "Why": approval.note,
        "Used by": approval.used_by or words.UNKNOWN,
        "Used": words.moment_text(approval.used_at),
    }
