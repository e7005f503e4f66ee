"""Every seam of the library: what a stage promises to the next one, without its mechanism."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol, Self

from edurise_backup.model.content import BlobId, BlobKind, Node, name_bytes
from edurise_backup.model.object_lock import ObjectLock, Version
from edurise_backup.model.paging import Paged
from edurise_backup.model.shards import NameRange
from edurise_backup.model.status import Status

Buffer = bytes | bytearray | memoryview


class Clock(Protocol):
    """Tells the time; tests bring their own."""

    def __call__(self) -> datetime:
        """Return the present moment, aware, in UTC."""


def utc_now() -> datetime:
    """The system's clock."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a process finds around it; whoever lets months pass in a minute brings his own."""

    clock: Clock = utc_now
    store: Callable[[Store], Store] = lambda store: store
    """What is put around every store that is opened."""


AROUND = Surroundings()
"""The system's clock, and stores as they are."""


class Progress(Protocol):
    """Hears how a long work gets on, and is asked whether to go on."""

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Begin the phase `name`; the one before has ended."""

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count what was done in this phase; called from any thread."""

    def raise_if_cancelled(self) -> None:
        """Raise `CancelledError` when a person asked to stop."""


class Workers(Protocol):
    """Other processes that do orders, here or on other machines; one that dies has its order done again by another.

    So an order may be done more than once, also by two at the same time.
    """

    @property
    def count(self) -> int:
        """How many orders are done at once."""

    @property
    def cores(self) -> int:
        """How many processors an order may use; 0: all of its machine."""

    def check(self) -> None:
        """Raise ConfigError or UnreachableError when no order could be done, before anything is begun."""

    def do(
        self, orders: Sequence[bytes], *, progress: Progress, still: Callable[[], Sequence[int]]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield (place in `orders`, answer) as they end. Raises what a worker raised, CancelledError; then all stop.

        `still`, asked now and then, names places whose worker stands still: it is ended, and another does the order.
        """


class Store(Protocol):
    """Keeps named, immutable objects.

    `put` is atomic and durable: once it returns, the object survives a crash;
    if it raises, no reader ever sees a part of it. An existing object is never
    replaced. Names are relative paths with `/`, as in restic's layout.
    """

    @property
    def address(self) -> str:
        """Where this is, as a person writes it; without secrets."""

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object from the joined pieces; raises ConflictError when the name exists."""

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes, or exactly `length` of them; raises NotFoundError, DamageError when short."""

    def size(self, name: str) -> int:
        """Return the object's size in bytes; raises NotFoundError."""

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield (name, size in bytes) of every object below the folder `prefix`.

        What cannot be listed raises: an error must never look like an empty folder.
        """

    def delete(self, name: str) -> None:
        """Remove the object; one that is not there is not an error."""

    def file_of(self, name: str) -> str | None:
        """Return where the object lies as a file of this machine, for whoever would rather read it there; or None."""

    def sweep(self, prefix: str) -> int:
        """Remove what is no object below `prefix`: remains of puts that were cut short. Nobody may put meanwhile."""

    def now(self) -> datetime | None:
        """Return the time by the store's own clock, aware, in UTC; None when it cannot be told."""


class Vault(Protocol):
    """What a store can do beyond a store when it locks objects and keeps their versions.

    A locked object, and every version below a newer one, is there whatever is asked of the store.
    """

    lock: ObjectLock

    def remove(self, name: str) -> datetime | None:
        """Delete the object for good; one that is locked stays, and until when is returned."""

    def extend(self, name: str, until: datetime) -> bool:
        """Have the object locked until then; False when it is not there any more."""

    def created(self, prefix: str) -> Iterator[tuple[str, datetime]]:
        """Yield (name, when it was written by the store's clock) of every object below the folder."""

    def versions(self, prefix: str) -> Iterator[Version]:
        """Yield every version and marker whose name begins with `prefix`, by name; of a name its versions newest first.

        Markers do not stand where they belong among the versions: only `newest` tells what counts.
        """

    def read(self, version: Version) -> bytes:
        """Return the bytes of one version."""

    def drop(self, version: Version) -> None:
        """Remove one version, or one marker: then what lies below it counts again."""

    def put_on_top(self, name: str, content: bytes) -> None:
        """Make these bytes the newest version of an object that a stranger has replaced."""


class Content(Protocol):
    """An open file of a source."""

    node: Node
    """What is read, as it was before the first byte (for a file: fstat of the open descriptor)."""

    def readinto(self, buffer: memoryview, /) -> int:
        """Fill the buffer's beginning; 0 at the end."""

    def skip_hole(self, back: int, unit: int) -> int:
        """Pass over a hole that begins `back` bytes before what would be read next.

        Only whole units are passed over, and the next byte that is read is the
        one behind them; returns how many bytes they have, 0 where there are none.
        """

    def finish(self) -> str | None:
        """Asked after the last byte: why what was read is not one state of the file, or None. Raises SourceError."""

    def close(self) -> None:
        """Let go of the descriptor or process; also called after an error."""


class FileState(NamedTuple):
    """A regular file of this machine: while lstat(2) says the same of it, its bytes are the same.

    Every change of a file, of its metadata, too, gives it a new ctime.
    """

    path: str
    status: Status


class Entry:
    """One name in a source: a directory has `children`, a regular file `open`, all else is in `node`.

    `status` is there for a regular file of this machine, which then may be read by its path.
    `kept` says of something else that can be opened whether the parent snapshot's node still
    describes it: then it is not read, and that node stays. `ordered`: a directory's children come
    in the order of their names' bytes; of others the archiver makes it so. `within` lists the
    children of a range of names, where that is cheaper than listing all. `paged`: it may change while
    it is read, and `damaged` hears of pages with a wrong checksum. `last`: it is read when all that was
    offered before has been, and until then nothing more is asked for.
    """

    __slots__ = ("_describe", "_node", "children", "kept", "name", "open", "ordered", "path", "status", "within")

    paged: Paged | None = None
    damaged: Callable[[list[int]], None] | None = None
    last: bool = False

    def __init__(
        self,
        node: Node,
        path: str,
        children: Callable[[], Iterable[Entry]] | None = None,
        opener: Callable[[], Content] | None = None,
        *,
        kept: Callable[[Node], bool] | None = None,
        ordered: bool = True,
        within: Callable[[NameRange], Iterable[Entry]] | None = None,
    ) -> None:
        self._node: Node | None = node
        self._describe: Callable[[Status], Node] | None = None
        self.name = node.name
        self.path = path
        self.children = children
        self.open = opener
        self.kept = kept
        self.ordered = ordered
        self.within = within
        self.status: Status | None = None

    @classmethod
    def of_file(
        cls, name: str, path: str, status: Status, *, describe: Callable[[Status], Node], opener: Callable[[], Content]
    ) -> Self:
        """Return a regular file of this machine, whose node is made only when somebody asks for it."""
        entry = cls.__new__(cls)
        entry._node, entry._describe = None, describe
        entry.name, entry.path, entry.status = name, path, status
        entry.children, entry.within, entry.open, entry.kept, entry.ordered = None, None, opener, None, True
        return entry

    def children_in(self, names: NameRange) -> Iterable[Entry]:
        """Return the children whose names lie in the range, in order; none of what is no directory."""
        if self.children is None:
            return ()
        if self.within is not None:
            return self.within(names)
        return (child for child in self.children() if name_bytes(child.name) in names)

    @property
    def node(self) -> Node:
        """What the entry is."""
        if self._node is None:
            assert self.status is not None
            self._node = self.described(self.status)
        return self._node

    def described(self, status: Status) -> Node:
        """Return what the entry, a file of this machine, is in another state."""
        assert self._describe is not None
        return self._describe(status)


class Source(Protocol):
    """Offers a tree of entries, read once from front to back.

    Children come in the order of their names' bytes, unless the directory's
    entry says otherwise, and of one directory all before the next sibling is
    asked for. A name that cannot be read is reported through `problems`, never silently left out.
    """

    def root(self) -> Entry:
        """Return the directory `/`; its children are the first components of the paths."""

    def problems(self) -> list[str]:
        """Return what could not be read so far, a sentence each; a part of the result."""


class DividedSource(Source, Protocol):
    """A source that several processes read, each what lies in some ranges of its directories' names."""

    @property
    def paths(self) -> Sequence[str]:
        """Where it lies in a snapshot."""

    @property
    def afterwards(self) -> Collection[str]:
        """Names below `/` that must be read when all else has been."""

    def place(self, node: Node) -> bytes:
        """Return what of a node lies in a range, or does not; it decides for an entry and its parent's node alike."""


class StoredFile(NamedTuple):
    """What reading a file has brought."""

    status: Status | None
    """What it was before the first byte; None when it could not be read."""
    blobs: list[BlobId]
    size: int
    """Bytes that were read."""
    trouble: str
    """Why it could not be read, or that what was read is not one state of it; empty when all is well.

    A paged file is without a status and without trouble when it has vanished."""
    damaged: Sequence[int] = ()
    """Of a paged file: the numbers of its pages with a wrong checksum."""


CHANGED = "changed while it was read"


class LiveFile(NamedTuple):
    """A small file of this machine that may change while it is read; `paged.end`: where it ended when it was found."""

    path: str
    paged: Paged


class BlobSink(Protocol):
    """Takes plaintext and answers with its blobs' ids; the repository's writer is one."""

    def store(self, kind: BlobKind, pieces: Sequence[Buffer]) -> Future[list[BlobId]]:
        """Store the pieces that are not known yet; blocks while too much is under way.

        The pieces must stay as they are until the future is done.
        """

    def store_files(self, files: Sequence[FileState]) -> list[BlobId | None]:
        """Read small files and store each as one blob; returns when they are stored.

        None stands for a file that could not be read or is not in that state any more: somebody else must read it.
        """

    def store_live(self, files: Sequence[LiveFile]) -> list[StoredFile | None]:
        """Read small files that may change meanwhile; returns when they are stored. None: the caller must read it."""

    def store_file(self, path: str, advance: Callable[[int], None], paged: Paged | None = None) -> StoredFile | None:
        """Read a large file of this machine and store it; returns when it is stored. None: the caller must read it.

        `advance` hears of bytes as they are read, and may raise to end it; `paged` as of an `Entry`.
        """


class BlobReader(Protocol):
    """Gives back plaintext by id; the repository is one."""

    def read_blob(self, kind: BlobKind, blob_id: BlobId) -> bytes:
        """Return the blob, proved by its id; raises DamageError."""
