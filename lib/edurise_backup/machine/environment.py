"""What the programs that we start see of our environment: nothing that opens anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping

_KEPT = frozenset({"EDURISE_CONFIG", "EDURISE_REPOSITORY"})
"""A hook may ask the product something; neither of these opens anything."""
_OURS = ("EDURISE_", "PREFECT_", "RESTIC_PASSWORD")
_TELLING = ("PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "AUTH_STRING", "API_KEY")


_NEEDED = frozenset({"PATH", "HOME", "LANG", "LANGUAGE", "TMPDIR", "TZ", "USER", "LOGNAME", "VIRTUAL_ENV"})
_NEEDED_BEGINNINGS = ("PYTHON", "LC_", "LD_", "MALLOC_", "COVERAGE_")


def for_helpers(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a helper process of ours needs: how Python runs, and nothing that opens anything."""
    return {name: text for name, text in environment.items() if name in _NEEDED or name.startswith(_NEEDED_BEGINNINGS)}


def without_secrets(
    environment: Mapping[str, str], *, names: Collection[str] = (), values: Collection[str] = ()
) -> dict[str, str]:
    """Return the environment for a program that is not ours.

    Left out are our own and Prefect's variables, the variables in `names`, those
    whose name says that they hold a secret, and those whose text holds one of `values`.
    """
    return {
        name: text
        for name, text in environment.items()
        if (name in _KEPT or not name.startswith(_OURS))
        and name not in names
        and not any(word in name.upper() for word in _TELLING)
        and not any(value in text for value in values if value)
    }
