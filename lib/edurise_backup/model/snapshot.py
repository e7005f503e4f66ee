"""Snapshots as stock restic writes them, and how a person names one."""

from __future__ import annotations

from typing import NewType

import msgspec

from edurise_backup.errors import AmbiguousError, DamageError, NotFoundError
from edurise_backup.model.content import HexId, nanoseconds

SnapshotId = NewType("SnapshotId", str)
"""SHA-256 of the stored snapshot object, 64 hex digits."""


class Summary(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a backup did, in restic's names; stock clients since 0.17 show it."""

    backup_start: str
    backup_end: str
    files_new: int = 0
    files_changed: int = 0
    files_unmodified: int = 0
    dirs_new: int = 0
    dirs_changed: int = 0
    dirs_unmodified: int = 0
    data_blobs: int = 0
    tree_blobs: int = 0
    data_added: int = 0
    data_added_packed: int = 0
    total_files_processed: int = 0
    total_bytes_processed: int = 0


class Snapshot(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A tree at a moment; the object that makes a backup exist."""

    time: str
    parent: str | None = None
    tree: HexId
    paths: list[str]
    hostname: str = ""
    username: str = ""
    uid: int = 0
    gid: int = 0
    excludes: list[str] = []
    tags: list[str] | None = None
    original: str | None = None
    program_version: str = ""
    summary: Summary | None = None

    @property
    def nanoseconds(self) -> int:
        """The moment, in nanoseconds since 1970."""
        return nanoseconds(self.time)

    def tag(self, name: str) -> str | None:
        """Return the value of our tag `name=value`, or None."""
        for tag in self.tags or []:
            key, sign, value = tag.partition("=")
            if sign and key == name:
                return value
        return None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Snapshot)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Return the plaintext of a snapshot object."""
    return _encoder.encode(snapshot)


def decode_snapshot(plaintext: bytes) -> Snapshot:
    """Return the snapshot; raises DamageError."""
    try:
        snapshot = _decoder.decode(plaintext)
        nanoseconds(snapshot.time)
    except (msgspec.DecodeError, ValueError) as error:
        raise DamageError(f"a snapshot object is not readable: {error}") from error
    return snapshot


def choose_snapshot(word: str, snapshots: dict[SnapshotId, Snapshot]) -> SnapshotId:
    """Return the snapshot that `word` names: `latest`, an id, or the beginning of exactly one id.

    Raises NotFoundError and AmbiguousError.
    """
    if not snapshots:
        raise NotFoundError("the repository holds no snapshot", hint="make one with `edurise-backup repo backup PATH`")
    if word == "latest":
        return max(snapshots, key=lambda key: (snapshots[key].nanoseconds, key))
    found = [key for key in snapshots if key.startswith(word.lower())] if word else []
    if not found:
        raise NotFoundError(f"no snapshot is named {word!r}", hint="`edurise-backup repo snapshots` lists them")
    if len(found) > 1:
        shown = ", ".join(key[:12] for key in sorted(found)[:5])
        raise AmbiguousError(f"{word!r} names {len(found)} snapshots: {shown}", hint="give more digits of the id")
    return found[0]
