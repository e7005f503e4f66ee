"""Alarms: look what is wrong, tell people, and let them say that they look after it."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from edurise_backup.catalog.alarm_facts import clock_offset, read_facts, read_sizes
from edurise_backup.catalog.alarms import Alarms
from edurise_backup.config import Settings
from edurise_backup.errors import AmbiguousError, ConflictError, ForbiddenError, NotFoundError
from edurise_backup.model.alarm_facts import FULL, Aims, Facts, Locks, PrimaryFacts, Store
from edurise_backup.model.alarm_rules import KINDS, judge
from edurise_backup.model.alarms import Alarm, AlarmRow
from edurise_backup.model.audit import Outcome
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.location import SCHEME
from edurise_backup.model.maintenance import MaintenanceKind
from edurise_backup.model.people import Actor, Permission
from edurise_backup.model.stores import PRIMARY
from edurise_backup.model.workers import Worker
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.collection import choose_sources
from edurise_backup.operations.copy_status import copy_facts
from edurise_backup.operations.planning import ALARM_SUBJECT
from edurise_backup.operations.point_in_time.windows import wal_facts
from edurise_backup.operations.stores import known_copies, known_stores
from edurise_backup.ports import Clock

_SCHEDULES = ALARM_SUBJECT.format("")
"""What is about a schedule is raised and settled where its runs are judged."""


def by_rules(alarm: AlarmRow) -> bool:
    """Whether the rules alone decide this alarm; others are raised and settled elsewhere."""
    return alarm.kind in KINDS and not alarm.subject.startswith(_SCHEDULES)


def look(settings: Settings, catalog: Catalog, now: datetime, *, clock: Clock | None = None) -> tuple[Alarm, ...]:
    """Judge everything by the rules, open and settle alarms accordingly; return those that are new.

    `clock` (the settings' own unless given) is compared with the catalog server's.
    """
    facts = gather(settings, catalog, now, clock=clock)
    return Alarms(catalog.sessions, clock=lambda: now).replace(KINDS, judge(facts), but=_SCHEDULES)


def gather(settings: Settings, catalog: Catalog, now: datetime, *, clock: Clock | None = None) -> Facts:
    """Return everything that the rules look at; the repository is not opened."""
    facts = read_facts(catalog.sessions, now)
    return replace(
        facts,
        aims=aims_of(settings),
        expected=with_other_hosts(expected_sources(settings), facts.workers),
        store=_store(settings, catalog, now),
        clock_offset=clock_offset(catalog.sessions, clock or settings.around.clock),
        primary=_primary(catalog),
        copies=copy_facts(catalog, known_copies(settings, catalog), now),
        locks=_locks(settings, catalog, facts),
        wal=wal_facts(settings, catalog),
    )


def aims_of(settings: Settings) -> Aims:
    """Return the objectives that alarms measure against."""
    found = settings.objectives
    return Aims(
        good_backup=timedelta(hours=found.good_backup_hours),
        verified=timedelta(days=found.verified_days),
        free=timedelta(days=found.free_days),
    )


def expected_sources(settings: Settings) -> tuple[tuple[str, str], ...]:
    """Return (part, source) of everything that is configured, the whole set first; nothing without a source."""
    if not any((settings.databases, settings.clusters, settings.files, settings.buckets, settings.configuration)):
        return ()
    return (FULL, *((part.value, name) for part, name in choose_sources(settings, BackupType.FULL, None)))


def with_other_hosts(expected: tuple[tuple[str, str], ...], workers: Collection[Worker]) -> tuple[tuple[str, str], ...]:
    """Add what other hosts read: whichever host looks, it must not settle what another one has found; pure.

    Where no host with a worker reads everything there can be no full set.
    """
    hosts = [frozenset(worker.sources) for worker in workers]
    everything = frozenset[str]().union(*hosts)
    others = {(part, name) for part, _, name in [source.partition("/") for source in everything]}
    found = (*expected, *sorted(others - set(expected)))
    if workers and everything not in hosts:
        found = tuple(one for one in found if one != FULL)
    return found


def find_alarm(catalog: Catalog, word: str) -> AlarmRow:
    """Return the open alarm whose id begins with `word`; raises NotFoundError, AmbiguousError."""
    digits = word.strip().lower()
    found = [alarm for alarm in catalog.alarms.open() if digits and str(alarm.id).startswith(digits)]
    if not found:
        raise NotFoundError(
            f"no open alarm has the id {word}",
            safe="nothing was changed",
            hint="`edurise-backup alarm list` shows them",
        )
    if len(found) > 1:
        raise AmbiguousError(
            f"the id {word} is short for more than one alarm", safe="nothing was changed", hint="write more of the id"
        )
    return found[0]


def acknowledge(catalog: Catalog, actor: Actor, alarm_id: UUID) -> None:
    """Note that the actor looks after an open alarm: nobody further is told of it.

    Raises ForbiddenError, NotFoundError, and ConflictError when somebody else was quicker.
    """
    allowed(catalog, actor, Permission.OPERATE, "alarm.acknowledge", str(alarm_id))
    alarm = next((row for row in catalog.alarms.open() if row.id == alarm_id), None)
    if alarm is None:
        raise NotFoundError(
            f"the alarm {alarm_id} is not open", safe="nothing was changed", hint="it may have been settled meanwhile"
        )
    if not catalog.alarms.acknowledge(alarm_id, actor.name):
        raise ConflictError(
            f"the alarm {alarm_id} has been acknowledged by {alarm.acknowledged_by or 'somebody'}",
            safe="nothing was changed",
            hint="ask them",
        )
    catalog.audit.add(
        actor, "alarm.acknowledge", str(alarm_id), detail={"kind": alarm.kind.value, "subject": alarm.subject}
    )


def allowed(catalog: Catalog, actor: Actor, permission: Permission, action: str, subject: str) -> None:
    """Raise ForbiddenError unless the actor may do it; the refusal is written to the audit trail."""
    try:
        actor.require(permission)
    except ForbiddenError:
        catalog.audit.add(actor, action, subject, outcome=Outcome.REFUSED)
        raise


def _locks(settings: Settings, catalog: Catalog, facts: Facts) -> tuple[Locks, ...]:
    """Return how the locks stand of each store that is configured to have some."""
    first = min((good.first_at for good in facts.last_good), default=None)
    rows = {row.name: row.registered_at for row in catalog.stores.all()}
    found = []
    for store in known_stores(settings, catalog):
        if store.settings.lock_mode == "off":
            continue
        pruned = catalog.maintenance.last(MaintenanceKind.PRUNE, good=True, store="" if store.primary else store.name)
        figures = pruned.figures.pruned if pruned and pruned.figures else None
        earliest = figures.locks.earliest if figures and figures.locks else None
        since = first if store.primary else rows.get(store.name)
        found.append(Locks(store.name, store.settings.lock_days, earliest, since))
    return tuple(found)


def _primary(catalog: Catalog) -> PrimaryFacts | None:
    """Return what the register says of a primary that did not open the last time; nothing is opened here."""
    row = next((row for row in catalog.stores.all() if row.name == PRIMARY), None)
    if row is None or row.unreachable_since is None:
        return None
    return PrimaryFacts(row.location, row.unreachable_since, row.trouble, catalog.copies.serving())


def _store(settings: Settings, catalog: Catalog, now: datetime) -> Store | None:
    location = settings.repository.location
    if not location or (SCHEME.match(location) and not location.startswith("local:")):
        return None  # what lies elsewhere has no disk that could be seen to fill
    return Store(location, free_bytes(location), read_sizes(catalog.sessions, now))


def free_bytes(location: str) -> int | None:
    """Return the room that a local repository's disk has left; None when that cannot be seen."""
    try:
        found = shutil.disk_usage(location.removeprefix("local:"))
    except OSError:
        return None
    return found.free
