"""Passwords and passphrases reach nobody: no process list, no environment, no log, no row, no output."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from tests.support.catalog import PASSPHRASE, Product, run


class Watch:
    """Looks again and again at the arguments and environments of all processes for secrets."""

    def __init__(self, secrets: list[str]) -> None:
        self._secrets = [secret.encode() for secret in secrets]
        self._stopped = threading.Event()
        self.seen: set[str] = set()
        self.found: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.005):
            for folder in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):
                    name = (folder / "comm").read_text().strip()
                    for place in ("cmdline", "environ"):
                        content = (folder / place).read_bytes()
                        self.found += [f"{name}: {place}" for secret in self._secrets if secret in content]
                    self.seen.add(name)


def secrets_of(product: Product, catalog: Address) -> list[str]:
    assert product.database
    assert product.database.password
    assert catalog.password
    return [PASSPHRASE, product.database.password.reveal(), catalog.password.reveal()]


def everything_in(catalog: Address) -> str:
    """Return all rows of all tables of the catalog."""
    with connect(catalog) as connection:
        tables = connection.execute("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'").fetchall()
        rows = [connection.execute(f'SELECT t::text FROM public."{name}" t'.encode()).fetchall() for (name,) in tables]
    return "\n".join(str(row[0]) for table in rows for row in table)


@pytest.fixture
def logs(school_server: Server, cluster: Server) -> list[Path]:
    """Give the servers' log files."""
    found = [server.data_directory / "server.log" for server in (school_server, cluster)]
    assert all(path.stat().st_size for path in found)
    return found


def test_no_secret_leaves_its_file_during_backup_verification_and_recovery(
    product: Product, catalog_database: Address, logs: list[Path], tmp_path: Path
) -> None:
    secrets = secrets_of(product, catalog_database)
    watch = Watch(secrets)
    said: list[subprocess.CompletedProcess[str]] = []
    with watch.watching():
        said.append(run(product, "backup", "--json"))
        said.append(run(product, "verify"))
        said.append(run(product, "recover", "latest", "--target", str(tmp_path / "back"), "--json"))
        said.append(run(product, "doctor"))
        said.append(run(product, "show", "latest", "--json"))
    assert [done.returncode for done in said[:3]] == [0, 0, 0], [done.stderr for done in said]
    assert watch.found == []
    assert {"pg_dump", "pg_restore"} <= watch.seen, "nothing was seen: the watch was too slow to prove anything"
    places = [done.stdout + done.stderr for done in said]
    places += [everything_in(catalog_database), *(log.read_text() for log in logs)]
    for secret in secrets:
        assert [text for text in places if secret in text] == []


@pytest.mark.slow
def test_no_secret_is_in_the_text_of_an_error(product: Product, catalog_database: Address) -> None:
    secrets = [*secrets_of(product, catalog_database), "a wrong and secret word"]
    said = []
    for file in ("database.password", "catalog.password", "passphrase"):
        right = (product.home / file).read_text()
        (product.home / file).write_text("a wrong and secret word")
        told = run(product, "backup", "database")
        assert told.returncode == 2
        said += [told.stdout, told.stderr]
        (product.home / file).write_text(right)
    product.configure("url = ", 'url = "postgresql://x:a wrong and secret word@h/db" #', after="[[database]]")
    said.append(run(product, "backup", "database").stderr)
    product.configure("password_file", "#", after="[[database]]")
    said.append(run(product, "backup", "database").stderr)
    said.append(everything_in(catalog_database))
    for secret in secrets:
        assert [text for text in said if secret in text] == []
