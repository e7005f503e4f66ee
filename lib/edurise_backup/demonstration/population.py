"""How large a platform is, and who is in it.

These ids are all that is kept in memory of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from edurise_backup.demonstration.randomness import make_uuid, stream
from edurise_backup.demonstration.vocabulary import SUBJECTS, Subject

LESSONS_PER_COURSE = 12


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many rows each table gets, and how many files the storage."""

    users: int
    courses: int
    submissions: int
    activity: int
    attachments: int
    files: int

    @property
    def lessons(self) -> int:
        """Every course has the same number of lessons; their ids count from 1."""
        return self.courses * LESSONS_PER_COURSE


def sizes(scale: float) -> Sizes:
    """Return the sizes of a platform; at scale 1 near 65 MB of databases and 85 MB of files."""
    return Sizes(
        users=max(12, round(3_000 * scale)),
        courses=max(3, round(60 * scale)),
        submissions=max(40, round(22_500 * scale)),
        activity=max(200, round(90_000 * scale)),
        attachments=max(4, round(500 * scale)),
        files=max(60, round(1_450 * scale)),
    )


@dataclass(frozen=True, slots=True)
class People:
    """The ids that rows of other tables refer to."""

    users: list[str]
    subjects: list[Subject]
    """Of each course, in the order of their ids; courses count from 1."""

    def anyone(self, random: Random) -> str:
        """Choose a user."""
        return self.users[int(random.random() * len(self.users))]

    def subject_of_lesson(self, lesson: int) -> Subject:
        """Return what a lesson is about."""
        return self.subjects[(lesson - 1) // LESSONS_PER_COURSE]


def people(seed: int, amount: Sizes) -> People:
    """Return the users and courses of the platform."""
    random = stream(seed, "people")
    users = [make_uuid(random) for _ in range(amount.users)]
    return People(users, [SUBJECTS[int(random.random() * len(SUBJECTS))] for _ in range(amount.courses)])
