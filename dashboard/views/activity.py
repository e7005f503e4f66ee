"""Every run of every kind: found by filters, told in full, started again, cancelled."""

from __future__ import annotations

from datetime import UTC, datetime

import streamlit as st

from dashboard import activity, queries
from dashboard import formatting as words
from dashboard.launching import follow_launched, launch, ticketed
from dashboard.people import current_actor
from dashboard.readings import Reading, read_or_stale, show_error
from edurise_backup.catalog.activity import Activity, ActivityFilters, Place
from edurise_backup.catalog.records import JobKind, JobRecord
from edurise_backup.errors import BackupError
from edurise_backup.model.jobs import JobStatus
from edurise_backup.model.maintenance import MaintenanceJob
from edurise_backup.operations.workers import WorkerState

TIMES = ("24 hours", "7 days", "30 days", "a year", "all")
_PLACE = "activity place"
_ASKED = "activity asked"
# the address says which run is looked at: it survives a reload, and can be sent to somebody
_CHOSEN = "run"


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Activity")
    filters = choose_filters()
    after = place_of(filters)
    reading = read_or_stale(f"activity {filters} {after}", lambda: activity.page_of(filters, after))
    if reading is None:
        return
    show_page(reading, filters, after)
    show_workers()
    follow_launched()
    if chosen := choose_run(reading.value[: activity.PAGE_ROWS]):
        show_run(*chosen)


def choose_filters() -> ActivityFilters:
    """Let a person say which runs count."""
    kind, status, source, time = st.columns(4)
    kinds = kind.multiselect("Kind", tuple(JobKind), format_func=str.capitalize, key="activity kinds")
    statuses = status.multiselect("Status", tuple(JobStatus), format_func=words.status_text, key="activity statuses")
    known = read_or_stale("sources", activity.sources)
    names = ("", *(known.value if known else ()))
    named = source.selectbox("Source", names, format_func=lambda name: name or "all", key="activity source")
    within = time.selectbox("Within", TIMES, index=1, key="activity time")
    since = activity.since_of(within or "all", datetime.now(UTC))
    return ActivityFilters(tuple(kinds), tuple(statuses), named or "", since)


def place_of(filters: ActivityFilters) -> Place | None:
    """Return where the page begins: at the top again as soon as something else is asked for."""
    asked = (filters.kinds, filters.statuses, filters.source, st.session_state.get("activity time"))
    if st.session_state.get(_ASKED) != asked:
        st.session_state[_ASKED] = asked
        st.session_state[_PLACE] = None
    place: Place | None = st.session_state[_PLACE]
    return place


def show_page(reading: Reading[tuple[Activity, ...]], filters: ActivityFilters, after: Place | None) -> None:
    """Show a page of runs, and the way to the next."""
    shown, more = reading.value[: activity.PAGE_ROWS], len(reading.value) > activity.PAGE_ROWS
    st.caption(f"As of {words.moment_text(reading.as_of)}{', older runs' if after else ''}")
    if not shown:
        st.info("No run passes these filters." if filters != ActivityFilters() else "Nothing was run yet.")
    else:
        st.dataframe([row_of(job) for job in shown], width="stretch", hide_index=True)
    newest, older, refresh, _ = st.columns([1, 1, 1, 3])
    if newest.button("Newest", disabled=after is None, icon=":material/first_page:", key="activity newest"):
        go_to(None)
    if older.button("Older", disabled=not more, icon=":material/chevron_right:", key="activity older"):
        go_to(shown[-1].place)
    if refresh.button("Refresh", icon=":material/refresh:", key="activity refresh"):
        activity.page_of.clear()
        st.rerun()


def show_workers() -> None:
    """Show the hosts that share the work, where there is more than one machine."""
    reading = read_or_stale("workers", queries.workers)
    if reading is None or not reading.value:
        return
    living = sum(state.lives for state in reading.value)
    title = f"Workers: {living} of {len(reading.value)} live"
    with st.expander(title, expanded=living < len(reading.value), icon=":material/dns:"):
        st.caption(f"As of {words.moment_text(reading.as_of)}, from the catalog; Prefect is not asked")
        st.dataframe([worker_row(state) for state in reading.value], width="stretch", hide_index=True)


def worker_row(state: WorkerState) -> dict[str, str | int]:
    """Return a host as a line of the table."""
    worker = state.worker
    return {
        "Host": worker.host,
        "Worker": "lives" if state.lives else "stopped" if worker.left_at else "no sign of life",
        "Last sign": words.moment_text(worker.seen_at),
        "Runs at once": worker.slots,
        "Reads": ", ".join(worker.sources) or words.UNKNOWN,
        "Pool": worker.pool,
        "Release": worker.version,
    }


def go_to(place: Place | None) -> None:
    """Show the page that begins behind this place."""
    st.session_state[_PLACE] = place
    st.rerun()


def row_of(job: Activity) -> dict[str, str | int]:
    """Return a run as a line of the table; cells are text, never markup."""
    return {
        "Kind": job.kind.value,
        "What": job.what,
        "Source": job.source or "all",
        "Status": words.status_text(job.status),
        "Proof": words.verdict_text(job.verification_status) if job.verification_status else words.UNKNOWN,
        "Started": words.moment_text(job.moment),
        "Duration": words.duration(words.between(job.started_at, job.completed_at)),
        "Bytes": words.size(job.bytes),
        "Remarks": job.remarks,
        "Host": job.host,
        "Id": words.short_id(job.id),
        "Error": job.error or "",
    }


def choose_run(shown: tuple[Activity, ...]) -> tuple[str, JobRecord] | None:
    """Let a person pick a run of the page; return it as it stands now."""
    by_id = {str(job.id): job for job in shown}
    asked = st.query_params.get(_CHOSEN, "")
    options = ("", *by_id)
    picked = st.selectbox(
        "Look at a run",
        options,
        index=options.index(asked) if asked in by_id else 0,
        format_func=lambda job_id: label_of(by_id[job_id]) if job_id else "none",
        key="activity run",
    )
    if not picked:
        st.query_params.pop(_CHOSEN, None)
        return None
    st.query_params[_CHOSEN] = picked
    chosen = by_id[picked]
    try:
        return chosen.kind.value, queries.job(chosen.kind.value, chosen.id)
    except BackupError as error:
        show_error(error)
        return None


def label_of(job: Activity) -> str:
    """Return a run in the list of choices."""
    moment = words.moment_text(job.moment)
    return f"{words.short_id(job.id)} · {job.kind.value} {job.what} · {words.status_text(job.status)} · {moment}"


def show_run(kind: str, job: JobRecord) -> None:
    """Show one run in full, and what can be done with it."""
    st.subheader(f"{kind.capitalize()} {words.short_id(job.id)}: {words.status_text(job.status)}")
    show_failure(job)
    show_facts(job)
    show_phases(job)
    show_traffic(job)
    show_shards(job)
    for title, texts in remarks_of(job).items():
        with st.expander(f"{title} ({len(texts)})", expanded=len(texts) <= 5):
            st.dataframe([{title: text} for text in texts], width="stretch", hide_index=True)
    show_buttons(kind, job)


def show_failure(job: JobRecord) -> None:
    """Show what went wrong, what is safe, what to do: three lines, whole."""
    if not job.error:
        return
    what, _, safe = job.error.partition(" Safe: ")
    parts = [f"**{words.plain(what)}**"]
    parts += [f"Safe: {words.plain(safe)}"] if safe else []
    parts += [f"To do: {words.plain(job.hint)}"] if job.hint else []
    shown = st.info if job.status is JobStatus.CANCELLED else st.error
    shown("\n\n".join(parts), icon=":material/error:")


def show_facts(job: JobRecord) -> None:
    """Show when, where and by whom it was run."""
    asked = f" · asked for: {words.plain(job.asked)}" if isinstance(job, MaintenanceJob) and job.asked else ""
    st.caption(
        f"Started {words.moment_text(job.started_at)} · ended {words.moment_text(job.completed_at)} · "
        f"took {words.duration(words.between(job.started_at, job.completed_at))} · "
        f"on {words.plain(job.host or words.UNKNOWN)}, process {job.pid or words.UNKNOWN} · "
        f"flow run {words.plain(str(job.flow_run_id or 'none: command line'))}{asked}"
    )


def show_phases(job: JobRecord) -> None:
    """Show where the time went."""
    if not job.phases:
        return
    st.dataframe(
        [
            {
                "Phase": phase.name,
                "Started": words.moment_text(phase.started_at),
                "Duration": words.duration(words.between(phase.started_at, phase.completed_at)),
                "Bytes": words.size(phase.bytes_done or None),
                "Files": phase.files_done,
            }
            for phase in job.phases
        ],
        width="stretch",
        hide_index=True,
    )


def show_traffic(job: JobRecord) -> None:
    """Show what the job asked of a bucket; a directory is asked for nothing that is counted."""
    try:
        traffic = queries.traffic_of(job.id)
    except BackupError as error:
        show_error(error)
        return
    if not traffic.operations:
        return
    total = traffic.total
    title = f"{total.requests:,} requests, {words.size(total.sent)} sent, {words.size(total.received)} received"
    with st.expander(title):
        st.dataframe(
            [
                {
                    "Operation": operation,
                    "Requests": count.requests,
                    "Sent": words.size(count.sent),
                    "Received": words.size(count.received),
                }
                for operation, count in sorted(traffic.operations.items())
            ],
            width="stretch",
            hide_index=True,
        )


def show_shards(job: JobRecord) -> None:
    """Show how far each worker is, of a run that several share."""
    reading = read_or_stale(f"shards {job.id}", lambda: activity.shards_of(job.id))
    if reading is None or not reading.value:
        return
    ended = sum(shard.completed_at is not None for shard in reading.value)
    st.progress(ended / len(reading.value), text=f"{ended} of {len(reading.value)} shards have ended")
    st.dataframe(
        [
            {
                "Shard": shard.number + 1,
                "What": shard.what,
                "Status": shard.status.value,
                "Tries": shard.tries,
                "Worker": f"process {shard.pid} on {shard.host}" if shard.host else "",
                "Duration": words.duration(words.between(shard.started_at, shard.completed_at)),
                "Bytes": words.size(shard.bytes_done or None),
                "Files": shard.files_done,
            }
            for shard in reading.value
        ],
        width="stretch",
        hide_index=True,
    )


def remarks_of(job: JobRecord) -> dict[str, tuple[str, ...]]:
    """Return what a run found and warned of, by its title."""
    found = {
        "Findings": getattr(job, "findings", ()),
        "Warnings": getattr(job, "warnings", ()),
        "Remarks": getattr(job, "remarks", ()),
    }
    return {title: texts for title, texts in found.items() if texts}


def show_buttons(kind: str, job: JobRecord) -> None:
    """Show what the person who sits here may do with the run."""
    actor = current_actor()
    again, stop, _ = st.columns([1, 1, 3])
    if job.status.ended:
        may = actor.may(activity.permission_to_start(job))
        if again.button("Start again", key=ticketed(f"again {job.id}"), icon=":material/replay:", disabled=not may):
            launch(lambda actions: activity.start_again(job, actions=actions, settings=queries.settings()))
        if not may:
            st.caption("Your roles do not let you start this.")
    elif stop.button("Cancel", key=ticketed(f"cancel {job.id}"), icon=":material/cancel:"):
        try:
            st.success(words.plain(activity.cancel(kind, job, actions=queries.actions())))
        except BackupError as error:
            show_error(error)


main()
