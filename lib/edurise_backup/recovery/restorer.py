"""Restore files: read each pack once, write its blobs to all their places, prove each blob by its id."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from edurise_backup.errors import BackupError, DamageError, SpaceError
from edurise_backup.machine.cores import cores
from edurise_backup.machine.crew import Crew
from edurise_backup.model.content import Node
from edurise_backup.ports import Progress
from edurise_backup.recovery.extraction import Extraction
from edurise_backup.recovery.fetching import Fetcher
from edurise_backup.recovery.planning import PlannedFile, RestorePlan, WantedBlob, blob_lengths, walk_files
from edurise_backup.recovery.writing import Writers
from edurise_backup.repository.repository import Repository

_SYNC_EVERY = 1.0
"""Seconds."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was written; `problems` says what is not as it was."""

    files: int
    folders: int
    bytes: int
    problems: tuple[str, ...]


Write: TypeAlias = Callable[[Extraction], None]
"""Writes every blob that a plan wants to its places in files that were made before."""


def restore(
    repository: Repository,
    plan: RestorePlan,
    target: Path,
    *,
    progress: Progress,
    workers: int = 0,
    write: Write | None = None,
    writers: Writers | None = None,
) -> Restored:
    """Write what `plan` says into the new or empty directory `target`.

    `write`: who writes the bytes, if not this machine alone (`recovery/sharding`). `writers`: processes for that,
    which the caller may have begun.
    Raises ConflictError (not empty), SpaceError (before anything is written),
    DamageError (a blob is missing or damaged: the target is incomplete).
    """
    workers = workers or 2 * cores()
    with Extraction(target) as extraction:
        _refuse_without_room(extraction, plan)
        made_whole = 0 if write else 1  # a file of one blob is made, written and described in one go
        with nullcontext() if write else _writing(repository, plan, target, workers, writers) as crew:
            for names, _node in plan.folders:
                extraction.make_folder(names)
            for file in plan.files:
                _prepare(extraction, file, made_whole)
            with _syncing(extraction):
                if write is not None:
                    write(extraction)
                else:
                    fetcher = Fetcher(repository, extraction, progress=progress, lost=refuse_damage)
                    fetcher.run(plan.packs, workers=workers, crew=crew)
        for file in plan.files:
            if len(file.node.content or ()) > made_whole:
                extraction.finish_file(file.names, file.node)
            for names in file.links:
                extraction.link(names, file.names)
        for names, node in plan.others:
            extraction.make_other(names, node)
        for names, node in reversed(plan.folders):
            extraction.finish_folder(names, node, mind_owner=names not in plan.above)
        extraction.sync()
        problems = (*repository.damage, *extraction.problems)
        return Restored(len(plan.files), len(plan.folders), plan.bytes, problems)


def _refuse_without_room(extraction: Extraction, plan: RestorePlan) -> None:
    free = extraction.free_bytes()
    if plan.room > free:
        raise SpaceError(
            f"the restore needs {plan.room:,} bytes, {free:,} are free there",
            safe="nothing was written",
            hint="choose a larger disk, or restore a part with --include",
        )


def _prepare(extraction: Extraction, file: PlannedFile, made_whole: int) -> None:
    pieces = len(file.node.content or ())
    if pieces == 0:
        extraction.write_whole(file.names, b"", file.node)
    elif pieces > made_whole:
        extraction.create_file(file.names, file.node.size, dense=file.dense)


@contextmanager
def _syncing(extraction: Extraction) -> Iterator[None]:
    """Have the system write to the disk while there is more to come, so that the sync at the end has little left."""
    ended = threading.Event()
    failed: list[BackupError] = []

    def sync() -> None:
        while not failed and not ended.wait(_SYNC_EVERY):
            try:
                extraction.sync_beside()
            except BackupError as error:
                failed.append(error)

    thread = threading.Thread(target=sync, name="sync", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if failed:
        raise failed[0]


@contextmanager
def _writing(
    repository: Repository, plan: RestorePlan, target: Path, workers: int, writers: Writers | None
) -> Iterator[Crew | None]:
    """Give the processes that large restores are spread over, which load meanwhile; None for a small one."""
    if not plan.large:
        yield None
        return
    crew = (writers or Writers()).crew(repository.box.key, target, members=workers)
    try:
        crew.start()
        yield crew
    finally:
        crew.close()


def refuse_damage(blob: WantedBlob, error: DamageError) -> None:
    """End the restore: a directory that is new has no older file to show instead."""
    raise DamageError(
        f"/{'/'.join(blob.pieces[0].file.names)} cannot be restored: {error.message}",
        safe="the damaged bytes were not written; what was restored so far is incomplete",
        hint="run `check --read-data` to see what else is damaged, and restore from a copy or another snapshot",
    ) from error


def prove_files(
    repository: Repository, tree: str, root: Path, *, progress: Progress, select: Callable[[str], bool] | None = None
) -> tuple[int, list[str]]:
    """Read what was restored below `root` and compare it with the snapshot; return (files compared, differences)."""
    return prove_nodes(repository, walk_files(repository, tree, select=select), root, progress=progress)


def prove_nodes(
    repository: Repository, nodes: Iterable[tuple[str, Node]], root: Path, *, progress: Progress
) -> tuple[int, list[str]]:
    """Do the same for some of the snapshot's nodes, each with its path there."""
    compared = 0
    differences: list[str] = []
    for path, node in nodes:
        progress.raise_if_cancelled()
        found = root / path.lstrip("/")
        if not os.path.lexists(found):
            differences.append(f"{path} is missing")
            continue
        try:
            difference = _compare(repository, found, path, node)
        except OSError as error:
            difference = f"{path} cannot be read: {error.strerror}"
        differences += [difference] if difference else []
        if node.type == "file":
            compared += 1
            progress.advance(bytes_done=node.size, files_done=1)
    return compared, differences


def _compare(repository: Repository, found: Path, path: str, node: Node) -> str | None:
    if node.type == "symlink":
        target = node.linktarget_raw or os.fsencode(node.linktarget)
        return None if os.fsencode(found.readlink()) == target else f"{path} points elsewhere"
    if node.type == "dir":
        return None if found.is_dir() and not found.is_symlink() else f"{path} is not a directory"
    return _compare_file(repository, found, path, node) if node.type == "file" else None


def _compare_file(repository: Repository, found: Path, path: str, node: Node) -> str | None:
    with found.open("rb") as stream:
        for blob_id, length in blob_lengths(repository, node):
            if hashlib.sha256(stream.read(length)).digest() != blob_id:
                return f"{path} has other bytes than the backup"
        return f"{path} is longer than in the backup" if stream.read(1) else None
