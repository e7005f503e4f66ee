"""How the copies stand: what each has, how far it is behind, what was last found; from the catalog alone."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from edurise_backup.catalog.stores import StoreRow
from edurise_backup.config import Settings, load_settings
from edurise_backup.model.alarm_facts import CopyFacts, Ended
from edurise_backup.model.jobs import JobStatus, Verdict
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.model.stores import BackupCopy, CopyState, KnownStore, SourceLag
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.stores import known_copies


@dataclass(frozen=True, slots=True)
class CopyStatus:
    """One copy, as the catalog knows it."""

    as_of: datetime
    name: str
    location: str
    objective: timedelta
    """How long a restore point may wait for its copy."""
    row: StoreRow
    lags: tuple[SourceLag, ...]
    points: tuple[BackupCopy, ...]
    last_copy: MaintenanceJob | None
    """The newest that has ended, whatever its end; as the next two."""
    last_check: MaintenanceJob | None
    last_verification: MaintenanceJob | None

    @property
    def lag(self) -> timedelta:
        """How long it has been behind the source that it is furthest behind of; 0: it has everything."""
        return max((lag.lag(self.as_of) for lag in self.lags), default=timedelta(0))

    @property
    def late(self) -> bool:
        """Whether it is further behind than it may be."""
        return self.lag > self.objective

    @property
    def damaged(self) -> tuple[BackupCopy, ...]:
        """The restore points whose bytes there did not pass, or that are gone."""
        return tuple(p for p in self.points if p.outcome is Verdict.FAILED or p.state is CopyState.GONE)

    def count(self, state: CopyState) -> int:
        """How many restore points stand so there."""
        return Counter(point.state for point in self.points)[state]


def get_copies(*, settings: Settings | None = None) -> tuple[CopyStatus, ...]:
    """Return how each copy stands, in the order of the configuration, then of the register; no store is asked."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        return status_of(catalog, known_copies(settings, catalog), catalog.clock())


def status_of(catalog: Catalog, copies: tuple[KnownStore, ...], now: datetime) -> tuple[CopyStatus, ...]:
    """Return how these copies stand."""
    rows = {row.name: row for row in catalog.stores.all()}
    lags = catalog.copies.lags([copy.name for copy in copies])
    points = catalog.copies.all()
    last = catalog.maintenance.last
    return tuple(
        CopyStatus(
            as_of=now,
            name=copy.name,
            location=copy.settings.location,
            objective=copy.lag,
            row=rows[copy.name],
            lags=tuple(lag for lag in lags if lag.store == copy.name),
            points=tuple(point for point in points if point.store == copy.name),
            last_copy=last(MaintenanceKind.COPY, store=copy.name),
            last_check=last(MaintenanceKind.CHECK, store=copy.name),
            last_verification=last(MaintenanceKind.VERIFY, store=copy.name),
        )
        for copy in copies
    )


def copy_facts(catalog: Catalog, copies: tuple[KnownStore, ...], now: datetime) -> tuple[CopyFacts, ...]:
    """Return what the rules of alarms look at; no store is asked."""
    return tuple(_facts(catalog, status) for status in status_of(catalog, copies, now)) if copies else ()


def _facts(catalog: Catalog, status: CopyStatus) -> CopyFacts:
    proofs = [job for job in (status.last_check, status.last_verification) if job is not None]
    bad = [job for job in proofs if job.verification_status is Verdict.FAILED]
    last = status.last_copy
    failed = last is not None and last.status is JobStatus.FAILED and not catalog.expected_runs.told_of(last.id)
    return CopyFacts(
        name=status.name,
        objective=status.objective,
        lags=tuple((lag.part, lag.source, length) for lag in status.lags if (length := lag.lag(status.as_of))),
        unreachable_since=status.row.unreachable_since,
        trouble=status.row.trouble,
        failed=_ended(last) if failed and last is not None else None,
        whole=status.count(CopyState.WHOLE),
        bytes=status.row.bytes,
        damaged=len(status.damaged),
        finding=bad[-1].findings[0] if bad and bad[-1].findings else "",
    )


def _ended(job: MaintenanceJob) -> Ended:
    moment = job.completed_at or datetime.min.replace(tzinfo=UTC)
    error, hint = job.error or "", job.hint or ""
    return Ended("maintenance", "copy", job.store, job.id, job.status.value, moment, False, False, 0, error, hint)


def where_else(catalog: Catalog, backup_id: UUID, copies: tuple[KnownStore, ...]) -> tuple[str, ...]:
    """Say of each copy whether it has a backup whole, and whether that was proved there; a sentence each."""
    rows = catalog.copies.of_backup(backup_id)
    found = []
    for copy in copies:
        row = rows.get(copy.name)
        if row is None or row.state is not CopyState.WHOLE:
            found.append(f"{copy.name} does not have it whole")
        elif row.verified_at is None:
            found.append(f"{copy.name} has it whole, not verified there yet")
        else:
            verdict = row.outcome.value if row.outcome else "not verified"
            found.append(f"{copy.name} has it whole; verified there {row.verified_at:%Y-%m-%d %H:%M} UTC: {verdict}")
    return tuple(found)
