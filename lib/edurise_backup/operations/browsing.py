"""Look into snapshots and take them elsewhere: what `repo copy`, `dump` and `mount` decide before they act."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from edurise_backup.errors import InputError
from edurise_backup.model.snapshot import choose_snapshot
from edurise_backup.operations.snapshots import Found, SnapshotFilter
from edurise_backup.ports import Progress
from edurise_backup.recovery.archiving import dump_tar
from edurise_backup.recovery.drains import Drain
from edurise_backup.recovery.dumping import dump_file, find_node
from edurise_backup.repository.repository import Repository


def refuse_same_place(source: Repository, destination: Repository) -> None:
    """Raise InputError when both are one repository."""
    places = [os.path.realpath(repository.store.address) for repository in (source, destination)]
    if places[0] == places[1]:
        raise InputError(
            f"{source.store.address} cannot be copied into itself",
            safe="nothing was changed",
            hint="name another repository with --to",
        )


def choose_several(repository: Repository, words: Sequence[str], among: SnapshotFilter, unreadable: list[str]) -> Found:
    """Return snapshots, oldest first: those that are named, or all that pass the filter.

    The filter also says what `latest` is of. What cannot be read is told in
    `unreadable`. Raises NotFoundError, AmbiguousError, and InputError when none is left.
    """
    found = repository.readable_snapshots(unreadable)
    passing = among.apply(found)
    if words:
        wanted = {choose_snapshot(word, passing if word == "latest" and passing else found) for word in words}
        return {key: snapshot for key, snapshot in found.items() if key in wanted}
    if not passing:
        raise InputError(
            "no snapshot passes the filter" if found else "the repository holds no snapshot",
            safe="nothing was changed",
            hint="`edurise-backup repo snapshots` lists hosts, paths and tags",
        )
    return passing


@dataclass(frozen=True, slots=True)
class Dumped:
    """What was written; `problems` says what is not in it."""

    bytes: int
    problems: tuple[str, ...] = ()


def dump_path(
    repository: Repository, tree: str, path: str, drain: Drain, *, as_tar: bool, progress: Progress
) -> Dumped:
    """Write a file's bytes, or with `as_tar` a directory as an archive.

    Raises NotFoundError, InputError for what cannot be written so, DamageError, and what the drain raises.
    """
    node = find_node(repository, tree, path)
    if not as_tar:
        return Dumped(dump_file(repository, node, drain, path=path, progress=progress))
    if node.subtree is None:
        raise InputError(f"{path} is no directory", hint="leave --archive out to write a file as it is")
    archive = dump_tar(repository, node.subtree, drain, progress=progress)
    return Dumped(archive.bytes, archive.problems)
