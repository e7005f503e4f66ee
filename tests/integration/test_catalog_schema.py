"""The catalog's tables, constraints, views and migrations on a real server."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from edurise_backup.catalog.migrate import Migration, migrate, packaged_migrations, schema_version
from edurise_backup.catalog.rows import BACKUPS, RECOVERIES, VERIFICATIONS
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.errors import BackupError, ConfigError, InputError, NotFoundError, UnsupportedVersionError
from edurise_backup.postgres.connection import Address

GOOD = {
    "type": "full",
    "status": "completed",
    "started_at": "2026-11-01 10:00Z",
    "completed_at": "2026-11-01 10:05Z",
    "size": 100,
    "location": "somewhere",
    "checksum": "a" * 64,
}


@pytest.fixture
def sessions(empty_database: Address) -> Iterator[Sessions]:
    with Sessions.to(empty_database) as sessions:
        migrate(sessions)
        yield sessions


def _insert(sessions: Sessions, table: str, values: dict[str, object]) -> None:
    row = {"id": uuid4(), **values}
    query = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table),
        sql.SQL(", ").join(map(sql.Identifier, row)),
        sql.SQL(", ").join(map(sql.Placeholder, row)),
    )
    with sessions.transaction() as connection:
        connection.execute(query, row)


def _broken_constraint(refused: pytest.ExceptionInfo[BackupError]) -> str | None:
    cause = refused.value.__cause__
    assert isinstance(cause, psycopg.Error)
    return cause.diag.constraint_name


def test_migrations_run_once_and_leave_the_newest_version(empty_database: Address) -> None:
    with Sessions.to(empty_database) as sessions:
        with sessions.transaction() as connection:
            assert schema_version(connection) == 0
        versions = tuple(migration.version for migration in packaged_migrations())
        assert migrate(sessions) == versions
        assert migrate(sessions) == ()
        with sessions.transaction() as connection:
            assert schema_version(connection) == versions[-1]


def test_processes_that_migrate_at_once_apply_each_migration_once(empty_database: Address) -> None:
    begin = threading.Barrier(4)
    applied: list[int] = []

    def run() -> None:
        with Sessions.to(empty_database) as sessions:
            begin.wait()
            applied.extend(migrate(sessions))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(applied) == [migration.version for migration in packaged_migrations()]


def test_a_migration_that_was_changed_after_it_ran_is_refused(sessions: Sessions) -> None:
    first, *others = packaged_migrations()
    changed = replace(first, sql=first.sql + b"-- changed")
    with pytest.raises(ConfigError, match=r"0001_\w+\.sql was changed"):
        migrate(sessions, [changed, *others])


def test_a_catalog_of_a_newer_release_is_refused(sessions: Sessions) -> None:
    newer = Migration(9000, "9000_future.sql", b"CREATE TABLE future ()")
    migrate(sessions, [*packaged_migrations(), newer])
    with pytest.raises(UnsupportedVersionError, match=r"9000_future\.sql"):
        migrate(sessions)


def test_a_migration_that_fails_leaves_nothing(sessions: Sessions) -> None:
    broken = Migration(9000, "9000_broken.sql", b"CREATE TABLE half (); SELECT no_such_function()")
    with pytest.raises(BackupError, match="no_such_function"):
        migrate(sessions, [*packaged_migrations(), broken])
    with sessions.transaction() as connection:
        assert connection.execute("SELECT to_regclass('half')").fetchone() == (None,)
        assert schema_version(connection) < 9000


def test_a_call_on_a_database_without_a_catalog_says_so(empty_database: Address) -> None:
    with Sessions.to(empty_database) as sessions, pytest.raises(UnsupportedVersionError, match="not those"):
        sessions.run(lambda connection: connection.execute("SELECT id FROM backup_jobs"))


MISSION = {
    "backup_jobs": "id type status started_at completed_at size location checksum",
    "backup_schedules": "id name type frequency retention last_run next_run is_active",
    "recovery_jobs": "id backup_id type status target_time started_at completed_at verification_status",
}


@pytest.mark.parametrize("table", MISSION)
def test_the_tables_have_the_columns_of_the_mission(sessions: Sessions, table: str) -> None:
    with sessions.transaction() as connection:
        found = connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", (table,)
        ).fetchall()
    types = {str(name): str(kind) for name, kind in found}
    columns = MISSION[table].split()
    assert set(columns) <= types.keys()
    moments = [c for c in columns if c.endswith(("_at", "_time", "_run"))]
    assert {types[c] for c in moments} == {"timestamp with time zone"}


@pytest.mark.parametrize("table", [BACKUPS, VERIFICATIONS, RECOVERIES], ids=lambda table: table.name)
def test_every_field_of_a_record_has_its_column(sessions: Sessions, table: object) -> None:
    assert isinstance(table, type(BACKUPS))
    with sessions.transaction() as connection:
        found = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = %s", (table.name,)
        ).fetchall()
    assert set(table.columns) <= {name for (name,) in found}


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"type": "half"}, "backup_type_known"),
        ({"status": "done"}, "backup_status_known"),
        ({"completed_at": "2026-11-01 09:59Z"}, "backup_times_in_order"),
        ({"completed_at": None}, "backup_ended_has_time"),
        ({"status": "running"}, "backup_ended_has_time"),
        ({"status": "running", "completed_at": None, "started_at": None}, "backup_begun_has_time"),
        ({"size": None}, "backup_good_is_whole"),
        ({"location": ""}, "backup_good_is_whole"),
        ({"checksum": None}, "backup_good_is_whole"),
        ({"checksum": "A" * 64}, "backup_checksum_is_sha256"),
        ({"size": -1}, "backup_sizes_not_negative"),
        ({"stored_bytes": -1}, "backup_sizes_not_negative"),
        ({"progress": 1.5}, "backup_progress_is_a_share"),
        ({"verification_status": "maybe", "verified_at": "2026-11-01 11:00Z"}, "backup_verdict_known"),
        ({"verification_status": "passed"}, "backup_verdict_has_time"),
    ],
)
def test_a_bad_backup_row_is_refused(sessions: Sessions, change: dict[str, object], constraint: str) -> None:
    with pytest.raises(InputError) as refused:
        _insert(sessions, "backup_jobs", GOOD | change)
    assert _broken_constraint(refused) == constraint


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ({"retention": 0}, "schedule_retention_positive"),
        ({"type": "half"}, "schedule_type_known"),
        ({"name": ""}, "schedule_name_not_empty"),
        ({"frequency": ""}, "schedule_frequency_not_empty"),
        ({"name": "nightly"}, "schedule_name_unique"),
    ],
)
def test_a_bad_schedule_row_is_refused(sessions: Sessions, change: dict[str, object], constraint: str) -> None:
    _insert(sessions, "backup_schedules", {"name": "nightly", "type": "full", "frequency": "@daily", "retention": 30})
    with pytest.raises(InputError) as refused:
        _insert(
            sessions,
            "backup_schedules",
            {"name": "weekly", "type": "full", "frequency": "@weekly", "retention": 30} | change,
        )
    assert _broken_constraint(refused) == constraint


@pytest.mark.parametrize("table", ["verification_jobs", "recovery_jobs"])
def test_a_job_of_an_unknown_backup_is_refused(sessions: Sessions, table: str) -> None:
    row: dict[str, object] = {"backup_id": uuid4(), "status": "queued"}
    if table == "recovery_jobs":
        row["type"] = "full"
    with pytest.raises(NotFoundError):
        _insert(sessions, table, row)


def test_a_proof_with_findings_cannot_have_passed(sessions: Sessions) -> None:
    backup_id = uuid4()
    _insert(sessions, "backup_jobs", GOOD | {"id": backup_id})
    row = {
        "backup_id": backup_id,
        "status": "completed",
        "started_at": "2026-11-01 10:00Z",
        "completed_at": "2026-11-01 10:05Z",
        "verification_status": "passed",
        "findings": ["a blob is missing"],
    }
    with pytest.raises(InputError, match="verification_passed_without_findings"):
        _insert(sessions, "verification_jobs", row)
    with pytest.raises(InputError, match="recovery_passed_without_findings"):
        _insert(sessions, "recovery_jobs", row | {"type": "full"})


def test_a_phase_belongs_to_exactly_one_job(sessions: Sessions) -> None:
    with pytest.raises(InputError), sessions.transaction() as connection:
        connection.execute("INSERT INTO job_phases (ordinal, name, started_at) VALUES (0, 'reading', now())")


def test_what_the_server_refuses_is_translated_without_the_rows_values(sessions: Sessions) -> None:
    with pytest.raises(NotFoundError) as refused:
        sessions.run(
            lambda connection: connection.execute(
                "INSERT INTO recovery_jobs (id, backup_id, type, status) VALUES (%s, %s, 'full', 'queued')",
                (uuid4(), uuid4()),
            )
        )
    assert "DETAIL" not in str(refused.value)


def _views(sessions: Sessions) -> list[str]:
    with sessions.transaction() as connection:
        found = connection.execute("SELECT viewname FROM pg_views WHERE schemaname = 'analytics' ORDER BY 1")
        return [str(name) for (name,) in found.fetchall()]


def test_every_view_answers_and_refuses_writes(sessions: Sessions) -> None:
    _insert(sessions, "backup_jobs", GOOD)
    views = _views(sessions)
    assert {"backup_history", "storage_by_day", "last_good", "recovery_history"} <= set(views)
    for view in views:
        name = sql.Identifier("analytics", view)
        with sessions.transaction() as connection:
            connection.execute(sql.SQL("SELECT * FROM {}").format(name)).fetchall()
        with pytest.raises(BackupError, match="cannot delete from view"), sessions.transaction() as connection:
            connection.execute(sql.SQL("DELETE FROM {}").format(name))


def test_every_view_and_each_of_its_columns_is_explained(sessions: Sessions) -> None:
    with sessions.transaction() as connection:
        silent = connection.execute(
            """SELECT c.relname, a.attname FROM pg_class c
               JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
               WHERE c.relnamespace = 'analytics'::regnamespace
                 AND (col_description(c.oid, a.attnum) IS NULL OR obj_description(c.oid, 'pg_class') IS NULL)"""
        ).fetchall()
    assert silent == []


def test_every_query_of_the_documentation_answers(sessions: Sessions) -> None:
    _insert(sessions, "backup_jobs", GOOD)
    page = Path(__file__).parents[2] / "docs" / "operations" / "catalog.md"
    queries = re.findall(r"```sql\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    assert set(_views(sessions)) <= set(re.findall(r"FROM analytics\.(\w+)", " ".join(queries)))
    for query in queries:
        with sessions.transaction() as connection:
            assert connection.execute(query.encode()).description


def test_the_storage_view_adds_up_the_good_backups_of_a_day(sessions: Sessions) -> None:
    for change in ({}, {"size": 50, "stored_bytes": 7}, {"status": "failed", "size": 1000}):
        _insert(sessions, "backup_jobs", GOOD | {"stored_bytes": 10} | change)
    with sessions.transaction() as connection:
        row = connection.execute(
            "SELECT day::text, type, backups, source_bytes, stored_bytes_total FROM analytics.storage_by_day"
        ).fetchall()
    assert row == [("2026-11-01", "full", 2, 150, 17)]
