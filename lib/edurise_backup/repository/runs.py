"""Cut what is wanted of a pack into runs, each worth one read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar

from edurise_backup.repository.index import Place

GAP = 128 * 1024
"""Bytes between two wanted blobs that are read over rather than asked for separately."""
_RUN = 8 * 1024 * 1024
"""Bytes that one read brings at most."""


class Wanted(Protocol):
    """A blob that is to be read."""

    @property
    def place(self) -> Place:
        """Where it lies."""


Blob = TypeVar("Blob", bound=Wanted)


def runs(blobs: Iterable[Blob], *, gap: int = GAP) -> Iterator[list[Blob]]:
    """Yield neighbours that one read brings; `blobs` are of one pack, in the order of their offsets."""
    run: list[Blob] = []
    for blob in blobs:
        if run:
            end = run[-1].place.offset + run[-1].place.length
            if blob.place.offset - end > gap or blob.place.offset + blob.place.length - run[0].place.offset > _RUN:
                yield run
                run = []
        run.append(blob)
    if run:
        yield run
