"""The plan of a retention: which restore points stay, why, and what that means. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from edurise_backup.catalog.policies import good_backups, read_policies
from edurise_backup.model.jobs import BackupJob, JobId, JobStatus, Verdict
from edurise_backup.model.policy import FUTURE
from edurise_backup.model.protections import Protection
from edurise_backup.model.retention import (
    PointDecision,
    RestorePoint,
    Series,
    SeriesPolicy,
    judge,
    policy_for,
    series_of,
)
from edurise_backup.model.schedules import Schedule
from edurise_backup.model.settings import ObjectivesSettings
from edurise_backup.model.simulation import short_reach
from edurise_backup.model.stores import BackupCopy, CopyState
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.protections import kept_here
from edurise_backup.operations.rebuilding import by_snapshot_alone
from edurise_backup.repository.forgetting import read_forgotten
from edurise_backup.repository.holds import kept_snapshots
from edurise_backup.repository.moments import moment_of
from edurise_backup.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What becomes of the restore points of one series."""

    series: Series
    schedules: tuple[str, ...]
    """The schedules whose policies judge it; none: nobody has said what to keep, and all stays."""
    decisions: tuple[PointDecision, ...]
    """Newest first."""

    @property
    def kept(self) -> int:
        """How many stay."""
        return sum(1 for one in self.decisions if one.keep)

    @property
    def dropped(self) -> int:
        """How many go."""
        return len(self.decisions) - self.kept


@dataclass(frozen=True, slots=True)
class RetentionPlan:
    """What the retention of all schedules means now."""

    as_of: datetime
    series: tuple[SeriesPlan, ...]
    freed_bytes: int
    """What the dropped backups added to the repository: an estimate, as others may share their data."""
    breaks: tuple[str, ...]
    """Objectives that a policy does not meet, a sentence each."""
    remarks: tuple[str, ...]
    """What was not judged, and why."""
    refusal: str = ""
    """Why nothing may be forgotten now; empty: it may."""

    @property
    def dropped(self) -> tuple[JobId, ...]:
        """The backups that go, by series, the newest first."""
        return tuple(JobId(decision.point.id) for one in self.series for decision in one.decisions if not decision.keep)


def make_plan(catalog: Catalog, repository: Repository, objectives: ObjectivesSettings, now: datetime) -> RetentionPlan:
    """Judge the restorable backups as catalog and repository show them; raises DamageError, InputError."""
    schedules = read_policies(catalog.sessions)
    jobs = good_backups(catalog.sessions, restorable=True)
    listed = repository.snapshots()  # after the rows: a backup that ends meanwhile is not missed
    kept = kept_here(catalog, repository, now)
    moments = {str(key): moment_of(snapshot.time) for key, snapshot in listed.items()}
    waiting = {*moments, *read_forgotten(repository.box)}
    missing = [job for job in jobs if any(part.snapshot_id not in waiting for part in job.parts)]
    there = [job for job in jobs if all(part.snapshot_id in moments for part in job.parts)]
    points = [restore_point(job, schedules, kept, moments) for job in there]
    plan = _plan(points, schedules, objectives, now)
    forgotten = _kept_though_forgotten(kept, moments)
    return replace(plan, remarks=(*plan.remarks, *forgotten), refusal=_refusal(missing))


def plan_of_copy(
    catalog: Catalog,
    repository: Repository,
    rows: Mapping[UUID, BackupCopy],
    objectives: ObjectivesSettings,
    now: datetime,
    *,
    moments: Mapping[str, datetime],
) -> RetentionPlan:
    """Judge the restore points that are whole in a copy by the same policies, as if there were no others.

    `moments` are those of the sealed snapshots, by the ids that they have in the primary.

    What a policy keeps of all of them it also keeps of some: nothing is dropped here that the primary keeps.
    """
    schedules = read_policies(catalog.sessions)
    kept = kept_snapshots(repository.box, now)
    points = []
    for job in good_backups(catalog.sessions):
        row = rows.get(job.id)
        if row is None or row.state is not CopyState.WHOLE:
            continue
        theirs = {part.snapshot_id: name for part, name in zip(job.parts, row.snapshots, strict=True)}
        held = {original: kept[name] for original, name in theirs.items() if name in kept}
        seen = replace(job, verification_status=row.outcome)
        points.append(restore_point(seen, schedules, held, moments))
    return _plan(points, schedules, objectives, now)


def _plan(
    points: Sequence[RestorePoint], schedules: Sequence[Schedule], objectives: ObjectivesSettings, now: datetime
) -> RetentionPlan:
    policies = policies_of(points, schedules)
    plans = _series_plans(judge(points, policies, now=now), policies)
    dropped = [decision.point for one in plans for decision in one.decisions if not decision.keep]
    return RetentionPlan(
        as_of=now,
        series=plans,
        freed_bytes=sum(point.stored_bytes for point in dropped),
        breaks=tuple(_breaks(plans, policies, objectives, now)),
        remarks=tuple(_remarks(plans, now)),
    )


def restore_point(
    job: BackupJob,
    schedules: Sequence[Schedule],
    kept: Mapping[str, Protection],
    moments: Mapping[str, datetime] | None = None,
) -> RestorePoint:
    """Describe a good backup to the rules; `moments` are those of the sealed snapshots, by id."""
    held = {one.id: one.words for part in job.parts if (one := kept.get(part.snapshot_id))}
    return RestorePoint(
        id=job.id,
        series=series_of(job.type.value, job.source, job.tags, schedules),
        moment=_moment(job, moments or {}),
        tags=job.tags,
        verified=job.verification_status is Verdict.PASSED,
        complete=job.status is JobStatus.COMPLETED,
        damaged=job.verification_status is Verdict.FAILED,
        ours=not by_snapshot_alone(job),
        sources=tuple(f"{part.part.value}/{part.source}" for part in job.parts),
        stored_bytes=job.stored_bytes or 0,
        protected=tuple(held.values()),
    )


def _moment(job: BackupJob, moments: Mapping[str, datetime]) -> datetime:
    """Return when it began; a row that differs from its sealed snapshot by more than an hour is not believed."""
    sealed = moments.get(job.parts[0].snapshot_id) if job.parts else None
    told = job.started_at or sealed or datetime.min.replace(tzinfo=UTC)
    return sealed if sealed is not None and abs(sealed - told) > FUTURE else told


def policies_of(points: Collection[RestorePoint], schedules: Sequence[Schedule]) -> dict[Series, SeriesPolicy]:
    """Return what is to be kept of each series that somebody has said it of."""
    found = {series: policy_for(series, schedules) for series in {point.series for point in points}}
    return {series: policy for series, policy in found.items() if policy is not None}


def _series_plans(
    decisions: Sequence[PointDecision], policies: Mapping[Series, SeriesPolicy]
) -> tuple[SeriesPlan, ...]:
    groups: dict[Series, list[PointDecision]] = {}
    for decision in decisions:
        groups.setdefault(decision.point.series, []).append(decision)
    return tuple(
        SeriesPlan(series, policies[series].names if series in policies else (), tuple(found))
        for series, found in groups.items()
    )


def _refusal(missing: Sequence[BackupJob]) -> str:
    if not missing:
        return ""
    named = ", ".join(str(job.id)[:8] for job in missing[:5]) + (" and more" if len(missing) > 5 else "")
    return f"{len(missing)} backups that the catalog knows are not in the repository any more: {named}"


def _breaks(
    plans: Sequence[SeriesPlan],
    policies: Mapping[Series, SeriesPolicy],
    objectives: ObjectivesSettings,
    now: datetime,
) -> list[str]:
    found = []
    for one in plans:
        if one.series not in policies:
            continue
        name = one.series.titled(one.schedules)
        short = [
            short_reach(policy, timedelta(days=objectives.retention_days)) for policy in policies[one.series].policies
        ]
        if all(short) and short[0]:
            found.append(f"{name}: {short[0].message}")
        kept = [decision.point for decision in one.decisions if decision.keep and not decision.point.damaged]
        real = [point.moment for point in kept if point.moment <= now + FUTURE]
        if real and now - max(real) > timedelta(hours=objectives.good_backup_hours):
            found.append(f"{name}: the newest restore point is older than {objectives.good_backup_hours} hours")
        if not any(point.verified for point in kept):
            found.append(f"{name}: no restore point has passed a verification")
    return found


def _kept_though_forgotten(kept: Mapping[str, Protection], listed: Collection[str]) -> list[str]:
    """Name the pins and holds whose snapshots are forgotten: they are no restore points until an undo."""
    found = {one.id: one for snapshot, one in kept.items() if snapshot not in listed}
    return [
        f"the backup {one.backup_id} {one.words}; but it is forgotten: "
        f"`edurise-backup forget --undo {one.backup_id}` brings it back"
        for one in found.values()
    ]


def _remarks(plans: Sequence[SeriesPlan], now: datetime) -> list[str]:
    found = []
    for one in plans:
        name = one.series.titled(one.schedules)
        future = sum(decision.point.moment > now + FUTURE for decision in one.decisions)
        if future:
            found.append(f"{name}: {future} are dated in the future; they stay, and push nothing out")
        if not one.schedules:
            found.append(f"{name}: no schedule says what to keep of it; all {len(one.decisions)} stay")
    return found
