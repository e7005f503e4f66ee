"""What is dropped for good of a name that was removed, perhaps more than once, while a lock held its versions."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from edurise_backup.model.object_lock import Version
from edurise_backup.repository.removals import _purge_one

NAME = "snapshots/" + "ab" * 32
DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NOW = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)


class Server:
    """The versions of one name, newest first, as a bucket keeps them."""

    def __init__(self, *told: tuple[timedelta, bool]) -> None:
        """(when, whether it is a marker), the newest first."""
        self.held = [
            Version(NAME, str(number), NOW + at, newest=number == 0, marker=marker)
            for number, (at, marker) in enumerate(told)
        ]

    def versions(self, prefix: str) -> Iterator[Version]:
        """Yield them all."""
        yield from list(self.held)

    def drop(self, version: Version) -> None:
        """Remove one for good."""
        self.held.remove(version)

    @property
    def left(self) -> list[timedelta]:
        """When what is left was written."""
        return [version.modified - NOW for version in self.held]


def test_what_was_brought_back_and_removed_again_stays_hidden_until_its_own_time() -> None:
    server = Server((2 * DAY, True), (1.2 * DAY, False), (1 * DAY, True), (0 * DAY, False))
    assert not _purge_one(server, NAME, NOW + DAY)  # type: ignore[arg-type]
    assert server.left == [2 * DAY, 1.2 * DAY, DAY], "with a marker less the second one would be there again"
    assert _purge_one(server, NAME, NOW + 2 * DAY)  # type: ignore[arg-type]
    assert server.left == []


def test_a_store_whose_clock_is_ahead_loses_what_was_removed_all_the_same() -> None:
    server = Server((3 * MINUTE, True), (2 * MINUTE, False))
    assert _purge_one(server, NAME, NOW)  # type: ignore[arg-type]
    assert server.left == []


def test_what_was_brought_back_and_is_there_loses_nothing() -> None:
    server = Server((2 * DAY, False), (1 * DAY, True), (0 * DAY, False))
    assert _purge_one(server, NAME, NOW + DAY)  # type: ignore[arg-type]
    assert len(server.left) == 3
