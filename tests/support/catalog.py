"""The whole product on real servers, small: a school's databases, files and configuration, a repository, a catalog."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.config import Settings, load_settings
from edurise_backup.demonstration.platform import Platform, create_platform, remove_tree
from edurise_backup.model.database import Secret
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.postgres import UNSAFE_AND_QUICK, databases_of, drop_database, execute
from tests.support.trees import describe, differences

PASSPHRASE = engine.PASSPHRASE
SETTINGS = "edurise-backup.toml"

_SCHOOL = """
CREATE SCHEMA storage;
CREATE TABLE storage.buckets (id text PRIMARY KEY, name text NOT NULL, public boolean DEFAULT false);
CREATE TABLE storage.objects (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, bucket_id text REFERENCES storage.buckets, name text,
    metadata jsonb);
INSERT INTO storage.buckets (id, name) VALUES ('essays', 'essays');
INSERT INTO storage.objects (bucket_id, name, metadata)
SELECT 'essays', 'essay ' || n || '.txt', jsonb_build_object('size', 1000 + n) FROM generate_series(1, 5) n;
CREATE TABLE pupils (id integer PRIMARY KEY, name text NOT NULL, mark numeric(3, 1));
INSERT INTO pupils SELECT n, 'pupil ' || n, (n % 60) / 10.0 FROM generate_series(1, 300) n;
CREATE TABLE visits (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, pupil integer REFERENCES pupils, page text);
INSERT INTO visits (pupil, page) SELECT 1 + n % 300, repeat(md5(n::text), 6) FROM generate_series(1, 6000) n;
CREATE VIEW good_pupils AS SELECT name FROM pupils WHERE mark > 5;
"""


@dataclass(frozen=True, slots=True)
class Product:
    """A configured product in a folder."""

    home: Path
    settings_path: Path
    database: Address | None = None
    """The superuser's address of the database that is backed up."""

    @property
    def settings(self) -> Settings:
        """The settings, as the file says them now."""
        return load_settings(self.settings_path, {})

    @property
    def storage(self) -> Path:
        """The files that are backed up."""
        return self.home / "storage"

    @property
    def configuration(self) -> Path:
        """The configuration that is backed up."""
        return self.home / "configuration"

    @property
    def repository(self) -> Path:
        """The repository's folder."""
        return self.home / "repository"

    def configure(self, old: str, new: str, *, after: str = "") -> None:
        """Replace a piece of the settings file that must be there, behind the text `after`."""
        before, mark, text = self.settings_path.read_text().rpartition(after) if after else ("", "", "")
        text = text if after else self.settings_path.read_text()
        assert old in text, old
        self.settings_path.write_text(before + mark + text.replace(old, new))

    def execute(self, *statements: str) -> None:
        """Run SQL in the database that is backed up."""
        assert self.database
        execute(self.database, *statements)

    def put(self, path: str, content: bytes) -> Path:
        """Write a file into the storage."""
        place = self.storage / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return place

    def restored_differences(self, target: Path) -> list[str]:
        """Return how the restored files and configuration below the target differ from what is there now."""
        found = []
        for place, part in ((self.storage, "files/uploads"), (self.configuration, "configuration/settings")):
            found += differences(describe(place), describe(target / part / str(place).lstrip("/")))
        return found


def command_line(*words: str | Path) -> list[str]:
    """Return the command that runs `edurise-backup` in this environment, wherever the checkout lies."""
    return [sys.executable, "-m", "edurise_backup", *map(str, words)]


def environment(settings_path: Path | None = None, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with the product's variables set anew."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDURISE_", "RESTIC_", "PG"))}
    named = {"EDURISE_CONFIG": str(settings_path)} if settings_path else {}
    return {**kept, **named, **(extra or {})}


def run_as_typed(product: Product, commands: str, variables: Mapping[str, str]) -> str:
    """Run commands of the docs in one shell, as a person types them; returns what was said, fails where one fails."""
    named = f'edurise-backup() {{ "{sys.executable}" -m edurise_backup "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-eu", "-c", named + commands],
        cwd=product.home,
        env=environment(product.settings_path, variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def run(
    product: Product, *words: str | Path, cwd: Path | None = None, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the product's command line in a process of its own."""
    return subprocess.run(
        command_line(*words),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd or product.home,
        env=environment(product.settings_path, extra),
    )


def run_json(product: Product, *words: str | Path) -> object:
    """Run a command with --json, which must succeed, and return its document."""
    done = run(product, *words, "--json")
    assert done.returncode in (0, 3), done.stderr
    document: object = json.loads(done.stdout)
    return document


def quote_address(address: Address) -> str:
    """Return the address as a `key=value` string without the password."""
    return f"host={address.host} port={address.port} user={address.user} dbname={address.database}"


def configure(home: Path, *, catalog: Address | None, database: Address | None) -> Product:
    """Write settings, secrets, files and configuration into the folder, and make the repository.

    Without `catalog` it is embedded, without `database` none is configured.
    """
    home.mkdir(parents=True, exist_ok=True)
    text = 'data_directory = "data"\nhost = "tests"\n\n'
    text += '[repository]\nlocation = "repository"\npassword_file = "passphrase"\n'
    write_private(home / "passphrase", PASSPHRASE)
    if catalog:
        assert catalog.password
        write_private(home / "catalog.password", catalog.password.reveal())
        text += f'\n[catalog]\nurl = "{quote_address(catalog)}"\npassword_file = "catalog.password"\n'
    if database:
        assert database.password
        write_private(home / "database.password", database.password.reveal())
        server = quote_address(database.with_database("postgres"))
        text += f'\n[[database]]\nname = "school"\nurl = "{server}"\npassword_file = "database.password"\n'
        text += "large_table_mib = 1\n"
    text += '\n[[files]]\nname = "uploads"\npaths = ["storage"]\n'
    text += 'objects_of = "school"\n' if database else ""
    text += '\n[[configuration]]\nname = "settings"\npaths = ["configuration"]\n'
    text += "\n[approvals]\nbreak_glass = true\n"  # one person; tests of approvals take it out
    (home / SETTINGS).write_text(text)
    product = Product(home, home / SETTINGS, database)
    _fill(product)
    engine.create(LocalStore(product.repository))
    return product


def _fill(product: Product) -> None:
    for number in range(1, 6):
        product.put(f"essays/essay {number}.txt", b"%d" % number * (1000 + number))
    product.put("media/film.bin", bytes(range(256)) * 400)
    (product.storage / "newest").symlink_to("essays/essay 5.txt")
    product.configuration.mkdir()
    (product.configuration / "app.env").write_text("VAULT_KEY=not a real one\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read."""
    path.touch(mode=0o600)
    path.write_text(text)


class Acting(SilentProgress):
    """A progress that does something the first time that a phase of a given name begins."""

    def __init__(self, acts: Mapping[str, Callable[[], object]]) -> None:
        super().__init__()
        self._acts = dict(acts)
        self.begun: list[str] = []

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Act."""
        self.begun.append(name)
        if act := self._acts.pop(name, None):
            act()

    @property
    def done(self) -> bool:
        """Whether everything that was planned happened."""
        return not self._acts


@pytest.fixture(scope="session")
def school_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Yield the server whose databases are all backed up; nothing else is on it."""
    server = Server(
        tmp_path_factory.mktemp("school") / "data",
        binaries=find_server(),
        password=Secret(f"school-{secrets.token_hex(8)}"),
        port=0,
        settings=UNSAFE_AND_QUICK,
    )
    with server:
        yield server


@pytest.fixture
def school(school_server: Server) -> Iterator[Address]:
    """Yield the address of a small database; afterwards the server is empty again."""
    execute(school_server.address, "CREATE DATABASE school")
    address = replace(school_server.address, database="school")
    execute(address, _SCHOOL)
    yield address
    for name in databases_of(school_server.address) - {"postgres", "template0", "template1"}:
        drop_database(school_server.address, name)


@pytest.fixture
def product(tmp_path: Path, school: Address, catalog_database: Address) -> Product:
    """Give a product that protects a small database, files and configuration, with a catalog of its own."""
    return configure(tmp_path / "product", catalog=catalog_database, database=school)


@pytest.fixture
def files_product(tmp_path: Path, catalog_database: Address) -> Product:
    """Give a product without a database source."""
    return configure(tmp_path / "product", catalog=catalog_database, database=None)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Yield a small demonstration platform with everything in it that a backup can lose."""
    made = create_platform(tmp_path_factory.mktemp("edurise") / "platform", seed=3, scale=0.01)
    yield made
    made.stop()
    remove_tree(made.directory)


def platform_product(home: Path, platform: Platform, catalog: Address) -> Product:
    """Configure a product around a demonstration platform; its repository is new."""
    home.mkdir(parents=True)
    assert catalog.password
    write_private(home / "passphrase", PASSPHRASE)
    write_private(home / "catalog.password", catalog.password.reveal())
    address = replace(platform.address, database="postgres")
    (home / SETTINGS).write_text(
        f"""data_directory = "data"
host = "tests"
[repository]
location = "repository"
password_file = "passphrase"
[catalog]
url = "{quote_address(catalog)}"
password_file = "catalog.password"
[[database]]
name = "platform"
url = "{quote_address(address)}"
password_file = "{platform.password_file}"
large_table_mib = 1
[[files]]
name = "storage"
paths = ["{platform.storage}"]
objects_of = "platform"
[[configuration]]
name = "settings"
paths = ["{platform.configuration}"]
"""
    )
    engine.create(LocalStore(home / "repository"))
    return Product(home, home / SETTINGS, address)


@pytest.fixture
def demonstration(tmp_path: Path, platform: Platform, catalog_database: Address) -> Iterator[Product]:
    """Yield a product around the demonstration platform; databases that were restored beside it are dropped."""
    before = databases_of(platform.address)
    yield platform_product(tmp_path / "product", platform, catalog_database)
    for name in databases_of(platform.address) - before:
        drop_database(platform.address, name)


def aged(folder: Path) -> None:
    """Wait until the files' times are old enough for a backup to believe them (two seconds; `DESIGN.md`)."""
    while time.time() - max(path.lstat().st_ctime for path in folder.rglob("*")) < 2.1:
        threading.Event().wait(0.05)


def opened(product: Product) -> operations.Catalog:
    """Open the product's catalog; the caller closes it."""
    return operations.open_catalog(product.settings)
