"""What is an alarm: one pure function for each rule, over `Facts`. The thresholds are here and nowhere else.

A rule returns the alarms that hold now. One that holds no more is settled by
whoever compares (`Alarms.replace`). Where a rule has no data it says so; it
never takes that for good news.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from edurise_backup.model.alarm_change import unusual_change
from edurise_backup.model.alarm_copies import copies_in_trouble
from edurise_backup.model.alarm_facts import FULL, Ended, Facts, LastGood
from edurise_backup.model.alarm_locks import locks_run_out
from edurise_backup.model.alarm_store import primary_lost, store_filling
from edurise_backup.model.alarm_wal import WAL_KINDS, WAL_RULES
from edurise_backup.model.alarm_workers import worker_clocks, workers_away
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.words import shown, span, subject_of

CRITICAL_TIMES = 2
"""An objective that is exceeded by this factor is critical."""
CLOCK_TOLERANCE = timedelta(seconds=5)
CLOCK_CRITICAL = timedelta(minutes=1)
SILENCE = timedelta(minutes=5)
"""A service that has not said for so long that it works is down."""
_NAMED = 5

Rule = Callable[[Facts], Iterator[Alarm]]


def no_good_backup(facts: Facts) -> Iterator[Alarm]:
    """A configured source, or the full set, has no good backup that is young enough."""
    known = {(good.part, good.source): good for good in facts.last_good}
    for part, source in facts.expected:
        what, good = subject_of(part, source), known.get((part, source))
        if good is None:
            yield Alarm(
                AlarmKind.NO_GOOD_BACKUP,
                what,
                Severity.CRITICAL,
                f"there is no good backup of {what}",
                f"take one, which says what is in its way: {_backup_of(facts, part, source)}",
            )
        elif (age := facts.now - good.newest_at) > facts.aims.good_backup:
            yield Alarm(
                AlarmKind.NO_GOOD_BACKUP,
                what,
                _by_factor(age, facts.aims.good_backup),
                f"the newest good backup of {what} is {span(age)} old, {span(facts.aims.good_backup)} are allowed",
                "see why in `edurise-backup alarm list` and `edurise-backup schedule list`; "
                f"take one now: {_backup_of(facts, part, source)}",
            )


def _backup_of(facts: Facts, part: str, source: str) -> str:
    """Say how a backup is taken, and on which host where not every one can."""
    words = "`edurise-backup backup`" if (part, source) == FULL else f"`edurise-backup backup {part} --source {source}`"
    able = sorted(worker.host for worker in facts.workers if f"{part}/{source}" in worker.sources)
    return f"{words} on {able[0]}" if able and len(able) < len(facts.workers) else words


def not_verified(facts: Facts) -> Iterator[Alarm]:
    """The newest backup of a source that passed a verification is too old; without any, since the first backup."""
    known = {(good.part, good.source): good for good in facts.last_good}
    for part, source in facts.expected:
        good = known.get((part, source))
        if good is None:
            continue  # `no_good_backup` tells of it
        what, since = subject_of(part, source), good.verified_at or good.first_at
        if (age := facts.now - since) > facts.aims.verified:
            yield Alarm(
                AlarmKind.NOT_VERIFIED,
                what,
                Severity.WARNING,
                _unverified_text(good, what, age) + f"; {span(facts.aims.verified)} are allowed",
                "verify the newest: `edurise-backup verify latest`; schedule it: `edurise-backup schedule add`",
            )


def jobs_that_ended_badly(facts: Facts) -> Iterator[Alarm]:
    """The newest job of a series failed, died or left something out; nothing later made up for it."""
    for job in facts.ended:
        bad = not job.good or job.status == "completed_with_warnings"
        if bad and not any(_makes_up_for(other, job) for other in facts.ended):
            yield _ended_alarm(job)


def verification_failed(facts: Facts) -> Iterator[Alarm]:
    """A backup that is still there, the repository or a recovery was looked at and is damaged."""
    for proof in facts.failed_proofs:
        told = f": {shown(proof.findings[0])}" if proof.findings else ""
        more = f" (and {len(proof.findings) - 1} more)" if len(proof.findings) > 1 else ""
        yield Alarm(
            AlarmKind.VERIFICATION_FAILED,
            proof.subject,
            Severity.CRITICAL,
            f"the {proof.subject} did not pass its proof of {proof.at:%Y-%m-%d %H:%M} UTC{told}{more}",
            "take a full backup to another repository or disk now, then look at what is damaged: "
            "`edurise-backup repo check --read-data`, `edurise-backup repo repair packs`",
        )


def catalog_disagrees(facts: Facts) -> Iterator[Alarm]:
    """The catalog knows backups that the repository lacks, and nobody has forgotten them."""
    if facts.missing:
        names = ", ".join(str(job_id)[:8] for job_id in facts.missing[:_NAMED])
        more = f" and {len(facts.missing) - _NAMED} more" if len(facts.missing) > _NAMED else ""
        yield Alarm(
            AlarmKind.CATALOG_DISAGREES,
            "repository",
            Severity.CRITICAL,
            f"{len(facts.missing)} good backups are gone from the repository, and nobody has forgotten them: "
            f"{names}{more}",
            "find out who removed them before anything else is removed (pause prunes); "
            "when it was meant: `edurise-backup forget --gone ID`",
        )


def clock_off(facts: Facts) -> Iterator[Alarm]:
    """This host's clock and the catalog server's differ, or a row tells of the future."""
    offset = facts.clock_offset
    if offset is not None and abs(offset) > CLOCK_TOLERANCE:
        yield Alarm(
            AlarmKind.CLOCK_OFF,
            "host",
            Severity.CRITICAL if abs(offset) > CLOCK_CRITICAL else Severity.WARNING,
            f"this host's clock is {span(abs(offset))} {'ahead of' if offset > timedelta(0) else 'behind'} "
            "the catalog server's",
            "let both follow the same time servers (`timedatectl`, `chronyc tracking`): "
            "schedules, leases and retention trust the clock",
        )
    if facts.newest_moment is not None and facts.newest_moment - facts.now > CLOCK_CRITICAL:
        yield Alarm(
            AlarmKind.CLOCK_OFF,
            "catalog",
            Severity.CRITICAL,
            f"a job's row tells of {facts.newest_moment:%Y-%m-%d %H:%M:%S} UTC, which is yet to come: "
            "a clock was wrong then, or is wrong now",
            "compare this host's clock with a time server; ages and retention of those backups are off by as much",
        )


def service_down(facts: Facts) -> Iterator[Alarm]:
    """A service that once said that it works has said nothing for too long."""
    newest: dict[str, datetime] = {}
    for sign in facts.signs:
        newest[sign.service] = max(sign.at, newest.get(sign.service, sign.at))
    for service, at in sorted(newest.items()):
        if (silent := facts.now - at) > SILENCE:
            yield Alarm(
                AlarmKind.SERVICE_DOWN,
                service,
                Severity.CRITICAL,
                f"there was no sign of the service {service} for {span(silent)} (since {at:%Y-%m-%d %H:%M:%S} UTC)",
                "start it and read its log: `systemctl status edurise-backup-watch`, `make up`, "
                "or `edurise-backup watch`; while it is down nobody is told of anything",
            )


RULES: tuple[Rule, ...] = (
    no_good_backup,
    not_verified,
    jobs_that_ended_badly,
    verification_failed,
    catalog_disagrees,
    primary_lost,
    store_filling,
    clock_off,
    unusual_change,
    service_down,
    copies_in_trouble,
    locks_run_out,
    workers_away,
    worker_clocks,
    *WAL_RULES,
)
KINDS = frozenset(
    {
        AlarmKind.NO_GOOD_BACKUP,
        AlarmKind.NOT_VERIFIED,
        AlarmKind.JOB_FAILED,
        AlarmKind.JOB_PARTIAL,
        AlarmKind.JOB_DIED,
        AlarmKind.VERIFICATION_FAILED,
        AlarmKind.CATALOG_DISAGREES,
        AlarmKind.PRIMARY_LOST,
        AlarmKind.STORE_FILLING,
        AlarmKind.CLOCK_OFF,
        AlarmKind.UNUSUAL_CHANGE,
        AlarmKind.SERVICE_DOWN,
        AlarmKind.COPY_LATE,
        AlarmKind.COPY_FAILED,
        AlarmKind.COPY_DAMAGED,
        AlarmKind.COPY_UNREACHABLE,
        AlarmKind.LOCKS_RUN_OUT,
    }
    | WAL_KINDS
)
"""What the rules decide alone; every other kind is raised and settled by whoever finds it."""


def judge(facts: Facts) -> tuple[Alarm, ...]:
    """Return every alarm that holds."""
    return tuple(alarm for rule in RULES for alarm in rule(facts))


def _by_factor(age: timedelta, allowed: timedelta) -> Severity:
    return Severity.CRITICAL if age > CRITICAL_TIMES * allowed else Severity.WARNING


def _unverified_text(good: LastGood, what: str, age: timedelta) -> str:
    if good.verified_at is None:
        return f"no backup of {what} was ever verified, the first one is {span(age)} old"
    return f"the newest backup of {what} that passed a verification is {span(age)} old"


def _makes_up_for(later: Ended, job: Ended) -> bool:
    """Whether a later job did well what this one did not; a full set holds every part, all sources hold each one."""
    better = later.status == "completed" or (later.good and not job.good)
    if not better or later.ended_at <= job.ended_at or later.kind != job.kind:
        return False
    whole_set = job.kind == "backup" and later.type == FULL[0]
    return whole_set or (later.type == job.type and later.source in ("", job.source))


def _ended_alarm(job: Ended) -> Alarm:
    if job.good:
        return Alarm(
            AlarmKind.JOB_PARTIAL,
            job.series,
            Severity.WARNING,
            f"the last {job.series} ({str(job.id)[:8]}) has {job.warnings} warnings: something was left out",
            f"read them: `edurise-backup show {str(job.id)[:8]}`"
            if job.kind == "backup"
            else "read the job's warnings",
        )
    kind = AlarmKind.JOB_DIED if job.died else AlarmKind.JOB_FAILED
    happened = "died" if job.died else "failed"
    return Alarm(
        kind,
        job.series,
        Severity.WARNING,
        f"the last {job.series} ({str(job.id)[:8]}) {happened}: {shown(job.error) or 'no reason was written'}",
        shown(job.hint) or "start it again, and read its log when it fails again",
    )
