"""Hold the catalog open: `python -m flows.catalog`.

An embedded server runs as long as somebody uses it. This process uses it from
the start of `make up` to its end, so that no run and no page has to start it.
"""

from __future__ import annotations

import signal
import sys

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError


def main() -> int:
    """Open the catalog and wait for a signal; leaving it stops an embedded server that nobody else uses."""
    wanted = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # one that comes early waits until the catalog can be closed
    try:
        with operations.open_catalog(load_settings()):
            signal.sigwait(wanted)
    except BackupError as error:
        print("\n".join(error.lines()), file=sys.stderr)  # noqa: T201 - the supervisor shows it
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main())
