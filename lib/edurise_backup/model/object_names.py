"""Keys of objects as paths: each key is one path, and a path says which key it is.

A key is cut at its slashes. What is a good file name stays as it is; what is none
is written in a form that begins with `%` and one of three signs, and a name that
looks like such a form is written in it, too, so that no two keys meet. Wherever a
path is not its key, an attribute tells the key.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import quote

WRITTEN, BESIDE, SHORTENED, VERSION = "%=", "%+", "%#", "%@"
"""A name in other words; a folder beside an object of its name; the hash of a long one; what precedes a version."""
LONGEST = 255
"""Bytes of a file's name, on every file system that matters."""
_LOOKS_WRITTEN = re.compile(r"%[=+#]|.*%@", re.DOTALL)


def name_of(component: str, *, beside: bool = False) -> str:
    """Return the file name of a piece of a key; `beside`: of a folder where an object has its name already."""
    form = BESIDE if beside else "" if _is_name(component) else WRITTEN
    name = form + _quoted(component) if form else component
    if len(name.encode("utf-8", "surrogatepass")) <= LONGEST:
        return name
    return f"{SHORTENED}{BESIDE[1] if beside else ''}{_digest(component)}"


def version_name(component: str, version: str) -> str:
    """Return the file name of a version that is not current."""
    name = f"{name_of(component)}{VERSION}{_quoted(version)}"
    return (
        name
        if len(name.encode()) <= LONGEST
        else f"{SHORTENED}{_digest(name_of(component))}{VERSION}{_digest(version)}"
    )


def is_written(name: str) -> bool:
    """Whether a file name looks like one that says a piece of a key in other words."""
    return _LOOKS_WRITTEN.match(name) is not None


def _is_name(component: str) -> bool:
    return (
        component not in ("", ".", "..")
        and not any(unicodedata.category(char) in ("Cc", "Cs") for char in component)
        and not is_written(component)
    )


def _quoted(text: str) -> str:
    """Write what is not plain as `%XX`, and all that the forms are made of; letters of any script stay readable."""
    return "".join(char if _is_plain(char) else quote(char, safe="", errors="surrogatepass") for char in text)


def _is_plain(char: str) -> bool:
    return char not in "%/" and unicodedata.category(char) not in ("Cc", "Cs")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
