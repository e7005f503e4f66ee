"""What is begun while the program is loaded, on a guess, which may be wrong and must do no harm."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edurise_backup.cli.early import begin_to_load, begin_to_open, begin_to_scan
from edurise_backup.errors import WrongPassphraseError
from edurise_backup.machine import cores, crew
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.repository import derivation
from edurise_backup.repository.repository import Repository
from edurise_backup.sources import scanning
from edurise_backup.sources.files import FilesSource
from edurise_backup.stores.local import LocalStore
from edurise_backup.verification.packs import examined_by, examining_crew
from tests.support.engine import PASSPHRASE, create

KEY = MasterKey.from_bytes(bytes(range(64)))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    create(LocalStore(tmp_path / "repository"))
    (tmp_path / "password").write_text(PASSPHRASE + "\n")
    return tmp_path


def words(place: Path, *more: str) -> list[str]:
    return ["repo", "snapshots", "-r", str(place / "repository"), f"--password-file={place / 'password'}", *more]


def test_the_key_is_found_with_what_was_begun(place: Path) -> None:
    assert begin_to_open(words(place), {})
    assert Repository.open(LocalStore(place / "repository"), PASSPHRASE).key_ids()
    assert not derivation._begun, "the passphrase is not kept"


def test_the_environment_names_the_repository_too(place: Path) -> None:
    environment = {"EDURISE_REPOSITORY": f"local:{place}/repository", "EDURISE_PASSWORD_FILE": f"{place}/password"}
    assert begin_to_open(["repo", "ls", "latest"], environment)
    Repository.open(LocalStore(place / "repository"), PASSPHRASE)


def test_a_wrong_passphrase_is_told_as_ever(place: Path) -> None:
    (place / "password").write_text("another one\n")
    assert begin_to_open(words(place), {})
    with pytest.raises(WrongPassphraseError):
        Repository.open(LocalStore(place / "repository"), "another one")


def test_a_pipe_is_left_for_whoever_really_reads_it(place: Path) -> None:
    os.mkfifo(place / "pipe")
    given = ["repo", "snapshots", "-r", str(place / "repository"), "-p", str(place / "pipe")]
    assert not begin_to_open(given, {})


@pytest.mark.parametrize("way", ["option", "environment", "folder"])
def test_a_configuration_names_them_for_a_command_that_opens_them(
    place: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    configuration = place / "edurise-backup.toml"
    configuration.write_text('[repository]\nlocation = "local:repository"\npassword_file = "password"\n')
    given, environment = ["recover-to", "latest"], dict[str, str]()
    if way == "option":
        given += ["--config", str(configuration)]
    elif way == "environment":
        environment["EDURISE_CONFIG"] = str(configuration)
    else:
        monkeypatch.chdir(place)
    assert begin_to_open(given, environment)
    Repository.open(LocalStore(place / "repository"), PASSPHRASE)
    assert not derivation._begun
    assert not begin_to_open(["list", *given[1:]], environment), "which opens none"
    assert not begin_to_open([*given, "--from", "offsite"], environment)
    assert not begin_to_open(given, environment | {"EDURISE_PASSWORD_COMMAND": "pass show"})


@pytest.mark.parametrize(
    "text",
    ["", "[repository]", "repository = 3", "location", '[repository]\nlocation = 7\npassword_file = "password"'],
)
def test_an_odd_configuration_begins_nothing(place: Path, text: str) -> None:
    (place / "edurise-backup.toml").write_text(text)
    assert not begin_to_open(["backup", "full", "-c", str(place / "edurise-backup.toml")], {})


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["repo"],
        ["--version"],
        ["repo", "snapshots"],
        ["repo", "snapshots", "-r"],
        ["repo", "snapshots", "-r", "/nowhere", "-p", "/nowhere/else"],
        ["backup", "-r", "x", "-p", "y"],
    ],
)
def test_what_names_nothing_begins_nothing(given: list[str]) -> None:
    assert not begin_to_open(given, {})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"username": "x"}', b'{"username": "x", "salt": 7}', b"\xff"])
def test_a_damaged_key_file_is_left_to_the_one_who_opens(place: Path, content: bytes) -> None:
    for path in (place / "repository" / "keys").iterdir():
        path.chmod(0o600)
        path.write_bytes(content)
    assert not begin_to_open(words(place), {})


def test_a_memory_bomb_is_not_begun(place: Path) -> None:
    derivation.begin("secret", b"salt", 1 << 30, 64, 64)
    assert not derivation._begun
    assert not derivation.possible(1 << 30, 64, 64)
    assert not derivation.possible(1 << 5, 8, 1)
    assert derivation.possible(1 << 15, 8, 3)


def test_a_program_that_was_begun_is_the_one_whose_members_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 2)
    assert begin_to_load(["repo", "check", "--read-data"])
    begun = crew._begun["edurise_backup.verification.packs"]
    examining = examining_crew(KEY, members=1)
    try:
        with examining.member() as member:
            assert member._program is begun
            assert examined_by(member, "0" * 64, "/nowhere") is None
    finally:
        examining.close()
    assert not crew._begun
    assert begun.ended


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["list"],
        ["repo", "check"],
        ["repo", "check", "--read-data", "--profile"],
        ["recover-to", "latest", "--dry-run"],
        ["rescue", "--help"],
    ],
)
def test_nothing_is_loaded_for_who_may_not_need_it(given: list[str]) -> None:
    assert not begin_to_load(given)
    assert not crew._begun


def test_nothing_is_loaded_beside_on_a_single_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "cores", lambda: 1)
    assert not begin_to_load(["recover-to", "latest", "--target", "there"])


def test_a_walk_that_was_begun_is_the_one_that_the_backup_takes(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    before = datetime.now(UTC)
    assert begin_to_scan(["repo", "backup", "-r", "elsewhere", "-q", "--tag=x", str(tmp_path)])
    begun = scanning._begun[-1]
    source = FilesSource([str(tmp_path)])
    since = source.scan_ahead()
    assert not scanning._begun
    assert before <= since == begun.since <= datetime.now(UTC), "what it saw may be older than the source"
    assert source._scanner is not None
    assert source._scanner._member is begun.member
    assert source._scanner.take(str(tmp_path)) == scanning.list_folder(str(tmp_path))


def test_a_walk_that_was_begun_for_something_else_is_ended_and_not_taken(tmp_path: Path) -> None:
    scanning.begin([str(tmp_path)])
    begun = scanning._begun[-1]
    source = FilesSource([str(tmp_path)], exclude=["*.tmp"])
    source.scan_ahead()
    assert not scanning._begun
    assert begun.member._program.ended
    assert source._scanner is not None
    assert source._scanner._member is not begun.member


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["{place}/nowhere"],
        ["{place}/file"],
        ["{place}/link"],
        ["{place}", "{place}/below"],
        ["{place}", "--exclude", "x"],
        ["{place}", "--exclude=x"],
        ["{place}", "--one-file-system"],
        ["{place}", "--profile"],
        ["{place}", "--help"],
    ],
)
def test_no_walk_is_begun_where_the_words_say_more_than_directories(tmp_path: Path, more: list[str]) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "below").mkdir()
    (tmp_path / "link").symlink_to(tmp_path)
    assert not begin_to_scan(["repo", "backup", *(word.format(place=tmp_path) for word in more)])
    assert not begin_to_scan(["backup", str(tmp_path)])
    assert not scanning._begun
