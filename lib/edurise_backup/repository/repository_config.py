"""The object `config`: what makes a place a repository."""

from __future__ import annotations

import msgspec

from edurise_backup.errors import DamageError, NotARepositoryError, NotFoundError, UnsupportedVersionError
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.ports import Store
from edurise_backup.repository.layout import CONFIG

POLYNOMIAL = "3da3358b4dc173"
"""Irreducible over GF(2), of degree 53: stock restic's chunker refuses to open a repository without one."""


class Config(msgspec.Struct):
    """The JSON of the object `config`."""

    version: int
    id: str
    chunker_polynomial: str


def read_sealed_config(store: Store) -> bytes:
    """Return the object as it is stored; raises NotARepositoryError."""
    try:
        return store.get(CONFIG)
    except NotFoundError as error:
        if error.hint:  # the store itself is not there
            raise NotARepositoryError(error.message, safe=error.safe, hint=error.hint) from error
        raise NotARepositoryError(
            f"there is no repository at {store.address}",
            hint="check the address, or make one with `edurise-backup repo init`",
        ) from error


def open_config(sealed: bytes, key: MasterKey, address: str) -> Config:
    """Return what the object says; raises DamageError, UnsupportedVersionError."""
    try:
        config = msgspec.json.decode(key.open(sealed), type=Config)
    except (msgspec.DecodeError, UnicodeError, DamageError) as error:
        raise DamageError(
            f"the config of {address} is damaged", hint="put back the object `config` from a copy"
        ) from error
    if config.version not in (1, 2):
        raise UnsupportedVersionError(
            f"{address} is a repository of version {config.version}, this release knows 1 and 2",
            hint="install a newer release of edurise-backup",
        )
    return config
