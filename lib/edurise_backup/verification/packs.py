"""Prove packs: each one's name, its header, and every blob in it. The hot path of a check.

Run as a program this is a process that examines packs for another one (`machine/crew`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from typing import TYPE_CHECKING

import msgspec

from edurise_backup.errors import DamageError
from edurise_backup.machine.crew import Crew, Member
from edurise_backup.machine.direct import BLOCK, SequentialFile
from edurise_backup.machine.serving import Messages, serve
from edurise_backup.pipeline.codec import MasterKey, Scratch
from edurise_backup.ports import Buffer
from edurise_backup.repository.packs import decode_header, header_plaintext

if TYPE_CHECKING:  # processes that examine packs start without an index
    from edurise_backup.repository.index import Index


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


class Examined(msgspec.Struct, array_like=True):
    """What the bytes of a pack say by themselves: its size, its header's plaintext (empty when damaged), findings."""

    size: int
    header: bytes
    findings: list[str]


def prove_pack(
    content: Buffer, pack: str, *, key: MasterKey, index: Index, pause: Callable[[], None] = lambda: None
) -> PackProof:
    """Prove the bytes of a whole pack against its name, its header and the index.

    The blobs are taken from the pack's own header, so that nobody has to hold
    a list of them; that the index says the same is a part of the proof. `pause`
    is called between blobs, and may raise.
    """
    return judged(examine(content, pack, key=key, scratch=Scratch(), pause=pause), pack, index)


def examine(
    content: Buffer, pack: str, *, key: MasterKey, scratch: Scratch, pause: Callable[[], None] = lambda: None
) -> Examined:
    """Prove the bytes of a whole pack, as far as that goes without an index."""
    name = f"pack {pack[:8]}"
    view = memoryview(content)
    findings = []
    if hashlib.sha256(content).hexdigest() != pack:
        findings.append(f"{name} holds other bytes than those that were written")
    try:
        header = header_plaintext(view, key)
        blobs = decode_header(header)
    except DamageError as error:
        return Examined(len(view), b"", [*findings, f"{name}: {error.message}"])
    for blob in blobs:
        pause()
        try:
            sealed = view[blob.offset : blob.offset + blob.length]
            scratch.open_blob(key, sealed, wanted=blob.id, raw_length=blob.raw_length)
        except DamageError as error:
            findings.append(f"{name}, {blob.kind.word} blob {blob.id.hex()[:8]}: {error.message}")
    return Examined(len(view), header, findings)


def judged(examined: Examined, pack: str, index: Index) -> PackProof:
    """Compare what a pack says of itself with the index."""
    from edurise_backup.repository.repairing.examining import indexed_alike

    findings = list(examined.findings)
    blobs = decode_header(examined.header)
    if examined.header and not indexed_alike(index, pack, blobs):
        findings.append(f"pack {pack[:8]}: its header and the index disagree")
    return PackProof(pack, examined.size, len(blobs), tuple(findings), damaged=bool(findings))


class _Setup(msgspec.Struct, array_like=True):
    key: bytes


class _Order(msgspec.Struct, array_like=True):
    pack: str
    file: bytes


def examining_crew(key: MasterKey, *, members: int) -> Crew:
    """Return processes that examine packs which are files of this machine."""
    return Crew(__name__, _Setup(key.to_bytes()), members=members)


def examined_by(member: Member, pack: str, file: str) -> Examined | None:
    """Have a member examine a pack's file; None when it cannot read it."""
    member.send(_Order(pack, os.fsencode(file)))
    return member.receive(Examined | None)  # type: ignore[arg-type]  # a union is no class to mypy


def _work(setup: _Setup, messages: Messages) -> None:
    key = MasterKey.from_bytes(setup.key)
    reader = _FileReader()
    scratch = Scratch()
    while True:
        order = messages.next(_Order)
        content = reader.read(order.file)
        if content is None:
            messages.say(None)
        else:
            messages.answer(examine, content, order.pack, key=key, scratch=scratch)


class _FileReader:
    """Reads whole files into one buffer, used again and again: from the disk, whose bytes are to be proved."""

    def __init__(self) -> None:
        self._buffer = memoryview(b"")

    def read(self, path: bytes) -> memoryview | None:
        """Return the file's bytes until the next call; None when it cannot be read."""
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            size = os.fstat(descriptor).st_size
            if len(self._buffer) <= size:
                self._buffer = memoryview(mmap(-1, size + BLOCK))
            file = SequentialFile(descriptor, from_disk=True)
            room = self._buffer[: -(-(size + 1) // BLOCK) * BLOCK]
            while file.offset < size and file.readinto(room[file.offset :]):
                pass
            return self._buffer[: min(file.offset, size)]
        except OSError:
            return None
        finally:
            os.close(descriptor)


if __name__ == "__main__":
    serve(_Setup, _work)
