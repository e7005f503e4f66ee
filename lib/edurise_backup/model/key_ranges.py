"""Ranges of a folder's names in a listing, which is in the order of keys: where each begins, and what lies behind it.

A name's keys are the name itself (an object) and whatever begins with the name
and a slash (a folder); between the two come the keys of other names, those that
go on with a character before the slash.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from edurise_backup.model.shards import NameRange

LAST = "\U0010ffff"
"""No key has it: behind everything that begins with a text comes that text with this."""
_GAPS = ((0, 0x20), (0x7E, 0xA0), (0xD7FF, 0xE000))
"""Characters that are neither text nor, the last ones, characters: what comes before the first and behind the last."""


def key_order(text: str) -> bytes:
    """Return what keys are compared by."""
    return text.encode("utf-8", "surrogatepass")


def just_before(first: bytes) -> str:
    """Return a text that comes before every name from `first` on, with little in between; empty: the beginning."""
    sound = _sayable(first.removesuffix(b"\0"))
    if len(sound.encode()) < len(first):  # what was cut off comes later
        return sound
    if not sound:
        return ""
    following = ord(sound[-1])
    last = next((end for end, begin in _GAPS if end < following <= begin), following - 1)
    return sound[:-1] + (chr(last) + LAST if last else "")


def _sayable(name: bytes) -> str:
    """Return the beginning of a name that is text which every server can take and tell again."""
    try:
        text = name.decode()
    except UnicodeDecodeError as error:
        text = name[: error.start].decode()
    return next((text[:at] for at, char in enumerate(text) if unicodedata.category(char) == "Cc"), text)


def folders_behind(names: NameRange) -> Iterator[str]:
    """Yield the names in a range whose folders' keys come behind the range's end."""
    end = names.end or b""
    for length, following in enumerate(end):
        if following < ord("/") and end[:length] >= names.first and b"\0" not in end[:length]:  # no key has it
            try:
                yield end[:length].decode()
            except UnicodeDecodeError:  # half a character is no name
                continue


BEFORE_SLASH = just_before(b"/")
