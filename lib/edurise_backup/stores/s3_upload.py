"""Create an object in a bucket: never over another one, and never half.

A request whose answer was lost may have been carried out. So each upload
carries a mark of its own: before it is sent again, the object is looked up, and
one with our mark (or with exactly our bytes) is the one that we sent.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from edurise_backup.errors import (
    BackupError,
    ConflictError,
    NotFoundError,
    TransientError,
    UnsupportedVersionError,
)
from edurise_backup.s3.parts import PartSizes, cut
from edurise_backup.s3.perseverance import Perseverance
from edurise_backup.s3.wire import Answer, Wire, look

Content = bytes | bytearray
Send = Callable[[Mapping[str, str]], None]
_MARK = "edurise-put"
_CONTENT_NAMED = re.compile(r"(?:.*/)?[0-9a-f]{64}\Z")
"""Such an object is named by the hash of its bytes: whoever else writes it writes the same."""
_BEGINNINGS = 3


@dataclass(slots=True)
class Condition:
    """What is known of `If-None-Match: *` on this server."""

    trusted: bool
    """It is known to be honoured: a look before each upload is not needed."""
    sent: bool = True
    """False once the server has said that it does not know the header."""

    @property
    def header(self) -> Mapping[str, str]:
        """What is sent with a create."""
        return {"IfNoneMatch": "*"} if self.sent else {}


@dataclass(slots=True)
class Upload:
    """One object on its way; used by one thread."""

    wire: Wire
    perseverance: Perseverance
    condition: Condition
    sizes: PartSizes
    name: str
    content: Content
    retention: Mapping[str, object] = field(default_factory=dict)
    """What is said of its lock."""
    mark: str = field(default_factory=lambda: secrets.token_hex(8))
    _doubtful: bool = False
    """A request that creates the object was sent, and its answer is not known."""

    def run(self) -> None:
        """Create the object; raises ConflictError when the name exists, SpaceError, and what the wire raises."""
        if not self.condition.trusted and self._found() is not None:
            raise ConflictError(f"{self.name} exists already in {self.wire.place.address}")
        part = self.sizes.of(len(self.content))
        if part:
            self._in_parts(part)
        else:
            self.perseverance.run(lambda: self._create(self._put_whole))
        if not self.condition.trusted and not _CONTENT_NAMED.match(self.name):
            self._refuse_replaced()

    def _put_whole(self, header: Mapping[str, str]) -> None:
        self.wire.ask(
            "PutObject",
            name=self.name,
            Body=bytes(self.content) if isinstance(self.content, bytearray) else self.content,
            ContentMD5=_md5(self.content),
            Metadata={_MARK: self.mark},
            **self.retention,
            **header,
        )

    def _create(self, send: Send) -> None:
        """Send a request that creates the object, unless an earlier one did; a failure leaves that in doubt."""
        if self._doubtful and self._arrived():
            return
        try:
            self._send(send)
        except TransientError:
            self._doubtful = True
            raise
        except (ConflictError, NotFoundError):  # it is there already; or its parts are gone, because it is complete
            if not (self._doubtful and self._arrived()):
                raise

    def _send(self, send: Send) -> None:
        try:
            send(self.condition.header)
        except UnsupportedVersionError:
            if not self.condition.sent:
                raise
            self.condition.sent = False  # the server does not know the header: looking before has to do
            send({})

    def _found(self) -> Answer | None:
        try:
            return self.perseverance.run(lambda: look(self.wire, self.name))
        except NotFoundError:
            return None

    def _arrived(self) -> bool:
        """Whether what lies there is what we sent; raises ConflictError when it is something else."""
        try:
            found = look(self.wire, self.name)
        except NotFoundError:
            return False
        if not self._ours(found):
            raise ConflictError(f"{self.name} exists already in {self.wire.place.address}")
        return True

    def _ours(self, found: Answer) -> bool:
        marks = {str(key).lower(): value for key, value in found.get("Metadata", {}).items()}
        if found.get("ContentLength") != len(self.content):
            return False
        if _MARK in marks:
            return bool(marks[_MARK] == self.mark)
        return bool(str(found.get("ETag", "")).strip('"') == _hex_md5(self.content))

    def _refuse_replaced(self) -> None:
        """Where nothing keeps two writers apart, the later one has replaced the object: the earlier one looks."""
        found = self._found()
        if found is None or not self._ours(found):
            raise ConflictError(
                f"{self.name} in {self.wire.place.address} was written by somebody else at the same moment",
                safe="what they have written",
                hint="this server cannot keep two writers of one name apart; run the same command again",
            )

    # In parts

    def _in_parts(self, part: int) -> None:
        """Upload part by part; an upload that the server has lost on the way is begun anew."""
        for _ in range(_BEGINNINGS):
            begun = self._ask("CreateMultipartUpload", Metadata={_MARK: self.mark}, **self.retention)
            upload = str(begun["UploadId"])
            try:
                self._fill(upload, part)
            except NotFoundError:
                self._abort(upload)
            except BaseException:  # what was uploaded so far costs money until somebody sweeps
                self._abort(upload)
                raise
            else:
                return
        raise TransientError(f"{self.wire.place.address} has lost the parts of {self.name} {_BEGINNINGS} times")

    def _fill(self, upload: str, part: int) -> None:
        view = memoryview(self.content)
        parts = []
        for number, begin, end in cut(len(self.content), part):
            piece = bytes(view[begin:end])
            answer = self._ask("UploadPart", UploadId=upload, PartNumber=number, Body=piece, ContentMD5=_md5(piece))
            parts.append({"ETag": answer["ETag"], "PartNumber": number})

        def complete(header: Mapping[str, str]) -> None:
            self.wire.ask(
                "CompleteMultipartUpload",
                name=self.name,
                UploadId=upload,
                MultipartUpload={"Parts": parts},
                **header,
            )

        self.perseverance.run(lambda: self._create(complete))

    def _ask(self, operation: str, **parameters: object) -> Answer:
        return self.perseverance.run(lambda: self.wire.ask(operation, name=self.name, **parameters))

    def _abort(self, upload: str) -> None:
        with suppress(BackupError):  # the error that led here matters more; a sweep removes what is left
            self.wire.ask("AbortMultipartUpload", name=self.name, UploadId=upload)


def _md5(content: Content) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()


def _hex_md5(content: Content) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
