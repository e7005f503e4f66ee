"""The commands below `edurise-backup repo`: a repository alone, without configuration or catalog."""

from __future__ import annotations

import typer

from edurise_backup.cli import (
    repo,
    repo_browse,
    repo_check,
    repo_probe,
    repo_prune,
    repo_restore,
    repo_undelete,
    repo_upkeep,
)


def add_commands(app: typer.Typer) -> None:
    """Put them together."""
    for module in (repo_restore, repo_upkeep, repo_browse, repo_check, repo_prune, repo_probe, repo_undelete):
        module.add_commands(repo.app)
    app.add_typer(repo.app, name="repo")
