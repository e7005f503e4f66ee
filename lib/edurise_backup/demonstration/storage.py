"""The platform's file storage: buckets of objects that the database knows, and an old export that it does not.

An object's row and its file agree in path, size and type (extended attributes
`user.supabase.*`, as Supabase's file backend keeps them).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from edurise_backup.demonstration import media
from edurise_backup.demonstration.population import People, Sizes
from edurise_backup.demonstration.randomness import make_uuid, moment, stream, timestamp
from edurise_backup.demonstration.tree import Tree

CONTENT_TYPE = "user.supabase.content-type"
CACHE_CONTROL = "user.supabase.cache-control"

BUCKETS: Mapping[str, bool] = {"avatars": True, "course-materials": False, "media": False, "submissions": False}
"""The buckets, and whether everybody may read them."""

_TYPES: Mapping[str, tuple[str, media.Maker]] = {
    "jpg": ("image/jpeg", media.jpeg),
    "png": ("image/png", media.png),
    "mp4": ("video/mp4", media.mp4),
    "pdf": ("application/pdf", media.pdf),
    "html": ("text/html; charset=utf-8", media.html),
    "md": ("text/markdown", media.markdown),
    "csv": ("text/csv", media.csv),
    "py": ("text/x-python", media.python),
    "bin": ("application/octet-stream", media.empty),
}

_ODD_NAMES = (
    "odd/with spaces in it.md",
    "odd/ leading and trailing .md",
    "odd/\u00dcbung caf\u00e9.md",
    "odd/U\u0308bung cafe\u0301.md",  # the same to the eye: decomposed
    "odd/line\nbreak.md",
    "odd/-rf.md",
    "odd/--help",
    'odd/it\'s "quoted" \\ `here` $HOME.md',
    "odd/<script>alert(1)</script>.html",
    "odd/=cmd()|'A1'.csv",
    "odd/\u6f22\u5b57 \U0001f393 \u05e9\u05dc\u05d5\u05dd.md",
    "odd/percent %2F %00.md",
    "odd/semi;colon & ampersand * ? [a].md",
    "odd/.hidden",
    "odd/tab\there.md",
    "odd/" + "long-" * 50 + ".md",
    "odd/" + "/".join(f"level {depth}" for depth in range(20)) + "/deep.md",
)


@dataclass(frozen=True, slots=True)
class StoredObject:
    """A file in a bucket, as `storage.objects` describes it."""

    bucket: str
    name: str
    size: int
    mimetype: str
    etag: str
    cache_control: str
    owner: str
    written_at: float
    """Seconds since 1970."""

    @property
    def path(self) -> str:
        """The file's path below the storage's root."""
        return f"{self.bucket}/{self.name}"


def put_object(tree: Tree, bucket: str, name: str, content: bytes, *, owner: str) -> StoredObject:
    """Write an object's file and return the description that its row must have."""
    mimetype = mimetype_of(name)
    cache_control = "max-age=31536000" if BUCKETS[bucket] else "max-age=3600"
    path = tree.root / bucket / name
    tree.write(path, content, attributes={CONTENT_TYPE: mimetype, CACHE_CONTROL: cache_control})
    etag = hashlib.md5(content, usedforsecurity=False).hexdigest()  # as S3 computes it
    written_at = path.stat().st_mtime_ns // 1000 / 1e6
    return StoredObject(bucket, name, len(content), mimetype, etag, cache_control, owner, written_at)


def mimetype_of(name: str) -> str:
    """Return the type that an object's name stands for."""
    return _TYPES.get(name.rpartition(".")[2], _TYPES["bin"])[0]


def make_content(name: str, random: Random) -> bytes:
    """Return content that fits an object's name."""
    return _TYPES.get(name.rpartition(".")[2], _TYPES["bin"])[1](random)


def fill_buckets(
    tree: Tree, amount: Sizes, folk: People, *, wrote: Callable[[int], None] = lambda size: None
) -> list[StoredObject]:
    """Write the objects of all buckets and describe them; `wrote` hears the size of each in bytes."""
    objects: list[StoredObject] = []
    for bucket, name in object_names(tree.seed, amount, folk):
        random = stream(tree.seed, f"object {_content_key(bucket, name)}")
        written = put_object(tree, bucket, name, make_content(name, random), owner=folk.anyone(random))
        objects.append(written)
        wrote(written.size)
    return objects


def _content_key(bucket: str, name: str) -> str:
    # handbooks and repeated recordings have the same content wherever they lie
    last = name.rpartition("/")[2]
    return last if last in ("handbook.pdf", "welcome.mp4") else f"{bucket}/{name}"


def object_names(seed: int, amount: Sizes, folk: People) -> Iterator[tuple[str, str]]:
    """Yield bucket and name of each object, about `amount.files` of them."""
    random = stream(seed, "objects")
    for number in range(round(amount.files * 0.28)):
        user = folk.users[number] if number < len(folk.users) else make_uuid(random)
        yield "avatars", f"{user[:1]}/{user}.jpg"
    for number in range(round(amount.files * 0.38) - len(_ODD_NAMES)):
        course = random.randrange(1, amount.courses + 1)
        if number % 12 == 0:
            yield "course-materials", f"course-{course}/unit-{number}/handbook.pdf"
            continue
        kind = random.choice(("html", "md", "html", "pdf", "md", "csv", "pdf"))
        yield "course-materials", f"course-{course}/lesson-{random.randrange(1, 13)}/{number:05d}.{kind}"
    for name in _ODD_NAMES:
        yield "course-materials", name
    for number in range(max(3, round(amount.files * 0.012))):
        yield "media", f"lesson-{number + 1}/{'welcome' if number % 8 in (1, 2) else f'recording {number}'}.mp4"
    for number in range(round(amount.files * 0.3)):
        kind = random.choice(("py", "csv", "md", "pdf", "png", "png")) if number % 70 else "bin"
        yield "submissions", f"{folk.anyone(random)}/{number:06d} essay.{kind}"


def bucket_rows(seed: int) -> Iterator[tuple[object, ...]]:
    """Yield the rows of `storage.buckets`: id, name, public, size limit in bytes, types, created and updated."""
    for bucket, public in BUCKETS.items():
        types = '{image/jpeg,"image/png"}' if public else None
        created = timestamp(moment(stream(seed, f"bucket {bucket}")))
        yield (bucket, bucket, public, 52_428_800 if public else None, types, created, created)
