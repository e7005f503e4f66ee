"""How snapshots are chosen: filters, subfolders and spans of time as stock restic means them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edurise_backup.errors import InputError
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.operations.snapshots import Chosen, SnapshotFilter, Span, parse_span

FOUND = {
    SnapshotId(name): Snapshot(time="2026-01-01T00:00:00Z", tree="0" * 64, hostname=host, paths=paths, tags=tags)
    for name, host, paths, tags in (
        ("a", "one", ["/srv", "/etc"], ["x", "y"]),
        ("b", "two", ["/srv"], ["x"]),
        ("c", "two", ["/home"], None),
    )
}


@pytest.mark.parametrize(
    ("among", "names"),
    [
        (SnapshotFilter(), "abc"),
        (SnapshotFilter(hosts=("two",)), "bc"),
        (SnapshotFilter(hosts=("one", "two")), "abc"),
        (SnapshotFilter(paths=("/srv",)), "ab"),
        (SnapshotFilter(paths=("/srv/", "/etc")), "a"),
        (SnapshotFilter(tags=("x",)), "ab"),
        (SnapshotFilter(tags=("x,y",)), "a"),
        (SnapshotFilter(tags=("y", "")), "ac"),
        (SnapshotFilter(hosts=("two",), tags=("x",)), "b"),
        (SnapshotFilter(hosts=("three",)), ""),
    ],
)
def test_a_filter_lets_pass_what_stock_restics_does(among: SnapshotFilter, names: str) -> None:
    assert "".join(among.apply(FOUND)) == names


@pytest.mark.parametrize(
    ("folder", "paths"),
    [("", ["/srv", "/etc"]), ("/", ["/srv", "/etc"]), ("/srv", []), ("/srv/", []), ("/s", [])],
)
def test_what_was_backed_up_is_named_from_the_chosen_folder(folder: str, paths: list[str]) -> None:
    assert Chosen(SnapshotId("a"), FOUND[SnapshotId("a")], folder).paths == paths
    nested = Snapshot(time="2026-01-01T00:00:00Z", tree="0" * 64, paths=["/srv/data/x"])
    assert Chosen(SnapshotId("n"), nested, "/srv").paths == ["/data/x"]


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("7d", "2026-03-24T12:00"),
        ("1m", "2026-03-03T12:00"),  # there is no 31 February
        ("1y2m3d4h", "2025-01-28T08:00"),
        ("12m", "2025-03-31T12:00"),
        ("9999y", "0001-01-01T00:00"),
    ],
)
def test_a_span_is_counted_on_the_calendar(text: str, day: str) -> None:
    moment = datetime(2026, 3, 31, 12, tzinfo=UTC)
    assert parse_span(text).before(moment) == datetime.fromisoformat(day).replace(tzinfo=UTC)


def test_a_span_may_be_named_in_any_order_and_is_refused_when_it_is_none() -> None:
    assert parse_span("4h1y") == Span(years=1, hours=4)
    for text in ("", "7", "d", "7w", "-1d", "1d1d", "7d ", "٧d"):
        with pytest.raises(InputError, match="no span of time"):
            parse_span(text)
