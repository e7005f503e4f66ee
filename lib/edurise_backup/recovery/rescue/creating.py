"""Make tables again that were dropped: pg_dump writes their structure, and it is run in the live transaction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from psycopg import sql

from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, client_environment
from edurise_backup.postgres.names import exact_pattern
from edurise_backup.postgres.programs import Program
from edurise_backup.postgres.session import Connection
from edurise_backup.postgres.tools import Tools
from edurise_backup.recovery.rescue.loading import carry, identifiers
from edurise_backup.recovery.rescue.pairs import Pair
from edurise_backup.recovery.rescue.reading_shapes import partitions_of
from edurise_backup.recovery.rescue.shapes import NumberSequence
from edurise_backup.recovery.rescue.sides import columns_of, limited, named

# psql's own words, which newer pg_dump puts around a script; what is between them never holds the token
_RESTRICT = re.compile(r"^\\restrict (\w+)$", re.MULTILINE)
_NO_LOCK_TIMEOUT = "SET lock_timeout = 0;\n"


@dataclass(frozen=True, slots=True)
class Structure:
    """Scripts: what a table needs before its rows are there, and indexes, constraints and triggers afterwards."""

    before: str
    after: str


def dump_structure(
    sandbox: Address, there: Connection, pairs: Sequence[Pair], *, tools: Tools, lock_timeout: timedelta
) -> Structure:
    """Return the structure of the tables with their partitions and owned sequences; raises ToolError."""
    tables = [table for pair in pairs for table in (pair.wanted.table, *partitions_of(there, pair.wanted.table))]
    patterns = [f"--table={exact_pattern(*table)}" for table in tables]
    with client_environment(sandbox) as environment:
        scripts = []
        for section in ("pre-data", "post-data"):
            command: list[str | Path] = [
                *(tools.pg_dump, "--no-password", "--encoding=UTF8", f"--section={section}", "--no-tablespaces"),
                *("--no-publications", f"--lock-wait-timeout={int(lock_timeout.total_seconds() * 1000)}", *patterns),
            ]
            with Program(command, environment=environment, keep_output=True) as program:
                program.finish()
                scripts.append(_runnable(program.output()))
    return Structure(*scripts)


def _runnable(script: str) -> str:
    """Return the script without psql's words, and without the line that would let it wait for locks forever."""
    if token := _RESTRICT.search(script):
        for word in ("restrict", "unrestrict"):
            script = script.replace(f"\\{word} {token[1]}\n", "", 1)
    return script.replace(_NO_LOCK_TIMEOUT, "", 1)


def run_script(connection: Connection, script: str) -> None:
    """Run a script in the session's transaction; raises psycopg.Error."""
    connection.execute(script.encode())


def fill(pair: Pair, here: Connection, *, progress: Progress | None) -> int:
    """Copy the wanted rows into a table that was made; raises psycopg.Error, CancelledError."""
    query = sql.SQL("SELECT {} FROM {}").format(
        sql.SQL(", ").join(columns_of("t", pair.match.columns)), limited(pair.match.there, pair.wanted.where)
    )
    target = sql.SQL("{} ({})").format(named(pair.wanted.table), identifiers(pair.match.columns))
    return carry(pair.there.connection, query, here, target, progress=progress)


def set_sequence(there: Connection, here: Connection, sequence: NumberSequence) -> None:
    """Let a sequence that was made in this transaction go on as it did there; raises psycopg.Error."""
    name = sql.Identifier(sequence.schema, sequence.name)
    ((value, called),) = there.execute(sql.SQL("SELECT last_value, is_called FROM {}").format(name)).fetchall()
    here.execute(
        sql.SQL("SELECT pg_catalog.setval({}::pg_catalog.regclass, {}, {})").format(
            sql.Literal(exact_pattern(sequence.schema, sequence.name)), sql.Literal(value), sql.Literal(called)
        )
    )
