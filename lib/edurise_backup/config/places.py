"""Paths, commands and passwords of the configuration, found from wherever the program was started."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import msgspec

from edurise_backup.errors import InputError
from edurise_backup.model.location import SCHEME, S3Place, is_s3, parse_s3, place_apart
from edurise_backup.model.secrets import PasswordSettings
from edurise_backup.model.settings import BucketSettings


def absolute(text: str, base: Path) -> str:
    """Return a path from the root without `..`, as a snapshot names it; empty for an empty text."""
    return os.path.normpath(base.absolute() / os.path.expanduser(text)) if text else ""  # noqa: PTH111  knows no error


def store_place(location: str, base: Path) -> str:
    """Return a repository's location: a directory from the root; one of another kind of store is kept as it is."""
    path = location.removeprefix("local:")
    return location if path == location and SCHEME.match(path) else absolute(path, base)


def bucket_place(source: BucketSettings) -> S3Place:
    """Return where a bucket's objects are; raises InputError."""
    if source.location:
        if not is_s3(source.location) or source.bucket or source.prefix:
            raise InputError("a location stands alone, and begins with s3:", hint="write s3:https://HOST/BUCKET/PREFIX")
        place = parse_s3(source.location)
    else:
        place = place_apart(source.endpoint, source.bucket, source.prefix)
    return replace(place, table="bucket[]")


_Passworded = TypeVar("_Passworded", bound=PasswordSettings)


def with_password(found: _Passworded, base: Path) -> _Passworded:
    """Return a table whose passphrase is found from anywhere."""
    return msgspec.structs.replace(
        found,
        password_file=absolute(found.password_file, base),
        password_command=command_words(found.password_command, base),
    )


def command_words(words: tuple[str, ...], base: Path) -> tuple[str, ...]:
    """Return a command whose program, when it is named by a path, is found from anywhere."""
    return (absolute(words[0], base), *words[1:]) if words and "/" in words[0] else words
