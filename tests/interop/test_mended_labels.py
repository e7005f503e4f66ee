"""Stock restic tells the sources of a set apart by the paths that their snapshots are labelled with."""

from __future__ import annotations

import json
from pathlib import Path

from edurise_backup import operations
from edurise_backup.model.jobs import BackupType
from tests.support.catalog import Product
from tests.support.restic import Restic


def test_stock_restics_policy_keeps_the_newest_dump_of_each_source(product: Product, tmp_path: Path) -> None:
    text = product.settings_path.read_text()
    start = text.index("[[database]]")
    annex = text[start : text.index("[[files]]")].replace('name = "school"', 'name = "annex"')
    product.settings_path.write_text(text[:start] + annex + text[start:])
    for _ in range(2):
        newest = operations.create_backup(BackupType.DATABASE, settings=product.settings)
    restic = Restic(product.repository, tmp_path / "restic")
    groups = json.loads(restic.run("forget", "--keep-last", "1", "--dry-run", "--json").stdout)
    assert sorted(group["paths"] for group in groups) == [["/databases/annex"], ["/databases/school"]]
    assert {kept["id"] for group in groups for kept in group["keep"]} == {part.snapshot_id for part in newest.parts}
    restic.run("restore", "latest", "--path", "/databases/annex", "--target", str(tmp_path / "restored"))
    assert (tmp_path / "restored/databases/annex/globals.sql").is_file()
    assert not (tmp_path / "restored/databases/school").exists()
