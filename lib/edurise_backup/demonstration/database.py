"""Make and fill the platform's databases: `edurise` in the manner of Supabase, and a small `analytics`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.resources import files

import psycopg
from psycopg import sql

from edurise_backup.demonstration.configuration import Secrets
from edurise_backup.demonstration.content import Table, analytics_tables, main_tables
from edurise_backup.demonstration.passwords import scram_verifier
from edurise_backup.demonstration.population import People, Sizes
from edurise_backup.demonstration.prose import Writer
from edurise_backup.demonstration.randomness import make_uuid, stream, timestamp
from edurise_backup.demonstration.storage import StoredObject, bucket_rows
from edurise_backup.errors import ToolError
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, connect

MAIN = "edurise"
ANALYTICS = "analytics"
DATABASES = (MAIN, ANALYTICS)
ROLES = (
    "edurise_owner",
    "edurise_auth_admin",
    "edurise_storage_admin",
    "authenticator",
    "anon",
    "authenticated",
    "service_role",
    "edurise_readers",
    "edurise_app",
    "edurise analyst",
)
LARGE_OBJECTS = (734_001, 734_002)
"""The ids of the recordings that are kept as large objects."""

_Connection = psycopg.Connection[tuple[object, ...]]
_MONTHS = (*((2025, month) for month in range(9, 13)), *((2026, month) for month in range(1, 7)))

_DATABASE_SETTINGS = f"""
ALTER DATABASE {MAIN} SET search_path = public, auth, storage;
ALTER DATABASE {MAIN} SET "app.settings.site" = 'it''s "EduRise"';
ALTER DATABASE {MAIN} SET default_statistics_target = '50';
ALTER ROLE edurise_app IN DATABASE {MAIN} SET search_path = public, storage;
ALTER ROLE "edurise analyst" IN DATABASE {ANALYTICS} SET search_path = reports;
ALTER DATABASE {ANALYTICS} CONNECTION LIMIT 30;
REVOKE ALL ON DATABASE {MAIN} FROM PUBLIC;
GRANT CONNECT ON DATABASE {MAIN} TO anon, authenticated, service_role, authenticator;
GRANT CREATE ON DATABASE {MAIN} TO edurise_owner WITH GRANT OPTION;
GRANT CONNECT, TEMPORARY ON DATABASE {ANALYTICS} TO edurise_readers;
COMMENT ON DATABASE {MAIN} IS 'Learning platform: "main" database; it''s the one that matters';
COMMENT ON DATABASE {ANALYTICS} IS 'Daily figures';
"""


def create_databases(
    address: Address,
    *,
    seed: int,
    amount: Sizes,
    folk: People,
    secrets: Secrets,
    objects: Iterable[StoredObject],
    progress: Progress | None = None,
) -> None:
    """Make the roles and both databases on a server that has neither, and fill them; raises ToolError."""
    try:
        with connect(address, autocommit=True) as connection:
            _create_roles(connection, seed, secrets)
            for name, provider in ((MAIN, "libc"), (ANALYTICS, "builtin")):
                options = f"ENCODING 'UTF8' LOCALE_PROVIDER {provider} LOCALE 'C.UTF-8' TEMPLATE template0"
                _run(connection, f"CREATE DATABASE {name} OWNER edurise_owner {options}")
        with connect(address, database=MAIN) as connection:
            _fill_main(connection, seed, amount, folk, objects, progress)
        with connect(address, database=ANALYTICS) as connection:
            _run(connection, _script("analytics.sql"))
            _load_all(connection, analytics_tables(seed), progress)
        with connect(address, autocommit=True) as connection:
            _run(connection, _DATABASE_SETTINGS)
    except psycopg.Error as error:
        raise ToolError(f"the platform's databases cannot be made: {error}") from error


def drop_databases(address: Address) -> None:
    """Drop the platform's databases, whoever uses them, and then its roles; raises ToolError."""
    try:
        with connect(address, autocommit=True) as connection:
            for name in DATABASES:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            for role in ROLES:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(role)))
    except psycopg.Error as error:
        raise ToolError(f"the platform's databases cannot be dropped: {error}") from error


def _create_roles(connection: _Connection, seed: int, secrets: Secrets) -> None:
    _run(connection, _script("roles.sql"))
    random = stream(seed, "verifiers")
    for role, password in (
        ("edurise_owner", secrets.owner_password),
        ("edurise_app", secrets.application_password),
        ("edurise analyst", secrets.analyst_password),
    ):
        verifier = sql.Literal(scram_verifier(password, random))
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), verifier))


def _fill_main(
    connection: _Connection,
    seed: int,
    amount: Sizes,
    folk: People,
    objects: Iterable[StoredObject],
    progress: Progress | None,
) -> None:
    _run(connection, _script("edurise_tables.sql"))
    for year, month in _MONTHS:
        create_month(connection, year, month)
    _load_all(connection, main_tables(seed, amount, folk), progress)
    _load_all(connection, _storage_tables(seed, objects), progress)
    _make_recordings(connection, seed)
    for sequence, value in (("lessons_id_seq", amount.lessons), ("certificate_number", 1000 + 7 * amount.users)):
        connection.execute("SELECT setval(%s::regclass, %s)", (f"public.{sequence}", value))
    _run(connection, _script("edurise_keys.sql"))
    _run(connection, "REFRESH MATERIALIZED VIEW public.course_results")
    connection.commit()
    _run(connection, "ANALYZE")


def create_month(connection: _Connection, year: int, month: int) -> None:
    """Create the partition of `public.activity` for a month."""
    begins, ends = datetime(year, month, 1, tzinfo=UTC), datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    statement = (
        f'SET ROLE edurise_owner; CREATE TABLE public."activity_{year}_{month:02d}" PARTITION OF public.activity '
        f"FOR VALUES FROM ('{timestamp(begins.timestamp())}') TO ('{timestamp(ends.timestamp())}'); RESET ROLE"
    )
    _run(connection, statement)


def load(connection: _Connection, table: Table, *, progress: Progress | None = None) -> None:
    """Copy a table's rows into it; names are ours and already quoted."""
    waiting = 0
    with connection.cursor() as cursor, cursor.copy(f"COPY {table.name} ({table.columns}) FROM STDIN".encode()) as copy:
        for row in table.rows:
            copy.write_row(row)
            waiting += 1
            if progress and waiting == 5_000:
                progress.raise_if_cancelled()
                waiting = 0


def object_table(objects: Iterable[StoredObject]) -> Table:
    """Return the rows of `storage.objects` that describe `objects`."""
    return Table(
        "storage.objects",
        "id, bucket_id, name, owner, metadata, version, created_at, updated_at, last_accessed_at",
        (object_row(stored) for stored in objects),
    )


def object_row(stored: StoredObject) -> tuple[object, ...]:
    """Return the row of an object: its id and version follow from its path and content."""
    random = stream(0, f"row {stored.path}")
    written = timestamp(stored.written_at)
    version = make_uuid(stream(0, f"version {stored.path} {stored.etag}"))
    return (
        *(make_uuid(random), stored.bucket, stored.name, stored.owner, object_metadata(stored)),
        *(version, written, written, None),
    )


def object_metadata(stored: StoredObject) -> str:
    """Return the JSON that Supabase keeps about an object."""
    return json.dumps(
        {
            "eTag": f'"{stored.etag}"',
            "size": stored.size,
            "mimetype": stored.mimetype,
            "cacheControl": stored.cache_control,
            "lastModified": timestamp(stored.written_at),
            "contentLength": stored.size,
            "httpStatusCode": 200,
        }
    )


def _storage_tables(seed: int, objects: Iterable[StoredObject]) -> Iterator[Table]:
    columns = "id, name, public, file_size_limit, allowed_mime_types, created_at, updated_at"
    yield Table("storage.buckets", columns, bucket_rows(seed))
    yield object_table(objects)


def _make_recordings(connection: _Connection, seed: int) -> None:
    random = stream(seed, "recordings")
    writer = Writer(random)
    for number, oid in enumerate(LARGE_OBJECTS, start=1):
        audio = random.randbytes(700_000) + writer.text(writer.subject(), 200_000 * number).encode()
        connection.execute("SELECT lo_from_bytea(%s, %s)", (oid, audio))
        _run(connection, f"ALTER LARGE OBJECT {oid} OWNER TO edurise_owner; GRANT SELECT ON LARGE OBJECT {oid} TO anon")
        connection.execute(
            "INSERT INTO public.recordings (lesson_id, title, audio) VALUES (%s, %s, %s)",
            (number, writer.title(writer.subject()), oid),
        )
    _run(connection, f"COMMENT ON LARGE OBJECT {LARGE_OBJECTS[0]} IS 'Recorded in the old studio'")


def _load_all(connection: _Connection, tables: Iterator[Table], progress: Progress | None) -> None:
    for table in tables:
        load(connection, table, progress=progress)


def _script(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")


def _run(connection: _Connection, statements: str) -> None:
    connection.execute(statements.encode())
