"""Find the server process that runs on a data directory.

Source: the line order of postmaster.pid in PostgreSQL's
`src/include/utils/pidfile.h`. The file outlives a crash and its number may be
another process by then, so the process must also work in that very directory.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Postmaster:
    """A running server, as its postmaster.pid describes it."""

    pid: int
    data_directory: Path
    port: int
    socket_folder: str
    tcp: bool
    ready: bool

    @property
    def alive(self) -> bool:
        """Whether the process still works in the data directory."""
        return _works_in(self.pid, self.data_directory)

    def signal(self, number: int) -> None:
        """Send a signal, unless the process has ended by now."""
        if self.alive:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


def find_postmaster(data_directory: Path) -> Postmaster | None:
    """Return the server that runs on the directory, or None; it may still be starting."""
    try:
        lines = (data_directory / "postmaster.pid").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    if len(lines) < 6 or not lines[0].strip().lstrip("-").isdecimal() or not lines[3].strip().isdecimal():
        return None
    pid = int(lines[0])
    if pid <= 0 or not _works_in(pid, data_directory):
        return None
    status = lines[7].strip() if len(lines) > 7 else ""
    return Postmaster(pid, data_directory, int(lines[3]), lines[4], bool(lines[5].strip()), status == "ready")


def _works_in(pid: int, directory: Path) -> bool:
    try:
        place, here = Path(f"/proc/{pid}/cwd").stat(), directory.stat()
    except OSError:  # ended (a zombie has no directory either), or another user's
        return False
    return (place.st_dev, place.st_ino) == (here.st_dev, here.st_ino)
