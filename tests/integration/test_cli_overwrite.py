"""`edurise-backup repo restore --overwrite` as a person runs it: what is shown, what is done, what is refused."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from edurise_backup.repository.layout import Kind
from edurise_backup.stores.local import LocalStore
from tests.integration.test_engine_command_line import PROGRAM, Engine, without_repository
from tests.support.engine import back_up, beyond_owners, create
from tests.support.trees import content_of, describe, differences, small_tree, write


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    """Give a repository with one snapshot of `tree`, which then was changed in every way."""
    create(LocalStore(tmp_path / "repository"))
    made = without_repository(tmp_path)
    tree = small_tree(tmp_path / "tree")
    back_up(made.repository(), tree)
    (tree / "folder 0" / "file 0").write_bytes(b"changed")
    (tree / "folder 1" / "file 1").unlink()
    (tree / "folder 1" / "file 3").chmod(0o600)
    write(tree / "folder 1" / "extra" / "new\nline", b"extra")
    return made


def onto(engine: Engine, *more: str) -> list[str]:
    """Return the words that restore the tree onto itself."""
    return ["restore", f"latest:{engine.folder}", "--target", str(engine.folder), "--overwrite", *more]


def tree_as_it_was(engine: Engine) -> dict[bytes, object]:
    """Restore the tree elsewhere and describe it."""
    engine.run("restore", f"latest:{engine.folder}", "--target", engine.folder / "whole")
    return dict(describe(engine.folder / "whole" / "tree"))


def test_a_dry_run_says_what_would_be_done_and_changes_nothing(engine: Engine) -> None:
    before = describe(engine.folder / "tree")
    said = engine.run(*onto(engine, "--delete", "--dry-run")).stdout
    assert "would change: /tree/folder 0/file 0\n" in said
    assert "would add: /tree/folder 1/file 1\n" in said
    assert "would remove: /tree/folder 1/extra/new\\nline\n" in said
    assert re.search(r"files: 8 unchanged, 1 with other metadata only, 1 to be changed, 1 new\n", said), said
    assert "nothing was changed" in said
    assert "2 names are there and not in the snapshot: they would be removed" in said
    assert "they stay; --delete removes them" in engine.run(*onto(engine, "-n")).stdout
    assert differences(before, describe(engine.folder / "tree")) == []


def test_a_dry_run_in_json_lists_every_path(engine: Engine) -> None:
    plan = engine.json(*onto(engine, "--dry-run"))
    assert (plan["dry_run"], plan["delete"], plan["unchanged"], plan["extra"]) == (True, False, 8, 2)
    assert plan["paths"] == {
        "changed": ["/tree/folder 0/file 0"],
        "new": ["/tree/folder 1/file 1"],
        "metadata": ["/tree/folder 1/file 3"],
        "folders_new": [],
        "folders_metadata": ["/tree/folder 1"],
        "extra": ["/tree/folder 1/extra", "/tree/folder 1/extra/new\nline"],
    }
    assert 6000 < int(str(plan["fetched_bytes"])) < 6500
    assert plan["written_bytes"] == 6001


def test_a_dry_run_without_overwrite_is_of_a_new_directory(engine: Engine) -> None:
    plan = engine.json("restore", "latest", "--target", engine.folder / "new", "--dry-run")
    assert (plan["new"], plan["changed"]) == (11, 0)
    assert not (engine.folder / "new").exists()
    assert "is not empty" in engine.run("restore", "latest", "-t", engine.folder / "tree", "-n", status=2).stderr


def test_what_is_there_becomes_what_the_snapshot_says(engine: Engine) -> None:
    whole = tree_as_it_was(engine)
    said = engine.run(*onto(engine)).stdout
    assert "files: 8 unchanged, 1 with new metadata only, 1 changed, 1 new, 5.9 KiB written" in said
    assert (engine.folder / "tree" / "folder 1" / "extra").exists()
    done = engine.json(*onto(engine, "--delete"))
    assert (done["unchanged"], done["removed"], done["extra"], done["problems"]) == (11, 2, 0, [])
    assert differences(whole, describe(engine.folder / "tree")) == []  # type: ignore[arg-type]
    assert engine.run(*onto(engine, "--delete", "-q")).stdout == ""


def test_a_part_is_restored_onto_the_directory_above_it(engine: Engine) -> None:
    tree = engine.folder / "tree"
    done = engine.run(
        "restore", "latest", "-t", "/", "--overwrite", "--delete", "--include", tree / "folder 1", "--json"
    )
    result = json.loads(done.stdout)
    assert (result["removed"], result["new"], result["changed"]) == (2, 1, 0)
    assert (tree / "folder 0" / "file 0").read_bytes() == b"changed"


def test_damage_ends_with_status_1_the_names_and_nothing_removed(engine: Engine) -> None:
    store = LocalStore(engine.place)
    for name, size in list(store.list(Kind.PACK)):
        if size > 2900:  # all but the trees' packs and the small files'
            path = engine.place / name
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:100] + b"\0" + path.read_bytes()[101:])
    done = engine.run(*onto(engine, "--delete"), status=1)
    assert "/tree/folder 0/file 0 cannot be restored, and stays as it is" in done.stdout
    assert "/tree/folder 1/file 1 cannot be restored: " in done.stdout
    assert "nothing was removed" in done.stdout
    assert (engine.folder / "tree" / "folder 0" / "file 0").read_bytes() == b"changed"
    result = json.loads(engine.run(*onto(engine, "--delete", "--json"), status=1).stdout)
    assert (len(result["failed"]), result["removed"], result["extra"]) == (2, 0, 2)


REFUSED = {
    "--delete alone": (["restore", "latest", "-t", "{folder}/new", "--delete"], "only --overwrite lets it hold"),
    "a file as the target": (["restore", "latest", "-t", "{folder}/password", "--overwrite"], "Not a directory"),
    "a target in the repository": (["restore", "latest", "-t", "{folder}/repository/data", "--overwrite"], "lies in"),
    "nothing matches": (
        ["restore", "latest", "-t", "{folder}/tree", "--overwrite", "--include", "zzz"],
        "nothing in .* matches",
    ),
    "a directory on one side only": (
        ["restore", "latest:{folder}", "-t", "{folder}/other", "--overwrite"],
        "a directory on one side only, in the snapshot or in the target: /tree",
    ),
    "the repository would go": (
        ["restore", "latest:{folder}/tree", "-t", "{folder}", "--overwrite", "--delete"],
        "--delete would remove the repository",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_as_asked_is_refused_and_changes_nothing(engine: Engine, case: str) -> None:
    words, expected = REFUSED[case]
    write(engine.folder / "other" / "tree", b"a file")
    before = content_of(engine.folder)
    done = engine.run(*(word.format(folder=engine.folder) for word in words), status=2)
    assert re.search(expected, done.stderr), done.stderr
    assert done.stdout == ""
    after = content_of(engine.folder)
    assert after == before


def may_mount() -> bool:
    """Whether this user may have mounts of his own."""
    probe = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"]
    try:
        return subprocess.run(probe, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(not may_mount(), reason="this machine lets nobody mount anything in a namespace of their own")
def test_another_file_system_in_the_target_stays_and_a_full_one_is_told(engine: Engine) -> None:
    mounted = engine.folder / "tree" / "mounted"
    mounted.mkdir()
    script = 'mount -t tmpfs -o size=1m tmpfs "$0" && touch "$0/theirs" && "$@" && ls "$0"'
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, str(mounted), *PROGRAM, *onto(engine, "--delete", "--json")],
        env=engine.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.endswith("theirs\n"), done.stdout + done.stderr
    result = json.loads(done.stdout.splitlines()[0])
    assert (result["removed"], result["extra"], beyond_owners(result["problems"])) == (2, 0, [])
    assert os.listdir(mounted) == []


@pytest.mark.skipif(not may_mount(), reason="this machine lets nobody mount anything in a namespace of their own")
def test_a_full_file_system_refuses_before_anything_is_changed(engine: Engine) -> None:
    small = engine.folder / "small"
    small.mkdir()
    script = 'mount -t tmpfs -o size=16k tmpfs "$0" && touch "$0/old"; "$@"; echo "status $?"; ls -A "$0"'
    words = ["restore", f"latest:{engine.folder}/tree", "--target", str(small), "--overwrite", "--delete"]
    done = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", script, str(small), *PROGRAM, *words],
        env=engine.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "are free there" in done.stderr
    assert done.stdout == "status 2\nold\n"
