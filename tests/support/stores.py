"""Stores for tests: one in memory, one with planned faults, one that crashes at the n-th write.

`kept_in` has those in memory keep their objects elsewhere: the tests of faults run in buckets of real servers, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from edurise_backup.errors import ConflictError, DamageError, NotFoundError
from edurise_backup.ports import Buffer, Store

Operation = Literal["put", "get", "size", "list", "delete"]


Objects = MutableMapping[str, bytes]


_keep: list[Callable[[Objects], Objects]] = [dict]


@contextmanager
def kept_in(keep: Callable[[Objects], Objects]) -> Iterator[None]:
    """Have stores that are made inside the `with` block keep their objects so.

    What `keep` returns has a `store`, by which the product reaches them; tests look at them as they lie there.
    """
    _keep.append(keep)
    try:
        yield
    finally:
        _keep.pop()


class MemoryStore:
    """Keeps objects in a dictionary, or where `kept_in` says; passes the contract of `ports.Store`."""

    def __init__(self, objects: Objects | None = None) -> None:
        self.objects = _keep[-1](objects or {})
        self.unmounted = False
        """Set by a test: the place of the objects has gone."""
        self.time: datetime | None = None
        """Set by a test: what this store's clock says."""
        self._guard = threading.Lock()

    @property
    def address(self) -> str:
        """A name for messages."""
        return "memory"

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object."""
        if (elsewhere := self._elsewhere(name)) is not None:
            elsewhere.put(name, pieces)
            return
        content = b"".join(bytes(piece) for piece in pieces)
        with self._guard:
            self._look(name)
            if name in self.objects:
                raise ConflictError(f"{name} exists already in memory")
            self.objects[name] = content

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object, or exactly `length` bytes of it."""
        if (elsewhere := self._elsewhere(name)) is not None:
            return elsewhere.get(name, offset=offset, length=length)
        with self._guard:
            content = self._content(name)
        if length is None:
            return content[offset:]
        if len(content) < offset + length:
            raise DamageError(f"{name} ends after {len(content)} bytes, {offset + length} were expected")
        return content[offset : offset + length]

    def size(self, name: str) -> int:
        """Return the object's size in bytes."""
        if (elsewhere := self._elsewhere(name)) is not None:
            return elsewhere.size(name)
        with self._guard:
            return len(self._content(name))

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield what lies below `prefix`."""
        if (elsewhere := self._elsewhere(prefix)) is not None:
            yield from elsewhere.list(prefix)
            return
        with self._guard:
            self._look(prefix)
            found = [(name, len(content)) for name, content in self.objects.items() if name.startswith(f"{prefix}/")]
        yield from found

    def file_of(self, name: str) -> str | None:
        """There are no files."""
        return None

    def sweep(self, prefix: str) -> int:
        """Remove nothing: an object is there whole or not at all."""
        elsewhere = self._elsewhere(prefix)
        return elsewhere.sweep(prefix) if elsewhere is not None else 0

    def now(self) -> datetime | None:
        """Return what a test has set: time is virtual in these tests, a server's is not."""
        return self.time

    def delete(self, name: str) -> None:
        """Remove the object."""
        if (elsewhere := self._elsewhere(name)) is not None:
            elsewhere.delete(name)
            return
        with self._guard:
            self._look(name)
            self.objects.pop(name, None)

    def copy(self) -> MemoryStore:
        """Return a store with the same objects."""
        with self._guard:
            return MemoryStore(self.objects)

    def _elsewhere(self, name: str) -> Store | None:
        """Return the store that keeps the objects; None when they are in memory."""
        store: Store | None = getattr(self.objects, "store", None)
        if store is not None:
            self._look(name)
        return store

    def _look(self, name: str) -> None:
        if self.unmounted:
            raise NotFoundError(f"there is no {name} in memory")

    def _content(self, name: str) -> bytes:
        self._look(name)
        if name not in self.objects:
            raise NotFoundError(f"there is no {name} in memory")
        return self.objects[name]


@dataclass(slots=True)
class Fault:
    """What goes wrong with the calls of one operation on names that begin with `prefix`.

    Either `error` is raised, or the answer (bytes of `get`, list of `list`) goes
    through `answer`. The calls `first` … `first + times - 1` are hit, counted from 0.
    """

    operation: Operation
    prefix: str
    error: Callable[[], BaseException] | None = None
    answer: Callable[[object], object] | None = None
    first: int = 0
    times: int = 1
    after: bool = False
    """The call does its work before it fails: the caller only believes that it failed."""
    seen: int = 0
    fired: int = 0

    def strikes(self, operation: Operation, name: str) -> bool:
        """Count the call; say whether it is one to hit."""
        if operation != self.operation or not name.startswith(self.prefix):
            return False
        number = self.seen
        self.seen += 1
        if not self.first <= number < self.first + self.times:
            return False
        self.fired += 1
        return True


class FaultyStore:
    """Passes calls on, with planned faults; leaving its block fails when one of them never struck."""

    def __init__(self, store: Store, *faults: Fault) -> None:
        self._store = store
        self._faults = faults
        self._guard = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        idle = [fault for fault in self._faults if not fault.fired]
        if error is None and idle:
            raise AssertionError(f"planned faults that never struck, so nothing was tested: {idle}")

    @property
    def address(self) -> str:
        """The address of the store behind."""
        return self._store.address

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object, or fail."""
        fault = self._strike("put", name)
        self._store.put(name, pieces)
        _raise(fault)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes, or other ones, or fail."""
        fault = self._strike("get", name)
        content = self._store.get(name, offset=offset, length=length)
        _raise(fault)
        if fault is not None and fault.answer is not None:
            changed = fault.answer(content)
            assert isinstance(changed, bytes)
            return changed
        return content

    def size(self, name: str) -> int:
        """Return the object's size, or fail."""
        _raise(self._strike("size", name))
        return self._store.size(name)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield what is there, or something else, or fail."""
        fault = self._strike("list", prefix)
        found = list(self._store.list(prefix))
        _raise(fault)
        if fault is not None and fault.answer is not None:
            changed = fault.answer(found)
            assert isinstance(changed, list)
            yield from changed
        else:
            yield from found

    def file_of(self, name: str) -> str | None:
        """There are no files."""
        return None

    def sweep(self, prefix: str) -> int:
        """Pass on."""
        return self._store.sweep(prefix)

    def now(self) -> datetime | None:
        """Pass on."""
        return self._store.now()

    def delete(self, name: str) -> None:
        """Remove the object, or fail."""
        fault = self._strike("delete", name)
        self._store.delete(name)
        _raise(fault)

    def _strike(self, operation: Operation, name: str) -> Fault | None:
        """Return the fault for this call; one that strikes before the work raises here."""
        with self._guard:
            struck = [fault for fault in self._faults if fault.strikes(operation, name)]
        for fault in struck:
            if not fault.after:
                _raise(fault)
        return struck[0] if struck else None


def _raise(fault: Fault | None) -> None:
    if fault is not None and fault.error is not None:
        raise fault.error()


class Crash(Exception):  # noqa: N818  an event, not an error
    """The process is dead: nothing that it does from now on has an effect."""


@dataclass(slots=True)
class CrashingStore:
    """Lets `survive` writes and deletes happen; from the next one on every call raises `Crash`.

    The store behind it is then the disk as the next process finds it.
    """

    disk: MemoryStore
    survive: int
    writes: int = 0
    crashed: bool = False
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @property
    def address(self) -> str:
        """The address of the disk."""
        return self.disk.address

    def put(self, name: str, pieces: Sequence[Buffer]) -> None:
        """Create the object, unless the time has come."""
        with self._guard:
            self._write()
            self.disk.put(name, pieces)

    def get(self, name: str, *, offset: int = 0, length: int | None = None) -> bytes:
        """Return the object's bytes."""
        self._live()
        return self.disk.get(name, offset=offset, length=length)

    def size(self, name: str) -> int:
        """Return the object's size."""
        self._live()
        return self.disk.size(name)

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        """Yield what lies below `prefix`."""
        self._live()
        yield from self.disk.list(prefix)

    def file_of(self, name: str) -> str | None:
        """There are no files."""
        return None

    def sweep(self, prefix: str) -> int:
        """Pass on."""
        return self.disk.sweep(prefix)

    def now(self) -> datetime | None:
        """Pass on."""
        return self.disk.now()

    def delete(self, name: str) -> None:
        """Remove the object, unless the time has come."""
        with self._guard:
            self._write()
            self.disk.delete(name)

    def _write(self) -> None:
        self._live()
        if self.writes >= self.survive:
            self.crashed = True
            self._live()
        self.writes += 1

    def _live(self) -> None:
        if self.crashed:
            raise Crash(f"crashed after {self.survive} writes")


def save_to(folder: Path, store: MemoryStore) -> None:
    """Write a memory store's objects below `folder`, where stock restic can look at them."""
    for name, content in store.objects.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name in ("data", "keys", "locks", "snapshots", "index"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def load_from(folder: Path) -> MemoryStore:
    """Return a memory store with the objects below `folder`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return MemoryStore({path.relative_to(folder).as_posix(): path.read_bytes() for path in files})
