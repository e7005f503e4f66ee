"""Lines of `micro`: the disk, the key, and the start of the command."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from mmap import mmap

from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.ports import Buffer
from edurise_backup.repository import keys
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.stores.local import LocalStore
from tests.benchmarks.measuring import ROOT
from tests.benchmarks.micro import Line, Setting

_PACK = 16 << 20


class _Puts:
    """Stores the same bytes again and again, durably; what lies there already is removed now and then."""

    def __init__(self, of: Setting, size: int) -> None:
        self._store = LocalStore(of.work / "store")
        buffer = mmap(-1, size)  # begins with a page, as the packs of a writer do
        for at in range(0, size, len(of.random)):
            buffer[at : at + len(of.random)] = of.random[: size - at]
        self._pieces: list[Buffer] = [memoryview(buffer), bytes(3000)]
        self._names: list[str] = []

    def put(self) -> None:
        """Store one object."""
        if len(self._names) >= 16:
            self.clear()
        name = object_name(Kind.PACK, f"{len(self._names):064x}")
        self._store.put(name, self._pieces)
        self._names.append(name)

    def clear(self) -> None:
        """Remove what was stored."""
        for name in self._names:
            self._store.delete(name)
        self._names = []

    def get(self) -> None:
        """Read a whole object."""
        self._store.get(self._names[0])


def storing(of: Setting) -> Iterator[Line]:
    """With every fsync that makes an object durable; large ones go around the page cache."""
    size = min(_PACK, 2 * len(of.random))
    packs = _Puts(of, size)
    yield Line("durable put (LocalStore.put)", f"pack of {size >> 20} MiB", packs.put, size, in_bytes=True)
    packs.clear()
    packs.put()
    yield Line("get, page cache (LocalStore.get)", f"pack of {size >> 20} MiB", packs.get, size, in_bytes=True)
    packs.clear()
    small = _Puts(of, 1000)
    yield Line("durable put (LocalStore.put)", "4 KB, an object", small.put, 1)
    small.clear()


def keying(of: Setting) -> Iterator[Line]:
    """What every command waits for."""
    content = keys.wrap(
        MasterKey(encrypt=bytes(32), mac_k=bytes(16), mac_r=bytes(16)), "benchmark", cost=keys.ScryptCost(), now=0
    )
    unwrap = partial(keys.unwrap, keys.read_key_file(content), "benchmark")
    yield Line("scrypt (keys.unwrap)", "N 2^15, r 8, p 3", unwrap, 1)


def starting(of: Setting) -> Iterator[Line]:
    """Python, its modules and ours, as far as each command needs them."""
    for words in (
        ["-c", "pass"],
        ["-m", "edurise_backup", "--version"],
        ["-m", "edurise_backup", "repo", "backup", "--help"],
    ):
        command = [sys.executable, *words]
        start = partial(subprocess.run, command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
        yield Line("start", f"python {' '.join(words)}", start, 1)


GROUPS = (storing, keying, starting)
