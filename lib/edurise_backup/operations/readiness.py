"""Looks of `doctor` beyond the repository and the sources: secrets, disks, and everything that the catalog knows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from edurise_backup.catalog.readiness import Standing, schedule_standings
from edurise_backup.catalog.signs import read_signs
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError
from edurise_backup.model.alarm_facts import Facts
from edurise_backup.model.alarm_rules import judge
from edurise_backup.model.alarms import Alarm, AlarmRow, Severity
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.maintenance import MaintenanceJob, MaintenanceKind
from edurise_backup.model.words import span
from edurise_backup.operations.alarms import by_rules, gather
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.secrets import credential_path
from edurise_backup.operations.telling import targets
from edurise_backup.operations.watching import SERVICE
from edurise_backup.postgres.tools import find_server

LITTLE_DATA_ROOM = 1024**3
"""Bytes: the data directory's disk with less room is a warning."""
OLDEST_PROOF = timedelta(days=30)
"""Bytes that were not read back for longer are a warning."""
OVERDUE = timedelta(minutes=10)
"""A schedule whose next run lies further back was not started."""


def secret_files(settings: Settings) -> Iterator[Finding]:
    """Look at the files with secrets: there, readable, by nobody else, and not beside what they open."""
    repository = settings.repository.location.removeprefix("local:")
    passphrase = settings.repository.password_file
    if passphrase and repository and Path(passphrase).is_relative_to(repository):
        yield Finding(
            Level.WARNING,
            "secrets",
            f"the passphrase {passphrase} lies in the repository that it opens",
            "move it elsewhere, and keep a copy where this host's disks do not reach",
        )
    named = [place.file for place in settings.secrets if place.file]
    named += [one.url_file for one in settings.alarm_targets]
    kept = [settings.data_directory / "catalog.password", credential_path(settings.data_directory)]
    named += [str(path) for path in kept if path.exists()]
    good = 0
    for name in dict.fromkeys(filter(None, named)):
        if problem := _problem_of(Path(name)):
            yield problem
        else:
            good += 1
    if good:
        yield Finding(Level.FINE, "secrets", f"{good} files can be read by this user alone")


def data_directory(settings: Settings) -> Iterator[Finding]:
    """Look at the room of the disk with the data directory, where the embedded catalog and Prefect write."""
    place = settings.data_directory
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < LITTLE_DATA_ROOM:
        yield Finding(Level.WARNING, "data directory", f"its disk has {free:,} bytes left", "free space, or move it")
    else:
        yield Finding(Level.FINE, "data directory", f"{settings.data_directory}: {free / 1024**3:.1f} GiB are free")


def embedded_server(settings: Settings) -> Iterator[Finding]:
    """Look for the PostgreSQL server that the embedded catalog and a proof of a restored database need."""
    needed = "proofs of restored databases" if settings.catalog.url else "the catalog"
    try:
        version = find_server().version
    except BackupError as error:
        level = Level.WARNING if settings.catalog.url else Level.FAULT
        yield Finding(level, "embedded server", f"{error.message}; it is needed for {needed}", error.hint)
    else:
        yield Finding(Level.FINE, "embedded server", f"PostgreSQL {version} is there for {needed}")


def from_catalog(settings: Settings) -> Iterator[Finding]:
    """Look at alarms, objectives, schedules, proofs, targets and the watch; opens the catalog once."""
    now = settings.around.clock()
    with open_catalog(settings) as catalog:
        yield Finding(Level.FINE, "catalog", "it answers, its schema is of this release")
        facts = gather(settings, catalog, now)
        yield from _alarms(catalog, facts)
        yield from judge_export(facts)
        yield from judge_schedules(schedule_standings(catalog.sessions), now)
        yield from judge_proof(catalog.maintenance.last(MaintenanceKind.CHECK, good=True), now)
        yield from _told(settings, catalog)


def judge_schedules(schedules: tuple[Standing, ...], now: datetime) -> Iterator[Finding]:
    """Say whether something is backed up by itself, and which schedules are overdue."""
    active = [one for one in schedules if one.is_active and not (one.paused_until and one.paused_until > now)]
    backups = [one for one in active if one.type in list(BackupType)]
    if not backups:
        yield Finding(
            Level.WARNING,
            "schedules",
            "no schedule of backups is active: nothing is backed up by itself",
            "add one: `edurise-backup schedule add`, or resume what is paused",
        )
    for one in active:
        if one.next_run is None or now - one.next_run > OVERDUE:
            when = f"was due at {one.next_run:%Y-%m-%d %H:%M} UTC" if one.next_run else "has no next run"
            yield Finding(
                Level.WARNING,
                "schedules",
                f"the schedule {one.name} {when}",
                "see whether `make up`, the flows and Prefect run",
            )
    upcoming = sorted((one.next_run, one.name) for one in backups if one.next_run and now - one.next_run <= OVERDUE)
    if upcoming:
        at, name = upcoming[0]
        yield Finding(Level.FINE, "schedules", f"{len(active)} active; next backup: {name} at {at:%Y-%m-%d %H:%M} UTC")


def judge_proof(check: MaintenanceJob | None, now: datetime) -> Iterator[Finding]:
    """Say how long ago the bytes of the repository were read back, by the newest check."""
    remedy = "`edurise-backup check --budget 5%` every day reads everything within three weeks"
    figures = check.figures.checked if check is not None and check.figures is not None else None
    if check is None or figures is None:
        yield Finding(Level.WARNING, "proof", "no check has looked at the repository yet", remedy)
    elif figures.never_proved_packs:
        yield Finding(Level.WARNING, "proof", f"{figures.never_proved_packs:,} packs were never read back", remedy)
    elif figures.oldest_proof is not None and now - figures.oldest_proof > OLDEST_PROOF:
        days = (now - figures.oldest_proof).days
        yield Finding(Level.WARNING, "proof", f"the oldest proof of bytes is {days} days old", remedy)
    elif figures.oldest_proof is not None:
        yield Finding(Level.FINE, "proof", f"every byte was read back since {figures.oldest_proof:%Y-%m-%d}")


def judge_export(facts: Facts) -> Iterator[Finding]:
    """Say from when a lost catalog would come back: its export lies in the newest metadata."""
    exports = [good.newest_at for good in facts.last_good if good.part == BackupType.METADATA]
    remedy = "a full backup, or `edurise-backup backup metadata`, exports it"
    if not exports:
        yield Finding(Level.WARNING, "export", "no export of the catalog is in the repository", remedy)
    elif facts.now - max(exports) > facts.aims.good_backup:
        age = span(facts.now - max(exports))
        yield Finding(Level.WARNING, "export", f"the newest export of the catalog is {age} old", remedy)
    else:
        moment = f"{max(exports):%Y-%m-%d %H:%M} UTC"
        yield Finding(Level.FINE, "export", f"a lost catalog comes back as of {moment} (`rebuild-catalog`)")


def _alarms(catalog: Catalog, facts: Facts) -> Iterator[Finding]:
    """Judge by the rules anew, so that it holds without a watch; what others raised is taken from the table."""
    others = [row for row in catalog.alarms.open() if not by_rules(row)]
    found: list[Alarm | AlarmRow] = [*judge(facts), *others]
    for alarm in found:
        if alarm.severity is not Severity.INFO:
            level = Level.FAULT if alarm.severity is Severity.CRITICAL else Level.WARNING
            yield Finding(level, "alarms", f"{alarm.kind.value}: {alarm.message}", alarm.remedy)
    if not found:
        yield Finding(Level.FINE, "alarms", f"none; {len(facts.expected)} objectives of backups are met")


def _told(settings: Settings, catalog: Catalog) -> Iterator[Finding]:
    states = targets(settings, catalog, environment=os.environ)
    if not states:
        yield Finding(
            Level.WARNING,
            "alarms",
            "nobody is told of alarms",
            "name a target in [[alarm_target]] (docs/operations/alarms.md)",
        )
    for state in states:
        if state.problem:
            yield Finding(Level.WARNING, "alarms", state.problem, f"`edurise-backup alarm test {state.settings.name}`")
    if not any(sign.service == SERVICE for sign in read_signs(catalog.sessions)):
        yield Finding(
            Level.WARNING, "watch", "the watch has never run: nobody looks", "run `edurise-backup watch` as a service"
        )


def _problem_of(path: Path) -> Finding | None:
    try:
        mode = path.stat().st_mode
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        return Finding(
            Level.FAULT,
            "secrets",
            f"{path} cannot be read: {error.strerror}",
            "restore the file, or name the right one",
        )
    if mode & 0o077:
        return Finding(Level.WARNING, "secrets", f"others may read {path}", f"chmod 600 {path}")
    return None
