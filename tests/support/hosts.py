"""Several hosts on one machine: each a worker with a configuration, a data directory and a name of its own.

What they share is real: PostgreSQL from Debian (which has pg_trgm) for the
catalog and for Prefect, a Prefect server with its credential, a bucket. A host
is killed, frozen and thawed with all of its processes at once.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edurise_backup.config import Settings, load_settings
from edurise_backup.model.database import Secret
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server
from flows.prefect_api import PrefectApi
from flows.processes import LOOPBACK, children, free_port, running, start, wait_until
from tests.support.catalog import quote_address, write_private
from tests.support.engine import PASSPHRASE
from tests.support.postgres import UNSAFE_AND_QUICK, execute
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 240.0
SILENCE = 20
"""Seconds until a silent job counts as dead: ten signs of life."""
CREDENTIAL = "edurise:a-canary-of-hosts"


def debian_server(folder: Path) -> Server:
    """Return a server of Debian's PostgreSQL 15, which `make tools` unpacks; the embedded one has no pg_trgm."""
    places = [Path("/usr/lib/postgresql/15/bin"), ROOT / ".tools/usr/lib/postgresql/15/bin"]
    found = [place for place in places if (place / "postgres").exists()]
    if not found:
        pytest.fail("PostgreSQL 15 is not installed: `make tools` unpacks Debian's package into .tools/")
    return Server(
        folder,
        binaries=find_server(bindir=found[0]),
        password=Secret(f"canary-{secrets.token_hex(8)}"),
        port=0,
        settings=UNSAFE_AND_QUICK,
    )


@dataclass(slots=True)
class Site:
    """What the hosts share."""

    folder: Path
    api_url: str
    catalog: Address
    location: str
    server: S3Server
    hosts: dict[str, Host] = field(default_factory=dict)

    @property
    def shared(self) -> Path:
        """A folder that every host can read."""
        return self.folder / "shared"

    def add(self, name: str, *, more: str = "", location: str = "") -> Host:
        """Make a host: its folder with configuration and secrets. `more` is TOML with further sources."""
        home = self.folder / name
        home.mkdir()
        assert self.catalog.password
        write_private(home / "passphrase", PASSPHRASE)
        write_private(home / "catalog.password", self.catalog.password.reveal())
        write_private(home / "prefect.auth", CREDENTIAL)
        write_private(home / "access.key", self.server.access_key)
        write_private(home / "secret.key", self.server.secret_key)
        wait = f"touch {home}/held; while [ -e {home}/hold ]; do sleep 0.05; done"
        keys = 'access_key_file = "access.key"\nsecret_key_file = "secret.key"\nallow_plaintext = true\n'
        (home / "edurise-backup.toml").write_text(
            f"""data_directory = "data"
host = "{name}"
[repository]
location = "{location or self.location}"
password_file = "passphrase"
{"" if location else keys}[catalog]
url = "{quote_address(self.catalog)}"
password_file = "catalog.password"
silence_seconds = {SILENCE}
[prefect]
api_url = "{self.api_url}"
auth_file = "prefect.auth"
[approvals]
break_glass = true
[[files]]
name = "shared"
paths = ["{self.shared}"]
pre_hook = ["sh", "-c", "{wait}"]
{more}"""
        )
        self.hosts[name] = Host(name, home)
        return self.hosts[name]

    def api(self) -> PrefectApi:
        """Return a connection to the Prefect server, with its credential."""
        return PrefectApi(self.api_url, Secret(CREDENTIAL))

    def stop(self) -> None:
        """Stop every host that runs, all at once."""
        stopping = [threading.Thread(target=host.stop) for host in self.hosts.values()]
        for thread in stopping:
            thread.start()
        for thread in stopping:
            thread.join()


@dataclass(slots=True)
class Host:
    """One host."""

    name: str
    home: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def settings_path(self) -> Path:
        """Its configuration."""
        return self.home / "edurise-backup.toml"

    @property
    def settings(self) -> Settings:
        """Its settings."""
        return load_settings(self.settings_path, {})

    @property
    def log(self) -> Path:
        """What its worker and its runs have said."""
        return self.home / "worker.log"

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return what its processes find in their environment: no secret."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "EDURISE_"))}
        return kept | {"EDURISE_CONFIG": str(self.settings_path), "PYTHONUNBUFFERED": "1", **(extra or {})}

    def run(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a module of the product on this host to its end; `more` is of its environment."""
        return subprocess.run(
            [sys.executable, "-m", *words],
            env=self.environment(more),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def start(self, *words: str) -> None:
        """Start its worker."""
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "flows.worker", *words]
            self.process = start(command, environment=self.environment(), log=log)

    def started(self) -> bool:
        """Whether Prefect's worker takes runs here."""
        return f"Worker '{self.name}' started!" in self.log.read_text(errors="replace")

    def processes(self) -> list[int]:
        """Return its processes, parents first."""
        found = [self.process.pid] if self.process else []
        for pid in found:
            found += children(pid)
        return found

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to all of its processes."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Cut its power: nothing of it goes on, and nothing says goodbye."""
        assert self.process
        everything = self.processes()
        self.signal(signal.SIGSTOP)  # so that none of them sees another one die
        for pid in everything:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)
        self.process = None

    def hold(self) -> None:
        """Have its backups of `shared` wait before they read."""
        (self.home / "held").unlink(missing_ok=True)
        (self.home / "hold").touch()

    def held(self) -> bool:
        """Whether one waits."""
        return (self.home / "held").exists()

    def let_go(self) -> None:
        """Have its backups go on."""
        (self.home / "hold").unlink(missing_ok=True)

    def stop(self) -> None:
        """Stop its worker in order."""
        if self.process is None:
            return
        self.signal(signal.SIGCONT)
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(60)
        if self.process.poll() is None:
            self.kill()
        self.process = None


@contextmanager
def site(folder: Path, server: S3Server) -> Iterator[Site]:
    """Run what hosts share, and stop every host at the end."""
    with ExitStack() as stack:
        databases = stack.enter_context(debian_server(folder / "databases"))
        password = secrets.token_hex(8)
        execute(
            databases.address,
            "CREATE DATABASE catalog",
            f"CREATE ROLE prefect LOGIN PASSWORD '{password}'",
            "CREATE DATABASE prefect OWNER prefect",
        )
        port, tcp = free_port(), databases.tcp_address
        write_private(folder / "pgpass", f"{LOOPBACK}:{tcp.port}:prefect:prefect:{password}\n")
        (folder / "pgpass").chmod(0o600)
        (folder / "shared").mkdir()
        bucket = new_bucket(server)
        made = Site(
            folder,
            f"http://{LOOPBACK}:{port}/api",
            tcp.with_database("catalog"),
            server.location(bucket, "edurise"),
            server,
        )
        first = made.add("prefect-host")
        environment = first.environment(
            {
                "PREFECT_API_DATABASE_CONNECTION_URL": f"postgresql+asyncpg://prefect@{LOOPBACK}:{tcp.port}/prefect",
                "PGPASSFILE": str(folder / "pgpass"),
            }
        )
        command = [sys.executable, "-m", "flows.server", "--port", str(port)]
        log = folder / "prefect.log"
        prefect = stack.enter_context(running(command, environment=environment, log_path=log, stop_seconds=20))
        stack.callback(made.stop)
        with made.api() as api:
            wait_until(api.healthy, f"the Prefect server ({log})", seconds=120, process=prefect)
        yield made
