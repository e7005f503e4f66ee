"""Where a secret is kept: named in the configuration, read by `operations.secrets`, and never written into it."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

import msgspec

from edurise_backup.errors import ConfigError

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class SecretPlace:
    """One of four places at most: a file, an environment variable, a command's output, a key ring."""

    key: str
    """How the configuration calls it, without the ending: `repository.password`, `prefect.auth`."""
    file: str = ""
    variable: str = ""
    command: tuple[str, ...] = ()
    """Run without a shell; the first line of what it prints is the secret."""
    keyring: str = ""
    """`SERVICE/USER`"""

    def __bool__(self) -> bool:
        """Whether any place is named."""
        return bool(self.file or self.variable or self.command or self.keyring)

    def __str__(self) -> str:
        """Return the place for a person; a command by its first word, because the others may say too much."""
        if self.file:
            return f"the file {self.file}"
        if self.variable:
            return f"the variable {self.variable}"
        if self.command:
            return f"the command {self.command[0]}"
        return f"the key ring's entry {self.keyring}" if self.keyring else "nowhere"


class PasswordSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where a password is kept: in one of four places."""

    password_file: str = ""
    password_env: str = ""
    """The name of an environment variable."""
    password_command: tuple[str, ...] = ()
    """A command with its arguments; the first line of what it prints."""
    password_keyring: str = ""
    """`SERVICE/USER` in the system's key ring."""

    def password(self, owner: str) -> SecretPlace:
        """Return the place; `owner` is the table's name, for messages."""
        return SecretPlace(
            f"{owner}.password", self.password_file, self.password_env, self.password_command, self.password_keyring
        )


class AuthSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where the credential of Prefect's API is kept, in the same four ways."""

    auth_file: str = ""
    auth_env: str = ""
    auth_command: tuple[str, ...] = ()
    auth_keyring: str = ""

    @property
    def auth(self) -> SecretPlace:
        """Where the credential `USER:PASSWORD` of the API is kept."""
        return SecretPlace("prefect.auth", self.auth_file, self.auth_env, self.auth_command, self.auth_keyring)


def trouble_with(place: SecretPlace) -> tuple[str, str] | None:
    """Return the ending of the key that is wrong, and what is wrong with it; None when nothing is."""
    named = {"file": place.file, "env": place.variable, "command": place.command, "keyring": place.keyring}
    given = [ending for ending, value in named.items() if value]
    if len(given) > 1:
        name = place.key.rpartition(".")[2]
        return given[1], f"only one may be given of {', '.join(f'{name}_{ending}' for ending in given)}"
    if place.variable and not _VARIABLE.fullmatch(place.variable):
        return "env", "this is not the name of an environment variable"
    if place.command and not place.command[0]:
        return "command", "the command has no name"
    if place.keyring and not all(place.keyring.rpartition("/")[::2]):
        return "keyring", "write it as SERVICE/USER"
    return None


def split_command(text: str, name: str) -> tuple[str, ...]:
    """Return a command's words as a shell would split them, nothing more; `name` says whose they are."""
    try:
        return tuple(shlex.split(text))
    except ValueError:  # its text may hold more than a person wants to see
        raise ConfigError(
            f"{name} has a quotation mark that is not closed", safe="nothing was done", hint="close it"
        ) from None
