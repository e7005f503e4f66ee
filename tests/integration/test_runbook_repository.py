"""The runbook of the repository, run to the letter, section by section; its table of refusals names real messages."""

from __future__ import annotations

import re
import shutil

import pytest

from edurise_backup import operations
from edurise_backup.model.jobs import BackupFilters, Verdict
from tests.support.catalog import Product, run_as_typed, write_private
from tests.support.documents import ROOT, page, rows, section
from tests.support.trees import describe, differences

PAGE = page("docs/operations/repository.md")


def commands(title: str) -> str:
    """Return the tested blocks of a section, also those inside a numbered list."""
    return "\n".join(re.findall(r"^ *```sh\n(.*?)^ *```$", section(PAGE, title), re.MULTILINE | re.DOTALL))


def follow(product: Product, title: str, **variables: str) -> str:
    """Run a section's commands in one shell, as they stand there; returns what was said."""
    names = {
        "EDURISE_REPOSITORY": str(product.repository),
        "EDURISE_PASSWORD_FILE": str(product.home / "passphrase"),
        **variables,
    }
    return run_as_typed(product, commands(title), names)


def full_backups(product: Product) -> list[str]:
    """Take two full sets; the second lacks a film."""
    first = operations.create_backup(settings=product.settings)
    (product.storage / "media" / "film.bin").unlink()
    return [str(first.id), str(operations.create_backup(settings=product.settings).id)]


@pytest.mark.slow
def test_the_sections_of_quiet_days_run_as_they_stand(product: Product) -> None:
    first, second = full_backups(product)
    said = follow(product, "Forgetting backups, and bringing them back", BACKUP=second)
    assert f"backup {second} is back, and whole" in said
    assert "completed, forgotten" in said
    said = follow(product, "Every day")
    assert "1 backups forgotten" in said  # two on one day: the newer one stays
    assert "passed, budget 5%" in said
    assert "(dry run)" in follow(product, "Pruning")
    assert first[:8] in follow(product, "A backup is missing")
    assert follow(product, "Checking: budgets and the promise of 30 days").count("passed") == 3
    assert "jobs written" in follow(product, "When the catalog is lost")
    assert operations.verify_backup(second, settings=product.settings).verification_status is Verdict.PASSED


def test_the_section_of_time_and_room_runs_as_it_stands(product: Product) -> None:
    operations.create_backup(settings=product.settings)
    said = follow(product, "When it takes too long, or too much room", STORAGE=str(product.storage))
    assert "saved" in said
    assert "no errors were found" in said


@pytest.mark.slow
def test_the_repair_heals_what_the_platform_still_has(product: Product) -> None:
    ids = full_backups(product)
    product.put("essays/essay 5.txt", b"a new essay" * 100)  # the packs of one backup hold what the other's do, too
    packs = [path for path in sorted((product.repository / "data").rglob("*")) if path.is_file()]
    largest = max(packs, key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[100] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(content)
    min(packs, key=lambda path: path.stat().st_size).unlink()
    follow(product, "Repair")
    newest = operations.get_backups(BackupFilters(limit=1), settings=product.settings)[0]
    assert str(newest.id) not in ids
    assert operations.verify_backup(newest.id, settings=product.settings).verification_status is Verdict.PASSED
    check = operations.check_repository(settings=product.settings, read_data=True)
    assert not [finding for finding in check.findings if finding.startswith(("index ", "pack "))]


@pytest.mark.slow
def test_a_second_repository_is_made_and_checked_as_it_stands(files_product: Product) -> None:
    operations.create_backup("files", settings=files_product.settings)
    write_private(files_product.home / "other passphrase", "another passphrase")
    copy, password = str(files_product.home / "copy"), str(files_product.home / "other passphrase")
    said = follow(files_product, "A second repository", COPY=copy, COPY_PASSWORD_FILE=password)
    assert "1 snapshots copied" in said
    assert "no errors were found" in said


@pytest.mark.slow
def test_what_is_there_is_mended_by_the_commands_as_they_stand(files_product: Product) -> None:
    storage = files_product.storage
    operations.create_backup("files", settings=files_product.settings)
    before = describe(storage)
    (storage / "media" / "film.bin").write_bytes(b"overwritten by mistake")
    shutil.rmtree(storage / "essays")
    (storage / "not in the backup").write_bytes(b"goes")
    said = follow(files_product, "Restoring onto what is there", STORAGE=str(storage))
    assert "would change: /media/film.bin" in said
    assert "removed 1 names" in said
    assert differences(before, describe(storage)) == []


def test_every_refusal_of_the_table_is_a_message_of_the_library() -> None:
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "lib").rglob("*.py"))
    told = [row[0] for row in rows(section(PAGE, "When a prune refuses"))[1:]]
    assert len(told) > 10
    assert [message for message in told if message not in source] == []


def test_every_section_with_commands_is_run_here() -> None:
    with_commands = [title for title in re.findall(r"^## (.+)$", PAGE, re.MULTILINE) if commands(title)]
    source = (ROOT / "tests" / "integration" / "test_runbook_repository.py").read_text("utf-8")
    assert [title for title in with_commands if f'"{title}"' not in source] == []
