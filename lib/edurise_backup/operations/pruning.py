"""Forget snapshots, bring them back, and prune: what `edurise-backup repo forget | forgotten | prune` do."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from edurise_backup.errors import InputError
from edurise_backup.model.policy import Decision, RetentionPolicy
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.operations.engine import choose_forgotten
from edurise_backup.operations.snapshots import SnapshotFilter, Span
from edurise_backup.ports import Clock, Progress, utc_now
from edurise_backup.repository import forgetting
from edurise_backup.repository.fates import PruneOptions, UnusedLimit
from edurise_backup.repository.holds import kept_snapshots
from edurise_backup.repository.locks import SETTLE
from edurise_backup.repository.prune_plan import PrunePlan, plan_prune
from edurise_backup.repository.pruner import Pruned, finish_prune, prepare_prune
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undoing import list_forgotten, undo_forget

_UNITS = {"w": 7 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}
_LONGEST = timedelta(days=365 * 100)
_FACTORS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


@dataclass(frozen=True, slots=True)
class PruneWish:
    """How to prune, and how long to wait for running backups."""

    options: PruneOptions
    wait: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class ForgetResult:
    """Which snapshots went, why the others stay, and what a prune did then."""

    gone: tuple[SnapshotId, ...]
    decisions: tuple[Decision, ...]
    until: datetime | None
    """Until when they can be brought back; None when they cannot, or none went."""
    pruned: Pruned | None


def forget_snapshots(
    repository: Repository,
    words: Sequence[str],
    policy: RetentionPolicy,
    *,
    within: Span | None = None,
    among: SnapshotFilter | None = None,
    grace: timedelta = forgetting.GRACE,
    prune: PruneWish | None = None,
    dry_run: bool = False,
    progress: Progress,
    now: Clock = utc_now,
    settle: timedelta = SETTLE,
) -> ForgetResult:
    """Forget by name or policy, then prune when asked; raises InputError for a wish that means nothing.

    The shared lock is not waited for: forgetting takes nothing away that a
    prune or backup beside us could miss, and a prune looks again.
    """
    moment = now()
    if dry_run:
        kept = kept_snapshots(repository.box, moment)
        gone, decisions = choose_forgotten(
            repository.snapshots(), words, policy, within=within, among=among, kept=kept, now=moment
        )
        return ForgetResult(tuple(dict.fromkeys(gone)), tuple(decisions), None, None)
    with repository.lock(at_once=True, settle=settle) as lock:
        found = repository.snapshots()
        kept = kept_snapshots(repository.box, moment)
        gone, decisions = choose_forgotten(found, words, policy, within=within, among=among, kept=kept, now=moment)
        gone = list(dict.fromkeys(gone))
        progress.phase("forget")
        for snapshot_id in gone:
            progress.raise_if_cancelled()
            repository.forget(snapshot_id, grace=grace, now=moment, kept=kept, removed=now())
        plan = None
        if prune is not None:
            plan = prepare_prune(repository, lock, prune.options, progress=progress, seen=found, now=now)
    until = moment + grace if gone and grace > timedelta(0) else None
    pruned = None
    if plan is not None and prune is not None:
        pruned = finish_prune(repository, plan, progress=progress, wait=prune.wait, now=now, settle=settle)
    return ForgetResult(tuple(gone), tuple(decisions), until, pruned)


def bring_back(repository: Repository, words: Sequence[str], *, progress: Progress) -> list[SnapshotId]:
    """Publish forgotten snapshots again, under their old ids; raises NotFoundError, DamageError for lost data."""
    if not words:
        raise InputError("no snapshot is named", hint="`repo forgotten` lists those that can be brought back")
    with repository.lock() as lock:
        chosen = forgetting.choose_waiting(words, list_forgotten(repository))
        progress.phase("prove")
        for forgotten in chosen:
            progress.raise_if_cancelled()
            undo_forget(repository, forgotten, lock)
    return [forgotten.id for forgotten in chosen]


def show_prune(
    repository: Repository,
    options: PruneOptions,
    *,
    progress: Progress,
    known: Collection[str] = (),
    now: Clock = utc_now,
) -> PrunePlan:
    """Return what a prune would do now; nothing is written but the lock."""
    with repository.lock(at_once=True):
        return plan_prune(repository, options, now=now(), progress=progress, known=known)


def prune_wish(grace: str, max_unused: str, max_repack_size: str, max_removed: str, wait: str) -> PruneWish:
    """Return what a person wrote; an empty `max_repack_size` is no limit. Raises InputError."""
    options = PruneOptions(
        grace=parse_duration(grace),
        max_unused=parse_unused(max_unused),
        max_repack_bytes=parse_size(max_repack_size) if max_repack_size else None,
        max_removed=parse_share(max_removed),
    )
    return PruneWish(options, parse_duration(wait))


def parse_duration(text: str) -> timedelta:
    """Return the time that e.g. `7d`, `1d12h`, `30m`, `90s` or `0` means; raises InputError."""
    parts = re.findall(r"([0-9]+)([wdhms])", text)
    if text == "0":
        return timedelta(0)
    if not re.fullmatch(r"(?:[0-9]+[wdhms])+", text):
        raise InputError(f"{text!r} is no time", hint="write weeks, days, hours, minutes, seconds: 7d, 1d12h, 30m, 0")
    seconds = sum(int(count) * _UNITS[unit] for count, unit in parts)
    if seconds > _LONGEST.total_seconds():
        raise InputError(f"{text!r} is more than a hundred years", hint="write a shorter time, e.g. 7d")
    return timedelta(seconds=seconds)


def parse_size(text: str) -> int:
    """Return the bytes that e.g. `500M`, `1.5GiB` or `4096` means (K is 1024); raises InputError."""
    found = re.fullmatch(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if found is None:
        raise InputError(f"{text!r} is no size", hint="write bytes, or K, M, G, T: 500M, 1.5GiB")
    return int(float(found[1]) * _FACTORS[found[2].upper()])


def parse_share(text: str) -> float:
    """Return the share that e.g. `50%` means, 0 to 1; raises InputError."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?) ?%", text.strip())
    if found is None or float(found[1]) > 100:
        raise InputError(f"{text!r} is no share", hint="write 0% to 100%")
    return float(found[1]) / 100


def parse_unused(text: str) -> UnusedLimit:
    """Return how much may stay unused: `5%`, `200M`, `0` or `unlimited`; raises InputError."""
    if text == "unlimited":
        return UnusedLimit()
    return UnusedLimit(share=parse_share(text)) if text.endswith("%") else UnusedLimit(size=parse_size(text))
