"""Write files and directories with all that a file system keeps about them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from edurise_backup.demonstration.randomness import moment, stream
from edurise_backup.errors import SpaceError, ToolError

_FILE_MODES = (0o644,) * 12 + (0o600, 0o640, 0o755, 0o444)
_REFUSED = (errno.ENOTSUP, errno.EPERM, errno.ENOSPC, errno.EACCES)


@dataclass(slots=True)
class Tree:
    """A directory that is being filled; `warnings` says what the file system refused."""

    root: Path
    seed: int
    warnings: list[str] = field(default_factory=list)

    def chance(self, path: Path) -> Random:
        """Return the stream of chance that belongs to a path below the root."""
        return stream(self.seed, f"tree {os.fsencode(path.relative_to(self.root)).hex()}")

    def write(self, path: Path, content: bytes, *, attributes: Mapping[str, str] | None = None) -> None:
        """Create or replace the file `path` with mode and time by chance; missing directories are made.

        The content is replaced in place, so that a file's other names show it too.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        random = self.chance(path)
        try:
            if path.exists():
                path.chmod(0o600)  # may have been made read-only
            path.write_bytes(content)
        except OSError as error:
            raise _refused(path, error) from error
        for name, value in (attributes or {}).items():
            self.set_attribute(path, name, value)
        self.finish(path, random.choice(_FILE_MODES), random)

    def finish(self, path: Path, mode: int | None, random: Random) -> None:
        """Set the mode (None: as it is) and the time of last change, by chance, to the nanosecond."""
        if mode is not None:
            path.chmod(mode)
        nanoseconds = int(moment(random)) * 1_000_000_000 + random.randrange(1_000_000_000)
        os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)

    def set_attribute(self, path: Path, name: str, value: str) -> None:
        """Set an extended attribute; a file system without them gives one warning."""
        try:
            os.setxattr(path, name, value.encode())
        except OSError as error:
            if error.errno not in _REFUSED:
                raise _refused(path, error) from error
            warning = f"the file system of {self.root} keeps no extended attributes ({error.strerror})"
            if warning not in self.warnings:
                self.warnings.append(warning)

    def settle(self, directories: Iterable[Path]) -> None:
        """Give directories their times, deepest first; nothing may be written to them afterwards."""
        for directory in sorted(set(directories), key=lambda path: len(path.parts), reverse=True):
            self.finish(directory, None, self.chance(directory))


def directories_below(root: Path) -> list[Path]:
    """Return the directory and all directories in it; links are not followed."""
    return [Path(folder) for folder, _, _ in os.walk(root)]


def _refused(path: Path, error: OSError) -> ToolError | SpaceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return SpaceError(f"there is no room left for {path}", hint="free space, or use a smaller scale")
    return ToolError(f"{path} cannot be written: {error.strerror}")
