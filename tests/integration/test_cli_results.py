"""What the product's commands print: JSON that parses, text for people, exit statuses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.model.jobs import JobStatus
from tests.support.catalog import Product, run, run_json
from tests.support.postgres import databases_of


def test_every_command_answers_in_json(product: Product, tmp_path: Path) -> None:
    target = tmp_path / "restored"
    made = run_json(product, "backup", "full", "--tag", "term")
    assert isinstance(made, dict)
    assert (made["status"], made["tags"]) == ("completed", ["term"])
    assert run_json(product, "verify", made["id"][:8])["verification_status"] == "passed"  # type: ignore[index]
    restored = run_json(product, "recover", "latest", "--target", str(target))
    assert isinstance(restored, dict)
    assert (restored["verification_status"], restored["findings"]) == ("passed", [])
    listed = run_json(product, "list", "--tag", "term", "--verified")
    assert [job["id"] for job in listed] == [made["id"]]  # type: ignore[attr-defined]
    shown = run_json(product, "show", "latest")
    assert shown["checksum"] == made["checksum"]  # type: ignore[index]
    assert run_json(product, "stats")["verified"] == 1  # type: ignore[index]
    assert run_json(product, "rebuild-catalog")["kept"] == 3  # type: ignore[index]
    doctor = run(product, "doctor", "--json")
    assert {finding["subject"] for finding in json.loads(doctor.stdout)} >= {"repository", "catalog", "school"}


@pytest.mark.slow
def test_a_person_reads_what_was_done(product: Product, tmp_path: Path) -> None:
    made = run(product, "backup")
    assert made.returncode == 0, made.stderr
    assert ": full, completed" in made.stdout
    assert "A dump is always read whole" in made.stdout
    assert "proof passed" in run(product, "recover", "latest", "--target", str(tmp_path / "back")).stdout
    assert "full" in run(product, "list").stdout
    assert "verified 0 of 1 backups; recoveries passed 1, failed 0" in run(product, "stats").stdout
    assert run(product, "list", "--status", "failed").stdout == "no backup matches\n"
    assert product.database
    assert "school_restored" in databases_of(product.database)


def test_a_backup_with_warnings_ends_with_status_3(product: Product) -> None:
    (product.storage / "essays" / "essay 3.txt").unlink()
    done = run(product, "backup")
    assert done.returncode == 3, done.stderr
    assert "warning: storage.objects of school names essays/essay 3.txt, which has no file" in done.stdout
    (job,) = operations.get_backups(settings=product.settings)
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS


@pytest.mark.slow
def test_a_verification_that_finds_damage_ends_with_status_1_and_names_it(files_product: Product) -> None:
    assert run(files_product, "backup", "files").returncode == 0
    pack = max((files_product.repository / "data").glob("*/*"), key=lambda path: path.stat().st_size)
    pack.unlink()
    told = run(files_product, "verify")
    assert told.returncode == 1
    assert re.search(rf"pack {pack.name[:8]}\w* is missing", told.stdout)  # of trees or of data, whichever is larger
    scripted = run(files_product, "verify", "--json")
    assert scripted.returncode == 1
    assert json.loads(scripted.stdout)["verification_status"] == "failed"
    restored = run(files_product, "recover", "latest", "--target", str(files_product.home / "back"), "--json")
    assert restored.returncode == 1
    assert "is missing" in json.loads(restored.stderr)["error"]


def test_names_with_control_characters_do_not_reach_the_terminal(files_product: Product) -> None:
    files_product.configure(
        'name = "uploads"\npaths = ["storage"]', 'name = "uploads"\npaths = ["storage", "/proc/1/\\u001b"]'
    )
    told = run(files_product, "backup", "files")
    assert told.returncode == 2
    assert "\x1b" not in told.stderr
