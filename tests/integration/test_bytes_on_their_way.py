"""What a backup records of its bytes' way into the repository, and of the room that is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.catalog.space import StoreSpace
from edurise_backup.config import load_settings
from edurise_backup.model.jobs import BackupType
from edurise_backup.operations.space import space_location
from edurise_backup.postgres.connection import Address
from tests.support.product import configure


@pytest.fixture
def settings_path(tmp_path: Path, catalog_database: Address) -> Path:
    return configure(tmp_path, catalog_database)


def test_a_backup_records_what_was_new_and_what_became_of_it(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    (settings_path.parent / "platform" / "essay.txt").write_text("All happy families are alike. " * 20_000)
    first = operations.create_backup(BackupType.FILES, settings=settings)
    again = operations.create_backup(BackupType.FILES, settings=settings)
    assert first.size and first.new_bytes and first.compressed_bytes and first.stored_bytes
    assert first.compressed_bytes < first.new_bytes
    assert first.compressed_bytes <= first.stored_bytes
    assert first.parts[0].new_bytes == first.new_bytes
    assert again.new_bytes is not None
    assert again.new_bytes < first.new_bytes / 10  # the same files, once more


def test_backups_and_checks_record_the_room_of_the_store_s_disk(settings_path: Path) -> None:
    settings = load_settings(settings_path)
    operations.create_backup(BackupType.FILES, settings=settings)
    operations.check_repository(settings=settings)
    with operations.open_catalog(settings) as catalog, catalog.sessions.transaction() as connection:
        found = connection.execute("SELECT location, count(*) FROM store_space GROUP BY location").fetchall()
        assert found == [(space_location(settings), 2)]
    with operations.open_catalog(settings) as catalog:
        assert StoreSpace(catalog.sessions).readings(space_location(settings))
