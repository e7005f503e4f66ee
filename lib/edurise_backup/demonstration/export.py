"""An old export beside the buckets, with everything that a directory tree can hold and a backup can lose."""

from __future__ import annotations

import os
from pathlib import Path

from edurise_backup.demonstration import media
from edurise_backup.demonstration.randomness import stream
from edurise_backup.demonstration.tree import Tree

FOLDER = "exports"
"""Its name below the storage's root; no bucket has it."""

_SPARSE_SIZE = 16 * media.MiB
_ISLANDS = (0, 5 * media.MiB + 123, _SPARSE_SIZE - 4096)


def fill_export(tree: Tree) -> None:
    """Write the export: links of every kind, a sparse file, odd modes, names and times."""
    folder = tree.root / FOLDER
    random = stream(tree.seed, "export")
    tree.write(folder / "2024" / "register.csv", media.csv(random))
    tree.write(folder / "2024" / "minutes.md", media.markdown(random))
    tree.write(folder / "empty file", b"")
    tree.write(Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9 latin-1.txt")), b"a name that is not UTF-8\n")
    (folder / "empty directory").mkdir()
    _link(tree, folder)
    _write_sparse(tree, folder / "scratch disk.img")
    _set_modes(tree, folder)
    old = folder / "from before 1970.txt"
    tree.write(old, b"a clock that was wrong\n")
    os.utime(old, ns=(-86_400_123_456_789, -86_400_123_456_789))
    tree.set_attribute(folder / "2024", "user.edurise.reviewed", "2024-07-01")
    tree.set_attribute(folder / "2024" / "minutes.md", "user.edurise.empty", "")


def _link(tree: Tree, folder: Path) -> None:
    register = folder / "2024" / "register.csv"
    (folder / "hard").mkdir()
    for name in ("register (same file).csv", "register, third name.csv"):
        os.link(register, folder / "hard" / name)
    for name, target in (
        ("latest", "2024"),
        ("minutes", "2024/minutes.md"),
        ("gone", "2019/minutes.md"),  # dangling
        ("absolute and gone", "/srv/edurise/archive"),
        ("loop", "loop"),
        ("2024/up", "../empty file"),
    ):
        link = folder / name
        link.symlink_to(target)
        tree.finish(link, None, tree.chance(link))


def _write_sparse(tree: Tree, path: Path) -> None:
    random = stream(tree.seed, "sparse")
    with path.open("wb") as file:
        for offset in _ISLANDS:
            file.seek(offset)
            file.write(random.randbytes(4096))
    tree.finish(path, 0o600, random)


def _set_modes(tree: Tree, folder: Path) -> None:
    modes = folder / "modes"
    for mode in (0o400, 0o604, 0o755, 0o1644, 0o2755, 0o4755):
        path = modes / f"{mode:04o}"
        tree.write(path, f"mode {mode:04o}\n".encode())
        path.chmod(mode)
    for name, mode in (("sticky", 0o1777), ("group", 0o2750), ("read only", 0o555)):
        (modes / name).mkdir()
        tree.write(modes / name / "inside.txt", name.encode())
        (modes / name).chmod(mode)
