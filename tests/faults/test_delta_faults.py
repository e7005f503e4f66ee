"""A restore onto a tree that is cut short: each name shows the old or the new file, and the next run finishes."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, CancelledError, ConflictError, SpaceError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.recovery.delta import target
from edurise_backup.recovery.delta.restorer import apply_delta
from edurise_backup.recovery.delta.temporary import aside_name, unfinished_name
from edurise_backup.recovery.planning import Selection, walk_files
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.sources.patterns import matcher
from tests.support.delta import plan_onto, restore_onto
from tests.support.engine import back_up, beyond_owners, create, opened, publish_tree, restore
from tests.support.stores import Crash, MemoryStore
from tests.support.trees import Described, content_of, describe, differences, make_socket, odd_tree, small_tree, write


class Platform:
    """A tree, its snapshot, and a target that was restored from it."""

    def __init__(self, folder: Path, tree: Path) -> None:
        self.folder, self.tree = folder, tree
        self.store = MemoryStore()
        create(self.store)
        self.snapshot = back_up(opened(self.store), tree).snapshot
        self.state = describe(tree)
        self.target = folder / "target"
        restore(opened(self.store), self.snapshot.tree, self.target)
        self.there = self.target / str(tree).lstrip("/")

    @property
    def repository(self) -> Repository:
        """The repository, opened anew."""
        return opened(self.store)

    def assert_restored(self) -> None:
        """Fail unless the target is what the snapshot says."""
        assert differences(self.state, describe(self.there)) == []

    def damage(self, path: str) -> None:
        """Spoil the pack of a file's first blob, of which there is no other copy."""
        repository = self.repository
        nodes = dict(walk_files(repository, self.snapshot.tree))
        content = nodes[f"{self.tree}/{path}"].content or []
        place = repository.index.find(BlobKind.DATA, BlobId(bytes.fromhex(content[0])))
        assert place is not None
        name = object_name(Kind.PACK, place.pack)
        spoilt = bytearray(self.store.objects[name])
        spoilt[place.offset + 20] ^= 1
        self.store.objects[name] = bytes(spoilt)


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """Give a small platform with one file of several blobs."""
    tree = small_tree(tmp_path / "tree")
    write(tree / "large", random.Random(2).randbytes(5_000_000) + bytes(3_000_000))
    return Platform(tmp_path, tree)


def ravage(there: Path) -> None:
    """Change a bit of everything that a restore mends in its own way."""
    folder = there / "folder 0"
    (folder / "file 0").write_bytes(b"changed")
    if (there / "large").exists():
        with (there / "large").open("r+b") as stream:
            stream.seek(2_000_000)
            stream.write(b"changed")
    with (there / "folder 1" / "file 1").open("ab") as stream:
        stream.write(b"grown")
    (there / "folder 1" / "file 3").chmod(0o600)
    (there / "folder 1" / "file 5").unlink()
    (there / "folder 1" / "second name").unlink()
    (there / "empty").unlink()
    (there / "empty" / "in the way").mkdir(parents=True)
    write(there / "empty" / "in the way" / "file", b"old")
    (there / "nothing here").rmdir()
    write(there / "nothing here", b"a file where a directory was")
    (there / "link").unlink()
    (there / "link").symlink_to("elsewhere")
    write(there / "extra" / "below" / "file", b"extra")


# Crashes


CHANGING = (
    "pwrite", "ftruncate", "rename", "link", "unlink", "symlink", "mkfifo", "mkdir", "rmdir", "fchmod", "chmod",
    "fchown", "chown", "utime", "setxattr", "removexattr",
)  # fmt: skip


class Machine:
    """Lets `survive` changes of the disk happen, and then nothing any more."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, survive: int) -> None:
        self.changes = 0
        self._survive = survive
        self._guard = threading.Lock()
        self._patch = monkeypatch
        for name in CHANGING:
            monkeypatch.setattr(os, name, self._counted(getattr(os, name)))
        monkeypatch.setattr(os, "open", self._opening(os.open))
        monkeypatch.setattr(target, "exchange", self._counted(target.exchange))

    def _counted(self, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            with self._guard:
                if self.changes >= self._survive:
                    raise Crash(f"crashed after {self._survive} changes")
                self.changes += 1
            return real(*arguments, **options)

        return call

    def _opening(self, real: Callable[..., int]) -> Callable[..., object]:
        counted = self._counted(real)

        def call(path: object, flags: int, *arguments: object, **options: object) -> object:
            made = bool(flags & os.O_CREAT)
            return counted(path, flags, *arguments, **options) if made else real(path, flags, *arguments, **options)

        return call


def assert_old_or_new(
    before: dict[bytes, Described], after: dict[bytes, Described], new: dict[bytes, Described]
) -> None:
    """Fail when a name shows anything but what was there or what the snapshot has, its metadata with its content."""
    for name in before.keys() & new.keys():
        old, now, then = before[name], after.get(name), new[name]
        assert now is not None, f"{name!r} has gone"
        if stat.S_ISREG(old.kind) and stat.S_ISREG(then.kind):
            assert (now.digest, now.kind) in ((old.digest, old.kind), (then.digest, then.kind)), name
            if now.digest != old.digest:
                assert (now.mode, now.mtime, now.xattrs) == (then.mode, then.mtime, then.xattrs), name
        else:
            assert now.kind in (old.kind, then.kind), name
    for name in after.keys() & new.keys() - before.keys():
        assert after[name].digest == new[name].digest, name


def crash_everywhere(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> int:
    """Crash after 0, 1, 2, … changes, look, and finish; return how many changes a whole run makes."""
    ruined = platform.folder / "ruined"
    shutil.copytree(platform.there, ruined, symlinks=True)
    survive = 0
    while True:
        shutil.rmtree(platform.there)
        shutil.copytree(ruined, platform.there, symlinks=True)
        before = describe(platform.there)
        plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
        with monkeypatch.context() as patch:
            machine = Machine(patch, survive)
            try:
                apply_delta(platform.repository, plan, progress=SilentProgress(), workers=2)
            except Crash:
                pass
            else:
                return machine.changes
        assert_old_or_new(before, describe(platform.there), platform.state)
        done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
        assert done.failed == ()
        platform.assert_restored()
        survive += 1


@pytest.mark.in_memory_only
def test_a_crash_after_any_change_leaves_each_name_old_or_new_and_the_next_run_finishes(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ravage(platform.there)
    assert crash_everywhere(platform, monkeypatch) > 60


def test_a_crash_where_two_names_cannot_change_places_in_one_step_loses_nothing_but_a_name(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ravage(platform.there)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(target, "exchange", refuse)
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    assert done.failed == ()
    platform.assert_restored()


def test_a_file_is_durable_before_it_takes_its_place_and_removal_comes_last(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ravage(platform.there)
    calls: list[str] = []

    def noting(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **options: object) -> object:
            calls.append(name)
            return real(*arguments, **options)

        return call

    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    for name in ("pwrite", "rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    monkeypatch.setattr(target, "sync_file_system", noting("sync", target.sync_file_system))
    apply_delta(platform.repository, plan, progress=SilentProgress())
    assert "sync" in calls[calls.index("pwrite") : calls.index("rename")]
    last_write = len(calls) - calls[::-1].index("pwrite")
    assert calls.index("rename") > last_write  # one batch: all of it was written before the first one was renamed
    last_rename = len(calls) - calls[::-1].index("rename")
    removed = [number for number, call in enumerate(calls) if call in ("unlink", "rmdir")]
    assert min(removed) > last_rename
    assert "sync" in calls[last_rename : min(removed)]
    assert calls[-1] == "sync"


# Errors


def failing_at(real: Callable[..., object], number: int, error: OSError) -> Callable[..., object]:
    """Return a call that fails the `number`-th time, and from then on."""
    seen = 0
    guard = threading.Lock()

    def call(*arguments: object, **options: object) -> object:
        nonlocal seen
        with guard:
            seen += 1
            if seen > number:
                raise error
        return real(*arguments, **options)

    return call


@pytest.mark.parametrize("call", ["pwrite", "rename", "mkdir", "link", "ftruncate"])
@pytest.mark.parametrize("number", [0, 1, 3])
def test_a_disk_that_gets_full_leaves_whole_files_and_no_remains(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    ravage(platform.there)
    before = describe(platform.there)
    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing_at(getattr(os, call), number, OSError(errno.ENOSPC, "No space left on device")))
        try:
            apply_delta(platform.repository, plan, progress=SilentProgress(), workers=1)
        except SpaceError as error:
            assert "free space" in error.hint
        else:
            assert number  # so few of this kind are needed
    assert_old_or_new(before, describe(platform.there), platform.state)
    assert not list(platform.target.rglob(".edurise-restore-*"))
    assert restore_onto(platform.repository, platform.snapshot, platform.target, delete=True).failed == ()
    platform.assert_restored()


def test_a_restore_that_does_not_fit_is_refused_before_anything_is_written(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    ravage(platform.there)
    before = describe(platform.there)
    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    monkeypatch.setattr(target.Target, "free_bytes", lambda *_: plan.written_bytes // 4)
    with pytest.raises(SpaceError, match="are free there"):
        apply_delta(platform.repository, plan, progress=SilentProgress())
    assert differences(before, describe(platform.there)) == []


def test_only_what_is_written_must_fit(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    (platform.there / "folder 0" / "file 0").unlink()
    monkeypatch.setattr(target.Target, "free_bytes", lambda *_: 3000)
    assert restore_onto(platform.repository, platform.snapshot, platform.target).new == 1


def test_a_cancelled_restore_leaves_whole_files_and_no_remains(platform: Platform) -> None:
    ravage(platform.there)
    before = describe(platform.there)

    class Cancelling(SilentProgress):
        def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
            self.cancel()

    with pytest.raises(CancelledError):
        restore_onto(platform.repository, platform.snapshot, platform.target, delete=True, progress=Cancelling())
    assert_old_or_new(before, describe(platform.there), platform.state)
    assert not list(platform.target.rglob(".edurise-restore-*"))


def test_damage_names_the_file_keeps_the_old_completes_the_others_and_removes_nothing(platform: Platform) -> None:
    ravage(platform.there)
    platform.damage("folder 0/file 0")
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    (sentence,) = done.failed
    assert f"{platform.tree}/folder 0/file 0 cannot be restored, and stays as it is" in sentence
    assert (platform.there / "folder 0" / "file 0").read_bytes() == b"changed"
    assert (platform.there / "extra" / "below" / "file").read_bytes() == b"extra"
    assert (done.removed, done.changed > 2, done.new > 1) == (0, True, True)
    found = describe(platform.there)
    assert found[b"folder 1/file 5"] == platform.state[b"folder 1/file 5"]
    assert found[b"folder 1/file 1"] == platform.state[b"folder 1/file 1"]


def test_damage_costs_the_further_names_of_a_file_too_and_nothing_that_is_there_equal(platform: Platform) -> None:
    (platform.there / "folder 0" / "file 2").unlink()
    (platform.there / "folder 1" / "second name").unlink()
    platform.damage("folder 0/file 2")
    platform.damage("folder 1/file 3")
    done = restore_onto(platform.repository, platform.snapshot, platform.target)
    assert [sentence.split(" cannot be restored")[0] for sentence in done.failed] == [
        f"{platform.tree}/folder 0/file 2",
        f"{platform.tree}/folder 1/second name",
    ]
    assert "stays as it is" not in done.failed[0]


def test_an_old_file_that_changes_between_plan_and_work_is_not_copied_from(tmp_path: Path) -> None:
    """What was equal is proved again as it is copied; what is not any more is fetched."""
    platform = Platform(tmp_path, write(tmp_path / "tree" / "large", random.Random(1).randbytes(9_000_000)).parent)
    old = platform.there / "large"
    with old.open("ab") as stream:
        stream.write(b"grown")
    plan = plan_onto(platform.repository, platform.snapshot, platform.target)
    assert plan.fetched_bytes == 0
    with old.open("r+b") as stream:
        stream.seek(5_000_000)
        stream.write(b"changed meanwhile")
    done = apply_delta(platform.repository, plan, progress=SilentProgress())
    assert done.failed == ()
    platform.assert_restored()


def test_a_file_that_changes_before_it_gets_its_metadata_is_left_and_named(platform: Platform) -> None:
    path = platform.there / "twice"
    path.chmod(0o600)
    plan = plan_onto(platform.repository, platform.snapshot, platform.target)
    path.write_bytes(b"changed meanwhile")
    (sentence,) = apply_delta(platform.repository, plan, progress=SilentProgress()).failed
    assert "it changed meanwhile" in sentence
    assert path.read_bytes() == b"changed meanwhile"


# What is told before


def test_a_plan_changes_nothing(tmp_path: Path) -> None:
    platform = Platform(tmp_path, odd_tree(tmp_path / "tree"))
    ravage(platform.there / "small")
    os.utime(platform.there, ns=(1, 1))
    before = looked_at(platform.target)
    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    assert looked_at(platform.target) == before
    assert len(plan.unwanted) == 5  # extra, below, file; in the way, file
    assert plan_onto(platform.repository, platform.snapshot, tmp_path / "not there").new
    assert not (tmp_path / "not there").exists()


def looked_at(folder: Path) -> dict[bytes, tuple[int, ...]]:
    """Return what lstat says of everything below a directory and of itself; a change of any kind shows in the ctime."""
    paths = [os.fsencode(folder), *(os.path.join(os.fsencode(folder), name) for name in describe(folder))]
    statuses = {path: os.lstat(path) for path in paths}
    return {
        path: (status.st_ino, status.st_mode, status.st_nlink, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        for path, status in statuses.items()
    }


def test_what_is_equal_is_not_written(platform: Platform) -> None:
    before = looked_at(platform.target)
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    assert (done.changed, done.new, done.described, done.removed) == (0, 0, 0, 0)
    assert looked_at(platform.target) == before


def test_directories_on_one_side_only_are_refused_by_name_unless_they_may_go(platform: Platform) -> None:
    ravage(platform.there)
    before = content_of(platform.there)
    with pytest.raises(ConflictError) as refused:
        restore_onto(platform.repository, platform.snapshot, platform.target)
    assert "/empty" in refused.value.message
    assert "/nothing here" in refused.value.message
    assert "--delete" in refused.value.hint
    assert content_of(platform.there) == before


@pytest.mark.parametrize("delete", [False, True])
def test_a_link_above_what_was_selected_never_makes_way(platform: Platform, delete: bool) -> None:
    above = platform.there.parent
    above.rename(above.with_name("moved"))
    above.symlink_to("moved")
    with pytest.raises(ConflictError, match=f"/{above.name}") as refused:
        restore_onto(platform.repository, platform.snapshot, platform.target, delete=delete)
    assert "SNAPSHOT:/DIR" in refused.value.hint
    assert above.is_symlink()


def test_what_is_excluded_is_neither_restored_nor_removed(platform: Platform) -> None:
    write(platform.there / "extra" / "keep.log", b"kept")
    write(platform.there / "extra" / "other", b"goes")
    write(platform.there / "old.log", b"kept")
    select = Selection(unwanted=matcher(["*.log", "twice"]))
    (platform.there / "twice").write_bytes(b"mine")
    restore_onto(platform.repository, platform.snapshot, platform.target, delete=True, select=select)
    assert (platform.there / "extra" / "keep.log").exists()
    assert not (platform.there / "extra" / "other").exists()
    assert (platform.there / "old.log").exists()
    assert (platform.there / "twice").read_bytes() == b"mine"


def test_a_directory_that_holds_what_is_excluded_makes_way_for_nothing(platform: Platform) -> None:
    (platform.there / "twice").unlink()
    write(platform.there / "twice" / "keep.log", b"kept")
    select = Selection(unwanted=matcher(["*.log"]))
    with pytest.raises(ConflictError, match="twice"):
        restore_onto(platform.repository, platform.snapshot, platform.target, delete=True, select=select)


def test_nothing_above_what_was_selected_is_removed_or_described(platform: Platform) -> None:
    write(platform.target / "beside", b"x")
    write(platform.there.parent / "beside", b"x")
    write(platform.there / "beside", b"x")
    write(platform.there / "folder 0" / "extra", b"x")
    platform.there.chmod(0o701)
    folder = f"{platform.tree}/folder 0"
    select = Selection(wanted=matcher([folder]))
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True, select=select)
    assert done.removed == 1
    assert (platform.there / "beside").exists()
    assert stat.S_IMODE(platform.there.stat().st_mode) == 0o701
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    assert done.removed == 1
    assert not (platform.there / "beside").exists()
    assert (platform.there.parent / "beside").exists()
    assert (platform.target / "beside").exists()


def test_remains_of_a_killed_run_go_and_what_it_set_aside_counts_as_extra(platform: Platform) -> None:
    left = write(platform.there / "folder 0" / unfinished_name(), b"half")
    aside = write(platform.there / "folder 0" / aside_name(), b"perhaps the only copy")
    alike = write(platform.there / "folder 0" / ".edurise-restore-notes", b"somebody's own")
    done = restore_onto(platform.repository, platform.snapshot, platform.target)
    assert (left.exists(), aside.exists(), alike.exists(), done.stayed) == (False, True, True, 2)


# Other names, other people


def test_another_name_of_an_old_file_keeps_its_bytes_and_its_mode(platform: Platform) -> None:
    changed, described = platform.there / "folder 0" / "file 0", platform.there / "folder 0" / "file 4"
    changed.write_bytes(b"changed")
    described.chmod(0o640)
    for path in (changed, described):
        os.link(path, platform.folder / path.name)
    done = restore_onto(platform.repository, platform.snapshot, platform.target)
    assert done.described == 0  # a file with a name elsewhere is made anew, from its own bytes
    platform.assert_restored()
    assert (platform.folder / "file 0").read_bytes() == b"changed"
    assert stat.S_IMODE((platform.folder / "file 4").stat().st_mode) == 0o640


def test_names_that_the_snapshot_has_apart_are_taken_apart(platform: Platform) -> None:
    (platform.there / "folder 0" / "twice").unlink()
    os.link(platform.there / "twice", platform.there / "folder 0" / "twice")
    done = restore_onto(platform.repository, platform.snapshot, platform.target)
    assert done.changed == 2
    platform.assert_restored()


def test_of_two_names_of_a_file_that_were_taken_apart_the_one_that_is_right_gives_its_bytes(platform: Platform) -> None:
    edited = platform.there / "folder 0" / "file 2"
    edited.unlink()
    edited.write_bytes(b"edited")
    plan = plan_onto(platform.repository, platform.snapshot, platform.target)
    assert (plan.fetched_bytes, plan.written_bytes, plan.changed) == (
        0,
        0,
        [(*names_of(platform.tree), "folder 0", "file 2")],
    )
    apply_delta(platform.repository, plan, progress=SilentProgress())
    platform.assert_restored()


def names_of(path: Path) -> tuple[str, ...]:
    """Return a path's names below the root."""
    return path.parts[1:]


def test_sockets_stay_as_no_backup_holds_them(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    (platform.there / "extra").mkdir()
    monkeypatch.chdir(platform.there / "extra")  # a socket's path must be short
    make_socket(Path("socket"))
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    assert (done.removed, done.stayed, done.problems) == (0, 0, ())
    assert (platform.there / "extra" / "socket").is_socket()


def hand_made(platform: Platform, *nodes: Node) -> Snapshot:
    """Publish a tree whose nodes were made by hand."""
    snapshot_id = publish_tree(platform.repository, nodes)
    return platform.repository.load_snapshot(snapshot_id)


def odd_node(name: str, kind: str, **more: object) -> Node:
    """Return a node that no file has."""
    times = {"mtime": "2024-01-01T00:00:00Z", "atime": "2024-01-01T00:00:00Z", "ctime": "2024-01-01T00:00:00Z"}
    return Node(name=name, type=kind, uid=os.getuid(), gid=os.getgid(), content=None, **{**times, **more})  # type: ignore[arg-type]


def test_what_cannot_be_made_is_told_and_what_is_described_impossibly_fails_by_name(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "mknod", refuse)
    snapshot = hand_made(
        platform,
        odd_node("device", "chardev", device=259),
        odd_node("door", "door"),
        odd_node("fifo", "fifo", mtime="yesterday"),
        odd_node("folder", "dir", mtime="yesterday"),
        odd_node("link", "symlink", linktarget="fine"),
    )
    target = platform.folder / "odd"
    done = restore_onto(platform.repository, snapshot, target)
    assert [problem.split(":")[0] for problem in done.problems] == ["door", "device"]
    assert [sentence.split(" ")[0] for sentence in done.failed] == ["/fifo", "/folder"]
    assert (done.new, os.readlink(target / "link")) == (1, "fine")
    assert not (target / "fifo").exists()


def test_acls_that_a_directory_passes_on_are_taken_from_what_is_made_in_it(platform: Platform) -> None:
    acl = bytes.fromhex("0200000001000700ffffffff02000700e803000004000500ffffffff10000700ffffffff20000500ffffffff")
    try:
        os.setxattr(platform.there / "folder 0", "system.posix_acl_default", acl)
    except OSError:
        pytest.skip("this file system has no ACLs")
    (platform.there / "folder 0" / "file 0").unlink()
    restore_onto(platform.repository, platform.snapshot, platform.target)
    platform.assert_restored()


HOSTILE: dict[str, Callable[[Path, Path], None]] = {
    "a link as a file": lambda there, outside: replace(there / "twice", lambda path: path.symlink_to(outside / "file")),
    "a dangling link": lambda there, outside: replace(there / "twice", lambda path: path.symlink_to(outside / "new")),
    "a link as a directory": lambda there, outside: replace(there / "folder 0", lambda path: path.symlink_to(outside)),
    "a fifo as a file": lambda there, outside: replace(there / "twice", os.mkfifo),
    "a link as an extra": lambda there, outside: (there / "extra").symlink_to(outside),
    "a link in an extra": lambda there, outside: made(there / "extra").joinpath("link").symlink_to(outside),
    "a hard link": lambda there, outside: replace(there / "twice", lambda path: os.link(outside / "file", path)),
}


def replace(path: Path, make: Callable[[Path], None]) -> None:
    """Put something else in a name's place."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    make(path)


def made(folder: Path) -> Path:
    """Make a directory."""
    folder.mkdir()
    return folder


@pytest.mark.parametrize("case", HOSTILE)
def test_nothing_that_lies_in_a_target_leads_a_restore_out_of_it(platform: Platform, case: str) -> None:
    outside = write(platform.folder / "outside" / "file", b"canary").parent
    HOSTILE[case](platform.there, outside)
    before = describe(outside), outside.stat().st_mtime_ns
    assert restore_onto(platform.repository, platform.snapshot, platform.target, delete=True).failed == ()
    platform.assert_restored()
    after = describe(outside)
    assert (differences(before[0], after) == [], outside.stat().st_mtime_ns) == (True, before[1])


@pytest.mark.parametrize("name", ["folder 0", "nothing here"])
def test_a_directory_that_becomes_a_link_after_the_plan_is_not_followed(platform: Platform, name: str) -> None:
    outside = write(platform.folder / "outside" / "file 0", b"canary").parent
    ravage(platform.there)
    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    replace(platform.there / name, lambda path: path.symlink_to(outside))
    before = describe(outside)
    try:
        done = apply_delta(platform.repository, plan, progress=SilentProgress())
    except BackupError:
        pass
    else:
        assert name == "nothing here" or done.failed
    assert differences(before, describe(outside)) == []


@pytest.mark.in_memory_only
def test_an_ordinary_user_restores_onto_directories_that_are_read_only_for_him() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    assert in_another_users_shoes(restore_onto_read_only) == 0


def in_another_users_shoes(act: Callable[[Path], int]) -> int:
    """Act in a folder of a user who is not root, in a process of his; return its exit status."""
    nobody = 65534
    home = Path(tempfile.mkdtemp())  # he may not enter pytest's folders
    os.chown(home, nobody, nobody)
    try:
        if (child := os.fork()) == 0:
            status = 1
            try:
                os.setgroups([])
                os.setgid(nobody)
                os.setuid(nobody)
                status = act(home)
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    finally:
        shutil.rmtree(home)


def restore_onto_read_only(home: Path) -> int:
    """Ravage directories that nobody may write to, and restore onto them; 0 when all is as it was."""
    tree = small_tree(home / "tree")
    secret = write(tree / "folder 1" / "secret", b"not to be read by anybody")
    for folder in (tree / "folder 0", tree / "folder 1"):
        folder.chmod(0o555)
    platform = Platform(home, tree)
    there = platform.there
    for folder in (there / "folder 0", there / "folder 1"):
        folder.chmod(0o755)
    (there / "folder 0" / "file 0").write_bytes(b"changed")
    (there / "folder 0" / "file 2").chmod(0o444)
    (there / "folder 1" / secret.name).chmod(0)
    write(there / "folder 1" / "extra" / "file", b"extra").parent.chmod(0o555)
    for folder in (there / "folder 0", there / "folder 1"):
        folder.chmod(0o555)
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    right = differences(platform.state, describe(there)) == [] and not done.failed
    for folder in home.rglob("folder *"):
        folder.chmod(0o755)
    return 0 if right and beyond_owners(done.problems) == [] else 1


def test_a_temporary_file_that_somebody_replaces_gets_neither_bytes_nor_an_owner(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to a directory of the target sees the temporary names, too."""
    (platform.there / "large").unlink()
    canary = write(platform.folder / "outside" / "canary", b"alive")
    before = describe(canary.parent)
    real = os.ftruncate

    def truncate_and_swap(descriptor: int, size: int) -> None:
        real(descriptor, size)
        made = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if made.parent == platform.there:
            made.unlink()
            os.link(canary, made)

    monkeypatch.setattr(os, "ftruncate", truncate_and_swap)
    (sentence,) = restore_onto(platform.repository, platform.snapshot, platform.target).failed
    assert "somebody replaced its temporary file" in sentence
    assert differences(before, describe(canary.parent)) == []
    assert not (platform.there / "large").exists()


def test_what_made_way_for_something_that_is_not_whole_is_told(platform: Platform) -> None:
    shutil.rmtree(platform.there / "folder 0")
    write(platform.there / "folder 0", b"the old thing")
    platform.damage("folder 0/file 0")
    done = restore_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    assert len(done.failed) == 1
    (problem,) = beyond_owners(done.problems)
    aside = problem.rpartition("before is ")[2].removesuffix(" now")
    assert (platform.there / aside).read_bytes() == b"the old thing"


def test_two_restores_onto_one_directory_do_not_meet(platform: Platform) -> None:
    ravage(platform.there)
    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    with target.Target(platform.target, foreign=[]), pytest.raises(ConflictError, match="another restore"):
        apply_delta(platform.repository, plan, progress=SilentProgress())
    assert apply_delta(platform.repository, plan, progress=SilentProgress()).failed == ()
    platform.assert_restored()


@pytest.mark.parametrize("call", ["unlink", "rmdir"])
def test_a_disk_that_fails_while_names_are_removed_is_an_error_of_ours(
    platform: Platform, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    write(platform.there / "extra" / "file", b"extra")
    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing_at(getattr(os, call), 0, OSError(errno.EROFS, "Read-only file system")))
        with pytest.raises(BackupError, match="Read-only file system"):
            apply_delta(platform.repository, plan, progress=SilentProgress())
    assert restore_onto(platform.repository, platform.snapshot, platform.target, delete=True).failed == ()
    platform.assert_restored()


def test_what_came_after_the_plan_is_not_removed(platform: Platform) -> None:
    write(platform.there / "extra" / "file", b"extra")
    plan = plan_onto(platform.repository, platform.snapshot, platform.target, delete=True)
    late = write(platform.there / "extra" / "late", b"nobody was shown this")
    done = apply_delta(platform.repository, plan, progress=SilentProgress())
    assert (done.removed, done.stayed, late.read_bytes()) == (1, 1, b"nobody was shown this")
    assert ["cannot be removed" in problem for problem in done.problems] == [True]


def test_holes_stay_holes_and_need_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    for name in ("changed", "gone"):
        os.truncate(write(tree / name, b"an island"), 20_000_000)
    write(tree / "zeros", bytes(100_000))
    platform = Platform(tmp_path, tree)
    (platform.there / "gone").unlink()
    (platform.there / "zeros").unlink()
    with (platform.there / "changed").open("r+b") as stream:
        stream.seek(10_000_000)
        stream.write(b"another island")
    monkeypatch.setattr(target.Target, "free_bytes", lambda *_: 10_000_000)
    assert restore_onto(platform.repository, platform.snapshot, platform.target).failed == ()
    platform.assert_restored()
    for name, most in (("changed", 6_000_000), ("gone", 6_000_000), ("zeros", 0)):
        assert (platform.there / name).stat().st_blocks * 512 <= most
