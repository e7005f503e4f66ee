"""Read the configuration: a TOML file and a few environment variables become frozen settings.

The file is the one that is named, else EDURISE_CONFIG, else `edurise-backup.toml`
in the working directory, else none (then only the data directory is known).
Relative paths are relative to the file. Secrets are named by file, never written
into the configuration. A mistake is told with its key and its line.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from edurise_backup.errors import ConfigError
from edurise_backup.model.compression import WORDS
from edurise_backup.model.location import SCHEME, S3Access
from edurise_backup.ports import AROUND, Surroundings

FILE_NAME = "edurise-backup.toml"
PREFECT_API = "http://127.0.0.1:4200/api"

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z"
Name = Annotated[str, msgspec.Meta(pattern=_NAME)]
Positive = Annotated[int, msgspec.Meta(ge=1)]


class RepositorySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where backups are kept, and the file with the passphrase."""

    location: str = ""
    password_file: str = ""
    compression: Annotated[str, msgspec.Meta(pattern=WORDS)] = "auto"
    """`auto`, `off`, `max`, or a level from 1 to 19."""
    access_key_file: str = ""
    """Of a bucket, as all keys below: files that hold the two keys; else a profile, else what boto3 finds."""
    secret_key_file: str = ""
    profile: str = ""
    region: str = ""
    ca_file: str = ""
    allow_plaintext: bool = False


class CatalogSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The catalog's database; without a URL an embedded server in the data directory."""

    url: str = ""
    password_file: str = ""
    allow_plaintext: bool = False


class PrefectSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The Prefect server that runs flows."""

    api_url: str = PREFECT_API


class DatabaseSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A PostgreSQL server whose databases are dumped."""

    name: Name
    url: str
    password_file: str = ""
    allow_plaintext: bool = False
    exclude: tuple[str, ...] = ()
    """Databases that are left out."""
    large_table_mib: Positive = 32
    """A table of at least this size gets an archive of its own, so that it is dumped and restored in parallel."""
    parallel: Positive = 2
    lock_timeout_seconds: Positive = 30
    bindir: str = ""
    """The folder of the client tools; found by themselves otherwise."""


class FilesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Directory trees."""

    name: Name
    paths: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    objects_of: str = ""
    """The database source whose `storage.objects` rows name the files `PATH/BUCKET/NAME` below the first path."""
    pre_hook: tuple[str, ...] = ()
    """A command that is run before the files are read, for instance to take a file system snapshot."""
    post_hook: tuple[str, ...] = ()
    """A command that is run afterwards, also when the backup failed."""


class ConfigurationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration files: of the platform, its web server, its vault."""

    name: Name
    paths: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    exclude: tuple[str, ...] = ()


class ObjectivesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What alarms and reports measure against; the defaults are the mission's."""

    full_backup_minutes: Positive = 240
    incremental_backup_minutes: Positive = 60
    verification_minutes: Positive = 30
    recovery_minutes: Positive = 120
    good_backup_hours: Positive = 26
    """The newest good backup of a source may be so old (its RPO); a day and some room for the run itself."""
    verified_days: Positive = 7
    """The newest good backup that passed a verification may be so old."""
    free_days: Positive = 30
    """The store must not fill sooner than this by the forecast."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    data_directory: str = ""
    host: str = ""
    repository: RepositorySettings = RepositorySettings()
    catalog: CatalogSettings = CatalogSettings()
    prefect: PrefectSettings = PrefectSettings()
    objectives: ObjectivesSettings = ObjectivesSettings()
    database: tuple[DatabaseSettings, ...] = ()
    files: tuple[FilesSettings, ...] = ()
    configuration: tuple[ConfigurationSettings, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operation needs to know; all paths are absolute."""

    path: Path | None
    data_directory: Path
    host: str
    """The host name of snapshots: stays the same when the machine's name changes, if it is set."""
    repository: RepositorySettings
    catalog: CatalogSettings
    prefect_api_url: str
    databases: tuple[DatabaseSettings, ...]
    files: tuple[FilesSettings, ...]
    configuration: tuple[ConfigurationSettings, ...]
    objectives: ObjectivesSettings
    around: Surroundings = AROUND


def is_name(text: str) -> bool:
    """Whether the text could be a source's name; one is safe as a folder's name, too."""
    return re.match(_NAME, text) is not None


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration; raises ConfigError that names the key and the line."""
    given = os.environ if environment is None else environment
    chosen = _choose(path, given)
    if chosen is None:
        return _settings(_File(), None, Path.cwd(), given)
    try:
        text = chosen.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"the configuration {chosen} cannot be read: {error.strerror}", hint="check --config or EDURISE_CONFIG"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{chosen}, line {line}: this is not UTF-8 text", hint="save the file as UTF-8") from None
    return _settings(_parse(text, chosen), chosen, chosen.parent, given)


def _choose(path: Path | None, environment: Mapping[str, str]) -> Path | None:
    if path is None and environment.get("EDURISE_CONFIG"):
        path = Path(environment["EDURISE_CONFIG"])
    if path is None and Path(FILE_NAME).is_file():
        path = Path(FILE_NAME)
    return path.absolute() if path else None


def _parse(text: str, path: Path) -> _File:
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="mend that line") from error
    try:
        found = msgspec.convert(tree, _File, strict=True)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at ")
        key = where.strip("`").removeprefix("$").removeprefix(".")
        unknown = re.search(r"unknown field `([^`]+)`", what)
        if unknown:
            key = f"{key}.{unknown[1]}".strip(".")
        raise _mistake(path, text, key, what) from error
    _check_names(found, path, text)
    return found


def _check_names(found: _File, path: Path, text: str) -> None:
    seen: set[str] = set()
    groups = {
        "database": [source.name for source in found.database],
        "files": [source.name for source in found.files],
        "configuration": [source.name for source in found.configuration],
    }
    for kind, names in groups.items():
        for number, name in enumerate(names):
            if name in seen:
                raise _mistake(path, text, f"{kind}[{number}].name", f"two sources are named {name!r}")
            seen.add(name)
    databases = {database.name for database in found.database}
    for number, files in enumerate(found.files):
        if files.objects_of and files.objects_of not in databases:
            raise _mistake(
                path, text, f"files[{number}].objects_of", f"no database source is named {files.objects_of!r}"
            )


def _mistake(path: Path, text: str, key: str, what: str) -> ConfigError:
    line = _line_of(text, key)
    where = f"{path}, line {line}" if line else str(path)
    return ConfigError(
        f"{where}: {key or 'the file'}: {what}",
        safe="nothing was done",
        hint="docs/operations/configuration.md lists the keys",
    )


def _line_of(text: str, key: str) -> int | None:
    """Return the line of a key such as `database[1].url`, or of its table when the key is missing there."""
    *tables, last = key.split(".")
    table = ".".join(tables)
    assignment = re.compile(rf"\s*\"?{re.escape(last.partition('[')[0])}\"?\s*=")
    at, header, counts = "", None, dict[str, int]()
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*(\[\[?)\s*([\w.-]+)\s*\]", line):
            name = head[2]
            if head[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
                name = f"{name}[{counts[name]}]"
            at = name
            header = number if at in (table, key) else header
        elif at == table and assignment.match(line):
            return number
    return header


def _settings(found: _File, path: Path | None, base: Path, environment: Mapping[str, str]) -> Settings:
    def absolute(text: str) -> str:
        return _absolute(text, base)

    location = _place(environment.get("EDURISE_REPOSITORY", ""), Path.cwd()) or _place(found.repository.location, base)
    password_file = _absolute(environment.get("EDURISE_PASSWORD_FILE", ""), Path.cwd()) or absolute(
        found.repository.password_file
    )
    data = absolute(found.data_directory) or str(_default_data_directory(environment))
    return Settings(
        path=path,
        data_directory=Path(data),
        host=found.host or socket.gethostname(),
        repository=msgspec.structs.replace(
            found.repository,
            location=location,
            password_file=password_file,
            access_key_file=absolute(found.repository.access_key_file),
            secret_key_file=absolute(found.repository.secret_key_file),
            ca_file=absolute(found.repository.ca_file),
            allow_plaintext=found.repository.allow_plaintext or _plaintext_allowed(environment),
        ),
        catalog=msgspec.structs.replace(found.catalog, password_file=absolute(found.catalog.password_file)),
        prefect_api_url=environment.get("PREFECT_API_URL") or found.prefect.api_url,
        databases=tuple(
            msgspec.structs.replace(
                database, password_file=absolute(database.password_file), bindir=absolute(database.bindir)
            )
            for database in found.database
        ),
        files=tuple(msgspec.structs.replace(files, paths=tuple(map(absolute, files.paths))) for files in found.files),
        configuration=tuple(
            msgspec.structs.replace(source, paths=tuple(map(absolute, source.paths))) for source in found.configuration
        ),
        objectives=found.objectives,
    )


def _absolute(text: str, base: Path) -> str:
    """Return a path from the root without `..`, as a snapshot names it; empty for an empty text."""
    return os.path.normpath(base.absolute() / os.path.expanduser(text)) if text else ""  # noqa: PTH111  knows no error


def _place(location: str, base: Path) -> str:
    """Return a repository's location: a directory from the root; one of another kind of store is kept as it is."""
    path = location.removeprefix("local:")
    return location if path == location and SCHEME.match(path) else _absolute(path, base)


def s3_access(repository: RepositorySettings | None = None, environment: Mapping[str, str] | None = None) -> S3Access:
    """Return how a bucket is reached by these settings; without settings, as the environment alone says."""
    if repository is None:
        return S3Access(allow_plaintext=_plaintext_allowed(os.environ if environment is None else environment))
    return S3Access(
        access_key_file=repository.access_key_file,
        secret_key_file=repository.secret_key_file,
        profile=repository.profile,
        region=repository.region,
        ca_file=repository.ca_file,
        allow_plaintext=repository.allow_plaintext,
    )


def _plaintext_allowed(environment: Mapping[str, str]) -> bool:
    return environment.get("EDURISE_ALLOW_PLAINTEXT", "") == "1"


def _default_data_directory(environment: Mapping[str, str]) -> Path:
    data = environment.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
    return Path(data) / "edurise-backup"
