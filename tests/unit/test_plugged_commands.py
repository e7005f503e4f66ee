"""Commands of packages above the library: there when the package is, left out when not, an error when broken."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import typer

from edurise_backup.cli import plugged
from edurise_backup.cli.main import application


def names(of: typer.Typer) -> set[str | None]:
    return {group.name for group in of.registered_groups}


def test_report_is_a_command_of_the_program() -> None:
    assert "report" in names(application([]))


def test_a_package_that_is_not_there_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugged, "PLUGGED", {"gone": "no_such_package_at_all.cli"})
    empty = typer.Typer()
    plugged.add_commands(empty)
    assert names(empty) == set()


def test_a_package_that_is_broken_is_not_taken_for_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_commands.py").write_text("import a_library_that_is_not_installed\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugged, "PLUGGED", {"broken": "broken_commands"})
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_installed"):
        plugged.add_commands(typer.Typer())
    sys.modules.pop("broken_commands", None)
