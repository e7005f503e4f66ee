"""Calls that are made again: they end with the work, and not before the store had its attempts."""

from __future__ import annotations

import pytest

from edurise_backup.errors import CancelledError, TransientError
from edurise_backup.operations.opening import Limits
from edurise_backup.stores.retrying import RetryingStore
from tests.support.stores import MemoryStore


class Ill(MemoryStore):
    """A store that fails for a passing reason, for ever."""

    asked = 0

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        self.asked += 1
        raise TransientError("busy")


def test_a_call_that_waits_to_be_made_again_ends_when_the_work_is_cancelled() -> None:
    ill = Ill()

    def stop() -> None:
        if ill.asked:
            raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        RetryingStore(ill, first_wait=1000, longest_wait=1000, stop=stop).get("data/a")
    assert ill.asked == 1


def test_without_a_request_to_stop_a_store_has_all_its_attempts() -> None:
    ill = Ill()
    with pytest.raises(TransientError, match="busy"):
        RetryingStore(ill, attempts=3, first_wait=0).get("data/a")
    assert ill.asked == 3


def test_limits_without_a_speed_leave_a_store_as_it_is() -> None:
    store = MemoryStore()
    assert Limits(0, 0, lambda: None).around(store) is store
