"""Refuse a store that would harm or could not be used, before anything is made there."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from edurise_backup.config import Settings, is_name
from edurise_backup.errors import ConflictError, InputError
from edurise_backup.model.location import directory_of, is_s3, parse_s3
from edurise_backup.model.stores import PRIMARY, KnownStore
from edurise_backup.operations.buckets import refuse_within
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.engine import refuse_nested
from edurise_backup.operations.stores import configured_stores, known_stores, passphrase_of
from edurise_backup.repository.repository import Repository


def refuse_store(settings: Settings, catalog: Catalog, store: KnownStore) -> None:
    """Raise InputError and its kinds for a store that would harm, or could not be used."""
    refuse_name(settings, catalog, store.name)
    refuse_place(settings, store, known_stores(settings, catalog))


def refuse_place(settings: Settings, store: KnownStore, others: Iterable[KnownStore]) -> None:
    """Raise InputError and its kinds for a place that is another store's, or in what is backed up; ConfigError."""
    location = store.settings.location
    if not is_s3(location) and directory_of(location) is None:
        raise InputError(
            f"stores of the kind {location.partition(':')[0]!r} are not supported",
            safe="no store was registered",
            hint="use a directory, or s3:https://HOST/BUCKET/FOLDER",
        )
    passphrase_of(store)
    refuse_overlap(location, others)
    for files in settings.files:
        refuse_nested(files.paths, location, files.exclude)
    for listed in settings.configuration:
        refuse_nested(listed.paths, location, listed.exclude)
    for bucket in settings.buckets:
        refuse_within(location, bucket)


def refuse_name(settings: Settings, catalog: Catalog, name: str) -> None:
    """Raise InputError for what is no name, ConflictError for one that is taken."""
    if not is_name(name):
        raise InputError(
            f"{name!r} is no store's name",
            safe="no store was registered",
            hint="1 to 63 letters, digits, dots, dashes and underscores, a letter or digit first",
        )
    taken = {PRIMARY, *(store.name for store in configured_stores(settings))}
    if name in taken or any(row.name == name for row in catalog.stores.all()):
        raise ConflictError(
            f"a store is named {name!r} already",
            safe="no store was registered",
            hint="choose another name; `edurise-backup store list` shows them",
        )


def refuse_primary(settings: Settings, repository: Repository) -> None:
    """Raise InputError for the primary's own repository, reached by another way."""
    if settings.repository.location and opened_repository(settings).config.id == repository.config.id:
        raise InputError(
            f"{repository.store.address} is the primary repository itself, by another way",
            safe="no store was registered",
            hint="give the copy a place and a repository of its own",
        )


def refuse_overlap(location: str, known: Iterable[KnownStore]) -> None:
    """Raise InputError for a place that is one of the known stores', lies in one, or holds one."""
    for store in known:
        if _overlap(location, store.settings.location):
            raise InputError(
                f"{location} is the place of {store.name}, lies in it, or holds it: {store.settings.location}",
                safe="no store was registered",
                hint="a copy needs a place of its own, on another disk or server",
            )


def _overlap(one: str, other: str) -> bool:
    if is_s3(one) and is_s3(other):
        first, second = parse_s3(one), parse_s3(other)
        if (first.endpoint, first.bucket) != (second.endpoint, second.bucket):
            return False
        return _nested(
            first.prefix.split("/") if first.prefix else [], second.prefix.split("/") if second.prefix else []
        )
    first_folder, second_folder = directory_of(one), directory_of(other)
    if first_folder is None or second_folder is None:
        return False
    return _nested(_parts(first_folder), _parts(second_folder))


def _nested(one: Collection[str], other: Collection[str]) -> bool:
    return all(first == second for first, second in zip(one, other, strict=False))


def _parts(folder: Path) -> tuple[str, ...]:
    return Path(os.path.realpath(folder)).parts
