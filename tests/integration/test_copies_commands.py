"""`edurise-backup copy …`, `store …`, and the options `--copy` and `--from`, in processes of their own."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.catalog import Product, run, run_json, write_private
from tests.support.copies import COPY_PASSPHRASE, add_copy, configure_copy, flip, packs_of


def test_a_day_with_a_copy_on_the_command_line(files_product: Product) -> None:
    configure_copy(files_product, "offsite", str(files_product.home / "copies" / "offsite"))
    made = run(files_product, "store", "init", "offsite")
    assert made.returncode == 0, made.stderr
    assert "recovery key, shown this once" in made.stdout
    assert run(files_product, "backup").returncode == 0
    late = json.loads(run(files_product, "copy", "status", "--json").stdout)
    assert [(one["name"], one["whole"], one["late"]) for one in late] == [("offsite", 0, False)]
    done = run(files_product, "copy", "run")
    assert done.returncode == 0, done.stderr
    assert "offsite: 1 restore points copied, 0 could not be" in done.stdout
    assert run(files_product, "copy", "status", "offsite").returncode == 0
    assert "whole" in run(files_product, "copy", "list").stdout
    assert run(files_product, "verify", "--copy", "offsite").returncode == 0
    assert run(files_product, "check", "--copy", "offsite", "--read-data").returncode == 0
    assert run(files_product, "prune", "--copy", "offsite", "--dry-run").returncode == 0
    stores = run_json(files_product, "store", "list")
    assert isinstance(stores, list)
    assert [store["name"] for store in stores] == ["primary", "offsite"]


def test_a_recovery_says_where_it_took_the_bytes(files_product: Product) -> None:
    add_copy(files_product)
    run_json(files_product, "backup")
    run_json(files_product, "copy", "run", "offsite")
    forced = run(files_product, "recover", "latest", "--from", "offsite", "--target", files_product.home / "forced")
    assert forced.returncode == 0, forced.stderr
    shutil.rmtree(files_product.repository)
    done = run(files_product, "recover", "latest", "--target", files_product.home / "target")
    assert done.returncode == 0, done.stderr
    assert "store: primary was passed over: " in done.stdout
    assert "store: offsite serves: " in done.stdout
    assert files_product.restored_differences(files_product.home / "target") == []


def test_a_verification_that_does_not_pass_says_which_copy_has_it(files_product: Product) -> None:
    add_copy(files_product)
    run_json(files_product, "backup")
    run_json(files_product, "copy", "run")
    run_json(files_product, "verify", "--copy", "offsite")
    for pack in packs_of(files_product.repository):
        flip(pack)
    done = run(files_product, "verify")
    assert done.returncode == 1
    assert "copy: offsite has it whole; verified there" in done.stdout


def test_a_store_is_registered_probed_and_removed(files_product: Product) -> None:
    write_private(files_product.home / "words", COPY_PASSPHRASE)
    done = run(files_product, "store", "register", "near", "near copy", "--password-file", "words", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["location"] == str(files_product.home / "near copy")
    assert run(files_product, "store", "probe", "near").returncode == 0
    assert run(files_product, "store", "register", "near", "other", "--password-file", "words").returncode == 2
    assert run(files_product, "store", "remove", "near").returncode == 0
    gone = run(files_product, "store", "probe", "near")
    assert (gone.returncode, "no store is named 'near'" in gone.stderr) == (2, True)


@pytest.mark.parametrize("words", [("copy", "run"), ("copy", "run", "moon"), ("verify", "--copy", "moon")])
def test_without_that_copy_the_command_says_what_to_do(files_product: Product, words: tuple[str, ...]) -> None:
    done = run(files_product, *words)
    assert done.returncode == 2
    assert "To do: " in done.stderr
