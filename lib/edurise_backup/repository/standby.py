"""Another repository that gives what this one cannot: the same blob has the same id wherever it lies."""

from __future__ import annotations

from collections.abc import Callable

from edurise_backup.errors import BackupError, DamageError, NotFoundError, TransientError, UnreachableError
from edurise_backup.model.content import BlobId, BlobKind

Spare = Callable[[BlobKind, BlobId, BackupError], bytes]
"""Gives a blob, proved by its id, that a repository could not give; raises the error when nobody else can."""


class Standby:
    """Steps in for reads that fail; a store that was out of reach once is not asked again."""

    def __init__(self, spare: Spare) -> None:
        self._spare = spare
        self._away: BackupError | None = None

    def blob(self, own: Callable[[], bytes], kind: BlobKind, blob_id: BlobId) -> bytes:
        """Return a blob, the repository's own or the spare's; raises when neither has it whole."""
        try:
            if self._away is not None:
                raise self._away
            return own()
        except (DamageError, NotFoundError) as error:
            return self._spare(kind, blob_id, error)
        except (TransientError, UnreachableError) as error:
            self._away = error
            return self._spare(kind, blob_id, error)

    def range(self, own: Callable[[], bytes]) -> bytes:
        """Return a range as it is stored; nothing from a store that is out of reach, so that blobs are asked for."""
        if self._away is not None:
            return b""
        try:
            return own()
        except (TransientError, UnreachableError) as error:
            self._away = error
            return b""
