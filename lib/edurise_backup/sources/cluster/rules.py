"""What of a data directory is not part of a base backup.

Source: PostgreSQL's `src/backend/backup/basebackup.c` and the manual, "Making a
Base Backup Using the Low Level API". Names are relative to the data directory.
"""

from __future__ import annotations

import re
from collections.abc import Collection

EMPTIED = frozenset(
    {
        "pg_wal",
        "pg_wal/archive_status",
        "pg_wal/summaries",
        "pg_replslot",
        "pg_dynshmem",
        "pg_notify",
        "pg_serial",
        "pg_snapshots",
        "pg_stat_tmp",
        "pg_subtrans",
    }
)
"""Directories that are kept without what is in them; inside pg_wal only these two are."""
_KEPT_IN_WAL = ("archive_status", "summaries")
_FILES = frozenset(
    {
        "postgresql.auto.conf.tmp",
        "current_logfiles.tmp",
        "backup_label",
        "backup_label.old",
        "tablespace_map",
        "tablespace_map.old",
        "backup_manifest",
        "backup_manifest.tmp",
        "postmaster.pid",
        "postmaster.opts",
        "recovery.signal",
        "standby.signal",
    }
)
"""Files at the top that are made anew, or belong to the running server."""
_ANYWHERE = ("pgsql_tmp", "pg_internal.init", "core.")
_TEMPORARY = re.compile(r"t\d+_\d+(?:_(?:fsm|vm|init))?(?:\.\d+)?\Z")
_RELATION = re.compile(r"(\d+)(?:_(fsm|vm|init))?(?:\.(\d+))?\Z")
_DATABASE_FOLDER = re.compile(r"(?:base/\d+|(?:pg_tblspc/\d+/)?PG_[^/]+/\d+|global)\Z")
CONTROL_FILE = "global/pg_control"


def is_emptied(folder: str) -> bool:
    """Whether a directory is kept without its content."""
    return folder in EMPTIED


def folders_kept_in(folder: str) -> Collection[str]:
    """Return the directories that are kept inside an emptied one."""
    return _KEPT_IN_WAL if folder == "pg_wal" else ()


def is_left_out(folder: str, name: str, siblings: Collection[str]) -> bool:
    """Whether a name in a directory (empty: the top) is no part of a base backup; `siblings`: all names there.

    Of an unlogged relation only its initial fork is kept, from which recovery makes it anew.
    """
    if name.startswith(_ANYWHERE):
        return True
    if not folder:
        return name in _FILES
    if not _DATABASE_FOLDER.match(folder) or folder == "global":
        return False
    if _TEMPORARY.match(name):
        return True
    match = _RELATION.match(name)
    return match is not None and match[2] != "init" and f"{match[1]}_init" in siblings


def relation_file(folder: str, name: str) -> tuple[int, int] | None:
    """Return (relfilenode, number of the 1 GiB file) of a relation's file, which has checksummed pages; else None."""
    match = _RELATION.match(name) if _DATABASE_FOLDER.match(folder) else None
    return (int(match[1]), int(match[3] or 0)) if match else None
