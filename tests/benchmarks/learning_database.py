"""A database like a learning platform's, in a scratch server, that changes the way such a database changes.

Everything follows from the scale: rows are made in the server, from hashes of
their numbers and from paragraphs that are written here. Autovacuum is off and
VACUUM is run after each change, so that two runs lay rows out alike.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from psycopg import sql

from edurise_backup.demonstration.prose import Writer
from edurise_backup.model.database import Secret
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server

NAME = "learning"
USERS, COURSES, SUBMISSIONS, EVENTS, PARAGRAPHS = 40_000, 400, 200_000, 2_000_000, 20_000
"""Rows at scale 1: a dump of about 0.7 GB."""
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "autovacuum": "off",
    "max_wal_size": "256MB",
    "timezone": "UTC",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}
_TABLES = """
CREATE FUNCTION pick(n bigint, salt bigint, below bigint) RETURNS bigint IMMUTABLE PARALLEL SAFE
    LANGUAGE sql RETURN abs(hashint8extended(n, salt) % below);
CREATE TABLE paragraphs (id int PRIMARY KEY, body text NOT NULL);
CREATE TABLE users (
    id bigint PRIMARY KEY, email text UNIQUE, name text, role text, bio text,
    settings jsonb, created_at timestamptz, seen_at timestamptz);
CREATE TABLE courses (id bigint PRIMARY KEY, title text, description text, syllabus jsonb, created_at timestamptz);
CREATE TABLE submissions (
    id bigint PRIMARY KEY, user_id bigint REFERENCES users, course_id bigint REFERENCES courses,
    body text, answers jsonb, grade numeric(5, 2), feedback text, status text,
    created_at timestamptz, changed_at timestamptz);
CREATE TABLE events (
    id bigint PRIMARY KEY, user_id bigint, course_id bigint, kind text, detail jsonb, created_at timestamptz);
"""
_INDEXES = """
CREATE INDEX ON submissions (user_id);
CREATE INDEX ON submissions (course_id, created_at);
CREATE INDEX ON events (user_id);
CREATE INDEX ON events (created_at);
"""
_USERS = """
INSERT INTO users
SELECT n, 'learner' || n || '@school-' || pick(n, 1, 400) || '.example', md5(n::text || 'name'),
       (ARRAY['learner', 'learner', 'learner', 'teacher', 'guardian'])[1 + pick(n, 2, 5)],
       left((SELECT body FROM paragraphs WHERE id = pick(n, 3, {paragraphs})), 200),
       jsonb_build_object('language', (ARRAY['en', 'de', 'pl', 'uk'])[1 + pick(n, 4, 4)], 'theme', pick(n, 5, 6),
                          'token', md5(n::text)),
       timestamptz '2024-01-01' + n * interval '11 minutes', timestamptz '2025-01-01' + pick(n, 6, 9999) * interval '1h'
FROM generate_series({first}::bigint, {last}::bigint) AS n
"""
_COURSES = """
INSERT INTO courses
SELECT n, 'Course ' || n, (SELECT string_agg(body, E'\\n\\n' ORDER BY id) FROM paragraphs WHERE id % {courses} = n - 1),
       jsonb_build_object('weeks', pick(n, 7, 30), 'topics', (SELECT jsonb_agg(left(body, 60)) FROM paragraphs
                          WHERE id % {courses} = n - 1)),
       timestamptz '2024-01-01' + n * interval '1 day'
FROM generate_series({first}::bigint, {last}::bigint) AS n
"""
_SUBMISSIONS = """
INSERT INTO submissions
SELECT n, 1 + pick(n, 11, {users}), 1 + pick(n, 12, {courses}),
       (SELECT body FROM paragraphs WHERE id = pick(n, 13, {paragraphs})) || E'\\n\\n' || md5(n::text) || ' ' ||
       (SELECT body FROM paragraphs WHERE id = pick(n, 14, {paragraphs})) || E'\\n\\n' ||
       (SELECT body FROM paragraphs WHERE id = pick(n, 15, {paragraphs})),
       jsonb_build_object('1', pick(n, 16, 5), '2', pick(n, 17, 5), '3', md5(n::text || '3'), 'seconds',
                          pick(n, 18, 3600), 'agent', 'Browser/' || pick(n, 19, 40), 'draft', pick(n, 20, 7)),
       pick(n, 21, 10000) / 100.0, NULL, 'handed in',
       timestamptz '2025-01-01' + n * interval '2 minutes', timestamptz '2025-01-01' + n * interval '2 minutes'
FROM generate_series({first}::bigint, {last}::bigint) AS n
"""
_EVENTS = """
INSERT INTO events
SELECT n, 1 + pick(n, 31, {users}), 1 + pick(n, 32, {courses}),
       (ARRAY['page', 'page', 'page', 'video', 'quiz', 'login', 'forum'])[1 + pick(n, 33, 7)],
       jsonb_build_object('path', '/courses/' || pick(n, 32, {courses}) || '/lesson/' || pick(n, 34, 40),
                          'ms', pick(n, 35, 9000), 'session', md5((n / 20)::text)),
       timestamptz '2025-01-01' + n * interval '12 seconds'
FROM generate_series({first}::bigint, {last}::bigint) AS n
"""
_ROWS = ((_USERS, USERS), (_COURSES, COURSES), (_SUBMISSIONS, SUBMISSIONS), (_EVENTS, EVENTS))
_GROWING = _ROWS[2:]
_EDITS = (
    (
        "UPDATE submissions SET status = 'graded', feedback = left(body, 90), grade = grade / 2,"
        " changed_at = changed_at + interval '1 day' WHERE {which}",
        SUBMISSIONS,
    ),
    ("UPDATE events SET detail = detail || jsonb_build_object('ms', 1) WHERE {which}", EVENTS),
    ("UPDATE users SET seen_at = seen_at + interval '1 day' WHERE {which}", USERS),
)


@dataclass(slots=True)
class LearningDatabase:
    """A server and its database; `server` may be stopped and started between changes."""

    server: Server
    password: str
    scale: float

    @property
    def address(self) -> Address:
        """Where the database is reached."""
        return self.server.address.with_database(NAME)

    def fill(self) -> None:
        """Make the tables and their rows."""
        self._run(self.server.address, f"CREATE DATABASE {NAME}")
        self._run(self.address, *_TABLES.strip().split(";\n"))
        random = Random(1)
        writer = Writer(random)
        with connect(self.address) as connection:
            with connection.cursor().copy("COPY paragraphs FROM STDIN") as copy:
                for number in range(self._rows(PARAGRAPHS)):
                    copy.write_row((number, writer.paragraph(writer.subject(), writer.between(3, 9))))
            connection.commit()
        for insert, count in _ROWS:
            self._run(self.address, self._insert(insert, 1, self._rows(count)))
        self._run(self.address, *_INDEXES.strip().split(";\n"), "VACUUM ANALYZE")

    def change_recent(self) -> None:
        """Change the newest 2 % of the rows, and add 2 %."""
        for edit, count in _EDITS:
            self._run(self.address, edit.format(which=f"id > {int(self._rows(count) * 0.98)}"))
        for insert, count in _GROWING:
            rows = self._rows(count)
            self._run(self.address, self._insert(insert, rows + 1, rows + rows // 50))
        self._run(self.address, "VACUUM ANALYZE")

    def change_scattered(self) -> None:
        """Change 2 % of the rows, all over the tables."""
        for edit, _ in _EDITS:
            self._run(self.address, edit.format(which="pick(id, 99, 50) = 0"))
        self._run(self.address, "VACUUM ANALYZE")

    def _rows(self, at_scale_one: int) -> int:
        return max(10, int(at_scale_one * self.scale))

    def _insert(self, insert: str, first: int, last: int) -> str:
        counts = {"users": self._rows(USERS), "courses": self._rows(COURSES), "paragraphs": self._rows(PARAGRAPHS)}
        return insert.format(first=first, last=last, **counts)

    def _run(self, address: Address, *statements: str) -> None:
        with connect(address, autocommit=True) as connection:
            for statement in statements:
                connection.execute(sql.SQL(statement))


@contextmanager
def learning_database(
    folder: Path, scale: float, settings: Mapping[str, str] | None = None
) -> Iterator[LearningDatabase]:
    """Give a running server below `folder` with the filled database; it is stopped afterwards."""
    password = secrets.token_hex(12)
    server = Server(
        folder, binaries=find_server(), password=Secret(password), settings=_SETTINGS | dict(settings or {})
    )
    with server:
        database = LearningDatabase(server, password, scale)
        database.fill()
        yield database
