"""The rows of the platform's databases, a stream per table.

Streams are read once, from front to back, so that a platform of any scale is
filled with bounded memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

from edurise_backup.demonstration.population import LESSONS_PER_COURSE, People, Sizes
from edurise_backup.demonstration.prose import Writer
from edurise_backup.demonstration.randomness import (
    TERM_BEGINS,
    TERM_SECONDS,
    moment,
    stream,
    timestamp,
)
from edurise_backup.demonstration.vocabulary import Subject

Row = tuple[object, ...]

_STATES = ("draft", "handed in", "graded", "graded", "graded", "returned")
_LANGUAGES = ("en", "en", "en", "de", "fr", "pl", "tr", "sw")
_ACTIONS = ("view lesson", "view lesson", "open file", "search", "sign in", "hand in", "download", "comment")
_MEASURES = ("sign-ins", "lessons read", "files opened", "submissions", "failed sign-ins", "searches")


@dataclass(frozen=True, slots=True)
class Table:
    """A table with the columns that are loaded and the rows to load, in that order."""

    name: str
    columns: str
    rows: Iterator[Row]


def main_tables(seed: int, amount: Sizes, folk: People) -> Iterator[Table]:
    """Yield the tables of the main database, those that others refer to first."""

    def table(name: str, columns: str, make: Callable[[Random, Sizes, People], Iterator[Row]]) -> Table:
        return Table(name, columns, make(stream(seed, name), amount, folk))

    yield table(
        "auth.users",
        "id, email, encrypted_password, raw_user_meta_data, created_at, last_sign_in_at",
        user_rows,
    )
    yield Table(
        "public.profiles",
        "user_id, given_name, family_name, locale, office, updated_at",
        _profiles(seed, amount, folk),
    )
    yield table("public.courses", "slug, title, subject, teacher_id, capacity, during, tags, updated_at", _courses)
    yield table("public.lessons", "id, course_id, position, title, body, updated_at", _lessons)
    yield table("public.enrollments", "user_id, course_id, enrolled_at, progress, final_grade", _enrollments)
    yield table(
        "public.submissions",
        "lesson_id, user_id, state, answers, points, submitted_at, updated_at",
        submission_rows,
    )
    yield table("public.attachments", "lesson_id, name, preview, digest", _attachments)
    yield table("public.room_bookings", "room, during", _bookings)
    yield table("public.certificates", "number, user_id, course_id, issued_on", _certificates)
    yield table("public.activity", "happened_at, user_id, action, path, milliseconds, address", activity_rows)
    yield table('public."Léxico ""raro""; --"', '"clé", "sélect", "a b"', _odd_names)


def analytics_tables(seed: int) -> Iterator[Table]:
    """Yield the tables of the second database; they do not grow with the scale."""
    random = stream(seed, "analytics")
    yield Table("reports.daily_figures", "day, measure, value, share", _figures(random))
    yield Table("reports.notes", "day, note", _notes(random))


def user_rows(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    """Yield `auth.users`; the password column holds what looks like a hash and is none."""
    writer = Writer(random)
    for number, user in enumerate(folk.users):
        given, family = writer.name()
        created = moment(random) - TERM_SECONDS
        signed_in = timestamp(created + random.random() * TERM_SECONDS) if number % 9 else None
        about = {
            "given_name": given,
            "family_name": family,
            "avatar": f"avatars/{user}.jpg",
            "consent": number % 3 == 0,
        }
        yield (
            user,
            f"user{number}@school.example",
            f"$2a$10$not-a-real-hash{random.getrandbits(160):040x}",
            json.dumps(about, ensure_ascii=False),
            timestamp(created),
            signed_in,
        )


def _profiles(seed: int, amount: Sizes, folk: People) -> Iterator[Row]:
    # read from the users' own stream again, so that names agree
    for row in user_rows(stream(seed, "auth.users"), amount, folk):
        user, about, created = row[0], json.loads(str(row[3])), row[4]
        random = stream(seed, f"profile {user}")
        office = f'("House {random.choice("ABC")}",{random.randrange(1, 400)})' if random.random() < 0.05 else None
        yield (user, about["given_name"], about["family_name"], random.choice(_LANGUAGES), office, created)


def _courses(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    writer = Writer(random)
    for number, subject in enumerate(folk.subjects, start=1):
        tags = "{" + ",".join(sorted({subject.name, f'"year {random.randrange(7, 13)}"', "open"})) + "}"
        yield (
            f"{subject.name.lower()}-{number}",
            writer.title(subject),
            subject.name,
            folk.anyone(random),
            random.randrange(8, 200),
            f"[2025-09-{random.randrange(1, 29):02d},2026-06-{random.randrange(1, 29):02d})",
            tags,
            timestamp(moment(random)),
        )


def _lessons(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    writer = Writer(random)
    for lesson in range(1, amount.lessons + 1):
        subject = folk.subject_of_lesson(lesson)
        position = (lesson - 1) % LESSONS_PER_COURSE + 1
        body = f"# {writer.title(subject)}\n\n{writer.text(subject, random.randrange(2_000, 9_000))}"
        course = (lesson - 1) // LESSONS_PER_COURSE + 1
        yield (lesson, course, position, writer.title(subject), body, timestamp(moment(random)))


def _enrollments(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    for user in folk.users:
        for course in sorted(random.sample(range(1, amount.courses + 1), min(5, amount.courses))):
            progress = round(random.random(), 4)
            grade = f"{random.random() * 20:.2f}" if progress > 0.7 else None
            yield (user, course, timestamp(moment(random)), progress, grade)


def submission_rows(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    """Yield `public.submissions`: mostly 1 to 2 kB each, one in fifty an essay that PostgreSQL stores aside."""
    writer = Writer(random)
    for number in range(amount.submissions):
        lesson = int(random.random() * amount.lessons) + 1
        subject = folk.subject_of_lesson(lesson)
        essay = number % 50 == 49
        answers = {
            "language": random.choice(_LANGUAGES),
            "minutes": random.randrange(2, 90),
            "questions": [
                {"n": n, "answer": _answer(writer, subject, essay=essay), "correct": random.random() < 0.7}
                for n in range(1, 4)
            ],
            "device": {
                "kind": random.choice(("phone", "laptop", "tablet")),
                "id": f"{random.getrandbits(64):016x}",
            },
        }
        state = random.choice(_STATES)
        submitted = moment(random)
        yield (
            lesson,
            folk.anyone(random),
            state,
            json.dumps(answers, ensure_ascii=False),
            f"{random.random() * 20:.2f}" if state in ("graded", "returned") else None,
            timestamp(submitted),
            timestamp(submitted + random.random() * 86_400),
        )


def _answer(writer: Writer, subject: Subject, *, essay: bool) -> str:
    return writer.text(subject, 4_000) if essay else writer.paragraph(subject, writer.between(2, 5))


def _attachments(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    for number in range(amount.attachments):
        preview = b"\x89PNG\r\n\x1a\n" + random.randbytes(random.randrange(500, 15_000))
        lesson = int(random.random() * amount.lessons) + 1
        yield (lesson, f"preview {number}.png", preview, hashlib.sha256(preview).digest())


def _bookings(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    begins = TERM_BEGINS.timestamp()
    for number in range(max(5, amount.courses)):
        begins += 3600 * random.randrange(1, 30)
        ends = begins + 1800 * random.randrange(1, 5)
        yield (f'("House ""{random.choice("ABC")}""",{number})', f"[{timestamp(begins)},{timestamp(ends)})")
        begins = ends


def _certificates(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    for number, user in zip(count(1000, 7), folk.users[::10], strict=False):
        yield (
            number,
            user,
            random.randrange(1, amount.courses + 1),
            f"2026-06-{random.randrange(1, 29):02d}",
        )


def activity_rows(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    """Yield `public.activity` in the order of time, over the whole year (one partition a month)."""
    step = TERM_SECONDS / amount.activity
    for number in range(amount.activity):
        action = random.choice(_ACTIONS)
        imported = number % 997 == 5  # from an older system: outside of every month's partition
        begins = TERM_BEGINS.timestamp() - (2 * TERM_SECONDS if imported else 0)
        yield (
            timestamp(begins + step * (number + random.random())),
            folk.anyone(random),
            action,
            f"/courses/{random.randrange(1, amount.courses + 1)}/lessons/{random.randrange(1, amount.lessons + 1)}",
            int(random.expovariate(1 / 80)),
            f"198.51.{random.randrange(100)}.{random.randrange(1, 255)}" if action == "sign in" else None,
        )


def _odd_names(random: Random, amount: Sizes, folk: People) -> Iterator[Row]:
    odd = (
        "",
        " ",
        "a\tb",
        "line\nbreak",
        "back\\slash",
        "\\N",
        "\\.",
        "''",
        '"',
        "é",
        "e\u0301",
        "漢字",
        "🎓",
        "\u200b",
    )
    for number, key in enumerate(odd):
        value = (float("nan"), float("inf"), -0.0, 1e-300, random.random())[number % 5]
        yield (key, value, None if number % 4 == 0 else f"{number}.{number:02d}")


def _figures(random: Random) -> Iterator[Row]:
    for day in range(300):
        date = timestamp(TERM_BEGINS.timestamp() + day * 86_400)[:10]
        for measure in _MEASURES:
            yield (
                date,
                measure,
                random.expovariate(1 / 500),
                random.random() if random.random() < 0.8 else None,
            )


def _notes(random: Random) -> Iterator[Row]:
    writer = Writer(random)
    for _ in range(40):
        yield (timestamp(moment(random))[:10], writer.paragraph(writer.subject(), 2))
