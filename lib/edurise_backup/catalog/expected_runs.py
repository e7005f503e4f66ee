"""The ledger of expected runs: written before they are due, judged afterwards, never forgotten.

Everything may be done twice, by two processes at once, with the same outcome:
rows are locked through their schedule, and an outcome is written once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import JobStatus, Verdict
from edurise_backup.model.schedules import ExpectedRun, RunOutcome, Schedule

_COLUMNS = ", ".join(f"e.{field.name}" for field in fields(ExpectedRun))
_JOBS = """(
    SELECT id, status, completed_at, NULL AS verdict, error FROM backup_jobs
    UNION ALL SELECT id, status, completed_at, verification_status, error FROM verification_jobs
    UNION ALL SELECT id, status, completed_at, verification_status, error FROM maintenance_jobs)"""


@dataclass(frozen=True, slots=True)
class Planned:
    """A run that is to be expected."""

    due_at: datetime
    skipped: str = ""
    """Why it will not happen, when that is known: a pause."""


@dataclass(frozen=True, slots=True)
class JobState:
    """How the job stands that ran for an expected run."""

    status: JobStatus
    completed_at: datetime | None
    verdict: Verdict | None
    error: str | None


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An expected run that is due and has no outcome, with its job."""

    run: ExpectedRun
    job: JobState | None


@dataclass(frozen=True, slots=True)
class Standing:
    """What went wrong with a schedule since it last went well."""

    schedule_id: UUID
    name: str
    failed: int
    missed: int
    last_reason: str
    last_due: datetime | None
    late_since: datetime | None
    """The due time of a run that has not begun and whose grace lasts."""


class ExpectedRuns:
    """The rows of `expected_runs`."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def newest(self, schedule_id: UUID, *, before: datetime, limit: int = 10) -> tuple[ExpectedRun, ...]:
        """Return the runs of a schedule that were due before a moment, newest first; withdrawn ones are left out."""
        return self._sessions.run(
            lambda connection: read(
                connection,
                """WHERE e.schedule_id = %(id)s AND e.due_at < %(before)s AND e.outcome IS DISTINCT FROM 'withdrawn'
                   ORDER BY e.due_at DESC LIMIT %(limit)s""",
                {"id": schedule_id, "before": before, "limit": limit},
            )
        )

    def told_of(self, job_id: UUID) -> bool:
        """Whether a job ran for a schedule that tells of its failure itself."""
        query = "SELECT EXISTS (SELECT FROM expected_runs WHERE job_id = %s AND outcome = 'failed')"
        return self._sessions.run(lambda connection: connection.execute(query, (job_id,)).fetchone()) == (True,)

    def ahead(self, schedule_id: UUID, *, after: datetime, until: datetime) -> tuple[ExpectedRun, ...]:
        """Return the runs of a schedule that are due in (after, until] and that nobody has taken up, soonest first."""
        return self._sessions.run(
            lambda connection: read(
                connection,
                """WHERE e.schedule_id = %(id)s AND e.due_at > %(after)s AND e.due_at <= %(until)s
                     AND e.outcome IS NULL AND e.begun_at IS NULL ORDER BY e.due_at LIMIT 100""",
                {"id": schedule_id, "after": after, "until": until},
            )
        )

    def between(self, since: datetime, until: datetime) -> tuple[ExpectedRun, ...]:
        """Return all rows with a due time in [since, until), of removed schedules, too; oldest first."""
        return self._sessions.run(
            lambda connection: read(
                connection,
                "WHERE e.due_at >= %(since)s AND e.due_at < %(until)s ORDER BY e.due_at, e.schedule_id",
                {"since": since, "until": until},
            )
        )


def read(connection: Connection, rest: str, parameters: dict[str, object]) -> tuple[ExpectedRun, ...]:
    """Return the rows, called `e`, that `rest` selects (this package's own words)."""
    query = f"SELECT {_COLUMNS} FROM expected_runs e {rest}"  # noqa: S608  ours
    with connection.cursor(row_factory=dict_row) as cursor:
        return msgspec.convert(cursor.execute(query.encode(), parameters).fetchall(), tuple[ExpectedRun, ...])


def frozen_until(connection: Connection, schedule_id: UUID) -> datetime | None:
    """Return the last due time that is written down for a schedule, or None."""
    row = connection.execute(
        "SELECT max(due_at) FROM expected_runs WHERE schedule_id = %s AND outcome IS DISTINCT FROM 'withdrawn'",
        (schedule_id,),
    ).fetchone()
    return msgspec.convert(row[0], datetime | None) if row else None


def withdraw(connection: Connection, schedule_id: UUID, *, after: datetime, reason: str) -> None:
    """Take back the runs that are not due yet: their schedule was edited or removed."""
    connection.execute(
        """UPDATE expected_runs SET outcome = 'withdrawn', judged_at = %(now)s, reason = %(reason)s
           WHERE schedule_id = %(id)s AND due_at > %(now)s AND begun_at IS NULL
             AND (outcome IS NULL OR outcome = 'skipped')""",
        {"id": schedule_id, "now": after, "reason": reason},
    )


def freeze(connection: Connection, schedule: Schedule, planned: Iterable[Planned], *, now: datetime) -> None:
    """Write down what is to be expected; what is there stays, but what was withdrawn counts anew.

    A run whose due time has passed was expected since the schedule's last edit.
    """
    edited = schedule.updated_at or now
    values = [
        {
            "id": schedule.id,
            "due": one.due_at,
            "name": schedule.name,
            "type": schedule.type.value,
            "source": schedule.source,
            "grace": one.due_at + schedule.grace,
            "frozen": min(now, one.due_at) if one.due_at > now else min(edited, one.due_at),
            "outcome": RunOutcome.SKIPPED.value if one.skipped else None,
            "judged": now if one.skipped else None,
            "reason": one.skipped,
        }
        for one in planned
    ]
    if values:
        with connection.cursor() as cursor:
            cursor.executemany(_FREEZE, values)


_FREEZE = """
INSERT INTO expected_runs AS there
    (schedule_id, due_at, name, type, source, grace_until, frozen_at, outcome, judged_at, reason)
VALUES (%(id)s, %(due)s, %(name)s, %(type)s, %(source)s, %(grace)s, %(frozen)s, %(outcome)s, %(judged)s, %(reason)s)
ON CONFLICT (schedule_id, due_at) DO UPDATE
    SET name = excluded.name, type = excluded.type, source = excluded.source, grace_until = excluded.grace_until,
        frozen_at = excluded.frozen_at, outcome = excluded.outcome, judged_at = excluded.judged_at,
        reason = excluded.reason
    WHERE there.outcome = 'withdrawn' AND there.begun_at IS NULL"""


def open_runs(connection: Connection, now: datetime) -> tuple[OpenRun, ...]:
    """Return the runs that are due and have no outcome, each with its job; those that somebody changes are left out."""
    query = f"""SELECT {_COLUMNS}, j.status AS job_status, j.completed_at AS job_completed_at,
                       j.verdict AS job_verdict, j.error AS job_error
                FROM expected_runs e LEFT JOIN LATERAL (
                    SELECT * FROM {_JOBS} found WHERE found.id = e.job_id LIMIT 1) j ON true
                WHERE e.outcome IS NULL AND e.due_at <= %s
                ORDER BY e.due_at, e.schedule_id FOR UPDATE OF e SKIP LOCKED"""  # noqa: S608  ours
    with connection.cursor(row_factory=dict_row) as cursor:
        return tuple(_open_run(row) for row in cursor.execute(query.encode(), (now,)).fetchall())


def judge(connection: Connection, run: ExpectedRun, outcome: RunOutcome, reason: str, *, now: datetime) -> None:
    """Write the outcome of a run that has none; one that there is stays."""
    connection.execute(
        """UPDATE expected_runs SET outcome = %s, judged_at = %s, reason = %s
           WHERE schedule_id = %s AND due_at = %s AND outcome IS NULL""",
        (outcome.value, now, reason, run.schedule_id, run.due_at),
    )


def begin(connection: Connection, run: ExpectedRun, flow_run_id: UUID, *, now: datetime) -> None:
    """Note that a run takes it up."""
    connection.execute(
        """UPDATE expected_runs SET begun_at = %s, flow_run_id = %s
           WHERE schedule_id = %s AND due_at = %s AND begun_at IS NULL""",
        (now, flow_run_id, run.schedule_id, run.due_at),
    )


def attach_job(connection: Connection, run: ExpectedRun, job_id: UUID) -> None:
    """Note the job that runs for it."""
    connection.execute(
        "UPDATE expected_runs SET job_id = %s WHERE schedule_id = %s AND due_at = %s",
        (job_id, run.schedule_id, run.due_at),
    )


def end(connection: Connection, run: ExpectedRun, *, good: bool, reason: str, now: datetime) -> None:
    """Write how the run ended that took it up; what was missed stays missed, and may be made up for.

    What the run itself says counts more than what a watchdog took it for.
    """
    connection.execute(
        """UPDATE expected_runs
           SET made_up_at = CASE WHEN outcome = 'missed' AND %(good)s THEN %(now)s::timestamptz END,
               outcome = CASE WHEN outcome = 'missed' THEN outcome WHEN %(good)s THEN 'kept' ELSE 'failed' END,
               judged_at = %(now)s, reason = %(reason)s
           WHERE schedule_id = %(id)s AND due_at = %(due)s AND begun_at IS NOT NULL""",
        {"good": good, "now": now, "reason": reason, "id": run.schedule_id, "due": run.due_at},
    )


def under_way(connection: Connection, schedule_id: UUID, *, since: datetime) -> ExpectedRun | None:
    """Return a run of the schedule that is not over: its job is open, or it began after `since` and has none yet."""
    found = read(
        connection,
        f"""LEFT JOIN LATERAL (SELECT status FROM {_JOBS} found WHERE found.id = e.job_id LIMIT 1) j ON true
            WHERE e.schedule_id = %(id)s AND e.begun_at IS NOT NULL AND e.made_up_at IS NULL
              AND e.due_at > %(since)s::timestamptz - interval '30 days'
              AND (j.status IN ('queued', 'running')
                   OR e.job_id IS NULL AND e.begun_at > %(since)s
                      AND (e.outcome IS NULL OR e.outcome = 'missed' AND e.judged_at <= e.begun_at))
            ORDER BY e.due_at DESC LIMIT 1""",  # noqa: S608  ours
        {"id": schedule_id, "since": since},
    )
    return found[0] if found else None


def standings(connection: Connection, now: datetime) -> tuple[Standing, ...]:
    """Return how each schedule stands: what failed and was missed since it last went well, and what is late."""
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_STANDINGS, {"now": now}).fetchall()
    return msgspec.convert(rows, tuple[Standing, ...])


_STANDINGS = """
SELECT s.id AS schedule_id, s.name, coalesce(w.failed, 0) AS failed, coalesce(w.missed, 0) AS missed,
       coalesce(w.reasons[1], '') AS last_reason, w.last_due, l.late_since
FROM backup_schedules s
LEFT JOIN LATERAL (
    SELECT max(due_at) AS due FROM expected_runs e
    WHERE e.schedule_id = s.id AND (e.outcome = 'kept' OR e.made_up_at IS NOT NULL)) good ON true
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE outcome = 'failed') AS failed, count(*) FILTER (WHERE outcome = 'missed') AS missed,
           array_agg(e.reason ORDER BY e.due_at DESC) AS reasons, max(e.due_at) AS last_due
    FROM expected_runs e
    WHERE e.schedule_id = s.id AND e.outcome IN ('failed', 'missed') AND e.made_up_at IS NULL
      AND e.due_at > coalesce(good.due, '-infinity')) w ON true
LEFT JOIN LATERAL (
    SELECT min(e.due_at) AS late_since FROM expected_runs e
    WHERE e.schedule_id = s.id AND e.outcome IS NULL AND e.begun_at IS NULL
      AND e.due_at <= %(now)s AND e.grace_until >= %(now)s
      AND e.due_at + least(interval '5 minutes', (e.grace_until - e.due_at) / 2) < %(now)s) l ON true
ORDER BY s.name"""


def _open_run(row: dict[str, object]) -> OpenRun:
    job = {
        name.removeprefix("job_"): value for name, value in row.items() if name.startswith("job_") and name != "job_id"
    }
    own = {name: value for name, value in row.items() if not name.startswith("job_") or name == "job_id"}
    state = msgspec.convert(job, JobState) if job["status"] else None
    return OpenRun(msgspec.convert(own, ExpectedRun), state)
