"""Take over the files that the server's archive_command sends to a Unix socket; what is decided is in `keeping`.

A file is received under a temporary name, made durable, checked, and only then
given its name: whatever ends this in between leaves no part of a file under the
name of a segment, and the server, which was not answered, sends it again.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.archive_client import GREETING, HEADER
from edurise_backup.errors import (
    BackupError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    InputError,
    SourceError,
    TransientError,
)
from edurise_backup.operations.wal.keeping import Answer, Keeper
from edurise_backup.operations.wal.reaching import Owner, blocked_for, let_reach

LONGEST = 107
"""Bytes of a socket's path: a `sockaddr_un` has 108 (unix(7))."""
_AT_ONCE = 4
_SILENCE_SECONDS = 60
_PIECE = 2 << 20
"""Bytes received at once: few enough to write early, enough to ask for the interpreter rarely."""
_TEMPORARY = ".handed-"
_FULL = (errno.ENOSPC, errno.EDQUOT)
_PEER = struct.Struct("3i")


@dataclass(frozen=True, slots=True)
class Handed:
    """What a connection says first."""

    name: str
    length: int


class Acceptor:
    """Listens at `place` for as long as it runs; only ourselves, root and `owner`, the server's user, are heard."""

    def __init__(self, place: Path, keeper: Keeper, *, owner: Owner | None) -> None:
        self._place = place
        self._keeper = keeper
        self._owner = owner
        self._users = {0, os.geteuid()} | ({owner.uid} if owner else set())
        self._listener: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._open: set[socket.socket] = set()
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._why = ""

    @property
    def running(self) -> bool:
        """Whether it listens."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin to listen; raises ConfigError, ConflictError. What an ended process left unfinished goes."""
        self.stop()
        try:
            self._listener = self._bound()
            for path in self._keeper.folder.glob(f"{_TEMPORARY}*"):
                path.unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(
                f"the socket {self._place} cannot be made: {error.strerror or error}",
                safe="nothing is lost: the server keeps what it could not hand over",
                hint="set [cluster.wal] socket to a place that this user may write",
            ) from error
        self._thread = threading.Thread(target=self._accept, args=(self._listener,), name="archive", daemon=True)
        self._thread.start()

    def trouble(self) -> BackupError:
        """Return why it has ended."""
        return TransientError(
            f"files are not accepted at {self._place} now: {self._why or 'it was stopped'}",
            safe="the server keeps what it could not hand over",
        )

    def stop(self) -> None:
        """End it in order: what has come is kept and answered, what is on its way comes again."""
        listener, self._listener = self._listener, None
        thread, self._thread = self._thread, None
        if listener is None:
            return
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)  # wakes who waits in accept
        if thread is not None:
            thread.join()
        listener.close()
        self._place.unlink(missing_ok=True)
        for connection in list(self._open):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)
        for _ in range(_AT_ONCE):
            self._room.acquire(timeout=_SILENCE_SECONDS)
        self._room = threading.BoundedSemaphore(_AT_ONCE)

    # Listening

    def _bound(self) -> socket.socket:
        place = str(self._place)
        if len(os.fsencode(place)) > LONGEST:
            raise ConfigError(
                f"the path of the socket is longer than {LONGEST} bytes: {place}",
                safe="nothing was done",
                hint="set [cluster.wal] socket to a shorter one, for instance /run/edurise-backup/NAME.sock",
            )
        self._make_way()
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listener.bind(place)
            if self._owner and os.geteuid() == 0:
                os.chown(place, self._owner.uid, self._owner.gid)
            # Nobody connects before it listens, so it never has other permissions than these. Where we may not give it
            # to the server's user everybody may knock, and is asked who they are.
            shared = self._owner is not None and os.geteuid() not in (0, self._owner.uid)
            self._place.chmod(0o666 if shared else 0o600)
            listener.listen(_AT_ONCE)
        except OSError:
            listener.close()
            raise
        return listener

    def _make_way(self) -> None:
        """Remove the socket of a process that has ended, and have the server's user reach the place."""
        self._place.parent.mkdir(mode=0o711, exist_ok=True)
        probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            probe.connect(str(self._place))
        except ConnectionRefusedError:
            self._place.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        else:
            raise ConflictError(
                f"somebody else accepts files at {self._place}",
                safe="nothing was changed",
                hint="stop the other receiver, or give each its own [cluster.wal] socket",
            )
        finally:
            probe.close()
        if self._owner is None:
            return
        if self._place.parent == self._keeper.folder:
            let_reach(self._keeper.folder, self._owner)
        blocked = blocked_for(self._place.parent, self._owner)
        if blocked:
            raise ConfigError(
                f"the server's user (id {self._owner.uid}) cannot reach {self._place}: {blocked} is closed to it",
                safe="nothing is lost: the server keeps what it could not hand over",
                hint=f"set [cluster.wal] socket to a path that it reaches, for instance /run/edurise-backup/NAME.sock, "
                f"or let it enter {blocked} (chmod o+x)",
            )

    def _accept(self, listener: socket.socket) -> None:
        self._why = ""
        while True:
            room = self._room
            room.acquire()
            try:
                connection, _ = listener.accept()
            except OSError as error:  # stopped, or no descriptor is left; then it is started anew
                self._why = error.strerror or str(error)
                room.release()
                return
            self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection, room), name="archive file", daemon=True).start()

    # One file

    def _serve(self, connection: socket.socket, room: threading.BoundedSemaphore) -> None:
        try:
            with connection:
                limit = struct.pack("@ll", _SILENCE_SECONDS, 0)
                for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                    connection.setsockopt(socket.SOL_SOCKET, option, limit)
                answer = self._answer(connection)
                with suppress(OSError):  # who asked has gone: it asks again
                    connection.sendall(f"{'0' if answer.kept else '1'} {answer.said}\n".encode())
        finally:
            self._open.discard(connection)
            room.release()

    def _answer(self, connection: socket.socket) -> Answer:
        unfinished = self._keeper.folder / f"{_TEMPORARY}{secrets.token_hex(8)}"
        try:
            handed = self._greeted(connection)
            self._receive(connection, unfinished, handed.length)
            return self._keeper.keep(handed.name, unfinished)
        except BackupError as error:
            return Answer(False, error.message)
        except OSError as error:
            full = "; the disk of the spool is full: make room" if error.errno in _FULL else ""
            return Answer(False, f"the receiver cannot keep it: {error.strerror or error}{full}")
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)

    def _greeted(self, connection: socket.socket) -> Handed:
        _, user, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        if user not in self._users:
            allowed = ", ".join(map(str, sorted(self._users)))
            raise ForbiddenError(f"the user with id {user} may not hand files over here; {allowed} may")
        header = connection.recv(HEADER, socket.MSG_WAITALL)
        words = header[len(GREETING) :].split()
        if len(header) < HEADER or not header.startswith(GREETING + b" ") or len(words) != 2 or not words[0].isdigit():
            raise InputError("this is not how archive_client.py begins: do both come from the same release?")
        handed = Handed(os.fsdecode(words[1]), int(words[0]))
        if refusal := self._keeper.refusal(handed.name, handed.length):
            raise InputError(refusal)
        return handed

    def _receive(self, connection: socket.socket, path: Path, length: int) -> None:
        """Write what comes to a new file, durably."""
        room = memoryview(bytearray(min(length, _PIECE)))
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            done = 0
            while done < length:
                count = connection.recv_into(room, min(len(room), length - done), socket.MSG_WAITALL)
                if not count:
                    raise SourceError(f"it ended after {done} of {length} bytes")
                _write(descriptor, room[:count])
                os.posix_fadvise(descriptor, done, count, os.POSIX_FADV_DONTNEED)  # begin to write it out at once
                done += count
            os.fsync(descriptor)  # once: after a failure the kernel may have dropped what was not written
        finally:
            os.close(descriptor)


def _write(descriptor: int, data: memoryview) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
