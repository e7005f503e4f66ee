"""The one door to secrets: read them from where they are kept, and say what is wrong without saying what they are.

What is read here is replaced from then on in errors, rows and logs (`monitoring.redaction`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from edurise_backup.errors import ConfigError
from edurise_backup.machine.environment import without_secrets
from edurise_backup.model.database import Secret
from edurise_backup.model.secrets import SecretPlace
from edurise_backup.model.words import span
from edurise_backup.monitoring.redaction import REDACTOR

if TYPE_CHECKING:
    from edurise_backup.config import Settings

COMMAND_PATIENCE = timedelta(seconds=60)
"""A command that asks a vault may wait for it so long."""
PREFECT_AUTH = "PREFECT_API_AUTH_STRING"
"""The variable by which Prefect's own clients get the credential of its API."""
_LONGEST = 64 * 1024
"""Bytes of a secret at most: whoever names a disk image by mistake is told so."""
_CREDENTIAL_FILE = "prefect.auth"


def read_secret(
    place: SecretPlace, environment: Mapping[str, str] | None = None, *, spaces_count: bool = False
) -> Secret:
    """Return the secret; raises ConfigError, which names the key and the place, for one that is not there.

    White space around it is taken off, as stock restic does, unless `spaces_count`:
    then only line breaks at its end are, as libpq does.
    """
    given = os.environ if environment is None else environment
    if place.file:
        text = read_secret_file(Path(place.file), place.key, spaces_count=spaces_count)
    elif place.variable:
        text = _from_variable(place, given)
    elif place.command:
        text = _from_command(place, given)
    elif place.keyring:
        text = _from_keyring(place)
    else:
        raise ConfigError(
            f"{place.key} is not configured",
            safe="nothing was done",
            hint=f"set {place.key}_file, _env, _command or _keyring (docs/operations/keys-and-secrets.md)",
        )
    text = text.rstrip("\r\n") if spaces_count else text.strip()
    if not text:
        raise _wrong(place, "it is empty", "put the secret there")
    return known(text)


def known(text: str) -> Secret:
    """Return a secret that this process knows, and will not say."""
    REDACTOR.learn(text)
    return Secret(text)


def read_secret_file(path: Path, key: str, *, spaces_count: bool = False) -> str:
    """Return what a file holds, without the white space around it (or only the last line break); raises ConfigError."""
    try:
        with path.open("rb") as file:
            content = file.read(_LONGEST + 1)
    except OSError as error:
        raise ConfigError(
            f"{key}: the password file {path} cannot be read: {error.strerror}",
            safe="nothing was done",
            hint="check the path, and that this user may read it",
        ) from error
    if len(content) > _LONGEST:
        raise ConfigError(
            f"{key}: the password file {path} is longer than a secret", hint="name a file with the secret alone"
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:  # its text would hold a part of the secret
        raise ConfigError(
            f"{key}: the password file {path} is not UTF-8 text", hint="write the secret into it as text"
        ) from None
    if not text.strip():
        raise ConfigError(f"{key}: the password file {path} is empty", hint="put the secret into it")
    return text.rstrip("\r\n") if spaces_count else text.strip()


def _from_variable(place: SecretPlace, environment: Mapping[str, str]) -> str:
    text = environment.get(place.variable)
    if text is None:
        raise _wrong(place, "it is not set", "set it for this process, or name another place")
    return text


def _from_command(place: SecretPlace, environment: Mapping[str, str]) -> str:
    """Return the first line of a command's output; what it says beside may hold the secret, and is shown to nobody."""
    import subprocess  # most secrets are in files, and a command line starts quickly

    try:
        done = subprocess.run(
            place.command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=without_secrets(environment, names=[PREFECT_AUTH], values=REDACTOR.known),
            timeout=COMMAND_PATIENCE.total_seconds(),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _wrong(place, f"it did not end within {span(COMMAND_PATIENCE)}", "run it by hand as this user") from None
    except OSError as error:
        raise _wrong(place, f"it did not run: {error.strerror}", "check its name and path") from None
    if done.returncode:
        lines = len(done.stderr.splitlines())
        told = f"it ended with status {done.returncode} ({lines} lines of its error output are not shown)"
        raise _wrong(place, told, "run it by hand as this user")
    try:
        lines_out = done.stdout[:_LONGEST].decode("utf-8").splitlines()
    except UnicodeDecodeError:
        raise _wrong(place, "what it printed is not UTF-8 text", "have it print the secret as text") from None
    return lines_out[0] if lines_out else ""


def _from_keyring(place: SecretPlace) -> str:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        raise _wrong(
            place, "the package keyring is not installed", "install edurise-backup[keyring], or name another place"
        ) from None
    service, _, user = place.keyring.rpartition("/")
    try:
        text = keyring.get_password(service, user)
    except (KeyringError, RuntimeError) as error:
        raise _wrong(
            place, f"the key ring does not open ({type(error).__name__})", "unlock it for this user, or name a file"
        ) from None
    if text is None:
        raise _wrong(place, "the key ring has no such entry", f"`keyring set {service} {user}` makes it")
    return text


def _wrong(place: SecretPlace, what: str, hint: str) -> ConfigError:
    return ConfigError(f"{place.key}: {place}: {what}", safe="nothing was done", hint=hint)


def prefect_credential(settings: Settings, environment: Mapping[str, str] | None = None) -> Secret | None:
    """Return what the Prefect server's API asks for, `USER:PASSWORD`; None when nobody has named or made one.

    The environment's comes first, then the configuration's, then the one that
    `make up` made for its own server. Raises ConfigError.
    """
    given = (os.environ if environment is None else environment).get(PREFECT_AUTH)
    if given:
        return known(given)
    if settings.prefect_auth:
        return read_secret(settings.prefect_auth, environment)
    path = credential_path(settings.data_directory)
    return known(read_secret_file(path, "prefect.auth")) if path.exists() else None


def authorization(credential: Secret) -> str:
    """Return the HTTP header `Authorization` by which a client of Prefect's API proves itself."""
    from base64 import b64encode

    text = f"Basic {b64encode(credential.reveal().encode()).decode()}"
    REDACTOR.learn(text)
    return text


def make_prefect_credential(settings: Settings) -> Secret:
    """Return the credential for a server of our own: the configured one, or one that is made once and kept."""
    if settings.prefect_auth:
        return read_secret(settings.prefect_auth)
    return known(kept_secret(credential_path(settings.data_directory), prefix="edurise:"))


def credential_path(data_directory: Path) -> Path:
    """Return the file that keeps the credential of our own server."""
    return data_directory / _CREDENTIAL_FILE


def kept_secret(path: Path, *, prefix: str = "") -> str:
    """Return the random secret that the file keeps, which is made, for its owner only, when there is none.

    Whoever comes second reads what the first has written: the file appears whole.
    """
    if not path.exists():
        try:
            _keep(path, prefix)
        except OSError as error:
            raise ConfigError(
                f"{path} cannot be written: {error.strerror}",
                safe="nothing was done",
                hint="set data_directory to a folder that this user may write",
            ) from error
    return read_secret_file(path, path.name)


def _keep(path: Path, prefix: str) -> None:
    import secrets

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{prefix}{secrets.token_urlsafe(24)}\n")
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(unfinished)  # unlike rename, link never replaces
    finally:
        unfinished.unlink()


def child_environment(settings: Settings, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program that is not ours, such as a hook: without anything that opens something."""
    given = os.environ if environment is None else environment
    names = [place.variable for place in settings.secrets if place.variable]
    return without_secrets(given, names=names, values=REDACTOR.known)
