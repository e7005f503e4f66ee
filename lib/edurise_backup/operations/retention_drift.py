"""Compare the restore points that are there with those that the policies mean, and raise an alarm when they differ.

Reads the catalog only. Too many: the policy had dropped it days ago, and it is
still there (the retention does not run, or judges other series than people
think). Too few: the policy keeps it, and it is missing, or was forgotten since
the schedule was last edited.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from edurise_backup.catalog.policies import good_backups, read_policies
from edurise_backup.config import Settings, load_settings
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.jobs import BackupJob, JobId
from edurise_backup.model.policy import Dated, reasons_to_keep
from edurise_backup.model.protections import protected_snapshots
from edurise_backup.model.retention import RestorePoint, Series, SeriesPolicy, judge
from edurise_backup.model.schedules import Schedule
from edurise_backup.operations.audited import ACCEPT_GONE
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.retention_plan import policies_of, restore_point

PATIENCE = timedelta(days=2)
"""How long a backup that no policy keeps may stay: until the next daily retention, and one that failed."""


@dataclass(frozen=True, slots=True)
class SeriesDrift:
    """How many restore points of a series are there, and how many its policy means."""

    series: Series
    schedules: tuple[str, ...]
    there: int
    meant: int
    too_many: tuple[JobId, ...]
    too_few: tuple[JobId, ...]

    @property
    def differs(self) -> bool:
        """Whether somebody must look."""
        return bool(self.too_many or self.too_few)


def retention_drift(*, settings: Settings | None = None) -> tuple[SeriesDrift, ...]:
    """Compare each series that has a policy, and raise or settle its alarm; return all of them."""
    with open_catalog(settings or load_settings()) as catalog:
        return look_for_drift(catalog, catalog.clock())


def look_for_drift(catalog: Catalog, now: datetime, *, patience: timedelta = PATIENCE) -> tuple[SeriesDrift, ...]:
    """Do what `retention_drift` does, with a catalog that is open; `patience` is longer where retention is rarer."""
    schedules = read_policies(catalog.sessions)
    jobs = good_backups(catalog.sessions)
    kept = protected_snapshots((row.protection for row in catalog.protections.all()), now)
    points = {job.id: restore_point(job, schedules, kept) for job in jobs}
    policies = policies_of(points.values(), schedules)
    there = [points[job.id] for job in jobs if job.restorable]
    too_many = _too_many(there, policies, now, patience)
    accepted = catalog.audit.subjects_of([ACCEPT_GONE])  # two people have agreed that they are lost
    gone = [
        job
        for job in jobs
        if not job.restorable and str(job.id) not in accepted and _unmeant(job, points[job.id].series, schedules)
    ]
    too_few = _too_few(there, [points[job.id] for job in gone], policies, now)
    found = tuple(_drift(series, policies[series], there, too_many, too_few) for series in sorted(policies))
    catalog.alarms.replace([AlarmKind.RETENTION_DRIFT], [_alarm(one) for one in found if one.differs])
    return found


def _too_many(
    there: Sequence[RestorePoint], policies: Mapping[Series, SeriesPolicy], now: datetime, patience: timedelta
) -> list[RestorePoint]:
    """Return what the policy drops now, and dropped already when `patience` began."""
    before = [point for point in there if point.moment <= now - patience]
    due = {one.point.id for one in judge(before, policies, now=now - patience) if not one.keep}
    return [one.point for one in judge(there, policies, now=now) if not one.keep and one.point.id in due]


def _unmeant(job: BackupJob, series: Series, schedules: Iterable[Schedule]) -> bool:
    """Whether a backup that is gone went without a word, or under the policy as it is now."""
    if job.forgotten_at is None:
        return True
    edits = [
        one.updated_at
        for one in schedules
        if one.updated_at and (str(one.id) == series.schedule or (not series.schedule and one.type == series.type))
    ]
    return all(edit <= job.forgotten_at for edit in edits)


def _too_few(
    there: Sequence[RestorePoint],
    gone: Sequence[RestorePoint],
    policies: Mapping[Series, SeriesPolicy],
    now: datetime,
) -> list[RestorePoint]:
    """Return what is gone though a rule of its series' policy keeps it, judged as if it were there.

    The rules that are beside the policy (newest verified, ...) do not count: what they keep changes.
    """
    found = []
    for series, policy in policies.items():
        real = [point for point in (*there, *gone) if point.series == series and point.counts(now)]
        ordered = sorted(real, key=lambda point: (point.moment, point.id), reverse=True)
        dated = [Dated(str(point.id), point.moment, point.tags) for point in ordered]
        kept = {key for one in policy.policies for key, why in reasons_to_keep(dated, one).items() if why}
        found += [point for point in gone if point.series == series and str(point.id) in kept]
    return found


def _drift(
    series: Series,
    policy: SeriesPolicy,
    there: Sequence[RestorePoint],
    too_many: Sequence[RestorePoint],
    too_few: Sequence[RestorePoint],
) -> SeriesDrift:
    count = sum(point.series == series for point in there)
    many = tuple(JobId(point.id) for point in too_many if point.series == series)
    few = tuple(JobId(point.id) for point in too_few if point.series == series)
    return SeriesDrift(series, policy.names, count, count - len(many) + len(few), many, few)


def drift_sentence(drift: SeriesDrift) -> str:
    """Say how many restore points there are, how many are meant, and which differ."""
    name = drift.series.titled(drift.schedules)
    parts = [f"{name}: {drift.there} restore points are there, the policy means {drift.meant}"]
    for ids, what in ((drift.too_many, "should be forgotten"), (drift.too_few, "should be there")):
        if ids:
            named = ", ".join(str(one)[:8] for one in ids[:5]) + (" and more" if len(ids) > 5 else "")
            parts.append(f"{len(ids)} {what} ({named})")
    return "; ".join(parts)


def _alarm(drift: SeriesDrift) -> Alarm:
    remedy = "`edurise-backup retention plan` says what is kept and why; " + (
        "`edurise-backup forget --undo ID` brings back what was forgotten, as long as its grace lasts"
        if drift.too_few
        else "see whether the schedule of the type retain runs, and ends well"
    )
    return Alarm(AlarmKind.RETENTION_DRIFT, str(drift.series), Severity.WARNING, drift_sentence(drift), remedy)
