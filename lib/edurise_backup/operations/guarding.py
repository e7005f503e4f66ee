"""Which destructive acts need a second person, and what exactly is approved.

A plan holds what goes, never what stays: a backup that is taken while somebody
decides does not make the approval void, anything more that would go does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta

from edurise_backup.config import Settings
from edurise_backup.model.jobs import JobId
from edurise_backup.model.people import Actor
from edurise_backup.model.schedules import Schedule
from edurise_backup.operations.approvals import authorise
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.pruning import show_prune
from edurise_backup.ports import Progress
from edurise_backup.repository.fates import PruneOptions
from edurise_backup.repository.prune_plan import PrunePlan
from edurise_backup.repository.repository import Repository

PRUNE = "repository.prune"
FORGET = "backup.forget_at_once"
ACCEPT_GONE = "backup.accept_gone"
REMOVE_KEY = "key.remove"
RELEASE_HOLD = "hold.release"
WEAKEN = "schedule.weaken"
SHORTEST_GRACE = timedelta(days=1)
"""A shorter one counts as none: nobody would notice in time what goes."""
_ROOM = 0.01
"""By so much of the data may a prune differ from the plan that was approved."""


def authorised_prune(
    catalog: Catalog,
    settings: Settings,
    actor: Actor,
    repository: Repository,
    options: PruneOptions,
    *,
    known: Sequence[str],
    progress: Progress,
) -> PruneOptions:
    """Return the options with the bound that this actor may prune within; raises ForbiddenError.

    Within the site's threshold nobody is asked. Beyond it the plan is made
    first, and must be approved when it does remove more.
    """
    threshold = settings.approvals.prune_removes_percent / 100
    if options.max_removed <= threshold:
        return options
    plan = show_prune(repository, options, progress=progress, known=known)
    share = removed_share(plan)
    if share <= threshold:
        return replace(options, max_removed=threshold)
    authorise(
        catalog,
        actor,
        PRUNE,
        {
            "repository": repository.config.id,
            "removes_percent": round(100 * share),
            "packs": digest(plan.survey.index.pack_id(pack) for pack in (*plan.fates.remove, *plan.fates.repack)),
            "forgotten_for_good": sorted(plan.over),
            "grace_seconds": int(options.grace.total_seconds()),
        },
        break_glass=settings.approvals.break_glass,
    )
    return replace(options, max_removed=min(options.max_removed, share + _ROOM))


def authorise_forgetting(
    catalog: Catalog, settings: Settings, actor: Actor, backups: Iterable[JobId], grace: timedelta
) -> None:
    """Raise ForbiddenError unless these backups may be forgotten with a grace that is none, or next to none."""
    if grace < SHORTEST_GRACE:
        plan = {"backups": sorted(map(str, backups)), "grace_seconds": int(grace.total_seconds())}
        _authorise(catalog, settings, actor, FORGET, plan)


def authorise_acceptance(catalog: Catalog, settings: Settings, actor: Actor, backups: Iterable[JobId]) -> None:
    """Raise ForbiddenError unless it may be settled that these backups are gone."""
    _authorise(catalog, settings, actor, ACCEPT_GONE, {"backups": sorted(map(str, backups))})


def authorise_key_removal(
    catalog: Catalog, settings: Settings, actor: Actor, repository: Repository, key_id: str
) -> None:
    """Raise ForbiddenError unless this key (its whole id) may be taken from the repository."""
    _authorise(catalog, settings, actor, REMOVE_KEY, {"repository": repository.config.id, "key": key_id})


def authorise_release(catalog: Catalog, settings: Settings, actor: Actor, plan: dict[str, object]) -> None:
    """Raise ForbiddenError unless this legal hold may be released."""
    _authorise(catalog, settings, actor, RELEASE_HOLD, plan)


def authorise_weakening(
    catalog: Catalog, settings: Settings, actor: Actor, schedule: Schedule, losses: Sequence[str]
) -> None:
    """Raise ForbiddenError unless this schedule, as it is now, may keep so much less (a sentence each)."""
    plan = {"schedule": str(schedule.id), "name": schedule.name, "version": schedule.version, "keeps_less": [*losses]}
    if losses:
        _authorise(catalog, settings, actor, WEAKEN, plan)


def removed_share(plan: PrunePlan) -> float:
    """Return the share of the indexed bytes that a prune removes, 0 to 1."""
    listed = sum(size for size in plan.survey.stored if size > 0)
    return plan.fates.removed_bytes / listed if listed else 0.0


def digest(names: Iterable[str]) -> str:
    """Return SHA-256 over names, sorted, one a line."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def _authorise(catalog: Catalog, settings: Settings, actor: Actor, act: str, plan: dict[str, object]) -> None:
    authorise(catalog, actor, act, plan, break_glass=settings.approvals.break_glass)
