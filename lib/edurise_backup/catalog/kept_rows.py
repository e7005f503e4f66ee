"""Tables that are kept whole in an export: their rows as JSON, column by column, and back.

Unlike jobs, their rows are not judged against each other: a row that is there
stays as it is. A column that this release does not know is passed over, one
that the export does not know gets its default.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from edurise_backup.catalog.sessions import Connection
from edurise_backup.errors import DamageError

_PAGE = 2000
AUDIT = "audit_log"


@dataclass(frozen=True, slots=True)
class KeptTable:
    """A table of the catalog, and the columns of its key, by which it is ordered."""

    name: str
    key: tuple[str, ...]
    where: str = "true"
    """Rows for which this does not hold are not exported."""
    without: tuple[str, ...] = ()
    """Columns that mean nothing in another catalog."""
    stamped: str = ""
    """A column that tells when a row was last made what it is: in another catalog that is when it was taken over."""
    chained: bool = False
    """Its rows hang together: they are taken over as a whole, into an empty table only."""


KEPT = (
    # nothing was expected of a schedule while its catalog was gone
    KeptTable("backup_schedules", ("id",), without=("prefect_schedule_id", "updated_at"), stamped="updated_at"),
    # what had not been judged yet would look missed: its job may be known by now, but not that it was for this run
    KeptTable("expected_runs", ("due_at", "schedule_id"), where="outcome IS NOT NULL"),
    KeptTable("alarms", ("id",)),
    KeptTable("accounts", ("id",)),
    KeptTable("reports", ("made_at", "id")),
    KeptTable("store_space", ("at", "location")),
    # of the others the configuration knows; what was seen of one is seen again
    KeptTable("stores", ("name",), where="origin = 'register'"),
    KeptTable("store_traffic", ("at", "job_id", "store", "operation")),
    KeptTable("store_probes", ("probed_at", "store")),
    KeptTable(AUDIT, ("seq",), chained=True),
)
"""In the order in which they are written: what others refer to comes first."""


class KeptRow(msgspec.Struct, frozen=True):
    """A row of one of these tables."""

    table: str
    values: dict[str, object]


def kept_row(content: Mapping[str, object]) -> KeptRow:
    """Return the row that an export's record tells; raises DamageError."""
    try:
        return msgspec.convert(content, KeptRow)
    except msgspec.ValidationError as error:
        raise DamageError(f"a row of an export is not readable: {error}") from error


def read_rows(connection: Connection) -> Iterator[KeptRow]:
    """Yield all rows of all these tables, in the order of their keys."""
    for table in KEPT:
        key = sql.SQL(", ").join(map(sql.Identifier, table.key))
        query = sql.SQL("SELECT to_jsonb(kept) - %s::text[] FROM {} AS kept WHERE {} ORDER BY {}").format(
            sql.Identifier(table.name), sql.SQL(table.where), key
        )
        with connection.cursor(name=f"kept_{table.name}") as cursor:
            cursor.itersize = _PAGE
            for (values,) in cursor.execute(query, (list(table.without),)):
                yield KeptRow(table.name, msgspec.convert(values, dict[str, object]))


class RowImport:
    """Writes such rows in one transaction."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._stamps = {table.name: {table.stamped: now.isoformat()} for table in KEPT if table.stamped}
        self._columns: dict[str, tuple[str, ...]] = {}
        self.closed = {table.name for table in KEPT if table.chained and self._holds_rows(table)}
        """Tables whose rows are not taken over, because a new chain has begun in them."""

    def write(self, row: KeptRow) -> bool:
        """Write a row unless it is there; False when it is, or when its table takes none."""
        known = self._known(row.table)
        values = {**row.values, **self._stamps.get(row.table, {})}
        columns = [column for column in values if column in known]
        if not columns or row.table in self.closed:
            return False
        names = sql.SQL(", ").join(map(sql.Identifier, columns))
        query = sql.SQL(
            "INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_populate_record(NULL::{table}, %s) "
            "ON CONFLICT DO NOTHING"
        ).format(table=sql.Identifier(row.table), names=names)
        return self._connection.execute(query, (Jsonb(values),)).rowcount == 1

    def has_audited(self, row: KeptRow) -> bool:
        """Whether a row of the audit trail is there with the same hash."""
        found = self._connection.execute(
            "SELECT EXISTS (SELECT FROM audit_log WHERE hash = %s)", (row.values.get("hash"),)
        )
        return found.fetchone() == (True,)

    def _known(self, table: str) -> tuple[str, ...]:
        if table not in {kept.name for kept in KEPT}:  # of a later release
            return ()
        if table not in self._columns:
            found = self._connection.execute(
                """SELECT attname FROM pg_attribute
                   WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''""",
                (table,),
            ).fetchall()
            self._columns[table] = tuple(str(name) for (name,) in found)
        return self._columns[table]

    def _holds_rows(self, table: KeptTable) -> bool:
        query = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table.name))
        row = self._connection.execute(query).fetchone()
        return bool(row and row[0])
