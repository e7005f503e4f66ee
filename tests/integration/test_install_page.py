"""The page on installing: its commands do what it says, its units start what there is."""

from __future__ import annotations

import configparser
import importlib.util
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.catalog import Product, run
from tests.support.documents import ROOT, blocks, page

PAGE = "docs/operations/install.md"
UNITS = sorted((ROOT / "docs/operations/systemd").glob("*.service"))
NAMES = {f"edurise-backup{part}.service" for part in ("", "-watch", "-wal", "-worker", "-prefect")}
PROGRAM = "/opt/edurise-backup/.venv/bin/python"


def commands() -> list[list[str]]:
    """Return the product's commands on the page, but those that make the repository or look at the whole host."""
    lines = [line for block in blocks(page(PAGE), "sh") for line in block.splitlines()]
    found = [shlex.split(line, comments=True)[2:] for line in lines if line.startswith("as edurise-backup ")]
    return [words for words in found if words[0] in ("user", "schedule")]


def test_people_and_schedules_of_the_page_are_made_as_it_says(files_product: Product) -> None:
    files_product.configure('name = "uploads"', 'name = "storage"')
    made = commands()
    assert len(made) == 10
    for words in made:
        done = run(files_product, *words)
        assert done.returncode == 0, (words, done.stderr)
    listed = run(files_product, "schedule", "list").stdout
    assert all(words[2] in listed for words in made if words[0] == "schedule")
    assert "admin" in run(files_product, "user", "list").stdout


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_starts_a_program_that_there_is(unit: Path) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]  # systemd's names have capitals
    parser.read(unit)
    program, dash_m, module, *rest = parser["Service"]["ExecStart"].split()
    assert (program, dash_m) == (PROGRAM, "-m")
    assert importlib.util.find_spec(module)
    assert rest in ([], ["watch"], ["wal", "receive"])
    assert parser["Service"]["User"] == "edurise-backup"
    assert parser["Service"]["ProtectSystem"] == "strict"
    assert {unit.name for unit in UNITS} == NAMES


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not on this machine")
def test_systemd_understands_every_line_of_a_unit(unit: Path) -> None:
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    complaints = [line for line in done.stderr.splitlines() if "is not executable" not in line and unit.name in line]
    assert complaints == []
