"""Secrets: read from a file, a variable, a command or a key ring through one door, which says what is wrong only."""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
from pathlib import Path

import keyring
import pytest
from keyring.backend import KeyringBackend
from typer.models import CommandInfo, TyperInfo

from edurise_backup.cli.main import application
from edurise_backup.config import load_settings
from edurise_backup.errors import ConfigError
from edurise_backup.machine.environment import without_secrets
from edurise_backup.model.database import Secret
from edurise_backup.model.secrets import SecretPlace
from edurise_backup.monitoring.redaction import REDACTOR
from edurise_backup.operations.secrets import (
    child_environment,
    credential_path,
    kept_secret,
    make_prefect_credential,
    prefect_credential,
    read_secret,
)
from tests.support.documents import blocks, page

CANARY = "canary-3f9a'7b\\c"


def printing(text: str, *, status: int = 0) -> tuple[str, ...]:
    """Return a command that prints the text on both its outputs."""
    return (
        sys.executable,
        "-c",
        f"import sys; print({text!r}); print({text!r}, file=sys.stderr); sys.exit({status})",
    )


class KeyRing(KeyringBackend):
    """A key ring in memory."""

    priority = 1  # type: ignore[assignment]  # the base class computes it

    def __init__(self) -> None:
        super().__init__()
        self.kept: dict[tuple[str, str], str] = {}

    def get_password(self, service: str, username: str) -> str | None:
        return self.kept.get((service, username))

    def set_password(self, service: str, username: str, password: str) -> None:
        self.kept[service, username] = password


@pytest.fixture
def key_ring() -> KeyRing:
    before, ring = keyring.get_keyring(), KeyRing()
    keyring.set_keyring(ring)
    yield ring
    keyring.set_keyring(before)


def test_a_secret_is_read_from_each_place(tmp_path: Path, key_ring: KeyRing) -> None:
    (tmp_path / "file").write_text(f" {CANARY}\n")
    key_ring.kept["edurise", "backup"] = CANARY
    places = [
        SecretPlace("k", file=str(tmp_path / "file")),
        SecretPlace("k", variable="MY_SECRET"),
        SecretPlace("k", command=printing(f"{CANARY}\nsecond line")),
        SecretPlace("k", keyring="edurise/backup"),
    ]
    assert [read_secret(place, {"MY_SECRET": CANARY}) for place in places] == [Secret(CANARY)] * 4
    assert CANARY in REDACTOR.known


def test_white_space_around_a_database_s_password_belongs_to_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("s3cret \r\n")
    place = SecretPlace("k", file=str(tmp_path / "file"))
    assert read_secret(place, spaces_count=True) == Secret("s3cret ")
    assert read_secret(place) == Secret("s3cret")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        (SecretPlace("repository.password"), "is not configured"),
        (SecretPlace("repository.password", file="/no/such/file"), "No such file"),
        (SecretPlace("repository.password", variable="NOT_SET"), "it is not set"),
        (SecretPlace("repository.password", variable="EMPTY"), "it is empty"),
        (SecretPlace("repository.password", command=("/no/such/command",)), "it did not run"),
        (SecretPlace("repository.password", command=("true",)), "it is empty"),
        (SecretPlace("repository.password", command=printing(CANARY, status=3)), "ended with status 3 (1 lines"),
        (SecretPlace("repository.password", keyring="edurise/nobody"), "no such entry"),
    ],
)
def test_what_is_not_there_is_told_by_its_key_and_place_alone(place: SecretPlace, told: str, key_ring: KeyRing) -> None:
    with pytest.raises(ConfigError) as caught:
        read_secret(place, {"EMPTY": " \n", "PATH": os.environ["PATH"]})
    assert told in caught.value.message
    assert "repository.password" in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_status == 2
    error: BaseException | None = caught.value
    while error is not None:
        assert CANARY not in repr(error)
        error = error.__cause__


def test_bytes_that_are_no_text_are_not_shown(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"canary\xff\xfe")
    for place in (
        SecretPlace("k", file=str(tmp_path / "file")),
        SecretPlace("k", command=("cat", str(tmp_path / "file"))),
    ):
        with pytest.raises(ConfigError, match="not UTF-8") as caught:
            read_secret(place)
        assert caught.value.__cause__ is None
    (tmp_path / "image").write_bytes(b"x" * 70_000)
    with pytest.raises(ConfigError, match="longer than a secret"):
        read_secret(SecretPlace("k", file=str(tmp_path / "image")))


def test_a_command_does_not_see_what_opens_other_things() -> None:
    script = "import os; print('|'.join(sorted(os.environ)))"
    given = {"PATH": os.environ["PATH"], "PREFECT_API_AUTH_STRING": "a:b", "EDURISE_PASSWORD_FILE": "x", "HOME": "/h"}
    seen = read_secret(SecretPlace("k", command=(sys.executable, "-c", script)), given).reveal().split("|")
    assert {"PATH", "HOME"} <= set(seen)
    assert not {"PREFECT_API_AUTH_STRING", "EDURISE_PASSWORD_FILE"} & set(seen)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('[repository]\npassword_file = "a"\npassword_env = "B"\n', "repository.password_env", 3),
        ('[repository]\npassword_env = "no name"\n', "repository.password_env", 2),
        ('[catalog]\nurl = "u"\npassword_command = [""]\n', "catalog.password_command", 3),
        ('[prefect]\nauth_keyring = "service"\n', "prefect.auth_keyring", 2),
        (
            '[[database]]\nname = "d"\nurl = "u"\npassword_keyring = "a/b"\npassword_command = ["c"]\n',
            "database[0].password_keyring",
            4,
        ),
    ],
)
def test_a_secret_in_two_places_or_in_none_that_can_be_is_a_mistake_in_a_line(
    tmp_path: Path, text: str, key: str, line: int
) -> None:
    (tmp_path / "settings.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"line {line}") as caught:
        load_settings(tmp_path / "settings.toml", {})
    assert key in caught.value.message


def test_the_environment_s_place_of_the_passphrase_takes_the_file_s_place(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[repository]\npassword_keyring = "a/b"\n')
    place = load_settings(path, {"EDURISE_PASSWORD_COMMAND": "vault read 'the key'"}).repository.password("repository")
    assert place == SecretPlace("repository.password", command=("vault", "read", "the key"))
    with pytest.raises(ConfigError, match="both set"):
        load_settings(path, {"EDURISE_PASSWORD_COMMAND": "x", "EDURISE_PASSWORD_FILE": "y"})
    with pytest.raises(ConfigError, match="quotation mark"):
        load_settings(path, {"EDURISE_PASSWORD_COMMAND": "vault 'read"})


def test_a_program_named_by_a_path_is_found_from_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[repository]\npassword_command = ["./ask", "./key"]\n[catalog]\npassword_command = ["ask"]\n')
    settings = load_settings(path, {})
    assert settings.repository.password_command == (str(tmp_path / "ask"), "./key")
    assert settings.catalog.password_command == ("ask",)


def test_a_kept_secret_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "data" / "kept"
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(kept_secret(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert len(found[0]) >= 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["kept"]


def test_the_credential_of_prefect_comes_from_variable_then_file_then_make_up(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('data_directory = "data"\n')
    settings = load_settings(path, {})
    assert prefect_credential(settings, {}) is None
    made = make_prefect_credential(settings)
    assert made.reveal().startswith("edurise:")
    assert prefect_credential(settings, {}) == made
    assert credential_path(settings.data_directory).stat().st_mode & 0o077 == 0
    path.write_text('data_directory = "data"\n[prefect]\nauth_env = "ITS_AUTH"\n')
    settings = load_settings(path, {})
    assert prefect_credential(settings, {"ITS_AUTH": "a:b"}) == Secret("a:b")
    assert prefect_credential(settings, {"PREFECT_API_AUTH_STRING": "c:d", "ITS_AUTH": "a:b"}) == Secret("c:d")


def test_the_page_s_example_is_a_configuration_and_its_commands_exist(tmp_path: Path) -> None:
    text = page("docs/operations/keys-and-secrets.md")
    (example,) = blocks(text, "toml")
    (tmp_path / "settings.toml").write_text(example)
    settings = load_settings(tmp_path / "settings.toml", {})
    assert {place.key for place in settings.secrets} == {
        "repository.password",
        "catalog.password",
        "prefect.auth",
        "database platform.password",
    }
    groups = [group for group in application([]).registered_groups if group.name == "key"]
    known = {command.name for group in groups for command in commands_of(group)}
    told = set(re.findall(r"edurise-backup key ([a-z-]+)", text))
    assert told == known


def commands_of(group: TyperInfo) -> list[CommandInfo]:
    assert group.typer_instance
    return group.typer_instance.registered_commands


def test_a_foreign_program_sees_nothing_that_opens_anything(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text('[repository]\npassword_env = "WHATEVER"\n')
    (tmp_path / "file").write_text("a value that was read")
    read_secret(SecretPlace("k", file=str(tmp_path / "file")))
    given = {
        "PATH": "/bin",
        "LANG": "C",
        "EDURISE_CONFIG": str(path),
        "WHATEVER": "the passphrase",
        "PREFECT_API_AUTH_STRING": "a:b",
        "PREFECT_API_URL": "http://x/api",
        "EDURISE_PASSWORD_COMMAND": "x",
        "PGPASSWORD": "x",
        "RESTIC_PASSWORD_FILE": "x",
        "APP_SECRET": "x",
        "ELSEWHERE": "user:a value that was read",
    }
    assert set(child_environment(load_settings(path, {}), given)) == {"PATH", "LANG", "EDURISE_CONFIG"}
    assert without_secrets({"A": "1"}) == {"A": "1"}
