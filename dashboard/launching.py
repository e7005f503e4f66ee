"""The buttons that start something, and the runs that were started from this page.

A click starts a run and returns at once: a page's script is ended by the next
click, so no work is ever done in it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath

import streamlit as st

from dashboard import formatting as words
from dashboard import people, queries
from dashboard.actions import Actions, Launched
from dashboard.readings import read_or_stale, show_error
from edurise_backup.errors import BackupError
from edurise_backup.model.jobs import BackupJob, BackupType, BucketsTo, RecoveryTarget
from edurise_backup.model.people import Permission

KEPT = 5
"""Launched runs that stay on the page."""
_FOLLOWED = "followed"
_TICKET = "ticket"
_BUCKETS_TO = {
    BucketsTo.FILES: "below the directory, as files",
    BucketsTo.EMPTY: "back to their configured place, which must be empty",
    BucketsTo.ADD: "back there; what is there stays, what is equal is not sent again",
}


def show_actions() -> None:
    """Show the three buttons."""
    st.subheader("Start")
    back_up, verify, recover = st.columns(3)
    with back_up:
        choose_backup()
    backups = read_or_stale("good backups", queries.good_backups)
    if backups is None:
        return
    with verify:
        choose_verification(backups.value)
    with recover:
        choose_recovery(backups.value)


def choose_backup() -> None:
    """Let a person pick a type and start its backup."""
    types = tuple(BackupType)
    chosen = st.selectbox("Type", types, format_func=words.type_text, key="backup type")
    pressed = people.button(
        "Back up now",
        Permission.OPERATE,
        key=ticketed("back up"),
        icon=":material/backup:",
        type="primary",
    )
    if pressed and chosen is not None:
        launch(lambda actions: actions.back_up(chosen))


def choose_verification(backups: tuple[BackupJob, ...]) -> None:
    """Let a person pick a backup and start its verification."""
    chosen = st.selectbox(
        "Backup to verify",
        backups,
        format_func=backup_label,
        key="backup to verify",
        placeholder="No backup yet",
        disabled=not backups,
    )
    pressed = people.button(
        "Verify",
        Permission.OPERATE,
        key=ticketed("verify"),
        icon=":material/verified:",
        disabled=chosen is None,
        help="Reads it all back",
    )
    if pressed and chosen is not None:
        backup_id = chosen.id
        launch(lambda actions: actions.verify(backup_id))


def choose_recovery(backups: tuple[BackupJob, ...]) -> None:
    """Let a person pick a backup and open the dialog that recovers it."""
    chosen = st.selectbox(
        "Backup to recover",
        backups,
        index=next((at for at, job in enumerate(backups) if job.type is BackupType.FULL), 0) if backups else None,
        format_func=backup_label,
        key="backup to recover",
        placeholder="No backup yet",
        disabled=not backups,
    )
    if (
        people.button(
            "Recover …",
            Permission.RESTORE,
            key="recover",
            icon=":material/restore:",
            disabled=chosen is None,
        )
        and chosen is not None
    ):
        confirm_recovery(chosen)


@st.dialog("Recover a backup", width="large")
def confirm_recovery(backup: BackupJob) -> None:
    """Ask where the backup goes, and for its id in writing, before the recovery starts."""
    st.markdown(f"Backup **{words.plain(backup_label(backup))}**, {words.size(backup.size)} of source.")
    st.caption("It goes into fresh databases and a fresh directory; nothing that exists is overwritten.")
    host = choose_host()
    directory = st.text_input("Directory on the machine that runs the flows (empty or new)", key="recovery directory")
    suffix = st.text_input("Suffix of the new databases' names", value="_restored", key="recovery suffix")
    buckets = BucketsTo.FILES
    if any(part.source in names_of_buckets() for part in backup.parts):
        buckets = BucketsTo(
            st.selectbox("Buckets go", list(_BUCKETS_TO), format_func=_BUCKETS_TO.__getitem__, key="recovery buckets")
        )
    wanted = words.short_id(backup.id)
    typed = st.text_input(f"Type {wanted} to confirm", key="recovery confirmation")
    if problem := recovery_problem(directory, suffix, typed, wanted):
        st.caption(problem)
    if st.button("Recover now", key=ticketed("recover now"), type="primary", disabled=bool(problem)):
        target = RecoveryTarget(directory=directory.strip(), database_suffix=suffix, buckets=buckets)
        if launch(lambda actions: actions.recover(backup.id, target, host=host)):
            st.rerun()


def names_of_buckets() -> set[str]:
    """Return the buckets that are configured."""
    return {bucket.name for bucket in queries.settings().buckets}


def choose_host() -> str:
    """Let a person say which machine it is, where several work; empty where one does everything."""
    reading = read_or_stale("workers", queries.workers)
    living = [state.worker.host for state in reading.value if state.lives] if reading else []
    return st.selectbox("Host that runs it", living, key="recovery host") or "" if living else ""


def recovery_problem(directory: str, suffix: str, typed: str, wanted: str) -> str:
    """Return what is missing before the recovery may start, or nothing; pure."""
    if not PurePosixPath(directory.strip()).is_absolute():
        return "The directory is an absolute path, such as /srv/restored."
    if len(suffix.encode()) > 30 or "\0" in suffix:
        return "The suffix is at most 30 bytes long."
    if typed.strip() != wanted:
        return f"Nothing starts before {wanted} is typed."
    return ""


def follow_launched() -> None:
    """Follow the runs that were started from this page, until each has ended."""
    launched: list[Launched] = st.session_state.get(_FOLLOWED, [])
    if launched:
        st.fragment(_show_launched, run_every=1.0)()


def _show_launched() -> None:
    st.subheader("Started from here")
    for launched in st.session_state.get(_FOLLOWED, []):
        try:
            show_run(launched)
        except BackupError as error:
            show_error(error)


def show_run(launched: Launched) -> None:
    """Show one run: its job row, which is the truth, and what Prefect says beside; raises BackupError."""
    job = queries.job(launched.kind, launched.job_id)
    title = (
        f"{launched.kind} {words.short_id(launched.job_id)} · {words.status_text(job.status)} · "
        f"run {launched.flow_run_name}"
    )
    if not job.status.ended:
        state = queries.actions().state(launched.flow_run_id)
        if state.ended:  # the run found a reason not to begin, so nobody has ended the row
            st.error(f"**{words.plain(title)}**\n\n{words.plain(state.message)}", icon=":material/error:")
            return
        label = f"{title} · {words.plain(job.phase or 'waiting')} · Prefect: {words.plain(state.name)}"
        st.progress(min(max(job.progress or 0.0, 0.0), 1.0), text=label)
    elif job.status.good:
        st.success(words.plain(title), icon=":material/check_circle:")
    else:
        lines = [f"**{words.plain(title)}**", words.plain(job.error or ""), words.plain(job.hint or "")]
        st.error("\n\n".join(line for line in lines if line), icon=":material/error:")


def launch(start: Callable[[Actions], Launched]) -> bool:
    """Start a run and remember it; shows the error and returns False when it could not be started."""
    try:
        launched = start(queries.actions())
    except BackupError as error:
        show_error(error)
        return False
    st.session_state[_FOLLOWED] = [launched, *st.session_state.get(_FOLLOWED, [])][:KEPT]
    # a second click that was under way belongs to a button that is gone
    st.session_state[_TICKET] = st.session_state.get(_TICKET, 0) + 1
    st.toast(f"Started: run {launched.flow_run_name}", icon=":material/play_arrow:")
    return True


def ticketed(name: str) -> str:
    """Return a button's key that holds until something was launched."""
    return f"{name} {st.session_state.get(_TICKET, 0)}"


def backup_label(backup: BackupJob) -> str:
    """Return a backup in a list of choices."""
    moment = words.moment_text(backup.started_at or backup.created_at)
    return f"{words.short_id(backup.id)} · {words.type_text(backup.type)} · {moment}"
