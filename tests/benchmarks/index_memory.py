"""Load a repository's index, or plan a prune, in a process of its own, and note memory and time between the steps.

`prune_memory` runs this; what is noted at a step is what there is when it has ended.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.prune_plan import plan_prune
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.benchmarks.measuring import answer_with, asked, peak, resident
from tests.benchmarks.synthetic_repository import PASSPHRASE


class Request(msgspec.Struct):
    """What is measured, on which repository."""

    place: str
    plan: bool
    """Plan a prune; else load the index as a backup does."""


class Step(msgspec.Struct):
    """One step: how long it took, and the memory at its end; bytes."""

    name: str
    seconds: float
    resident: int
    peak: int
    """The most until then."""


class Steps(msgspec.Struct):
    """All steps, and what the index holds."""

    steps: list[Step]
    blobs: int
    packs: int
    told: str = ""
    """What the plan says, in words."""


_ENDED = {
    "index": "before the index",
    "trees": "index loaded, packs listed",
    "copies": "trees walked",
    "": "copies judged, plan made",
}
"""What has ended when a prune's phase begins, and at its end."""


class _Noting(SilentProgress):
    """Notes memory and time wherever a phase begins."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[Step] = []
        self._began = time.monotonic()

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Note what has ended."""
        self.note(_ENDED.get(name, name))

    def note(self, name: str) -> None:
        """Note the end of a step."""
        now = time.monotonic()
        self.steps.append(Step(name, now - self._began, resident(), peak()))
        self._began = time.monotonic()


def measure(request: Request) -> Steps:
    """Do the work."""
    repository = Repository.open(LocalStore(Path(request.place)), PASSPHRASE)
    return plan(repository) if request.plan else load(repository)


def load(repository: Repository) -> Steps:
    """Load the index, strictly, as whoever removes something does, or a backup not strictly: the work is the same."""
    noting = _Noting()
    noting.phase("index")
    index = repository.load_index()
    noting.note("index loaded")
    return Steps(noting.steps, len(index), index.pack_count)


def plan(repository: Repository) -> Steps:
    """Plan a prune with a prune's usual options."""
    noting = _Noting()
    made = plan_prune(repository, now=datetime.now(UTC), progress=noting)
    noting.phase("")
    index, fates = made.survey.index, made.fates
    told = (
        f"used are {made.used_blobs:,} of {len(index):,} blobs in {made.packs:,} packs; "
        f"{len(fates.remove):,} packs would go, {len(fates.repack):,} be written again"
    )
    return Steps(noting.steps, len(index), index.pack_count, told)


if __name__ == "__main__":
    answer_with(measure(asked(Request)))
