"""A real PostgreSQL for tests: one embedded cluster for a session, fresh databases in it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from psycopg import sql

from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.model.database import DatabaseRecord, Globals, Secret, decode_record, folder_name
from edurise_backup.ports import Entry, Source
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import Tools, find_server, find_tools

UNSAFE_AND_QUICK = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield a running server on a socket and on 127.0.0.1; its superuser is `postgres`."""
    server = Server(
        tmp_path_factory.mktemp("cluster") / "data",
        binaries=find_server(),
        password=Secret(f"canary-{secrets.token_hex(12)}:\\'"),
        port=0,
        settings=UNSAFE_AND_QUICK,
    )
    with server:
        yield server


@pytest.fixture(scope="session")
def tools(cluster: Server) -> Tools:
    """Return the client tools of the cluster's version."""
    with connect(cluster.address) as connection:
        return find_tools(connection.info.server_version // 10000)


@pytest.fixture
def empty_database(cluster: Server) -> Iterator[Address]:
    """Yield the superuser's address of a new database, which is dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    execute(cluster.address, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield replace(cluster.address, database=name)
    drop_database(cluster.address, name)


@pytest.fixture(scope="session")
def catalog_template(cluster: Server) -> str:
    """Return the name of a database with the tables of an empty catalog: a copy is made in half the time."""
    execute(cluster.address, "CREATE DATABASE catalog_template")
    sessions = Sessions.to(replace(cluster.address, database="catalog_template"))
    migrate(sessions)
    sessions.close()
    return "catalog_template"


@pytest.fixture
def catalog_database(cluster: Server, catalog_template: str) -> Iterator[Address]:
    """Yield the superuser's address of a new database for a catalog, which is dropped afterwards."""
    name = f"test_{secrets.token_hex(6)}"
    query = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    execute(cluster.address, query.format(sql.Identifier(name), sql.Identifier(catalog_template)))
    yield replace(cluster.address, database=name)
    drop_database(cluster.address, name)


def execute(address: Address, *statements: sql.Composable | str) -> None:
    """Run statements outside of a transaction block."""
    with connect(address, autocommit=True) as connection:
        for statement in statements:
            query = statement if isinstance(statement, sql.Composable) else sql.SQL(statement)  # type: ignore[arg-type]
            connection.execute(query)


def drop_database(address: Address, name: str) -> None:
    """Drop the database with its sessions, if it is there."""
    execute(address, sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def databases_of(address: Address) -> set[str]:
    """Return the names of the server's databases."""
    with connect(address) as connection:
        return {str(name) for (name,) in connection.execute("SELECT datname FROM pg_database").fetchall()}


class CapturedFiles:
    """The files that a database source offered, in memory; satisfies `recovery.database_archives.ArchiveReader`."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files

    def open(self, path: str) -> Iterator[bytes]:
        """Yield the file in pieces."""
        content = self.files[path]
        for start in range(0, len(content), 65536):
            yield content[start : start + 65536]

    def record(self, database: str) -> DatabaseRecord:
        """Return the record of one database."""
        return decode_record(self.files[f"/databases/{folder_name(database)}/database.json"], DatabaseRecord)

    def globals(self) -> Globals:
        """Return the server's roles."""
        return decode_record(self.files["/databases/globals.json"], Globals)


def capture(source: Source, *, readers: int = 4) -> CapturedFiles:
    """Read the whole source as the archiver does: entries in their order, several at a time."""
    with ThreadPoolExecutor(readers) as pool:
        pending: dict[str, Future[bytes]] = {}
        try:
            for entry in files_of(source.root()):
                pending[entry.path] = pool.submit(read_entry, entry)
            return CapturedFiles({path: future.result() for path, future in pending.items()})
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def files_of(entry: Entry) -> Iterator[Entry]:
    """Yield the files below an entry of a source, in its order."""
    if entry.children is None:
        yield entry
        return
    last = b""
    for child in entry.children():
        name = child.node.name.encode()
        assert last < name, "children must come in the order of their names' bytes"
        assert child.path == entry.path.rstrip("/") + "/" + child.node.name
        last = name
        yield from files_of(child)


def read_entry(entry: Entry) -> bytes:
    """Return all bytes of one file of a source."""
    assert entry.open is not None
    pieces = bytearray()
    buffer = memoryview(bytearray(256 * 1024))
    with closing(entry.open()) as content:
        while count := content.readinto(buffer):
            pieces += buffer[:count]
        assert content.finish() is None
    return bytes(pieces)
