"""Put a base backup onto disks: checked before a byte is written, and startable only when it is whole.

`global/pg_control` comes last: without it no server starts on the directory,
whatever has ended the restore before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edurise_backup.errors import (
    BackupError,
    DamageError,
    NotFoundError,
)
from edurise_backup.machine.linux import sync_file_system
from edurise_backup.model.cluster import DATA, TABLESPACES, ClusterRecord, folder_of
from edurise_backup.model.content import Node, unix_permissions
from edurise_backup.ports import Progress
from edurise_backup.postgres.control_file import SIZE, parse_control
from edurise_backup.postgres.places import opened_directory, write_new
from edurise_backup.recovery.cluster.placing import (
    UNTOUCHED,
    refuse_occupied,
    refuse_unreachable,
    refuse_without_room,
    tablespace_places,
)
from edurise_backup.recovery.planning import RestorePlan, Selection, plan_restore
from edurise_backup.recovery.restorer import restore
from edurise_backup.recovery.streaming import SnapshotFiles
from edurise_backup.recovery.writing import Writers
from edurise_backup.repository.repository import Repository

CONTROL = "global/pg_control"
_MADE_ANEW = ("/tablespace_map", f"/{CONTROL}")
_SUBFOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class RestoredCluster:
    """What was written."""

    data: Path
    tablespaces: dict[int, Path]
    files: int
    bytes: int
    problems: tuple[str, ...]
    """What is not as it was, a sentence each."""


@dataclass(slots=True)
class _Part:
    """A directory of the backup, and where it goes."""

    node: Node
    place: Path
    plan: RestorePlan


def restore_cluster(
    repository: Repository,
    tree: str,
    record: ClusterRecord,
    target: Path,
    *,
    tablespaces: Mapping[int, Path],
    progress: Progress,
    extra_room: int = 0,
    writers: Writers | None = None,
) -> RestoredCluster:
    """Restore the base backup of `record` from the snapshot's whole `tree` to the new or empty directory `target`.

    `tablespaces`: where they go, by oid; others go below TARGET.tablespaces.
    `extra_room`: bytes that will be needed beside the data; `writers` as for `restore`. As root everything
    belongs to the recorded owner, else to this user. Raises InputError,
    ConflictError and SpaceError before anything is written, DamageError,
    CancelledError: then what is there cannot be started.
    """
    target = target.absolute()
    places = tablespace_places(record, target, tablespaces)
    data, spaces = _plan(repository, tree, record, target, places)
    parts = [data, *spaces.values()]
    refuse_occupied(record, target, places)
    refuse_without_room([*((part.place, part.plan.room) for part in parts), (target, extra_room)])
    control = _control(repository, tree, record)
    owner = _owner(data)
    for place in (target, *places.values()):
        refuse_unreachable(place, owner)
    problems = [f"{path} was a link: it was left out" for path in _strange_links(data.plan)]
    restored = []
    for part in parts:
        progress.phase(f"restore {part.place.name}", bytes_total=part.plan.bytes)
        _own(part, owner)
        with _translated(target):
            _make_above(part.place, owner)
        restored.append(restore(repository, part.plan, part.place, progress=progress, writers=writers))
    with _translated(target):
        _link_tablespaces(target, places, owner)
        for part in parts:
            _finish_top(part, owner)
        progress.raise_if_cancelled()
        _write_control(target, control, owner)
    return RestoredCluster(
        target,
        places,
        sum(one.files for one in restored) + 1,
        sum(one.bytes for one in restored) + len(control),
        (*problems, *(problem for one in restored for problem in one.problems)),
    )


def make_unstartable(target: Path) -> None:
    """Take from a restored directory what a server needs to start on it: it is incomplete for good."""
    with suppress(OSError):
        (target / CONTROL).rename(target / f"{CONTROL}.incomplete")


def _plan(
    repository: Repository, tree: str, record: ClusterRecord, target: Path, places: Mapping[int, Path]
) -> tuple[_Part, dict[int, _Part]]:
    folder = folder_of(record.name)
    node = _node_at(repository, tree, f"{folder}/{DATA}")
    anew = {*_MADE_ANEW, *(f"/pg_tblspc/{oid}" for oid in places)}
    chosen = Selection(unwanted=anew.__contains__)
    data = _Part(node, target, plan_restore(repository, node.subtree or "", select=chosen))
    if not any(file.names == ("backup_label",) for file in data.plan.files):
        raise DamageError(
            "the base backup has no backup_label: a server would start from the wrong place and be corrupt",
            safe=UNTOUCHED,
            hint="choose another base backup; this one is damaged, or is none",
        )
    spaces = {}
    for oid, place in places.items():
        node = _node_at(repository, tree, f"{folder}/{TABLESPACES}/{oid}")
        spaces[oid] = _Part(node, place, plan_restore(repository, node.subtree or ""))
    return data, spaces


def _node_at(repository: Repository, tree: str, path: str) -> Node:
    below: str | None = tree
    node: Node | None = None
    for name in path.strip("/").split("/"):
        nodes = repository.read_tree(below) if below else []
        node = next((one for one in nodes if one.name == name), None)
        below = node.subtree if node else None
    if node is None or node.type != "dir" or not node.subtree:
        raise NotFoundError(f"the snapshot has no {path}", safe=UNTOUCHED, hint="choose a snapshot of a cluster")
    return node


def _control(repository: Repository, tree: str, record: ClusterRecord) -> bytes:
    """Return pg_control, proved to be this cluster's."""
    content = SnapshotFiles(repository, tree).read(f"{folder_of(record.name)}/{DATA}/{CONTROL}")
    found = parse_control(content)
    if len(content) < SIZE:
        raise DamageError(
            f"{CONTROL} of the base backup has {len(content)} of {SIZE} bytes",
            safe=UNTOUCHED,
            hint="choose another base backup",
        )
    if found.system_identifier != record.system_identifier:
        raise DamageError(
            f"{CONTROL} is of the cluster {found.system_identifier}, the backup is of {record.system_identifier}",
            safe=UNTOUCHED,
            hint="choose another base backup",
        )
    return content


def _strange_links(plan: RestorePlan) -> list[str]:
    """Take links out of a plan, and return them: through one the server would write to where it points."""
    links = {names for names, node in plan.others if node.type == "symlink"}
    plan.others = [(names, node) for names, node in plan.others if names not in links]
    return sorted("/".join(names) for names in links)


# Writing


def _owner(data: _Part) -> tuple[int, int]:
    """Return who is to own the files: as root whom they belonged to, else ourselves."""
    if os.geteuid() != 0:
        return os.geteuid(), os.getegid()
    version = next((file.node for file in data.plan.files if file.names == ("PG_VERSION",)), data.node)
    return version.uid, version.gid


def _own(part: _Part, owner: tuple[int, int]) -> None:
    """Have everything of a plan belong to the owner; a repository's nodes are shared, and stay as they are."""

    def owned(node: Node) -> Node:
        return msgspec.structs.replace(node, uid=owner[0], gid=owner[1])

    plan = part.plan
    plan.folders = [(names, owned(node)) for names, node in plan.folders]
    plan.others = [(names, owned(node)) for names, node in plan.others]
    for file in plan.files:
        file.node = owned(file.node)


def _make_above(place: Path, owner: tuple[int, int]) -> None:
    """Make the directory above where it is missing, so that the server can reach what is in it."""
    if not place.parent.is_dir():
        place.parent.mkdir(parents=True)
        os.chown(place.parent, *owner)
        place.parent.chmod(0o700)


def _link_tablespaces(target: Path, places: Mapping[int, Path], owner: tuple[int, int]) -> None:
    """Make the links, and the map from which the server makes them again when it starts."""
    if not places:
        return
    with opened_directory(target) as data:
        links = os.open("pg_tblspc", _SUBFOLDER, dir_fd=data)
        try:
            for oid, place in places.items():
                os.symlink(place, str(oid), dir_fd=links)
                os.chown(str(oid), *owner, dir_fd=links, follow_symlinks=False)
        finally:
            os.close(links)
        lines = "".join(f"{oid} {_escaped(os.fspath(place))}\n" for oid, place in sorted(places.items()))
        _write(data, "tablespace_map", os.fsencode(lines), owner)


def _escaped(place: str) -> str:
    """Return a path as the map has it (`backup/basebackup.c`)."""
    return place.replace("\\", "\\\\").replace("\n", "\\\n").replace("\r", "\\\r")


def _finish_top(part: _Part, owner: tuple[int, int]) -> None:
    """Give a top directory its owner and mode: the server refuses to start when others may enter."""
    with opened_directory(part.place) as descriptor:
        os.fchown(descriptor, *owner)
        os.fchmod(descriptor, 0o700 | unix_permissions(part.node.mode) & 0o750)
        sync_file_system(descriptor)


def _write_control(target: Path, content: bytes, owner: tuple[int, int]) -> None:
    with opened_directory(target) as data:
        folder = os.open("global", _SUBFOLDER, dir_fd=data)
        try:
            temporary = "pg_control.unfinished"
            _write(folder, temporary, content, owner)
            os.rename(temporary, "pg_control", src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(folder: int, name: str, content: bytes, owner: tuple[int, int]) -> None:
    write_new(folder, name, content, owner, durable=True)


@contextmanager
def _translated(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BackupError(
            f"{target}: {error.strerror}",
            safe="the backup; what was restored is incomplete and cannot be started",
            hint="remove the directory and restore again",
        ) from error
