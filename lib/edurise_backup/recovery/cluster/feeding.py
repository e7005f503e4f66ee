"""Bring the log to the server: fetched ahead in parallel, handed over by a `restore_command` that never guesses.

The command answers 1 only for a name that the archive does not have. When the
feeder has failed or died it answers 200: above 125 the server aborts the
recovery instead of ending it early (`access/transam/xlogarchive.c`). The
server's user owns the folder, so all is reached through its descriptors.
"""

from __future__ import annotations

import errno
import os
import shlex
import shutil
import subprocess
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from edurise_backup.errors import BackupError, ConfigError, DamageError, SpaceError
from edurise_backup.model.wal import Lsn
from edurise_backup.postgres.places import write_new
from edurise_backup.postgres.privileges import Account, identity
from edurise_backup.recovery.cluster.target import Route, Step
from edurise_backup.repository.wal_archive import WalArchive

AHEAD = 32
"""Segments that are fetched before they are asked for, at most."""
_AT_FIRST = 4
"""How many of them when the server starts: a target near the base backup needs no more. Each request doubles them."""
_KEPT = 64 * 1024 * 1024
"""Bytes of segments that are kept: the server asks again for the one in which it stops."""
_WORKERS = 4
_TROUBLE = 200
_PROBE = "probe"
_PROBE_SECONDS = 60
_LONGEST_LINE = 256
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_SCRIPT = """#!/bin/sh
# restore_command of a recovery: $1 is asked for, $2 is where it goes.
# Ends with 0: it is there; 1: the archive does not have it; {trouble}: trouble, recovery must not end here.
here=${{0%/*}}
grep -qxF -e "$1" "$here/names"
case $? in 0) ;; 1) exit 1 ;; *) exit {trouble} ;; esac
alive() {{
    read -r line < /proc/{pid}/stat || return 1
    case $line in *" {started} "*) return 0 ;; *) return 1 ;; esac
}}
printf '%s\\n' "$1" 1<> "$here/asked" || exit {trouble}
while :; do
    alive 2> /dev/null || exit {trouble}
    [ -f "$here/ready/$1" ] && break
    [ -e "$here/failed" ] && exit {trouble}
    sleep 0.02 2> /dev/null || sleep 1
done
mv -f "$here/ready/$1" "$2" || exit {trouble}
"""


class Feeder:
    """Serves the segments of a route and all histories; as a context manager it makes the folder and removes it.

    `folder` must not exist, on the file system of the data directory, and be reachable by `account`, the server's user.
    """

    def __init__(
        self,
        archive: WalArchive,
        route: Route,
        folder: Path,
        *,
        account: Account,
        ahead: int = AHEAD,
        workers: int = _WORKERS,
    ) -> None:
        self._archive = archive
        self._route = route
        self._folder = folder
        self._account = account
        self._most, self._ahead = ahead, min(ahead, _AT_FIRST)
        self._stored = [step for step in route.steps if step.stored is not None]
        self._places = {step.name: place for place, step in enumerate(self._stored)}
        self._held: set[str] = set()
        """Names that are fetched or ready, and not asked for since."""
        self._kept: dict[str, bytes] = {}
        """The last ones that were fetched, oldest first."""
        self._guard = threading.Lock()
        self._closing = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="wal")
        self._thread = threading.Thread(target=self._serve, name="wal", daemon=True)
        self._asked: Step | None = None
        self._top = self._ready = self._coming = self._requests = -1
        self.error: BaseException | None = None
        """Why a segment could not be brought; then the command answers with trouble."""

    @property
    def restore_command(self) -> str:
        """What the server is to run."""
        script = shlex.quote(str(self._folder / "fetch")).replace("%", "%%")
        return f'/bin/sh {script} "%f" "%p"'

    @property
    def position(self) -> Lsn:
        """Where the segment begins that the server asked for last: all before it is replayed."""
        asked = self._asked
        return asked.segment.start(self._route.size) if asked else self._route.start

    def __enter__(self) -> Self:
        try:
            self._make()
            self._thread.start()
            self._prove_reachable()  # before there is anything else that could go wrong
            self._fill(0)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Have a waiting command end with trouble, stop fetching, and remove the folder; once more does nothing."""
        with self._guard:
            if self._closing:
                return
            self._closing = True
        if self._thread.ident is not None:
            self._mark("the recovery was stopped")
            os.write(self._requests, b"\n")
            self._thread.join()
        self._pool.shutdown(cancel_futures=True)
        for descriptor in (self._requests, self._ready, self._coming, self._top):
            if descriptor >= 0:
                os.close(descriptor)
        self._top = self._ready = self._coming = self._requests = -1
        shutil.rmtree(self._folder, ignore_errors=True)

    # the folder

    def _make(self) -> None:
        """Make everything while nobody else can enter, then hand it to the server's user."""
        try:
            self._folder.mkdir(mode=0o700)
            self._top = os.open(self._folder, _FOLDER)
            for name in ("ready", "coming"):
                os.mkdir(name, 0o700, dir_fd=self._top)
            self._ready = os.open("ready", _FOLDER, dir_fd=self._top)
            self._coming = os.open("coming", _FOLDER, dir_fd=self._top)
            os.mkfifo("asked", 0o600, dir_fd=self._top)
            self._requests = os.open("asked", os.O_RDWR | os.O_CLOEXEC, dir_fd=self._top)
            names = [*self._route.histories, *(step.name for step in self._stored), _PROBE]
            self._write(self._top, "names", "".join(f"{name}\n" for name in names).encode(), 0o600)
            pid = os.getpid()
            script = _SCRIPT.format(trouble=_TROUBLE, pid=pid, started=_started(pid))
            self._write(self._top, "fetch", script.encode(), 0o700)
            for name in self._route.histories:
                self._hand_over(name, self._archive.read(name))
            self._own("ready", self._top)
            self._own("asked", self._top)
            if self._account.switch:
                os.fchown(self._top, self._account.uid, self._account.gid)
        except OSError as error:
            raise _translated(error, self._folder) from error

    def _own(self, name: str, folder: int) -> None:
        if self._account.switch:
            os.chown(name, self._account.uid, self._account.gid, dir_fd=folder, follow_symlinks=False)

    def _write(self, folder: int, name: str, content: bytes, mode: int) -> None:
        write_new(folder, name, content, self._account.owner, mode=mode)

    def _hand_over(self, name: str, content: bytes) -> None:
        """Have a file appear under its name, whole."""
        temporary = f"{name}.{threading.get_ident()}"
        self._write(self._coming, temporary, content, 0o600)
        os.rename(temporary, name, src_dir_fd=self._coming, dst_dir_fd=self._ready)

    def _prove_reachable(self) -> None:
        """Run the command as the server will; raises ConfigError."""
        place = self._folder / "ready" / "probed"
        try:
            done = subprocess.run(
                ["/bin/sh", str(self._folder / "fetch"), _PROBE, str(place)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                cwd="/",
                env={"PATH": "/usr/bin:/bin"},
                timeout=_PROBE_SECONDS,
                check=False,
                **identity(self._account),
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{self._folder}/fetch cannot be run: {error}") from error
        if done.returncode != 0:
            said = done.stderr.decode("utf-8", "replace").strip() or f"exit status {done.returncode}"
            raise ConfigError(
                f"the server's user (id {self._account.uid}) cannot work in {self._folder}: {said}",
                hint="restore to a directory whose parents that user may enter",
            )

    # serving

    def _serve(self) -> None:
        """Hear what is asked for, and keep ahead of it."""
        rest = b""
        while not self._closing:
            *lines, rest = (rest + os.read(self._requests, 65536)).split(b"\n")
            rest = rest[-_LONGEST_LINE:]
            for line in lines:
                self._answer(line.decode("ascii", "replace"))

    def _answer(self, name: str) -> None:
        if name == _PROBE or name in self._route.histories:
            self._pool.submit(self._bring_small, name)  # the last one may have been taken
            return
        place = self._places.get(name)
        if place is None:
            return
        self._asked = self._stored[place]
        self._ahead = min(self._most, 2 * self._ahead)
        with self._guard:
            waiting = name in self._held
            self._held.discard(name)
        if not waiting:  # asked for once more, or out of order
            self._submit(self._stored[place])
        self._fill(place + 1)

    def _fill(self, place: int) -> None:
        for step in self._stored[place : place + self._ahead]:
            with self._guard:
                known = step.name in self._held
                self._held.add(step.name)
            if not known:
                self._submit(step)

    def _submit(self, step: Step) -> None:
        with self._guard:
            if not self._closing and self.error is None:
                self._pool.submit(self._bring, step)

    def _bring(self, step: Step) -> None:
        """Fetch a segment; what goes wrong is kept, and ends the recovery."""
        if self.error is not None or self._closing:
            return
        try:
            content = self._kept.get(step.name) or self._fetch(step)
            self._hand_over(step.name, content)
        except BaseException as error:  # noqa: BLE001  it is raised by whoever waits for the recovery
            self._fail(error, step.name)

    def _fetch(self, step: Step) -> bytes:
        assert step.stored is not None
        content = as_segment(self._archive.read(step.stored), step, self._route.size)
        with self._guard:
            self._kept[step.name] = content
            while self._kept and len(self._kept) * self._route.size > _KEPT:
                del self._kept[next(iter(self._kept))]
        return content

    def _bring_small(self, name: str) -> None:
        try:
            self._hand_over(name, b"" if name == _PROBE else self._archive.read(name))
        except BaseException as error:  # noqa: BLE001  as above
            self._fail(error, name)

    def _fail(self, error: BaseException, name: str) -> None:
        if isinstance(error, OSError):
            error = _translated(error, self._folder)
        with self._guard:
            if self._closing or self.error is not None:
                return
            self.error = error
        self._mark(f"{name}: {error}")

    def _mark(self, reason: str) -> None:
        with suppress(OSError):  # one that is there says the same
            self._write(self._top, "failed", reason.encode("utf-8", "replace") + b"\n", 0o600)


def as_segment(content: bytes, step: Step, size: int) -> bytes:
    """Return a segment of full size, without what belongs to another branch; raises DamageError."""
    partial = step.stored is not None and step.stored.endswith(".partial")
    if len(content) > size or (len(content) < size and not partial):
        raise DamageError(
            f"{step.stored} has {len(content):,} bytes instead of {size:,}",
            safe="the archive is as it was; the recovery was stopped",
            hint="look for the segment on the server or its standby; or choose a target before it",
        )
    keep = len(content) if step.cut is None else step.cut - step.segment.start(size)
    return content[:keep].ljust(size, b"\0")


def wanted_room(route: Route, ahead: int = AHEAD) -> int:
    """Return the bytes that the fetched segments take on the disk of the data directory at most."""
    return min(ahead + _WORKERS, len(route.steps)) * route.size


def _started(pid: int) -> int:
    """Return when a process started, as proc(5) says it: a number is used again, but not at the same time."""
    fields: Sequence[str] = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()
    return int(fields[19])


def _translated(error: OSError, folder: Path) -> BackupError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpaceError(f"no room left in {folder}", safe="the backup", hint="free space, and recover again")
    return BackupError(
        f"{folder}: {error.strerror}", safe="the backup", hint="see to that folder, and recover to another directory"
    )
