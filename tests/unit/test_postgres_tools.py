"""Finding client tools and server programs by version."""

from __future__ import annotations

from pathlib import Path

import pytest

from edurise_backup.errors import ConfigError, NotFoundError, UnsupportedVersionError
from edurise_backup.postgres.tools import find_server, find_tools


def fake_tools(folder: Path, version: str, *, broken: str = "") -> Path:
    folder.mkdir(parents=True)
    for name in ("pg_dump", "pg_restore", "pg_dumpall", "psql"):
        file = folder / name
        ending = "exit 139" if name == broken else "exit 0"
        file.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version}'\n{ending}\n")
        file.chmod(0o755)
    return folder


def test_a_configured_folder_is_used(tmp_path: Path) -> None:
    folder = fake_tools(tmp_path / "bin", "17.12 (Debian 17.12-1)")
    tools = find_tools(16, bindir=folder)
    assert tools.pg_dump == folder / "pg_dump"
    assert str(tools.version) == "17.12"


def test_a_tool_that_does_not_run_does_not_count(tmp_path: Path) -> None:
    folder = fake_tools(tmp_path / "bin", "17.12", broken="pg_restore")
    with pytest.raises(ConfigError, match="no working PostgreSQL client tools"):
        find_tools(16, bindir=folder)


def test_an_empty_folder_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        find_tools(16, bindir=tmp_path)


def test_tools_of_different_versions_in_one_folder_do_not_count(tmp_path: Path) -> None:
    folder = fake_tools(tmp_path / "bin", "17.12")
    (folder / "psql").write_text("#!/bin/sh\necho 'psql (PostgreSQL) 15.1'\n")
    with pytest.raises(ConfigError):
        find_tools(15, bindir=folder)


def test_a_server_newer_than_all_tools_is_refused_with_what_to_install() -> None:
    with pytest.raises(UnsupportedVersionError, match="server newer than pg_dump") as caught:
        find_tools(99)
    assert "postgresql-client-99" in caught.value.hint


def test_a_server_that_is_too_old_is_refused() -> None:
    with pytest.raises(UnsupportedVersionError, match="oldest"):
        find_tools(9)


def test_the_smallest_major_that_fits_is_chosen() -> None:
    assert find_tools(16).version.major == 16
    assert find_tools(17).version.major in (17, 18)


def test_the_embedded_18_is_preferred_for_our_own_servers() -> None:
    binaries = find_server()
    assert binaries.embedded
    assert binaries.version.major == 18
    assert find_server(major=16).version.major == 16


def test_a_server_that_is_nowhere_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="PostgreSQL 99"):
        find_server(major=99)
    with pytest.raises(NotFoundError):
        find_server(bindir=tmp_path)
