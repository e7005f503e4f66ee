"""Storage and cost: what lies where, what each store's server can do, what it is asked for, and what that costs."""

from __future__ import annotations

import streamlit as st

from dashboard import formatting as words
from dashboard import stores
from dashboard.copies import copies_section, show_probe_button
from dashboard.readings import read_or_stale
from dashboard.stores import DAYS, StoreState
from edurise_backup.catalog.store_use import KindTraffic
from edurise_backup.catalog.trends import SourceStorage
from edurise_backup.model.prices import Price
from edurise_backup.model.probe import Probe
from edurise_backup.operations.costs import StoreCosts

UNPRICED = "Nothing is priced: put your provider's prices into `[repository.prices]` of the configuration."
NO_REQUESTS = "No requests were counted this month: a directory has none."
NO_PROBE = "It was not found out yet what its server does: a check does so, at most once a week; *Probe* does so now."


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Storage and cost")
    reading = read_or_stale("stores", stores.state)
    if reading is None:
        return
    state = reading.value
    st.caption(f"As of {words.moment_text(reading.as_of)}. No store was asked for this page.")
    if state.costs.location:
        show_primary(state)
    else:
        st.info("**No repository is configured.** Name one in `[repository]`.", icon=":material/database:")
    copies_section()
    for copy in state.copies:
        show_copy_costs(copy)


def show_primary(state: StoreState) -> None:
    """Show the store that backups are written to."""
    st.subheader(words.plain(f"{state.costs.store}: {state.costs.location}"))
    show_tiles(state)
    show_lock(state.costs)
    show_sources(state.sources)
    show_requests(state.costs)
    show_probe(state.costs.probe, state.costs.location)
    if state.costs.location.startswith("s3:"):
        show_probe_button(state.costs.store, "Probe now")


def show_copy_costs(copy: StoreCosts) -> None:
    """Show what a copy is asked for and costs, where its server is asked for anything."""
    if not copy.location.startswith("s3:"):
        return
    with st.expander(words.plain(f"{copy.store}: requests, cost and server"), icon=":material/payments:"):
        stored, month = st.columns(2)
        stored.metric("Stored", words.size(copy.stored_bytes))
        month.metric("This month", money(copy.month.price), help="By the copy's own prices")
        show_lock(copy)
        show_requests(copy)
        show_probe(copy.probe, copy.location)


def show_tiles(state: StoreState) -> None:
    """Show size, growth, money, and when it is full."""
    costs, growth = state.costs, state.growth
    stored, pace, month, recovery, full = st.columns(5)
    stored.metric("Stored", words.size(costs.stored_bytes), help="All packs, after the last prune or check")
    pace.metric(
        "Growth a day",
        words.UNKNOWN if growth is None else words.size(round(growth)),
        help=f"Over the last {DAYS} days; not known before two prunes or checks a day apart",
    )
    month.metric("This month", money(costs.month.price), help="Requests, egress and storage, going on as until now")
    recovery.metric(
        "A whole recovery", money(costs.recovery.price if costs.recovery else None), help=recovery_help(costs)
    )
    full.metric("Days to full", days_to_full(state))
    if costs.month.price is None and costs.this_month:
        st.info(UNPRICED, icon=":material/payments:")
    if state.forecast is not None:
        st.caption(words.plain(state.forecast.sentence))


def days_to_full(state: StoreState) -> str:
    """Say when the store is full; pure."""
    if state.forecast is None:
        return "no end"
    return words.UNKNOWN if state.forecast.days_to_full is None else f"{state.forecast.days_to_full:,.0f}"


def recovery_help(costs: StoreCosts) -> str:
    """Say what a recovery's price is of; pure."""
    if costs.recovery is None:
        return "There is no full backup yet"
    sure = "as its verification asked" if costs.recovery.measured else "at most: what its sources held"
    demand = costs.recovery.demand
    return f"{demand.reads:,} reads and {words.size(demand.received)}, {sure}"


def show_lock(costs: StoreCosts) -> None:
    """Say whether objects are locked, and until when at least."""
    if costs.lock == "off" and not costs.location.startswith("s3:"):
        st.caption("A directory locks nothing: whoever may write there may delete. A copy in a locked bucket helps.")
        return
    if costs.lock == "off":
        st.warning(
            "**Objects are not locked.** Whoever has the credential that deletes can delete the backups. To do: see "
            "docs/operations/object-storage.md, *Object lock*.",
            icon=":material/lock_open:",
        )
        return
    enforced = costs.probe.object_lock if costs.probe else "unknown"
    if enforced in ("not enforced", "off"):
        st.error(
            f"**Objects are to be locked ({words.plain(costs.lock)}), and the server does not keep locks** "
            f"({words.plain(enforced)}). To do: use a bucket that enforces object lock.",
            icon=":material/error:",
        )
        return
    lines = [f"**Objects are locked: {words.plain(costs.lock)}.** The server: {words.plain(enforced)}."]
    if costs.locks is None:
        lines.append("No prune has extended locks yet.")
    else:
        lines.append(f"The first lock of what lives on ends {words.moment_text(costs.locks.earliest)}.")
        if costs.locks.behind:
            lines.append(f"{costs.locks.behind:,} objects wait for the next prune to extend theirs.")
    if costs.locked_until:
        lines.append(f"What a prune could not delete is held until {words.moment_text(costs.locked_until)}.")
    st.success(" ".join(lines), icon=":material/lock:")


def show_sources(sources: tuple[SourceStorage, ...]) -> None:
    """Show who takes how much."""
    st.subheader(f"By source, the last {DAYS} days")
    if not sources:
        st.caption("No good backup began in this time.")
        return
    st.dataframe([source_row(source) for source in sources], width="stretch", hide_index=True)


def source_row(source: SourceStorage) -> dict[str, str | int]:
    """Return a source as a line of the table; cells are text, never markup."""
    return {
        "Kind": source.part.value,
        "Source": source.source,
        "Backups": source.backups,
        "Size now": words.size(source.newest_original),
        "Original": words.size(source.original),
        "Stored": words.size(source.stored),
        "Stored a day": words.size(round(source.stored / DAYS)),
        "Original for each stored": words.ratio(source.original, source.stored),
    }


def show_requests(costs: StoreCosts) -> None:
    """Show what was asked this month, and what the month will be."""
    st.subheader("Requests this month")
    if not costs.this_month:
        st.caption(NO_REQUESTS)
        return
    demand = costs.month.demand
    st.markdown(
        f"Going on like this, the month has {demand.writes:,} writes and listings, {demand.reads:,} reads, and "
        f"{words.size(demand.received)} fetched."
    )
    rows = [row for kind in costs.this_month for row in request_rows(kind)]
    st.dataframe(rows, width="stretch", height="content", hide_index=True)


def request_rows(kind: KindTraffic) -> list[dict[str, str | int]]:
    """Return what jobs of a kind asked, a line for each operation."""
    return [
        {
            "Jobs of": kind.kind,
            "Jobs": kind.jobs,
            "Operation": operation,
            "Requests": count.requests,
            "Requests a job": round(count.requests / max(1, kind.jobs)),
            "Sent": words.size(count.sent),
            "Received": words.size(count.received),
        }
        for operation, count in sorted(kind.traffic.operations.items())
    ]


def show_probe(probe: Probe | None, location: str) -> None:
    """Show what the server really does."""
    st.subheader("What the server does")
    if not location.startswith("s3:"):
        st.caption("It is a directory.")
        return
    if probe is None:
        st.caption(NO_PROBE)
        return
    st.caption(f"Found out {words.moment_text(probe.at)}, at {words.plain(probe.address)}")
    for danger in probe.dangers:
        st.error(words.plain(danger), icon=":material/error:")
    for remark in probe.remarks:
        st.warning(words.plain(remark), icon=":material/warning:")
    st.dataframe(probe_rows(probe), width="stretch", height="content", hide_index=True)


def probe_rows(probe: Probe) -> list[dict[str, str]]:
    """Return what was found, a line each."""
    skew = words.UNKNOWN if probe.clock_skew_seconds is None else f"{probe.clock_skew_seconds:+.1f} s"
    found = (
        ("Keeps an object from being replaced", probe.conditional_create.value),
        ("Refuses bytes with a wrong MD5", probe.md5.value),
        ("Refuses bytes with a wrong SHA-256", probe.sha256.value),
        ("Keeps what is written beside an object", probe.metadata.value),
        ("Reads ranges", probe.ranges.value),
        ("Lists a new object at once", probe.listed_at_once.value),
        ("Lets this credential delete", probe.deletes.value),
        ("Versioning", probe.versioning),
        ("Object lock", probe.object_lock),
        ("Lifecycle rules", probe.lifecycle),
        ("Its clock against ours", skew),
    )
    return [{"The server": what, "Found": said} for what, said in found]


def money(price: Price | None) -> str:
    """Return an amount with its currency; pure."""
    return words.UNKNOWN if price is None else str(price)


main()
