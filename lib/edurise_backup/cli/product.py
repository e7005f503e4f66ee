"""The commands of the configured product: jobs, schedules, retention, people, alarms."""

from __future__ import annotations

import typer

from edurise_backup.cli import (
    alarms,
    approvals,
    audit,
    jobs,
    keys,
    maintenance,
    plugged,
    protections,
    retention,
    schedule,
    sharding,
    upkeep,
    users,
    watching,
)


def add_commands(app: typer.Typer) -> None:
    """Put them on the top level, in the order in which `--help` lists them."""
    for module in (
        jobs,
        sharding,
        maintenance,
        retention,
        protections,
        keys,
        schedule,
        alarms,
        watching,
        upkeep,
        plugged,
    ):
        module.add_commands(app)
    for group, name in ((users.app, "user"), (approvals.app, "approval"), (audit.app, "audit")):
        app.add_typer(group, name=name)
