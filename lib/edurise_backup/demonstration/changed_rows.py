"""What a day changes in the databases, besides the rows of files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import psycopg

from edurise_backup.demonstration.content import Row, Table, submission_rows
from edurise_backup.demonstration.database import LARGE_OBJECTS, create_month, load
from edurise_backup.demonstration.population import People, sizes
from edurise_backup.demonstration.prose import Writer
from edurise_backup.demonstration.randomness import make_uuid, moment, stream, timestamp
from edurise_backup.demonstration.vocabulary import SUBJECTS

_Connection = psycopg.Connection[tuple[object, ...]]


def change_rows(connection: _Connection, seed: int, scale: float) -> None:
    """Change the main database in the open transaction.

    Rows are changed one by one in a fixed order, so that identity columns
    count the same way whatever plan the server chooses.
    """
    random = stream(seed, "changed rows")
    _people_come_and_go(connection, random, seed, scale)
    _hand_in_and_grade(connection, random, scale)
    _edit_lessons(connection, random)
    _add_month(connection, random, scale)
    _edit_binaries(connection, random)
    _announce(connection, random)


def change_analytics(connection: _Connection, seed: int) -> None:
    """Change the second database in a transaction of its own."""
    random = stream(seed, "changed analytics")
    writer = Writer(random)
    connection.execute(
        "UPDATE reports.daily_figures SET value = value + 1 WHERE day = (SELECT max(day) FROM reports.daily_figures)"
    )
    connection.execute(
        "INSERT INTO reports.notes (day, note) VALUES (%s, %s)",
        (timestamp(moment(random))[:10], writer.paragraph(writer.subject(), 2)),
    )


def _people_come_and_go(connection: _Connection, random: Random, seed: int, scale: float) -> None:
    writer = Writer(random)
    leaving = _texts(
        connection,
        "SELECT id FROM auth.users u WHERE NOT EXISTS (SELECT FROM public.courses WHERE teacher_id = u.id)"
        " AND NOT EXISTS (SELECT FROM public.certificates WHERE user_id = u.id) ORDER BY id",
    )
    arriving: list[Row] = []
    for number in range(max(2, round(25 * scale))):
        given, family = writer.name()
        about = json.dumps({"given_name": given, "family_name": family}, ensure_ascii=False)
        email = f"change{seed}-user{number}@school.example"
        arriving.append((make_uuid(random), email, "$2a$10$none", about, timestamp(moment(random))))
    _each(connection, "DELETE FROM auth.users WHERE id = %s", [(user,) for user in leaving[: round(3 * scale) or 1]])
    _each(
        connection,
        "INSERT INTO auth.users (id, email, encrypted_password, raw_user_meta_data, created_at)"
        " VALUES (%s, %s, %s, %s, %s)",
        arriving,
    )
    _each(
        connection,
        "INSERT INTO public.enrollments (user_id, course_id, enrolled_at) VALUES (%s, 1, %s)",
        [(row[0], row[4]) for row in arriving],
    )
    connection.execute(
        "INSERT INTO public.certificates (user_id, course_id, issued_on) VALUES (%s, 1, '2026-06-30')",
        (arriving[0][0],),
    )


def _hand_in_and_grade(connection: _Connection, random: Random, scale: float) -> None:
    submissions = [int(text) for text in _texts(connection, "SELECT id FROM public.submissions ORDER BY id")]
    chosen = random.sample(submissions, min(len(submissions) // 2, max(6, round(600 * scale))))
    sixth = len(chosen) // 6
    _each(connection, "DELETE FROM public.submissions WHERE id = %s", [(key,) for key in chosen[:sixth]])
    _each(
        connection,
        "UPDATE public.submissions SET state = 'graded', points = %s, updated_at = %s WHERE id = %s",
        [(f"{random.random() * 20:.2f}", timestamp(moment(random)), key) for key in chosen[sixth:]],
    )
    users = _texts(connection, "SELECT id FROM auth.users ORDER BY id")
    by_name = {subject.name: subject for subject in SUBJECTS}
    subjects = [by_name[name] for name in _texts(connection, "SELECT subject FROM public.courses ORDER BY id")]
    amount = replace(sizes(scale), courses=len(subjects), submissions=max(4, round(350 * scale)))
    rows = submission_rows(random, amount, People(users, subjects))
    columns = "lesson_id, user_id, state, answers, points, submitted_at, updated_at"
    load(connection, Table("public.submissions", columns, rows))


def _edit_lessons(connection: _Connection, random: Random) -> None:
    writer = Writer(random)
    lessons = [int(text) for text in _texts(connection, "SELECT id FROM public.lessons ORDER BY id")]
    edits = [
        (f"\n{writer.paragraph(writer.subject(), 4)}\n", timestamp(moment(random)), lesson)
        for lesson in random.sample(lessons, min(10, len(lessons)))
    ]
    _each(connection, "UPDATE public.lessons SET body = body || %s, updated_at = %s WHERE id = %s", edits)
    # two lessons change places: only possible because the key is checked at the end
    swap = "UPDATE public.lessons SET position = 3 - position WHERE course_id = %s AND position IN (1, 2)"
    connection.execute(swap, (random.randrange(1, 4),))


def _add_month(connection: _Connection, random: Random, scale: float) -> None:
    months = len(
        _texts(connection, "SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'public.activity'::regclass")
    )
    later = months - 11  # ten months of school and the default partition were there at first
    year, month = 2026 + (6 + later) // 12, (6 + later) % 12 + 1
    create_month(connection, year, month)
    users = _texts(connection, "SELECT id FROM auth.users ORDER BY id")
    rows = (
        (
            f"{year}-{month:02d}-{random.randrange(1, 28):02d} 08:{number % 60:02d}:00+00",
            random.choice(users),
            "read",
            "/",
            5,
        )
        for number in range(max(20, round(2_000 * scale)))
    )
    load(connection, Table("public.activity", "happened_at, user_id, action, path, milliseconds", rows))


def _edit_binaries(connection: _Connection, random: Random) -> None:
    preview = b"\x89PNG\r\n\x1a\n" + random.randbytes(9_000)
    connection.execute(
        "UPDATE public.attachments SET preview = %s, digest = sha256(%s)"
        " WHERE id = (SELECT min(id) FROM public.attachments)",
        (preview, preview),
    )
    connection.execute(
        "SELECT lo_put(%s, %s, %s)", (LARGE_OBJECTS[1], random.randrange(500_000), random.randbytes(3_000))
    )


def _announce(connection: _Connection, random: Random) -> None:
    writer = Writer(random)
    connection.execute(
        b"SET ROLE edurise_owner; CREATE TABLE IF NOT EXISTS public.announcements"
        b" (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL); RESET ROLE"
    )
    text = writer.paragraph(writer.subject(), 3)
    connection.execute("INSERT INTO public.announcements (text) VALUES (%s)", (text,))


def _texts(connection: _Connection, query: str) -> list[str]:
    return [str(row[0]) for row in connection.execute(query.encode())]


def _each(connection: _Connection, statement: str, rows: Sequence[Row]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(statement.encode(), rows)
