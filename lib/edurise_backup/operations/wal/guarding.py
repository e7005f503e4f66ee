"""What a reception remembers of itself: which of its parts are in trouble, and since when writes are exposed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from edurise_backup.errors import BackupError
from edurise_backup.model.wal import Lsn
from edurise_backup.postgres.receiving import Position

_AGAIN = (1, 2, 5, 10, 30)
"""Seconds until a part that failed is tried again."""
_SAMPLES = 600

_Done = TypeVar("_Done")


@dataclass(frozen=True, slots=True)
class _Trouble:
    """What a part raised the last time, and when it is tried again."""

    said: str
    hint: str
    since: datetime
    until: datetime
    times: int


class Parts:
    """The parts of a reception: one that fails rests for a while, and the others go on."""

    def __init__(self) -> None:
        """None is in trouble."""
        self._troubles: dict[str, _Trouble] = {}

    @property
    def trouble(self) -> str:
        """What failed last of what still fails, or nothing."""
        return self._last.said if self._last else ""

    @property
    def hint(self) -> str:
        """What to do about it."""
        return self._last.hint if self._last else ""

    @property
    def since(self) -> datetime | None:
        """Since when not all have worked."""
        return min((one.since for one in self._troubles.values()), default=None)

    def guard(self, part: str, work: Callable[[], _Done], *, now: datetime) -> _Done | None:
        """Do a part's work, unless it failed a moment ago; what it raises is kept, and it is done again later.

        False, when it is returned, does not prove yet that it works again.
        """
        before = self._troubles.get(part)
        if before is not None and now < before.until:
            return None
        try:
            done = work()
        except BackupError as error:
            times = before.times + 1 if before else 1
            until = now + timedelta(seconds=_AGAIN[min(times, len(_AGAIN)) - 1])
            self._troubles.pop(part, None)  # the last in the order is what failed last
            since = before.since if before else now
            self._troubles[part] = _Trouble(f"{part}: {error.message}", error.hint, since, until, times)
            return None
        if done is not False:
            self._troubles.pop(part, None)
        return done

    @property
    def _last(self) -> _Trouble | None:
        return next(reversed(self._troubles.values()), None)


class Exposure:
    """Since when what the server wrote has not been in the repository, by samples of its position."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self._samples: list[Position] = []

    def seen(self, position: Position) -> None:
        """Add a sample; the oldest stays, however many follow: it says since when."""
        self._samples = [*self._samples[:1], *self._samples[1:][-_SAMPLES:], position]

    def since(self, shipped: Lsn) -> datetime | None:
        """Return when the oldest write was seen that is not in the repository; None when all is there."""
        exposed = [one for one in self._samples if one.lsn > shipped]
        self._samples = exposed or self._samples[-1:]
        return exposed[0].at if exposed else None
