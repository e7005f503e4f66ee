"""Pages for tests: a configuration that points them at a catalog, and what one shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port
from tests.support.catalog import quote_address, write_private

DASHBOARD = Path(__file__).resolve().parents[2] / "dashboard"


def configure_pages(catalog: Address, folder: Path, monkeypatch: pytest.MonkeyPatch, more: str = "") -> Path:
    """Point the product at a catalog, and at a Prefect server that is not there; returns the settings file.

    `more` is the rest of the settings, in tables of its own.
    """
    assert catalog.password
    write_private(folder / "password", catalog.password.reveal())
    path = folder / "edurise-backup.toml"
    path.write_text(
        f"""data_directory = "data"
[catalog]
url = "{quote_address(catalog)}"
password_file = "password"
[prefect]
api_url = "http://{LOOPBACK}:{free_port()}/api"
{more}"""
    )
    monkeypatch.setenv("EDURISE_CONFIG", str(path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.syspath_prepend(str(DASHBOARD.parent))
    return path


def everything_on(app: AppTest) -> str:
    """Return the texts and messages that a page shows."""
    shown = [*app.markdown, *app.caption, *app.info, *app.warning, *app.error, *app.success, *app.subheader]
    return "\n".join(str(element.value) for element in shown)
