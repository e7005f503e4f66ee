"""What a restore does to one name of a target; what goes wrong with it is noted there, and the work goes on."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from edurise_backup.recovery.delta.comparing import OPEN_FILE
from edurise_backup.recovery.delta.plan import DescribeStep, FolderStep, LinkStep, OtherStep
from edurise_backup.recovery.delta.target import Target
from edurise_backup.recovery.delta.temporary import aside_name, unfinished_name
from edurise_backup.recovery.extraction import make_special
from edurise_backup.recovery.folders import OPEN_FOLDER
from edurise_backup.recovery.metadata import closed
from edurise_backup.recovery.planning import Names


def make_folder(target: Target, step: FolderStep) -> None:
    """Make a directory, for its owner only until `finish_folder`."""
    with target.attempt(step.names), target.changing(step.names[:-1]) as above:
        if step.displaces:
            made = aside_name()
            os.mkdir(made, 0o700, dir_fd=above)
            target.put(step.names, made, displaces=True)
        else:
            os.mkdir(step.names[-1], 0o700, dir_fd=above)


def finish_folder(target: Target, step: FolderStep) -> None:
    """Give a directory its owner, mode, times and attributes, after everything in it is there."""
    with target.attempt(step.names), target.folder(step.names[:-1]) as above:
        descriptor = os.open(step.names[-1], OPEN_FOLDER, dir_fd=above)
        try:
            target.metadata.strip(descriptor, step.node, step.names)
            target.metadata.describe(descriptor, step.node, step.names, mind_owner=step.mind_owner)
        finally:
            os.close(descriptor)


def link(target: Target, step: LinkStep) -> None:
    """Make a further name of a file."""
    if step.to in target.failed:
        target.fail(step.names, f"is the same file as /{'/'.join(step.to)}")
        return
    made = _name(step)
    with (
        target.attempt(step.names),
        target.folder(step.to[:-1]) as source,
        target.changing(step.names[:-1]) as above,
        _removed_on_error(above, made),
    ):
        os.link(step.to[-1], made, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False)
        target.put(step.names, made, displaces=step.displaces)


def make_other(target: Target, step: OtherStep) -> None:
    """Make a symbolic link, fifo or device; what this user may not make is a problem."""
    path = "/".join(step.names)
    with target.attempt(step.names), target.changing(step.names[:-1]) as above:
        made = _name(step)
        try:
            make_special(above, made, step.node)
        except OSError as error:
            target.metadata.tell_refusal(error, f"{path}: {step.node.type}")
            target.refused.add(step.names)
            return
        with _removed_on_error(above, made):
            target.metadata.strip(closed(above, made), step.node, step.names)
            target.metadata.describe_other(above, made, step.node, step.names)
            target.put(step.names, made, displaces=step.displaces)


def describe(target: Target, step: DescribeStep) -> None:
    """Describe something in its place, unless it has changed since it was compared."""
    with target.attempt(step.names), target.folder(step.names[:-1]) as above:
        name = step.names[-1]
        if stat.S_ISREG(step.status.st_mode):
            descriptor = os.open(name, OPEN_FILE, dir_fd=above)
            try:
                _refuse_changed(os.fstat(descriptor), step.status)
                if not step.status.st_mode & stat.S_IWUSR:  # attributes are given to what may be written
                    os.fchmod(descriptor, stat.S_IMODE(step.status.st_mode) | stat.S_IWUSR)
                target.metadata.strip(descriptor, step.node, step.names)
                target.metadata.describe(descriptor, step.node, step.names)
            finally:
                os.close(descriptor)
        else:
            _refuse_changed(os.stat(name, dir_fd=above, follow_symlinks=False), step.status)
            target.metadata.strip(closed(above, name), step.node, step.names)
            target.metadata.describe_other(above, name, step.node, step.names)


def remove(target: Target, names: Names, *, folder: bool) -> bool:
    """Remove a name, a directory only when it is empty; say whether it is gone. What is refused is a problem."""
    gone = False
    with target.attempt(names):
        try:
            with target.changing(names[:-1]) as above:
                if folder:
                    os.rmdir(names[-1], dir_fd=above)
                else:
                    os.unlink(names[-1], dir_fd=above)
            gone = True
        except FileNotFoundError:
            gone = True
        except OSError as error:
            target.metadata.tell_refusal(error, f"{'/'.join(names)}: cannot be removed")
    return gone


def _name(step: LinkStep | OtherStep) -> str:
    return aside_name() if step.displaces else unfinished_name()


@contextmanager
def _removed_on_error(above: int, made: str) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with suppress(OSError):
            os.unlink(made, dir_fd=above)
        raise


def _refuse_changed(now: os.stat_result, before: os.stat_result) -> None:
    """Raise OSError when a file is not what it was, or was written to: it is not what was compared."""
    if _state(now) != _state(before):
        raise OSError(errno.EBUSY, "it changed meanwhile")


def _state(status: os.stat_result) -> tuple[int, ...]:
    return (
        status.st_dev,
        status.st_ino,
        status.st_mode,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )
