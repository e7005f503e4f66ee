"""Prose that reads like course material: grammatical, on a subject, different in every sentence.

It compresses about as well as written text does, which copies of one
paragraph would not show.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from edurise_backup.demonstration.vocabulary import (
    ADJECTIVES,
    CLAIMS,
    FAMILY_NAMES,
    GIVEN_NAMES,
    NUMBERS,
    REASONS,
    SUBJECTS,
    TASKS,
    VERDICTS,
    Subject,
)

_Chooser = Callable[[tuple[str, ...]], str]


class Writer:
    """Writes sentences on school subjects; everything it writes follows from its stream of chance."""

    __slots__ = ("_pick", "_random")

    def __init__(self, random: Random) -> None:
        self._random = random
        draw = random.random

        def pick(words: tuple[str, ...]) -> str:  # three times as fast as Random.choice, and called most
            return words[int(draw() * len(words))]

        self._pick: _Chooser = pick

    def between(self, least: int, most: int) -> int:
        """Choose a number, both ends included."""
        return least + int(self._random.random() * (most - least + 1))

    def subject(self) -> Subject:
        """Choose a subject."""
        return SUBJECTS[int(self._random.random() * len(SUBJECTS))]

    def sentence(self, subject: Subject) -> str:
        """Write one sentence of 40 to 200 characters."""
        pick = self._pick
        sentence = _SENTENCES[int(self._random.random() * len(_SENTENCES))](subject, pick)
        return sentence[0].upper() + sentence[1:]

    def paragraph(self, subject: Subject, sentences: int) -> str:
        """Write a paragraph of so many sentences."""
        return " ".join([self.sentence(subject) for _ in range(sentences)])

    def text(self, subject: Subject, characters: int) -> str:
        """Write paragraphs until they hold at least `characters`; a paragraph ends with a blank line."""
        parts: list[str] = []
        written = 0
        while written < characters:
            paragraph = self.paragraph(subject, self.between(3, 7))
            parts.append(paragraph)
            written += len(paragraph) + 2
        return "\n\n".join(parts) + "\n"

    def title(self, subject: Subject) -> str:
        """Write the title of a course or lesson."""
        pick = self._pick
        return f"{subject.name}: the {pick(ADJECTIVES)} {pick(subject.things)} and the {pick(subject.methods)}"

    def name(self) -> tuple[str, str]:
        """Choose a person's given and family name."""
        return self._pick(GIVEN_NAMES), self._pick(FAMILY_NAMES)

    def remark(self) -> str:
        """Write a teacher's short remark on somebody's work."""
        return self._pick(VERDICTS)


def _claim(subject: Subject, pick: _Chooser) -> str:
    return (
        f"the {pick(ADJECTIVES)} {pick(subject.things)} {pick(CLAIMS)} the {pick(ADJECTIVES)} {pick(subject.things)} "
        f"of {pick(GIVEN_NAMES)} {pick(FAMILY_NAMES)}."
    )


def _reasoned_claim(subject: Subject, pick: _Chooser) -> str:
    return f"the {pick(subject.things)} {pick(CLAIMS)} the {pick(subject.things)}, {pick(REASONS)}."


def _task(subject: Subject, pick: _Chooser) -> str:
    return (
        f"{pick(TASKS)} the {pick(subject.things)} with the help of the {pick(ADJECTIVES)} {pick(subject.methods)}, "
        f"then {pick(TASKS)} exercise {pick(NUMBERS)}."
    )


def _observation(subject: Subject, pick: _Chooser) -> str:
    return (
        f"in our group {pick(GIVEN_NAMES)} noticed that the {pick(ADJECTIVES)} {pick(subject.things)} "
        f"{pick(CLAIMS)} the {pick(subject.methods)}, {pick(REASONS)}."
    )


def _question(subject: Subject, pick: _Chooser) -> str:
    return f"why should the {pick(subject.methods)} {pick(TASKS)} the {pick(subject.things)} {pick(REASONS)}?"


def _contrast(subject: Subject, pick: _Chooser) -> str:
    return (
        f"unlike the {pick(ADJECTIVES)} {pick(subject.things)} of the last lesson, this {pick(subject.things)} "
        f"{pick(CLAIMS)} the {pick(subject.methods)} in {pick(NUMBERS)} of {pick(NUMBERS)} cases."
    )


def _reference(subject: Subject, pick: _Chooser) -> str:
    return (
        f"{pick(FAMILY_NAMES)} calls the {pick(subject.things)} the {pick(ADJECTIVES)} {pick(subject.methods)} "
        f"(page {pick(NUMBERS)}, figure {pick(NUMBERS)})."
    )


_SENTENCES = (_claim, _reasoned_claim, _task, _observation, _question, _contrast, _reference)
