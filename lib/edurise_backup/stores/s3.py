"""A store in a bucket: restic's layout, so that stock restic opens it.

What a bucket does not promise is made up for: a listing is followed to its end
or refused, a range is counted, an upload whose answer was lost is looked up
(`s3_upload`), and every request is repeated within a budget (`perseverance`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from edurise_backup.errors import DamageError, NotFoundError, TransientError
from edurise_backup.model.location import S3Access, S3Place
from edurise_backup.model.traffic import Traffic
from edurise_backup.ports import Buffer, Clock, utc_now
from edurise_backup.s3.listing import objects_below, uploads_below
from edurise_backup.s3.parts import PartSizes
from edurise_backup.s3.perseverance import Pace, Patience, Perseverance, Timing
from edurise_backup.s3.traffic import Meter
from edurise_backup.s3.wire import Answer, Wire, look
from edurise_backup.stores.s3_upload import Condition, Content, Upload
from edurise_backup.stores.s3_vault import S3Vault

T = TypeVar("T")


def _go_on() -> None:
    """Nobody stops the work."""


@dataclass(frozen=True, slots=True)
class S3Settings:
    """How a bucket is worked with."""

    patience: Patience = field(default_factory=Patience)
    sizes: PartSizes = field(default_factory=PartSizes)
    trusted: bool | None = None
    """Whether `If-None-Match` is known to be honoured; None: by Amazon alone."""
    page: int = 1000
    """Objects that a listing is asked for at once; no server gives more."""
    stop: Callable[[], None] = _go_on
    """Raises when the work was cancelled: asked while waiting."""
    timing: Timing | None = None
    meter: Meter | None = None
    """Where requests are counted; None: in a meter of the store's own."""
    clock: Clock = utc_now
    """From when locks of objects are reckoned."""


class S3Store:
    """Keeps objects below a folder of a bucket; safe for any number of threads.

    Two processes that create one name at the same moment are kept apart by the server, where it can
    do that; else both may succeed where the name is the hash of the bytes (then they are the same),
    and of other names the earlier one raises ConflictError.
    """

    def __init__(self, place: S3Place, access: S3Access, settings: S3Settings | None = None) -> None:
        """Nothing is asked yet. Raises InputError for plain http that nobody allowed."""
        settings = settings or S3Settings()
        self._wire = Wire(place, access, settings.meter)
        self._sizes = settings.sizes
        self._page = settings.page
        self._condition = Condition(trusted=place.amazon if settings.trusted is None else settings.trusted)
        self._perseverance = Perseverance(
            settings.patience,
            where=place.address,
            answered=lambda: self._wire.answered,
            stop=settings.stop,
            timing=settings.timing,
        )
        self.vault = S3Vault(self._wire, self._perseverance, access.lock, settings.clock, page=settings.page)
        """What the bucket does with locks and versions."""
        self._clock = settings.clock
        self._changed = threading.Condition()
        self._being_put = set[str]()

    @property
    def address(self) -> str:
        """The location, as stock restic takes it."""
        return self._wire.place.address

    @property
    def wire(self) -> Wire:
        """What asks the server: for whoever finds out what it can do."""
        return self._wire

    def persevere(self, call: Callable[[], T]) -> T:
        """Repeat what somebody asks the wire, like the store's own requests."""
        return self._perseverance.run(call)

    @property
    def pace(self) -> Pace:
        """How far apart the server wants its requests."""
        return self._perseverance.pace

    def traffic(self) -> Traffic:
        """Return the requests and bytes so far."""
        return self._wire.traffic()

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object; raises ConflictError, SpaceError."""
        content = _joined(pieces)
        with self._alone(name):
            retention = self.vault.retention(name)
            Upload(self._wire, self._perseverance, self._condition, self._sizes, name, content, retention).run()
            if retention and self._sizes.of(len(content)):  # not every server heeds what the begin of an upload says
                self.vault.extend(name, self.vault.lock.until(self._clock()))

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Have no other thread put the same name meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: name not in self._being_put)
            self._being_put.add(name)
        try:
            yield
        finally:
            with self._changed:
                self._being_put.remove(name)
                self._changed.notify_all()

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object, or exactly `length` bytes of it from `offset`."""
        if length == 0:
            self.size(name)
            return b""
        try:
            return self._perseverance.run(lambda: self._get(name, offset, length))
        except DamageError as error:
            size = self.size(name)
            if length is None and offset == size:
                return b""
            wanted = size if length is None else offset + length
            raise DamageError(f"{name} ends after {size} bytes, {wanted} were expected") from error

    def _get(self, name: str, offset: int, length: int | None) -> bytes:
        if not offset and length is None:
            answer = self._wire.ask("GetObject", name=name)
            return self._whole(name, answer, int(answer["ContentLength"]))
        end = "" if length is None else offset + length - 1
        answer = self._wire.ask("GetObject", name=name, Range=f"bytes={offset}-{end}")
        data = bytes(answer["Body"])
        told = str(answer.get("ContentRange", ""))
        if not told:  # the server does not know ranges, and has sent everything
            total = int(answer["ContentLength"])
            data = self._whole(name, answer, total)[offset:][:length]
        else:
            total = _total(told, name)
        wanted = min(length, max(0, total - offset)) if length is not None else total - offset
        if len(data) != wanted:
            raise TransientError(f"{name}: {len(data)} bytes came, {wanted} were asked for")
        if length is not None and wanted < length:
            raise DamageError(f"{name} ends before what was to be read")
        return data

    def _whole(self, name: str, answer: Answer, size: int) -> bytes:
        data = bytes(answer["Body"])
        if len(data) != size:
            raise TransientError(f"{name}: {len(data)} bytes came, {size} were announced")
        return data

    def size(self, name: str) -> int:
        """Return the object's size in bytes."""
        return int(self._perseverance.run(lambda: look(self._wire, name))["ContentLength"])

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield every object below `prefix`, page by page; a listing that cannot be whole raises."""
        yield from objects_below(self._wire, self._perseverance, prefix, page=self._page)

    def delete(self, name: str) -> None:
        """Remove the object; in a bucket that keeps versions, and locks nothing, it becomes an older one."""
        with self._perseverance.last_words() if name.startswith("locks/") else nullcontext():
            self._delete(name)

    def _delete(self, name: str) -> None:
        if self.vault.lock:
            self.vault.hide(name)
        else:
            self._perseverance.run(lambda: self._wire.ask("DeleteObject", name=name))

    def file_of(self, name: str) -> str | None:
        """There are no files."""
        return None

    def sweep(self, prefix: str) -> int:
        """Abort the uploads in parts that were cut short below `prefix`; return how many."""
        left = uploads_below(self._wire, self._perseverance, prefix)
        for name, upload in left:
            self._abort(name, upload)
        return len(left)

    def _abort(self, name: str, upload: str) -> None:
        try:
            self._perseverance.run(lambda: self._wire.ask("AbortMultipartUpload", name=name, UploadId=upload))
        except NotFoundError:  # it has gone by itself
            return

    def now(self) -> datetime | None:
        """Return what the server's Date header says."""
        self._perseverance.run(lambda: self._wire.ask("HeadBucket"))
        return self._wire.time_of_last_answer()


def _joined(pieces: Sequence[Buffer]) -> Content:
    if len(pieces) == 1 and isinstance(pieces[0], bytes):
        return pieces[0]
    return b"".join(pieces)


def _total(content_range: str, name: str) -> int:
    """Return the object's size that `bytes 0-9/100` tells."""
    try:
        return int(content_range.rpartition("/")[2])
    except ValueError:
        raise TransientError(f"{name}: the server's answer tells no range") from None
