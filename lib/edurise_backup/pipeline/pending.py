"""Files that are being read: what a directory holds until its tree is made."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field

from edurise_backup.model.content import Node
from edurise_backup.pipeline.windows import Stored
from edurise_backup.ports import Entry


@dataclass(slots=True)
class ReadFile:
    """A file that was read: its node (None: it could not be), and its blobs, stored or being stored."""

    node: Node | None
    stored: list[Stored] = field(default_factory=list)


@dataclass(slots=True)
class Job:
    """Files that one thread reads together."""

    entries: list[Entry]
    size: int = 0
    done: Future[list[ReadFile]] = field(default_factory=Future)
    sent: bool = False


@dataclass(frozen=True, slots=True)
class Pending:
    """A file whose blobs are not all stored yet."""

    job: Job
    number: int

    @property
    def sent(self) -> bool:
        """Whether a reader has it; otherwise it waits in a batch for `flush`."""
        return self.job.sent

    @property
    def done(self) -> bool:
        """Whether `finished` would not have to wait."""
        job = self.job.done
        return job.done() and job.exception() is None and all(one.done() for one in job.result()[self.number].stored)

    def finished(self) -> Node | None:
        """Wait for the blobs and return the complete node; None for a file that could not be read."""
        file = self.job.done.result()[self.number]
        if file.node is not None and file.stored:
            file.node.content = [blob.hex() for future in file.stored for blob in future.result()]
        return file.node
