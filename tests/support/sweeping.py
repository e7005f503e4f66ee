"""Look for secrets everywhere: in processes while they run, and in what they leave behind."""

from __future__ import annotations

import base64
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from edurise_backup.postgres.connection import Address, connect
from flows.processes import children

DOCUMENTED = {
    "PREFECT_API_AUTH_STRING": "Prefect's own clients take it so",
    "PREFECT_SERVER_API_AUTH_STRING": "Prefect's server takes it so",
}
"""Variables that may hold a secret in our own Python processes, as docs/operations/keys-and-secrets.md says."""


def forms_of(secret: str) -> list[bytes]:
    """Return how a secret could be written."""
    raw = secret.encode()
    return [raw, base64.b64encode(raw), raw.hex().encode(), secret.encode("utf-16-le")]


@dataclass(slots=True)
class Watch:
    """Looks again and again at the arguments and environments of all processes below this one."""

    secrets: Mapping[str, str]
    """Each secret under a name that may be shown."""
    documented: Iterable[str] = tuple(DOCUMENTED)
    """Names of variables by which our own processes are given a secret."""
    seen: set[str] = field(default_factory=set)
    found: set[str] = field(default_factory=set)
    _known: set[tuple[int, bytes, int]] = field(default_factory=set)
    _stopped: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch inside the `with` block."""
        thread = threading.Thread(target=self._watch)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _watch(self) -> None:
        while not self._stopped.wait(0.005):
            for pid in _descendants():
                with suppress(OSError):
                    self.look_at(pid)

    def look_at(self, pid: int) -> None:
        """Look at one process."""
        folder = Path(f"/proc/{pid}")
        command = (folder / "cmdline").read_bytes()
        if not command:  # it has ended, or is about to become another program
            return
        known = (pid, command, len(self.secrets))
        if known in self._known:  # its arguments and environment are what they were when it began
            return
        words = command.split(b"\0")
        name = Path(words[0].decode("utf-8", "replace")).name
        self.seen.add(name)
        self.seen |= {
            word.decode() for word in words[1:4] if word.startswith((b"edurise_backup", b"flows.", b"prefect."))
        }
        helper = b"-P" in words  # the engine's, which need nothing
        ours = words[0].decode() == sys.executable and not helper
        for title, secret in list(self.secrets.items()):
            forms = forms_of(secret)
            self.found |= {f"{name}: argument holds {title}" for word in words for form in forms if form in word}
            for pair in (folder / "environ").read_bytes().split(b"\0"):
                variable = pair.partition(b"=")[0].decode("utf-8", "replace")
                if any(form in pair for form in forms) and not (ours and variable in self.documented):
                    self.found.add(f"{name}: variable {variable} holds {title}")
        self._known.add(known)


def _descendants() -> list[int]:
    found = children(os.getpid())
    for pid in found:
        found += children(pid)
    return found


def sweep_texts(secrets: Mapping[str, str], texts: Mapping[str, str | bytes]) -> list[str]:
    """Return in which texts there is which secret."""
    found = []
    for place, text in texts.items():
        content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
        found += [
            f"{place} holds {title}"
            for title, secret in secrets.items()
            if any(form in content for form in forms_of(secret))
        ]
    return found


def sweep_folder(secrets: Mapping[str, str], folder: Path, *, but: Iterable[Path] = ()) -> list[str]:
    """Return which files below the folder hold which secret, in their bytes or their name."""
    passed_over = {path.resolve() for path in but}
    found = []
    for path in sorted(folder.rglob("*")):
        found += sweep_texts(secrets, {f"the name of {path}": str(path.relative_to(folder))})
        if path.is_file() and not path.is_symlink() and path.resolve() not in passed_over:
            found += sweep_texts(secrets, {str(path): path.read_bytes()})
    return found


def sweep_database(secrets: Mapping[str, str], address: Address) -> list[str]:
    """Return which tables of a database hold which secret."""
    with connect(address) as connection:
        tables = connection.execute(
            "SELECT schemaname::text, tablename::text FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        rows = {
            f"table {name}": "\n".join(
                str(row[0]) for row in connection.execute(f'SELECT t::text FROM "{schema}"."{name}" t'.encode())
            )
            for schema, name in tables
        }
    assert rows, "there is no table: nothing was swept"
    return sweep_texts(secrets, rows)


def reachable_by_others(top: Path) -> list[str]:
    """Return what below (and with) `top` somebody else of this machine may read or enter, by the modes alone."""
    found = []
    waiting = [top]
    while waiting:
        path = waiting.pop()
        mode = path.lstat().st_mode
        if path.is_symlink():
            continue
        if path.is_dir():
            if mode & 0o077:
                found.append(f"{path} {mode & 0o777:o}")
                waiting += path.iterdir()  # behind a closed door everything is closed
        elif mode & 0o077:
            found.append(f"{path} {mode & 0o777:o}")
    return found
