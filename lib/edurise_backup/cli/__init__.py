"""The command line: `edurise-backup`."""

from edurise_backup.cli.main import main

__all__ = ["main"]
