"""Begin to derive the repository's key while the rest of the program is loaded.

A guess from the words of the command line and the environment: where it is
wrong, or anything is odd, nothing is begun, and whoever opens the repository
does all of it himself and says what is wrong.
"""

from __future__ import annotations

import json
from binascii import a2b_base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from edurise_backup.repository import derivation


def begin_to_open(words: Sequence[str], environment: Mapping[str, str]) -> bool:
    """Begin, and say so, when the words are those of `repo` with a repository and a password file of this machine."""
    if len(words) < 2 or words[0] != "repo" or words[1] == "init" or "--help" in words:
        return False
    location = _option(words, "-r", "--repository") or environment.get("EDURISE_REPOSITORY", "")
    password_file = _option(words, "-p", "--password-file") or environment.get("EDURISE_PASSWORD_FILE", "")
    if not location or not password_file or _option(words, "", "--password-command"):
        return False
    try:
        if not Path(password_file).is_file():
            return False  # a pipe can be read once, and not by a guess
        passphrase = Path(password_file).read_text(encoding="utf-8-sig").strip()
        for path in Path(location.removeprefix("local:"), "keys").iterdir():
            key = json.loads(path.read_bytes())
            if key["username"] != derivation.RECOVERY_USER:
                derivation.begin(passphrase, a2b_base64(key["salt"]), key["N"], key["r"], key["p"])
                return True
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return False


def _option(words: Sequence[str], short: str, long: str) -> str:
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word in (short, long):
            return following
        if word.startswith(f"{long}="):
            return word.removeprefix(f"{long}=")
    return ""
