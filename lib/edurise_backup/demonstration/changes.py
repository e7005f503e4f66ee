"""A day in the platform's life: people come, hand in, get grades; files are added, edited and removed.

New files are written before the rows that name them, and removed after: at
every moment each object that a row names is there.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import psycopg

from edurise_backup.demonstration.changed_rows import change_analytics, change_rows
from edurise_backup.demonstration.database import ANALYTICS, MAIN, load, object_metadata, object_table
from edurise_backup.demonstration.export import FOLDER
from edurise_backup.demonstration.prose import Writer
from edurise_backup.demonstration.randomness import stream
from edurise_backup.demonstration.storage import StoredObject, make_content, put_object
from edurise_backup.demonstration.tree import Tree
from edurise_backup.errors import ToolError
from edurise_backup.postgres.connection import Address, connect

_Connection = psycopg.Connection[tuple[object, ...]]
_Key = tuple[str, str]


@dataclass(slots=True)
class _FileChanges:
    """What was done to the files, for the rows to follow."""

    added: list[StoredObject]
    edited: list[StoredObject]
    moved: list[tuple[_Key, str]]
    """Bucket and old name, and the new name."""
    removed: list[_Key]


def change_platform(address: Address, tree: Tree, seed: int, *, scale: float) -> None:
    """Change databases and files; equal platforms changed with the same seed stay equal. Raises ToolError."""
    try:
        with connect(address, database=MAIN) as connection:
            files = _change_files(connection, tree, seed, scale)
            _follow(connection, files)
            change_rows(connection, seed, scale)
            connection.commit()
            connection.execute("REFRESH MATERIALIZED VIEW public.course_results")
        with connect(address, database=ANALYTICS) as connection:
            change_analytics(connection, seed)
    except psycopg.Error as error:
        raise ToolError(f"the platform's databases cannot be changed: {error}") from error
    touched = [tree.root / bucket / name for bucket, name in files.removed]
    touched += [tree.root / bucket / name for (bucket, name), _ in files.moved]
    for path in touched:
        path.unlink()
    touched += [tree.root / stored.path for stored in files.added]
    touched += [tree.root / bucket / new for (bucket, _), new in files.moved]
    touched += _change_export(tree, seed)
    tree.settle(_parents(touched, tree.root))


def _change_files(connection: _Connection, tree: Tree, seed: int, scale: float) -> _FileChanges:
    random = stream(seed, "changed files")
    rows = connection.execute("SELECT bucket_id, name, owner FROM storage.objects ORDER BY bucket_id, name").fetchall()
    owners = {(str(row[0]), str(row[1])): str(row[2]) for row in rows}
    chosen = random.sample(list(owners), min(len(owners), _amount(32, scale, least=12)))
    quarter = len(chosen) // 4
    removed, moved, touched, edited = (chosen[quarter * part : quarter * (part + 1)] for part in range(4))
    media = [key for key in owners if key[0] == "media" and key not in chosen][:1]
    for bucket, name in touched:  # time and mode alone
        path = tree.root / bucket / name
        tree.finish(path, random.choice((0o640, 0o664)), random)
    return _FileChanges(
        added=[_add(tree, random, seed, number) for number in range(_amount(25, scale, least=3))],
        edited=[_edit(tree, key, owners[key], random) for key in [*edited, *media]],
        moved=[(key, _move(tree, key, seed)) for key in moved],
        removed=removed,
    )


def _add(tree: Tree, random: Random, seed: int, number: int) -> StoredObject:
    bucket = ("submissions", "course-materials", "submissions")[number % 3]
    kind = ("pdf", "md", "png", "csv", "py")[number % 5]
    name = f"change {seed}/{number:04d}.{kind}"
    return put_object(tree, bucket, name, make_content(name, random), owner=f"{random.getrandbits(128):032x}")


def _edit(tree: Tree, key: _Key, owner: str, random: Random) -> StoredObject:
    bucket, name = key
    before = (tree.root / bucket / name).read_bytes()
    writer = Writer(random)
    addition = f"\n{writer.paragraph(writer.subject(), 3)}\n".encode()
    place = random.randrange(len(before) + 1)  # in the middle: what follows moves by some bytes
    return put_object(tree, bucket, name, before[:place] + addition + before[place:], owner=owner)


def _move(tree: Tree, key: _Key, seed: int) -> str:
    bucket, name = key
    folder, _, last = name.rpartition("/")
    new = f"{folder}/moved {seed}-{last[-120:]}"
    # a second name for now: a row must never name a file that is not there
    (tree.root / bucket / new).hardlink_to(tree.root / bucket / name)
    return new


def _follow(connection: _Connection, files: _FileChanges) -> None:
    with connection.cursor() as cursor:
        cursor.executemany("DELETE FROM storage.objects WHERE bucket_id = %s AND name = %s", files.removed)
        cursor.executemany(
            "UPDATE storage.objects SET name = %s WHERE bucket_id = %s AND name = %s",
            [(new, bucket, name) for (bucket, name), new in files.moved],
        )
        cursor.executemany(
            "UPDATE storage.objects SET metadata = %s, updated_at = %s WHERE bucket_id = %s AND name = %s",
            [
                (object_metadata(stored), datetime.fromtimestamp(stored.written_at, UTC), stored.bucket, stored.name)
                for stored in files.edited
            ],
        )
    load(connection, object_table(files.added))


def _change_export(tree: Tree, seed: int) -> list[Path]:
    """Edit the old export and return the paths whose directories were written to."""
    folder = tree.root / FOLDER
    random = stream(seed, "changed export")
    register = folder / "2024" / "register.csv"
    line = f"{seed};Z9;{random.gauss(20, 4):.3f};added\n".encode()
    tree.write(register, register.read_bytes() + line)  # in place: all of its names show it
    with (folder / "scratch disk.img").open("r+b") as file:
        file.seek(random.randrange(8 * 1024 * 1024))
        file.write(random.randbytes(5000))
    tree.finish(folder / "scratch disk.img", None, random)
    link = folder / f"link of change {seed}"
    link.symlink_to(f"2024/{random.randrange(100)}")
    tree.finish(link, None, random)
    return [link]


def _parents(paths: list[Path], root: Path) -> set[Path]:
    found: set[Path] = set()
    for path in paths:
        folder = path.parent
        while folder not in found:
            found.add(folder)
            if folder == root:
                break
            folder = folder.parent
    return found


def _amount(at_scale_one: int, scale: float, *, least: int) -> int:
    return max(least, round(at_scale_one * scale))
