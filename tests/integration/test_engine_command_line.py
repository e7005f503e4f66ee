"""`edurise-backup repo …` as a person runs it: results, bad input, full disks, kills."""

from __future__ import annotations

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from edurise_backup.repository.layout import Kind
from edurise_backup.repository.locks import LockFile
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.repository_config import Config
from edurise_backup.stores.local import LocalStore
from tests.support.engine import PASSPHRASE, QUICK, back_up, beyond_owners, check, create, opened
from tests.support.trees import content_of, describe, differences, small_tree, write

PROGRAM = [sys.executable, "-c", "from edurise_backup.cli import main; main()", "repo"]


@dataclass(slots=True)
class Engine:
    """The command line on one repository."""

    folder: Path

    @property
    def place(self) -> Path:
        return self.folder / "repository"

    @property
    def environment(self) -> dict[str, str]:
        password = str(self.folder / "password")
        return {**os.environ, "EDURISE_REPOSITORY": str(self.place), "EDURISE_PASSWORD_FILE": password}

    def run(self, *arguments: str | Path, status: int | None = 0, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command; fail when its exit status is not the expected one."""
        done = subprocess.run(
            [*PROGRAM, *map(str, arguments)],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert PASSPHRASE not in done.stdout + done.stderr
        if status is not None:
            assert done.returncode == status, done.stdout + done.stderr
        return done

    def restore(self, *arguments: str | Path) -> None:
        """Restore; an ordinary user is told that the directories above are not root's any more, with status 3."""
        done = self.run("restore", *arguments, "--json", status=None)
        assert beyond_owners(json.loads(done.stdout)["problems"]) == []
        assert done.returncode == (3 if json.loads(done.stdout)["problems"] else 0)

    def json(self, *arguments: str | Path) -> dict[str, object]:
        """Run a command with --json and return its result."""
        found = json.loads(self.run(*arguments, "--json").stdout)
        assert isinstance(found, dict)
        return found

    def start(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """Start a command and leave it running, in a process group of its own."""
        return subprocess.Popen(
            [*PROGRAM, *map(str, arguments)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def repository(self) -> Repository:
        return opened(LocalStore(self.place))


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Give an empty repository with a quick key."""
    create(LocalStore(tmp_path / "repository"))
    return without_repository(tmp_path)


def without_repository(folder: Path) -> Engine:
    """Give a password file only."""
    (folder / "password").write_text(PASSPHRASE + "\n")
    return Engine(folder)


@pytest.fixture
def filled(engine: Engine) -> Engine:
    """Give a repository with one snapshot of `tree`."""
    back_up(engine.repository(), small_tree(engine.folder / "tree"))
    return engine


# The way of a person


def test_from_init_to_restore(tmp_path: Path) -> None:
    engine = without_repository(tmp_path)
    tree = small_tree(tmp_path / "tree")
    made = engine.run("init")
    recovery = re.search(r"recovery key: (\S+)", made.stdout)
    assert recovery
    assert "saved" in engine.run("backup", tree, "--tag", "first", "--exclude", "*.log").stdout
    assert "no errors were found" in engine.run("check", "--read-data").stdout
    assert "first" in engine.run("snapshots").stdout
    assert str(tree / "folder 0" / "file 0") in engine.run("ls", "latest").stdout
    (tmp_path / "recovery").write_text(recovery[1])
    engine.restore("latest", "--target", tmp_path / "target", "-p", tmp_path / "recovery")
    assert differences(describe(tree), describe(tmp_path / "target" / str(tree).lstrip("/"))) == []


def test_results_are_one_json_document(filled: Engine) -> None:
    tree = filled.folder / "tree"
    write(tree / "new", b"new")
    done = filled.json("backup", tree)
    assert (done["problems"], done["parent"]) == ([], None)  # another host name than the fixture's
    assert filled.json("check", "--read-data")["sound"] is True
    listed = json.loads(filled.run("snapshots", "--json").stdout)
    assert [shot["id"] for shot in listed][-1] == done["snapshot_id"]
    filled.restore(str(done["snapshot_id"])[:8], "--target", filled.folder / "t")
    assert filled.json("ls", "latest")["snapshot_id"] == done["snapshot_id"]
    assert filled.json("forget", "--keep-last", "1", "--prune")["forgotten"] == []
    assert filled.json("unlock")["removed"] == 0


def test_quiet_says_nothing_when_all_is_well(filled: Engine) -> None:
    done = filled.run("check", "-q")
    assert done.stderr == ""


def test_an_included_file_alone_is_restored(filled: Engine) -> None:
    filled.restore("latest", "--target", filled.folder / "t", "--include", "file 3")
    assert [path.name for path in (filled.folder / "t").rglob("*") if path.is_file()] == ["file 3"]


def test_forget_by_policy_keeps_the_newest_and_prune_frees_room(filled: Engine) -> None:
    tree = filled.folder / "tree"
    write(tree / "folder 0" / "file 0", os.urandom(200_000))
    for _ in range(2):
        write(tree / "folder 0" / "file 0", os.urandom(200_000))
        filled.run("backup", tree, "--host", "h")
    before = sum(path.stat().st_size for path in filled.place.rglob("*") if path.is_file())
    filled.run("forget", "--keep-last", "1", "--prune", "--grace", "0")
    after = sum(path.stat().st_size for path in filled.place.rglob("*") if path.is_file())
    assert before - after > 190_000
    assert "no errors" in filled.run("check", "--read-data").stdout


def test_a_passphrase_is_added_used_and_taken_away(filled: Engine) -> None:
    second = filled.folder / "second"
    second.write_text("another one")
    added = filled.json("key", "add", "--new-password-file", second)
    filled.run("snapshots", "-p", second)
    assert len(json.loads(filled.run("key", "list", "--json").stdout)) == 3
    filled.run("key", "remove", str(added["id"])[:10])
    filled.run("snapshots", "-p", second, status=2)


def test_what_could_not_be_read_is_told_and_the_exit_status_is_3(filled: Engine) -> None:
    """An unreadable name: root reads everything, so here a file's own reading fails for anybody."""
    tree = filled.folder / "tree"
    code = (
        "import os, sys\nreal = os.open\n"
        "def refuse(path, *a, **k):\n"
        "    if str(path).endswith('file 0'): raise PermissionError(13, 'Permission denied')\n"
        "    return real(path, *a, **k)\n"
        "os.open = refuse\nfrom edurise_backup.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "repo", "backup", str(tree)],
        env=filled.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 3
    assert "file 0: Permission denied" in done.stdout


# Bad input: exit status 2, said in three parts, nothing changed


def forge_newer_version(engine: Engine) -> list[str]:
    """Replace the config by one of version 3."""
    repository = engine.repository()
    newer = Config(version=3, id=repository.config.id, chunker_polynomial=repository.config.chunker_polynomial)
    path = engine.place / "config"
    path.unlink()
    path.write_bytes(repository.box.key.seal(msgspec.json.encode(newer)))
    return ["snapshots"]


def lock_it(engine: Engine) -> list[str]:
    """Leave an exclusive lock of another host."""
    repository = engine.repository()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    lock = LockFile(time=now, exclusive=True, hostname="elsewhere", username="ann", pid=1)
    repository.box.save(Kind.LOCK, msgspec.json.encode(lock))
    return ["backup", str(engine.folder / "tree")]


def wrong_passphrase(engine: Engine) -> list[str]:
    """Put another passphrase into the password file."""
    (engine.folder / "password").write_text("wrong")
    return ["snapshots"]


def undecodable_passphrase(engine: Engine) -> list[str]:
    """Put bytes that are no text into the password file."""
    (engine.folder / "password").write_bytes(b"\xff\xfe\x00bad")
    return ["snapshots"]


def no_passphrase(engine: Engine) -> list[str]:
    """Empty the password file."""
    (engine.folder / "password").write_text("\n")
    return ["snapshots"]


def ambiguous_id(engine: Engine) -> list[str]:
    """Name a snapshot by a beginning that two share."""
    for _ in range(20):
        ids = list(engine.repository().snapshots())
        letters = [snapshot_id[0] for snapshot_id in ids]
        twice = [letter for letter in letters if letters.count(letter) > 1]
        if twice:
            return ["ls", twice[0]]
        back_up(engine.repository(), engine.folder / "tree")
    raise AssertionError("unreachable")


def not_empty(engine: Engine) -> list[str]:
    """Restore over something."""
    write(engine.folder / "target" / "precious", b"mine")
    return ["restore", "latest", "--target", str(engine.folder / "target")]


def target_is_a_file(engine: Engine) -> list[str]:
    """Restore onto a file."""
    write(engine.folder / "target", b"mine")
    return ["restore", "latest", "--target", str(engine.folder / "target")]


BAD_INPUT: dict[str, tuple[Callable[[Engine], list[str]], str]] = {
    "wrong passphrase": (wrong_passphrase, "no key of .* opens with this passphrase"),
    "passphrase that is no text": (undecodable_passphrase, "password file .*"),
    "empty password file": (no_passphrase, "is empty"),
    "no password file": (lambda e: ["snapshots", "-p", str(e.folder / "none")], "cannot be read"),
    "not a repository": (lambda e: ["snapshots", "-r", str(e.folder / "tree")], "there is no repository at"),
    "no such place": (lambda e: ["snapshots", "-r", str(e.folder / "nowhere")], "there is no repository at"),
    "a kind of store we do not have": (lambda _: ["snapshots", "-r", "sftp:host:/x"], "not supported"),
    "newer version": (forge_newer_version, "version 3"),
    "init over an existing one": (lambda _: ["init"], "there is a repository at .* already"),
    "missing path": (lambda e: ["backup", str(e.folder / "missing")], "cannot be read: No such file"),
    "unknown snapshot": (lambda _: ["ls", "ffffffff00"], "no snapshot is named"),
    "odd snapshot word": (lambda _: ["restore", "../x", "--target", "x"], "no snapshot is named"),
    "ambiguous snapshot": (ambiguous_id, "names [0-9]+ snapshots"),
    "target not empty": (not_empty, "is not empty"),
    "target is a file": (target_is_a_file, "target: "),
    "locked": (lock_it, "locked exclusively by ann on elsewhere .process 1. since"),
    "empty policy": (lambda _: ["forget"], "no policy says what to keep"),
    "ids and policy": (lambda _: ["forget", "latest", "--keep-last", "1"], "snapshots are named and a policy"),
    "source holds the repository": (lambda e: ["backup", str(e.folder)], "would back itself up"),
    "source is the repository": (lambda e: ["backup", str(e.place / "data")], "would back itself up"),
    "nothing matches": (
        lambda e: ["restore", "latest", "--target", str(e.folder / "t"), "--include", "zzz"],
        "matches",
    ),
    "empty pattern": (lambda e: ["backup", str(e.folder / "tree"), "--exclude", "/"], "pattern"),
    "malformed pattern": (lambda e: ["backup", str(e.folder / "tree"), "--exclude", "[z-a]"], "malformed"),
    "unknown key": (lambda _: ["key", "remove", "zz"], "keys begin with"),
    "the key in use": (lambda e: ["key", "remove", e.repository().key_id], "the key in use"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_ends_with_status_2_and_a_clear_message_and_changes_nothing(filled: Engine, case: str) -> None:
    prepare, expected = BAD_INPUT[case]
    arguments = prepare(filled)
    before = content_of(filled.folder)
    done = filled.run(*arguments, status=2)
    assert re.search(expected, done.stderr), done.stderr
    assert "To do: " in done.stderr or case in ("target is a file",)
    assert done.stdout == ""
    after = content_of(filled.folder)
    for folder in ("t", "repository/locks"):
        before.pop(folder, None)
        after.pop(folder, None)
    assert after == before


@pytest.mark.parametrize("case", ["wrong passphrase", "locked", "unknown snapshot"])
def test_errors_are_json_when_results_are(filled: Engine, case: str) -> None:
    prepare, expected = BAD_INPUT[case]
    found = json.loads(filled.run(*prepare(filled), "--json", status=2).stderr)
    assert re.search(expected, found["error"])
    assert set(found) == {"error", "safe", "hint", "exit_status"}
    assert found["exit_status"] == 2


def test_nothing_named_at_all_is_bad_input(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("EDURISE_")}
    for arguments in (["snapshots"], ["snapshots", "-r", str(tmp_path)], ["snapshots", "-p", "x"]):
        done = subprocess.run(
            [*PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 2
        assert "is named" in done.stderr or "cannot be read" in done.stderr


def test_options_that_do_not_exist_are_usage_errors(filled: Engine) -> None:
    assert filled.run("backup", status=2).returncode == 2
    assert filled.run("restore", "latest", status=2).returncode == 2
    assert filled.run("nonsense", status=2).returncode == 2


# A full disk


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
from edurise_backup.cli import main
main()
"""


def test_a_disk_that_gets_full_fails_the_backup_and_leaves_the_repository_sound(filled: Engine) -> None:
    """RLIMIT_FSIZE makes the write of a pack fail halfway, for any user."""
    tree = write(filled.folder / "more" / "large", os.urandom(5_000_000)).parent
    command = [sys.executable, "-c", FULL, "repo", "backup", str(tree)]
    done = subprocess.run(command, env=filled.environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert "no room left while writing data/" in done.stderr
    assert "Safe: " in done.stderr
    assert "To do: free space" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1_000_000
    assert check(filled.repository()).findings == []
    assert len(filled.repository().snapshots()) == 1
    assert not list(filled.place.rglob("*-tmp-*"))
    filled.run("backup", tree)
    assert check(filled.repository()).findings == []
    assert len(filled.repository().snapshots()) == 2


# Kills and cancellations


def busy_tree(folder: Path) -> Path:
    """Make a tree that takes a while to back up, with a mark in it that is looked for in the repository."""
    rng = random.Random(3)
    for number in range(300):
        write(folder / f"d{number % 10}" / f"f{number}", b"PLAINTEXT-MARK " * 50 + rng.randbytes(40_000))
    return folder


def kill_and_look(engine: Engine, tree: Path, delay: float) -> None:
    """Kill a backup after `delay` seconds; the repository is sound, the next run cleans up after it."""
    process = engine.start("backup", tree)
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        process.kill()
    process.communicate()
    repository = engine.repository()
    assert check(repository).findings == []
    for path in engine.place.rglob("*"):
        assert not path.is_file() or b"PLAINTEXT-MARK" not in path.read_bytes(), f"{path} holds plaintext"
    for snapshot in repository.snapshots().values():
        assert snapshot.tree


def test_a_killed_backup_leaves_a_sound_repository_without_plaintext(engine: Engine) -> None:
    tree = busy_tree(engine.folder / "tree")
    for delay in (0.3, 0.6, 0.9):
        kill_and_look(engine, tree, delay)
    engine.run("backup", tree)
    assert list((engine.place / "locks").iterdir()) == []
    assert check(engine.repository()).findings == []


@pytest.mark.slow
def test_backups_killed_at_many_moments_leave_a_sound_repository(engine: Engine) -> None:
    tree = busy_tree(engine.folder / "tree")
    rng = random.Random(11)
    for number in range(30):
        write(tree / "changing", rng.randbytes(3_000_000))
        kill_and_look(engine, tree, rng.uniform(0.2, 1.8))
        if number % 10 == 9:
            engine.run("backup", tree)
            engine.run("forget", "--keep-last", "1", "--prune", "--grace", "0", "--max-removed", "100%")
    engine.run("backup", tree)
    engine.restore("latest", "--target", engine.folder / "target")
    assert differences(describe(tree), describe(engine.folder / "target" / str(tree).lstrip("/"))) == []


@pytest.mark.slow
def test_prunes_killed_at_many_moments_leave_a_sound_repository(engine: Engine) -> None:
    tree = busy_tree(engine.folder / "tree")
    rng = random.Random(12)
    for _ in range(12):
        for number in range(0, 300, 3):
            write(tree / f"d{number % 10}" / f"f{number}", rng.randbytes(20_000))
        engine.run("backup", tree)
        process = engine.start("forget", "--keep-last", "1", "--prune", "--grace", "0", "--max-removed", "100%")
        try:
            process.wait(rng.uniform(0.3, 1.2))
        except subprocess.TimeoutExpired:
            process.kill()
        process.communicate()
        assert check(engine.repository()).findings == []
    engine.restore("latest", "--target", engine.folder / "target")
    assert differences(describe(tree), describe(engine.folder / "target" / str(tree).lstrip("/"))) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_cancelled_backup_ends_by_itself_and_leaves_the_repository_sound(engine: Engine, number: int) -> None:
    tree = busy_tree(engine.folder / "tree")
    write(tree / "large", os.urandom(60_000_000))
    process = engine.start("backup", tree)
    wait_for_packs(engine, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 130, errors
    assert b"stopped by request" in errors
    assert b"Traceback" not in errors
    assert list((engine.place / "locks").iterdir()) == []
    assert check(engine.repository()).findings == []
    assert engine.repository().snapshots() == {}


def wait_for_packs(engine: Engine, process: subprocess.Popen[bytes]) -> None:
    """Wait until the backup has written something; it says so to nobody else."""
    while not list(engine.place.glob("data/*/*")):
        assert process.poll() is None
        threading.Event().wait(0.01)


def test_a_hangup_does_not_end_a_backup(engine: Engine) -> None:
    """Stock restic's `unlock` sends SIGHUP to a lock's process, to see whether it lives."""
    tree = busy_tree(engine.folder / "tree")
    write(tree / "large", os.urandom(40_000_000))
    process = engine.start("backup", tree)
    wait_for_packs(engine, process)
    process.send_signal(signal.SIGHUP)
    _, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors


# Memory

PEAK = """
import os, sys
from pathlib import Path
from edurise_backup.cli import main
leave = os._exit
def tell(status):
    line = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))
    print(int(line.split()[1]) * 1024, file=sys.stderr, flush=True)
    leave(status)
os._exit = tell
main()
"""


def peak_memory(engine: Engine, *arguments: str | Path) -> int:
    """Run a command and return the largest resident set, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", PEAK, "repo", *map(str, arguments)],
        env=engine.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode in (0, 3), done.stderr  # 3: an ordinary user restores, see `Engine.restore`
    return int(done.stderr.splitlines()[-1])


def large_file(path: Path, *, size: int, random_bytes: int) -> Path:
    """Make a file of random ranges and holes."""
    rng = random.Random(9)
    path.parent.mkdir(parents=True)
    with path.open("wb") as stream:
        stream.truncate(size)
        for number in range(random_bytes // 8_000_000):
            stream.seek(number * (size // (random_bytes // 8_000_000)))
            stream.write(rng.randbytes(8_000_000))
    return path


@pytest.mark.slow
def test_memory_stays_bounded_for_a_file_of_a_gibibyte(engine: Engine) -> None:
    tree = large_file(engine.folder / "tree" / "large", size=1 << 30, random_bytes=400_000_000).parent
    assert peak_memory(engine, "backup", tree) < 400_000_000
    assert peak_memory(engine, "check", "--read-data") < 400_000_000
    assert peak_memory(engine, "restore", "latest", "--target", engine.folder / "target") < 400_000_000
    restored = engine.folder / "target" / str(tree).lstrip("/") / "large"
    assert subprocess.run(["cmp", str(tree / "large"), str(restored)], check=False).returncode == 0
    assert restored.stat().st_blocks * 512 < 700_000_000  # holes stay holes


def test_a_recovery_key_of_a_quick_repository_opens_it(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "r")
    _, recovery = Repository.create(store, PASSPHRASE, cost=QUICK)
    assert Repository.open(store, recovery).config == Repository.open(store, PASSPHRASE).config


# Where the time goes, and how hard is compressed


def test_a_profile_tells_of_this_process_and_of_those_that_it_started(engine: Engine) -> None:
    tree = engine.folder / "tree"
    rng = random.Random(5)
    for number in range(12):
        write(tree / f"large {number}", rng.randbytes(4_000_000))
    done = engine.run("backup", tree, "--profile", "--json")
    stages = json.loads(done.stderr)["stages"]
    assert {"check", "wait"} <= set(stages)  # large files are checked in other processes
    assert json.loads(done.stdout)["summary"]["files_new"] == 12
    told = engine.run("check", "--read-data", "--profile").stderr
    assert told.splitlines()[0].split() == ["Stage", "CPU", "s", "Wall", "s"]
    assert engine.run("check").stderr == ""


def test_compression_is_chosen_and_the_content_comes_back_whatever_it_was(engine: Engine) -> None:
    tree = engine.folder / "tree"
    sizes = {}
    for word in ("off", "1", "auto", "max"):
        rng = random.Random(word)
        words = ["".join(rng.choices("etaoinshrdlu", k=rng.randrange(2, 9))) for _ in range(3000)]
        write(tree / "text", " ".join(rng.choices(words, k=200_000)).encode())
        sizes[word] = engine.json("backup", tree, "--compression", word)["stored_bytes"]
    engine.restore("latest", "--target", engine.folder / "back")
    assert differences(describe(tree), describe(engine.folder / "back" / str(tree)[1:])) == []
    assert int(str(sizes["off"])) > 2 * int(str(sizes["auto"]))
    assert int(str(sizes["max"])) < int(str(sizes["1"]))
    assert check(engine.repository(), read_data=True).findings == []
    bad = engine.run("backup", tree, "--compression", "strong", status=2)
    assert "auto, off, max" in bad.stderr
    refused = engine.run("backup", tree, status=2, EDURISE_COMPRESSION="20")
    assert "no compression" in refused.stderr
