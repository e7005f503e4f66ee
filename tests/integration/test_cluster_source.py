"""Base backups of real clusters: what they hold starts, and is what the server held."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edurise_backup.errors import ConfigError, SourceError, UnreachableError
from edurise_backup.machine.mounts import mount_of
from edurise_backup.model.database import Secret
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.postgres.server import Server
from edurise_backup.recovery.planning import walk_files
from edurise_backup.sources.cluster.source import open_local, open_remote
from tests.support import engine
from tests.support.clusters import (
    MAJORS,
    SOURCE,
    ask,
    back_up_cluster,
    data_tree,
    given_to_server,
    opened,
    reachable_folder,
    restore_data,
    running,
)

FACTS = "SELECT count(*), sum(hashtext(t::text)::bigint) FROM t"


@pytest.fixture(scope="module", params=MAJORS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """Yield a server of each version with a table, an unlogged one, and a tablespace."""
    with reachable_folder() as folder, running(folder / "data", request.param) as found:
        space = given_to_server(folder / "space", found)
        ask(found, f"CREATE TABLESPACE elsewhere LOCATION '{space}'")
        ask(found, "CREATE TABLE t AS SELECT g AS id, md5(g::text) AS v FROM generate_series(1, 60000) g")
        ask(found, "CREATE TABLE far TABLESPACE elsewhere AS SELECT g AS id FROM generate_series(1, 1000) g")
        ask(found, "CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS x")
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    """Yield a folder that the server's user can reach."""
    with reachable_folder() as found:
        yield found


def started(target: Path, like: Server) -> Server:
    """Return a server on restored files."""
    return Server(target, binaries=like.binaries, password=like._password, settings={"fsync": "off"})


@pytest.mark.parametrize("method", ["local", "protocol"])
def test_a_base_backup_starts_and_holds_what_the_server_held(server: Server, method: str, folder: Path) -> None:
    expected = ask(server, FACTS)
    repository = engine.create()
    saved, record = back_up_cluster(repository, server, method)
    assert saved.archived.problems == ()
    restore_data(repository, saved, folder / "data")
    oid = record.tablespaces[0].oid
    space = given_to_server(folder / "space", server)
    restore_data(repository, saved, space, f"tablespaces/{oid}")
    (folder / "data" / "tablespace_map").write_text(f"{oid} {space}\n")  # the server makes the links anew from it
    with started(folder / "data", server) as restored:
        assert ask(restored, FACTS) == expected
        assert ask(restored, "SELECT count(*) FROM far") == [(1000,)]
        assert ask(restored, "SELECT count(*) FROM fleeting") == [(0,)]
        if server.binaries.version.major < 18:
            assert ask(restored, "SHOW data_checksums") == [("on",)]
    assert engine.check(repository).findings == []


def test_what_is_left_out_is_left_out_and_the_wal_is_there(server: Server) -> None:
    repository = engine.create()
    saved, record = back_up_cluster(repository, server)
    held = dict(walk_files(repository, data_tree(repository, saved)))
    assert "/postmaster.pid" not in held
    assert "/backup_label" in held
    assert "/tablespace_map" in held
    assert sorted(path for path in held if path.startswith("/pg_wal/0")) == [f"/pg_wal/{name}" for name in record.wal]
    assert all(held[f"/pg_wal/{name}"].size == record.segment_size for name in record.wal)
    assert not [path for path in held if "pgsql_tmp" in path or path.endswith("pg_internal.init")]
    ((node,),) = ask(server, "SELECT pg_relation_filenode('fleeting')")
    ((base,),) = ask(server, "SELECT oid FROM pg_database WHERE datname = 'postgres'")
    assert f"/base/{base}/{node}_init" in held
    assert f"/base/{base}/{node}" not in held


def test_an_unchanged_file_is_not_read_again_and_a_changed_page_costs_one_chunk(server: Server) -> None:
    repository = engine.create()
    ask(server, "CHECKPOINT")
    for path in server.data_directory.rglob("*"):
        if path.is_file():
            os.utime(path, (1_700_000_000, 1_700_000_000))
    saved, _ = back_up_cluster(repository, server)
    assert saved.archived.stats.files_unmodified == 0
    ask(server, "UPDATE t SET v = 'changed' WHERE id = 1")
    later, _ = back_up_cluster(repository, server)
    if mount_of(str(server.data_directory)) is None:  # as in a chroot: what a time means here is not known
        assert later.archived.stats.files_unmodified == 0
    else:
        assert later.archived.stats.files_unmodified > 0
        assert later.archived.stats.read_bytes < saved.archived.stats.read_bytes
    assert later.added.plain_bytes < 18 * 1024 * 1024  # a WAL segment, and a few chunks


def test_a_damaged_page_is_named_by_its_relation_and_the_backup_is_kept(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)
    with running(tmp_path / "data") as server:
        ask(server, "CREATE TABLE hurt AS SELECT g AS id FROM generate_series(1, 5000) g")
        ask(server, "CHECKPOINT")
        ((path,),) = ask(server, "SELECT pg_relation_filepath('hurt')")
        with (server.data_directory / str(path)).open("r+b") as file:
            file.seek(3 * 8192 + 4000)
            file.write(b"\xff" * 8)
        for method in ("local", "protocol"):
            saved, record = back_up_cluster(engine.create(), server, method)
            assert [(one.relation, one.pages) for one in record.damaged] == [("postgres: public.hurt", [3])]
            assert "public.hurt" in saved.archived.problems[0]
            assert "page 3" in saved.archived.problems[0]


def test_a_server_that_cannot_be_copied_is_refused_with_what_to_do(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with running(tmp_path / "minimal", settings={"wal_level": "minimal", "max_wal_senders": "0"}) as server:
        for method in ("local", "protocol"):
            with pytest.raises(SourceError, match="wal_level is minimal") as refused, opened(server, method):
                pass
            assert "wal_level = replica" in refused.value.hint


def test_a_role_without_the_right_is_told_which_one(server: Server) -> None:
    ask(server, "CREATE ROLE weak LOGIN PASSWORD 'weak'")
    address = server.address
    weak = replace(address, user="weak", password=Secret("weak"))
    place = str(server.data_directory)
    progress = SilentProgress()
    with (
        pytest.raises(ConfigError, match="may not take a base backup") as refused,
        open_local(weak, name=SOURCE, data_directory=place, progress=progress, cut=65536, fast=True),
    ):
        pass
    assert "REPLICATION" in refused.value.hint
    with (
        pytest.raises(ConfigError, match="may not replicate") as refused,
        open_remote(weak, name=SOURCE, progress=progress, cut=65536, fast=True),
    ):
        pass
    assert "ALTER ROLE weak REPLICATION" in refused.value.hint
    wrong = replace(address, password=Secret("wrong"))
    with (
        pytest.raises(UnreachableError, match="password"),
        open_remote(wrong, name=SOURCE, progress=progress, cut=65536, fast=True),
    ):
        pass
    ask(server, "DROP ROLE weak")


def test_another_clusters_directory_is_refused(server: Server, tmp_path: Path) -> None:
    (tmp_path / "global").mkdir()
    with (
        pytest.raises(ConfigError, match="no data directory of a running server"),
        open_local(
            server.address, name=SOURCE, data_directory=str(tmp_path), progress=SilentProgress(), cut=65536, fast=True
        ),
    ):
        pass
    (tmp_path / "postmaster.pid").write_text(f"1\n{tmp_path}\n1700000000\n5432\n\n\n")
    with (
        pytest.raises(ConfigError, match="does not run on"),
        open_local(
            server.address, name=SOURCE, data_directory=str(tmp_path), progress=SilentProgress(), cut=65536, fast=True
        ),
    ):
        pass
