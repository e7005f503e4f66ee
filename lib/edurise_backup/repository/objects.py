"""Objects that are sealed as a whole: index, snapshot, lock and config, and the notes under `edurise/`.

They are named by the SHA-256 of their stored bytes, so that a flipped bit is
found without the key. In version 2 the plaintext is `0x02 || zstd(JSON)`, or
plain JSON; in version 1 plain JSON (restic's `doc/design.rst`, "Unpacked Data Format").
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from edurise_backup.errors import DamageError, NotFoundError
from edurise_backup.pipeline.codec import MasterKey, compress, decompress
from edurise_backup.ports import Store, Vault
from edurise_backup.repository.layout import NOTES, Kind, object_id, object_name

_LIMIT = 1 << 30
_LEVEL = 3


class ObjectBox:
    """Seals and opens whole objects in one store."""

    def __init__(self, store: Store, key: MasterKey, *, version: int) -> None:
        self.store = store
        self.key = key
        self.version = version
        self.vault: Vault | None = None
        """Where the store locks objects: what it can do beyond a store."""

    def save(self, kind: Kind, plaintext: bytes) -> str:
        """Store an object durably and return its id; it is opened again before it is trusted."""
        sealed = self._sealed(plaintext)
        name = hashlib.sha256(sealed).hexdigest()
        self.store.put(object_name(kind, name), [sealed])
        return name

    def load(self, kind: Kind, name: str) -> bytes:
        """Return an object's plaintext; raises NotFoundError, DamageError."""
        stored = self.store.get(object_name(kind, name))
        if hashlib.sha256(stored).hexdigest() != name:
            raise DamageError(f"{object_name(kind, name)} holds other bytes than those that were written")
        return self._opened(stored, object_name(kind, name))

    def has(self, kind: Kind, name: str, size: int | None = None) -> bool:
        """Whether an object is there, with so many bytes: a listing may lag behind what was just written."""
        try:
            found = self.store.size(object_name(kind, name))
        except NotFoundError:
            return False
        return size is None or found == size

    def ids(self, kind: Kind) -> list[str]:
        """Return the ids of all objects of one kind; names that are no ids are left out."""
        return [found for name, _ in self.store.list(kind) if (found := object_id(name)) is not None]

    def save_note(self, name: str, plaintext: bytes) -> None:
        """Store what restic's format has no place for, as `edurise/NAME`; raises ConflictError when it is there."""
        self.store.put(f"{NOTES}/{name}", [self._sealed(plaintext)])

    def load_note(self, name: str) -> bytes:
        """Return a note's plaintext; raises NotFoundError, DamageError."""
        return self._opened(self.store.get(f"{NOTES}/{name}"), f"{NOTES}/{name}")

    def notes(self, folder: str) -> Iterator[str]:
        """Yield the names of all notes below `edurise/FOLDER`, to be given to `load_note`."""
        for name, _ in self.store.list(f"{NOTES}/{folder}"):
            yield name.removeprefix(f"{NOTES}/")

    def _sealed(self, plaintext: bytes) -> bytearray:
        content = plaintext if self.version == 1 else b"\x02" + compress(plaintext, _LEVEL)
        sealed = self.key.seal(content)
        if self._opened(sealed, "an object") != plaintext:
            raise DamageError("an object came out damaged before it was written: this machine's memory is failing")
        return sealed

    def _opened(self, stored: bytes | bytearray, name: str) -> bytes:
        try:
            content = self.key.open(stored)
            if content[:1] == b"\x02":
                return decompress(memoryview(content)[1:], _LIMIT)
        except DamageError as error:
            raise DamageError(f"{name}: {error.message}") from error
        if content[:1] not in (b"{", b"["):
            raise DamageError(f"{name} is of an unknown encoding ({content[:1]!r})")
        return content
