"""Read packs and prove them, a few at a time, until all are done or the budget is spent."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.ports import Progress
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.packs import PackProof, prove_pack

Seconds = Callable[[], float]
"""A clock that never goes back."""


def read_packs(
    repository: Repository,
    packs: list[str],
    *,
    progress: Progress,
    limit: timedelta | None = None,
    seconds: Seconds = time.monotonic,
) -> Iterator[PackProof]:
    """Yield the proof of each pack, in order; the repository's index must be loaded.

    After `limit` no further pack is begun; one always is. No more packs are in
    memory than there are cores, and one. Raises CancelledError.
    """
    workers = os.cpu_count() or 2
    end = None if limit is None else seconds() + limit.total_seconds()
    under_way: deque[Future[PackProof]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        try:
            for number, pack in enumerate(packs):
                if number and end is not None and seconds() >= end:
                    break
                under_way.append(pool.submit(_read, repository, pack, progress))
                if len(under_way) > workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


def _read(repository: Repository, pack: str, progress: Progress) -> PackProof:
    progress.raise_if_cancelled()
    try:
        content = repository.store.get(object_name(Kind.PACK, pack))
    except BackupError as error:
        gone = isinstance(error, DamageError | NotFoundError)
        return PackProof(pack, 0, findings=(f"pack {pack[:8]}: {error.message}",), damaged=gone)
    proof = prove_pack(content, pack, key=repository.box.key, index=repository.index, pause=progress.raise_if_cancelled)
    progress.advance(bytes_done=len(content))
    return proof
