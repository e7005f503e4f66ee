"""The commands of the configured product: jobs, schedules, retention, people, alarms."""

from __future__ import annotations

import typer

from edurise_backup.cli import (
    alarms,
    approvals,
    audit,
    copies,
    costs,
    jobs,
    keys,
    maintenance,
    moments,
    plugged,
    protections,
    recovering,
    recovering_to,
    rescuing,
    retention,
    schedule,
    sharding,
    stores,
    upkeep,
    users,
    wal,
    watching,
    workers,
)


def add_commands(app: typer.Typer) -> None:
    """Put them on the top level, in the order in which `--help` lists them."""
    for module in (
        jobs,
        recovering,
        moments,
        recovering_to,
        rescuing,
        sharding,
        maintenance,
        retention,
        protections,
        keys,
        schedule,
        alarms,
        watching,
        costs,
        upkeep,
        plugged,
    ):
        module.add_commands(app)
    groups = (
        (users.app, "user"),
        (approvals.app, "approval"),
        (audit.app, "audit"),
        (copies.app, "copy"),
        (stores.app, "store"),
        (workers.app, "worker"),
        (wal.app, "wal"),
    )
    for group, name in groups:
        app.add_typer(group, name=name)
