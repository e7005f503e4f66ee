"""`make up`: choose the configuration and the ports, then hand over to the supervisor (honcho, Procfile).

Everything listens on the loopback address only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from edurise_backup.config import load_settings
from edurise_backup.errors import BackupError, ConfigError
from edurise_backup.operations.secrets import make_prefect_credential
from flows.local import prefect_environment
from flows.processes import make_private, require_free
from flows.telling import tell

PREFECT_PORT = "EDURISE_PREFECT_PORT"
DASHBOARD_PORT = "EDURISE_DASHBOARD_PORT"
METRICS_PORT = "EDURISE_METRICS_PORT"
_DEFAULT_PORTS = {PREFECT_PORT: 4200, DASHBOARD_PORT: 8501, METRICS_PORT: 9464}
_EMPTY = """\
# Nothing is configured yet: `edurise-backup --help` and README.md say how a source and a repository are named.
data_directory = "data"
"""


def main() -> NoReturn:
    """Become the supervisor; returns only when something forbids the start."""
    root = Path(__file__).resolve().parent.parent
    try:
        environment = service_environment(root, os.environ)
    except BackupError as error:
        sys.exit(tell(error))
    os.chdir(root)
    os.execve(  # noqa: S606 - no shell is wanted: the supervisor takes this process's place
        sys.executable,
        [sys.executable, "-m", "honcho", "-f", "Procfile", "start"],
        environment,
    )


def service_environment(root: Path, given: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that all services share; raises ConfigError or ConflictError before anything starts."""
    settings_path = configuration(root, given)
    settings = load_settings(settings_path)
    prefect_port, dashboard_port = port(given, PREFECT_PORT), port(given, DASHBOARD_PORT)
    require_free(prefect_port, what="the Prefect server", variable=PREFECT_PORT)
    require_free(dashboard_port, what="the dashboard", variable=DASHBOARD_PORT)
    make_prefect_credential(settings)  # made here, so that no two services make one; kept in a file, not handed over
    metrics_port = port(given, METRICS_PORT)
    require_free(metrics_port, what="metrics", variable=METRICS_PORT)
    home = settings.data_directory / "prefect"
    make_private(home)
    return prefect_environment(home, prefect_port, settings_path) | {
        "PYTHON": sys.executable,
        DASHBOARD_PORT: str(dashboard_port),
        METRICS_PORT: str(metrics_port),
        PREFECT_PORT: str(prefect_port),
    }


def configuration(root: Path, given: Mapping[str, str]) -> Path:
    """Return the settings file: the one that is named, the checkout's own, the demonstration's, or an empty one."""
    if named := given.get("EDURISE_CONFIG"):
        return Path(named).absolute()
    for candidate in (root / "edurise-backup.toml", root / ".demo" / "edurise-backup.toml"):
        if candidate.is_file():
            return candidate
    empty = root / ".up" / "edurise-backup.toml"
    if not empty.exists():
        empty.parent.mkdir(mode=0o700, exist_ok=True)
        empty.write_text(_EMPTY, encoding="utf-8")
    return empty


def port(given: Mapping[str, str], variable: str) -> int:
    """Return the port that the variable names, or its default; raises ConfigError."""
    text = given.get(variable, str(_DEFAULT_PORTS[variable]))
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 65536:
        raise ConfigError(f"{variable} is {text!r}, not a port", hint="use a number from 1 to 65535")
    return int(text)


if __name__ == "__main__":
    main()
