"""Bring one object into a bucket, prove that it is there, and tell whether it was there already.

The proof is the object's size and the ETag where that is the MD5 of what was sent
(of the whole, or of its parts); where a server makes ETags of other things, the
object is read back and its SHA-256 compared. What was sent twice, because an
answer was lost, is the same both times.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from edurise_backup.errors import BackupError, NotFoundError, ProofError
from edurise_backup.model.objects import plain_etag
from edurise_backup.s3.parts import MIB, PartSizes
from edurise_backup.s3.perseverance import Perseverance
from edurise_backup.s3.wire import Answer, Wire

SIZES = PartSizes(whole=16 * MIB, part=16 * MIB)
"""As much of an object is in memory at once, unless it has more than 160 GiB."""
_READ = 8 * MIB


class Digests:
    """What an object's bytes are known by, whoever stores them; `part`: the size of its parts, 0 for one whole."""

    def __init__(self, part: int) -> None:
        self._part = part
        self._whole = hashlib.md5(usedforsecurity=False)
        self._parts: list[bytes] = []
        self.sha256 = hashlib.sha256()

    def add(self, piece: bytes) -> None:
        """Count in a part, or the whole."""
        self._whole.update(piece)
        self.sha256.update(piece)
        if self._part:
            self._parts.append(hashlib.md5(piece, usedforsecurity=False).digest())

    @property
    def etags(self) -> set[str]:
        """The ETags that servers may give the object."""
        joined = hashlib.md5(b"".join(self._parts), usedforsecurity=False).hexdigest()
        return {self._whole.hexdigest(), *([f"{joined}-{len(self._parts)}"] if self._parts else [])}


@dataclass(frozen=True, slots=True)
class ObjectUpload:
    """One object on its way; `pieces` gives its bytes, anew each time that it is called."""

    wire: Wire
    perseverance: Perseverance
    key: str
    """The whole key."""
    size: int
    headers: Mapping[str, object]
    sizes: PartSizes = field(default=SIZES)

    def found(self) -> Answer | None:
        """Return what lies under the key."""
        try:
            return self._ask("HeadObject")
        except NotFoundError:
            return None

    def is_equal(self, found: Answer, pieces: Iterable[bytes]) -> bool:
        """Whether what lies there is the object, with its bytes and headers."""
        if int(found["ContentLength"]) != self.size or self.lost_headers(found):
            return False
        digests = Digests(self.sizes.of(self.size))
        for part in self._cut(pieces):
            digests.add(part)
        return self._has_bytes(found, digests)

    def send(self, pieces: Iterable[bytes]) -> Answer:
        """Send it over whatever is there, and return what HEAD says of it; raises ProofError, SpaceError."""
        part = self.sizes.of(self.size)
        digests = Digests(part)
        parts = self._cut(pieces)
        if part:
            self._send_parts(parts, digests)
        else:
            content = b"".join(parts)
            digests.add(content)
            self._ask("PutObject", Body=content, ContentMD5=_md5(content), **self.headers)
        found = self.found()
        if found is None or int(found["ContentLength"]) != self.size or not self._has_bytes(found, digests):
            raise ProofError(
                f"{self.key} is not what was sent",
                safe="the backup",
                hint="somebody else writes there, or the server is broken; run the same command again",
            )
        return found

    def lost_headers(self, found: Answer) -> list[str]:
        """Return the headers that the object should have, and has not as it should."""
        lost = []
        for name, wanted in self.headers.items():
            there = found.get("ExpiresString" if name == "Expires" else name)
            if name == "Metadata":
                there = {str(key).lower(): value for key, value in (there or {}).items()}
            if there != wanted:
                lost.append(name)
        if "Metadata" not in self.headers and found.get("Metadata"):
            lost.append("Metadata")
        return lost

    def _send_parts(self, parts: Iterable[bytes], digests: Digests) -> None:
        upload = str(self._ask("CreateMultipartUpload", **self.headers)["UploadId"])
        try:
            done = []
            for number, part in enumerate(parts, 1):
                digests.add(part)
                answer = self._ask("UploadPart", UploadId=upload, PartNumber=number, Body=part, ContentMD5=_md5(part))
                done.append({"ETag": answer["ETag"], "PartNumber": number})
            with suppress(NotFoundError):  # it was completed, and the answer was lost: the proof looks
                self._ask("CompleteMultipartUpload", UploadId=upload, MultipartUpload={"Parts": done})
        except BaseException:
            with suppress(BackupError):  # the error that led here matters more
                self.wire.ask("AbortMultipartUpload", Key=self.key, UploadId=upload)
            raise

    def _has_bytes(self, found: Answer, digests: Digests) -> bool:
        return plain_etag(found.get("ETag")) in digests.etags or self._read_back() == digests.sha256.digest()

    def _read_back(self) -> bytes:
        digest = hashlib.sha256()
        for offset in range(0, self.size, _READ):
            answer = self.perseverance.run(
                lambda offset=offset: self.wire.ask_range(offset, _READ, {"Key": self.key})  # type: ignore[misc]
            )
            digest.update(answer["Body"])
        return digest.digest()

    def _cut(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the bytes in parts as they are sent; at least one."""
        size = self.sizes.of(self.size) or self.size
        waiting = bytearray()
        for piece in pieces:
            waiting += piece
            while len(waiting) > size:
                yield bytes(waiting[:size])
                del waiting[:size]
        yield bytes(waiting)

    def _ask(self, operation: str, **parameters: object) -> Answer:
        return self.perseverance.run(lambda: self.wire.ask(operation, name="", Key=self.key, **parameters))


def _md5(content: bytes) -> str:
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
