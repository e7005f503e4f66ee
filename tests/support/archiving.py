"""An archive_command and who answers it, with a server around them or without."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edurise_backup import archive_client
from edurise_backup.operations.wal.accepting import Acceptor
from edurise_backup.operations.wal.keeping import Keeper
from edurise_backup.operations.wal.spool import Spool
from edurise_backup.postgres.server import Server
from tests.support.clusters import ask

CLIENT = Path(archive_client.__file__)


@dataclass(frozen=True, slots=True)
class Handed:
    """A file of a server's log."""

    name: str
    content: bytes
    system: str

    @property
    def size(self) -> int:
        """Bytes of a segment: this is a whole one."""
        return len(self.content)

    def at(self, further: int) -> str:
        """Return the name of a later segment."""
        return f"{self.name[:16]}{int(self.name[16:], 16) + further:08X}"


def offer(place: Path, path: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Hand a file over as the server does."""
    command = [sys.executable, "-I", "-S", CLIENT, place, path, name]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def offer_as(user: int, client: Path, place: Path, path: Path, name: str) -> subprocess.CompletedProcess[str]:
    """Do the same as another user, which only root can."""
    command = ["/usr/bin/python3", "-I", "-S", client, place, path, name]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, user=user, group=user, extra_groups=[]
    )


def offer_bytes(place: Path, content: bytes, name: str) -> subprocess.CompletedProcess[str]:
    """Hand bytes over under a name."""
    path = place.with_name("offered")
    path.write_bytes(content)
    return offer(place, path, name)


def make_acceptor(
    folder: Path, system: str, size: int, look: Callable[[str], bytes | None] = lambda _: None
) -> Acceptor:
    """Return what accepts files of a cluster into `folder/spool`, at `folder/socket`."""
    spool = Spool(folder / "spool", system=system, size=size, handed=True)
    spool.make()
    return Acceptor(folder / "socket", Keeper(spool, look, system=system, size=size), owner=None)


@contextmanager
def accepting(folder: Path, handed: Handed, look: Callable[[str], bytes | None] = lambda _: None) -> Iterator[Path]:
    """Yield the socket of an acceptor that knows of no repository but what `look` returns."""
    acceptor = make_acceptor(folder, handed.system, handed.size, look)
    acceptor.start()
    try:
        yield folder / "socket"
    finally:
        acceptor.stop()


@contextmanager
def accepting_apart(folder: Path, handed: Handed, *, before: str = "") -> Iterator[subprocess.Popen[str]]:
    """Yield a process that accepts, for tests that end or limit it; `before` is run in it first."""
    code = (
        f"{before}\nimport signal, sys\nfrom pathlib import Path\n"
        "from tests.support.archiving import make_acceptor\n"
        "make_acceptor(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])).start()\n"
        "print('ready', flush=True)\nsignal.pause()\n"
    )
    command = [sys.executable, "-c", code, str(folder), handed.system, str(handed.size)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def switched(server: Server) -> str:
    """Write something, have the server end its segment, and return the segment's name."""
    ask(server, "INSERT INTO t VALUES (1, 'x')")
    return str(ask(server, "SELECT pg_walfile_name(pg_switch_wal())")[0][0])


def take(server: Server) -> Handed:
    """Return a whole segment as it lies in the server's own folder."""
    name = switched(server)
    ((system,),) = ask(server, "SELECT system_identifier FROM pg_control_system()")
    return Handed(name, (server.data_directory / "pg_wal" / name).read_bytes(), str(system))
