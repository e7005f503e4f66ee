"""Where a base backup may go: checked before a byte is written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from edurise_backup.errors import ConfigError, ConflictError, InputError, SpaceError
from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.postgres.postmaster import find_postmaster

UNTOUCHED = "nothing was restored or changed"


def tablespace_places(record: ClusterRecord, target: Path, wanted: Mapping[int, Path]) -> dict[int, Path]:
    """Return where each tablespace goes; raises InputError for one that the backup does not have, or an odd place."""
    known = {space.oid: space for space in record.tablespaces}
    if unknown := sorted(wanted.keys() - known.keys()):
        names = ", ".join(f"{oid} ({space.name})" for oid, space in known.items()) or "none"
        raise InputError(
            f"the base backup has no tablespace {unknown[0]}", safe=UNTOUCHED, hint=f"its tablespaces are: {names}"
        )
    default = target.with_name(f"{target.name}.tablespaces")
    places = {oid: wanted.get(oid, default / str(oid)).absolute() for oid in known}
    real = [(oid, Path(os.path.realpath(place))) for oid, place in places.items()]
    top = Path(os.path.realpath(target))
    for number, (oid, place) in enumerate(real):
        others = [top, *(other for _, other in real[:number])]
        if any(one == place or one in place.parents or place in one.parents for one in others):
            raise InputError(
                f"the place {places[oid]} of the tablespace {known[oid].name} overlaps with another one",
                safe=UNTOUCHED,
                hint="give every tablespace a directory of its own, outside of the data directory",
            )
    return places


def refuse_occupied(record: ClusterRecord, target: Path, places: Mapping[int, Path]) -> None:
    """Raise ConflictError when a server runs there, something is there, or it is a part of another cluster."""
    if find_postmaster(target) is not None:
        raise ConflictError(
            f"a server runs on {target}",
            safe=UNTOUCHED,
            hint="restore to another directory; nothing is restored over a running server",
        )
    for place in (target, *places.values()):
        if os.path.lexists(place) and (not place.is_dir() or any(place.iterdir())):
            raise ConflictError(f"{place} is not empty", safe=UNTOUCHED, hint="restore into a new or empty directory")
        for above in Path(os.path.realpath(place)).parents:
            if (above / "PG_VERSION").is_file() and (above / "global").is_dir():
                raise ConflictError(
                    f"{place} lies inside the data directory {above}",
                    safe=UNTOUCHED,
                    hint="restore to a directory that is no part of a cluster",
                )
    for space in record.tablespaces:
        _refuse_original(Path(space.location), target, places)


def _refuse_original(origin: Path, target: Path, places: Mapping[int, Path]) -> None:
    """Refuse places at or inside of where the cluster itself, or another of its copies, keeps a tablespace."""
    real = Path(os.path.realpath(origin))
    for place in (target, *places.values()):
        found = Path(os.path.realpath(place))
        if (found == real or real in found.parents) and any(real.glob("PG_*_*")):
            raise ConflictError(
                f"{place} is where the cluster that was backed up has its tablespace {origin}",
                safe=UNTOUCHED,
                hint="name another directory for it",
            )


def refuse_unreachable(place: Path, owner: tuple[int, int]) -> None:
    """Refuse a place that the server's user, who is not this one, could not reach by its name."""
    if os.geteuid() != 0 or owner[0] == 0:
        return
    for above in (one for one in place.parents if one.is_dir()):
        state = above.stat()
        bits = state.st_mode >> (6 if state.st_uid == owner[0] else 3 if state.st_gid == owner[1] else 0)
        if not bits & 1:
            raise ConfigError(
                f"the server's user (id {owner[0]}) may not enter {above}",
                safe=UNTOUCHED,
                hint="restore below a directory that it may enter",
            )


def refuse_without_room(wanted_rooms: Iterable[tuple[Path, int]]) -> None:
    """Raise SpaceError unless every disk has room for all that goes there; pairs of (place, bytes)."""
    wanted: dict[int, int] = {}
    places: dict[int, Path] = {}
    for place, room in wanted_rooms:
        above = next(one for one in (place, *place.parents) if one.is_dir())
        disk = above.stat().st_dev
        wanted[disk] = wanted.get(disk, 0) + room
        places.setdefault(disk, above)
    for disk, room in wanted.items():
        status = os.statvfs(places[disk])
        free = status.f_bavail * status.f_frsize
        if room > free:
            raise SpaceError(
                f"the restore needs {room:,} bytes on the disk of {places[disk]}, {free:,} are free there",
                safe=UNTOUCHED,
                hint="choose a larger disk, or put tablespaces on another one",
            )
