"""`edurise-backup repo forget | forgotten | prune` as a person and as a script run them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import InputError
from edurise_backup.operations.pruning import parse_duration, parse_share, parse_size, parse_unused
from edurise_backup.repository.fates import UnusedLimit
from edurise_backup.stores.local import LocalStore
from tests.support.catalog import command_line, environment, write_private
from tests.support.engine import PASSPHRASE, TINY, back_up, check, create, opened, restored_differences
from tests.support.trees import small_tree, write


class Place:
    """A repository with two snapshots of one tree, the first of which holds more."""

    def __init__(self, home: Path) -> None:
        self.home = home
        write_private(home / "password", PASSPHRASE)
        create(self.store)
        self.tree = small_tree(home / "tree")
        write(self.tree / "large", os.urandom(30_000))
        self.first = back_up(opened(self.store), self.tree, settings=TINY)
        (self.tree / "large").unlink()
        self.second = back_up(opened(self.store), self.tree, settings=TINY)

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.home / "repository")

    @property
    def environment(self) -> dict[str, str]:
        place, password = str(self.home / "repository"), str(self.home / "password")
        return environment(extra={"EDURISE_REPOSITORY": place, "EDURISE_PASSWORD_FILE": password})

    def run(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            command_line("repo", *words),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self.environment,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout if status == 0 else done.stderr

    def json(self, *words: str) -> dict[str, object]:
        found = json.loads(self.run(*words, "--json"))
        assert isinstance(found, dict)
        return found

    def bytes_stored(self) -> int:
        return sum(size for _, size in self.store.list("data"))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give a repository with something to forget."""
    return Place(tmp_path)


def test_forget_prune_shows_what_waits_and_undo_brings_it_back(place: Place) -> None:
    before = place.bytes_stored()
    said = place.run("forget", "--keep-last", "1", "--prune")
    assert "1 snapshots forgotten; `forget --undo ID` brings them back until" in said
    assert "deleted 0 packs" in said
    assert place.bytes_stored() == before
    (waiting,) = json.loads(place.run("forgotten", "--json"))
    assert waiting["id"] == place.first.id
    assert 6.9 * 86400 < waiting["seconds_left"] <= 7 * 86400
    assert place.first.id[:8] in place.run("forgotten")
    assert json.loads(place.run("forget", "--undo", place.first.id[:9], "--json")) == {"brought_back": [place.first.id]}
    assert json.loads(place.run("forgotten", "--json")) == []
    write(place.tree / "large", b"")
    repository = opened(place.store)
    assert check(repository).findings == []
    (place.tree / "large").unlink()
    found = restored_differences(repository, place.first.snapshot, place.tree, place.home / "out")
    assert found == ["b'large' is only on one side"]


def test_with_no_grace_the_space_is_free_at_once(place: Place) -> None:
    before = place.bytes_stored()
    said = place.json("forget", "--keep-last", "1", "--prune", "--grace", "0", "--max-removed", "100%")
    assert said["forgotten"] == [place.first.id]
    assert said["until"] is None
    pruned = said["prune"]
    assert isinstance(pruned, dict)
    assert pruned["waiting_packs"] == 0
    assert said["freed_bytes"] == pruned["freed_bytes"]
    assert before - place.bytes_stored() > 29_000
    assert json.loads(place.run("forgotten", "--json")) == []
    assert "0 forgotten snapshots" in place.run("forgotten")


def test_a_prune_is_shown_first_and_then_done(place: Place) -> None:
    place.run("forget", place.first.id, "--grace", "0")
    before = place.bytes_stored()
    shown = place.json("prune", "--dry-run", "--grace", "12h")
    assert isinstance(shown["waiting_bytes"], int)
    assert shown["waiting_bytes"] > 29_000
    assert (shown["delete_packs"], shown["refusal"]) == (0, shown["refusal"])
    assert "nothing was changed" in place.run("prune", "--dry-run")
    assert place.bytes_stored() == before
    said = place.json("prune", "--grace", "12h", "--max-removed", "100%")
    assert said["waiting_packs"] == shown["waiting_packs"]
    until = datetime.fromisoformat(str(said["waiting_until"]))
    assert abs(until - datetime.now(UTC) - timedelta(hours=12)) < timedelta(minutes=2)
    assert "packs wait" in place.run("prune", "--dry-run")
    done = place.json("prune", "--grace", "0")
    assert done["deleted_packs"] == said["waiting_packs"]
    assert before - place.bytes_stored() > 29_000
    assert check(opened(place.store)).findings == []


def test_a_prune_that_would_remove_too_much_says_how_it_is_meant(place: Place) -> None:
    place.run("forget", place.first.id, "--grace", "0")
    said = place.run("prune", "--grace", "0", "--max-removed", "10%", status=2)
    assert "of the indexed bytes would go" in said
    assert "--max-removed 100%" in said
    assert "this would be refused" in place.run("prune", "--dry-run", "--max-removed", "10%")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["forget", "--undo"], "no snapshot is named"),
        (["forget", "--undo", "latest"], "0 forgotten snapshots begin with 'latest'"),
        (["forget", "--undo", "ab", "--prune"], "--undo only takes ids"),
        (["forget", "--keep-last", "1", "--grace", "soon"], "'soon' is no time"),
        (["forget", "--keep-last", "1", "--grace", "-1d"], "'-1d' is no time"),
        (["forget", "--keep-last", "1", "--prune", "--max-unused", "lots"], "'lots' is no size"),
        (["prune", "--grace", "99999999w"], "more than a hundred years"),
        (["prune", "--max-unused", "101%"], "'101%' is no share"),
        (["prune", "--max-repack-size", "1X"], "'1X' is no size"),
        (["prune", "--max-removed", "50"], "'50' is no share"),
        (["prune", "--wait", "1y"], "'1y' is no time"),
    ],
)
def test_bad_input_is_told_and_changes_nothing(place: Place, words: list[str], said: str) -> None:
    before = sorted(place.store.list(""))
    assert said in place.run(*words, status=2)
    assert sorted(place.store.list("")) == before


def test_a_prune_waits_for_a_backup_when_told_to_and_a_cancel_ends_the_waiting(place: Place) -> None:
    place.run("forget", place.first.id, "--grace", "0")
    lock = opened(place.store).lock()
    said = place.run("prune", "--grace", "0", "--max-removed", "100%", status=2)
    assert "is locked" in said
    words = command_line("repo", "prune", "--grace", "0", "--max-removed", "100%", "--wait", "1h")
    waiting = subprocess.Popen(words, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    cancelled = subprocess.Popen(words, env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(2)
    cancelled.send_signal(signal.SIGINT)
    _, errors = cancelled.communicate(timeout=10)
    assert (cancelled.returncode, b"stopped by request" in errors) == (130, True)
    lock.release()
    out, errors = waiting.communicate(timeout=30)
    assert waiting.returncode == 0, errors
    assert b"deleted" in out
    assert check(opened(place.store)).findings == []


def test_words_for_times_sizes_and_shares() -> None:
    assert parse_duration("1w1d12h30m10s") == timedelta(days=8, hours=12, minutes=30, seconds=10)
    assert parse_duration("0") == timedelta(0)
    assert [parse_size(text) for text in ("4096", "1K", "1.5MiB", "2gb", "1 T")] == [
        4096,
        1024,
        3 << 19,
        2 << 30,
        1 << 40,
    ]
    assert parse_share("12.5%") == 0.125
    assert parse_unused("unlimited") == UnusedLimit()
    assert parse_unused("5%").bytes_beside(95) == 5
    assert parse_unused("100%").bytes_beside(95) is None
    assert parse_unused("1K").bytes_beside(95) == 1024
    for text in ("", "d", "1", "1d ", "1d-1h"):
        with pytest.raises(InputError):
            parse_duration(text)
