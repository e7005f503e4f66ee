"""Who runs the server, and whether that user reaches a path of ours.

The spool's folder is ours alone. As root we let the server's group pass
through it (and through `wal` above it) to the socket: pass, not list, and the
log's files stay readable for us alone. A folder that is not ours to open, the data
directory and what lies above it, is never touched: it is told.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Owner:
    """The user that a server runs as."""

    uid: int
    gid: int


def owner_of(data_directory: str | Path | None) -> Owner | None:
    """Return whose a cluster's data directory is; None where that cannot be seen from here."""
    try:
        found = Path(data_directory).stat() if data_directory else None
    except OSError:
        return None
    own = str(data_directory).startswith("/proc/self/")  # that is ours, not the server's
    return Owner(found.st_uid, found.st_gid) if found and not own else None


def let_reach(folder: Path, owner: Owner) -> None:
    """Let the server's user pass through a spool's folder; only root can. Raises OSError."""
    if os.geteuid() != 0 or owner.uid == 0:
        return
    os.chown(folder, -1, owner.gid)
    folder.chmod(0o710)
    folder.parent.chmod(stat.S_IMODE(folder.parent.stat().st_mode) | 0o011)  # of all sources, so of several groups


def blocked_for(path: Path, owner: Owner) -> Path | None:
    """Return the first folder on the way to a path (itself included) that a user may not pass; None: all is open.

    Further groups of the user and access lists are not known here: they are taken as absent.
    """
    if owner.uid == 0:
        return None
    for folder in (*reversed(path.parents), path):
        found = folder.stat()
        if found.st_uid == owner.uid:
            allowed = found.st_mode & stat.S_IXUSR
        elif found.st_gid == owner.gid:
            allowed = found.st_mode & stat.S_IXGRP
        else:
            allowed = found.st_mode & stat.S_IXOTH
        if not allowed:
            return folder
    return None
