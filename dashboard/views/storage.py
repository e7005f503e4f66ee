"""Storage trends: what backups became on their way into the repository, how it grows, when the store is full."""

from __future__ import annotations

from collections.abc import Iterable

import streamlit as st

from dashboard import charts, trends
from dashboard import formatting as words
from dashboard.readings import read_or_stale
from dashboard.trends import Storage
from edurise_backup.catalog.trends import SourceStorage, StorageDay

MIB = 1024**2
NOTHING = """\
**No good backup began in this time.**

Choose a longer one, or make a backup: *Back up now* on the first page, or `edurise-backup backup`.
"""


def main() -> None:
    """Draw the page from top to bottom."""
    st.title("Storage trends")
    days = st.selectbox("Time", tuple(trends.SPANS), index=1, format_func=trends.SPANS.__getitem__, key="storage span")
    reading = read_or_stale(f"storage {days}", lambda: trends.storage(days))
    if reading is None:
        return
    st.caption(f"As of {words.moment_text(reading.as_of)}")
    show_forecast(reading.value)
    if not reading.value.days:
        st.info(NOTHING, icon=":material/storage:")
        return
    show_totals(reading.value.days)
    show_days(reading.value.days)
    show_sources(reading.value.sources)
    show_repository(reading.value)


def show_forecast(storage: Storage) -> None:
    """Say when the store is full, or why nobody can tell."""
    found = storage.forecast
    limit = trends.free_days()
    if found.days_to_full is not None and found.days_to_full < limit:
        st.warning(
            f"**{words.plain(found.sentence)}** The objective is at least {limit} days. To do: free space, or forget "
            "and prune what no policy needs.",
            icon=":material/warning:",
        )
    elif found.bytes_a_day is None:
        st.info(words.plain(found.sentence), icon=":material/help:")
    else:
        st.success(words.plain(found.sentence), icon=":material/check_circle:")
    free, pace, full = st.columns(3)
    free.metric("Free on the store's disk", words.size(found.free_bytes), help=f"Of {words.size(found.total_bytes)}")
    pace.metric("Free room lost a day", words.UNKNOWN if found.bytes_a_day is None else signed(found.bytes_a_day))
    full.metric("Days to full", words.UNKNOWN if found.days_to_full is None else f"{found.days_to_full:,.0f}")


def show_totals(days: tuple[StorageDay, ...]) -> None:
    """Show the four sizes, added up."""
    original, stored = sum(day.original for day in days), sum(day.stored for day in days)
    columns = st.columns(4)
    columns[0].metric("Original", words.size(original), help="Bytes of the sources, of every good backup")
    columns[1].metric("After deduplication", words.size(total(day.deduplicated for day in days)), help=NEW)
    columns[2].metric("After compression", words.size(total(day.compressed for day in days)))
    columns[3].metric("Stored", words.size(stored), help=f"{words.ratio(original, stored)} original for each stored")


NEW = "What the repository did not hold yet. Not known when a backup of an earlier release is among them."


def show_days(days: tuple[StorageDay, ...]) -> None:
    """Show each day's bytes; the table says the same as the charts."""
    st.subheader("Added each day")
    last = days[-1]
    st.markdown(
        f"On {last.day:%Y-%m-%d} {last.backups:,} backups of {words.size(last.original)} added "
        f"{words.size(last.stored)}. Days are those of UTC."
    )
    st.markdown("What was new, on its way into the repository:")
    points = [
        {
            "Day": day.day,
            "after deduplication": mebibytes(day.deduplicated),
            "after compression": mebibytes(day.compressed),
            "stored": mebibytes(day.stored),
        }
        for day in days
    ]
    steps = ("after deduplication", "after compression", "stored")
    charts.bars(points, "Day", steps, "MiB a day", alt="New bytes of each day at three steps; the table has them")
    st.markdown("What the sources held, each backup counted:")
    originals = [{"Day": day.day, "original": mebibytes(day.original)} for day in days]
    charts.bars(originals, "Day", ("original",), "MiB a day", alt="Original bytes of each day; the table has them")
    with st.expander("The same as a table"):
        st.dataframe([day_row(day) for day in reversed(days)], width="stretch", hide_index=True)


def show_sources(sources: tuple[SourceStorage, ...]) -> None:
    """Show who takes how much."""
    st.subheader("By source")
    st.dataframe([source_row(source) for source in sources], width="stretch", hide_index=True)


def show_repository(storage: Storage) -> None:
    """Show how the repository and the room beside it changed."""
    st.subheader("Repository")
    if len(storage.sizes) < 2:
        st.caption("Its growth cannot be told: fewer than two prunes or checks recorded its size in this time.")
    else:
        first, last = storage.sizes[0], storage.sizes[-1]
        st.markdown(
            f"{words.size(first.bytes)} on {words.moment_text(first.moment)}, {words.size(last.bytes)} on "
            f"{words.moment_text(last.moment)}: {signed(last.bytes - first.bytes)}."
        )
        points = [{"Moment": size.moment, "MiB": size.bytes / MIB} for size in storage.sizes]
        charts.lines(points, "Moment", ("MiB",), "MiB", alt="The repository's size; the sentence above says its change")
    if len(storage.space) > 1:
        st.markdown("Free on the store's disk, after each backup, prune and check:")
        free = [{"Moment": reading.at, "GiB": reading.free_bytes / 1024**3} for reading in storage.space]
        charts.lines(free, "Moment", ("GiB",), "GiB", alt="Free room on the store's disk after each job")


def total(values: Iterable[int | None]) -> int | None:
    """Return the sum, or None when one of them is not known; pure."""
    added = 0
    for value in values:
        if value is None:
            return None
        added += value
    return added


def mebibytes(count: int | None) -> float | None:
    """Return bytes as MiB; pure."""
    return None if count is None else count / MIB


def signed(count: float) -> str:
    """Return a number of bytes with its sign; pure."""
    return f"{'–' if count < 0 else '+'}{words.size(round(abs(count)))}"


def day_row(day: StorageDay) -> dict[str, str | int]:
    """Return a day as a line of the table."""
    return {
        "Day (UTC)": f"{day.day:%Y-%m-%d}",
        "Backups": day.backups,
        "Original": words.size(day.original),
        "After deduplication": words.size(day.deduplicated),
        "After compression": words.size(day.compressed),
        "Stored": words.size(day.stored),
    }


def source_row(source: SourceStorage) -> dict[str, str | int]:
    """Return a source as a line of the table; cells are text, never markup."""
    return {
        "Kind": source.part.value,
        "Source": source.source,
        "Backups": source.backups,
        "Size now": words.size(source.newest_original),
        "Original": words.size(source.original),
        "After deduplication": words.size(source.deduplicated),
        "After compression": words.size(source.compressed),
        "Stored": words.size(source.stored),
        "Original for each stored": words.ratio(source.original, source.stored),
    }


main()
