"""The configuration file: what it may hold, and how a mistake in it is told, with its key and its line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import msgspec

from edurise_backup.errors import ConfigError
from edurise_backup.model.alarm_targets import AlarmTargetSettings, target_mistakes
from edurise_backup.model.secrets import SecretPlace, trouble_with
from edurise_backup.model.settings import (
    CatalogSettings,
    ConfigurationSettings,
    DaskSettings,
    DatabaseSettings,
    FilesSettings,
    ObjectivesSettings,
    PrefectSettings,
    RepositorySettings,
)
from edurise_backup.model.sign_in import ApprovalSettings, SignInSettings


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Its tables."""

    data_directory: str = ""
    host: str = ""
    repository: RepositorySettings = RepositorySettings()
    catalog: CatalogSettings = CatalogSettings()
    prefect: PrefectSettings = PrefectSettings()
    dask: DaskSettings = DaskSettings()
    objectives: ObjectivesSettings = ObjectivesSettings()
    sign_in: SignInSettings = SignInSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    database: tuple[DatabaseSettings, ...] = ()
    files: tuple[FilesSettings, ...] = ()
    configuration: tuple[ConfigurationSettings, ...] = ()
    alarm_target: tuple[AlarmTargetSettings, ...] = ()


def parse(text: str, path: Path) -> Contents:
    """Return what the file holds; raises ConfigError."""
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="mend that line") from error
    try:
        found = msgspec.convert(tree, Contents, strict=True)
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


def _check_secrets(found: Contents, path: Path, text: str) -> None:
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


def _check_names(found: Contents, path: Path, text: str) -> None:
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
