"""The engine without catalog or Prefect: what `edurise-backup repo …` does, and what all else stands on."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING

from edurise_backup.errors import InputError
from edurise_backup.model.compression import AUTO, Compression
from edurise_backup.model.location import directory_of
from edurise_backup.model.policy import FUTURE, Decision, RetentionPolicy, apply_policy, group_snapshots
from edurise_backup.model.protections import Protection
from edurise_backup.model.snapshot import Snapshot, SnapshotId, choose_snapshot
from edurise_backup.operations.opening import locked, readable
from edurise_backup.operations.snapshots import SnapshotFilter, Span
from edurise_backup.ports import Progress, Source
from edurise_backup.recovery.planning import EVERYTHING, Selection
from edurise_backup.repository.holds import refuse_protected
from edurise_backup.repository.moments import moment_of
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, Saved, save_snapshot
from edurise_backup.repository.trial import Trial, try_snapshot
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from edurise_backup.sources.patterns import leading, matcher
from edurise_backup.sources.size_limit import LeftOut, SizeLimitedSource

if TYPE_CHECKING:
    pass


@dataclass(frozen=True, slots=True)
class BackupOptions:
    """How directory trees are backed up."""

    exclude: Sequence[str] = ()
    tags: Sequence[str] = ()
    host: str = ""
    one_file_system: bool = False
    read_everything: bool = False
    check: bool = True
    compression: Compression = AUTO
    larger_than: int | None = None
    """Files of more bytes than this are left out."""


@dataclass(frozen=True, slots=True)
class FileTrees:
    """Directory trees that can be backed up now, without what the options leave out."""

    source: Source
    label: Label
    left_out: LeftOut
    """Files that were too large; complete once the source was walked."""
    opened: datetime
    """From when on they are looked at."""


def open_trees(paths: Sequence[str], options: BackupOptions) -> FileTrees:
    """Return the trees, and begin to look at them; raises InputError for a path that is missing."""
    files = FilesSource(paths, exclude=options.exclude, one_file_system=options.one_file_system)
    opened = files.scan_ahead()
    label = Label(files.paths, options.host, options.tags, options.exclude)
    if options.larger_than is None:
        return FileTrees(files, label, LeftOut(), opened)
    small = SizeLimitedSource(files, options.larger_than)
    return FileTrees(small, label, small.left_out, opened)


def backup_paths(repository: Repository, paths: Sequence[str], options: BackupOptions, *, progress: Progress) -> Saved:
    """Publish a snapshot of directory trees; raises what `open_trees` and `save_snapshot` raise."""
    return backup_trees(repository, open_trees(paths, options), options, progress=progress)


def backup_trees(repository: Repository, trees: FileTrees, options: BackupOptions, *, progress: Progress) -> Saved:
    """Publish a snapshot of directory trees; raises InputError when they hold the repository."""
    refuse_nested(trees.label.paths, repository.store.address, options.exclude)
    with locked(repository) as lock:
        progress.phase("files")
        return save_snapshot(
            repository,
            trees.source,
            trees.label,
            lock,
            progress=progress,
            read_everything=options.read_everything,
            settings=WriterSettings(check=options.check, compression=options.compression),
            started=trees.opened,
        )


def try_trees(repository: Repository, trees: FileTrees, options: BackupOptions, *, progress: Progress) -> Trial:
    """Say what a backup would add; nothing at all is written, not even a lock."""
    refuse_nested(trees.label.paths, repository.store.address, options.exclude)
    with readable(repository, lock=False):
        progress.phase("files")
        return try_snapshot(
            repository, trees.source, trees.label, progress=progress, read_everything=options.read_everything
        )


def refuse_nested(paths: Sequence[str], place: str, exclude: Sequence[str] = ()) -> None:
    """Raise InputError when a backup of `paths` would hold `place`, where that backup is being written.

    A pattern counts when the walk meets a name that it matches: between the path and the place, never above.
    """
    directory = directory_of(place)
    if directory is None:
        return  # no directory holds a bucket
    inside = os.path.realpath(directory)
    excluded = matcher(exclude)
    for path in paths:
        top = os.path.realpath(path)
        if os.path.commonpath([inside, top]) == inside:
            raise InputError(
                f"{path} lies in {place}: a backup would back itself up",
                safe="nothing was backed up or changed",
                hint="choose another directory",
            )
        if os.path.commonpath([inside, top]) == top and not any(map(excluded, _way_down(path, top, inside))):
            raise InputError(
                f"{path} contains {place}: a backup would back itself up",
                safe="nothing was backed up or changed",
                hint=f"choose another directory, or exclude it: --exclude {place}",
            )


def _way_down(path: str, top: str, inside: str) -> Iterator[str]:
    """Yield the paths that a walk from `path` (really `top`) tests until it has come to `inside`."""
    walked = path.rstrip("/")
    for name in PurePath(inside).relative_to(top).parts:
        walked += f"/{name}"
        yield walked


def selection(include: Sequence[str], exclude: Sequence[str]) -> Selection:
    """Return what patterns choose; without `include` everything is wanted."""
    if not include:
        return Selection(unwanted=matcher(exclude)) if exclude else EVERYTHING
    return Selection(matcher(include), matcher(exclude), leading(include))


def choose_forgotten(
    found: dict[SnapshotId, Snapshot],
    words: Sequence[str],
    policy: RetentionPolicy,
    *,
    within: Span | None = None,
    among: SnapshotFilter | None = None,
    kept: Mapping[str, Protection] | None = None,
    now: datetime,
) -> tuple[list[SnapshotId], list[Decision]]:
    """Return the snapshots to forget (by name, or by policy) and how the policy judged each one.

    `within` keeps what is not older than the newest snapshot of its group by
    that span. The policy judges only what passes the filter `among`. What is
    dated more than an hour after `now` stays, and is not judged: a wrong date
    must not push out what is real. What `kept` says is pinned or held stays.
    Raises InputError for a policy that keeps nothing, and for names and a policy
    together, ConflictError for a name of what is pinned or held.
    """
    kept = kept or {}
    nothing_said = policy.empty and within in (None, Span())
    if words:
        if not nothing_said:
            raise InputError("snapshots are named and a policy is given", hint="use one of the two")
        named = [choose_snapshot(word, found) for word in words]
        refuse_protected(named, kept)
        return named, []
    if nothing_said:
        raise InputError("no policy says what to keep", hint="give --keep-last N or another --keep option, or ids")
    chosen = (among or SnapshotFilter()).apply(found)
    future = {key: shot for key, shot in chosen.items() if moment_of(shot.time) > now + FUTURE}
    groups = group_snapshots({key: shot for key, shot in chosen.items() if key not in future})
    decisions = [
        decision for group in groups.values() for decision in apply_policy(group, _dated(policy, group, within))
    ]
    decisions += [Decision(key, shot, ("is dated in the future: not judged",)) for key, shot in future.items()]
    decisions = [
        replace(one, reasons=(kept[one.id].words, *one.reasons)) if one.id in kept else one for one in decisions
    ]
    return [decision.id for decision in decisions if not decision.keep], decisions


def _dated(
    policy: RetentionPolicy, group: Sequence[tuple[SnapshotId, Snapshot]], within: Span | None
) -> RetentionPolicy:
    if within is None:
        return policy
    newest = datetime.fromtimestamp(max(snapshot.nanoseconds for _, snapshot in group) / 1e9, UTC)
    return replace(policy, within=newest - within.before(newest))
