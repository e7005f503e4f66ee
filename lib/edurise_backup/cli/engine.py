"""The commands below `edurise-backup repo`: a repository alone, without configuration or catalog."""

from __future__ import annotations

from importlib import import_module

import typer

from edurise_backup.cli import repo
from edurise_backup.cli.product import wanted_modules

_COMMANDS = {
    "repo_restore": ("restore",),
    "repo_upkeep": ("unlock", "key"),
    "repo_browse": ("diff", "find", "dump", "copy", "mount"),
    "repo_check": ("check", "repair"),
    "repo_prune": ("forget", "forgotten", "prune"),
    "repo_probe": ("probe",),
    "repo_undelete": ("undelete",),
}
"""What each module adds to what `repo` itself has."""
_OWN = ("init", "backup", "snapshots", "ls")


def has(word: str) -> bool:
    """Whether there is a command or group of that name below `repo`."""
    return word in _OWN or any(word in names for names in _COMMANDS.values())


def add_commands(app: typer.Typer, wanted: str = "") -> None:
    """Put them together; with `wanted` only what comes with it."""
    for name in wanted_modules(_COMMANDS, wanted):
        import_module(f"edurise_backup.cli.{name}").add_commands(repo.app)
    app.add_typer(repo.app, name="repo")
