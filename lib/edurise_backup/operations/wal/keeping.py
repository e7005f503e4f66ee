"""Decide on a file that the server's archive_command hands over: keep it, or say why not.

A yes means that the file is durable here or in the repository; the server then
throws its own away. Nothing that is there is ever replaced: a file that is not
what it should be, or not what came before under its name, is put aside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import WalFile, WalFileKind, parse_history, parse_wal_name
from edurise_backup.operations.wal.durable import is_same, link_durably, sync
from edurise_backup.operations.wal.spool import Spool
from edurise_backup.postgres.wal.layout import LONG_HEADER
from edurise_backup.postgres.wal.pages import check_segment

_SMALL = 1024 * 1024
"""Bytes of a history or of a backup's note at most."""
_OFFERS = 3
"""After so many identical offers the file on the server is what is broken, not the way from there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server is told; `kept` is its permission to throw its own file away."""

    kept: bool
    said: str


class Keeper:
    """Keeps the files of one cluster in its spool; `look` returns what the repository has under a name, if it can."""

    def __init__(self, spool: Spool, look: Callable[[str], bytes | None], *, system: str, size: int) -> None:
        self.folder = spool.folder
        self._spool = spool
        self._look = look
        self._system = system
        self._size = size
        self._offers: dict[str, tuple[str, int]] = {}
        """How often a broken file of this name came with the same bytes."""

    def refusal(self, name: str, length: int) -> str:
        """Return why a file is refused before its bytes are seen; empty: it is not."""
        file = parse_wal_name(name, self._size)
        if file is None:
            return f"{name!r} is no file of a log with segments of {self._size} bytes"
        most = self._size if file.kind in (WalFileKind.SEGMENT, WalFileKind.PARTIAL) else _SMALL
        return f"{name} has {length} bytes, {most} are possible: is this another cluster's?" if length > most else ""

    def keep(self, name: str, unfinished: Path) -> Answer:
        """Keep a file that lies under a temporary name in the spool's folder, durable already.

        The temporary name stays. Raises OSError, SourceError; then nothing is under the file's name.
        """
        file = parse_wal_name(name, self._size)
        assert file is not None
        problem = self._problem(file, unfinished)
        if problem:
            return self._broken(file, unfinished, problem)
        self._offers.pop(name, None)
        there = self._look(name)  # before the lock: it may ask a store
        with self._spool.lock:
            target = self.folder / name
            if target.exists():
                if not is_same(target, unfinished):
                    return self._other(file, unfinished, "waits here")
                sync(target)
                sync(self.folder)
                return Answer(True, "it was here already")
            if there is not None:
                content = unfinished.read_bytes()
                if content == there or (file.kind is WalFileKind.PARTIAL and _begins(there, content)):
                    return Answer(True, "the repository has it")
                # What was streamed before ends earlier than what a promoted server hands over of the same segment.
                if file.kind is not WalFileKind.PARTIAL or not _begins(content, there):
                    return self._other(file, unfinished, "is in the repository")
            link_durably(unfinished, target)
        return Answer(True, "kept")

    def _problem(self, file: WalFile, path: Path) -> str | None:
        """Return what is wrong with a file, or None."""
        if file.kind is WalFileKind.BACKUP:
            return None if path.stat().st_size else "it is empty"
        if file.kind is WalFileKind.HISTORY:
            try:
                content = path.read_bytes()
                return None if len(parse_history(file.timeline, content)) > 1 else "it names no timeline before it"
            except DamageError as error:
                return error.message
        return check_segment(path, file.name, system_identifier=int(self._system), size=self._size)

    def _broken(self, file: WalFile, path: Path, problem: str) -> Answer:
        """Put a file aside that is no part of this log, and decide whether the server may go on behind it.

        An archive_command that fails for ever stops the server's queue, and its disk fills until it goes down
        (SCENARIOS S-30). So a file that can never become right is let through, because nothing is lost by that: all
        its bytes lie here, durable and told of by an alarm; the server has no others, for the same ones came several
        times, not just a bad read; and the hole they leave in the log, which `wal_gap` tells of, is there whatever we
        answer. The server's file could only be mended from another copy, and that can be put into the spool as well.
        Anything else may be right on the server's side (another cluster's, of a later release, misplaced), and its
        server must not believe that it is kept: no.
        """
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        before, count = self._offers.get(file.name, (digest, 0))
        count = count + 1 if before == digest else 1
        self._offers[file.name] = (digest, count)
        self._spool.take_aside(path, f"{file.name}-{digest[:8]}")
        said = f"{file.name} is no part of this cluster's log: {problem}. It was put aside"
        if not self._is_hopeless(file, path):
            return Answer(False, f"{said}; find out which server sends it")
        if count < _OFFERS and file.kind is not WalFileKind.BACKUP:  # that one is a note: no recovery reads it
            return Answer(False, f"{said}; look at the disk of the server")
        del self._offers[file.name]
        return Answer(True, f"{said}, and the server may go on: take a base backup now")

    def _is_hopeless(self, file: WalFile, path: Path) -> bool:
        """Whether it is empty, zeros, or this cluster's and cut short: not another's, and not of an unknown kind."""
        content = path.read_bytes()
        if file.segment is None or file.kind is WalFileKind.BACKUP:
            return not content.strip(b"\0 \t\r\n")
        head = content[:LONG_HEADER]
        if not any(head) or len(head) < LONG_HEADER:
            return True
        whole = head.ljust(self._size, b"\0")
        return check_segment(whole, file.name, system_identifier=int(self._system), size=self._size) is None

    def _other(self, file: WalFile, path: Path, where: str) -> Answer:
        """Keep both versions (SCENARIOS S-29): which is right only a person can tell."""
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        self._spool.take_aside(path, f"{file.name}.conflict-{digest[:8]}")
        return Answer(
            False,
            f"{file.name} {where} with other bytes; both are kept. Do two servers write the same log (a clone, a "
            "second primary)? Give the other one a source of its own",
        )


def _begins(whole: bytes, part: bytes) -> bool:
    """Whether a segment holds all that the beginning of one holds; behind that are zeros."""
    return whole.startswith(part.rstrip(b"\0"))
