"""Read the configuration: a TOML file and a few environment variables become frozen settings.

The file is the one that is named, else EDURISE_CONFIG, else `edurise-backup.toml`
in the working directory, else none (then only the data directory is known).
Relative paths are relative to the file. A secret is named by where it is kept (a
file, a variable, a command, a key ring), never written into the configuration.
A mistake is told with its key and its line.
"""

from __future__ import annotations

import os
import re
import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from edurise_backup.errors import ConfigError
from edurise_backup.model.alarm_targets import AlarmTargetSettings, target_mistakes
from edurise_backup.model.location import SCHEME, S3Access
from edurise_backup.model.secrets import SecretPlace, split_command, trouble_with
from edurise_backup.model.settings import (
    NAME,
    CatalogSettings,
    ConfigurationSettings,
    DatabaseSettings,
    FilesSettings,
    ObjectivesSettings,
    PrefectSettings,
    RepositorySettings,
)
from edurise_backup.model.sign_in import ApprovalSettings, SignInSettings
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.ports import AROUND, Surroundings

FILE_NAME = "edurise-backup.toml"
DASHBOARD_PORT = 8501


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    data_directory: str = ""
    host: str = ""
    repository: RepositorySettings = RepositorySettings()
    catalog: CatalogSettings = CatalogSettings()
    prefect: PrefectSettings = PrefectSettings()
    objectives: ObjectivesSettings = ObjectivesSettings()
    sign_in: SignInSettings = SignInSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    database: tuple[DatabaseSettings, ...] = ()
    files: tuple[FilesSettings, ...] = ()
    configuration: tuple[ConfigurationSettings, ...] = ()
    alarm_target: tuple[AlarmTargetSettings, ...] = ()


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
    prefect_auth: SecretPlace
    """Where the API's credential is kept; nowhere: what `make up` made."""
    sign_in: SignInSettings
    approvals: ApprovalSettings
    dashboard_port: int
    alarm_targets: tuple[AlarmTargetSettings, ...] = ()
    around: Surroundings = AROUND

    @property
    def secrets(self) -> tuple[SecretPlace, ...]:
        """Every place of a secret that the configuration names."""
        places = (
            self.repository.password("repository"),
            self.catalog.password("catalog"),
            self.prefect_auth,
            SecretPlace("repository.access_key", file=self.repository.access_key_file),
            SecretPlace("repository.secret_key", file=self.repository.secret_key_file),
            *(source.password(f"database {source.name}") for source in self.databases),
        )
        return tuple(place for place in places if place)


def is_name(text: str) -> bool:
    """Whether the text could be a source's name; one is safe as a folder's name, too."""
    return re.match(NAME, text) is not None


def load_settings(path: Path | None = None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read the configuration; raises ConfigError that names the key and the line."""
    given = os.environ if environment is None else environment
    chosen = _choose(path, given)
    if chosen is None:
        return _learned(_settings(_File(), None, Path.cwd(), given), given)
    try:
        text = chosen.read_text("utf-8")
    except OSError as error:
        raise ConfigError(
            f"the configuration {chosen} cannot be read: {error.strerror}", hint="check --config or EDURISE_CONFIG"
        ) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{chosen}, line {line}: this is not UTF-8 text", hint="save the file as UTF-8") from None
    return _learned(_settings(_parse(text, chosen), chosen, chosen.parent, given), given)


def _learned(settings: Settings, environment: Mapping[str, str]) -> Settings:
    """Have what the named variables hold known as secrets now: before a command is started that would inherit them."""
    for place in settings.secrets:
        if text := environment.get(place.variable, "").strip():
            REDACTOR.learn(text)
    return settings


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
    _check_secrets(found, path, text)
    for key, what in target_mistakes(found.alarm_target):
        raise _mistake(path, text, key, what)
    return found


def _check_secrets(found: _File, path: Path, text: str) -> None:
    """Raise ConfigError for a secret that is kept in two places, or in one that cannot be."""
    owners: list[tuple[str, SecretPlace]] = [
        ("repository.password", found.repository.password("repository")),
        ("catalog.password", found.catalog.password("catalog")),
        ("prefect.auth", found.prefect.auth),
        *((f"database[{number}].password", one.password(one.name)) for number, one in enumerate(found.database)),
    ]
    for key, place in owners:
        if trouble := trouble_with(place):
            raise _mistake(path, text, f"{key}_{trouble[0]}", trouble[1])


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
    absolute = partial(_absolute, base=base)
    location = _place(environment.get("EDURISE_REPOSITORY", ""), Path.cwd()) or _place(found.repository.location, base)
    data = absolute(found.data_directory) or str(_default_data_directory(environment))
    return Settings(
        path=path,
        data_directory=Path(data),
        host=found.host or socket.gethostname(),
        repository=_repository(msgspec.structs.replace(found.repository, location=location), base, environment),
        catalog=_with_password(found.catalog, base),
        prefect_api_url=environment.get("PREFECT_API_URL") or found.prefect.api_url,
        prefect_auth=replace(
            found.prefect.auth,
            file=absolute(found.prefect.auth_file),
            command=_command(found.prefect.auth_command, base),
        ),
        databases=tuple(
            msgspec.structs.replace(_with_password(database, base), bindir=absolute(database.bindir))
            for database in found.database
        ),
        files=tuple(msgspec.structs.replace(files, paths=tuple(map(absolute, files.paths))) for files in found.files),
        configuration=tuple(
            msgspec.structs.replace(source, paths=tuple(map(absolute, source.paths))) for source in found.configuration
        ),
        objectives=found.objectives,
        sign_in=found.sign_in,
        approvals=found.approvals,
        dashboard_port=_port(environment.get("EDURISE_DASHBOARD_PORT", "")),
        alarm_targets=tuple(
            msgspec.structs.replace(target, url_file=absolute(target.url_file)) for target in found.alarm_target
        ),
    )


def _repository(found: RepositorySettings, base: Path, environment: Mapping[str, str]) -> RepositorySettings:
    """Return the repository with its passphrase's place: the environment's in place of the file's."""
    file, command = environment.get("EDURISE_PASSWORD_FILE", ""), environment.get("EDURISE_PASSWORD_COMMAND", "")
    found = msgspec.structs.replace(
        found,
        access_key_file=_absolute(found.access_key_file, base),
        secret_key_file=_absolute(found.secret_key_file, base),
        ca_file=_absolute(found.ca_file, base),
        allow_plaintext=found.allow_plaintext or _plaintext_allowed(environment),
    )
    if file and command:
        raise ConfigError(
            "EDURISE_PASSWORD_FILE and EDURISE_PASSWORD_COMMAND are both set",
            safe="nothing was done",
            hint="set one of the two",
        )
    if not file and not command:
        return _with_password(found, base)
    return msgspec.structs.replace(
        found,
        password_file=_absolute(file, Path.cwd()),
        password_command=split_command(command, "EDURISE_PASSWORD_COMMAND"),
        password_env="",
        password_keyring="",
    )


_Passworded = TypeVar("_Passworded", RepositorySettings, CatalogSettings, DatabaseSettings)


def _with_password(found: _Passworded, base: Path) -> _Passworded:
    return msgspec.structs.replace(
        found,
        password_file=_absolute(found.password_file, base),
        password_command=_command(found.password_command, base),
    )


def _command(words: tuple[str, ...], base: Path) -> tuple[str, ...]:
    """Return a command whose program, when it is named by a path, is found from anywhere."""
    return (_absolute(words[0], base), *words[1:]) if words and "/" in words[0] else words


def _port(text: str) -> int:
    """Return the dashboard's port; what is none is told by `make up`, which would listen there."""
    return int(text) if text.isascii() and text.isdigit() else DASHBOARD_PORT


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
