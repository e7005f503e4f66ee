"""Locks that stock restic honours, and ours honour its.

A shared lock lets others read and add; an exclusive one is held alone. A lock
is dead by the format's rule: older than 30 minutes, or of a process of this
host that is gone (restic's `internal/repository/lock_file.go`). Dead locks are
removed by whoever wants the repository, so nobody has to unlock by hand.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from types import TracebackType
from typing import Self

import msgspec

from edurise_backup.errors import BackupError, DamageError, LockedError, NotFoundError
from edurise_backup.model.content import nanoseconds, rfc3339
from edurise_backup.ports import utc_now
from edurise_backup.repository.keys import user_name
from edurise_backup.repository.layout import Kind, object_id, object_name
from edurise_backup.repository.objects import ObjectBox

DEAD_AFTER = timedelta(minutes=30)
REFRESH_EVERY = timedelta(minutes=5)
SETTLE = timedelta(milliseconds=200)
"""Pause between writing a lock and looking for others: two that start at once see each other."""

RETRY_EVERY = timedelta(milliseconds=500)


class LockFile(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The JSON of an object in `locks/`."""

    time: str
    exclusive: bool
    hostname: str = ""
    username: str = ""
    pid: int
    uid: int = 0
    gid: int = 0

    def dead(self, now: datetime) -> bool:
        """Whether the format's rule says that nobody holds this lock any more."""
        if now.timestamp() * 1e9 - nanoseconds(self.time) > DEAD_AFTER.total_seconds() * 1e9:
            return True
        return self.hostname == socket.gethostname() and not _process_lives(self.pid)

    def __str__(self) -> str:
        kind = "exclusively" if self.exclusive else "for reading and adding"
        return f"{kind} by {self.username or 'somebody'} on {self.hostname} (process {self.pid}) since {self.time}"


def read_locks(box: ObjectBox) -> dict[str, LockFile]:
    """Return all locks by id; one that vanishes while we look is no lock. Raises DamageError."""
    locks = {}
    for name, size in list(box.store.list(Kind.LOCK)):
        lock_id = object_id(name)
        if lock_id is None or size == 0:  # empty: of a client that crashed while it wrote; nobody holds it
            continue
        try:
            locks[lock_id] = msgspec.json.decode(box.load(Kind.LOCK, lock_id), type=LockFile)
            nanoseconds(locks[lock_id].time)
        except NotFoundError:
            continue
        except (msgspec.DecodeError, ValueError, DamageError) as error:
            raise DamageError(
                f"the lock {lock_id[:12]} is not readable: {error}",
                safe="nothing was changed",
                hint="if no other client is running, `unlock --remove-all` removes it",
            ) from error
    return locks


def remove_dead(box: ObjectBox, *, now: datetime) -> int:
    """Remove the locks that nobody holds any more; return how many."""
    dead = [lock_id for lock_id, lock in read_locks(box).items() if lock.dead(now)]
    for lock_id in dead:
        box.store.delete(object_name(Kind.LOCK, lock_id))
    return len(dead)


def remove_all(box: ObjectBox) -> int:
    """Remove every lock, readable or not; return how many."""
    names = [name for name, _ in box.store.list(Kind.LOCK)]
    for name in names:
        box.store.delete(name)
    return len(names)


def wait_for_lock(attempt: Callable[[], Lock], wait: timedelta, still_wanted: Callable[[], None]) -> Lock:
    """Try to lock until it works, or raise LockedError once `wait` is over; `still_wanted` raises to end it before."""
    until = time.monotonic() + wait.total_seconds()
    while True:
        still_wanted()
        try:
            return attempt()
        except LockedError:
            left = until - time.monotonic()
            if left <= 0:
                raise
        time.sleep(min(RETRY_EVERY.total_seconds(), left))


class Lock:
    """A lock that is held, and refreshed by a thread, until `release`."""

    def __init__(self, box: ObjectBox, *, exclusive: bool, now: Callable[[], datetime]) -> None:
        self._box = box
        self._exclusive = exclusive
        self._now = now
        self._released = threading.Event()
        self._guard = threading.Lock()
        self._id: str | None = None
        self._written_at = now()
        self._settles = 0.0
        self._settled = False
        self._tied: Callable[[], None] = lambda: None
        self.quick = False
        """Between the first look and the end of writing no other client can have looked twice."""
        self._thread = threading.Thread(target=self._keep_fresh, name="lock", daemon=True)

    @classmethod
    def acquire(
        cls,
        box: ObjectBox,
        *,
        exclusive: bool,
        now: Callable[[], datetime] = utc_now,
        settle: timedelta = SETTLE,
    ) -> Lock:
        """Lock the repository; raises LockedError that says who holds it, and since when."""
        lock = cls.announce(box, exclusive=exclusive, now=now, settle=settle)
        lock.settle()
        return lock

    @classmethod
    def announce(
        cls,
        box: ObjectBox,
        *,
        exclusive: bool,
        now: Callable[[], datetime] = utc_now,
        settle: timedelta = SETTLE,
    ) -> Lock:
        """Write the lock, which counts once `settle` or `confirm` was called; raises LockedError.

        What is read before that must be looked at again before anything is removed because of it.
        """
        _ignore_hangup()
        lock = cls(box, exclusive=exclusive, now=now)
        looked = time.monotonic()
        lock._refuse_others()
        lock._id = lock._write()
        written = time.monotonic()
        lock.quick = written - looked < settle.total_seconds() / 2
        lock._settles = written + settle.total_seconds()
        lock._thread.start()
        return lock

    def settle(self) -> None:
        """Look for others a second time, a pause after the lock was written; LockedError takes the lock back."""
        if self._settled:
            return
        time.sleep(max(0.0, self._settles - time.monotonic()))
        try:
            self._refuse_others()
        except BackupError:
            self.release()
            raise
        self._settled = True

    def confirm(self) -> None:
        """Prove that the lock is still there and fresh; asked before anything is published.

        Raises LockedError when somebody removed it, or when it was not refreshed
        in time (a frozen or cut-off process): others may have acted meanwhile.
        """
        self.settle()
        with self._guard:
            self._confirm()
        self._tied()

    def tie(self, confirm: Callable[[], None]) -> None:
        """Have what is published depend on something else that is held, too; `confirm` raises when that was lost."""
        self._tied = confirm

    def _confirm(self) -> None:
        age = self._now() - self._written_at
        if self._id is None or age > DEAD_AFTER:
            raise self._lost(f"it was not refreshed for {int(age.total_seconds())} s")
        try:
            self._box.store.size(object_name(Kind.LOCK, self._id))
        except NotFoundError as error:
            raise self._lost("somebody removed it") from error

    def release(self) -> None:
        """Stop refreshing and remove the lock."""
        self._released.set()
        if self._thread.is_alive():
            self._thread.join()
        with self._guard:
            if self._id is not None:
                self._remove(self._id)
                self._id = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def refresh(self) -> None:
        """Write a lock with the present time, then remove the one before.

        A lock that was lost stays lost (LockedError): while it was gone others may have pruned.
        """
        with self._guard:
            self._confirm()
            before = self._id
            self._id = self._write()
            if before is not None:
                self._remove(before)

    def _keep_fresh(self) -> None:
        while not self._released.wait(REFRESH_EVERY.total_seconds()):
            try:
                self.refresh()
            except BackupError:
                continue  # the next round tries again; `confirm` refuses once it is too late

    def _refuse_others(self) -> None:
        now = self._now()
        for lock_id, other in read_locks(self._box).items():
            if lock_id == self._id:
                continue
            if other.dead(now):
                self._remove(lock_id)
            elif self._exclusive or other.exclusive:
                raise LockedError(
                    f"the repository {self._box.store.address} is locked {other}",
                    safe="nothing was changed",
                    hint="wait until that process has ended; if it has and the lock stays, `unlock` removes it",
                )

    def _write(self) -> str:
        now = self._now()
        lock = LockFile(
            time=rfc3339(int(now.timestamp() * 1e9)),
            exclusive=self._exclusive,
            hostname=socket.gethostname(),
            username=user_name(),
            pid=os.getpid(),
            uid=os.getuid(),
            gid=os.getgid(),
        )
        written = self._box.save(Kind.LOCK, msgspec.json.encode(lock))
        self._written_at = now  # only once it is there: others judge by the lock that they can see
        return written

    def _remove(self, lock_id: str) -> None:
        self._box.store.delete(object_name(Kind.LOCK, lock_id))

    def _lost(self, why: str) -> LockedError:
        return LockedError(
            f"the lock on {self._box.store.address} was lost: {why}",
            safe="every snapshot that was published before; this run published nothing after it",
            hint="run the same command again: what was stored already is not stored twice",
        )


def _ignore_hangup() -> None:
    """Survive stock restic's `unlock`: it asks whether a lock's process lives by sending it SIGHUP.

    Only a main thread may change what a signal does; a process that locks in other threads does this itself.
    """
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
