"""A small product for tests: a settings file with a repository, a catalog and one folder to protect."""

from __future__ import annotations

from pathlib import Path

from edurise_backup.postgres.connection import Address
from edurise_backup.stores.local import LocalStore
from tests.support import engine


def configure(folder: Path, catalog: Address | None = None) -> Path:
    """Write the settings and make the repository; returns the settings file.

    The folder to protect is `platform`. Without an address the catalog is embedded.
    """
    (folder / "passphrase").write_text(engine.PASSPHRASE)
    platform = folder / "platform"
    platform.mkdir()
    for number in range(5):
        (platform / f"lesson {number}.txt").write_text(f"lesson {number}\n" * 100)
    engine.create(LocalStore(folder / "repository"))
    settings = folder / "edurise-backup.toml"
    settings.write_text(
        """data_directory = "data"
[repository]
location = "repository"
password_file = "passphrase"
[[files]]
name = "uploads"
paths = ["platform"]
"""
        + (_catalog(folder, catalog) if catalog else "")
    )
    return settings


def _catalog(folder: Path, catalog: Address) -> str:
    assert catalog.password
    (folder / "catalog.password").write_text(catalog.password.reveal())
    return f"""[catalog]
url = "host={catalog.host} port={catalog.port} user={catalog.user} dbname={catalog.database}"
password_file = "catalog.password"
"""
