"""The configuration file: what it may hold, and how a mistake in it is told, with its key and its line."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import msgspec

from edurise_backup.config.places import bucket_place
from edurise_backup.errors import ConfigError, InputError
from edurise_backup.model.alarm_targets import AlarmTargetSettings, target_mistakes
from edurise_backup.model.bandwidth import download_schedule, upload_schedule
from edurise_backup.model.compression import WORDS
from edurise_backup.model.object_lock import make_lock
from edurise_backup.model.secrets import SecretPlace, trouble_with
from edurise_backup.model.settings import (
    NAME,
    BucketSettings,
    CatalogSettings,
    ClusterSettings,
    ConfigurationSettings,
    CopySettings,
    DaskSettings,
    DatabaseSettings,
    FilesSettings,
    ObjectivesSettings,
    PrefectSettings,
    RecoveryRoleSettings,
    RepositorySettings,
)
from edurise_backup.model.sign_in import ApprovalSettings, SignInSettings
from edurise_backup.model.store_settings import StoreSettings
from edurise_backup.model.stores import PRIMARY


class Contents(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Its tables."""

    data_directory: str = ""
    host: str = ""
    repository: RepositorySettings = RepositorySettings()
    copy: tuple[CopySettings, ...] = ()
    catalog: CatalogSettings = CatalogSettings()
    prefect: PrefectSettings = PrefectSettings()
    dask: DaskSettings = DaskSettings()
    objectives: ObjectivesSettings = ObjectivesSettings()
    sign_in: SignInSettings = SignInSettings()
    approvals: ApprovalSettings = ApprovalSettings()
    database: tuple[DatabaseSettings, ...] = ()
    cluster: tuple[ClusterSettings, ...] = ()
    files: tuple[FilesSettings, ...] = ()
    bucket: tuple[BucketSettings, ...] = ()
    configuration: tuple[ConfigurationSettings, ...] = ()
    alarm_target: tuple[AlarmTargetSettings, ...] = ()


_PATTERNS = {
    NAME: "1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first",
    WORDS: "`auto`, `off`, `max`, or a level from 1 to 19",
}
"""What a person reads in the place of a pattern."""


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
        what = next((f"Expected {said}" for pattern, said in _PATTERNS.items() if repr(pattern) in what), what)
        key = where.strip("`").removeprefix("$").removeprefix(".")
        unknown = re.search(r"unknown field `([^`]+)`", what)
        if unknown:
            key = f"{key}.{unknown[1]}".strip(".")
        raise _mistake(path, text, key, what) from error
    _check_names(found, path, text)
    _check_copies(found, path, text)
    _check_secrets(found, path, text)
    _check_recovery(found, path, text)
    _check_buckets(found, path, text)
    for table, store in (("repository", found.repository), *((f"copy[{at}]", it) for at, it in enumerate(found.copy))):
        _check_store(store, table, path, text)
    for key, what in target_mistakes(found.alarm_target):
        raise _mistake(path, text, key, what)
    return found


def _check_store(store: StoreSettings, table: str, path: Path, text: str) -> None:
    """Raise ConfigError for a lock without days, and for speeds and time zones that nobody can read."""
    looks: list[tuple[str, Callable[[], object]]] = [
        ("lock_days", lambda: make_lock(store.lock_mode, store.lock_days)),
        ("bandwidth", lambda: upload_schedule(store.bandwidth, store.bandwidth_zone)),
        ("bandwidth", lambda: download_schedule(store.bandwidth, store.bandwidth_zone)),
    ]
    for key, look in looks:
        try:
            look()
        except InputError as error:
            raise _mistake(path, text, f"{table}.{key}", f"{error.message}: {error.hint}") from error


def _check_secrets(found: Contents, path: Path, text: str) -> None:
    """Raise ConfigError for a secret that is kept in two places, or in one that cannot be."""
    owners: list[tuple[str, SecretPlace]] = [
        ("repository.password", found.repository.password("repository")),
        ("catalog.password", found.catalog.password("catalog")),
        ("prefect.auth", found.prefect.auth),
        *((f"database[{number}].password", one.password(one.name)) for number, one in enumerate(found.database)),
        *(
            (f"database[{number}].recovery.password", one.recovery.password(f"{one.name}, recovery"))
            for number, one in enumerate(found.database)
        ),
        *((f"cluster[{number}].password", one.password(one.name)) for number, one in enumerate(found.cluster)),
        *(
            (f"cluster[{number}].recovery.password", one.recovery.password(f"{one.name}, recovery"))
            for number, one in enumerate(found.cluster)
        ),
        *((f"copy[{number}].password", one.password(one.name)) for number, one in enumerate(found.copy)),
    ]
    for key, place in owners:
        if trouble := trouble_with(place):
            raise _mistake(path, text, f"{key}_{trouble[0]}", trouble[1])


def _check_recovery(found: Contents, path: Path, text: str) -> None:
    """Raise ConfigError for a recovering role that is given a password and not named."""
    roles = [(f"database[{number}]", one.recovery) for number, one in enumerate(found.database)]
    roles += [(f"cluster[{number}]", one.recovery) for number, one in enumerate(found.cluster)]
    for table, role in roles:
        if not role.url and role != RecoveryRoleSettings():
            raise _mistake(path, text, f"{table}.recovery.url", "the role that recovers is named by a URL")


def _check_names(found: Contents, path: Path, text: str) -> None:
    seen: set[str] = set()
    groups = {
        "database": [source.name for source in found.database],
        "cluster": [source.name for source in found.cluster],
        "files": [source.name for source in found.files],
        "bucket": [source.name for source in found.bucket],
        "configuration": [source.name for source in found.configuration],
    }
    for kind, names in groups.items():
        for number, name in enumerate(names):
            if name in seen:
                raise _mistake(path, text, f"{kind}[{number}].name", f"two sources are named {name!r}")
            seen.add(name)
    databases = {database.name for database in found.database}
    named = [("files", [source.objects_of for source in found.files])]
    named += [("bucket", [source.objects_of for source in found.bucket])]
    for kind, names in named:
        for number, name in enumerate(names):
            if name and name not in databases:
                raise _mistake(path, text, f"{kind}[{number}].objects_of", f"no database source is named {name!r}")


def _check_buckets(found: Contents, path: Path, text: str) -> None:
    """Raise ConfigError for a bucket that is named in both ways or in none, or by what is no place."""
    for number, source in enumerate(found.bucket):
        key = "location" if source.location else "endpoint"
        if bool(source.location) == bool(source.endpoint):
            raise _mistake(
                path, text, f"bucket[{number}].{key}", "name the bucket by location, or by endpoint and bucket"
            )
        try:
            bucket_place(source)
        except InputError as error:
            raise _mistake(path, text, f"bucket[{number}].{key}", f"{error.message}; {error.hint}") from error


def _check_copies(found: Contents, path: Path, text: str) -> None:
    """Raise ConfigError for a copy that cannot be told from another store, or that nobody could open."""
    seen = {PRIMARY}
    for number, copy in enumerate(found.copy):
        key = f"copy[{number}]"
        if copy.name in seen:
            raise _mistake(path, text, f"{key}.name", f"another store is named {copy.name!r}")
        seen.add(copy.name)
        if not copy.location:
            raise _mistake(path, text, f"{key}.location", "a copy needs a place")
        if not copy.password(copy.name):
            raise _mistake(path, text, f"{key}.password_file", "a copy needs the place of its own passphrase")


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
    if header is None and tables:  # an inline table, whose keys have no lines of their own
        top = re.compile(rf"\s*{re.escape(tables[0].partition('[')[0])}\s*=")
        return next((number for number, line in enumerate(text.splitlines(), 1) if top.match(line)), None)
    return header
