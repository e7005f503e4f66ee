"""`edurise-backup repo …`: filters, subfolders and spans of time as stock restic has them, quiet runs, odd names."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.engine import BackupOptions, backup_paths
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import command_line, environment, write_private


@dataclass(frozen=True, slots=True)
class Place:
    """A repository in a folder, with two trees to back up."""

    home: Path

    @property
    def repository(self) -> Path:
        return self.home / "repository"

    def back_up(self, tree: str, *, host: str, tags: tuple[str, ...] = ()) -> SnapshotId:
        repository = engine.opened(LocalStore(self.repository))
        options = BackupOptions(host=host, tags=tags)
        return backup_paths(repository, [str(self.home / tree)], options, progress=SilentProgress()).id

    def run(self, *words: str | Path, status: int = 0) -> str:
        done = subprocess.run(
            command_line("repo", *words),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=environment(
                extra={
                    "EDURISE_REPOSITORY": str(self.repository),
                    "EDURISE_PASSWORD_FILE": str(self.home / "password"),
                }
            ),
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    def ids(self, *words: str | Path) -> list[str]:
        return [shot["id"] for shot in json.loads(self.run("snapshots", "--json", *words))]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    write_private(tmp_path / "password", engine.PASSPHRASE)
    engine.create(LocalStore(tmp_path / "repository"))
    for name in ("a", "b"):
        (tmp_path / name / "sub" / "deep").mkdir(parents=True)
        (tmp_path / name / "top").write_text(name)
        (tmp_path / name / "sub" / "deep" / "file").write_text(f"{name} deep")
    return Place(tmp_path)


def test_filters_choose_snapshots_and_what_latest_is_of(place: Place) -> None:
    first = place.back_up("a", host="one", tags=("x", "y"))
    second = place.back_up("b", host="two", tags=("x",))
    third = place.back_up("a", host="two")
    assert place.ids() == [first, second, third]
    assert place.ids("--host", "two") == [second, third]
    assert place.ids("--path", place.home / "a") == [first, third]
    assert place.ids("--tag", "x,y") == [first]
    assert place.ids("--tag", "y", "--tag", "") == [first, third]

    def latest(*words: str | Path) -> str:
        found = json.loads(place.run("ls", "latest", "--json", *words))
        return str(found["snapshot_id"])

    assert latest() == third
    assert latest("--host", "one") == first
    assert latest("--path", place.home / "b") == second
    assert latest("--tag", "x") == second
    assert "no snapshot passes the filter" in place.run("ls", "latest", "--host", "three", status=2)
    named = json.loads(place.run("ls", first[:10], "--json", "--host", "two"))
    assert named["snapshot_id"] == first


def test_a_filtered_latest_is_restored(place: Place) -> None:
    place.back_up("a", host="one")
    place.back_up("b", host="two")
    target = place.home / "target"
    place.run("restore", "latest", "--host", "one", "--target", target)
    assert (target / str(place.home / "a").lstrip("/") / "top").read_text() == "a"


def test_a_folder_of_a_snapshot_is_listed_and_restored_alone(place: Place) -> None:
    place.back_up("a", host="one")
    sub = place.home / "a" / "sub"
    listed = place.run("ls", f"latest:{sub}").splitlines()
    assert listed == [f"{sub}/deep", f"{sub}/deep/file"]
    target = place.home / "target"
    assert "restored 1 files" in place.run("restore", f"latest:{sub}", "--target", target)
    assert [str(path.relative_to(target)) for path in sorted(target.rglob("*"))] == ["deep", "deep/file"]
    for wrong in ("/nowhere", f"{place.home}/a/top"):
        said = place.run("restore", f"latest:{wrong}", "--target", place.home / "other", status=2)
        assert f"has no directory {wrong}" in said
    assert not (place.home / "other").exists()


def test_a_span_keeps_what_is_not_older_and_forgets_the_rest(place: Place) -> None:
    made = dated(place, timedelta(0), timedelta(days=6), timedelta(days=8), timedelta(days=40))
    said = json.loads(place.run("forget", "--keep-within", "7d", "--dry-run", "--json"))
    assert set(said["forgotten"]) == {made[2], made[3]}
    said = json.loads(place.run("forget", "--keep-within", "1m", "--json"))
    assert said["forgotten"] == [made[3]]
    assert "no span of time" in place.run("forget", "--keep-within", "soon", status=2)
    assert "no policy says what to keep" in place.run("forget", "--keep-within", "0d", status=2)
    assert len(place.ids()) == 3


def test_a_policy_judges_only_what_passes_the_filter(place: Place) -> None:
    first = place.back_up("a", host="one", tags=("x",))
    second = place.back_up("a", host="one", tags=("x",))
    third = place.back_up("a", host="one")
    said = json.loads(place.run("forget", "--keep-last", "1", "--tag", "x", "--json"))
    assert said["forgotten"] == [first]
    assert place.ids() == [second, third]


def dated(place: Place, *ages: timedelta) -> list[SnapshotId]:
    """Publish a snapshot of each age."""
    repository = engine.opened(LocalStore(place.repository))
    shot = repository.load_snapshot(place.back_up("a", host="template"))
    now = datetime(2026, 3, 20, 12, tzinfo=UTC)
    made = []
    with repository.lock(settle=engine.AT_ONCE) as lock:
        for age in ages:
            time = (now - age).strftime("%Y-%m-%dT%H:%M:%SZ")
            made.append(repository.publish(Snapshot(time=time, tree=shot.tree, paths=shot.paths, hostname="one"), lock))
    for snapshot_id, found in repository.snapshots().items():
        if found.hostname == "template":
            repository.forget(snapshot_id)
    return made


def test_a_quiet_init_gives_the_recovery_key_alone(place: Place) -> None:
    said = place.run("init", "-q", "-r", place.home / "new")
    write_private(place.home / "recovery", said)
    assert len(said.split()) == 1
    assert place.run("snapshots", "-r", place.home / "new", "-p", place.home / "recovery").endswith("0 snapshots\n")


def test_a_quiet_command_says_nothing_when_all_is_well_and_names_what_is_not(place: Place) -> None:
    place.back_up("a", host="one")
    for words in (("check",), ("snapshots",), ("ls", "latest"), ("unlock",), ("key", "list")):
        assert place.run(*words, "-q") == ""
    next((place.repository / "data").glob("*/*")).unlink()
    done = subprocess.run(
        command_line("repo", "check", "-q", "-r", place.repository, "-p", place.home / "password"),
        capture_output=True,
        text=True,
        check=False,
        env=environment(),
    )
    assert done.returncode == 1
    assert "missing" in done.stdout


def test_names_that_are_not_utf8_are_listed_in_json_and_as_text(place: Place) -> None:
    odd = os.fsencode(place.home / "a") + b"/caf\xe9"
    Path(os.fsdecode(odd)).write_text("odd")
    place.back_up("a", host="one")
    listed = json.loads(place.run("ls", "latest", "--json"))
    assert f"{place.home}/a/caf\\xe9" in [node["path"] for node in listed["nodes"]]
    assert f"{place.home}/a/caf\\xe9" in place.run("ls", "latest").splitlines()
    assert f"{place.home}/a/caf\\xe9" in place.run("ls", "latest", "--long")
