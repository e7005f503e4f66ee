"""What stands behind sealing in tests: who claims blobs, and opens what was sealed."""

from __future__ import annotations

from collections.abc import Sequence

from edurise_backup.model.content import BlobId
from edurise_backup.pipeline.codec import MasterKey, open_blob
from edurise_backup.pipeline.sealer import SealedBlob

KEY = MasterKey.from_bytes(bytes(range(64)))


class Taken:
    """Claims every blob once, and opens what it gets."""

    def __init__(self) -> None:
        self.plain: dict[BlobId, bytes] = {}

    def claim(self, ids: Sequence[BlobId | None]) -> list[bool]:
        wanted = []
        for name in ids:
            wanted.append(name is not None and name not in self.plain)
            if name is not None:
                self.plain.setdefault(name, b"")
        return wanted

    def take(self, blobs: Sequence[SealedBlob], content: memoryview) -> None:
        start = 0
        for blob in blobs:
            sealed = content[start : start + blob.length]
            self.plain[blob.id] = open_blob(KEY, sealed, wanted=blob.id, raw_length=blob.raw_length)
            start += blob.length
        assert start == len(content)
