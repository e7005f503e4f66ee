"""Where each kind of object lies in the store; names as in restic's layout."""

from __future__ import annotations

import re
from enum import StrEnum


class Kind(StrEnum):
    """The folders of a repository."""

    PACK = "data"
    KEY = "keys"
    LOCK = "locks"
    SNAPSHOT = "snapshots"
    INDEX = "index"


CONFIG = "config"
NOTES = "edurise"
"""Below it lies what restic's format has no place for; stock clients ignore it."""

_ID = re.compile(r"[0-9a-f]{64}\Z")


def object_name(kind: Kind, object_id: str) -> str:
    """Return the store's name of an object; packs are spread over 256 folders."""
    if kind is Kind.PACK:
        return f"{kind}/{object_id[:2]}/{object_id}"
    return f"{kind}/{object_id}"


def object_id(name: str) -> str | None:
    """Return the id at the end of a store's name, or None for a name that is not an object's."""
    last = name.rpartition("/")[2]
    return last if _ID.match(last) else None
