"""The page on several machines: its configuration is read, its statements run, its commands and units exist."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from edurise_backup.config import load_settings
from edurise_backup.operations.places import readable_sources
from edurise_backup.postgres.server import Server
from tests.support.documents import ROOT, blocks, page
from tests.support.hosts import debian_server
from tests.support.postgres import execute

PAGE = "docs/operations/several-machines.md"
UNITS = ROOT / "docs/operations/systemd"


def lines() -> list[str]:
    return [line for block in blocks(page(PAGE), "sh") for line in block.splitlines()]


def modules() -> set[str]:
    """Return the modules that the page has people run."""
    text = page(PAGE)
    return {word for word in ("flows.deploy", "flows.worker", "flows.server", "flows.serve") if f"-m {word}" in text}


def test_the_configuration_of_the_page_is_one(tmp_path: Path) -> None:
    (tmp_path / "edurise-backup.toml").write_text("\n".join(blocks(page(PAGE), "toml")))
    settings = load_settings(tmp_path / "edurise-backup.toml", {})
    assert settings.host == "lms-1"
    assert settings.catalog.url
    assert "files/storage" in readable_sources(settings)
    assert "files/storage" not in readable_sources(replace(settings, host="lms-2"))


@pytest.mark.slow
def test_the_databases_of_the_page_are_made_as_it_says(tmp_path: Path) -> None:
    (statements,) = blocks(page(PAGE), "sql")
    with debian_server(tmp_path / "server") as server:
        execute(server.address, *filter(str.strip, statements.split(";\n")))
        assert_usable(server)


def assert_usable(server: Server) -> None:
    """Each owner makes its tables in its database; Prefect's has the extension that its server needs."""
    address = server.tcp_address
    for user, password, statement in (
        ("edurise_catalog", "one of its own", "CREATE TABLE one (id integer)"),
        ("prefect", "another one", "CREATE EXTENSION pg_trgm"),
    ):
        with psycopg.connect(
            host=address.host, port=address.port, user=user, password=password, dbname=user
        ) as connection:
            connection.execute(statement.encode())


def test_every_module_of_the_page_says_what_it_does() -> None:
    assert modules() == {"flows.deploy", "flows.worker", "flows.server", "flows.serve"}
    for module in modules() - {"flows.serve"}:
        done = subprocess.run(
            [sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        assert "usage: " in done.stdout


def test_every_command_and_unit_of_the_page_exists() -> None:
    programs = [shlex.split(line, comments=True) for line in lines()]
    started = [words for words in programs if words[:2] == ["as", "/opt/edurise-backup/.venv/bin/python"]]
    assert started
    for words in started:
        assert words[2] == "-m"
        assert importlib.util.find_spec(words[3])
    groups = {words[2] for words in programs if words[:2] == ["as", "edurise-backup"]}
    assert groups == {"repo", "worker"}
    for name in ("edurise-backup-worker", "edurise-backup-prefect", "edurise-backup-watch"):
        assert (UNITS / f"{name}.service").is_file()
        assert f"{name}" in page(PAGE)
