"""Forget whole backups, bring them back, or accept that they are gone; each is a job with a row.

The catalog is told before the first snapshot goes and once more after the last:
a crash between leaves a row that says forgotten, and the next prune or check
makes it right when all snapshots are still there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from edurise_backup.catalog.presence import mark_forgotten
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.jobs import BackupFilters, BackupJob, JobId, JobStatus
from edurise_backup.model.maintenance import ForgetFigures, MaintenanceFigures, MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import SYSTEM, Actor
from edurise_backup.model.policy import Decision, RetentionPolicy
from edurise_backup.model.protections import Protection
from edurise_backup.model.retention import always_kept
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.operations.audited import ACCEPT_GONE, BRING_BACK, FORGET, record_backup
from edurise_backup.operations.backups import find_backup
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.engine import choose_forgotten
from edurise_backup.operations.guarding import authorise_acceptance, authorise_forgetting
from edurise_backup.operations.maintenance import run_maintenance
from edurise_backup.operations.people import local_actor
from edurise_backup.operations.presence import look_for_backups
from edurise_backup.operations.primary import opened_primary
from edurise_backup.operations.protections import kept_here
from edurise_backup.operations.pruning import bring_back, parse_duration
from edurise_backup.operations.rebuilding import by_snapshot_alone
from edurise_backup.operations.retention_plan import restore_point
from edurise_backup.operations.snapshots import parse_span
from edurise_backup.operations.store_use import refuse_append_only
from edurise_backup.ports import Progress
from edurise_backup.repository.holds import refuse_protected
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.locks import wait_for_lock
from edurise_backup.repository.moments import moment_text
from edurise_backup.repository.repository import Repository

_ALL = 1_000_000
"""More backups than a catalog has."""


@dataclass(frozen=True, slots=True)
class BackupDecision:
    """What a policy says of one backup; without reasons it goes."""

    backup: BackupJob
    reasons: tuple[str, ...]

    @property
    def keep(self) -> bool:
        """Whether any rule keeps it."""
        return bool(self.reasons)


@dataclass(frozen=True, slots=True)
class ForgottenBackups:
    """Which backups went, or (a dry run) would go, and why the others stay."""

    gone: tuple[JobId, ...]
    decisions: tuple[BackupDecision, ...]
    until: datetime | None
    """Until when they can be brought back; None when they cannot, or none went."""
    job: MaintenanceJob | None
    """None for a dry run, and when nothing was to be forgotten."""


def forget_backups(
    backups: Sequence[UUID | str] = (),
    *,
    settings: Settings | None = None,
    policy: RetentionPolicy | None = None,
    keep_within: str = "",
    grace: str = "7d",
    dry_run: bool = False,
    actor: Actor | None = None,
    progress: Progress | None = None,
) -> ForgottenBackups:
    """Forget backups, named by ids or chosen by a policy, each with all of its snapshots.

    A policy judges the restorable backups of each host, type and source apart;
    those that no job of ours made (known by their snapshot alone) stay, as do
    the newest, the newest verified and the newest complete one of each type and
    source, and what is pinned or held (ConflictError when it is named). Until
    `grace` is over what went can be brought back; with `0` it cannot. Less than
    a day needs a second person. `actor` is who asks, the person at this process
    unless named. Raises InputError for a wish that means nothing,
    NotFoundError, AmbiguousError, ForbiddenError, and DamageError when a policy
    is to judge and a snapshot is not readable.
    """
    settings, length = settings or load_settings(), parse_duration(grace)
    who = actor or local_actor()
    with open_catalog(settings) as catalog:
        decisions: tuple[BackupDecision, ...] = ()
        repository = opened_primary(settings, catalog)
        if backups and policy is None and not keep_within:
            chosen = _named(catalog, backups, kept_here(catalog, repository, catalog.clock()))
        else:
            chosen, decisions = _judged(catalog, repository, backups, policy or RetentionPolicy(), keep_within)
        gone = tuple(backup.id for backup in chosen)
        if dry_run or not chosen:
            return ForgottenBackups(gone, decisions, None, None)
        refuse_append_only(settings.repository, "forgetting")
        until = catalog.clock() + length if length > timedelta(0) else None
        authorise_forgetting(catalog, settings, who, gone, length)

        def act(repository: Repository, progress: Progress) -> ForgetFigures:
            return forget_whole(catalog, repository, chosen, progress, grace=length, by=who)

        asked = f"grace {grace}, " + ("named" if not decisions else "by policy")
        job = _run(catalog, settings, asked, act, progress)
        done = job.figures.forgotten if job.figures else None
        return ForgottenBackups(gone, decisions, done.until if done else until, job)


def bring_backups_back(
    backups: Sequence[UUID | str], *, settings: Settings | None = None, progress: Progress | None = None
) -> MaintenanceJob:
    """Publish the snapshots of forgotten backups again, under their old ids; all of their data is proved first.

    Raises NotFoundError when a snapshot's grace is over, DamageError when its data is gone.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        chosen = [find_backup(catalog, word) for word in _given(backups)]

        def act(repository: Repository, progress: Progress) -> ForgetFigures:
            for backup in chosen:
                bring_whole_back(catalog, repository, backup, progress)
                record_backup(catalog, repository, local_actor(), BRING_BACK, backup)
            return ForgetFigures(tuple(backup.id for backup in chosen))

        return _run(catalog, settings, "undo", act, progress)


def accept_gone(
    backups: Sequence[UUID | str],
    *,
    settings: Settings | None = None,
    actor: Actor | None = None,
    progress: Progress | None = None,
) -> MaintenanceJob:
    """Note that missing backups are meant to be gone, so that a prune does not refuse any more.

    Only the catalog is changed, and that needs a second person (ForbiddenError).
    Raises InputError for a backup whose snapshots are all there, or forgotten.
    """
    settings, who = settings or load_settings(), actor or local_actor()
    with open_catalog(settings) as catalog:
        chosen = [find_backup(catalog, word) for word in _given(backups)]

        def act(repository: Repository, progress: Progress) -> ForgetFigures:
            missing = look_for_backups(catalog, repository).missing
            for backup in chosen:
                if backup.id not in missing:
                    raise InputError(
                        f"the backup {backup.id} is not missing",
                        safe="nothing was changed",
                        hint="`edurise-backup list` says which ones are",
                    )
            ids = tuple(backup.id for backup in chosen)
            authorise_acceptance(catalog, settings, who, ids)
            for backup in chosen:
                record_backup(catalog, repository, who, ACCEPT_GONE, backup)
            mark_forgotten(catalog.sessions, ids, at=catalog.clock(), until=None)
            return ForgetFigures(ids)

        return _run(catalog, settings, "accepted as gone", act, progress)


def _given(backups: Sequence[UUID | str]) -> Sequence[UUID | str]:
    if not backups:
        raise InputError("no backup is named", hint="`edurise-backup list` shows the ids")
    return backups


def _named(catalog: Catalog, words: Sequence[UUID | str], kept: Mapping[str, Protection]) -> list[BackupJob]:
    chosen = {backup.id: backup for backup in (find_backup(catalog, word) for word in words)}
    for backup in chosen.values():
        if not backup.status.good:
            raise InputError(
                f"the backup {backup.id} is {backup.status.value.replace('_', ' ')}: it is no restore point",
                safe="nothing was changed",
                hint="snapshots of a set that was cut short: `edurise-backup repo forget` by their ids",
            )
        if backup.missing_since is not None:
            raise InputError(
                f"the backup {backup.id} is missing from the repository",
                safe="nothing was changed",
                hint="when it is meant to be gone: `edurise-backup forget --gone ID`",
            )
        refuse_protected([part.snapshot_id for part in backup.parts], kept)
    return list(chosen.values())


def _judged(
    catalog: Catalog, repository: Repository, words: Sequence[UUID | str], policy: RetentionPolicy, keep_within: str
) -> tuple[list[BackupJob], tuple[BackupDecision, ...]]:
    """Return what a policy lets go; a snapshot that cannot be read raises DamageError: it may be the newest."""
    now = catalog.clock()
    jobs = catalog.jobs.find(BackupFilters(restorable=True, limit=_ALL))
    listed = repository.snapshots()
    kept = kept_here(catalog, repository, now)
    judged = {
        str(job.id): job
        for job in jobs
        if not by_snapshot_alone(job) and all(part.snapshot_id in listed for part in job.parts)
    }
    gone, decisions = choose_forgotten(
        {SnapshotId(job_id): _as_snapshot(job, listed) for job_id, job in judged.items()},
        list(map(str, words)),
        policy,
        within=parse_span(keep_within) if keep_within else None,
        kept={str(job.id): kept[part.snapshot_id] for job in jobs for part in job.parts if part.snapshot_id in kept},
        now=now,
    )
    decisions = _never_the_last(decisions, judged, now)
    gone = [decision.id for decision in decisions if not decision.keep] if decisions else gone
    foreign = [BackupDecision(job, ("no job of ours made it: not judged",)) for job in jobs if by_snapshot_alone(job)]
    return (
        [judged[job_id] for job_id in gone],
        (*(BackupDecision(judged[decision.id], decision.reasons) for decision in decisions), *foreign),
    )


def _never_the_last(decisions: Sequence[Decision], judged: Mapping[str, BackupJob], now: datetime) -> list[Decision]:
    """Keep of each type and source the newest, the newest verified and the newest complete backup, too."""
    points = [restore_point(judged[decision.id], (), {}) for decision in decisions]
    good = sorted((p for p in points if p.counts(now)), key=lambda point: (point.moment, point.id), reverse=True)
    always = always_kept(good)
    return [
        decision if decision.keep else replace(decision, reasons=tuple(always.get(UUID(decision.id), ())))
        for decision in decisions
    ]


def _as_snapshot(job: BackupJob, listed: Mapping[SnapshotId, Snapshot]) -> Snapshot:
    """Describe a backup to the rules for snapshots: its moment, its tags, and (as host and paths) its group."""
    first = listed[SnapshotId(job.parts[0].snapshot_id)]
    return Snapshot(
        time=moment_text(job.started_at or datetime.min.replace(tzinfo=UTC)),
        tree=first.tree,
        hostname=first.hostname,
        paths=[job.type.value, job.source],
        tags=list(job.tags),
    )


def _run(
    catalog: Catalog,
    settings: Settings,
    asked: str,
    act: Callable[[Repository, Progress], ForgetFigures],
    progress: Progress | None,
) -> MaintenanceJob:
    def work(repository: Repository, reporter: Progress, started: MaintenanceJob) -> MaintenanceJob:
        done = act(repository, reporter)
        snapshots = len(repository.box.ids(Kind.SNAPSHOT))
        return replace(
            started, status=JobStatus.COMPLETED, figures=MaintenanceFigures(snapshots=snapshots, forgotten=done)
        )

    job = MaintenanceJob(JobId(uuid4()), MaintenanceKind.FORGET, JobStatus.QUEUED, asked=asked)
    return run_maintenance(catalog, settings, job, work, progress=progress)


def forget_whole(
    catalog: Catalog,
    repository: Repository,
    chosen: Sequence[BackupJob],
    progress: Progress,
    *,
    grace: timedelta,
    now: datetime | None = None,
    wait: timedelta = timedelta(0),
    by: Actor = SYSTEM,
) -> ForgetFigures:
    """Forget each backup as a whole; a cancelled job stops between two. May be repeated after a crash.

    Waits up to `wait` for a prune that holds the repository. Pins and holds are looked at anew before each one:
    raises ConflictError for one that came since.
    """
    progress.phase("forget")
    done: list[JobId] = []
    moment = now or catalog.clock()
    until = moment + grace if grace > timedelta(0) else None
    with wait_for_lock(lambda: repository.lock(at_once=True), wait, progress.raise_if_cancelled):
        listed = set(repository.box.ids(Kind.SNAPSHOT))
        for backup in chosen:
            progress.raise_if_cancelled()
            if not listed.intersection(part.snapshot_id for part in backup.parts):
                continue  # forgotten before: its grace goes on as it was
            kept = kept_here(catalog, repository, moment)
            refuse_protected([part.snapshot_id for part in backup.parts], kept)
            record_backup(catalog, repository, by, FORGET, backup)
            mark_forgotten(catalog.sessions, [backup.id], at=moment, until=until)
            for part in reversed(backup.parts):  # the metadata first: a set that has it looks whole
                if part.snapshot_id in listed:
                    with suppress(NotFoundError):  # somebody else has forgotten it since
                        snapshot = SnapshotId(part.snapshot_id)
                        repository.forget(snapshot, grace=grace, now=moment, kept=kept, removed=catalog.clock())
            # a check beside us may have seen all snapshots and taken the mark away
            mark_forgotten(catalog.sessions, [backup.id], at=moment, until=until)
            done.append(backup.id)
    return ForgetFigures(tuple(done), until)


def bring_whole_back(catalog: Catalog, repository: Repository, backup: BackupJob, progress: Progress) -> None:
    """Publish the snapshots of a forgotten backup again; raises NotFoundError, DamageError. May be repeated."""
    present = look_for_backups(catalog, repository)
    snapshots = [part.snapshot_id for part in backup.parts]
    if gone := [one for one in snapshots if one not in present.listed and one not in present.waiting]:
        raise NotFoundError(
            f"the backup {backup.id} cannot be brought back: {len(gone)} of its {len(snapshots)} snapshots are gone",
            safe="nothing was changed",
            hint="its grace is over; look for a copy of the repository",
        )
    waiting = [one for one in snapshots if one not in present.listed]
    if not waiting:
        raise InputError(f"the backup {backup.id} is not forgotten", safe="nothing was changed")
    bring_back(repository, waiting, progress=progress)
    look_for_backups(catalog, repository)
