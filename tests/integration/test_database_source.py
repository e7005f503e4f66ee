"""Captures of databases that are in use, and everything that must make one fail."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from edurise_backup.errors import (
    BackupError,
    CancelledError,
    NotFoundError,
    SourceError,
    ToolError,
    TransientError,
    UnreachableError,
    UnsupportedVersionError,
)
from edurise_backup.model.content import Node
from edurise_backup.model.database import Secret
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Content, Entry
from edurise_backup.postgres import facts
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.session import close_quietly, reading_session
from edurise_backup.postgres.tools import Tools, Version
from edurise_backup.recovery.database import restore_database
from edurise_backup.recovery.database_proof import prove_database
from edurise_backup.sources.database import DatabaseSource
from edurise_backup.sources.database_contents import TextContent
from tests.support.postgres import CapturedFiles, capture, databases_of, drop_database, execute, files_of

WIDE = "CREATE TABLE wide AS SELECT i, repeat(md5(i::text), 30) AS text FROM generate_series(1, 12000) i"
"""About 12 MB: more than all pipes and buffers between the server and us."""


def source_of(address: Address, tools: Tools, **options: object) -> DatabaseSource:
    return DatabaseSource(
        address,
        name="test",
        tools=tools,
        databases=[address.database],
        **options,  # type: ignore[arg-type]
    )


def opened(source: DatabaseSource, ending: str) -> Content:
    """Open the file whose path ends so; what comes before it is not read."""
    entry: Entry = next(entry for entry in files_of(source.root()) if entry.path.endswith(ending))
    assert entry.open is not None
    return entry.open()


def children_of_this_process() -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (OSError, ValueError):
            continue
        if folder.name.isdecimal() and int(fields[1]) == os.getpid():
            found.append(int(folder.name))
    return found


def programs(name: str) -> list[int]:
    found = []
    for pid in children_of_this_process():
        with suppress(OSError):  # one that has ended and is not reaped has no program any more
            if os.readlink(f"/proc/{pid}/exe").endswith(f"/{name}"):
                found.append(pid)
    return found


def sessions_on(address: Address) -> int:
    with connect(address.with_database("postgres")) as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", [address.database]
        ).fetchone()
    assert row is not None
    return int(str(row[0]))


# one state, whatever goes on meanwhile


def test_what_is_captured_is_one_moment_while_others_write(
    cluster: Server, empty_database: Address, tools: Tools
) -> None:
    execute(
        empty_database,
        "CREATE TABLE left_side (id serial, v text); CREATE TABLE right_side (id integer, v text)",
        "INSERT INTO left_side (v) SELECT repeat('x', 200) FROM generate_series(1, 3000)",
    )
    enough = threading.Event()

    def move_rows() -> None:
        with connect(empty_database) as connection:
            while not enough.is_set():
                connection.execute(
                    "WITH moved AS (DELETE FROM left_side WHERE id = (SELECT min(id) FROM left_side) RETURNING *) "
                    "INSERT INTO right_side SELECT * FROM moved"
                )
                connection.execute("INSERT INTO left_side (v) VALUES ('new')")
                connection.commit()

    writer = threading.Thread(target=move_rows)
    writer.start()
    try:
        with source_of(empty_database, tools, large_table_bytes=100_000) as source:
            files = capture(source)
    finally:
        enough.set()
        writer.join()
    record = files.record(empty_database.database)
    target = f"{empty_database.database}_back"
    restore_database(
        files, record, address=cluster.address, new_name=target, tools=tools, server_globals=files.globals()
    )
    try:
        assert prove_database(record, address=cluster.address, new_name=target).findings == []
        with connect(cluster.address, database=target) as connection:
            holes = connection.execute(
                "SELECT count(*) FROM (SELECT id FROM left_side INTERSECT SELECT id FROM right_side) both_sides"
            ).fetchone()
        assert holes == (0,)
    finally:
        drop_database(cluster.address, target)


def test_a_table_cannot_vanish_while_its_backup_runs(empty_database: Address, tools: Tools) -> None:
    execute(empty_database, "CREATE TABLE wanted AS SELECT 1 AS a")
    with source_of(empty_database, tools) as source:
        with connect(empty_database) as connection, pytest.raises(Exception, match="lock timeout"):
            connection.execute("SET lock_timeout = '100ms'; TRUNCATE wanted")
        assert capture(source).record(empty_database.database).rows == 1


def test_a_truncation_between_snapshot_and_lock_is_noticed(empty_database: Address) -> None:
    execute(empty_database, "CREATE TABLE emptied AS SELECT 1 AS a; CREATE TABLE kept AS SELECT 1 AS a")
    session = reading_session(empty_database, empty_database.database, lock_timeout=timedelta(seconds=1))
    with closing(session):
        before = facts.read_relations(session)
        execute(empty_database, "TRUNCATE emptied; INSERT INTO kept VALUES (2)")
        assert [one.name for one in facts.rewritten_since(session, before)] == ["emptied"]


def test_snapshot_time_and_wal_position_are_told(empty_database: Address, tools: Tools) -> None:
    with source_of(empty_database, tools) as source:
        files = capture(source)
        record = files.record(empty_database.database)
        assert source.snapshot_time is not None
        assert source.snapshot_time.utcoffset() == timedelta(0)
        assert source.lsn == record.lsn
        assert source.records == [record]


# what is offered


def test_every_database_is_captured_unless_excluded(cluster: Server, empty_database: Address, tools: Tools) -> None:
    execute(empty_database, "CREATE TABLE a ()")
    others = databases_of(cluster.address) - {empty_database.database, "template0", "template1", "postgres"}
    source = DatabaseSource(cluster.address, name="all", tools=tools, exclude_databases=sorted(others))
    with source:
        assert source.databases == [empty_database.database]
    with DatabaseSource(cluster.address, name="all", tools=tools, exclude_databases=[empty_database.database]) as rest:
        assert empty_database.database not in rest.databases


def test_the_database_postgres_counts_when_somebody_used_it(cluster: Server, tools: Tools) -> None:
    rest = sorted(databases_of(cluster.address) - {"postgres"})
    execute(cluster.address, "CREATE TABLE used ()")
    try:
        with DatabaseSource(cluster.address, name="all", tools=tools, exclude_databases=rest) as source:
            assert source.databases == ["postgres"]
    finally:
        execute(cluster.address, "DROP TABLE used")
    with DatabaseSource(cluster.address, name="all", tools=tools, exclude_databases=rest) as source:
        assert source.databases == []


def test_a_database_that_allows_no_connections_is_reported(
    cluster: Server, empty_database: Address, tools: Tools
) -> None:
    name = sql.Identifier(empty_database.database)
    execute(cluster.address, sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(name))
    others = sorted(databases_of(cluster.address) - {empty_database.database})
    with DatabaseSource(cluster.address, name="all", tools=tools, exclude_databases=others) as source:
        assert source.databases == []
        assert source.problems() == [f"The database {empty_database.database} allows no connections and was left out."]


def test_a_database_may_be_called_like_the_file_beside_it(cluster: Server, tools: Tools) -> None:
    execute(cluster.address, 'CREATE DATABASE "globals.json"')
    try:
        with source_of(cluster.address.with_database("globals.json"), tools) as source:
            files = capture(source)
        assert "/databases/globals%2Ejson/archive.pgdump" in files.files
        assert files.globals().roles
    finally:
        drop_database(cluster.address, "globals.json")


def test_synthesised_files_are_private(empty_database: Address, tools: Tools) -> None:
    with source_of(empty_database, tools) as source:
        nodes = [entry.node for entry in files_of(source.root())]
        assert {node.mode & 0o777 for node in nodes} == {0o600}
        assert len({node.mtime for node in nodes}) == 1


# failures


def test_a_dump_whose_session_dies_midway_is_an_error(empty_database: Address, tools: Tools) -> None:
    execute(empty_database, WIDE)
    with source_of(empty_database, tools) as source, closing(opened(source, "archive.pgdump")) as content:
        buffer = memoryview(bytearray(100_000))
        assert content.readinto(buffer)
        with connect(empty_database) as connection:
            killed = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query LIKE 'COPY%wide%' AND state = 'active'"
            ).fetchall()
        assert killed == [(True,)]
        while content.readinto(buffer):
            pass
        with pytest.raises(ToolError, match=r"pg_dump ended with exit status 1.*terminat"):
            content.finish()


def test_a_dump_that_is_killed_is_an_error(empty_database: Address, tools: Tools) -> None:
    execute(empty_database, WIDE)
    with source_of(empty_database, tools) as source, closing(opened(source, "archive.pgdump")) as content:
        buffer = memoryview(bytearray(100_000))
        assert content.readinto(buffer)
        (pid,) = programs("pg_dump")
        os.kill(pid, signal.SIGKILL)
        while content.readinto(buffer):
            pass
        with pytest.raises(ToolError, match="killed by signal 9"):
            content.finish()


def test_a_stream_that_ends_cleanly_with_a_bad_exit_status_is_an_error(
    empty_database: Address, tools: Tools, tmp_path: Path
) -> None:
    fake = script(tmp_path / "pg_dump", f'{tools.pg_dump} "$@"; echo "pg_dump: error: disk on fire" >&2; exit 1')
    with (
        source_of(empty_database, replace(tools, pg_dump=fake)) as source,
        pytest.raises(ToolError, match="disk on fire"),
    ):
        capture(source)


def test_an_archive_that_lacks_a_table_is_an_error(empty_database: Address, tools: Tools, tmp_path: Path) -> None:
    execute(empty_database, "CREATE TABLE present (); CREATE TABLE absent ()")
    fake = script(tmp_path / "pg_dump", f'exec {tools.pg_dump} "$@" --exclude-table=absent')
    with (
        source_of(empty_database, replace(tools, pg_dump=fake)) as source,
        pytest.raises(ToolError, match=r"not whole; missing: table public\.absent, rows of public\.absent"),
    ):
        capture(source)


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_warnings_of_pg_dump_are_problems(empty_database: Address, tools: Tools, tmp_path: Path) -> None:
    fake = script(tmp_path / "pg_dump", f'echo "pg_dump: warning: odd thing" >&2; exec {tools.pg_dump} "$@"')
    with source_of(empty_database, replace(tools, pg_dump=fake)) as source:
        capture(source)
        assert source.problems() == [f"{empty_database.database}: pg_dump: warning: odd thing"]


def test_a_locked_table_is_named_after_the_lock_timeout(empty_database: Address, tools: Tools) -> None:
    execute(empty_database, "CREATE TABLE busy ()")
    with connect(empty_database) as connection:
        connection.execute("LOCK TABLE busy")
        source = source_of(empty_database, tools, lock_timeout=timedelta(milliseconds=100))
        with pytest.raises(TransientError, match=r"table public\.busy of .* stayed locked"), source:
            pass


def test_a_server_newer_than_pg_dump_is_refused(empty_database: Address, tools: Tools) -> None:
    source = source_of(empty_database, replace(tools, version=Version(15, 0)))
    with pytest.raises(UnsupportedVersionError, match="server newer than pg_dump"), source:
        pass


def test_a_database_that_does_not_exist_is_named(cluster: Server, tools: Tools) -> None:
    source = DatabaseSource(cluster.address, name="x", tools=tools, databases=["nowhere"])
    with pytest.raises(NotFoundError, match="nowhere"), source:
        pass


def test_a_wrong_password_and_a_silent_server_are_told_apart(cluster: Server, tools: Tools) -> None:
    wrong = replace(cluster.address, password=Secret("guess"))
    with pytest.raises(UnreachableError, match="password") as caught, DatabaseSource(wrong, name="x", tools=tools):
        pass
    assert "guess" not in repr(caught.value)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = replace(cluster.tcp_address, port=closed.getsockname()[1])
        with pytest.raises(UnreachableError, match="no connection"), DatabaseSource(nobody, name="x", tools=tools):
            pass


def test_a_cancelled_capture_leaves_no_program_and_no_session(empty_database: Address, tools: Tools) -> None:
    execute(empty_database, WIDE)
    progress = SilentProgress()
    with (
        pytest.raises(CancelledError),
        source_of(empty_database, tools, progress=progress) as source,
        closing(opened(source, "archive.pgdump")) as content,
    ):
        content.readinto(memoryview(bytearray(100_000)))
        progress.cancel()
        progress.raise_if_cancelled()
    assert programs("pg_dump") == []
    assert programs("pg_restore") == []
    wait_until(lambda: sessions_on(empty_database) == 0)


def wait_until(condition: Callable[[], bool]) -> None:
    """Ask again until it holds; the test's own time limit ends a wait that is in vain."""
    while not condition():
        os.sched_yield()


def test_leaving_a_source_stops_its_streams_and_wakes_who_waits_for_them(empty_database: Address, tools: Tools) -> None:
    execute(empty_database, WIDE)
    with source_of(empty_database, tools) as source:
        entries = {entry.node.name: entry for entry in files_of(source.root())}
        archive, listing = entries["archive.pgdump"], entries["archive.toc"]
        assert archive.open is not None
        assert listing.open is not None
        content = archive.open()
        content.readinto(memoryview(bytearray(1000)))
        waiting = listing.open()
    with pytest.raises(CancelledError):
        waiting.readinto(memoryview(bytearray(1000)))
    assert programs("pg_dump") == []


def test_an_error_in_a_text_never_looks_like_a_file_that_vanished() -> None:
    def fail() -> bytes:
        raise SourceError("rights are missing", hint="grant them")

    node = Node(name="x", type="file", mtime="", atime="", ctime="", uid=0, gid=0, content=[])
    with pytest.raises(ToolError, match="rights are missing") as caught:
        TextContent(node, fail).readinto(memoryview(bytearray(10)))
    assert caught.value.hint == "grant them"


# rights


@contextmanager
def role(cluster: Server, *, grant: str, options: str = "") -> Iterator[Address]:
    name, password = f"backup_{secrets.token_hex(4)}", secrets.token_hex(8)
    identifier = sql.Identifier(name)
    execute(
        cluster.address,
        sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} " + options).format(identifier, password),  # type: ignore[arg-type]
        sql.SQL("GRANT {} TO {}").format(sql.Identifier(grant), identifier),
    )
    try:
        yield replace(cluster.address, user=name, password=Secret(password))
    finally:
        execute(cluster.address, sql.SQL("DROP ROLE {}").format(identifier))


PROTECTED = (
    "CREATE TABLE secret (a serial)",
    "INSERT INTO secret DEFAULT VALUES",
    "ALTER TABLE secret ENABLE ROW LEVEL SECURITY",
)


def test_a_role_that_may_only_read_is_enough(cluster: Server, empty_database: Address, tools: Tools) -> None:
    execute(empty_database, *PROTECTED)
    with role(cluster, options="BYPASSRLS", grant="pg_read_all_data") as reader:
        with source_of(reader.with_database(empty_database.database), tools) as source:
            record = capture(source).record(empty_database.database)
            assert source.problems() == []
        assert [table.rows for table in record.tables] == [1]


def test_roles_are_kept_without_passwords_that_may_not_be_read(
    cluster: Server, empty_database: Address, tools: Tools
) -> None:
    with role(cluster, grant="pg_monitor") as reader:
        with source_of(reader.with_database(empty_database.database), tools) as source:
            files = capture(source)
            (problem,) = source.problems()
        assert "may not read passwords" in problem
        assert not files.globals().verifiers_included
        assert any(role.name == "postgres" for role in files.globals().roles)
        assert b"SCRAM-SHA-256" not in files.files["/databases/globals.sql"]
        assert b"CREATE ROLE postgres" in files.files["/databases/globals.sql"]


def test_a_table_that_may_not_be_read_is_named(cluster: Server, empty_database: Address, tools: Tools) -> None:
    execute(empty_database, "CREATE TABLE secret ()")
    with role(cluster, grant="pg_monitor") as reader:
        source = source_of(reader.with_database(empty_database.database), tools)
        with pytest.raises(SourceError, match=r"may not read all of the table public\.secret"), source:
            pass


def test_rows_hidden_by_row_level_security_are_an_error_and_never_left_out(
    cluster: Server, empty_database: Address, tools: Tools
) -> None:
    execute(empty_database, *PROTECTED)
    with role(cluster, grant="pg_read_all_data") as reader:
        source = source_of(reader.with_database(empty_database.database), tools)
        with pytest.raises(SourceError, match=r"hides rows .*public\.secret"), source:
            pass


def test_a_large_object_that_may_not_be_read_is_an_error(
    cluster: Server, empty_database: Address, tools: Tools
) -> None:
    execute(empty_database, "SELECT lo_from_bytea(0, 'private')")
    with (
        role(cluster, grant="pg_read_all_data") as reader,
        source_of(reader.with_database(empty_database.database), tools) as source,
    ):
        with pytest.raises(BackupError) as caught:
            capture(source)
        assert not isinstance(caught.value, SourceError)


# secrets and plaintext


def test_the_password_is_in_no_command_line_and_no_environment(
    cluster: Server, empty_database: Address, tools: Tools
) -> None:
    execute(empty_database, WIDE)
    password = cluster.address.password
    assert password is not None
    canary = password.reveal()[:24].encode()
    with source_of(empty_database, tools) as source, closing(opened(source, "archive.pgdump")) as content:
        content.readinto(memoryview(bytearray(1000)))
        (dump,) = programs("pg_dump")
        for pid in children_of_this_process():
            seen = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
            assert canary not in seen
        environment = Path(f"/proc/{dump}/environ").read_bytes()
        assert b"PGPASSFILE=/proc/" in environment
        assert b"PGPASSWORD" not in environment


def test_a_dump_and_its_reader_write_to_no_file_on_a_disk(empty_database: Address, tools: Tools) -> None:
    execute(empty_database, WIDE)
    with source_of(empty_database, tools) as source, closing(opened(source, "archive.pgdump")) as content:
        content.readinto(memoryview(bytearray(1000)))
        for pid in programs("pg_dump") + programs("pg_restore"):
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                target = os.readlink(descriptor)
                regular = stat.S_ISREG(descriptor.stat().st_mode)
                assert not regular or target.startswith("/memfd:"), target


def test_a_capture_keeps_nothing_that_shows_a_password(empty_database: Address, tools: Tools) -> None:
    with source_of(empty_database, tools) as source:
        files = capture(source)
        assert "SCRAM" not in repr(source.globals)
        assert any(role.verifier and role.verifier.startswith("SCRAM-SHA-256$") for role in source.globals.roles)
    assert isinstance(files, CapturedFiles)
    assert empty_database.password is not None
    everything = b"".join(files.files.values())
    assert empty_database.password.reveal().encode() not in everything


def test_a_session_can_be_closed_while_it_works(empty_database: Address) -> None:
    session = reading_session(empty_database, empty_database.database, lock_timeout=timedelta(seconds=1))
    ended = threading.Event()

    def work() -> None:
        with pytest.raises(psycopg.Error):  # which one depends on how far the closing got when it was noticed
            session.execute("SELECT pg_sleep(60)")
        ended.set()

    thread = threading.Thread(target=work)
    thread.start()
    with connect(empty_database) as connection:
        wait_until(lambda: sleeping(connection))
    close_quietly(session)
    thread.join()
    assert ended.is_set()


def sleeping(connection: object) -> bool:
    rows = connection.execute(  # type: ignore[attr-defined]
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"
    ).fetchall()
    connection.rollback()  # type: ignore[attr-defined]
    return bool(rows)
