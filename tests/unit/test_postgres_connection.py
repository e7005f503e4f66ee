"""Addresses of databases, and what must not leak from them."""

from __future__ import annotations

import os
import pickle
import stat
from pathlib import Path

import pytest

from edurise_backup.errors import ConfigError
from edurise_backup.model.database import Secret
from edurise_backup.postgres.connection import Address, client_environment, parse_address


def test_a_url_becomes_an_address() -> None:
    address = parse_address("postgresql://ana:p%40ss@localhost:5433/school")
    assert (address.host, address.port, address.user, address.database) == ("localhost", 5433, "ana", "school")
    assert address.password == Secret("p@ss")
    assert address.sslmode == "prefer"


def test_a_socket_folder_is_a_host() -> None:
    address = parse_address("postgresql://ana@%2Frun%2Fpg/school")
    assert address.host == "/run/pg"
    assert address.on_this_host
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_loopback_is_on_this_host(host: str) -> None:
    assert parse_address(f"postgresql://ana@{host}/x").on_this_host


def test_off_host_the_servers_name_must_be_proved() -> None:
    assert parse_address("postgresql://ana@db.example/x").sslmode == "verify-full"


@pytest.mark.parametrize("mode", ["disable", "allow", "prefer", "require", "verify-ca"])
def test_off_host_less_than_that_is_refused_unless_allowed(mode: str) -> None:
    url = f"postgresql://ana@db.example/x?sslmode={mode}"
    with pytest.raises(ConfigError, match="without proof"):
        parse_address(url)
    assert parse_address(url, allow_plaintext=True).sslmode == mode


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ana:canary@h:port/x",
        "postgresql://ana:canary@[h/x",
        "nonsense canary",
        "postgresql://ana:canary@localhost/x?options=-c",
        "postgresql://ana:canary@one,two/x",
        "postgresql://ana:canary@localhost:0/x",
        "postgresql://ana:canary@localhost/x?sslmode=odd",
        "postgresql://ana:canary%0A@localhost/x",
    ],
)
def test_what_is_no_address_is_refused_without_showing_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address(url)
    error: BaseException | None = caught.value
    while error is not None:
        assert "canary" not in f"{error!r}"
        error = error.__cause__


def test_a_password_that_is_kept_elsewhere_is_taken_as_it_is() -> None:
    assert parse_address("postgresql://ana@localhost/x", password=Secret("s3cret ")).password == Secret("s3cret ")


def test_a_password_in_two_places_is_refused() -> None:
    with pytest.raises(ConfigError, match="although"):
        parse_address("postgresql://ana:p@localhost/x", password=Secret("q"))


@pytest.mark.parametrize("text", ["", "two\nlines", "nul\0"])
def test_a_password_that_no_server_takes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is empty, or holds"):
        parse_address("postgresql://ana@localhost/x", password=Secret(text))


def test_a_secret_shows_itself_only_when_asked() -> None:
    secret = Secret("canary")
    address = Address("localhost", password=secret)
    shown = f"{secret} {secret!r} {address} {address!r} {[secret]}"
    assert "canary" not in shown
    assert secret.reveal() == "canary"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_the_environment_of_a_client_holds_a_private_file_that_ends_with_it() -> None:
    address = Address("localhost", user="ana", password=Secret("a:b\\c"))
    with client_environment(address) as environment:
        assert "a:b" not in " ".join(environment.values())
        assert "PGPASSWORD" not in environment
        file = environment["PGPASSFILE"]
        assert Path(file).read_text() == "*:*:*:*:a\\:b\\\\c\n"
        state = os.stat(file)
        assert stat.S_ISREG(state.st_mode)
        assert stat.S_IMODE(state.st_mode) == 0o600
    assert not Path(file).exists() or "a\\:b" not in Path(file).read_text(errors="replace")
