"""A command is loaded alone: what the tables say of the modules is what the modules have."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
import typer
from typer.main import get_command

from edurise_backup.cli import engine, product
from edurise_backup.cli.main import application

NAMES = "import typer; from edurise_backup.cli import repo; print(*typer.main.get_command(repo.app).commands)"


def commands_of(app: typer.Typer) -> dict[str, object]:
    found = getattr(get_command(app), "commands", {})
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("table", [product._COMMANDS, engine._COMMANDS], ids=["product", "engine"])
def test_the_tables_say_what_each_module_has(table: dict[str, tuple[str, ...]]) -> None:
    for module, names in table.items():
        app = typer.Typer()
        app.callback()(lambda: None)
        import_module(f"edurise_backup.cli.{module}").add_commands(app)
        assert tuple(commands_of(app)) == names


def test_what_repo_has_itself_is_known() -> None:
    told = subprocess.run([sys.executable, "-c", NAMES], capture_output=True, text=True, check=True, timeout=60)
    assert tuple(told.stdout.split()) == engine._OWN


def test_each_command_is_found_alone_as_among_all_others() -> None:
    everything = commands_of(application([]))
    tables = {name for names in product._COMMANDS.values() for name in names}
    assert set(everything) == tables | set(product._GROUPS.values()) | {"repo"}
    for name, found in everything.items():
        alone = commands_of(application([name]))
        assert name in alone
        assert len(alone) <= 6, "what comes with it, and no more"
        assert [one.name for one in getattr(found, "params", [])] == [
            one.name for one in getattr(alone[name], "params", [])
        ]
        assert list(getattr(found, "commands", {})) == list(getattr(alone[name], "commands", {}))


def test_a_word_that_is_no_command_brings_all_of_them_so_that_a_person_is_told_which_there_are() -> None:
    for words in (["bakup"], ["--config", "x", "backup"], ["--help"]):
        assert len(commands_of(application(words))) > 20
    assert not product.has("repo")
    assert not engine.has("--help")
