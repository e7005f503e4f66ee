"""Write one file byte by byte, in order, each blob proved before it is written.

Blobs are read ahead in threads; memory is bounded by how many are ahead. What
was written before an error is the beginning of the file, and no more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from edurise_backup.errors import DamageError, InputError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.ports import Progress
from edurise_backup.recovery.drains import Drain
from edurise_backup.recovery.planning import blob_lengths
from edurise_backup.repository.repository import Repository

_AHEAD = 16
"""Blobs that are read ahead: 8 MiB each at most, 1 MiB on average."""

_READERS = 4


def find_node(repository: Repository, tree: str, path: str) -> Node:
    """Return what lies at `path` below a tree; raises NotFoundError, DamageError."""
    names = [name for name in path.split("/") if name]
    found = Node(name="", type="dir", mtime="", atime="", ctime="", uid=0, gid=0, content=None, subtree=tree)
    for name in names:
        below = repository.read_tree(found.subtree) if found.subtree is not None else []
        at = next((node for node in below if node.name == name), None)
        if at is None:
            raise NotFoundError(f"the snapshot has no {path}", hint="`edurise-backup repo ls` lists what it has")
        found = at
    return found


def dump_file(repository: Repository, node: Node, drain: Drain, *, path: str, progress: Progress) -> int:
    """Write a regular file's bytes; return how many. The index must be loaded.

    Raises InputError for anything but a file, DamageError (what was written is
    incomplete), CancelledError, and what the drain raises.
    """
    if node.type == "dir":
        raise InputError(f"{path} is a directory", hint="use `restore --include`, or dump it with `--archive tar`")
    if node.type != "file":
        leads = f" to {node.linktarget}" if node.type == "symlink" else ""
        raise InputError(f"{path} is no regular file but a {node.type}{leads}", hint="name a file")
    progress.phase("dump", bytes_total=node.size)
    for piece in pieces_of(repository, node, path, progress):
        drain.write(piece)
    return node.size


def pieces_of(repository: Repository, node: Node, path: str, progress: Progress) -> Iterator[bytes]:
    """Yield a file's blobs in order; the reads of the next ones are under way meanwhile."""
    wanted = _wanted(repository, node, path)
    if len(wanted) == 1:  # most files: a pool would take longer than the read
        progress.raise_if_cancelled()
        yield _read(lambda: repository.read_blob(BlobKind.DATA, wanted[0]), path, progress)
        return
    ahead: deque[Future[bytes]] = deque()
    with ThreadPoolExecutor(_READERS, thread_name_prefix="dump") as pool:
        try:
            for blob_id in wanted:
                progress.raise_if_cancelled()
                ahead.append(pool.submit(repository.read_blob, BlobKind.DATA, blob_id))
                if len(ahead) >= _AHEAD:
                    yield _read(ahead.popleft().result, path, progress)
            while ahead:
                progress.raise_if_cancelled()
                yield _read(ahead.popleft().result, path, progress)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _wanted(repository: Repository, node: Node, path: str) -> list[BlobId]:
    """Return a file's blobs; raises DamageError when they are not as long as the file."""
    lengths = list(blob_lengths(repository, node))
    held = sum(length for _, length in lengths)
    if held != node.size:
        raise DamageError(f"{path} has {node.size} bytes, its blobs have {held}", hint="run `check`")
    return [blob_id for blob_id, _ in lengths]


def _read(result: Callable[[], bytes], path: str, progress: Progress) -> bytes:
    try:
        data = result()
    except DamageError as error:
        raise DamageError(
            f"{path} cannot be read whole: {error.message}",
            safe="no damaged byte was written; what was written so far is incomplete",
            hint="another snapshot may have the same file whole: `find` lists its versions",
        ) from error
    progress.advance(bytes_done=len(data))
    return data
