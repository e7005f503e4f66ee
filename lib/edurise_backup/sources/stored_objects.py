"""The rows of `storage.objects`, read in the snapshot that is dumped: each names what must be there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import cast

import psycopg

from edurise_backup.errors import ConfigError
from edurise_backup.postgres.session import OTHER_SHAPE, translated
from edurise_backup.sources.database import DatabaseSource

_THERE = b"SELECT to_regclass('storage.objects') IS NOT NULL"
_ROWS = b"""
    SELECT bucket_id, name, CASE WHEN metadata ->> 'size' ~ '^[0-9]{1,18}$' THEN (metadata ->> 'size')::bigint END,
        to_jsonb(objects) ->> 'version'
    FROM storage.objects
    WHERE name IS NOT NULL ORDER BY bucket_id, name"""


@dataclass(frozen=True, slots=True)
class StoredObject:
    """One row: the file BUCKET/NAME, and its size in bytes where the row tells it."""

    database: str
    bucket: str
    name: str
    size: int | None
    version: str = ""
    """What follows the name where Supabase keeps its objects in a bucket; empty in a schema that has none."""

    @property
    def path(self) -> str:
        """The file's path below the storage's root."""
        return f"{self.bucket}/{self.name}"


def read_stored_objects(source: DatabaseSource, database: str) -> Iterator[StoredObject]:
    """Yield the rows of one captured database, none when it has no Supabase storage.

    Raises ConfigError for a table of that name which is not Supabase's, and what `translated` makes of other errors.
    """
    with closing(source.reading(database)) as connection:
        try:
            if connection.execute(_THERE).fetchone() != (True,):
                return
            rows = cast("list[tuple[str, str, int | None, str | None]]", connection.execute(_ROWS).fetchall())
        except OTHER_SHAPE as error:
            raise ConfigError(
                f"storage.objects of {database} was not compared with the files: {error.diag.message_primary}",
                hint="it has another shape than Supabase's: take `objects_of` out of the configuration",
            ) from error
        except psycopg.Error as error:
            raise translated(error, f"storage.objects of {database}") from error
    for bucket, name, size, version in rows:
        yield StoredObject(database, bucket, name, size, version or "")
