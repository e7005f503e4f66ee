"""Compare the rows of `storage.objects` with the files or objects that the backup holds, which was taken after them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edurise_backup.config import Settings
from edurise_backup.model.content import Node
from edurise_backup.model.objects import KEY, attributes_by_name
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.sources.bucket import FOLDER
from edurise_backup.sources.stored_objects import StoredObject


@dataclass(frozen=True, slots=True)
class HeldObjects:
    """What a snapshot of files or of a bucket holds."""

    count: int
    bytes: int
    objects_of: str
    """The database source whose rows name it; empty: none does."""
    sizes: dict[str, int]
    """By key, or by path below the first folder; empty where no rows name them."""
    in_bucket: bool

    def differences(self, rows: Sequence[StoredObject]) -> Iterator[str]:
        """Yield a warning for each row whose object is not there, or of another size."""
        tenants = sorted({key.partition("/")[0] for key in self.sizes}) if self.in_bucket else []
        what = "object" if self.in_bucket else "file"
        for row in rows:
            found = [self.sizes[key] for key in _keys(row, tenants) if key in self.sizes]
            if not found:
                yield f"storage.objects of {row.database} names {row.path}, which has no {what}"
            elif row.size is not None and row.size not in found:
                yield (
                    f"storage.objects of {row.database} says that {row.path} has {row.size} bytes, it has {found[0]}"
                )


def _keys(row: StoredObject, tenants: Sequence[str]) -> Iterator[str]:
    """Yield where a row's object may be: BUCKET/NAME, or as Supabase's own S3 backend keeps it."""
    yield row.path
    if row.version:
        for tenant in tenants:
            yield f"{tenant}/{row.path}/{row.version}"


def held_objects(repository: Repository, tree: str, settings: Settings, source: str) -> HeldObjects:
    """Look at a snapshot of the files source or bucket `source`."""
    bucket = next((one for one in settings.buckets if one.name == source), None)
    files = next((one for one in settings.files if one.name == source), None)
    root = f"{FOLDER}/{source}" if bucket is not None else files.paths[0] if files is not None else ""
    owner = bucket.objects_of if bucket is not None else files.objects_of if files is not None else ""
    count = total = 0
    sizes: dict[str, int] = {}
    for path, node in walk_files(repository, tree):
        if node.type != "file":
            continue
        count, total = count + 1, total + node.size
        if owner and path.startswith(f"{root}/"):
            sizes[_key(path[len(root) + 1 :], node, in_bucket=bucket is not None)] = node.size
    return HeldObjects(count, total, owner, sizes, bucket is not None)


def _key(below: str, node: Node, *, in_bucket: bool) -> str:
    told = attributes_by_name(node).get(KEY) if in_bucket else None
    return below if told is None else told.decode("utf-8", "surrogatepass")
