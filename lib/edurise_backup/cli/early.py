"""Begin what takes long while the rest of the program is loaded: the repository's key, listings, other processes.

A guess from the words of the command line and the environment: where it is
wrong, or anything is odd, nothing is begun, and whoever needs it does all of it
himself and says what is wrong.
"""

from __future__ import annotations

import json
import os
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from edurise_backup.repository import derivation

_OPENING = {"backup", "check", "prune", "recover", "recover-to", "rescue", "verify"}
"""Commands of the product that open the configured repository."""
_CREWS = {
    ("recover-to",): "edurise_backup.recovery.writing",
    ("rescue",): "edurise_backup.recovery.writing",
    ("repo", "check", "--read-data"): "edurise_backup.verification.packs",
}
"""What the processes run (`machine/crew`) that a command will start, by its first words and options."""
_IDLE = {"--help", "--dry-run", "-n", "--profile"}
"""With one of these a command does nothing, or must know its processes from their beginning."""
_CONFIGURATION = "edurise-backup.toml"
_ALONE = {"-q", "--quiet", "--json", "--force", "--no-check"}
_WITH_VALUE = {
    *("-r", "--repository", "-p", "--password-file", "--tag", "--host", "--compression"),
    *("--limit-upload", "--limit-download"),
}
"""Options of a backup that change nothing about which directories are listed."""


def begin_to_open(words: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Begin, and say so, when the words open a repository of this machine whose passphrase lies in a file."""
    if "--help" in words or environment.get("EDURISE_PASSWORD_COMMAND") or _option(words, "", "--password-command"):
        return False
    if _option(words, "", "--from"):
        return False  # a copy is wanted: where the primary was, a look may take for ever
    try:
        location, password_file = _named(words, environment)
        if not location or not password_file or not Path(password_file).is_file():
            return False  # a pipe can be read once, and not by a guess
        passphrase = Path(password_file).read_text(encoding="utf-8-sig").strip()
        for path in Path(location.removeprefix("local:"), "keys").iterdir():
            key = json.loads(path.read_bytes())
            if key["username"] != derivation.RECOVERY_USER:
                derivation.begin(passphrase, a2b_base64(key["salt"]), key["N"], key["r"], key["p"])
                return True
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError):
        pass
    return False


def _named(words: Sequence[str], environment: Mapping[str, str]) -> tuple[str, str]:
    """Return where the repository and its passphrase are, as the words, the environment or the configuration say."""
    location, password_file = environment.get("EDURISE_REPOSITORY", ""), environment.get("EDURISE_PASSWORD_FILE", "")
    if len(words) > 1 and words[0] == "repo" and words[1] != "init":
        return (
            _option(words, "-r", "--repository") or location,
            _option(words, "-p", "--password-file") or password_file,
        )
    if not words or words[0] not in _OPENING:
        return "", ""
    import tomllib  # the engine's commands do not wait for it

    configuration = Path(_option(words, "-c", "--config") or environment.get("EDURISE_CONFIG", "") or _CONFIGURATION)
    given = tomllib.loads(configuration.read_text("utf-8")).get("repository", {})
    base = configuration.absolute().parent
    return (
        location or str(base / Path(given["location"].removeprefix("local:")).expanduser()),
        password_file or str(base / Path(given["password_file"]).expanduser()),
    )


def begin_to_scan(words: Sequence[str]) -> bool:
    """Begin, and say so, when the words are those of a backup of directories with nothing left out."""
    folders = _folders(words[2:]) if words[:2] == ["repo", "backup"] else None
    if not folders:
        return False
    from edurise_backup.sources import scanning  # other commands do not wait for it

    scanning.begin(folders)
    return True


def begin_to_load(words: Sequence[str]) -> bool:
    """Begin, and say so, when the words are those of a command that will have other processes work beside it."""
    found = next((module for given, module in _CREWS.items() if _begins_with(words, given)), None)
    if found is None or _IDLE & {*words}:
        return False
    from edurise_backup.machine import cores, crew  # other commands do not wait for them

    if cores.cores() < 2:
        return False
    crew.begin(found)
    return True


def _begins_with(words: Sequence[str], given: Sequence[str]) -> bool:
    command = [word for word in given if not word.startswith("-")]
    return [*words[: len(command)]] == command and {*given} <= {*words}


def _folders(words: Sequence[str]) -> list[str] | None:
    """Return the directories that the words of a backup name; None where there is anything else to it."""
    found, following = [], iter(words)
    for word in following:
        if word in _WITH_VALUE:
            next(following, None)
        elif not word.startswith("-"):
            found.append(os.path.abspath(word))  # noqa: PTH100  as the source does it
        elif word not in _ALONE and word.partition("=")[0] not in _WITH_VALUE:
            return None
    plain = all(Path(path).is_dir() and not Path(path).is_symlink() for path in found)
    nested = any(os.path.commonpath([one, other]) == one for one in found for other in found if one is not other)
    return sorted(found) if plain and not nested else None


def _option(words: Sequence[str], short: str, long: str) -> str:
    for word, following in zip(words, [*words[1:], ""], strict=False):
        if word in (short, long):
            return following
        if word.startswith(f"{long}="):
            return word.removeprefix(f"{long}=")
    return ""
