"""Exclude and include patterns, with the meaning that stock restic gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from edurise_backup.errors import InputError


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a test of absolute paths.

    `*`, `?` and `[…]` stay within one name, `**` spans any number of names. A
    pattern that begins with `/` is matched from the root, any other one at any
    depth. Raises InputError for an empty pattern.
    """
    if not patterns:
        return lambda path: False
    joined = re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL)
    return lambda path: joined.fullmatch(path) is not None


def _expression(pattern: str) -> str:
    stripped = pattern.strip("/")
    if not stripped:
        raise InputError(f"the pattern {pattern!r} matches nothing", hint="give a name or a path")
    names = [_name(name) for name in stripped.split("/")]
    body = ""
    for number, name in enumerate(names):
        if name is None:
            body += "(?:/[^/]+)*"
        else:
            body += f"/{name}"
        if name is None and number == len(names) - 1:
            body = body.removesuffix("(?:/[^/]+)*") + "(?:/[^/]+)+"
    return body if pattern.startswith("/") else f"(?:/.*)?{body}"


def _name(name: str) -> str | None:
    if name == "**":
        return None
    parts = re.split(r"(\*+|\?|\[[^]]+\])", name)
    return "".join(_part(part) for part in parts)


def _part(part: str) -> str:
    if part and set(part) == {"*"}:
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if part.startswith("[") and part.endswith("]") and len(part) > 2:
        inside = part[1:-1].replace("\\", "\\\\")
        return f"[{'^' + inside[1:] if inside[0] in '!^' else inside}]"
    return re.escape(part)
