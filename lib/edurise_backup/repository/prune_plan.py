"""Decide what a prune does: a value that can be shown, and that applying it follows.

Nothing is written here. What the plan says to remove is looked at once more
under the exclusive lock before it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from edurise_backup.errors import ConflictError
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.ports import Progress
from edurise_backup.repository.condemned import Condemned, read_condemned
from edurise_backup.repository.fates import DEFAULTS, Fates, PruneOptions, judge, serving_copies
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.survey import Survey, read_roots, refuse_wrong_clock


@dataclass(frozen=True, slots=True)
class Departure:
    """Which packs are deleted now, and which wait un-indexed; sizes in bytes."""

    due: tuple[str, ...]
    due_bytes: int
    waiting: tuple[str, ...]
    waiting_bytes: int
    until: datetime | None
    """When the last of those that wait may be deleted."""
    locked: tuple[str, ...] = ()
    """Their time has come, and the store holds them: a later prune deletes them."""
    locked_bytes: int = 0
    locked_until: datetime | None = None
    """When the last of them is let go."""

    def held(self, locked: Mapping[str, datetime], sizes: Mapping[str, int]) -> Departure:
        """Return the same, with packs that are due and locked until later taken out."""
        if not locked:
            return self
        size = sum(sizes[pack] for pack in locked)
        return replace(
            self,
            due=tuple(pack for pack in self.due if pack not in locked),
            due_bytes=self.due_bytes - size,
            locked=(*self.locked, *locked),
            locked_bytes=self.locked_bytes + size,
            locked_until=max((*locked.values(), *filter(None, [self.locked_until]))),
        )


@dataclass(frozen=True, slots=True)
class PrunePlan:
    """What a prune will do; sizes in bytes."""

    snapshots: int
    forgotten: int
    """Forgotten snapshots that still count: their grace lasts."""
    over: tuple[SnapshotId, ...]
    """Forgotten snapshots whose grace has ended: they cannot be brought back after this prune."""
    packs: int
    total_bytes: int
    """What all packs of the store take."""
    used_blobs: int
    fates: Fates
    unlisted: int
    """Packs that no index lists and nothing needs: they wait, or are due."""
    rescue: int
    """Packs that no index lists and a snapshot needs: they are indexed again."""
    departure: Departure
    refusal: str
    """Why applying this plan is refused; empty when it is not."""
    warnings: tuple[str, ...]
    options: PruneOptions
    moment: datetime
    """When it was made: forgotten snapshots whose grace ended before that are given up."""
    survey: Survey = field(repr=False, compare=False)
    kept: bytearray = field(repr=False, compare=False)
    """Not 0 for each blob (by its number) whose copy there is the one that serves."""

    @property
    def freed_bytes(self) -> int:
        """What the store will hold less, once everything that waits has gone, too."""
        return self.departure.due_bytes + self.departure.waiting_bytes - self.fates.repack_bytes

    def refuse(self) -> None:
        """Raise ConflictError when the plan must not be applied."""
        if self.refusal:
            raise ConflictError(
                self.refusal,
                safe="nothing was removed",
                hint="look at `snapshots` and `prune --dry-run`; when they are right, `--max-removed 100%` "
                "removes whatever no snapshot refers to",
            )


def plan_prune(
    repository: Repository,
    options: PruneOptions = DEFAULTS,
    *,
    now: datetime,
    progress: Progress,
    known: Collection[str] = (),
    seen: Mapping[SnapshotId, Snapshot] | None = None,
) -> PrunePlan:
    """Say what a prune would do; a shared lock must be held when the plan is to be applied.

    `known` are snapshots that the caller knows to be there, `seen` those that need not be read again.
    Raises ConflictError without snapshots or when known ones are missing, DamageError
    when something is unreadable or a blob that is needed is nowhere, InputError for wrong clocks.
    """
    refuse_wrong_clock(repository.store, now)
    roots = read_roots(repository, now=now, known=known, seen=seen)
    condemned = read_condemned(repository.box)
    survey = Survey.take(repository, roots, progress)
    progress.phase("copies")
    kept = serving_copies(survey)
    fates = judge(survey, kept, options)
    listed = sum(size for size in survey.stored if size > 0)
    return PrunePlan(
        snapshots=len(roots.snapshots),
        forgotten=len(roots.forgotten),
        over=tuple(roots.over),
        packs=sum(size >= 0 for size in survey.stored) + len(survey.unlisted),
        total_bytes=listed + sum(survey.unlisted.values()),
        used_blobs=len(survey.reach.used) - survey.reach.used.count(0),
        fates=fates,
        unlisted=len(survey.unlisted),
        rescue=len(survey.rescued),
        departure=departure(survey, (*fates.remove, *fates.repack), condemned, now=now, grace=options.grace),
        refusal=_refusal(fates.removed_bytes, listed, options.max_removed),
        warnings=(*roots.warnings(now), *condemned.warnings(now), *survey.warnings(), *fates.warnings),
        options=options,
        moment=now,
        survey=survey,
        kept=kept,
    )


def departure(
    survey: Survey, going: Iterable[int], condemned: Condemned, *, now: datetime, grace: timedelta
) -> Departure:
    """Say which packs are deleted now: those that no index lists for `grace`, or with no grace all that go.

    What is un-indexed only now waits from now on, whatever an old note says of it.
    """
    fresh = {survey.index.pack_id(pack): survey.stored[pack] for pack in going}
    due = condemned.due(survey.unlisted, now=now, grace=grace)
    if grace <= timedelta(0):
        due += fresh
    sizes = {**survey.unlisted, **fresh}
    waiting = tuple(sizes.keys() - set(due))
    since = [now if pack in fresh else condemned.since.get(pack, now) for pack in waiting]
    leaving = Departure(
        due=tuple(due),
        due_bytes=sum(sizes[pack] for pack in due),
        waiting=waiting,
        waiting_bytes=sum(sizes[pack] for pack in waiting),
        until=max(since) + grace if since else None,
    )
    return leaving.held({pack: end for pack in due if (end := condemned.locked.get(pack, now)) > now}, sizes)


def _refusal(removed: int, listed: int, limit: float) -> str:
    if not listed or removed <= limit * listed:
        return ""
    return f"{removed / listed:.0%} of the indexed bytes would go, and at most {limit:.0%} may go at once"
