"""Exclude and include patterns, with the meaning that stock restic gives them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from edurise_backup.errors import InputError


def matcher(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a test of absolute paths.

    `*`, `?`, `[…]` and `[^…]` stay within one name, `\\` takes the next character
    as it is, `**` spans any number of names, also none. A pattern that begins
    with `/` is matched from the root, any other one at any depth. Raises
    InputError for a pattern that is empty or malformed.
    """
    if not patterns:
        return lambda path: False
    joined = re.compile("|".join(f"(?:{_expression(pattern)})" for pattern in patterns), re.DOTALL)
    return lambda path: joined.fullmatch(path) is not None


def leading(patterns: Sequence[str]) -> Callable[[str], bool]:
    """Return a test of directories' absolute paths: whether something below may match one of the patterns."""
    if any(not pattern.startswith("/") for pattern in patterns):
        return lambda path: True
    ways = []
    for pattern in patterns:
        way = ""
        for name in map(_name, reversed(pattern.strip("/").split("/"))):
            way = "(?:/.*)?" if name is None else f"(?:/{name}{way})?"
        ways.append(way)
    joined = re.compile("|".join(ways), re.DOTALL)
    return lambda path: joined.fullmatch(path) is not None


def _expression(pattern: str) -> str:
    stripped = pattern.strip("/")
    if not stripped:
        raise InputError(f"the pattern {pattern!r} matches nothing", hint="give a name or a path")
    names = [_name(name) for name in stripped.split("/")]
    body = "".join("(?:/[^/]+)*" if name is None else f"/{name}" for name in names)
    try:
        re.compile(body)
    except re.error as error:
        raise InputError(f"the pattern {pattern!r} is malformed: {error}", hint="check its brackets") from error
    return body if pattern.startswith("/") else f"(?:/.*)?{body}"


def _name(name: str) -> str | None:
    if name == "**":
        return None
    return "".join(_part(part) for part in re.findall(r"\*+|\\.|\[(?:\\.|[^]\\])+\]|.", name, re.DOTALL))


def _part(part: str) -> str:
    if part and set(part) == {"*"}:
        return "[^/]*"
    if part == "?":
        return "[^/]"
    if len(part) > 2:
        negated, inside = part[1] == "^", part[1:-1].removeprefix("^")
        ranges = re.sub(r"\\.|[^-]", lambda char: re.escape(char[0][-1]), inside, flags=re.DOTALL)
        return f"[{'^/' if negated else ''}{ranges}]"
    return re.escape(part[-1])
