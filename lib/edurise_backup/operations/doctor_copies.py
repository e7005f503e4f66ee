"""What `doctor` says of the copies: are there any, does each open with what is its own, is it behind, was it proved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from edurise_backup.config import Settings
from edurise_backup.errors import BackupError
from edurise_backup.model.stores import CopyState
from edurise_backup.model.words import span
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.copy_status import CopyStatus, status_of
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.stores import known_copies, note_opened, opened_copy

PROVED_WITHIN = timedelta(days=90)
"""The bytes of a copy should have been read back within this."""


def examine_copies(settings: Settings) -> Iterator[Finding]:
    """Open every copy, and say how it stands."""
    with open_catalog(settings) as catalog:
        copies = known_copies(settings, catalog)
        if not copies:
            yield Finding(
                Level.WARNING,
                "copies",
                "there is no copy of the repository: losing its store loses every backup",
                "name one in [[copy]], or `edurise-backup store register` (docs/operations/copies.md)",
            )
        for copy in copies:
            try:
                note_opened(settings, catalog, copy, opened_copy(settings, catalog, copy))
            except BackupError as error:
                yield Finding(Level.FAULT, f"copy {copy.name}", f"it does not open: {error.message}", error.hint)
        for status in status_of(catalog, copies, catalog.clock()):
            if not status.row.trouble:
                yield from _of_copy(status)


def _of_copy(status: CopyStatus) -> Iterator[Finding]:
    subject = f"copy {status.name}"
    if status.damaged:
        yield Finding(
            Level.FAULT,
            subject,
            f"{len(status.damaged)} restore points are damaged or gone there",
            "docs/operations/copies.md, A copy is damaged",
        )
    if status.late:
        yield Finding(
            Level.WARNING,
            subject,
            f"it is behind for {span(status.lag)}, {span(status.objective)} are allowed",
            f"`edurise-backup copy run {status.name}`, and a schedule of the type copy",
        )
    if status.row.own_key is False:
        yield Finding(
            Level.WARNING,
            subject,
            "it opens with the primary's passphrase: whoever learns one has both",
            "give it a passphrase of its own: `repo key add`, then `repo key remove`",
        )
    if status.row.own_place is False:
        yield Finding(
            Level.WARNING,
            subject,
            "it lies on the primary's disk or server: what destroys one destroys both",
            "move it to another disk, server or provider",
        )
    proofs = [job.completed_at for job in (status.last_check, status.last_verification) if job and job.completed_at]
    if not proofs or status.as_of - max(proofs) > PROVED_WITHIN:
        yield Finding(
            Level.WARNING,
            subject,
            f"its own bytes were not read back within {PROVED_WITHIN.days} days",
            f"`edurise-backup verify --copy {status.name}`, or a schedule of the type verify with store={status.name}",
        )
    whole = status.count(CopyState.WHOLE)
    yield Finding(Level.FINE, subject, f"{status.location} opens, {whole} restore points are whole there")
