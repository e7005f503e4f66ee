"""What a look at a copy's own bytes has found: kept on the copy's rows, and never counted as the primary's."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from edurise_backup.model.jobs import Verdict
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.operations.catalogs import Catalog

BACKUP = "backup "
"""What a verification on a copy was asked for begins with; the backup's id follows."""


def note_verdicts(catalog: Catalog, job: MaintenanceJob, verdicts: Mapping[UUID, Verdict | None]) -> None:
    """Write on the copy's rows what a look at its bytes has found."""
    told = {key: verdict for key, verdict in verdicts.items() if verdict in (Verdict.PASSED, Verdict.FAILED)}
    catalog.copies.note_proof(
        job.store, {key: verdict for key, verdict in told.items() if verdict}, job.completed_at or catalog.clock()
    )


def proved_backup(job: MaintenanceJob) -> UUID | None:
    """Return the backup that a verification on a copy was of; None for another job."""
    if job.kind is not MaintenanceKind.VERIFY or not job.asked.startswith(BACKUP):
        return None
    return UUID(job.asked.removeprefix(BACKUP))
