"""A nasty database is captured, restored under another name and proved."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from psycopg import sql

from edurise_backup.errors import ConflictError, ToolError, UnsupportedVersionError
from edurise_backup.model.database import TEXT_RULE, Globals
from edurise_backup.postgres.connection import Address, client_environment, connect
from edurise_backup.postgres.counting import count_rows
from edurise_backup.postgres.facts import read_relations
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.session import reading_session
from edurise_backup.postgres.tools import Tools, Version
from edurise_backup.recovery.database import restore_database
from edurise_backup.recovery.database_proof import prove_database
from edurise_backup.sources.database import DatabaseSource
from tests.support.nasty_database import make_nasty
from tests.support.postgres import CapturedFiles, capture, databases_of, drop_database, execute

LARGE = 300_000


@pytest.fixture(scope="module")
def nasty(cluster: Server) -> Iterator[Address]:
    mark = secrets.token_hex(4)
    owner, reader, database = f'Owner "{mark}"', f"reader-{mark}", f'nasty "{mark}" =.'
    for role in (owner, reader):
        execute(cluster.address, sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'p'").format(sql.Identifier(role)))
    execute(
        cluster.address,
        sql.SQL("COMMENT ON ROLE {0} IS 'it''s'; ALTER ROLE {0} SET work_mem TO '5MB'; GRANT {1} TO {0}").format(
            sql.Identifier(owner), sql.Identifier(reader)
        ),
        sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)),
    )
    address = replace(cluster.address, database=database)
    make_nasty(address, owner=owner, reader=reader)
    yield address
    drop_database(cluster.address, database)
    for role in (owner, reader):
        execute(cluster.address, sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def source_of(address: Address, tools: Tools) -> DatabaseSource:
    return DatabaseSource(
        address.with_database("postgres"),
        name="test",
        tools=tools,
        databases=[address.database],
        large_table_bytes=LARGE,
    )


@pytest.fixture(scope="module")
def captured(nasty: Address, tools: Tools) -> CapturedFiles:
    with source_of(nasty, tools) as source:
        files = capture(source)
        assert source.problems() == []
    return files


@pytest.fixture
def target(cluster: Server) -> Iterator[str]:
    name = f'back "{secrets.token_hex(4)}" \\=\' x'
    yield name
    drop_database(cluster.address, name)


def restore(captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools) -> None:
    restore_database(
        captured,
        captured.record(nasty.database),
        address=cluster.address,
        new_name=target,
        tools=tools,
        server_globals=captured.globals(),
    )


def test_every_object_and_row_comes_back_under_another_name(
    captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools
) -> None:
    record = captured.record(nasty.database)
    restore(captured, cluster, nasty, target, tools)
    proof = prove_database(record, address=cluster.address, new_name=target)
    assert proof.findings == []
    assert record.rows > 3000
    assert any(f"{record.rows:,} rows with equal checksums" in check for check in proof.checks)


def test_the_original_proves_equal_to_its_own_record(captured: CapturedFiles, cluster: Server, nasty: Address) -> None:
    record = captured.record(nasty.database)
    assert prove_database(record, address=cluster.address, new_name=nasty.database).findings == []


def test_rows_of_large_tables_are_in_archives_of_their_own_only(captured: CapturedFiles, nasty: Address) -> None:
    record = captured.record(nasty.database)
    large = {table.name: table.archive for table in record.tables if table.archive}
    assert set(large) == {"users", "big", 'big "one".*$'}
    payload = b"c4ca4238a0b923820dcc509a6f75849b" * 20
    holders = [path for path, content in captured.files.items() if payload in content]
    assert holders == [f"{record.folder}/{large[name]}" for name in ("big", 'big "one".*$')]


def test_the_proof_names_what_differs(
    captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools
) -> None:
    restore(captured, cluster, nasty, target, tools)
    there = cluster.address.with_database(target)
    execute(
        there,
        "INSERT INTO twins VALUES ('another')",
        "UPDATE big SET payload = payload || 'x' WHERE id = 17",
        "SELECT setval('tickets', 1)",
        "ALTER TABLE auth.users DISABLE ROW LEVEL SECURITY",
        "DROP TABLE no_columns",
        "CREATE TABLE extra ()",
        "SELECT lo_unlink(min(oid)) FROM pg_largeobject_metadata",
        sql.SQL("ALTER DATABASE {} CONNECTION LIMIT 9").format(sql.Identifier(target)),
    )
    found = "\n".join(
        prove_database(captured.record(nasty.database), address=cluster.address, new_name=target).findings
    )
    for part in (
        "table public.twins has 11 rows instead of 10",
        "table public.big has 800 rows as in the backup, but not the same ones",
        "sequence public.tickets stands at 1 instead of 12",
        "table auth.users differs",
        "table public.no_columns is missing",
        "table public.extra was not in the backup",
        "2 large objects instead of 3",
        "connection limit is 9; it was 7",
    ):
        assert part in found


def test_a_backup_of_an_earlier_release_is_proved_by_its_own_rule(
    captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools
) -> None:
    restore(captured, cluster, nasty, target, tools)
    session = reading_session(nasty, nasty.database, lock_timeout=timedelta(seconds=5))
    sums = {
        (one.schema, one.name): count_rows(session, one, TEXT_RULE)[1]
        for one in read_relations(session)
        if one.countable
    }
    session.close()
    mislabelled = msgspec.structs.replace(captured.record(nasty.database), checksum_rule=TEXT_RULE)
    tables = [
        msgspec.structs.replace(table, checksum=sums.get((table.schema, table.name))) for table in mislabelled.tables
    ]
    proof = prove_database(
        msgspec.structs.replace(mislabelled, tables=tables), address=cluster.address, new_name=target
    )
    assert proof.findings == []
    assert any("with equal checksums" in check for check in proof.checks)
    found = prove_database(mislabelled, address=cluster.address, new_name=target).findings
    assert "The table public.big has 800 rows as in the backup, but not the same ones." in found


def test_stock_tools_bring_the_database_back_from_the_same_files(
    captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools, tmp_path: Path
) -> None:
    record = captured.record(nasty.database)
    for path, content in captured.files.items():
        file = tmp_path / path.removeprefix("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    folder = tmp_path / record.folder.removeprefix("/")
    execute(
        cluster.address,
        sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE {} LC_CTYPE {}").format(
            sql.Identifier(target), record.properties.collate, record.properties.ctype
        ),
    )
    main, *large = (folder / archive for archive in record.archives)
    with client_environment(cluster.address.with_database(target)) as environment:
        quoted = target.replace("\\", "\\\\").replace("'", "\\'")
        database = f"--dbname=dbname='{quoted}'"
        for arguments in (
            ["--section=pre-data", main],
            ["--section=data", main],
            *(["--section=data", archive] for archive in large),
            ["--section=post-data", "--jobs=2", main],
        ):
            subprocess.run([tools.pg_restore, "--exit-on-error", database, *arguments], env=environment, check=True)
        script = ["--no-psqlrc", f"--set=database={target}", f"--file={folder / 'database.sql'}"]
        subprocess.run([tools.psql, *script], env=environment | {"PGDATABASE": "postgres"}, check=True)
    assert prove_database(record, address=cluster.address, new_name=target).findings == []


def test_a_database_that_exists_is_never_touched(
    captured: CapturedFiles, cluster: Server, nasty: Address, tools: Tools
) -> None:
    with pytest.raises(ConflictError, match="exists already"):
        restore(captured, cluster, nasty, nasty.database, tools)
    assert (
        prove_database(captured.record(nasty.database), address=cluster.address, new_name=nasty.database).findings == []
    )


@pytest.mark.parametrize("which", ["archive.pgdump", "data/0001"])
def test_a_damaged_archive_fails_the_restore_and_leaves_no_database(
    captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools, which: str
) -> None:
    record = captured.record(nasty.database)
    path = next(path for path in captured.files if path.startswith(f"{record.folder}/{which}"))
    damaged = CapturedFiles(captured.files | {path: captured.files[path][:-4000]})
    before = databases_of(cluster.address)
    with pytest.raises(ToolError, match="pg_restore") as caught:
        restore(damaged, cluster, nasty, target, tools)
    assert "was dropped" in caught.value.safe
    assert databases_of(cluster.address) == before


def test_an_older_target_server_is_refused_before_anything_is_made(
    captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools
) -> None:
    record = msgspec.structs.replace(captured.record(nasty.database), server_major=99)
    before = databases_of(cluster.address)
    with pytest.raises(UnsupportedVersionError, match="target runs"):
        restore_database(
            captured,
            record,
            address=cluster.address,
            new_name=target,
            tools=tools,
            server_globals=captured.globals(),
        )
    assert databases_of(cluster.address) == before


def test_older_tools_than_the_archive_are_refused(
    captured: CapturedFiles, cluster: Server, nasty: Address, target: str, tools: Tools
) -> None:
    with pytest.raises(UnsupportedVersionError, match="older than the server"):
        restore(captured, cluster, nasty, target, replace(tools, version=Version(15, 1)))


def test_missing_roles_are_made_with_everything_and_existing_ones_stay(
    captured: CapturedFiles, nasty: Address, tools: Tools, tmp_path_factory: pytest.TempPathFactory, cluster: Server
) -> None:
    record = captured.record(nasty.database)
    fresh = Server(
        tmp_path_factory.mktemp("other") / "data",
        binaries=cluster.binaries,
        password=cluster.address.password or pytest.fail("no password"),
        settings={"fsync": "off"},
    )
    with fresh:
        execute(fresh.address, "CREATE DATABASE taken")
        restored = restore_database(
            captured,
            record,
            address=fresh.address,
            new_name=nasty.database,
            tools=tools,
            server_globals=captured.globals(),
        )
        assert prove_database(record, address=fresh.address, new_name=nasty.database).findings == []
        assert record.properties.owner in restored.roles_created
        assert restored.roles_kept == ["postgres"]
        with (
            DatabaseSource(fresh.address, name="fresh", tools=tools, databases=[nasty.database]) as source,
            connect(fresh.address),
        ):
            wanted, found = without_others(captured.globals()), without_others(source.globals)
            assert found.roles == wanted.roles
            assert {(one.role, one.member) for one in found.memberships} >= {
                (one.role, one.member) for one in wanted.memberships
            }


def without_others(one: Globals) -> Globals:
    """Return the globals without what other tests of the session left on the shared cluster."""
    return msgspec.structs.replace(one, roles=[role for role in one.roles if role.name != "postgres"])
