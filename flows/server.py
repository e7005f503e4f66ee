"""Run the Prefect server that several machines share: `python -m flows.server --host ADDRESS`.

It asks everybody for the credential that the configuration names (or that is
made and kept in the data directory), and keeps its state in PostgreSQL. The
database is named by PREFECT_API_DATABASE_CONNECTION_URL, without its password:
that is in the file that PGPASSFILE names.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from typing import NoReturn
from urllib.parse import urlsplit

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, ConfigError
from edurise_backup.operations.secrets import make_prefect_credential
from flows.credentials import for_server
from flows.local import prefect_environment, server_command
from flows.processes import LOOPBACK, make_private
from flows.telling import tell

DATABASE = "PREFECT_API_DATABASE_CONNECTION_URL"
_DRIVER = "postgresql+asyncpg"


def main(arguments: Sequence[str]) -> NoReturn:
    """Become the server; returns only when something forbids the start."""
    parser = argparse.ArgumentParser(
        prog="python -m flows.server", description="Prefect's server for several machines."
    )
    parser.add_argument("--host", default=LOOPBACK, help=f"the address to listen on ({LOOPBACK}: behind a TLS proxy)")
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--public-url", default="", help="the API as others reach it, such as https://HOST/api")
    asked = parser.parse_args(arguments)
    try:
        settings = load_settings()
        environment = server_environment(settings, asked.host, asked.port, os.environ)
    except BackupError as error:
        sys.exit(tell(error))
    if asked.public_url:
        environment["PREFECT_UI_API_URL"] = asked.public_url
    os.execve(sys.executable, server_command(), environment)  # noqa: S606 - no shell is wanted


def server_environment(settings: Settings, host: str, port: int, given: Mapping[str, str]) -> dict[str, str]:
    """Return the server's environment; raises ConfigError for a state elsewhere than in PostgreSQL.

    SQLite is one file that one process writes: it is busy before the second worker asks.
    """
    url = given.get(DATABASE, "")
    parts = urlsplit(url)
    if parts.scheme != _DRIVER:
        raise ConfigError(
            f"{DATABASE} names no PostgreSQL database: SQLite, Prefect's default, does not bear several machines",
            safe="nothing was started",
            hint=f"set it to {_DRIVER}://prefect@HOST:5432/prefect; the database needs the extension pg_trgm",
        )
    if parts.password:
        raise ConfigError(
            f"{DATABASE} holds the password, and whoever may read this process's environment reads it",
            safe="nothing was started",
            hint="leave it out of the address, and name a file of libpq's form in PGPASSFILE (chmod 600)",
        )
    home = settings.data_directory / "prefect"
    make_private(home)
    listening = {"PREFECT_SERVER_API_HOST": host, DATABASE: url}
    if not _loopback(host):
        listening["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = f"http://{host}:{port}"
    return for_server(prefect_environment(home, port, settings.path) | listening, make_prefect_credential(settings))


def _loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


if __name__ == "__main__":
    main(sys.argv[1:])
