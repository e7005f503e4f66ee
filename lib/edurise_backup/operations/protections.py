"""Pin backups, put them on legal hold, and release them: first in the repository, then in the catalog.

A release is the other way round: it is recorded, then the note goes, then the
row. A crash leaves a backup that is kept, never one that is dropped unseen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from edurise_backup.catalog.protections import ProtectionRow
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import AmbiguousError, BackupError, ConflictError, InputError, NotFoundError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.audit import Outcome
from edurise_backup.model.jobs import BackupJob
from edurise_backup.model.people import SYSTEM, Actor, Permission
from edurise_backup.model.protections import Protection, ProtectionKind, checked_reason, protected_snapshots
from edurise_backup.operations.backups import find_backup
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.guarding import authorise_release
from edurise_backup.operations.primary import opened_primary
from edurise_backup.repository.forgetting import read_forgotten
from edurise_backup.repository.holds import drop_protection, read_protections, save_protection
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository


def pin_backup(backup: UUID | str, reason: str, *, actor: Actor, settings: Settings | None = None) -> Protection:
    """Keep a backup until the pin is removed; raises InputError, ForbiddenError, and NotFoundError when it is gone."""
    return _protect(ProtectionKind.PIN, backup, reason, None, actor, settings)


def hold_backup(
    backup: UUID | str,
    reason: str,
    *,
    actor: Actor,
    until: datetime | None = None,
    settings: Settings | None = None,
) -> Protection:
    """Put a backup on legal hold, for good or until a moment; raises as `pin_backup`."""
    settings = settings or load_settings()
    if until is not None and (until.tzinfo is None or until <= settings.around.clock() + timedelta(minutes=1)):
        raise InputError(
            "a hold ends in the future, at a time with its zone",
            safe="nothing was changed",
            hint="write e.g. 2030-12-31, or leave it out: it then lasts until it is released",
        )
    return _protect(ProtectionKind.HOLD, backup, reason, until, actor, settings)


def remove_pin(word: UUID | str, *, actor: Actor, settings: Settings | None = None) -> Protection:
    """Remove a pin, named by its id or its backup's; raises NotFoundError, AmbiguousError, ForbiddenError."""
    return _release(ProtectionKind.PIN, word, actor, settings)


def release_hold(word: UUID | str, *, actor: Actor, settings: Settings | None = None) -> Protection:
    """Release a legal hold, named by its id or its backup's; raises as `remove_pin`.

    A second person must have agreed to exactly this (ForbiddenError); a hold
    that has ended by itself needs nobody's word.
    """
    return _release(ProtectionKind.HOLD, word, actor, settings)


def list_protections(
    kind: ProtectionKind | None = None, *, settings: Settings | None = None
) -> tuple[ProtectionRow, ...]:
    """Return the pins, the holds or both, newest first, as the repository says now."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        repository = opened_primary(settings, catalog)
        look_for_protections(catalog, repository)
        return tuple(row for row in catalog.protections.all() if kind is None or row.kind is kind)


def kept_here(catalog: Catalog, repository: Repository, now: datetime) -> dict[str, Protection]:
    """Return the snapshots that pins and holds keep: those of the repository, and those that vanished from it."""
    known = catalog.protections.all()  # read first: one that is placed meanwhile is in the repository
    found = {one.id: one for one in read_protections(repository.box)}
    gone = [row.protection for row in known if row.id not in found and row.releasing_at is None]
    return protected_snapshots([*gone, *found.values()], now)


def look_for_protections(catalog: Catalog, repository: Repository) -> tuple[ProtectionRow, ...]:
    """Bring the cache up to date; return the rows whose note is gone unreleased, and raise an alarm for each.

    Raises DamageError for a note that is not readable.
    """
    before = {row.id: row for row in catalog.protections.all()}
    gone = catalog.protections.compare(before.keys(), read_protections(repository.box))
    for row in gone:
        if before[row.id].missing_since is None:
            detail = {"backup": str(row.backup_id), "placed_by": row.who, "reason": row.reason}
            catalog.audit.add(SYSTEM, f"{row.kind.value}.vanished", str(row.id), outcome=Outcome.FAILED, detail=detail)
    catalog.alarms.replace([AlarmKind.PROTECTION_GONE], [_alarm(row) for row in gone])
    return gone


def vanished_sentence(row: ProtectionRow) -> str:
    """Say that a pin's or hold's note is gone."""
    return (
        f"the {row.kind.value} {str(row.id)[:8]} on the backup {str(row.backup_id)[:8]} is gone from the repository, "
        "and nobody has released it"
    )


def refuse_vanished(gone: Sequence[ProtectionRow]) -> None:
    """Raise ConflictError when a pin or hold vanished: what it keeps must not be pruned."""
    if gone:
        raise ConflictError(
            vanished_sentence(gone[0]) + (f"; {len(gone) - 1} more" if len(gone) > 1 else ""),
            safe="nothing was removed",
            hint=f"find out who deletes objects in the store; then place it anew and `{gone[0].protection.remedy}`",
        )


def _alarm(row: ProtectionRow) -> Alarm:
    remedy = f"find out who deletes objects in the store; place it anew, then `{row.protection.remedy}`"
    subject = f"{row.kind.value} {row.id}"
    return Alarm(AlarmKind.PROTECTION_GONE, subject, Severity.CRITICAL, vanished_sentence(row), remedy)


def _protect(
    kind: ProtectionKind,
    word: UUID | str,
    reason: str,
    until: datetime | None,
    actor: Actor,
    settings: Settings | None,
) -> Protection:
    actor.require(Permission.ADMINISTER)
    said = checked_reason(reason)
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        backup = find_backup(catalog, word)
        snapshots = _snapshots(backup)
        repository = opened_primary(settings, catalog)
        made = Protection(uuid4(), kind, backup.id, snapshots, said, actor.name, catalog.clock(), until)
        with repository.lock() as lock:  # no prune is between its last look at holds and what it removes
            _refuse_gone(repository, backup, snapshots)
            save_protection(repository.box, made)
            try:
                lock.confirm()
                _refuse_gone(repository, backup, snapshots)  # forgotten in the instant before: say so, keep nothing
            except BackupError:
                drop_protection(repository.box, made.id)
                raise
        catalog.protections.add(made, actor)
    return made


def _snapshots(backup: BackupJob) -> tuple[str, ...]:
    if not backup.status.good or not backup.parts:
        raise InputError(
            f"the backup {backup.id} is {backup.status.value.replace('_', ' ')}: it is no restore point",
            safe="nothing was changed",
            hint="`edurise-backup list --restorable` shows those that are",
        )
    return tuple(part.snapshot_id for part in backup.parts)


def _refuse_gone(repository: Repository, backup: BackupJob, snapshots: Iterable[str]) -> None:
    """Raise NotFoundError unless each snapshot is listed or, being forgotten, can be brought back."""
    there = {*repository.box.ids(Kind.SNAPSHOT), *read_forgotten(repository.box), *repository.box.ids(Kind.SNAPSHOT)}
    gone = [snapshot for snapshot in snapshots if snapshot not in there]
    if gone:
        raise NotFoundError(
            f"{len(gone)} snapshots of the backup {backup.id} are not in the repository any more",
            safe="nothing was changed",
            hint="choose another backup; `edurise-backup list --restorable` shows those that are there",
        )


def _release(kind: ProtectionKind, word: UUID | str, actor: Actor, settings: Settings | None) -> Protection:
    actor.require(Permission.ADMINISTER)
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        repository = opened_primary(settings, catalog)
        look_for_protections(catalog, repository)
        rows = [row.protection for row in catalog.protections.all() if row.kind is kind]
        chosen = _chosen(kind, str(word).strip().lower(), rows)
        if kind is ProtectionKind.HOLD and chosen.active(catalog.clock()):
            authorise_release(catalog, settings, actor, release_plan(chosen))
        catalog.protections.begin_release(chosen, actor)
        drop_protection(repository.box, chosen.id)
        catalog.protections.end_release(chosen.id)
        catalog.alarms.settle(AlarmKind.PROTECTION_GONE, f"{kind.value} {chosen.id}")
    return chosen


def release_plan(protection: Protection) -> dict[str, object]:
    """Return what a release does, for whoever must agree to it."""
    return {
        "release": protection.kind.value,
        "id": str(protection.id),
        "backup": str(protection.backup_id),
        "snapshots": sorted(protection.snapshots),
        "reason": protection.reason,
        "placed_by": protection.who,
    }


def _chosen(kind: ProtectionKind, word: str, rows: Sequence[Protection]) -> Protection:
    found = [one for one in rows if word and word in (str(one.id), str(one.backup_id))]
    found = found or [
        one for one in rows if word and (str(one.id).startswith(word) or str(one.backup_id).startswith(word))
    ]
    if not found:
        raise NotFoundError(
            f"no {kind.value} is named {word!r}",
            safe="nothing was changed",
            hint=f"`edurise-backup {kind.value} list` shows them",
        )
    if len(found) > 1:
        raise AmbiguousError(
            f"{word!r} names {len(found)} {kind.value}s: {', '.join(str(one.id)[:8] for one in found[:5])}",
            safe="nothing was changed",
            hint=f"name one by its own id; `edurise-backup {kind.value} list` shows them",
        )
    return found[0]
