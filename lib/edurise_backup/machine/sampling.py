"""Where the time goes: what each thread is doing is looked at a hundred times a second, and by name put to a stage.

So the stages themselves know nothing of it, and cost nothing when nobody asks.
A thread that is seen in a stage has spent the time since the last look there;
its processor time (proc(5), schedstat) goes to the stages in which it was seen
at work (stat, the state R), in proportion.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Self

import msgspec

_EVERY = 0.01
"""Seconds."""
OTHER = "other"

STAGES: Mapping[tuple[str, str], str] = {
    ("sources.scanning", "list_folder"): "walk",
    ("sources.files", "FilesSource._children"): "walk",
    ("sources.files", "FileContent.readinto"): "read",
    ("sources.files", "FileContent.skip_hole"): "read",
    ("sources.files", "FileContent.__init__"): "read",
    ("pipeline.small_files", "content_of"): "read",
    ("pipeline.chunker", "_lengths"): "chunk",
    ("model.content", "blob_id"): "hash",
    ("pipeline.codec", "compress_if_smaller"): "compress",
    ("pipeline.codec", "MasterKey.seal_into"): "seal",
    ("pipeline.small_files", "prove_before_writing"): "check",
    ("model.content", "encode_tree"): "trees",
    ("model.content", "decode_tree"): "trees",
    ("repository.trees", "Trees.read"): "trees",
    ("repository.reachability", "Reachable.walk"): "trees",
    ("repository.packs", "OpenPack.seal"): "pack",
    ("repository.index_files", "encode_index"): "index",
    ("repository.index_files", "listed_packs"): "index",
    ("repository.index", "Index.extend"): "index",
    ("repository.derivation", "_derived"): "key",
    ("stores.local", "LocalStore.put"): "write",
    ("stores.local", "LocalStore.get"): "fetch",
    ("recovery.writing", "_FileReader.read"): "fetch",
    ("verification.packs", "_FileReader.read"): "fetch",
    ("pipeline.codec", "MasterKey.open_into"): "open",
    ("pipeline.codec", "_decompress_into"): "decode",
    ("recovery.planning", "plan_restore"): "plan",
    ("recovery.extraction", "Extraction.write_whole"): "write",
    ("recovery.extraction", "Extraction.write_piece"): "write",
    ("recovery.extraction", "Extraction.sync"): "sync",
    ("recovery.extraction", "Extraction.sync_beside"): "sync",
    ("machine.crew", "Member.receive"): "wait",
    ("machine.crew", "Messages.next"): "wait",
}
"""Which function of which module of ours is which stage."""
_WHOLE = ("check", "plan", "key")
"""Stages that hold others: what is hashed for a check is a part of the check."""
_WAITING = frozenset({"threading", "queue", "concurrent.futures._base", "concurrent.futures.thread"})
"""Modules whose functions wait when they are the innermost ones."""


class Spent(msgspec.Struct, array_like=True):
    """Seconds that threads have spent in a stage: on a processor, and altogether."""

    cpu: float = 0.0
    wall: float = 0.0


@dataclass(slots=True)
class _Thread:
    cpu: float = 0.0
    wall: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    at_work: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """Seconds, by stage."""


class Sampler:
    """Looks at all threads of this process but its own, inside the `with` block."""

    def __init__(self) -> None:
        self._threads: dict[int, _Thread] = {}
        """By the system's number."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def spent(self) -> dict[str, Spent]:
        """Return what all threads together have spent in each stage."""
        spent: dict[str, Spent] = {}
        for thread in self._threads.values():
            share = thread.cpu / sum(thread.at_work.values()) if thread.at_work else 0.0
            of_thread = {
                stage: Spent(thread.at_work.get(stage, 0.0) * share, seconds) for stage, seconds in thread.wall.items()
            }
            add(spent, of_thread)
        return spent

    def _run(self) -> None:
        own = threading.get_ident()
        last = time.monotonic()
        while not self._ended.wait(_EVERY):
            now = time.monotonic()
            frames = sys._current_frames()
            for thread in threading.enumerate():
                frame = frames.get(thread.ident or 0)
                if frame is not None and thread.ident != own and thread.native_id is not None:
                    self._look(thread.native_id, stage_of(frame), now - last)
            last = now

    def _look(self, number: int, stage: str, seconds: float) -> None:
        thread = self._threads.setdefault(number, _Thread())
        thread.wall[stage] += seconds
        try:
            folder = Path(f"/proc/self/task/{number}")
            thread.cpu = int((folder / "schedstat").read_text().split()[0]) / 1e9
            if (folder / "stat").read_text().rpartition(")")[2].split()[0] == "R":
                thread.at_work[stage] += seconds
        except (OSError, ValueError, IndexError):
            return  # it has ended since, or this system does not tell


def add(spent: dict[str, Spent], others: Mapping[str, Spent]) -> None:
    """Add what another process has spent."""
    for stage, other in others.items():
        own = spent.setdefault(stage, Spent())
        own.cpu += other.cpu
        own.wall += other.wall


def stage_of(frame: FrameType) -> str:
    """Return the stage that a thread is in: the innermost one, or one that holds others."""
    found = "wait" if frame.f_globals.get("__name__") in _WAITING else ""
    for module, function in _names(frame):
        stage = STAGES.get((module.removeprefix("edurise_backup."), function))
        if stage is not None and (not found or stage in _WHOLE):
            found = stage
    return found or OTHER


def _names(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    while frame is not None:
        yield frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
        frame = frame.f_back
