"""Read objects of a bucket range by range: whatever its size, an object needs the memory of one range.

A body that breaks off costs one range. Every range must be of one and the same
state of the object: what the ETag says, asked for (`If-Match`) and compared.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from edurise_backup.errors import (
    BackupError,
    ConflictError,
    DamageError,
    InputError,
    NotFoundError,
    SourceError,
    TransientError,
    UnreachableError,
    UnsupportedVersionError,
)
from edurise_backup.model.content import ExtendedAttribute, Node, go_mode, rfc3339
from edurise_backup.model.objects import Listed, nanoseconds_of, object_attributes, plain_etag
from edurise_backup.ports import CHANGED, Content
from edurise_backup.s3.perseverance import Perseverance
from edurise_backup.s3.wire import Answer, Wire

RANGE = 8 << 20
"""Bytes of one request."""
_TRIES = 3
_FAILURES = 32
"""So many objects that cannot be read, and none in between that can: then it is the server or the credential."""
_SLACK = 2_000_000_000
"""Nanoseconds by which a server's answers and its listing may differ about one state: one is rounded, one was early."""


def object_node(
    name: str, size: int | None, modified: int, looked: int, attributes: Sequence[ExtendedAttribute]
) -> Node:
    """Return the node of an object, or of a folder (`size` None); times are nanoseconds since 1970.

    `looked`, the node's ctime, is when the bucket was listed before the object was read, by the server's clock.
    """
    kind, mode = go_mode(0o40700 if size is None else 0o100600)  # as secret as the bucket
    time = rfc3339(modified)
    return Node(
        name=name,
        type=kind,
        mode=mode,
        mtime=time,
        atime=time,
        ctime=rfc3339(looked),
        uid=os.getuid(),
        gid=os.getgid(),
        size=size or 0,
        content=None if size is None else [],
        extended_attributes=list(attributes),
    )


@dataclass(slots=True)
class Objects:
    """A bucket's objects; safe from any number of threads."""

    source: str
    wire: Wire
    perseverance: Perseverance
    conditional: bool = True
    """False once the server has said that it does not know `If-Match`."""
    _failures: int = 0
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def opener(self, found: Listed, node: Node) -> Callable[[], Content]:
        """Return what begins to read an object; it is called again when the object has changed meanwhile."""
        tries = iter(range(1, _TRIES + 1))
        return lambda: _ObjectContent(self, found, node, last=next(tries, _TRIES) == _TRIES)

    def ask(self, found: Listed, offset: int, etag: str) -> Answer:
        """Return what is there from `offset` on, at most a range; of an empty object what HEAD says.

        `etag`: raises ConflictError where it is another one. Raises SourceError for an object that cannot be
        read, and what ends the job when no object can.
        """
        try:
            answer = self.perseverance.run(lambda: self._ask(found, offset, etag))
        except ConflictError:
            raise
        except DamageError as error:  # it ends earlier than it did
            raise ConflictError(error.message) from error
        except NotFoundError as error:
            if error.hint:  # the bucket is gone
                raise SourceError(error.message, safe="nothing of it was published", hint=error.hint) from error
            raise SourceError(f"{self.source}/{found.key}: was deleted before it was read") from error
        except (InputError, TransientError) as error:
            self._count_failure(error)
            raise SourceError(f"{self.source}/{found.key}: {error.message}", hint=error.hint) from error
        self._failures = 0
        return answer

    def _ask(self, found: Listed, offset: int, etag: str) -> Answer:
        parameters = {"Key": self.wire.place.key(found.key)}
        if found.version:
            parameters["VersionId"] = found.version
        if etag and self.conditional:
            parameters["IfMatch"] = f'"{etag}"'
        try:
            if not found.size:
                return self.wire.ask("HeadObject", name="", **parameters)
            answer = self.wire.ask_range(offset, RANGE, parameters)
        except UnsupportedVersionError:
            if "IfMatch" not in parameters:
                raise
            self.conditional = False
            return self._ask(found, offset, etag)
        if not answer["Body"]:  # nothing would be taken for the object's end
            raise TransientError(f"{self.wire.place.address}: a range came without bytes")
        return answer

    def _count_failure(self, error: BackupError) -> None:
        """Raise the error when there are too many; what the provider has moved to an archive does not count."""
        if not isinstance(error, UnreachableError | TransientError):
            return
        with self._guard:
            self._failures += 1
            if self._failures >= _FAILURES:
                raise BackupError(
                    f"{self._failures} objects of {self.source} could not be read one after the other; "
                    f"the last one: {error.message}",
                    safe="what was published before stays whole",
                    hint=error.hint or "see how the server is, then run the backup again",
                ) from error


class _ObjectContent:
    """An object that is being read."""

    def __init__(self, objects: Objects, found: Listed, listed: Node, *, last: bool) -> None:
        self._objects = objects
        self._found = found
        self._last = last
        self._changed = False
        answer = self._first()
        self._etag = plain_etag(answer.get("ETag"))
        self._size = _size_of(answer)
        self._piece = memoryview(answer.get("Body", b""))
        self._taken = len(self._piece)
        self.node = self._described(answer, listed)

    def _first(self) -> Answer:
        """Ask for the beginning of the object as it was listed, or as it is by now."""
        for _ in range(_TRIES):
            try:
                answer = self._objects.ask(self._found, 0, self._found.etag)
            except ConflictError:  # another object by now, perhaps an empty one: HEAD says
                self._found = replace(self._found, size=0, etag="")
                continue
            if self._found.size or not _size_of(answer):
                return answer
            self._found = replace(self._found, size=_size_of(answer), etag="")  # HEAD brings no bytes
        raise SourceError(f"{self._objects.source}/{self._found.key}: {CHANGED} again and again")

    def _described(self, answer: Answer, listed: Node) -> Node:
        """Return the node; its time is the listing's, which the next listing tells again, unless it has changed."""
        modified, told = self._found.modified, nanoseconds_of(answer.get("LastModified"))
        same = self._etag == self._found.etag and abs(told - modified) <= _SLACK
        version = self._found.version or str(answer.get("VersionId") or "")
        node = object_node(listed.name, self._size, modified if same else told, 0, listed.extended_attributes)
        node.ctime = listed.ctime
        node.extended_attributes += object_attributes(self._etag, version, answer)
        return node

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning; an object that is another one by now ends here."""
        if not self._piece and self._taken < self._size and not self._changed:
            self._piece = self._next()
        count = min(len(buffer), len(self._piece))
        buffer[:count] = self._piece[:count]
        self._piece = self._piece[count:]
        return count

    def _next(self) -> memoryview:
        try:
            answer = self._objects.ask(self._found, self._taken, self._etag)
        except ConflictError:
            return self._note_change()
        if plain_etag(answer.get("ETag")) != self._etag or _size_of(answer) != self._size:
            return self._note_change()
        self._taken += len(answer["Body"])
        return memoryview(answer["Body"])

    def _note_change(self) -> memoryview:
        """Have it read again; raises SourceError at the last time: a piece of it is not the object."""
        self._changed = True
        if self._last:
            raise SourceError(
                f"{self._objects.source}/{self._found.key}: {CHANGED}, {_TRIES} times; it is not in this backup"
            )
        return memoryview(b"")

    def skip_hole(self, back: int, unit: int) -> int:
        """There are none."""
        return 0

    def finish(self) -> str | None:
        """Say whether what was read is a piece of one state and a piece of another."""
        return f"{self._objects.source}/{self._found.key}: {CHANGED}" if self._changed else None

    def close(self) -> None:
        """Let go of the range."""
        self._piece = memoryview(b"")


def _size_of(answer: Answer) -> int:
    """Return the whole object's size: what `bytes 0-9/100` tells, or without a range the answer's length."""
    told = str(answer.get("ContentRange") or "")
    return int(told.rpartition("/")[2]) if told else int(answer.get("ContentLength", 0))
