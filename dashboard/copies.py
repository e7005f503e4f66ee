"""The section of copies: how each one stands, how far it is behind, what is where; and what can be started on it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import streamlit as st

from dashboard import formatting as words
from dashboard import people, queries
from dashboard.launching import follow_launched, launch, ticketed
from dashboard.readings import read_or_stale
from edurise_backup import operations
from edurise_backup.catalog.stores import StoreRow
from edurise_backup.errors import BackupError
from edurise_backup.model.people import Permission
from edurise_backup.model.probe import Probe
from edurise_backup.model.settings import CopySettings
from edurise_backup.model.stores import BackupCopy, CopyState, SourceLag
from edurise_backup.operations.copy_status import CopyStatus, status_of
from edurise_backup.operations.stores import known_copies

SHOWN = 200
"""Restore points of a copy that are listed; the rest is counted."""
NEVER = """\
**There is no copy of the repository.**

A backup on one store is lost with that store. Register a further store below, or name one in `[[copy]]` of the
configuration; then copy, and make a schedule of the type *copy*. docs/operations/copies.md says how.
"""
STATES = {
    CopyState.WHOLE: "✓ whole",
    CopyState.PARTIAL: "… in part",
    CopyState.FORGOTTEN: "– forgotten there",
    CopyState.GONE: "■ gone",
}


@st.cache_data(ttl=timedelta(seconds=2), show_spinner=False)
def read_copies() -> tuple[CopyStatus, ...]:
    """Return how the copies stand, from the catalog alone; raises UnreachableError or TransientError."""
    catalog = queries.catalog()
    return status_of(catalog, known_copies(queries.settings(), catalog), datetime.now(UTC))


def copies_section() -> None:
    """Show the copies and what can be started on them."""
    st.subheader("Copies")
    show_copies()
    reading = read_or_stale("copies", read_copies)
    if reading is not None and reading.value:
        show_actions(tuple(status.name for status in reading.value))
    show_registration()
    follow_launched()


@st.fragment(run_every=5.0)
def show_copies() -> None:
    """Show each copy: one sentence, its figures, its sources, its restore points."""
    reading = read_or_stale("copies", read_copies)
    if reading is None:
        return
    if not reading.value:
        st.info(NEVER, icon=":material/content_copy:")
        return
    st.caption(f"As of {words.moment_text(reading.as_of)}")
    for status in reading.value:
        show_copy(status)


def show_copy(status: CopyStatus) -> None:
    """Show one copy."""
    st.markdown(f"**{words.plain(status.name)}** · {words.plain(status.location)}")
    show_verdict(status)
    whole, lag, size, proved, seen = st.columns(5)
    whole.metric("Whole restore points", status.count(CopyState.WHOLE))
    lag.metric("Behind", lag_text(status.lag), help=f"{words.duration(status.objective)} are allowed")
    size.metric("Size", words.size(status.row.bytes))
    proved.metric("Last proof of its bytes", words.age(proof_of(status), status.as_of))
    seen.metric("Last opened", words.age(status.row.seen_at, status.as_of))
    if status.lags:
        st.dataframe([lag_row(one, status.as_of) for one in status.lags], width="stretch", hide_index=True)
    if status.points:
        shown = status.points[:SHOWN]
        with st.expander(f"Restore points: {len(status.points):,}"):
            st.dataframe([point_row(one) for one in shown], width="stretch", hide_index=True)
    for line in probe_lines(status.row):
        st.caption(words.plain(line))


def show_verdict(status: CopyStatus) -> None:
    """Say in one sentence whether a recovery could rest on this copy."""
    row = status.row
    if row.unreachable_since is not None:
        st.error(
            f"**It cannot be opened since {words.moment_text(row.unreachable_since)}.** {words.plain(row.trouble)}",
            icon=":material/error:",
        )
    elif status.damaged:
        st.error(
            f"**{len(status.damaged)} restore points are damaged or gone there.** "
            "To do: see docs/operations/copies.md, *A copy is damaged*.",
            icon=":material/error:",
        )
    elif row.trouble:
        st.warning(f"**The last run did not go through.** {words.plain(row.trouble)}", icon=":material/warning:")
    elif status.late:
        st.warning(
            f"**It is behind for {lag_text(status.lag)}**, {words.duration(status.objective)} are allowed. "
            "To do: copy now, and look whether its schedule runs.",
            icon=":material/warning:",
        )
    elif not status.points:
        st.info("Nothing was copied there yet.", icon=":material/content_copy:")
    else:
        held = "It has everything that it should."
        if status.lag:
            held = f"What it lacks, it may lack for {words.duration(status.objective)}."
        st.success(f"**{held}** {alone_text(row)}", icon=":material/check_circle:")


def show_actions(names: tuple[str, ...]) -> None:
    """Show what an operator may start on a copy."""
    name = st.selectbox("Copy", names, key="copy")
    settings = queries.settings()
    copy, verify, probe = st.columns(3)
    if people.button(
        "Copy now", Permission.OPERATE, copy, key=ticketed("copy now"), icon=":material/content_copy:", type="primary"
    ):
        launch(
            lambda actions: actions.start(
                Permission.OPERATE,
                "maintenance",
                "copy",
                lambda: operations.queue_copy(name, settings=settings),
                {"store": name},
            )
        )
    if people.button(
        "Verify copy",
        Permission.OPERATE,
        verify,
        key=ticketed("verify copy"),
        icon=":material/verified:",
        help="Its own bytes",
    ):
        launch(
            lambda actions: actions.start(
                Permission.OPERATE,
                "maintenance",
                "verify",
                lambda: operations.queue_copy_verification(name, settings=settings),
                {"store": name},
            )
        )
    with probe:
        show_probe_button(name, "Probe")


def show_probe_button(name: str, words_of_it: str) -> None:
    """Let an operator have a store probed."""
    key = ticketed(f"probe {name}")
    if people.button(
        words_of_it,
        Permission.OPERATE,
        key=key,
        icon=":material/network_check:",
        help="Opens it, and asks its server",
    ):
        settings = queries.settings()
        launch(
            lambda actions: actions.start(
                Permission.OPERATE,
                "maintenance",
                "store",
                lambda: operations.queue_probe(name, settings=settings),
                {"act": "probe", "name": name},
            )
        )


def show_registration() -> None:
    """Let an admin register a further copy; secrets are named by their files on the machine that runs the flows."""
    try:
        actor = people.visitor().actor
    except BackupError:
        return  # the page tells of it
    if actor is None or not actor.may(Permission.ADMINISTER):
        return
    with st.expander("Register a copy"), st.form("register a copy"):
        st.caption("The files lie on the machine that runs the flows. No secret is typed here.")
        name = st.text_input("Name", key="copy name", max_chars=63)
        location = st.text_input(
            "Location", key="copy location", placeholder="/mnt/copy or s3:https://HOST/BUCKET/FOLDER"
        )
        password = st.text_input("File with its own passphrase", key="copy passphrase")
        access = st.text_input("Of a bucket: file with the access key id", key="copy access key")
        secret = st.text_input("Of a bucket: file with the secret key", key="copy secret key")
        region = st.text_input("Of a bucket: its region", key="copy region")
        hours = st.number_input("Hours that a restore point may wait for its copy", 1, 24 * 366, 26, key="copy lag")
        pressed = st.form_submit_button("Register", icon=":material/add_circle:")
    if pressed:
        found = CopySettings(
            name=name.strip() or "-",
            location=location.strip(),
            password_file=password.strip(),
            access_key_file=access.strip(),
            secret_key_file=secret.strip(),
            region=region.strip(),
            lag_hours=int(hours),
        )
        register(found)


def register(found: CopySettings) -> None:
    """Start the run that registers a copy."""
    parameters = {
        "act": "register",
        "name": found.name,
        "location": found.location,
        "password_file": found.password_file,
        "access_key_file": found.access_key_file,
        "secret_key_file": found.secret_key_file,
        "region": found.region,
        "lag_hours": found.lag_hours,
    }
    settings = queries.settings()
    launch(
        lambda actions: actions.start(
            Permission.ADMINISTER,
            "maintenance",
            "store",
            lambda: operations.queue_registration(found.name, found, settings=settings),
            parameters,
        )
    )


def lag_row(lag: SourceLag, now: datetime) -> dict[str, str]:
    """Return how far a copy is behind a source as a line of the table; cells are text, never markup."""
    return {
        "Source": f"{lag.part}/{lag.source}" if lag.source else lag.part,
        "Newest restore point": words.moment_text(lag.newest_at),
        "Newest in the copy": words.moment_text(lag.copied_at),
        "Behind": lag_text(lag.lag(now)),
    }


def point_row(point: BackupCopy) -> dict[str, str]:
    """Return a restore point in a copy as a line of the table."""
    return {
        "Backup": words.short_id(point.backup_id),
        "State": STATES[point.state],
        "Copied": words.moment_text(point.copied_at),
        "Added": words.size(point.bytes),
        "Proof there": words.verdict_text(point.outcome) if point.outcome else words.UNKNOWN,
        "Proved": words.moment_text(point.verified_at),
    }


def lag_text(lag: timedelta) -> str:
    """Return a lag in words; none is "nothing"; pure."""
    return words.duration(lag) if lag else "nothing"


def alone_text(row: StoreRow) -> str:
    """Say what a copy shares with the primary; pure."""
    shared = [
        what
        for what, own in (("the primary's passphrase", row.own_key), ("the primary's disk or server", row.own_place))
        if own is False
    ]
    return f"It shares {' and '.join(shared)}: what takes one takes both." if shared else ""


def proof_of(status: CopyStatus) -> datetime | None:
    """Return when bytes of a copy were last read back; pure."""
    jobs = (status.last_check, status.last_verification)
    return max((job.completed_at for job in jobs if job and job.completed_at and job.status.good), default=None)


def probe_lines(row: StoreRow) -> list[str]:
    """Return what the last probe of a bucket has found, a sentence each; pure."""
    probe: Probe | None = row.probed
    if probe is None:
        return []
    head = f"Probed {words.moment_text(row.probed_at)}: versioning {probe.versioning}, object lock {probe.object_lock}"
    return [head, *(f"DANGER: {one}" for one in probe.dangers), *probe.remarks]
