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
from contextlib import suppress
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
    ("machine.opened", "OpenedFile.readinto"): "read",
    ("machine.opened", "OpenedFile.skip_hole"): "read",
    ("machine.opened", "OpenedFile.__init__"): "read",
    ("pipeline.small_files", "content_of"): "read",
    ("pipeline.chunker", "_cut"): "chunk",
    ("model.content", "blob_id"): "hash",
    ("pipeline.codec", "compress_if_smaller"): "compress",
    ("pipeline.codec", "MasterKey.seal_into"): "seal",
    ("pipeline.sealer", "prove_before_writing"): "check",
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
    ("recovery.writing", "RunWriter._sealed"): "fetch",
    ("verification.packs", "_FileReader.read"): "fetch",
    ("pipeline.codec", "MasterKey.open_into"): "open",
    ("pipeline.codec", "_decompress_into"): "decode",
    ("recovery.planning", "plan_restore"): "plan",
    ("recovery.extraction", "Extraction.write_whole"): "write",
    ("recovery.extraction", "Extraction.write_piece"): "write",
    ("recovery.extraction", "Extraction.sync"): "sync",
    ("recovery.extraction", "Extraction.sync_beside"): "sync",
    ("machine.crew", "Member.receive"): "wait",
    ("machine.serving", "Messages.next"): "wait",
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
        self._before: dict[int, float] = {}
        """CPU seconds of threads that are older than this."""
        self._guard = threading.Lock()
        self._elsewhere: dict[str, Spent] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def __enter__(self) -> Self:
        for thread in threading.enumerate():
            if thread.native_id is not None:
                self._before[thread.native_id] = _cpu(thread.native_id)
        _running.append(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        _running.remove(self)

    def take_in(self, spent: Mapping[str, Spent]) -> None:
        """Count what another process has spent, too; from any thread."""
        with self._guard:
            add(self._elsewhere, spent)

    def spent(self) -> dict[str, Spent]:
        """Return what all threads together have spent in each stage, those of other processes with them."""
        spent: dict[str, Spent] = {}
        with self._guard:
            add(spent, self._elsewhere)
            for thread in self._threads.values():
                share = thread.cpu / sum(thread.at_work.values()) if thread.at_work else 0.0
                own = {
                    stage: Spent(thread.at_work.get(stage, 0.0) * share, wall) for stage, wall in thread.wall.items()
                }
                add(spent, own)
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
        cpu, at_work = _cpu(number), _at_work(number)
        with self._guard:
            thread = self._threads.setdefault(number, _Thread())
            thread.cpu = max(thread.cpu, cpu - self._before.get(number, 0.0))
            thread.wall[stage] += seconds
            if at_work:
                thread.at_work[stage] += seconds


def _cpu(thread: int) -> float:
    with suppress(OSError, ValueError, IndexError):  # it has ended since, or this system does not tell
        return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0]) / 1e9
    return 0.0


def _at_work(thread: int) -> bool:
    with suppress(OSError, IndexError):
        return Path(f"/proc/self/task/{thread}/stat").read_text().rpartition(")")[2].split()[0] == "R"
    return False


def running() -> Sampler | None:
    """Return the sampler of this process, if somebody wants to know where its time goes."""
    return _running[-1] if _running else None


_running: list[Sampler] = []


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
