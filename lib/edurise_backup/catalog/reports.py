"""The rows of `reports`: written once with their audit row, never changed."""

from __future__ import annotations

from datetime import UTC
from uuid import UUID

import msgspec
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.lifecycle import check_page
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import AmbiguousError, InputError, NotFoundError
from edurise_backup.model.people import Actor
from edurise_backup.model.reports import Report

_HINT = "`edurise-backup report list` shows them"
_COLUMNS = (
    "id, period, starts_at, ends_at, zone, source, made_at, made_by, policy_version, verdict, controls, files, "
    "flow_run_id"
)
_INSERT = """
INSERT INTO reports (id, period, starts_at, ends_at, zone, source, made_at, made_by, policy_version, verdict,
                     controls, files, flow_run_id)
VALUES (%(id)s, %(period)s, %(starts_at)s, %(ends_at)s, %(zone)s, %(source)s, %(made_at)s, %(made_by)s,
        %(policy_version)s, %(verdict)s, %(controls)s, %(files)s, %(flow_run_id)s)
ON CONFLICT (id) DO NOTHING
"""


class Reports:
    """Reports that were made, by id."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions

    def add(self, report: Report, actor: Actor) -> None:
        """Write a report with the audit row that tells of it; a report that is there already stays as it is."""
        self._sessions.run(lambda connection: _add(connection, report, actor))

    def get(self, report_id: UUID) -> Report:
        """Return a report; raises NotFoundError."""
        found = self._read("WHERE id = %(id)s", {"id": report_id})
        if not found:
            raise NotFoundError(f"there is no report {report_id}", hint=_HINT)
        return found[0]

    def find(self, beginning: str) -> Report:
        """Return the one report whose id begins so; raises InputError, NotFoundError, AmbiguousError."""
        text = beginning.strip().lower()
        if not text or set(text) - set("0123456789abcdef-"):
            raise InputError(f"{beginning!r} is no id of a report", hint=_HINT)
        found = self._read("WHERE id::text LIKE %(id)s || '%%' LIMIT 2", {"id": text})
        if not found:
            raise NotFoundError(f"there is no report {beginning}", hint=_HINT)
        if len(found) > 1:
            raise AmbiguousError(f"{beginning} is the beginning of several reports", hint="write more of the id")
        return found[0]

    def newest(self, *, limit: int = 100) -> tuple[Report, ...]:
        """Return the newest reports first."""
        check_page(limit, 0)
        return self._read("ORDER BY made_at DESC, id DESC LIMIT %(limit)s", {"limit": limit})

    def _read(self, rest: str, parameters: dict[str, object]) -> tuple[Report, ...]:
        def read(connection: Connection) -> tuple[Report, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute(f"SELECT {_COLUMNS} FROM reports {rest}".encode(), parameters)  # noqa: S608  ours
                return msgspec.convert(rows.fetchall(), tuple[Report, ...])

        return self._sessions.run(read)


def _add(connection: Connection, report: Report, actor: Actor) -> None:
    if connection.execute(_INSERT, _values(report)).rowcount:  # none: this is the second try, and the first one arrived
        detail = {"period": report.period, "source": report.source, "verdict": report.verdict.value}
        add_row(connection, actor, "report.make", str(report.id), detail=detail, at=report.made_at.astimezone(UTC))


def _values(report: Report) -> dict[str, object]:
    names = (name.strip() for name in _COLUMNS.split(","))
    values = {name: getattr(report, name) for name in names}
    values["verdict"] = report.verdict.value
    for name in ("controls", "files"):
        values[name] = Jsonb(values[name], dumps=msgspec.json.encode)
    return values
