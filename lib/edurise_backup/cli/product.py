"""The commands of the configured product: jobs, schedules, retention, people, alarms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module

import typer

_COMMANDS = {
    "jobs": ("backup", "list", "show", "verify", "stats", "rebuild-catalog"),
    "recovering": ("recover",),
    "moments": ("window", "explain-time"),
    "recovering_to": ("recover-to",),
    "rescuing": ("rescue",),
    "sharding": ("shards",),
    "maintenance": ("prune", "check", "forget"),
    "retention": ("retention",),
    "protections": ("pin", "hold"),
    "keys": ("key",),
    "schedule": ("schedule",),
    "alarms": ("alarm",),
    "watching": ("watch", "metrics"),
    "costs": ("costs",),
    "upkeep": ("doctor", "demo-platform"),
    "plugged": ("report",),
}
"""What each module puts on the top level, in the order in which `--help` lists it."""
_GROUPS = {
    "users": "user",
    "approvals": "approval",
    "audit": "audit",
    "copies": "copy",
    "stores": "store",
    "workers": "worker",
    "wal": "wal",
}
"""The name of the group that each of these modules is."""


def has(word: str) -> bool:
    """Whether a command or group of that name is among them."""
    return word in _GROUPS.values() or any(word in names for names in _COMMANDS.values())


def add_commands(app: typer.Typer, wanted: str = "") -> None:
    """Put them on the top level; with `wanted` only what its module has: the others are not loaded."""
    for name in wanted_modules(_COMMANDS, wanted):
        import_module(f"edurise_backup.cli.{name}").add_commands(app)
    for name, group in _GROUPS.items():
        if wanted in ("", group):
            app.add_typer(import_module(f"edurise_backup.cli.{name}").app, name=group)


def wanted_modules(commands: Mapping[str, Iterable[str]], wanted: str) -> list[str]:
    """Return the modules that have a command; all of them for none in particular."""
    return [module for module, names in commands.items() if not wanted or wanted in names]
