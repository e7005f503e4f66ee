"""Hold the catalog open, and the demonstration's platform when that is what is configured: `python -m flows.catalog`.

An embedded server runs as long as somebody uses it. This process uses it from
the start of `make up` to its end, so that no run and no page has to start it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from edurise_backup import operations
from edurise_backup.config import Settings, load_settings
from edurise_backup.demonstration.platform import Platform
from edurise_backup.errors import BackupError, NotFoundError
from flows.telling import tell


def main() -> int:
    """Open the catalog and wait for a signal; leaving it stops an embedded server that nobody else uses."""
    wanted = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)  # one that comes early waits until the catalog can be closed
    try:
        settings = load_settings()
        with operations.open_catalog(settings), demonstrated(settings):
            signal.sigwait(wanted)
    except BackupError as error:
        return tell(error)
    return 0


@contextmanager
def demonstrated(settings: Settings) -> Iterator[None]:
    """Have the server of the demonstration's platform run: without it there would be nothing to back up."""
    if settings.path is None:
        yield
        return
    try:
        platform = Platform.open(settings.path.parent / "platform")
    except NotFoundError:
        yield
        return
    platform.start()
    try:
        yield
    finally:
        platform.stop()


if __name__ == "__main__":
    sys.exit(main())
