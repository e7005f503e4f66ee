"""Sizes and moments as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from edurise_backup.errors import InputError

_SIZE = re.compile(r"([0-9]+)([kmgt]?)(?:i?b)?\Z", re.IGNORECASE)


def parse_size(text: str) -> int:
    """Return the bytes that e.g. `500`, `10M` or `2GiB` means; units are powers of 1024. Raises InputError."""
    match = _SIZE.match(text.strip())
    if not match:
        raise InputError(f"{text!r} is no size", hint="write bytes, or a number with k, M, G or T, e.g. 10M")
    return int(match[1]) << 10 * " kmgt".index(match[2].lower() or " ")


def parse_moment(text: str) -> int:
    """Return nanoseconds since 1970 of a date or time, in UTC unless it names a zone; raises InputError.

    A date alone is its first moment.
    """
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise InputError(f"{text!r} is no date or time", hint="write e.g. 2024-01-31 or 2024-01-31T12:00") from error
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return int(moment.timestamp()) * 10**9
