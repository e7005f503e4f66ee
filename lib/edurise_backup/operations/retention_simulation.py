"""Simulate a policy over the runs to come, with the history that the catalog has and its typical sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from statistics import median

from edurise_backup.catalog.policies import good_backups, read_policies
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.policy import FUTURE, RetentionPolicy
from edurise_backup.model.protections import protected_snapshots
from edurise_backup.model.retention import RestorePoint, Series, policy_of
from edurise_backup.model.schedules import Schedule
from edurise_backup.model.settings import ObjectivesSettings
from edurise_backup.model.simulation import DAYS, LONGEST, MOST_RUNS, Objectives, Simulation, Wish, simulate
from edurise_backup.model.timing import times_until
from edurise_backup.operations.backups import backup_type
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.planning import rule_of
from edurise_backup.operations.retention_plan import restore_point

_TYPICAL = 50
"""The newest backups whose median size a run to come is expected to have."""
_SHORTEST = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Question:
    """What is to be simulated: a schedule, or a type and source with a policy."""

    schedule: str = ""
    """Its name or id; its policy, unless another is given."""
    type: str = ""
    source: str = ""
    policy: RetentionPolicy | None = None
    runs: Sequence[datetime] | None = None
    """The moments to come at which a backup is taken; else `every`, else as the schedule says, or as until now."""
    every: timedelta | None = None
    bytes_each: int | None = None
    """What a run adds; else what the newest ones have added, at the median."""
    days: int = DAYS


def simulate_retention(question: Question, *, settings: Settings | None = None) -> Simulation:
    """Return what a policy keeps and drops in the days to come; nothing is changed.

    Raises NotFoundError for an unknown schedule, InputError for a policy that
    would keep nothing, too long a span, or when nothing says how often there is a run.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        return simulate_from(catalog, settings.objectives, question, catalog.clock())


def simulate_from(catalog: Catalog, objectives: ObjectivesSettings, question: Question, now: datetime) -> Simulation:
    """Do what `simulate_retention` does, with a catalog that is open."""
    if not 1 <= question.days <= LONGEST:
        raise InputError(f"a simulation spans 1 to {LONGEST} days", safe="nothing was changed", hint="give --days 90")
    schedules = read_policies(catalog.sessions)
    series, policy = _asked(question, schedules)
    kept = protected_snapshots((row.protection for row in catalog.protections.all()), now)
    points = [restore_point(job, schedules, kept) for job in good_backups(catalog.sessions, restorable=True)]
    alike = [point for point in points if (point.series.type, point.series.source) == (series.type, series.source)]
    runs = list(question.runs) if question.runs is not None else _runs(question, schedules, alike, series, now)
    if len(runs) > MOST_RUNS:
        raise InputError(
            f"these are {len(runs)} runs to come, at most {MOST_RUNS} can be simulated",
            safe="nothing was changed",
            hint="simulate fewer days",
        )
    wish = Wish(
        series=series,
        policy=policy,
        runs=runs,
        bytes_each=_typical(alike) if question.bytes_each is None else question.bytes_each,
        objectives=Objectives(timedelta(hours=objectives.good_backup_hours), timedelta(days=objectives.retention_days)),
        days=question.days,
    )
    return simulate(points, wish, now=now)


def _asked(question: Question, schedules: Sequence[Schedule]) -> tuple[Series, RetentionPolicy]:
    if question.schedule:
        found = next((one for one in schedules if question.schedule in (one.name, str(one.id))), None)
        if found is None:
            raise NotFoundError(
                f"there is no schedule {question.schedule!r}",
                safe="nothing was changed",
                hint="name one of " + (", ".join(one.name for one in schedules[:20]) or "none: there is no schedule"),
            )
        if found.type.backup is None:
            raise InputError(
                f"the schedule {found.name} takes no backups: it has no retention", safe="nothing was changed"
            )
        series = Series(found.type.value, found.source, str(found.id))
        return series, question.policy or policy_of(found)
    if question.policy is None:
        raise InputError(
            "no policy is given", safe="nothing was changed", hint="name a --schedule, or give --within or a --keep"
        )
    return Series(backup_type(question.type or "full").value, question.source), question.policy


def _runs(
    question: Question, schedules: Sequence[Schedule], alike: Sequence[RestorePoint], series: Series, now: datetime
) -> list[datetime]:
    if question.schedule and question.every is None:
        schedule = next(one for one in schedules if str(one.id) == series.schedule)
        return times_until(rule_of(schedule), now, now + timedelta(days=question.days), limit=MOST_RUNS + 1)
    own = sorted({point.moment for point in alike if point.series == series and point.moment <= now + FUTURE})
    every = question.every
    if every is None and len(own) > 1:
        every = timedelta(seconds=median((later - earlier).total_seconds() for earlier, later in pairwise(own)))
    if every is None or every < _SHORTEST:
        raise InputError(
            "nothing says how often there will be a backup",
            safe="nothing was changed",
            hint="say how often, at least a minute apart (--every 1h); later the series' own history says it",
        )
    first = own[-1] + every if own else now + every
    first = max(first, now + _SHORTEST)
    count = min(int(timedelta(days=question.days) / every) + 1, MOST_RUNS + 1)
    return [first + number * every for number in range(count)]


def _typical(alike: Sequence[RestorePoint]) -> int:
    newest = sorted(alike, key=lambda point: point.moment)[-_TYPICAL:]
    return int(median(point.stored_bytes for point in newest)) if newest else 0
