"""The command line: `edurise-backup`."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run the command line; ends the process."""
    from edurise_backup.cli.early import begin_to_load, begin_to_open, begin_to_scan

    begin_to_open(sys.argv[1:], os.environ)
    begin_to_load(sys.argv[1:])
    begin_to_scan(sys.argv[1:])
    from edurise_backup.cli.main import run  # takes as long to load as half of a key takes to derive

    run()
