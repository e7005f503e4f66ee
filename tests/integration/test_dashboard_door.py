"""The dashboard's real server, spoken to by its web socket as an attacker would, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.model.people import Role
from edurise_backup.postgres.connection import Address
from flows.processes import free_port
from tests.support.browser import Browser, dashboard
from tests.support.people import add_person
from tests.support.product import configure


@pytest.fixture
def settings_path(tmp_path: Path, catalog_database: Address) -> Path:
    return configure(tmp_path, catalog_database)


@pytest.fixture
def port(settings_path: Path, tmp_path: Path) -> Iterator[int]:
    """Run the server, and yield its port."""
    port = free_port()
    with dashboard(port, settings_path, tmp_path / "log"):
        yield port


def test_without_an_account_this_machine_is_let_in_and_nobody_else_and_then_nobody_without_a_name(
    port: int, settings_path: Path
) -> None:
    here = Browser(port, "localhost").open().text
    assert "There is no account yet" in here
    assert "Overview" in here
    for host, headers in (("rebound.example", {}), ("localhost", {"X-Forwarded-For": "192.0.2.7"})):
        told = Browser(port, host, headers).open().text
        assert "nobody is let in" in told
        assert "Overview" not in told
    with operations.open_catalog(load_settings(settings_path)) as catalog:
        add_person(catalog, "alice", Role.ADMIN)
    for page in ("", "administration", "repository"):
        shown = Browser(port, "localhost").open(page)
        assert "EduRise Backup" in shown.text
        assert list(shown.buttons) == ["Sign in"]
        assert not shown.missing
    assert Browser(port, "localhost").open("nowhere").missing
