"""Reports: make one, list them, look at one's controls, take its files, checked against their SHA-256."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard import formatting as words
from dashboard import people, queries, trends
from dashboard.actions import Launched
from dashboard.readings import read_or_stale, show_error
from edurise_backup.errors import BackupError
from edurise_backup.model.people import Permission
from edurise_backup.model.reports import ControlResult, ControlStatus, Report, ReportFile
from reports import expected_sources, read_file
from reports.periods import HINT, last_month

ALL = ""
KEPT = 5
NONE = """\
**No report was made yet.**

Make one below. On a schedule, run the deployment `report/edurise`: without a period it reports the last month. On the
command line: `edurise-backup report make 2026-10`.
"""
_FOLLOWED = "reports under way"
_TICKET = "report ticket"
_ICONS = {
    ControlStatus.PASS: "✓ pass",
    ControlStatus.WARN: "! warning",
    ControlStatus.FAIL: "✗ fail",
    ControlStatus.NOT_EVALUATED: "○ not evaluated",
}


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Reports")
    reading = read_or_stale("reports", trends.reports)
    if reading is None:
        return
    st.caption(f"As of {words.moment_text(reading.as_of)}")
    if not reading.value:
        st.info(NONE, icon=":material/summarize:")
    show_form()
    follow()
    if reading.value:
        st.subheader("Made so far")
        st.dataframe([report_row(report) for report in reading.value], width="stretch", hide_index=True)
        choose(reading.value)


def show_form() -> None:
    """Ask for a period, a source and a zone, and start the run."""
    st.subheader("Make a report")
    period, source, zone = st.columns(3)
    asked = period.text_input("Period", value=last_month(datetime.now(UTC)), key="report period", help=HINT)
    names = (ALL, *sorted({name for _, name in expected_sources(queries.settings())}))
    chosen = source.selectbox("Source", names, format_func=lambda name: name or "All sources", key="report source")
    place = zone.text_input("Time zone", value="UTC", key="report zone")
    ticket = st.session_state.get(_TICKET, 0)  # a second click that was under way belongs to a button that is gone
    if not people.button(
        "Make report",
        Permission.AUDIT,
        key=f"make report {ticket}",
        type="primary",
        icon=":material/summarize:",
    ):
        return
    try:
        launched = queries.actions().report(asked, chosen or ALL, place)
    except BackupError as error:
        show_error(error)
        return
    st.session_state[_FOLLOWED] = [launched, *st.session_state.get(_FOLLOWED, [])][:KEPT]
    st.session_state[_TICKET] = ticket + 1
    st.rerun()


def follow() -> None:
    """Follow the reports that were asked for from this page."""
    if st.session_state.get(_FOLLOWED):
        st.fragment(show_under_way, run_every=2.0)()


def show_under_way() -> None:
    """Show each: the report is in the catalog, or what Prefect says of its run."""
    for launched in st.session_state.get(_FOLLOWED, []):
        try:
            show_run(launched)
        except BackupError as error:
            show_error(error)


def show_run(launched: Launched) -> None:
    """Show one run; raises BackupError."""
    title = words.plain(f"report {words.short_id(launched.job_id)} · run {launched.flow_run_name}")
    made = trends.report(launched.job_id)
    if made is not None:
        st.success(
            f"{title}: made, {_ICONS[made.verdict]}. Reload the page to list it.", icon=":material/check_circle:"
        )
        return
    state = queries.actions().state(launched.flow_run_id)
    if state.ended:
        st.error(f"**{title}**\n\n{words.plain(state.message)}", icon=":material/error:")
    else:
        st.info(f"{title} · Prefect: {words.plain(state.name)}", icon=":material/hourglass_top:")


def choose(reports: tuple[Report, ...]) -> None:
    """Let a person pick a report, and show it."""
    report = st.selectbox("Report", reports, format_func=label, key="chosen report")
    st.markdown(f"**{_ICONS[report.verdict]}** · rules and thresholds {words.plain(report.policy_version)}")
    st.dataframe([control_row(result) for result in report.controls], width="stretch", hide_index=True)
    st.subheader("Files")
    st.dataframe([file_row(file) for file in report.files], width="stretch", hide_index=True)
    name = st.selectbox(
        "File to download",
        [file.name for file in report.files],
        index=None,
        placeholder="Choose one: it is read, and compared with its SHA-256",
        key=f"file of {report.id}",
    )
    if name is not None:
        offer(report, name)


def offer(report: Report, name: str) -> None:
    """Offer a file that is as it was written; say so when it is not."""
    try:
        content = read_file(queries.settings(), report, name)
    except BackupError as error:
        show_error(error)
        return
    st.caption(f"It is as it was written: {words.size(len(content))}, the SHA-256 is the catalog's.")
    st.download_button(
        f"Download {name}",
        content,
        file_name=f"{report.period.replace('..', '-to-')}-{name}",
        mime="application/pdf" if name.endswith(".pdf") else "text/csv",
        on_click="ignore",
        icon=":material/download:",
    )


def label(report: Report) -> str:
    """Return a report in a list of choices."""
    scope = report.source or "all sources"
    return f"{words.short_id(report.id)} · {report.period} · {scope} · {words.moment_text(report.made_at)}"


def report_row(report: Report) -> dict[str, str]:
    """Return a report as a line of the table; cells are text, never markup."""
    return {
        "Id": words.short_id(report.id),
        "Period": report.period,
        "Zone": report.zone,
        "Source": report.source or "all",
        "Verdict": _ICONS[report.verdict],
        "Made": words.moment_text(report.made_at),
        "By": report.made_by,
        "SHA-256 of the PDF": report.files[0].sha256 if report.files else words.UNKNOWN,
    }


def control_row(result: ControlResult) -> dict[str, str | int]:
    """Return a control as a line of the table."""
    return {
        "Control": result.id,
        "Title": result.title,
        "Status": _ICONS[result.status],
        "Counted": result.numerator,
        "Of": result.denominator,
        "Share": result.percent,
        "Observed": result.observed,
    }


def file_row(file: ReportFile) -> dict[str, str]:
    """Return a file as a line of the table."""
    return {"File": file.name, "Size": words.size(file.size), "SHA-256": file.sha256}


main()
