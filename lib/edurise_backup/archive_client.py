"""Hand one file of the write-ahead log over: what PostgreSQL runs as its archive_command, and nothing else.

    archive_command = '/usr/bin/python3 -I -S /path/to/archive_client.py SOCKET %p %f'

It ends with 0 only when the receiver says that the file is durable, else with 1 and a line on stderr: the server then
keeps the file and asks again. It must start quickly, so it stands alone and imports next to nothing; it is kept to what
Python 3.7 knows, because the server's machine may have no newer one.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what `signal` wraps: that one takes 5 ms to load
import _socket  # `socket` takes 13 ms
import os
import sys

GREETING = b"edurise-wal 1"
HEADER = 128
"""Bytes of what comes first: the greeting, the file's size, its name, spaces; then the file. The answer is a line that
begins with 0 (it is durable) or 1."""
NAME_BYTES = 64
"""A longer name is never asked for (the manual, "archive_command")."""
SEND_SECONDS = 60
ANSWER_SECONDS = 120
"""Until a receiver that says nothing counts as away: the disk that it writes to may be a busy one."""
_RECEIVE = "is `edurise-backup wal receive` running? The server keeps the file and tries again"


_ENDING = (1, 2, 3)
"""SIGHUP, SIGINT, SIGQUIT: dying of one would end the archiver. SIGTERM may: the server stops then."""


class HandOverError(Exception):
    """The file was not handed over; the text says what to do."""


def main(arguments: list[str]) -> int:
    """Return the exit status: above 125, or by a signal, the archiver would give up without counting it."""
    try:
        if len(arguments) != 3:
            raise HandOverError(
                "usage: archive_client.py SOCKET %p %f (`edurise-backup wal archive-command` prints it)"
            )
        for number in _ENDING:
            _signal.signal(number, _interrupted)
        hand_over(*arguments)
    except HandOverError as error:
        return _say(str(error))
    except Exception as error:  # noqa: BLE001  whatever it is, the server must hear of it as an ordinary failure
        return _say(f"{type(error).__name__}: {error}; the server tries again")
    return 0


def _interrupted(number: int, _: object) -> None:
    raise HandOverError(f"ended by signal {number}; the server tries again")


def hand_over(place: str, path: str, name: str) -> None:
    """Send a file; raises HandOverError unless the receiver answers that it is durable."""
    known = os.fsencode(name)
    if not 0 < len(known) <= NAME_BYTES or b" " in known:
        raise HandOverError(f"{name!r} is no name of a file of the log; archive_command must end with %p %f")
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise HandOverError(f"{path} cannot be read: {error.strerror}; the server tries again") from None
    size = os.fstat(file).st_size
    connection = _connected(place)
    try:
        connection.sendall((GREETING + b" %d %s" % (size, known)).ljust(HEADER))
        _send(connection, file, path, size)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it was refused before all of it was sent: the answer says why
    except BlockingIOError:
        raise HandOverError(f"{place} took nothing for {SEND_SECONDS} s; {_RECEIVE}") from None
    answer = _answer(connection, place)
    if not answer.startswith("0"):
        raise HandOverError(f"{name} was refused: {answer[2:]}")


def _connected(place: str) -> _socket.socket:
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    for option, seconds in ((_socket.SO_SNDTIMEO, SEND_SECONDS), (_socket.SO_RCVTIMEO, ANSWER_SECONDS)):
        limit = seconds.to_bytes(8, sys.byteorder) + bytes(8)  # a timeval; settimeout would keep sendfile from waiting
        connection.setsockopt(_socket.SOL_SOCKET, option, limit)
    try:
        connection.connect(place)
    except OSError as error:
        raise HandOverError(f"{place} does not answer: {error.strerror or error}; {_RECEIVE}") from None
    return connection


def _send(connection: _socket.socket, file: int, path: str, size: int) -> None:
    sent = 0
    while sent < size:
        count = os.sendfile(connection.fileno(), file, sent, size - sent)
        if not count:
            raise HandOverError(f"{path} ended after {sent} of {size} bytes; the server tries again")
        sent += count


def _answer(connection: _socket.socket, place: str) -> str:
    answer = b""
    try:
        while not answer.endswith(b"\n"):
            more = connection.recv(4096)
            if not more:
                raise HandOverError(f"{place} ended without an answer; {_RECEIVE}")
            answer += more
    except BlockingIOError:
        raise HandOverError(f"{place} has not answered for {ANSWER_SECONDS} s; {_RECEIVE}") from None
    except OSError as error:
        raise HandOverError(f"{place} broke off: {error.strerror}; {_RECEIVE}") from None
    return answer.decode("utf-8", "replace").strip()


def _say(text: str) -> int:
    os.write(2, ("edurise-backup archive: " + " ".join(text.split()) + "\n").encode("utf-8", "replace"))
    return 1


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))  # everything is said; the interpreter's own end takes a while
