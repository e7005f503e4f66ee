"""Blobs, nodes and trees, with the JSON that stock restic reads and writes.

Source: restic's `doc/design.rst` and `internal/data/node.go`. Field order, Go's
escapes and the newline at a tree's end are kept byte for byte, so that the same
directory gives the same tree id whichever client stored it.
"""

from __future__ import annotations

import hashlib
import re
import stat
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import IntEnum
from functools import lru_cache
from typing import Annotated, NewType

import msgspec

from edurise_backup.errors import DamageError

BlobId = NewType("BlobId", bytes)
"""SHA-256 of a blob's plaintext, 32 bytes."""


HexId = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
"""An object's or blob's id in JSON; anything else is refused while it is read."""

_U32 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 32) - 1)]
_U63 = Annotated[int, msgspec.Meta(ge=0, le=(1 << 63) - 1)]
_Unsigned = Annotated[int, msgspec.Meta(ge=0)]


class BlobKind(IntEnum):
    """The two kinds of blob; a pack holds one kind only."""

    DATA = 0
    TREE = 1

    @property
    def word(self) -> str:
        """The kind's name in index files."""
        return "data" if self is BlobKind.DATA else "tree"


def blob_id(plaintext: bytes | bytearray | memoryview) -> BlobId:
    """Return the id under which `plaintext` is stored."""
    return BlobId(hashlib.sha256(plaintext).digest())


@lru_cache(maxsize=64)
def zeros_id(length: int) -> BlobId:
    """Return the id of so many zero bytes."""
    return blob_id(bytes(length))


class ExtendedAttribute(msgspec.Struct, frozen=True):
    """A name and a value as getxattr(2) gives them; ACLs are among them."""

    name: str
    value: bytes | None


class Node(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A file, directory or other thing in a tree; `name` is as the file system has it, not quoted.

    `mode` holds Go's fs.FileMode bits (see `go_mode`), times are RFC 3339 text
    with nanoseconds in UTC (see `rfc3339`), `content` lists blob ids in hex.
    """

    name: str
    type: str
    mode: _U32 = 0
    mtime: str
    atime: str
    ctime: str
    uid: _U32
    gid: _U32
    user: str = ""
    group: str = ""
    inode: _Unsigned = 0
    device_id: _Unsigned = 0
    size: _U63 = 0
    links: _Unsigned = 0
    linktarget: str = ""
    linktarget_raw: bytes | None = None
    extended_attributes: list[ExtendedAttribute] = []
    generic_attributes: dict[str, msgspec.Raw] = {}
    device: _Unsigned = 0
    content: list[HexId] | None
    subtree: HexId | None = None
    error: str = ""


class _Tree(msgspec.Struct):
    nodes: list[Node]


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Tree)


def encode_tree(nodes: Iterable[Node]) -> bytes:
    """Return a tree blob's plaintext; raises ValueError when names are not strictly ascending (by their bytes)."""
    quoted: list[Node] = []
    last = b""
    for node in nodes:
        name = name_bytes(node.name)
        if name <= last:
            raise ValueError(f"tree names out of order: {last!r}, {name!r}")
        last = name
        text = quote_name(node.name)
        quoted.append(node if text == node.name else msgspec.structs.replace(node, name=text))
    return _go_escapes(_encoder.encode(_Tree(quoted))) + b"\n"


_IMPOSSIBLE = frozenset({"", ".", ".."})


def decode_tree(plaintext: bytes) -> list[Node]:
    """Return a tree's nodes with unquoted names; raises DamageError for anything that is not a tree.

    Names that could lead out of a directory, and duplicates, are damage too
    (restic CVE-class path traversal; SCENARIOS S-24).
    """
    try:
        nodes = _decoder.decode(plaintext).nodes
        for node in nodes:
            if "\\" in node.name:
                node.name = unquote_name(node.name)
    except (msgspec.DecodeError, ValueError, UnicodeError) as error:
        raise DamageError(f"a tree object is not readable: {error}") from error
    names = [node.name for node in nodes]
    text = "".join(names)  # all at once: this is done for every name of every parent snapshot
    if "/" in text or "\0" in text or not _IMPOSSIBLE.isdisjoint(names):
        impossible = next(name for name in names if name in _IMPOSSIBLE or "/" in name or "\0" in name)
        raise DamageError(f"a tree object holds the impossible name {impossible!r}")
    if len(set(names)) != len(names):
        twice = next(name for number, name in enumerate(names) if name in names[:number])
        raise DamageError(f"a tree object holds the name {twice!r} twice")
    return nodes


def name_bytes(name: str) -> bytes:
    """Return a name's bytes on the file system (surrogateescape, as os.fsencode)."""
    return name.encode("utf-8", "surrogateescape")


def _go_escapes(text: bytes) -> bytes:
    # Go's encoding/json escapes these five in every string; outside of strings they cannot occur.
    for raw, escaped in (
        (b"<", b"\\u003c"),
        (b">", b"\\u003e"),
        (b"&", b"\\u0026"),
        ("\u2028".encode(), b"\\u2028"),
        ("\u2029".encode(), b"\\u2029"),
    ):
        if raw in text:
            text = text.replace(raw, escaped)
    return text


_PLAIN = re.compile(r"[ !#-\[\]-~]*\Z")
_GO_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}
_GO_UNESCAPES = {escape[1]: char for char, escape in _GO_ESCAPES.items()} | {"\\": "\\", '"': '"', "'": "'"}


def quote_name(name: str) -> str:
    """Return a name as Go's strconv.Quote writes it, without the outer quotes."""
    if _PLAIN.match(name):
        return name
    return "".join(_quote_char(char) for char in name)


def _quote_char(char: str) -> str:
    if char in ('"', "\\"):
        return "\\" + char
    code = ord(char)
    if char in _GO_ESCAPES:
        return _GO_ESCAPES[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, by surrogateescape
        return f"\\x{code - 0xDC00:02x}"
    if char.isprintable():
        return char
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-7]{3})|(.))", re.DOTALL)


def unquote_name(text: str) -> str:
    """Undo `quote_name`; raises ValueError for an escape that Go's strconv.Unquote refuses."""
    out = bytearray()
    at = 0
    for match in _ESCAPE.finditer(text):
        out += text[at : match.start()].encode("utf-8", "surrogateescape")
        out += _unescape(match)
        at = match.end()
    rest = text[at:]
    if "\\" in rest:
        raise ValueError(f"unfinished escape in the name {text!r}")
    out += rest.encode("utf-8", "surrogateescape")
    return out.decode("utf-8", "surrogateescape")


def _unescape(match: re.Match[str]) -> bytes:
    hexa, short, long, octal, char = match.groups()
    if hexa:
        return bytes([int(hexa, 16)])
    if octal:
        return bytes([int(octal, 8)])
    if short or long:
        code = int(short or long, 16)
        if code > sys.maxunicode:
            raise ValueError(f"\\U{long} is no character")
        return chr(code).encode()
    if char not in _GO_UNESCAPES:
        raise ValueError(f"unknown escape \\{char}")
    return _GO_UNESCAPES[char].encode()


# Go's fs.FileMode: type and special bits at the top, permissions in the low nine.
GO_DIR, GO_SYMLINK, GO_DEVICE, GO_FIFO, GO_SOCKET = 1 << 31, 1 << 27, 1 << 26, 1 << 25, 1 << 24
GO_SETUID, GO_SETGID, GO_CHARDEV, GO_STICKY = 1 << 23, 1 << 22, 1 << 21, 1 << 20
_TYPES = {
    stat.S_IFREG: ("file", 0),
    stat.S_IFDIR: ("dir", GO_DIR),
    stat.S_IFLNK: ("symlink", GO_SYMLINK),
    stat.S_IFBLK: ("dev", GO_DEVICE),
    stat.S_IFCHR: ("chardev", GO_DEVICE | GO_CHARDEV),
    stat.S_IFIFO: ("fifo", GO_FIFO),
    stat.S_IFSOCK: ("socket", GO_SOCKET),
}


@lru_cache(maxsize=4096)
def go_mode(st_mode: int) -> tuple[str, int]:
    """Return the node type and Go's mode bits for a stat(2) mode."""
    kind, mode = _TYPES[stat.S_IFMT(st_mode)]
    mode |= st_mode & 0o777
    mode |= GO_SETUID if st_mode & stat.S_ISUID else 0
    mode |= GO_SETGID if st_mode & stat.S_ISGID else 0
    mode |= GO_STICKY if st_mode & stat.S_ISVTX else 0
    return kind, mode


def unix_permissions(mode: int) -> int:
    """Return chmod(2)'s bits (permissions, setuid, setgid, sticky) of a Go mode."""
    bits = mode & 0o777
    bits |= stat.S_ISUID if mode & GO_SETUID else 0
    bits |= stat.S_ISGID if mode & GO_SETGID else 0
    bits |= stat.S_ISVTX if mode & GO_STICKY else 0
    return bits


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


_YEAR_0001, _YEAR_9999 = -62135596800, 253402300799


def rfc3339(nanoseconds: int) -> str:
    """Return nanoseconds since 1970 as Go's RFC3339Nano in UTC: trailing zeros cut, years 1 to 9999."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    text = _second(seconds if _YEAR_0001 <= seconds <= _YEAR_9999 else min(max(seconds, _YEAR_0001), _YEAR_9999))
    if fraction % 10:  # most times of a file system that keeps nanoseconds
        return f"{text}.{fraction:09d}Z"
    return f"{text}.{fraction:09d}".rstrip("0") + "Z" if fraction else text + "Z"


_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\d*([Zz]|[+-]\d\d:\d\d)\Z")


def nanoseconds(text: str) -> int:
    """Undo `rfc3339`, for any zone; raises ValueError."""
    match = _TIME.match(text)
    if not match:
        raise ValueError(f"not a time: {text!r}")
    day, clock, fraction, zone = match.groups()
    return _seconds(day, clock, zone) * 1_000_000_000 + int((fraction or "0").ljust(9, "0"))


@lru_cache(maxsize=4096)
def _seconds(day: str, clock: str, zone: str) -> int:
    if day.startswith("0000"):  # Go's zero year has no Python equal; it means "no time known"
        return _YEAR_0001
    moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
    return int((moment - _EPOCH).total_seconds())


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
