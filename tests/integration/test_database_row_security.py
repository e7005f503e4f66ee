"""A materialized view over a table with forced row security is filled again under the same policies."""

from __future__ import annotations

import secrets

from psycopg import sql

from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import Tools
from edurise_backup.recovery.database import restore_database
from edurise_backup.recovery.database_proof import prove_database
from edurise_backup.sources.database import DatabaseSource
from tests.support.postgres import capture, drop_database, execute

SCHEMA = """
CREATE TABLE notes (id integer PRIMARY KEY, open boolean);
INSERT INTO notes SELECT n, n % 2 = 0 FROM generate_series(1, 10) n;
ALTER TABLE notes OWNER TO {role};
ALTER TABLE notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE notes FORCE ROW LEVEL SECURITY;
CREATE POLICY only_open ON notes USING (open);
CREATE MATERIALIZED VIEW open_notes AS SELECT * FROM notes WITH NO DATA;
ALTER MATERIALIZED VIEW open_notes OWNER TO {role};
REFRESH MATERIALIZED VIEW open_notes;
"""


def test_a_view_over_a_table_with_forced_row_security_comes_back(
    cluster: Server, empty_database: Address, tools: Tools
) -> None:
    role, target = f"owner_{secrets.token_hex(4)}", f"back_{secrets.token_hex(4)}"
    execute(cluster.address, sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))
    try:
        execute(empty_database, sql.SQL(SCHEMA).format(role=sql.Identifier(role)))
        address = empty_database.with_database("postgres")
        with DatabaseSource(address, name="test", tools=tools, databases=[empty_database.database]) as source:
            files = capture(source)
        record = files.record(empty_database.database)
        restore_database(
            files, record, address=cluster.address, new_name=target, tools=tools, server_globals=files.globals()
        )
        assert prove_database(record, address=cluster.address, new_name=target).findings == []
        with connect(cluster.address, database=target) as connection:
            assert connection.execute("SELECT count(*) FROM open_notes").fetchone() == (5,)
    finally:
        drop_database(cluster.address, target)
        drop_database(cluster.address, empty_database.database)
        execute(cluster.address, sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))
