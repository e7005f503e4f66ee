"""The section of the audit trail: the rows by filter, and whether they are whole."""

from __future__ import annotations

from datetime import UTC, datetime, time

import streamlit as st

from dashboard import administering
from dashboard import formatting as words
from dashboard.readings import read_or_stale, show_error
from edurise_backup.errors import BackupError
from edurise_backup.model.audit import AuditFilters, AuditRow, Outcome
from edurise_backup.operations.audit import AuditReport

SHOWN = 200
OLD_ANCHOR_HOURS = 36


def show_trail() -> None:
    """Show whether the trail is whole, and its newest rows."""
    st.subheader("Audit trail")
    show_standing()
    filters = choose_filters()
    found = read_or_stale("audit trail", lambda: administering.audit_rows(filters, limit=SHOWN))
    if found is None:
        return
    if not found.value:
        st.caption("No row matches.")
        return
    st.dataframe([row(one) for one in found.value], width="stretch", hide_index=True)
    if len(found.value) == SHOWN:
        st.caption(f"The newest {SHOWN} rows; `edurise-backup audit export` writes all of them.")


def show_standing() -> None:
    """Say what the last anchoring and the open alarms tell, and offer to follow the chain now."""
    alarms = read_or_stale("alarms of the trail", administering.audit_alarms)
    for alarm in alarms.value if alarms else ():
        st.error(f"**{words.plain(alarm.message)}**\n\nTo do: {words.plain(alarm.remedy)}", icon=":material/error:")
    anchors = read_or_stale("anchors", administering.newest_anchor)
    if anchors is not None:
        show_anchor(anchors.value, datetime.now(UTC))
    if st.button("Follow the chain now", key="check chain", icon=":material/link:", help="Reads all rows"):
        try:
            show_report(administering.check_chain())
        except BackupError as error:
            show_error(error)


def show_anchor(anchors: tuple[AuditRow, ...], now: datetime) -> None:
    """Say how old the newest anchor is: rows since then are held by their chain alone."""
    if not anchors:
        st.warning(
            "The trail was never anchored: `edurise-backup audit anchor`, every day, seals it into the repository.",
            icon=":material/anchor:",
        )
        return
    age = now - anchors[0].at
    said = f"Proved and anchored in the repository {words.age(anchors[0].at, now)}."
    if age.total_seconds() > OLD_ANCHOR_HOURS * 3600:
        st.warning(f"{said} It should be every day: run the deployment `anchor/edurise`.", icon=":material/anchor:")
    else:
        st.caption(f"{said} `edurise-backup audit verify` compares all anchors.")


def show_report(report: AuditReport) -> None:
    """Show what following the chain has found."""
    if report.intact:
        st.success(f"All {report.rows:,} rows follow each other.", icon=":material/check_circle:")
    for finding in report.findings:
        st.error(words.plain(finding.message), icon=":material/error:")
    for remark in report.remarks:
        st.caption(words.plain(remark))


def choose_filters() -> AuditFilters:
    """Ask what to show."""
    who, what, about, how, since = st.columns(5)
    actor = who.text_input("Who", key="audit actor")
    action = what.text_input("Action begins with", key="audit action", placeholder="user, approval, backup …")
    subject = about.text_input("About", key="audit subject")
    outcome = how.selectbox("Outcome", tuple(Outcome), index=None, key="audit outcome", placeholder="any")
    day = since.date_input("Since (UTC)", value=None, key="audit since")
    return AuditFilters(
        actor=actor.strip(),
        action=action.strip(),
        subject=subject.strip(),
        outcome=outcome,
        since=datetime.combine(day, time(), UTC) if day else None,
    )


def row(one: AuditRow) -> dict[str, str | int]:
    """Return a row as a line of the table; cells are text, never markup."""
    return {
        "Row": one.seq,
        "At": words.moment_text(one.at),
        "Who": one.actor,
        "Through": one.via,
        "Action": one.action,
        "Outcome": one.outcome.value,
        "About": one.subject,
        "Details": one.detail,
    }
