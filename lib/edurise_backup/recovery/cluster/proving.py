"""Prove a recovered cluster: it stands where it was asked to, and what is in it can be read.

Nothing is believed of the recovery's own report that the server can be asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import psycopg
from psycopg import sql

from edurise_backup.errors import BackupError, ToolError
from edurise_backup.model.cluster import ClusterRecord
from edurise_backup.model.database import Proof
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.wal import format_lsn
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, client_environment, connect
from edurise_backup.postgres.programs import Program
from edurise_backup.postgres.session import Connection, close_quietly, fetch
from edurise_backup.recovery.cluster.replaying import Replayed
from edurise_backup.recovery.cluster.target import Route

_SHOWN = 20
_XID_BITS = 0xFFFFFFFF
"""The log tells transactions without their epoch."""
_LOOK_EVERY = 0.2
_DATABASES = """
    SELECT datname::text FROM pg_catalog.pg_database WHERE datallowconn AND datconnlimit <> -2 ORDER BY datname"""
_DATABASE_COLLATIONS = """
    SELECT datname::text, datcollversion::text, pg_catalog.pg_database_collation_actual_version(oid)::text
    FROM pg_catalog.pg_database
    WHERE datcollversion IS DISTINCT FROM pg_catalog.pg_database_collation_actual_version(oid)
      AND datcollversion IS NOT NULL"""
_COLLATIONS = """
    SELECT collname::text, collversion::text, pg_catalog.pg_collation_actual_version(oid)::text
    FROM pg_catalog.pg_collation
    WHERE collversion IS NOT NULL AND collversion <> pg_catalog.pg_collation_actual_version(oid)
      AND oid IN (SELECT attcollation FROM pg_catalog.pg_attribute WHERE attcollation <> 0)"""
_COUNTS = """
    SELECT count(*) FILTER (WHERE c.relkind IN ('r', 'p', 'm')), count(*) FILTER (WHERE c.relkind IN ('i', 'I')),
           coalesce(sum(c.reltuples) FILTER (WHERE c.relkind IN ('r', 'm') AND c.reltuples > 0), 0)::bigint
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')"""
_UNLOGGED = """
    SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relpersistence = 'u' AND c.relkind IN ('r', 'm') ORDER BY 1"""
_AMCHECK = """
    SELECT EXISTS (SELECT FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'),
           EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'amcheck')"""
_QUIETLY = "-c session_replication_role=replica"
"""No event trigger of the cluster's own runs for what we make and drop."""


def prove_cluster(
    address: Address,
    record: ClusterRecord,
    route: Route,
    target: TargetMoment,
    replayed: Replayed,
    *,
    bindir: Path,
    amcheck: bool = True,
    progress: Progress,
) -> Proof:
    """Return what was looked at and what is not as it should be; raises UnreachableError, CancelledError.

    `bindir`: where `pg_amcheck` may be. It looks at every page of every table and
    index, which takes as long as reading them; `amcheck=False` leaves it out.
    """
    progress.phase("prove the recovered cluster")
    checks: list[str] = []
    findings = list(prove_target(route, target, replayed, checks))
    with closing(connect(address, autocommit=True)) as connection:
        findings += _checksums(connection, record, checks)
        names = [str(name) for (name,) in fetch(connection, _DATABASES)]
        if record.server_major >= 15:
            findings += _collations(connection)
    for name in names:
        progress.raise_if_cancelled()
        findings += _database(address.with_database(name), checks)
    if amcheck:
        findings += _check_relations(address, names, bindir, replayed.new_timeline is not None, checks, progress)
    else:
        checks.append("Tables and indexes were not read page by page (pg_amcheck was not asked for).")
    return Proof(checks, findings)


def prove_target(route: Route, target: TargetMoment, replayed: Replayed, checks: list[str]) -> Iterator[str]:
    """Yield why the recovery did not stop where it was asked to; pure."""
    where = f"{format_lsn(replayed.last_lsn)} of timeline {replayed.timeline}"
    stop = replayed.stop
    if target.latest:
        last = route.steps[-1].segment.start(route.size) if route.steps else route.start
        if replayed.last_lsn < last:
            yield f"The replay ended at {where}, although the archive goes on to {format_lsn(last)}."
        checks.append(f"The log was replayed to its end, {where}; the last commit was at {replayed.last_commit}.")
        return
    if stop is None:
        yield f"The server does not say that it stopped at {target}; it stands at {where}."
        return
    if not _agrees(target, replayed):
        yield f"Asked for was {target}; the server stopped elsewhere: {stop.text}."
    checks.append(f"Asked for was {target}; the server says: {stop.text}. It stands at {where}.")
    if target.time is not None and replayed.last_commit is not None and replayed.last_commit > target.time:
        yield f"The last transaction that was replayed ended at {replayed.last_commit}, after {target}."


def _agrees(target: TargetMoment, replayed: Replayed) -> bool:
    stop = replayed.stop
    assert stop is not None
    side = "after" if target.inclusive else "before"
    if target.xid is not None:
        return stop.how == side and stop.xid == target.xid & _XID_BITS
    if target.time is not None:  # it stops before the first one that is too late, whichever side was meant
        at_least = target.time + timedelta(microseconds=1) if target.inclusive else target.time
        return stop.how == "before" and stop.time is not None and stop.time >= at_least
    if target.lsn is not None:
        return stop.how == side and stop.lsn is not None and stop.lsn >= target.lsn
    if target.name is not None:
        return stop.how == "at" and stop.name == target.name
    return stop.how == "after" and stop.xid is None and stop.lsn is None


def _checksums(connection: Connection, record: ClusterRecord, checks: list[str]) -> Iterator[str]:
    ((found,),) = fetch(connection, "SHOW data_checksums")
    if (found == "on") != record.data_checksums:
        yield f"Page checksums are {found}; in the backup they were {'on' if record.data_checksums else 'off'}."
    elif record.data_checksums:
        checks.append("Page checksums are on: the server verifies every page that it reads.")
    else:
        checks.append("The cluster has no page checksums: damage on a disk goes unnoticed.")


def _collations(connection: Connection) -> Iterator[str]:
    for name, was, now in fetch(connection, _DATABASE_COLLATIONS):
        yield _collation(f"The database {name}", was, now)


def _collation(what: str, was: object, now: object) -> str:
    return (
        f"{what} sorts by version {was} of its collation, this machine has {now}: "
        "indexes on text may be wrong here. REINDEX it, then ALTER ... REFRESH COLLATION VERSION."
    )


def _database(address: Address, checks: list[str]) -> Iterator[str]:
    """Open a database and look at it."""
    name = address.database
    try:
        with closing(connect(address, autocommit=True)) as connection:
            ((tables, indexes, rows),) = fetch(connection, _COUNTS)
            unlogged = [str(table) for (table,) in fetch(connection, _UNLOGGED)]
            collations = fetch(connection, _COLLATIONS)
    except (BackupError, psycopg.Error) as error:
        yield f"The database {name} cannot be opened and read: {error}"
        return
    checks.append(f"The database {name} has {tables} tables with about {rows:,} rows, and {indexes} indexes.")
    for collation, was, now in collations:
        yield _collation(f"In {name} the collation {collation}", was, now)
    if unlogged:
        more = f" and {len(unlogged) - _SHOWN} more" if len(unlogged) > _SHOWN else ""
        yield f"In {name} these tables are unlogged and came back empty: {', '.join(unlogged[:_SHOWN])}{more}."


# pg_amcheck


def _check_relations(
    address: Address, names: list[str], bindir: Path, writable: bool, checks: list[str], progress: Progress
) -> Iterator[str]:
    program = bindir / "pg_amcheck"
    if not program.is_file():
        checks.append(f"Tables and indexes were not read page by page: there is no pg_amcheck in {bindir}.")
        return
    passed = []
    for name in names:
        progress.raise_if_cancelled()
        refused = ""
        with closing(connect(address, database=name, autocommit=True, options=_QUIETLY)) as connection:
            ((available, installed),) = fetch(connection, _AMCHECK)
            if not available:
                refused = "this installation has no amcheck extension"
            elif not installed and not writable:
                refused = "it has no amcheck extension, and cannot be given one while it is paused"
            if not refused:
                words = _amchecked(connection, program, address.with_database(name), not installed, progress)
                yield from (f"pg_amcheck in {name}: {word}" for word in words)
                passed += [] if words else [name]
        if refused:
            checks.append(f"{name} was not read page by page: {refused}.")
    if passed:
        checks.append(f"pg_amcheck found nothing wrong in {', '.join(passed)}.")


def _amchecked(connection: Connection, program: Path, address: Address, install: bool, progress: Progress) -> list[str]:
    """Run pg_amcheck in one database, and take away the extension that it needed."""
    schema = sql.Identifier("edurise_amcheck")
    try:
        if install:
            connection.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
            connection.execute(sql.SQL("CREATE EXTENSION amcheck SCHEMA {}").format(schema))
        try:
            return _run(program, address, progress)
        finally:
            if install:
                connection.execute("DROP EXTENSION amcheck")
                connection.execute(sql.SQL("DROP SCHEMA {}").format(schema))
    except psycopg.Error as error:
        close_quietly(connection)
        return [f"it could not be run: {error}"]


def _run(program: Path, address: Address, progress: Progress) -> list[str]:
    """Return what the program says of damage, a line each; raises CancelledError."""
    pause = threading.Event()
    command: list[str | Path] = [program, "--no-dependent-toast", "--jobs=2", f"--database={address.database}"]
    with client_environment(address) as environment, Program(command, environment=environment, keep_output=True) as run:
        while run.running:
            progress.raise_if_cancelled()
            pause.wait(_LOOK_EVERY)
        try:
            run.finish()
        except ToolError as error:
            lines = [line.strip() for line in run.output().splitlines() if line.strip()]
            return lines[:_SHOWN] or [str(error)]
        return []
