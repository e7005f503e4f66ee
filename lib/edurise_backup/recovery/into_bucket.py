"""Restore a snapshot into a bucket: each file becomes an object, with the key and the headers that it had.

Nothing is ever deleted, and what is there is replaced only when that was asked for.
What is there and equal is not sent again, so an interrupted restore goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum

from edurise_backup.errors import (
    BackupError,
    CancelledError,
    ConflictError,
    InputError,
    ProofError,
    SpaceError,
    TransientError,
    UnreachableError,
)
from edurise_backup.model.content import Node
from edurise_backup.model.objects import KEY, attributes_by_name, headers_of
from edurise_backup.ports import Progress
from edurise_backup.recovery.dumping import pieces_of
from edurise_backup.recovery.object_upload import SIZES, ObjectUpload
from edurise_backup.recovery.planning import Names, RestorePlan
from edurise_backup.repository.repository import Repository
from edurise_backup.s3.parts import PartSizes
from edurise_backup.s3.perseverance import Patience, Perseverance, Timing
from edurise_backup.s3.wire import Wire

_SENDERS = 8
_AHEAD = 4 * _SENDERS
_FAILURES = 32
"""So many objects that fail one after the other: then it is the server or the credential."""
_BUCKETS, _VERSIONS = "buckets", "bucket-versions"


class Existing(StrEnum):
    """What becomes of objects that are there and not equal."""

    REFUSE = "refuse"
    """The place must be empty."""
    KEEP = "keep"
    """They stay, and are named."""
    REPLACE = "replace"
    """They are replaced."""


@dataclass(frozen=True, slots=True)
class RestoredObject:
    """A file of a snapshot as an object; `key` is below the place's folder."""

    key: str
    node: Node


@dataclass(frozen=True, slots=True)
class BucketPlan:
    """What a restore into a bucket brings; `left_out` says what is no object, or must not be one."""

    objects: tuple[RestoredObject, ...]
    bytes: int
    left_out: tuple[str, ...]


@dataclass(slots=True)
class Sent:
    """What was done; `failed` names the objects that are not there as they should be."""

    sent: int = 0
    equal: int = 0
    bytes: int = 0
    failed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Of headers that the server does not keep, a sentence each."""


def plan_objects(plan: RestorePlan) -> BucketPlan:
    """Return the objects that a plan's files are: of a bucket's snapshot with their keys, else with their paths."""
    found: dict[str, RestoredObject] = {}
    left_out = [f"/{'/'.join(names)}: is no file, and so no object" for names, _ in plan.others]
    older = 0
    buckets = {file.names[1] for file in plan.files if file.names[0] == _BUCKETS and len(file.names) > 2}
    if len(buckets) > 1:
        raise InputError(
            f"the snapshot holds {len(buckets)} buckets",
            hint="choose one: --include /buckets/NAME",
            safe="nothing was sent",
        )
    for file in plan.files:
        for names in (file.names, *file.links):
            if names[0] == _VERSIONS:
                older += 1
                continue
            key = _key(names, file.node)
            if key in found:
                raise InputError(
                    f"two files would be the object {key!r}", safe="nothing was sent", hint="restore a part"
                )
            found[key] = RestoredObject(key, file.node)
    if older:
        left_out.append(f"{older} versions that are not current stay in the backup: restore them as files")
    objects = tuple(found.values())
    return BucketPlan(objects, sum(one.node.size for one in objects), tuple(left_out))


def _key(names: Names, node: Node) -> str:
    told = attributes_by_name(node).get(KEY)
    if told is not None:
        return told.decode("utf-8", "surrogatepass")
    return "/".join(names[2:] if names[0] == _BUCKETS and len(names) > 2 else names)


@dataclass(frozen=True, slots=True)
class BucketTarget:
    """A place that gets objects; tests bring their own times."""

    wire: Wire
    existing: Existing = Existing.REFUSE
    patience: Patience = field(default_factory=Patience)
    sizes: PartSizes = field(default=SIZES)
    timing: Timing | None = None

    def perseverance(self, progress: Progress) -> Perseverance:
        """Return what repeats requests."""
        return Perseverance(
            self.patience,
            where=self.wire.place.address,
            answered=lambda: self.wire.answered,
            stop=progress.raise_if_cancelled,
            timing=self.timing,
        )

    def check(self, progress: Progress) -> None:
        """Raise what stands in the way of listing the place; ConflictError when it must be empty and is not."""
        below = self.wire.place.key("")
        page = self.perseverance(progress).run(lambda: self.wire.ask("ListObjectsV2", Prefix=below, MaxKeys=2))
        if self.existing is Existing.REFUSE and any(found["Key"] != below for found in page.get("Contents", [])):
            raise ConflictError(
                f"{self.wire.place.address} is not empty",
                safe="nothing was sent",
                hint="choose a new folder or bucket, or say what becomes of what is there: "
                "`recover --buckets add` lets it stay, `repo restore --overwrite` replaces it",
            )


def restore_into_bucket(repository: Repository, plan: BucketPlan, target: BucketTarget, *, progress: Progress) -> Sent:
    """Send what is not there yet, each object proved by a look at it afterwards; the index must be loaded.

    Raises ConflictError (not empty), UnreachableError, SpaceError, CancelledError; what was sent stays.
    """
    target.check(progress)
    sending = _Sending(repository, target, target.perseverance(progress), progress)
    with ThreadPoolExecutor(_SENDERS, thread_name_prefix="send") as pool:
        under_way: deque[Future[None]] = deque()
        try:
            for one in plan.objects:
                if len(under_way) >= _AHEAD:
                    under_way.popleft().result()
                under_way.append(pool.submit(sending.bring, one))
            for future in under_way:
                future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    sending.done.failed.sort()
    return sending.done


class _Sending:
    """Objects on their way, from any number of threads."""

    def __init__(
        self, repository: Repository, target: BucketTarget, perseverance: Perseverance, progress: Progress
    ) -> None:
        self._repository = repository
        self._target = target
        self._perseverance = perseverance
        self._progress = progress
        self._quiet = _Uncounted(progress)
        self._guard = threading.Lock()
        self._failures = 0
        self.done = Sent()

    def bring(self, one: RestoredObject) -> None:
        """Have the object be there; what fails about it alone is noted, anything else raised."""
        self._progress.raise_if_cancelled()
        try:
            sent = self._bring(one)
        except (CancelledError, SpaceError):
            raise
        except (BackupError, ProofError) as error:
            self._note_failure(one, error)
            return
        with self._guard:
            self._failures = 0
            self.done.sent += sent
            self.done.equal += not sent
            self.done.bytes += one.node.size if sent else 0
        self._progress.advance(bytes_done=one.node.size, files_done=1)

    def _bring(self, one: RestoredObject) -> bool:
        """Return whether it had to be sent."""
        place = self._target.wire.place
        headers = headers_of(one.node.extended_attributes)
        upload = ObjectUpload(
            self._target.wire, self._perseverance, place.key(one.key), one.node.size, headers, self._target.sizes
        )
        found = None if self._target.existing is Existing.REFUSE else upload.found()
        if found is not None:
            if upload.is_equal(found, self._pieces(one)):
                return False
            if self._target.existing is Existing.KEEP:
                raise ConflictError("is there, and is another one: it was left as it is")
        lost = upload.lost_headers(upload.send(self._pieces(one)))
        if lost:
            with self._guard:
                self.done.problems.append(f"{one.key}: the server does not keep {', '.join(lost)}")
        return True

    def _pieces(self, one: RestoredObject) -> Iterator[bytes]:
        return pieces_of(self._repository, one.node, one.key, self._quiet)

    def _note_failure(self, one: RestoredObject, error: BackupError) -> None:
        with self._guard:
            self.done.failed.append(f"{one.key}: {error.message}")
            self._failures += isinstance(error, UnreachableError | TransientError)
            if self._failures >= _FAILURES:
                raise BackupError(
                    f"{self._failures} objects could not be sent one after the other; the last one: {error.message}",
                    safe="the backup, and what was sent so far",
                    hint=error.hint or "see how the server is, then run the same command again",
                ) from error


class _Uncounted:
    """A progress that counts nothing: an object may be read twice, and counts once."""

    def __init__(self, progress: Progress) -> None:
        self.raise_if_cancelled = progress.raise_if_cancelled

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Show nothing."""

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count nothing."""
