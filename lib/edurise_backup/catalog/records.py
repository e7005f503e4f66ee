"""Job records as JSON: what the repository keeps sealed, and what an export of the catalog is made of.

The same record gives the same bytes: fields in the order of the record, times
in UTC with a `Z`. Text that neither JSON nor PostgreSQL can hold (bytes of a
file's name that are not UTF-8, NUL) is written with a backslash escape.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

import msgspec

from edurise_backup.errors import DamageError, UnsupportedVersionError
from edurise_backup.model.jobs import BackupJob, JobStatus, RecoveryJob, Verification
from edurise_backup.model.maintenance import MaintenanceJob

T = TypeVar("T")
JobRecord = BackupJob | Verification | RecoveryJob | MaintenanceJob

VERSION = 1
"""Counts up when a reader of the version before would misunderstand a record."""


class JobKind(StrEnum):
    """The kinds of job."""

    BACKUP = "backup"
    VERIFICATION = "verification"
    RECOVERY = "recovery"
    MAINTENANCE = "maintenance"


_RECORDS: dict[JobKind, type[BackupJob] | type[Verification] | type[RecoveryJob] | type[MaintenanceJob]] = {
    JobKind.BACKUP: BackupJob,
    JobKind.VERIFICATION: Verification,
    JobKind.RECOVERY: RecoveryJob,
    JobKind.MAINTENANCE: MaintenanceJob,
}


class _Envelope(msgspec.Struct):
    kind: str
    version: int
    record: msgspec.Raw


def kind_of(record: JobRecord) -> JobKind:
    """Return the record's kind."""
    return next(kind for kind, known in _RECORDS.items() if isinstance(record, known))


def record_to_json(record: JobRecord) -> bytes:
    """Return the record as one line of JSON, without the newline."""
    return envelope(kind_of(record), record)


def record_from_json(text: bytes) -> JobRecord:
    """Undo `record_to_json`; raises DamageError, and UnsupportedVersionError for a newer version."""
    kind, record = open_envelope(text)
    if kind not in _RECORDS:
        raise DamageError(f"a job record is of an unknown kind: {kind}")
    decoded: JobRecord = _decoded(record, _RECORDS[JobKind(kind)])
    return _aware(decoded)


def envelope(kind: str, content: object) -> bytes:
    """Return `content` as a line of JSON that says what it is."""
    return msgspec.json.encode({"kind": kind, "version": VERSION, "record": builtins_of(content)})


def open_envelope(text: bytes) -> tuple[str, bytes]:
    """Return the kind and the content's JSON; raises DamageError, UnsupportedVersionError."""
    opened = _decoded(text, _Envelope)
    if opened.version > VERSION:
        raise UnsupportedVersionError(
            f"a job record is of version {opened.version}, this release knows {VERSION}",
            hint="install a newer release",
        )
    return opened.kind, bytes(opened.record)


def builtins_of(content: object) -> object:
    """Return records as dicts and tuples of plain values; every text can be stored, every time is in UTC."""
    return _storable(msgspec.to_builtins(content, builtin_types=(datetime, UUID)))


def supersedes(new: JobRecord, old: JobRecord) -> bool:
    """Whether `new` tells more about the job than `old`: by how far it got, then by its latest moment.

    A good end beats any other state: it is written only when the snapshot is
    published. An end beats none. Nothing takes a good end away, and what has
    not ended takes the place of nothing.
    """
    return new.status.ended and (_rank(new.status), _latest(new)) > (_rank(old.status), _latest(old))


def _rank(status: JobStatus) -> int:
    return 2 if status.good else 1 if status.ended else 0


def _latest(record: JobRecord) -> datetime:
    moments = [record.started_at, record.completed_at, record.heartbeat_at]
    if isinstance(record, BackupJob):
        moments += [record.created_at, record.verified_at, record.forgotten_at]
    return max((moment for moment in moments if moment), default=datetime.min.replace(tzinfo=UTC))


def _storable(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if isinstance(value, dict):
        return {key: _storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(item) for item in value]
    return value.astimezone(UTC) if isinstance(value, datetime) else value


def _decoded(text: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamageError(f"a job record is not readable: {error}") from error


def _aware(record: T) -> T:
    if _has_naive_time(msgspec.to_builtins(record, builtin_types=(datetime, UUID))):
        raise DamageError("a job record holds a time without a zone")
    return record


def _has_naive_time(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_naive_time(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_has_naive_time(item) for item in value)
    return isinstance(value, datetime) and value.tzinfo is None
