"""The section of the repository's keys: by name and age, as they were last seen; never what opens them."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard import formatting as words
from dashboard import queries
from dashboard.readings import read_or_stale
from edurise_backup.catalog.repository_keys import SeenKey, seen_keys
from edurise_backup.model.audit import AuditRow, Outcome

DRILL = "key.drill"
"""What the audit trail calls a drill of the recovery key (`operations.keys`)."""


def show_keys() -> None:
    """Show the keys, and when the recovery key was last proved."""
    st.subheader("Keys of the repository")
    found = read_or_stale("keys", lambda: seen_keys(queries.catalog().sessions))
    if found is None:
        return
    if not found.value:
        st.caption("No check has looked at them yet: `edurise-backup check`, or *Check now* on the page Repository.")
        return
    now = datetime.now(UTC)
    st.caption(f"As of {words.moment_text(max(key.seen_at for key in found.value))}")
    st.dataframe([key_row(key, now) for key in found.value], width="stretch", hide_index=True)
    drill = read_or_stale("drill", lambda: queries.catalog().audit.last(DRILL, outcome=Outcome.DONE))
    if drill is not None:
        show_drill(drill.value, now)
    st.caption("`edurise-backup key add | rotate | remove | recovery-drill` change and prove them.")


def show_drill(drill: AuditRow | None, now: datetime) -> None:
    """Say when it was last proved that the printed recovery key opens the repository."""
    if drill is None:
        st.warning("It was never proved that the printed recovery key opens the repository.", icon=":material/key:")
    else:
        st.caption(f"The recovery key opened the repository {words.age(drill.at, now)}.")


def key_row(key: SeenKey, now: datetime) -> dict[str, str]:
    """Return a key as a line of the table."""
    return {
        "Name": key.name or words.UNKNOWN,
        "Made": words.moment_text(key.created_at),
        "Age": words.age(key.created_at, now) if key.created_at else words.UNKNOWN,
        "On": key.host,
        "In use": "yes" if key.current else "",
        "Trouble": key.trouble,
        "Id": key.id[:8],
    }
