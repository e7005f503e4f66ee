"""Prove one pack: its name, its header, and every blob in it. The hot path of a check."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from edurise_backup.errors import DamageError
from edurise_backup.pipeline.codec import MasterKey, open_blob
from edurise_backup.ports import Buffer
from edurise_backup.repository.index import Index
from edurise_backup.repository.packs import PackedBlob, read_header
from edurise_backup.repository.repairing.examining import indexed_alike


@dataclass(frozen=True, slots=True)
class PackProof:
    """What reading a pack has shown; `size` in bytes, 0 when it could not be read."""

    pack: str
    size: int
    blobs: int = 0
    findings: tuple[str, ...] = ()
    damaged: bool = False
    """Its bytes are not those that were written; else a finding means that the store failed."""

    @property
    def passed(self) -> bool:
        """Whether the pack was read whole and is sound."""
        return not self.findings


def prove_pack(
    content: Buffer, pack: str, *, key: MasterKey, index: Index, pause: Callable[[], None] = lambda: None
) -> PackProof:
    """Prove the bytes of a whole pack against its name, its header and the index.

    The blobs are taken from the pack's own header, so that nobody has to hold
    a list of them; that the index says the same is a part of the proof. `pause`
    is called between blobs, and may raise.
    """
    name = f"pack {pack[:8]}"
    findings = []
    if hashlib.sha256(content).hexdigest() != pack:
        findings.append(f"{name} holds other bytes than those that were written")
    blobs: list[PackedBlob] = []
    try:
        blobs = read_header(content, key)
    except DamageError as error:
        findings.append(f"{name}: {error.message}")
    else:
        if not indexed_alike(index, pack, blobs):
            findings.append(f"{name}: its header and the index disagree")
    view = memoryview(content)
    for blob in blobs:
        pause()
        try:
            open_blob(key, view[blob.offset : blob.offset + blob.length], wanted=blob.id, raw_length=blob.raw_length)
        except DamageError as error:
            findings.append(f"{name}, {blob.kind.word} blob {blob.id.hex()[:8]}: {error.message}")
    return PackProof(pack, len(content), len(blobs), tuple(findings), damaged=bool(findings))
