"""A limited line: so many bytes a second for all together, locks never wait, and cancelling is quick."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from edurise_backup.errors import CancelledError
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.opening import Limits
from edurise_backup.stores.limited import LimitedStore, Line
from tests.support.stores import MemoryStore


@dataclass(slots=True)
class Watch:
    """A clock that only pauses move; one for each thread would be of no use."""

    at: float = 0.0
    pauses: list[float] = field(default_factory=list)

    def now(self) -> float:
        return self.at

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.at += seconds


def go_on() -> None:
    """Nobody cancels."""


@pytest.fixture
def watch() -> Watch:
    """Give a clock at zero."""
    return Watch()


@pytest.fixture
def limited(watch: Watch) -> Callable[..., LimitedStore]:
    """Give a maker of limited stores on that clock, bytes a second."""

    def make(upload: int = 0, download: int = 0, store: MemoryStore | None = None) -> LimitedStore:
        up, down = (Line(rate, now=watch.now, pause=watch.pause) if rate else None for rate in (upload, download))
        return LimitedStore(store or MemoryStore(), upload=up, download=down, stop=go_on)

    return make


def test_each_direction_takes_the_time_of_its_line(watch: Watch, limited: Callable[..., LimitedStore]) -> None:
    store = limited(1000, 500)
    store.put("data/a", [bytes(1500), bytes(500)])
    assert watch.at == pytest.approx(2)
    assert store.get("data/a") == bytes(2000)
    assert watch.at == pytest.approx(6)
    store.get("data/a", offset=10, length=100)
    assert watch.at == pytest.approx(6.2)
    assert max(watch.pauses) <= 0.25


def test_a_direction_without_limit_does_not_wait(watch: Watch, limited: Callable[..., LimitedStore]) -> None:
    store = limited(download=1)
    store.put("data/a", [bytes(100_000)])
    store.delete("data/a")
    assert (store.address, list(store.list("data")), store.sweep("data")) == ("memory", [], 0)
    assert watch.at == 0


def test_time_that_nobody_used_is_not_saved_up(watch: Watch, limited: Callable[..., LimitedStore]) -> None:
    store = limited(1000)
    watch.at = 100
    store.put("data/a", [bytes(1000)])
    assert watch.at == pytest.approx(101)


def test_a_lock_never_waits_but_counts(watch: Watch, limited: Callable[..., LimitedStore]) -> None:
    store = limited(10, 10)
    store.put("locks/a", [bytes(100)])
    store.get("locks/a")
    assert watch.at == 0
    store.put("data/a", [bytes(10)])
    assert watch.at == pytest.approx(11)


def test_threads_share_the_line() -> None:
    line = Line(1_000_000)
    store = LimitedStore(MemoryStore(), upload=line, stop=go_on)
    started = time.monotonic()
    threads = [threading.Thread(target=store.put, args=(f"data/{number}", [bytes(100_000)])) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert time.monotonic() - started >= 0.39


def test_whoever_waits_is_cancelled_within_two_seconds() -> None:
    progress = SilentProgress()
    store = MemoryStore()
    limited = LimitedStore(store, upload=Line(1), stop=progress.raise_if_cancelled)
    cancelling = threading.Timer(0.2, progress.cancel)
    cancelling.start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        limited.put("data/a", [bytes(1_000_000)])
    assert time.monotonic() - started < 2
    assert store.objects == {}
    cancelling.join()


def test_without_limits_the_store_is_not_wrapped() -> None:
    store = MemoryStore()
    assert Limits(0, 0, go_on).around(store) is store
    assert Limits(0, 1, go_on).around(store) is not store
