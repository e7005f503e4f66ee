"""Hold the leases of a job's sources while it works, and prove that they are held when it publishes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from uuid import UUID

from edurise_backup.catalog.leases import Leases
from edurise_backup.errors import BackupError, ConflictError, TransientError, UnreachableError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.operations.catalogs import Catalog

_TIMES = 10
"""A lease is renewed so often within its length."""


def _seconds() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)  # goes on while the machine sleeps


class HeldLeases:
    """Leases that a thread renews; `confirm` is asked before and after anything is published."""

    def __init__(
        self,
        leases: Leases,
        tokens: dict[str, int],
        *,
        seconds: Callable[[], float] = _seconds,
    ) -> None:
        self._leases = leases
        self._tokens = tokens
        self._every = leases.length / _TIMES
        self._seconds = seconds
        self._renewed = seconds()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self._thread.start()

    def confirm(self) -> None:
        """Raise ConflictError when a lease has gone to somebody else.

        A catalog that does not answer is no proof of that: nobody can take a
        lease from us before it has run out. Later than that TransientError is raised.
        """
        asked = self._seconds()
        try:
            self._leases.confirm(self._tokens)
        except (TransientError, UnreachableError) as error:
            if self._seconds() - self._renewed < self._leases.length.total_seconds():
                return
            raise TransientError(
                f"whether this job still holds its sources cannot be proved: {error.message}",
                safe="nothing more is published; what was stored is used again by the next backup",
                hint="bring the catalog back, then start the backup again",
            ) from error
        self._renewed = asked

    def release(self) -> None:
        """Let go of what is still held."""
        self._ended.set()
        self._thread.join()
        with suppress(BackupError):  # it runs out by itself
            self._leases.release(self._tokens)

    def _keep(self) -> None:
        while not self._ended.wait(self._every.total_seconds()):
            with suppress(BackupError):  # whoever publishes asks again, and is told
                self.confirm()


@contextmanager
def holding(catalog: Catalog, names: Sequence[str], job_id: UUID) -> Iterator[HeldLeases]:
    """Hold the leases of these sources inside the block; raises ConflictError when somebody else has one.

    One that was lost to somebody else raises an alarm: two workers were on one source.
    """
    held = HeldLeases(catalog.leases, catalog.leases.acquire(names, job_id))
    try:
        yield held
        _settle(catalog, names)
    except ConflictError as error:
        _raise_if_stolen(catalog, held, names, error)
        raise
    finally:
        held.release()


def _raise_if_stolen(catalog: Catalog, held: HeldLeases, names: Sequence[str], error: ConflictError) -> None:
    try:
        held.confirm()
    except ConflictError:
        alarm = Alarm(AlarmKind.LEASE_STOLEN, ", ".join(sorted(names)), Severity.WARNING, error.message, error.hint)
        with suppress(BackupError):  # the job's own row says it, too
            catalog.alarms.raise_alarm(alarm)
    except BackupError:
        return


def _settle(catalog: Catalog, names: Sequence[str]) -> None:
    with suppress(BackupError):
        catalog.alarms.settle(AlarmKind.LEASE_STOLEN, ", ".join(sorted(names)))
