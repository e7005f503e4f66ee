"""Copies for tests: a product with further repositories, under passphrases of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.ports import Store
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support.catalog import Product, write_private
from tests.support.engine import QUICK

COPY_PASSPHRASE = "the copy's own words"


def add_copy(product: Product, name: str = "offsite", *, lag_hours: int = 26, place: Path | None = None) -> Path:
    """Configure a copy in a directory and make its repository; return the directory."""
    folder = place or product.home / "copies" / name
    configure_copy(product, name, str(folder), lag_hours=lag_hours)
    folder.parent.mkdir(parents=True, exist_ok=True)
    Repository.create(LocalStore(folder), COPY_PASSPHRASE, cost=QUICK)
    return folder


def configure_copy(product: Product, name: str, location: str, *, lag_hours: int = 26, more: str = "") -> None:
    """Write a copy into the settings; its passphrase is another one than the primary's."""
    secret = product.home / f"{name}.passphrase"
    write_private(secret, COPY_PASSPHRASE)
    text = product.settings_path.read_text()
    text += f'\n[[copy]]\nname = "{name}"\nlocation = "{location}"\npassword_file = "{secret}"\n'
    product.settings_path.write_text(text + f"lag_hours = {lag_hours}\n{more}")


def opened_copy(folder: Path) -> Repository:
    """Open a copy in a directory."""
    return Repository.open(LocalStore(folder), COPY_PASSPHRASE)


def originals(folder: Path) -> dict[str, SnapshotId]:
    """Return the snapshots of a copy by what each was copied from."""
    return {shot.original or key: key for key, shot in opened_copy(folder).snapshots().items()}


def packs_of(folder: Path) -> list[Path]:
    """Return the files of a repository's packs."""
    return sorted(path for path in (folder / "data").rglob("*") if path.is_file())


def flip(path: Path, at: int = 100) -> None:
    """Change one byte of a file."""
    path.chmod(0o600)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def lose_snapshot(folder: Path, snapshot_id: str) -> None:
    """Remove a snapshot behind everybody's back."""
    (folder / object_name(Kind.SNAPSHOT, snapshot_id)).unlink()


def with_stores(settings: Settings, around: Callable[[Store], Store]) -> Settings:
    """Return settings that put `around` about every store that is opened."""
    return replace(settings, around=replace(settings.around, store=around))
