"""Who was cancelled may still take his lock away; and a marker is ours only when a note has just announced it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup.errors import CancelledError, TransientError
from edurise_backup.repository.removals import Removed
from edurise_backup.s3.perseverance import Patience, Perseverance
from tests.support.s3_stores import QuickClock

NOON = datetime(2026, 11, 27, 12, tzinfo=UTC)
NAME = "snapshots/x"


def cancelled() -> None:
    raise CancelledError("stopped")


def persevering() -> Perseverance:
    return Perseverance(Patience(), where="here", answered=lambda: True, stop=cancelled, timing=QuickClock().timing)


def test_a_cancelled_work_sends_nothing_more_but_its_last_words() -> None:
    perseverance, sent = persevering(), []
    with pytest.raises(CancelledError):
        perseverance.run(lambda: sent.append("a pack"))
    with perseverance.last_words():
        perseverance.run(lambda: sent.append("its lock goes"))
    with pytest.raises(CancelledError):
        perseverance.run(lambda: sent.append("another pack"))
    assert sent == ["its lock goes"]


def test_last_words_are_said_once_and_not_repeated_for_minutes() -> None:
    perseverance, sent = persevering(), []

    def fail() -> None:
        sent.append(1)
        raise TransientError("busy")

    with perseverance.last_words(), pytest.raises(CancelledError):
        perseverance.run(fail)
    assert sent == [1]


@pytest.mark.parametrize(
    ("written", "deleted", "ours"),
    [
        (timedelta(days=-1), timedelta(minutes=1), True),
        (timedelta(days=-1), timedelta(minutes=-2), True),  # the store's clock is behind
        (timedelta(days=-1), timedelta(hours=2), False),  # long after the note: a stranger
        (timedelta(minutes=5), timedelta(minutes=10), False),  # brought back after the note
        (timedelta(days=-1), timedelta(hours=-1), False),  # before any note
    ],
)
def test_a_marker_is_ours_when_it_follows_a_note_of_an_older_version(
    written: timedelta, deleted: timedelta, ours: bool
) -> None:
    removed = Removed(times={NAME: [NOON - timedelta(days=9), NOON]})
    assert removed.ours(NAME, NOON + written, [NOON + deleted]) is ours
    assert not removed.ours("snapshots/other", NOON + written, [NOON + deleted])
