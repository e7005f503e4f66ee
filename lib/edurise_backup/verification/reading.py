"""Read packs and prove them, a few at a time, until all are done or the budget is spent."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.machine.cores import cores
from edurise_backup.machine.crew import Crew
from edurise_backup.ports import Progress
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.packs import PackProof, examined_by, examining_crew, judged, prove_pack

_WORTH_A_CREW = 6
"""Packs; fewer are read before other processes would have started."""
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
    workers = cores() + 1  # each waits for the disk now and then
    crew = examining_crew(repository.box.key, members=workers if len(packs) >= _WORTH_A_CREW else 0)
    end = None if limit is None else seconds() + limit.total_seconds()
    under_way: deque[Future[PackProof]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        try:
            for number, pack in enumerate(packs):
                if number and end is not None and seconds() >= end:
                    break
                under_way.append(pool.submit(_read, repository, pack, progress, crew))
                if len(under_way) > workers:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
            pool.shutdown(wait=True)
            crew.close()


def _read(repository: Repository, pack: str, progress: Progress, crew: Crew) -> PackProof:
    progress.raise_if_cancelled()
    name = object_name(Kind.PACK, pack)
    file = repository.store.file_of(name)
    if file is not None and crew.room:
        with crew.member() as member:
            examined = examined_by(member, pack, file)
        if examined is not None:
            progress.advance(bytes_done=examined.size)
            return judged(examined, pack, repository.index)
    try:
        content = repository.store.get(name)
    except BackupError as error:
        gone = isinstance(error, DamageError | NotFoundError)
        return PackProof(pack, 0, findings=(f"pack {pack[:8]}: {error.message}",), damaged=gone)
    proof = prove_pack(content, pack, key=repository.box.key, index=repository.index, pause=progress.raise_if_cancelled)
    progress.advance(bytes_done=len(content))
    return proof
