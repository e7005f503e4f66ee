"""Keep the files of reports, list them, and prove that they are as they were written; they lie in `reports/ID`."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from uuid import UUID

from edurise_backup import operations
from edurise_backup.catalog.reports import Reports
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, DamageError, NotFoundError, SpaceError
from edurise_backup.model.reports import Report, ReportFile

FOLDER = "reports"
SUMS = "SHA256SUMS"
_UNFINISHED = ".unfinished-"
_ADVICE = "make the report again; ask who may write to the data directory"


def list_reports(settings: Settings, *, limit: int = 100) -> tuple[Report, ...]:
    """Return the newest reports first."""
    with operations.open_catalog(settings) as catalog:
        return Reports(catalog.sessions).newest(limit=limit)


def find_report(settings: Settings, beginning: str) -> Report:
    """Return the report whose id begins so; raises InputError, NotFoundError, AmbiguousError."""
    with operations.open_catalog(settings) as catalog:
        return Reports(catalog.sessions).find(beginning)


def folder_of(settings: Settings, report_id: UUID) -> Path:
    """Return where a report's files lie."""
    return settings.data_directory / FOLDER / str(report_id)


def verify_report(settings: Settings, report: Report) -> tuple[str, ...]:
    """Read every file again; return what is wrong with them, a sentence each."""
    found = []
    for file in report.files:
        try:
            with _opened(settings, report, file) as content:
                _compare(file, hashlib.file_digest(content, "sha256").hexdigest(), content.name)
        except DamageError as error:
            found.append(error.message)
    return tuple(found)


def read_file(settings: Settings, report: Report, name: str) -> bytes:
    """Return a file of a report; raises NotFoundError, and DamageError when it is not as it was written."""
    listed = next((file for file in report.files if file.name == name), None)
    if listed is None:
        raise NotFoundError(
            f"the report {str(report.id)[:8]} has no file {name!r}",
            hint=f"choose {', '.join(file.name for file in report.files)}",
        )
    with _opened(settings, report, listed) as file:
        content = file.read()
        _compare(listed, hashlib.sha256(content).hexdigest(), file.name)
    return content


@contextmanager
def _opened(settings: Settings, report: Report, listed: ReportFile) -> Iterator[BufferedReader]:
    """Lend a file of a report; what cannot be read is damage."""
    path = folder_of(settings, report.id) / listed.name
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError as error:
        hint = f"where several hosts make reports, look on the one that made it; else {_ADVICE}"
        raise DamageError(f"{path} cannot be read: {error.strerror}", hint=hint) from error
    except OSError as error:
        raise DamageError(f"{path} cannot be read: {error.strerror}", hint=_ADVICE) from error


def _compare(listed: ReportFile, digest: str, path: str) -> None:
    if digest != listed.sha256:
        raise DamageError(f"{path} is not what was written: its SHA-256 differs from the catalog's", hint=_ADVICE)


@contextmanager
def home_of_reports(settings: Settings) -> Iterator[Path]:
    """Lend the folder of all reports to one process at a time: what lies there unfinished is then nobody's."""
    home = settings.data_directory / FOLDER
    with _told(home), ExitStack() as stack:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(home, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)  # a report takes seconds: the next one waits
        for left in home.glob(f"{_UNFINISHED}*"):
            shutil.rmtree(left, ignore_errors=True)
        yield home


@contextmanager
def unfinished(home: Path, report_id: UUID) -> Iterator[Path]:
    """Lend a folder that is in its place, durable, when the block ends well, and gone otherwise."""
    work = home / f"{_UNFINISHED}{report_id}"
    work.mkdir(mode=0o700)
    try:
        yield work
        for path in (*work.iterdir(), work):
            _to_disk(path)
        shutil.rmtree(home / str(report_id), ignore_errors=True)  # it has no row: an attempt ended before that
        work.rename(home / str(report_id))
        _to_disk(home)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _told(home: Path) -> Iterator[None]:
    """Say of an error of the disk what it means here."""
    try:
        yield
    except OSError as error:
        kind = SpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else BackupError
        raise kind(
            f"the report cannot be written to {home}: {error.strerror}",
            safe="no report was made; nothing else was changed",
            hint="free space, or let this user write there",
        ) from error


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
