"""Work that is large enough for processes of its own: the same results, and no loss when one of them dies."""

from __future__ import annotations

import os
import random
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from edurise_backup.errors import BackupError, DamageError
from edurise_backup.machine.crew import Member, Program
from edurise_backup.model.content import BlobKind, ExtendedAttribute, Node
from edurise_backup.model.status import Status
from edurise_backup.pipeline.chunker import ChunkSizes, chunks
from edurise_backup.pipeline.windows import Windows
from edurise_backup.ports import Entry
from edurise_backup.recovery import restorer
from edurise_backup.recovery.extraction import Extraction
from edurise_backup.recovery.planning import walk_files
from edurise_backup.recovery.writing import RunOrder
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.sources.files import FilesSource
from edurise_backup.sources.scanning import Scanner, list_folder
from edurise_backup.stores.local import LocalStore
from tests.support.engine import back_up, back_up_source, check, create, opened, restore, restored_differences
from tests.support.trees import describe, differences

FILES = 1500
"""Beyond what one process does alone, for backups and for restores."""
NORMAL = WriterSettings(pack_size=1 << 18)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small files, some equal, some empty, one with a name that is no text, and a large one."""
    top = tmp_path_factory.mktemp("many") / "tree"
    rng = random.Random(7)
    for number in range(FILES):
        folder = top / f"folder {number % 40}"
        folder.mkdir(parents=True, exist_ok=True)
        content = rng.randbytes(rng.randrange(1, 3000)) if number % 10 else b"the same everywhere"
        (folder / f"file {number}").write_bytes(b"" if number % 100 == 3 else content)
    with open(os.fsencode(top) + b"/folder 1/\xff\xfe", "wb") as stream:
        stream.write(b"a name that is not UTF-8")
    (top / "large").write_bytes(rng.randbytes(3_000_000) + bytes(6_000_000))
    return top


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store of files, which processes can read."""
    return LocalStore(tmp_path / "repository")


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The ids of the processes that were started, of which the others are forks."""
    started: list[int] = []
    real = Program.__init__

    def init(self: Program, module: str, *, also: Sequence[str] = (), alone: bool = False) -> None:
        real(self, module, also=also, alone=alone)
        started.append(self._process.pid)

    monkeypatch.setattr(Program, "__init__", init)
    yield started
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()], "processes outlive their work"


def kill_forks(member: Member) -> None:
    """Kill the processes that a member's program has forked, once there are some."""
    program = member._program._process.pid
    while not (forks := children_of(program)):
        os.sched_yield()
    for fork in forks:
        os.kill(fork, signal.SIGKILL)


def children_of(process: int) -> list[int]:
    """Return the ids of a process's children, as `/proc` has them; also of those that ended and were not waited for."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (place / "stat").read_text().rpartition(")")[2].split()
            found += [int(place.name)] if int(words[1]) == process else []
    return found


def nodes_below(top: Path, repository: Repository, saved: Saved) -> dict[str, Node]:
    """Return what a snapshot says of everything below `top`: the directories above it change with what others do."""
    repository.load_index()
    return {path: node for path, node in walk_files(repository, saved.snapshot.tree) if path.startswith(f"{top}/")}


def test_many_small_files_come_back_as_they_were(
    tree: Path, store: LocalStore, tmp_path: Path, programs: list[int]
) -> None:
    create(store)
    saved = back_up(opened(store), tree, settings=NORMAL)
    assert programs, "no process was started, so nothing was tested"
    assert saved.archived.problems == ()
    assert saved.archived.stats.files == FILES + 2
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "target") == []
    assert check(opened(store)).findings == []
    again = back_up(opened(store), tree, settings=NORMAL, everything=True)
    assert nodes_below(tree, opened(store), again) == nodes_below(tree, opened(store), saved)
    assert again.added.data_blobs == 0


def test_processes_and_one_process_alone_store_the_same_tree(tree: Path, store: LocalStore, tmp_path: Path) -> None:
    create(store)
    with_crew = back_up(opened(store), tree, settings=NORMAL)
    alone = LocalStore(tmp_path / "alone")
    create(alone)
    without = back_up(opened(alone), tree, settings=WriterSettings(pack_size=1 << 18, crew=0))
    assert nodes_below(tree, opened(store), with_crew) == nodes_below(tree, opened(alone), without)
    assert with_crew.added.data_blobs == without.added.data_blobs


def test_a_backup_whose_process_is_killed_publishes_nothing_and_the_next_one_completes(
    tree: Path, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(store)
    real = Member.send
    sent = 0

    def send(self: Member, message: object) -> None:
        nonlocal sent
        sent += 1
        if sent == 6:
            kill_forks(self)
        real(self, message)

    with monkeypatch.context() as patch:
        patch.setattr(Member, "send", send)
        with pytest.raises(BackupError, match="ended before its work was done"):
            back_up(opened(store), tree, settings=NORMAL)
    assert opened(store).snapshots() == {}
    saved = back_up(opened(store), tree, settings=NORMAL)
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "target") == []


def test_a_restore_whose_process_is_killed_fails_and_says_so(
    tree: Path, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(store)
    saved = back_up(opened(store), tree, settings=NORMAL)
    real = Member.send

    def send(self: Member, message: object) -> None:
        real(self, message)
        if isinstance(message, RunOrder):
            kill_forks(self)

    monkeypatch.setattr(Member, "send", send)
    with pytest.raises(BackupError, match="ended before its work was done"):
        restore(opened(store), saved.snapshot.tree, tmp_path / "target")


def test_a_damaged_blob_stops_a_large_restore_by_name_and_a_second_copy_serves(
    tree: Path, store: LocalStore, tmp_path: Path
) -> None:
    create(store)
    saved = back_up(opened(store), tree, settings=NORMAL)
    repository = opened(store)
    place = repository.index.place(next(iter(repository.index.blob_range(_data_pack(repository)))))
    path = tmp_path / "repository" / object_name(Kind.PACK, place.pack)
    good = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(good[: place.offset] + bytes([good[place.offset] ^ 1]) + good[place.offset + 1 :])
    with pytest.raises(DamageError, match="cannot be restored"):
        restore(opened(store), saved.snapshot.tree, tmp_path / "broken")
    found = check(opened(store))
    assert found.damaged_packs == [place.pack]
    path.write_bytes(good)
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "whole") == []


def _data_pack(repository: Repository) -> int:
    index = repository.index
    return next(n for n in range(len(index.packs)) if index.blob(index.blob_range(n)[0]).kind is BlobKind.DATA)


def test_a_walk_gets_the_same_listings_from_a_process(tree: Path) -> None:
    scanner = Scanner([str(tree)], ["folder 2*"], None)
    assert scanner.take(str(tree)) == list_folder(str(tree))
    for name in sorted(os.listdir(tree)):
        folder = tree / name
        if folder.is_dir() and not name.startswith("folder 2"):
            assert scanner.take(str(folder)) == list_folder(str(folder))
    assert scanner.take(str(tree / "folder 2")) == list_folder(str(tree / "folder 2"))  # it did not go there


def test_a_scanning_process_that_dies_costs_time_and_no_file(
    tree: Path, store: LocalStore, tmp_path: Path, programs: list[int]
) -> None:
    create(store)
    source = FilesSource([str(tree)])
    source.scan_ahead()
    os.kill(programs[0], signal.SIGKILL)
    saved = back_up_source(opened(store), source, source.paths, settings=NORMAL)
    assert saved.archived.problems == ()
    target = tmp_path / "target"
    restore(opened(store), saved.snapshot.tree, target)
    assert differences(describe(tree), describe(target / str(tree).lstrip("/"))) == []


def test_a_file_of_the_present_directory_is_never_run_by_a_process_that_gets_the_key(
    tree: Path, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: list[int]
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "msgspec.py").write_text("open('planted', 'w').close()\nraise SystemExit\n")
    monkeypatch.chdir(tmp_path / "here")
    create(store)
    assert back_up(opened(store), tree, settings=NORMAL).archived.problems == ()
    assert programs
    assert not (tmp_path / "here" / "planted").exists()


def test_problems_with_names_that_are_no_text_reach_whoever_asked(
    tree: Path, store: LocalStore, tmp_path: Path
) -> None:
    create(store)
    saved = back_up(opened(store), tree, settings=NORMAL)
    repository = opened(store)
    nodes = [node for path, node in walk_files(repository, saved.snapshot.tree) if "\udcff" in path]
    assert nodes
    nodes[0].extended_attributes = [ExtendedAttribute("nowhere.allowed", b"x")]  # in the trees that are remembered
    found = restore(repository, saved.snapshot.tree, tmp_path / "target")
    assert [problem for problem in found.problems if "\udcff" in problem and "nowhere.allowed" in problem]


def test_files_of_a_far_past_or_future_are_backed_up_with_the_others(
    store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not every file system keeps such times, so the walk is told of them."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(FILES):
        (tree / f"{number}").write_bytes(b"%d" % number)
    source = FilesSource([str(tree)])
    far = 2**64 + 5
    real = source._described

    def described(path: str, name: str, status: Status | int) -> Entry | None:
        entry = real(path, name, status)
        if entry is not None and entry.status is not None and name.endswith("7"):
            time = far if name.endswith("77") else -far
            entry.status = msgspec.structs.replace(entry.status, st_mtime_ns=time)
        return entry

    monkeypatch.setattr(source, "_described", described)
    create(store)
    saved = back_up_source(opened(store), source, source.paths, settings=NORMAL)
    assert saved.archived.stats.files == FILES


def test_a_tree_whose_pack_is_lost_is_stored_again_by_a_process_that_remembers_it(
    store: LocalStore, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    (tree / "folder").mkdir(parents=True)
    (tree / "folder" / "file").write_bytes(b"content")
    os.utime(tree / "folder" / "file", (10**9, 10**9))
    create(store)
    repository = opened(store)
    back_up(repository, tree)
    back_up(repository, tree)
    for number, pack in enumerate(repository.index.packs):
        if repository.index.blob(repository.index.blob_range(number)[0]).kind is BlobKind.TREE:
            store.delete(object_name(Kind.PACK, pack))
    saved = back_up(repository, tree)
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "target") == []


def test_a_small_file_that_has_grown_much_is_read_in_few_steps() -> None:
    calls = 0

    class Grown:
        def readinto(self, buffer: memoryview, /) -> int:
            nonlocal calls
            calls += 1
            return len(buffer) if calls < 40 else 0

        def skip_hole(self, back: int, unit: int) -> int:
            return 0

    sizes = ChunkSizes(minimum=1 << 12, average=1 << 14, maximum=1 << 16)
    found = list(chunks(Grown(), sizes, next_window=Windows().next, window=1 << 18, first=11))
    assert sum(len(chunk) for part in found for chunk in part) > 38 << 17


def test_a_write_that_the_system_has_lost_fails_the_restore(
    tree: Path, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system tells of it once for each descriptor: what hears it while there is more to write must pass it on."""
    create(store)
    saved = back_up(opened(store), tree, settings=NORMAL)

    def lost(self: Extraction) -> None:
        raise BackupError("Input/output error")

    monkeypatch.setattr(restorer, "_SYNC_EVERY", 0.0)
    monkeypatch.setattr(Extraction, "sync_beside", lost)
    with pytest.raises(BackupError, match="Input/output error"):
        restore(opened(store), saved.snapshot.tree, tmp_path / "target")


def test_a_machine_that_starts_no_further_process_still_walks(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, os.strerror(11))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert Scanner([str(tree)], [], None).take(str(tree)) == list_folder(str(tree))
    with pytest.raises(BackupError, match="no further process"):
        Program("edurise_backup.sources.scanning")
