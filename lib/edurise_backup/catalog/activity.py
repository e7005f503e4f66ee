"""All jobs of all kinds as one list, newest first, by filters and a page at a time: for pages and reports.

A page begins after the last row of the one before (its moment and id), so the
thousandth is as quick as the first, and none is shown twice while new jobs come.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from psycopg import sql
from psycopg.rows import dict_row

from edurise_backup.catalog.lifecycle import check_page
from edurise_backup.catalog.records import JobKind
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.model.jobs import JobId, JobStatus, Verdict

_MOMENT = "coalesce(j.started_at, j.created_at)"
# the sources of a job: of a backup its parts' and the one it was limited to; what is of a backup has that backup's
_OF_SOURCE = """(EXISTS (SELECT FROM backup_parts p WHERE p.backup_id = {backup} AND p.source = %(source)s)
    OR EXISTS (SELECT FROM backup_jobs s WHERE s.id = {backup} AND s.source = %(source)s))"""


@dataclass(frozen=True, slots=True)
class _Kind:
    table: str
    what: str
    backup: str
    """SQL of the backup's id; empty for what is of no backup, and so of no source."""
    source: str
    bytes: str
    remarks: str


_KINDS = {
    JobKind.BACKUP: _Kind("backup_jobs", "j.type", "j.id", "j.source", "j.size", "cardinality(j.warnings)"),
    JobKind.VERIFICATION: _Kind(
        "verification_jobs",
        "(SELECT b.type FROM backup_jobs b WHERE b.id = j.backup_id)",
        "j.backup_id",
        "(SELECT b.source FROM backup_jobs b WHERE b.id = j.backup_id)",
        "j.bytes_read",
        "cardinality(j.findings)",
    ),
    JobKind.RECOVERY: _Kind(
        "recovery_jobs",
        "j.type",
        "j.backup_id",
        "(SELECT b.source FROM backup_jobs b WHERE b.id = j.backup_id)",
        "j.restored_bytes",
        "cardinality(j.warnings) + cardinality(j.findings)",
    ),
    JobKind.MAINTENANCE: _Kind(
        "maintenance_jobs",
        "j.kind",
        "",
        "''",
        "(j.figures ->> 'bytes')::bigint",
        "cardinality(j.warnings) + cardinality(j.findings)",
    ),
}


@dataclass(frozen=True, slots=True)
class Activity:
    """A job as a line of the list."""

    kind: JobKind
    id: JobId
    what: str
    """The type of backup, or the kind of maintenance."""
    source: str
    """The one source that was asked for; empty: all of its kind."""
    status: JobStatus
    verification_status: Verdict | None
    moment: datetime
    """When it started, or, while it waits, was asked for: the list's order."""
    completed_at: datetime | None
    started_at: datetime | None
    bytes: int | None
    remarks: int
    """Number of warnings and findings."""
    error: str | None
    hint: str | None
    flow_run_id: UUID | None
    host: str = ""
    """Where it ran, or is to run."""

    @property
    def place(self) -> Place:
        """Where the next page begins when this is the last line of a page."""
        return Place(self.moment, self.id)


@dataclass(frozen=True, slots=True)
class Place:
    """A line's place in the list."""

    moment: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class ActivityFilters:
    """Which jobs to list; empty or None means any."""

    kinds: tuple[JobKind, ...] = ()
    statuses: tuple[JobStatus, ...] = ()
    source: str = ""
    since: datetime | None = None
    until: datetime | None = None


def list_activity(
    sessions: Sessions, filters: ActivityFilters, *, after: Place | None = None, limit: int = 50
) -> tuple[Activity, ...]:
    """Return a page of jobs, newest first, that begins behind the line at `after`."""
    check_page(limit, 0)
    query = activity_query(filters, paged=after is not None)
    if query is None:
        return ()
    parameters = {
        "statuses": [status.value for status in filters.statuses],
        "source": filters.source,
        "since": filters.since,
        "until": filters.until,
        "moment": after.moment if after else None,
        "id": after.id if after else None,
        "limit": limit,
    }

    def read(connection: Connection) -> tuple[Activity, ...]:
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query, parameters).fetchall()
        return msgspec.convert(rows, tuple[Activity, ...])

    return sessions.run(read)


def activity_query(filters: ActivityFilters, *, paged: bool) -> sql.SQL | None:
    """Return the SELECT of a page; None when no kind of job can pass. Every value is a parameter."""
    kinds = [kind for kind in filters.kinds or tuple(JobKind) if _KINDS[kind].backup or not filters.source]
    if not kinds:
        return None
    parts = " UNION ALL ".join(f"({_select(kind, filters, paged)})" for kind in kinds)
    return sql.SQL(f"SELECT * FROM ({parts}) jobs ORDER BY moment DESC, id DESC LIMIT %(limit)s")  # noqa: S608  ours


def _select(kind: JobKind, filters: ActivityFilters, paged: bool) -> str:
    of = _KINDS[kind]
    conditions = ["true"]
    conditions += ["j.status = ANY(%(statuses)s)"] if filters.statuses else []
    conditions += [f"{_MOMENT} >= %(since)s"] if filters.since else []
    conditions += [f"{_MOMENT} < %(until)s"] if filters.until else []
    conditions += [f"({_MOMENT}, j.id) < (%(moment)s, %(id)s)"] if paged else []
    conditions += [_OF_SOURCE.format(backup=of.backup)] if filters.source else []
    return f"""SELECT '{kind.value}' AS kind, j.id, coalesce({of.what}, '') AS what,
        coalesce({of.source}, '') AS source, j.status, j.verification_status, {_MOMENT} AS moment,
        j.completed_at, j.started_at, {of.bytes} AS bytes, {of.remarks} AS remarks, j.error, j.hint,
        j.flow_run_id, j.host
        FROM {of.table} j WHERE {" AND ".join(conditions)}
        ORDER BY {_MOMENT} DESC, j.id DESC LIMIT %(limit)s"""  # noqa: S608  ours


_SOURCES = """
WITH RECURSIVE names AS (
    (SELECT source FROM backup_parts ORDER BY source LIMIT 1)
    UNION ALL
    SELECT (SELECT p.source FROM backup_parts p WHERE p.source > n.source ORDER BY p.source LIMIT 1)
    FROM names n WHERE n.source IS NOT NULL
)
SELECT source FROM names WHERE source IS NOT NULL ORDER BY source
"""  # one look into the index for each source: reading every part of every backup would take longer each day


def backed_up_sources(sessions: Sessions) -> tuple[str, ...]:
    """Return the names of all sources that any backup holds, sorted."""
    return sessions.run(lambda connection: tuple(str(row[0]) for row in connection.execute(_SOURCES).fetchall()))
