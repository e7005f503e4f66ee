"""Servers of our own: the embedded catalog, the demonstration's platform, scratch clusters.

A server listens on a Unix socket in a private folder with a short path, and on
127.0.0.1 only when asked. It has a session of its own, so that it outlives the
process that started it until somebody calls `stop`; another process that names
the same data directory finds and uses it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, flock
from pathlib import Path
from types import TracebackType
from typing import Self

from edurise_backup.errors import ConfigError, ToolError
from edurise_backup.model.database import Secret
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.places import (
    LOG,
    free_port,
    log_tail,
    make_socket_folder,
    opened_directory,
    opened_log,
    run_initdb,
    server_environment,
    socket_folder,
)
from edurise_backup.postgres.postmaster import Postmaster, find_postmaster
from edurise_backup.postgres.privileges import Account, identity, reachable, server_account
from edurise_backup.postgres.tools import ServerBinaries

_START_SECONDS = 300  # a server that replays a long log after a crash is not dead
_STOP_SECONDS = 120
_REAP_SECONDS = 5.0
_SETTINGS = {
    "shared_buffers": "64MB",
    "max_connections": "100",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "password_encryption": "scram-sha-256",
}


class Server:
    """A PostgreSQL cluster in `data_directory`, made and run by us.

    `port=None` opens no TCP port, `port=0` takes a free one on 127.0.0.1.
    `settings` are added to the server's own at each start; its log is a file
    in the data directory unless `log` says which. As a context manager it is
    made when missing, started, and stopped at the end if it was started here.
    """

    def __init__(
        self,
        data_directory: Path,
        *,
        binaries: ServerBinaries,
        password: Secret,
        user: str = "postgres",
        port: int | None = None,
        settings: Mapping[str, str] | None = None,
        log: Path | None = None,
    ) -> None:
        self.data_directory = data_directory.absolute()
        self._log = log or self.data_directory / LOG
        self.user = user
        self._password = password
        self.binaries = binaries
        self._port = port
        self._settings = _SETTINGS | dict(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def initialised(self) -> bool:
        """Whether the cluster exists."""
        return (self.data_directory / "PG_VERSION").is_file()

    @property
    def running(self) -> bool:
        """Whether a server runs on the data directory, whoever started it."""
        return find_postmaster(self.data_directory) is not None

    @property
    def address(self) -> Address:
        """Where the running server is reached: its socket; raises ToolError when it does not run."""
        postmaster = self._postmaster()
        return Address(postmaster.socket_folder, postmaster.port, self.user, password=self._password)

    @property
    def tcp_address(self) -> Address:
        """Where the running server is reached over TCP; raises ToolError when it does not listen there."""
        postmaster = self._postmaster()
        if not postmaster.tcp:
            raise ToolError(f"the server on {self.data_directory} listens on its socket only")
        return Address("127.0.0.1", postmaster.port, self.user, password=self._password)

    def initialise(self) -> None:
        """Make the cluster: UTF-8, data checksums, scram-sha-256 for everybody; one that exists is kept.

        A half-made cluster is never left under the directory's name.
        """
        with self._exclusive():
            if not self.initialised:
                self._make()

    def start(self) -> Address:
        """Start the server, or adopt the one that runs, and return its socket's address once it answers.

        Raises ToolError with the log's last lines when it does not come up.
        """
        self.launch()
        self._wait_until_ready()
        return self.address

    def launch(self) -> None:
        """Start the server unless it runs, and return as soon as it owns its directory: it may recover for hours."""
        with self._exclusive():
            if not self.initialised:
                raise ConfigError(f"there is no cluster in {self.data_directory}")
            if not self.running:
                for attempt in range(3):
                    if self._launch(last=attempt == 2):
                        break

    def stop(self, *, fast: bool = True) -> None:
        """Shut the server down and wait for its end; `fast` ends open sessions first."""
        postmaster = find_postmaster(self.data_directory)
        if postmaster is not None:
            postmaster.signal(signal.SIGINT if fast else signal.SIGTERM)
            deadline = time.monotonic() + _STOP_SECONDS
            while postmaster.alive:
                self._reap()
                if time.monotonic() > deadline:
                    raise ToolError(f"the server on {self.data_directory} did not stop in {_STOP_SECONDS} s")
                time.sleep(0.02)
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):  # one that was killed may be dying: until it is reaped,
                self._process.wait(_REAP_SECONDS)  # the next server takes it for alive
        self._reap()
        shutil.rmtree(socket_folder(self.data_directory, self._account()), ignore_errors=True)

    def __enter__(self) -> Self:
        self.initialise()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.stop()

    # making and launching

    def _make(self) -> None:
        account = self._account()
        binaries = reachable(self.binaries, account)
        unfinished = self.data_directory.with_name(f".{self.data_directory.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if account.switch:
            os.chown(unfinished, account.uid, account.gid)
        try:
            run_initdb(
                unfinished,
                binaries=binaries,
                account=account,
                user=self.user,
                password=self._password,
                durable=self._settings.get("fsync") != "off",
            )
            unfinished.rename(self.data_directory)  # onto nothing, or onto an empty directory
        except OSError as error:
            raise ConfigError(
                f"no cluster can be made in {self.data_directory}: {error.strerror}",
                hint="choose a directory that does not exist or is empty",
            ) from error
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)

    def _launch(self, *, last: bool) -> bool:
        """Start the process and wait until it owns the directory; False when its port was just taken."""
        account = self._account()
        binaries = reachable(self.binaries, account)
        port = free_port() if self._port == 0 else self._port or 5432
        settings = self._settings | {
            "listen_addresses": "" if self._port is None else "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(make_socket_folder(self.data_directory, account)),
        }
        with opened_directory(self.data_directory) as data, opened_log(self._log, account) as log:
            # the directory goes over as a descriptor: its parents may be closed to the server's user
            self._process = subprocess.Popen(
                [
                    *(binaries.bindir / "postgres", "-D", f"/proc/self/fd/{data}"),
                    *(word for name, value in settings.items() for word in ("-c", f"{name}={value}")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[data],
                cwd="/",
                env=server_environment(),
                start_new_session=True,  # Ctrl-C at the terminal is not meant for it
                **identity(account),
            )
        while not self.running:
            if self._process.poll() is not None:
                self._process = None
                return self._came_up_elsewhere(last=last)
            time.sleep(0.01)
        return True

    def _came_up_elsewhere(self, *, last: bool) -> bool:
        if self.running:  # somebody else was quicker
            return True
        text = log_tail(self._log)
        if last or self._port != 0 or "could not bind" not in text:
            raise ToolError(f"the server on {self.data_directory} did not start: {text}")
        return False

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while True:
            postmaster = find_postmaster(self.data_directory)
            if postmaster is not None and postmaster.ready:
                return
            if postmaster is None:
                self._reap()
                raise ToolError(f"the server on {self.data_directory} ended: {log_tail(self._log)}")
            if time.monotonic() > deadline:
                raise ToolError(f"the server on {self.data_directory} is not ready after {_START_SECONDS} s")
            time.sleep(0.02)

    def _reap(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    # places

    def _account(self) -> Account:
        return server_account(self.data_directory)

    def _postmaster(self) -> Postmaster:
        postmaster = find_postmaster(self.data_directory)
        if postmaster is None:
            raise ToolError(f"no server runs on {self.data_directory}")
        return postmaster

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Let one process at a time make or start the cluster."""
        parent = self.data_directory.parent
        parent.mkdir(parents=True, exist_ok=True)
        with opened_directory(parent) as descriptor:
            flock(descriptor, LOCK_EX)
            yield
