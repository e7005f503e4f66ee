"""What the services of `make up` say of an error: its three parts, without secrets, where the supervisor shows them."""

from __future__ import annotations

import sys

from edurise_backup.errors import BackupError
from edurise_backup.monitoring.redaction import REDACTOR


def tell(error: BackupError) -> int:
    """Print an error to standard error; return the exit status that goes with it."""
    print(REDACTOR.clean("\n".join(error.lines())), file=sys.stderr)  # noqa: T201 - the program's words to its user
    return error.exit_status
