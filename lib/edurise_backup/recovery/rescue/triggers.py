"""Switch users' triggers off for a transaction, and on again exactly as they were.

Foreign keys are triggers of the server's own and stay on: `session_replication_role = replica` would
switch them off, too, and is therefore refused.
"""

from __future__ import annotations

from typing import LiteralString

from psycopg import sql

from edurise_backup.errors import InputError, ProofError
from edurise_backup.postgres.session import Connection, fetch
from edurise_backup.recovery.rescue.conditions import AS_IT_WAS, said_of_table
from edurise_backup.recovery.rescue.reading_shapes import table_shape
from edurise_backup.recovery.rescue.shapes import TableShape, Trigger
from edurise_backup.recovery.rescue.sides import named

_ON: dict[str, LiteralString] = {"O": "ENABLE", "A": "ENABLE ALWAYS", "R": "ENABLE REPLICA", "D": "DISABLE"}


def check_role(connection: Connection) -> None:
    """Raise InputError when this session's foreign keys would not be enforced; raises psycopg.Error."""
    ((role,),) = fetch(connection, "SELECT pg_catalog.current_setting('session_replication_role')")
    if role == "replica":
        raise InputError(
            "sessions of this role do not check foreign keys (session_replication_role = replica)",
            safe="nothing was changed",
            hint="reset the setting for the role or database, or use another role",
        )


def switch_off(connection: Connection, shape: TableShape) -> None:
    """Switch off what would fire; the table is locked already. Raises our errors."""
    for trigger in _firing(shape):
        _switch(connection, trigger, "DISABLE")


def switch_on(connection: Connection, shape: TableShape) -> None:
    """Give each trigger the state that it had, and prove it; raises our errors."""
    for trigger in _firing(shape):
        _switch(connection, trigger, _ON[trigger.state])
    now = table_shape(connection, *shape.table)
    if now is None or now.triggers != shape.triggers:
        raise ProofError(
            f"the triggers of {shape.table} are not as they were",
            safe=AS_IT_WAS,
            hint="look whether an event trigger changes them",
        )


def _firing(shape: TableShape) -> list[Trigger]:
    return [trigger for trigger in shape.triggers if trigger.state in "OA"]


def _switch(connection: Connection, trigger: Trigger, word: LiteralString) -> None:
    with said_of_table(trigger.table):
        # ONLY: a partitioned table's trigger and its copies on the partitions may be in different states
        connection.execute(
            sql.SQL("ALTER TABLE ONLY {} {} TRIGGER {}").format(
                named(trigger.table), sql.SQL(word), sql.Identifier(trigger.name)
            )
        )
