"""Where a new repository may be made."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from edurise_backup.errors import ConflictError, NotFoundError
from edurise_backup.ports import Store
from edurise_backup.repository.layout import CONFIG, Kind, object_id


def refuse_existing(store: Store) -> None:
    """Raise ConflictError over a repository or the remains of one; what an init that was cut short left is removed."""
    if _has(store, lambda: store.size(CONFIG)):
        raise ConflictError(
            f"there is a repository at {store.address} already",
            safe="it was not changed",
            hint="use it, or choose another place",
        )
    for kind in (Kind.SNAPSHOT, Kind.INDEX, Kind.PACK):
        if any(True for _ in _objects(store, kind)):
            raise ConflictError(
                f"{store.address} holds a repository's objects but no config",
                safe="nothing was changed",
                hint="put back the object `config` from a copy, or choose another place",
            )
    for name in list(_objects(store, Kind.KEY)):
        store.delete(name)  # of an init that was cut short: nothing was ever sealed with that key


def _has(store: Store, look: Callable[[], int]) -> bool:
    try:
        look()
    except NotFoundError:
        return False
    return True


def _objects(store: Store, kind: Kind) -> Iterator[str]:
    try:
        for name, _ in store.list(kind):
            if object_id(name) is not None:
                yield name
    except NotFoundError:
        return
