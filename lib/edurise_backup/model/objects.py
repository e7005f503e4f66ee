"""An object of a bucket: what a listing says of it, and what a file of a snapshot keeps of it as attributes."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from edurise_backup.model.content import ExtendedAttribute, Node

PREFIX = "user.s3."
KEY, ETAG, VERSION_ID = f"{PREFIX}key", f"{PREFIX}etag", f"{PREFIX}version-id"
DELETE_MARKER, LATEST = f"{PREFIX}delete-marker", f"{PREFIX}latest"
META = f"{PREFIX}meta."
_HEADERS = {
    "content-type": ("ContentType", "ContentType"),
    "cache-control": ("CacheControl", "CacheControl"),
    "content-disposition": ("ContentDisposition", "ContentDisposition"),
    "content-encoding": ("ContentEncoding", "ContentEncoding"),
    "content-language": ("ContentLanguage", "ContentLanguage"),
    "expires": ("ExpiresString", "Expires"),
    "website-redirect-location": ("WebsiteRedirectLocation", "WebsiteRedirectLocation"),
}
"""What is kept of an object's headers: by its attribute, how an answer and how a request call it."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of a listing; `key` is what follows the place's folder."""

    key: str
    size: int
    etag: str
    modified: int
    """Nanoseconds since 1970, by the server."""
    version: str = ""
    """Its id, where versions are listed."""
    latest: bool = True
    marker: bool = False
    """It says that the object was deleted then."""


def plain_etag(told: object) -> str:
    """Return an ETag as all servers write it: some put it into quotes, some only in some answers."""
    return str(told or "").removeprefix("W/").strip('"')


def nanoseconds_of(moment: object) -> int:
    """Return an answer's time in nanoseconds since 1970; 0 where there is none."""
    if not isinstance(moment, datetime):
        return 0
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000


def key_attribute(key: str) -> ExtendedAttribute:
    """Return what tells the key of a file or folder whose path is another one."""
    return ExtendedAttribute(KEY, key.encode("utf-8", "surrogatepass"))


def place_of(node: Node) -> bytes:
    """Return the last piece of a node's key: by it, and not by its name, it belongs to a range of its folder."""
    told = attributes_by_name(node).get(KEY)
    if told is None:
        return node.name.encode("utf-8", "surrogatepass")
    return (told.removesuffix(b"/") if node.type == "dir" else told).rpartition(b"/")[2]


def object_attributes(etag: str, version: str, answer: Mapping[str, Any]) -> list[ExtendedAttribute]:
    """Return what is kept of an object beside its bytes; `answer` is to GET or HEAD."""
    told = {name: answer.get(called[0]) for name, called in _HEADERS.items()}
    meta = {f"meta.{name.lower()}": value for name, value in sorted(answer.get("Metadata", {}).items())}
    return [
        ExtendedAttribute(ETAG, etag.encode()),
        *([ExtendedAttribute(VERSION_ID, version.encode())] if version else []),
        *(_shared(name, str(value)) for name, value in {**told, **meta}.items() if value is not None),
    ]


def marker_attributes(found: Listed) -> list[ExtendedAttribute]:
    """Return what is kept of a deletion."""
    latest = [ExtendedAttribute(LATEST, b"1")] if found.latest else []
    return [ExtendedAttribute(DELETE_MARKER, b"1"), ExtendedAttribute(VERSION_ID, found.version.encode()), *latest]


def attributes_by_name(node: Node) -> dict[str, bytes]:
    """Return a node's attributes."""
    return {attribute.name: attribute.value or b"" for attribute in node.extended_attributes}


def headers_of(attributes: Iterable[ExtendedAttribute]) -> dict[str, object]:
    """Return the parameters of a request that gives an object these attributes; ETag, key and version are none."""
    headers: dict[str, object] = {}
    metadata: dict[str, str] = {}
    for attribute in attributes:
        name = attribute.name.removeprefix(PREFIX)
        if name == attribute.name:
            continue
        if name in _HEADERS:
            headers[_HEADERS[name][1]] = _text(attribute.value or b"")
        elif attribute.name.startswith(META):
            metadata[attribute.name.removeprefix(META)] = _text(attribute.value or b"")
    return {**headers, "Metadata": metadata} if metadata else headers


@lru_cache(maxsize=4096)
def _shared(name: str, value: str) -> ExtendedAttribute:
    """Return an attribute that many objects have alike: it is in memory once."""
    try:
        raw = value.encode("latin-1")  # as HTTP's headers are read
    except UnicodeEncodeError:
        raw = value.encode("utf-8", "surrogateescape")
    return ExtendedAttribute(PREFIX + name, raw)


def _text(value: bytes) -> str:
    """Return a value as a header may hold it: what is not ASCII as RFC 2047 writes it, which servers do as well."""
    text = value.decode("utf-8", "replace")
    return text if text.isascii() else f"=?UTF-8?B?{base64.b64encode(text.encode()).decode()}?="
