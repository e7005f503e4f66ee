"""`repo copy | diff | find | dump`, backup's options, limits and Ctrl-C, as a person runs them."""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edurise_backup.model.content import BlobKind
from edurise_backup.stores.local import LocalStore
from tests.integration.test_engine_command_line import PROGRAM, Engine, without_repository
from tests.support.engine import back_up, check, create, opened
from tests.support.trees import content_of, describe, differences, small_tree, write


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Give a repository with one snapshot of `tree`."""
    create(LocalStore(tmp_path / "repository"))
    made = without_repository(tmp_path)
    back_up(made.repository(), small_tree(tmp_path / "tree"))
    return made


def second(engine: Engine) -> Engine:
    """Make an empty repository beside the first one."""
    create(LocalStore(engine.folder / "second"))
    return engine


def receiving(engine: Engine) -> list[str]:
    return ["--to", str(engine.folder / "second"), "--to-password-file", str(engine.folder / "password")]


# Copy


def test_snapshots_are_copied_once_and_restore_there(engine: Engine) -> None:
    second(engine)
    done = engine.json("copy", *receiving(engine))
    assert (len(done["snapshots"]), done["skipped"], done["problems"]) == (1, [], [])  # type: ignore[arg-type]
    again = engine.run("copy", *receiving(engine))
    assert "is there already as" in again.stdout
    copied = opened(LocalStore(engine.folder / "second"))
    assert check(copied).findings == []
    engine.restore("latest", "--target", engine.folder / "target", "-r", engine.folder / "second")
    tree = engine.folder / "tree"
    assert differences(describe(tree), describe(engine.folder / "target" / str(tree).lstrip("/"))) == []


def test_a_copy_takes_what_is_named_or_passes_the_filter(engine: Engine) -> None:
    second(engine)
    tree = engine.folder / "tree"
    engine.run("backup", tree, "--tag", "kept", "--host", "one")
    engine.run("backup", tree, "--tag", "other", "--host", "two")
    done = engine.json("copy", *receiving(engine), "--tag", "kept")
    assert len(done["snapshots"]) == 1  # type: ignore[arg-type]
    done = engine.json("copy", *receiving(engine), "latest", "--host", "two")
    assert len(done["snapshots"]) == 1  # type: ignore[arg-type]
    shots = opened(LocalStore(engine.folder / "second")).snapshots().values()
    assert [(shot.hostname, shot.tags) for shot in shots] == [("one", ["kept"]), ("two", ["other"])]


def test_a_copy_that_cannot_be_made_as_asked_changes_nothing(engine: Engine) -> None:
    second(engine)
    password = str(engine.folder / "password")
    (engine.folder / "wrong").write_text("wrong")
    before = content_of(engine.folder / "second")
    for words, said in (
        (["--to", str(engine.place), "--to-password-file", password], "into itself"),
        (["--to", str(engine.folder / "tree"), "--to-password-file", password], "no repository"),
        (["--to", str(engine.folder / "second"), "--to-password-file", str(engine.folder / "wrong")], "passphrase"),
        ([*receiving(engine), "--tag", "nobody's"], "no snapshot passes the filter"),
        ([*receiving(engine), "0123456789"], "no snapshot is named"),
    ):
        assert said in engine.run("copy", *words, status=2).stderr
    held = content_of(engine.folder / "second")
    assert {name for name in held if not name.startswith("locks")} == set(before)
    assert not list((engine.folder / "second").glob("locks/*"))


def test_a_damaged_snapshot_is_left_behind_with_an_error(engine: Engine) -> None:
    second(engine)
    write(engine.folder / "tree" / "later", b"later" * 1000)
    back_up(engine.repository(), engine.folder / "tree")
    repository = engine.repository()
    place = repository.index.find(BlobKind.DATA, next(iter(repository.index.blobs(BlobKind.DATA))))  # type: ignore[arg-type]
    assert place is not None
    pack = engine.place / "data" / place.pack[:2] / place.pack
    pack.chmod(0o600)
    pack.write_bytes(bytes(len(pack.read_bytes())))
    done = engine.run("copy", *receiving(engine), "--json", status=1)
    assert json.loads(done.stdout)["problems"]
    assert check(opened(LocalStore(engine.folder / "second"))).findings == []


# Diff and find


def test_a_difference_is_shown_as_text_and_json(engine: Engine) -> None:
    tree = engine.folder / "tree"
    write(tree / "new\nline", b"new")
    (tree / "empty").chmod(0o600)
    engine.run("backup", tree)
    first = str(json.loads(engine.run("snapshots", "--json").stdout)[0]["id"])
    shown = engine.run("diff", first[:10], "latest").stdout
    assert f"+    {tree}/new\\nline  (3 B)" in shown
    assert "added    1 files, 0 directories" in shown
    assert "empty" not in shown
    told = engine.json("diff", f"{first}:{tree}", f"latest:{tree}", "--metadata")
    assert told["changes"] == [
        {"path": "/empty", "mark": "U", "size_before": 0, "size_after": 0},
        {"path": "/new\nline", "mark": "+", "size_before": None, "size_after": 3},
    ]
    assert told["summary"]["added"]["files"] == 1  # type: ignore[index]
    assert "no snapshot is named" in engine.run("diff", first, "fedcba", status=2).stderr
    assert "no directory" in engine.run("diff", first, "latest:/nothing", status=2).stderr


def test_versions_are_shown_as_text_and_json(engine: Engine) -> None:
    tree = engine.folder / "tree"
    engine.run("backup", tree)
    (found,) = engine.json("find", "file 0")["versions"]  # type: ignore[misc]
    assert (found["path"], found["size"], found["snapshots"]) == (f"{tree}/folder 0/file 0", 3000, 2)  # type: ignore[index]
    assert "1 versions in 2 snapshots" in engine.run("find", f"{tree}/folder*/file 0").stdout
    assert engine.json("find", "file 0", "--newest", "2001-01-01")["versions"] == []
    assert "is no date or time" in engine.run("find", "x", "--oldest", "soon", status=2).stderr
    assert "malformed" in engine.run("find", "[z-a]", status=2).stderr
    engine.run("find", status=2)


# Dump


def raw(engine: Engine, *words: str | Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [*PROGRAM, "dump", *map(str, words)], env=engine.environment, capture_output=True, check=False, timeout=60
    )


def test_a_file_comes_out_byte_by_byte_and_nothing_else(engine: Engine) -> None:
    tree = engine.folder / "tree"
    content = random.Random(3).randbytes(5_000_000)
    write(tree / "large", content)
    engine.run("backup", tree)
    for words in ((), ("--json",), ("-q",), ("--no-lock",)):
        done = raw(engine, "latest", tree / "large", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, content, b"")
    told = engine.json("dump", "latest", tree / "large", "--target", engine.folder / "out")
    assert told["bytes"] == len(content)
    assert (engine.folder / "out").read_bytes() == content
    assert (
        "exists already" in engine.run("dump", "latest", tree / "large", "-t", engine.folder / "out", status=2).stderr
    )
    assert not list(engine.place.glob("locks/*"))


def test_a_directory_comes_out_as_an_archive_only(engine: Engine) -> None:
    tree = engine.folder / "tree"
    refused = engine.run("dump", "latest", tree, status=2)
    assert (refused.stdout, "--archive tar" in refused.stderr) == ("", True)
    assert "is not known" in engine.run("dump", "latest", tree, "--archive", "zip", status=2).stderr
    done = raw(engine, "latest", tree, "--archive", "tar")
    assert done.returncode == 0
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        assert "folder 0/file 0" in archive.getnames()


@pytest.mark.parametrize("target", [True, False])
def test_a_dump_of_damaged_data_fails_and_says_that_it_is_incomplete(engine: Engine, target: bool) -> None:
    tree = engine.folder / "tree"
    write(tree / "large", random.Random(3).randbytes(5_000_000))
    engine.run("backup", tree)
    largest = max(engine.place.glob("data/*/*"), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    content[len(content) // 2] ^= 1
    largest.chmod(0o600)
    largest.write_bytes(content)
    words = ("-t", engine.folder / "out") if target else ()
    done = raw(engine, "latest", tree / "large", *words)
    assert done.returncode == 1
    assert b"incomplete" in done.stderr
    assert not (engine.folder / "out").exists()


def test_a_reader_that_goes_away_fails_the_dump(engine: Engine) -> None:
    tree = engine.folder / "tree"
    write(tree / "large", bytes(1000) * 3000)
    engine.run("backup", tree)
    process = engine.start("dump", "latest", tree / "large")
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(60) == 1
    assert b"standard output cannot be written" in said
    assert b"Traceback" not in said


def test_a_damaged_snapshot_is_in_nobody_elses_way(engine: Engine) -> None:
    tree = engine.folder / "tree"
    engine.run("backup", tree)
    damaged, whole = sorted((engine.place / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    damaged.chmod(0o600)
    damaged.write_bytes(bytes(100))
    assert raw(engine, whole.name, tree / "twice").stdout == (tree / "twice").read_bytes()
    assert engine.json("diff", whole.name, whole.name[:10])["changes"] == []
    second(engine)
    copied = json.loads(engine.run("copy", *receiving(engine), "--json", status=1).stdout)
    assert [one["source"] for one in copied["snapshots"]] == [whole.name]
    assert damaged.name[:8] in copied["problems"][0]
    found = json.loads(engine.run("find", "twice", "--json", status=3).stdout)
    assert len(found["versions"]) == 2
    assert "holds other bytes" in engine.run("dump", "latest", tree / "twice", status=1).stderr  # it may be the latest


# Backup's options


def test_backup_leaves_out_large_files_in_one_line_and_tries_without_writing(engine: Engine) -> None:
    tree = engine.folder / "tree"
    write(tree / "large", bytes(20_000))
    before = content_of(engine.place)
    tried = engine.json("backup", tree, "--dry-run", "--exclude-larger-than", "10k")
    assert (tried["dry_run"], tried["left_out"]) == (True, {"files": 1, "bytes": 20_000})
    assert "nothing was written" in engine.run("backup", tree, "-n").stdout
    assert content_of(engine.place) == before
    shown = engine.run("backup", tree, "--exclude-larger-than", "10k").stdout
    assert "left out as too large: 1 files, 19.5 KiB" in shown
    assert str(tree / "large") not in engine.run("ls", "latest").stdout
    assert "is no size" in engine.run("backup", tree, "--exclude-larger-than", "big", status=2).stderr


def test_a_dry_run_needs_no_right_to_write(engine: Engine) -> None:
    shown = engine.run("backup", engine.folder / "tree", "--dry-run", "--limit-upload", "1")
    assert "would add" in shown.stdout  # at 1 KiB/s a single pack would take seconds
    engine.run("backup", engine.folder / "tree", "--limit-upload", "-1", status=2)


def test_limits_slow_a_backup_and_a_restore_down(engine: Engine) -> None:
    tree = write(engine.folder / "more" / "file", os.urandom(600_000)).parent
    started = time.monotonic()
    engine.run("backup", tree, "--limit-upload", "500")
    assert time.monotonic() - started > 1.1
    started = time.monotonic()
    engine.restore("latest", "--target", engine.folder / "target", "--limit-download", "500")
    assert time.monotonic() - started > 1.1


# Ctrl-C

Prepared = Callable[[Engine], list[str | Path]]


def backup_words(engine: Engine) -> list[str | Path]:
    return ["backup", engine.folder / "large"]


def limited_words(engine: Engine) -> list[str | Path]:
    return ["backup", engine.folder / "large", "--limit-upload", "2000"]


def restore_words(engine: Engine) -> list[str | Path]:
    engine.run(*backup_words(engine))
    return ["restore", "latest", "--target", engine.folder / "target"]


def check_words(engine: Engine) -> list[str | Path]:
    engine.run(*backup_words(engine))
    return ["check", "--read-data"]


def copy_words(engine: Engine) -> list[str | Path]:
    engine.run(*backup_words(engine))
    second(engine)
    return ["copy", *receiving(engine)]


def prune_words(engine: Engine) -> list[str | Path]:
    """Have half of each pack unused: a prune reads and writes the other half."""
    large = engine.folder / "large"
    engine.run("backup", large)
    for number, path in enumerate(sorted(large.iterdir())):
        if number % 2:
            path.unlink()
    engine.run("backup", large)
    return ["forget", "--keep-last", "1", "--grace", "0", "--prune", "--max-removed", "100%"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "after"), [(signal.SIGINT, 0.5), (signal.SIGTERM, 0.9)])
@pytest.mark.parametrize("words", [backup_words, limited_words, restore_words, check_words, copy_words, prune_words])
def test_a_cancelled_command_ends_soon_leaves_no_lock_and_can_be_run_again(
    engine: Engine, words: Prepared, number: signal.Signals, after: float
) -> None:
    """About 200 MB that do not shrink; the time is printed (`-rP`), a generous bound is asserted."""
    rng = random.Random(5)
    for part in range(40):
        write(engine.folder / "large" / str(part), rng.randbytes(5_000_000))
    command = words(engine)
    process = engine.start(*command)
    held = [place / "locks" for place in (engine.place, engine.folder / "second")]
    while not any(folder.is_dir() and list(folder.iterdir()) for folder in held) and process.poll() is None:
        threading.Event().wait(0.005)
    threading.Event().wait(after)
    process.send_signal(number)
    cancelled = time.monotonic()
    _, said = process.communicate(timeout=60)
    took = time.monotonic() - cancelled
    sys.stdout.write(f"{command[0]}: ended {took:.2f} s after {number.name} with status {process.returncode}\n")
    done_before = (0, -number)  # the work had ended; a process on its way out dies of the signal
    assert process.returncode in (130, *done_before), said
    assert b"Traceback" not in said
    assert took < 20
    assert not [name for folder in held if folder.is_dir() for name in folder.iterdir()]
    assert check(engine.repository(), read_data=False).findings == []
    if process.returncode == 130:
        assert b"stopped by request" in said
        if command[0] == "restore":
            command[-1] = engine.folder / "second target"
        if "--limit-upload" in command:
            command[-1] = "0"
        engine.run(*command, status=None if command[0] == "restore" else 0)
    assert check(engine.repository(), read_data=False).findings == []
