"""Directory trees for tests: made, described in full, compared."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NOON = 1_600_000_000_123_456_789


@dataclass(frozen=True, slots=True)
class Described:
    """Everything of one name that a restore must bring back."""

    kind: int
    mode: int
    owner: tuple[int, int]
    mtime: int
    size: int
    digest: str
    target: bytes
    device: int
    xattrs: tuple[tuple[bytes, bytes], ...]
    linked: tuple[bytes, ...]
    """The other names of the same file."""


def describe(root: Path, *, owners: bool = True) -> dict[bytes, Described]:
    """Describe everything below `root`, by relative path; the root itself is left out."""
    top = os.fsencode(root)
    links: dict[tuple[int, int], list[bytes]] = {}
    paths = sorted(_below(top))
    for path in paths:
        status = os.lstat(path)
        if stat.S_ISREG(status.st_mode):
            links.setdefault((status.st_dev, status.st_ino), []).append(os.path.relpath(path, top))
    return {os.path.relpath(path, top): _describe(path, top, links, owners) for path in paths}


def _below(folder: bytes) -> Iterator[bytes]:
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        if stat.S_ISSOCK(os.lstat(path).st_mode):
            continue  # stock clients leave sockets out, as we do
        yield path
        if stat.S_ISDIR(os.lstat(path).st_mode):
            yield from _below(path)


def _describe(path: bytes, top: bytes, links: dict[tuple[int, int], list[bytes]], owners: bool) -> Described:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    regular = kind == stat.S_IFREG
    mine = os.path.relpath(path, top)
    names = [name.encode("utf-8", "surrogateescape") for name in os.listxattr(path, follow_symlinks=False)]
    return Described(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        owner=(status.st_uid, status.st_gid) if owners else (0, 0),
        mtime=status.st_mtime_ns,
        size=status.st_size if regular else 0,
        digest=hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest() if regular else "",
        target=os.readlink(path) if kind == stat.S_IFLNK else b"",
        device=status.st_rdev,
        xattrs=tuple(sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)),
        linked=tuple(name for name in links[status.st_dev, status.st_ino] if name != mine) if regular else (),
    )


def differences(one: dict[bytes, Described], other: dict[bytes, Described]) -> list[str]:
    """Return a sentence for each difference of two descriptions."""
    found = [f"{name!r} is only on one side" for name in sorted(one.keys() ^ other.keys())]
    return found + [
        f"{name!r}: {one[name]} != {other[name]}" for name in one.keys() & other.keys() if one[name] != other[name]
    ]


def content_of(root: Path) -> dict[str, str]:
    """Return path → what lies there (bytes' digest, link target), for the question whether anything changed at all."""
    found = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[name] = "folder"
    return found


def write(path: Path, content: bytes, *, mtime: int = NOON) -> Path:
    """Write a file, and the directories above it, with a time long ago."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(mtime, mtime))
    return path


def small_tree(root: Path, *, seed: int = 0) -> Path:
    """Make a dozen small things: enough for several packs when packs are tiny."""
    rng = random.Random(seed)
    for number in range(6):
        write(root / f"folder {number % 2}" / f"file {number}", rng.randbytes(3000 + number))
    write(root / "twice", b"the same" * 40)
    write(root / "folder 0" / "twice", b"the same" * 40)
    write(root / "empty", b"")
    (root / "nothing here").mkdir(parents=True)
    (root / "link").symlink_to("folder 0/file 0")
    os.link(root / "folder 0" / "file 2", root / "folder 1" / "second name")
    return root


ODD_NAMES = [
    b"plain",
    b" leading and trailing ",
    b"-rf",
    b"new\nline",
    b"tab\tand\rreturn",
    b"bell\a\b\f\v\x01\x7f",
    b'quote " and \\ backslash',
    b"\\x41 looks escaped",
    b"<html> & 'more'",
    "ünï ✓ 漢字 \U0001f512".encode(),
    "e\u0301 decomposed".encode(),
    "\u2028 separators \u2029 \u00a0 \u0085 \ufeff \u200b \ue000".encode(),
    b"\xff\xfe not UTF-8 \x80",
    b"\xed\xa0\x80 a surrogate",
    b"half \xe2\x82 sign",
    b"~",
    b"..data",
    b"x" * 255,
]
"""Names that a file system takes and a careless program does not."""


def odd_tree(root: Path) -> Path:
    """Make a tree with every kind of name, node and metadata that this user may make."""
    small_tree(root / "small")
    top = os.fsencode(root)
    for number, name in enumerate(ODD_NAMES):
        for folder in (b"files", b"folders"):
            os.makedirs(os.path.join(top, folder), exist_ok=True)
        with open(os.path.join(top, b"files", name), "wb") as stream:
            stream.write(b"%d " % number + name)
        os.makedirs(os.path.join(top, b"folders", name, b"inside"))
    rng = random.Random(7)
    write(root / "big", rng.randbytes(3_000_000) + bytes(2_000_000) + rng.randbytes(1_000_000))
    with open(root / "sparse", "wb") as stream:
        stream.truncate(20_000_000)
        stream.seek(9_000_000)
        stream.write(b"an island")
    os.symlink(b"target \xff not UTF-8", os.path.join(top, b"raw link"))
    os.symlink("../\u2028<&>", root / "odd link")
    os.mkfifo(root / "fifo", 0o640)
    _odd_metadata(root)
    return root


def _odd_metadata(root: Path) -> None:
    modes = root / "modes"
    modes.mkdir()
    for mode in (0o400, 0o644, 0o751, 0o4755, 0o2755, 0o1777):
        write(modes / f"{mode:o}", b"mode").chmod(mode)
    for name, moment in (("epoch", 0), ("before", -1_500_000_000_000_000_001), ("later", 4_000_000_000_000_000_001)):
        write(root / "times" / name, b"time", mtime=moment)
    attributed = write(root / "attributed", b"attributes")
    for folder_or_file in (attributed, modes):
        try:
            os.setxattr(folder_or_file, "user.supabase.content-type", b"image/png")
            os.setxattr(folder_or_file, "user.binary", bytes(range(256)))
            os.setxattr(folder_or_file, "user.empty", b"")
        except OSError as error:
            if error.errno != errno.ENOTSUP:
                raise
    if os.geteuid() == 0:
        os.chown(write(root / "owned", b"by somebody"), 12345, 54321)
        os.mknod(root / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))


def make_socket(path: Path) -> None:
    """Leave a socket's name in the file system; the path must be short."""
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
