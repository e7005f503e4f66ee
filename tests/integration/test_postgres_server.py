"""Servers of our own, on real processes."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edurise_backup.errors import ConfigError, ToolError, UnreachableError
from edurise_backup.model.database import Secret
from edurise_backup.postgres import privileges
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.postmaster import find_postmaster
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import embedded_root, find_server
from tests.support.postgres import UNSAFE_AND_QUICK

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes to another user")
PASSWORD = Secret("open:sesame\\")


def server_on(directory: Path, *, port: int | None = None) -> Server:
    return Server(directory, binaries=find_server(), password=PASSWORD, port=port, settings=UNSAFE_AND_QUICK)


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """Yield a path that is far too long for a socket and below a folder closed to everybody else."""
    tmp_path.chmod(0o700)
    data = tmp_path / ("long-" * 20) / ("name with spaces " * 5) / "data"
    yield data
    server_on(data).stop()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that every user can reach; pytest's own are private."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def ask(address: Address, query: str) -> object:
    with connect(address) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[call-overload]
    return row[0]


def test_a_server_runs_on_a_long_path_below_a_private_folder(deep: Path) -> None:
    before = stat.S_IMODE(deep.parents[2].stat().st_mode)
    with server_on(deep) as server:
        assert ask(server.address, "SHOW data_checksums") == "on"
        assert ask(server.address, "SHOW server_encoding") == "UTF8"
        assert ask(server.address, "SHOW listen_addresses") == ""
    assert stat.S_IMODE(deep.parents[2].stat().st_mode) == before
    assert not server.running


def test_what_was_written_is_there_after_a_restart(deep: Path) -> None:
    with server_on(deep) as server, connect(server.address) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with server_on(deep) as server:
        assert ask(server.address, "SELECT answer FROM kept") == 42


def test_a_server_that_died_starts_again(deep: Path) -> None:
    server = server_on(deep)
    with server, connect(server.address) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection.commit()
        postmaster = find_postmaster(deep)
        assert postmaster is not None
        postmaster.signal(signal.SIGKILL)
    with server_on(deep) as server:
        assert ask(server.address, "SELECT answer FROM kept") == 42


def test_a_second_opener_uses_the_running_server_and_leaves_it_running(deep: Path) -> None:
    with server_on(deep, port=0) as first:
        with server_on(deep) as second:
            assert second.address == first.address
        assert first.running


def test_every_way_in_asks_for_the_password(deep: Path) -> None:
    with server_on(deep, port=0) as server:
        for address in (server.address, server.tcp_address):
            assert ask(address, "SELECT 1") == 1
            with pytest.raises(UnreachableError, match="password"):
                connect(replace(address, password=Secret("guess")))
            with pytest.raises(UnreachableError, match="password"):
                connect(replace(address, password=None))


def test_a_server_listens_on_no_port_unless_asked(deep: Path) -> None:
    with server_on(deep) as server, pytest.raises(ToolError, match="socket only"):
        _ = server.tcp_address


def test_only_the_servers_user_and_root_can_reach_the_socket(deep: Path) -> None:
    with server_on(deep) as server:
        folder = Path(server.address.host).stat()
        assert stat.S_IMODE(folder.st_mode) == 0o700
        assert folder.st_uid == deep.stat().st_uid
        assert len(server.address.host) < 100


def test_a_folder_with_something_else_in_it_is_not_touched(deep: Path) -> None:
    deep.mkdir(parents=True)
    (deep / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="no cluster can be made"):
        server_on(deep).initialise()
    assert [path.name for path in deep.iterdir()] == ["thesis.txt"]
    assert [path.name for path in deep.parent.iterdir()] == ["data"]


def test_a_wrong_setting_is_reported_in_the_servers_words(deep: Path) -> None:
    server = Server(deep, binaries=find_server(), password=PASSWORD, settings={"no_such_setting": "1"})
    server.initialise()
    with pytest.raises(ToolError, match="no_such_setting"):
        server.start()


def test_the_password_is_in_no_file_and_no_command_line(deep: Path) -> None:
    with server_on(deep) as server:
        postmaster = find_postmaster(deep)
        assert postmaster is not None
        process = Path(f"/proc/{postmaster.pid}")
        seen = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        assert PASSWORD.reveal().encode() not in seen
        server.stop()
    for path in deep.rglob("*"):
        assert not path.is_file() or PASSWORD.reveal().encode() not in path.read_bytes()


@AS_ROOT
def test_as_root_the_server_runs_as_an_existing_user_without_privileges(deep: Path) -> None:
    with server_on(deep):
        postmaster = find_postmaster(deep)
        assert postmaster is not None
        owner = Path(f"/proc/{postmaster.pid}").stat().st_uid
        assert pwd.getpwuid(owner).pw_name in ("postgres", "nobody")
        assert {path.stat().st_uid for path in deep.rglob("*")} == {owner}


@AS_ROOT
def test_as_root_programs_that_the_user_cannot_reach_are_copied_once(open_folder: Path) -> None:
    base = open_folder
    original = find_server()
    hidden, cache = base / "hidden", base / "cache"
    hidden.mkdir(mode=0o700)
    top = original.bindir.parents[2]
    for folder in embedded_root(original):
        shutil.copytree(folder, hidden / folder.relative_to(top))
    binaries = replace(original, bindir=hidden / original.bindir.relative_to(top))
    account = privileges.server_account(base / "missing")

    copied = privileges.reachable(binaries, account, cache=cache)
    assert copied.bindir.is_relative_to(cache)
    assert privileges.reachable(binaries, account, cache=cache) == copied
    assert len(list(cache.iterdir())) == 1
    assert {(path.stat().st_uid, path.stat().st_mode & 0o022) for path in cache.rglob("*")} == {(0, 0)}

    with Server(base / "data", binaries=copied, password=PASSWORD, settings=UNSAFE_AND_QUICK) as server:
        assert ask(server.address, "SELECT 1") == 1

    next(cache.iterdir()).chmod(0o777)
    with pytest.raises(ConfigError, match="only its owner"):
        privileges.reachable(binaries, account, cache=cache)


@AS_ROOT
def test_as_root_reachable_programs_are_used_where_they_are(tmp_path: Path) -> None:
    account = privileges.Account(os.geteuid(), os.getegid(), switch=False)
    binaries = find_server()
    assert privileges.reachable(binaries, account, cache=tmp_path / "cache") == binaries
