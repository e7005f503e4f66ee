"""`edurise-backup alarm list | acknowledge | test | targets`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, table
from edurise_backup.errors import BackupError, InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edurise_backup.model.alarms import AlarmRow
    from edurise_backup.operations.telling import TargetState

alarm_app = typer.Typer(
    name="alarm", no_args_is_help=True, help="What is wrong, who is told of it, and who looks after it."
)


def add_commands(app: typer.Typer) -> None:
    """Put the group on the top level."""
    command(alarm_app, Product, "list")(list_alarms)
    for function in (acknowledge, test, targets):
        command(alarm_app, Product)(function)
    app.add_typer(alarm_app, name="alarm")


def list_alarms(
    product: Product,
    everything: Annotated[bool, typer.Option("--all", "-a", help="Settled ones, too.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="Of --all: how many, the newest first.")] = 100,
    look: Annotated[bool, typer.Option("--look", help="Judge everything anew first, as the watch does.")] = False,
) -> int:
    """Show open alarms, the worst first; exit status 1 when one is critical and nobody has acknowledged it."""
    from edurise_backup.operations.alarms import look as look_now
    from edurise_backup.operations.catalogs import open_catalog

    settings = product.settings()
    with open_catalog(settings) as catalog:
        if look:
            look_now(settings, catalog, datetime.now(UTC))
        open_ones = catalog.alarms.open()
        shown = catalog.alarms.newest(limit=limit) if everything else _worst_first(open_ones)
    urgent = [row for row in _worst_first(open_ones) if row.severity.rank == 2 and row.acknowledged_at is None]
    product.output.result(shown, _alarms_text(shown), even_quiet=_alarms_text(urgent) if urgent else "")
    return 1 if urgent else 0


def acknowledge(
    product: Product,
    alarms: Annotated[list[str], typer.Argument(help="Ids from `alarm list`, or their beginnings.")],
) -> None:
    """Say that you look after alarms: nobody further is told of them, and they stay open until their reason is gone."""
    from edurise_backup.operations import alarms as operation
    from edurise_backup.operations.catalogs import open_catalog
    from edurise_backup.operations.people import local_actor

    actor = local_actor()
    with open_catalog(product.settings()) as catalog:
        rows = [operation.find_alarm(catalog, word) for word in alarms]  # all of them, before the first is changed
        for row in rows:
            operation.acknowledge(catalog, actor, row.id)
    product.output.result(
        {"acknowledged": [row.id for row in rows], "by": actor.name},
        "\n".join(
            f"{actor.name} looks after {str(row.id)[:8]} ({row.kind.value} {printable(row.subject)})" for row in rows
        ),
    )


def test(
    product: Product,
    target: Annotated[str, typer.Argument(help="A target's name; all of them without.")] = "",
) -> int:
    """Send a test message to a target, or to all; exit status 1 when one does not take it."""
    from edurise_backup.operations.catalogs import open_catalog
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.telling import find_target, try_target

    settings, actor = product.settings(), local_actor()
    names = [find_target(settings, target).name] if target else [one.name for one in settings.alarm_targets]
    if not names:
        raise InputError(
            "no alarm target is configured",
            safe="nothing was sent",
            hint="name one in [[alarm_target]] of the configuration (docs/operations/alarms.md)",
        )
    failed: dict[str, BackupError] = {}
    with open_catalog(settings) as catalog:
        for name in names:
            try:
                try_target(settings, catalog, actor, name)
            except BackupError as error:
                failed[name] = error
    if target and failed:
        raise failed[target]
    results = [{"target": name, "taken": name not in failed, "error": _problem(failed.get(name))} for name in names]
    text = "\n".join(f"{name}: {_problem(failed.get(name)) or 'took the message'}" for name in names)
    product.output.result(results, text, even_quiet=text if failed else "")
    return 1 if failed else 0


def targets(product: Product) -> int:
    """Show who is told of what, and whether their URLs can be read; exit status 1 when one cannot."""
    from edurise_backup.operations.catalogs import open_catalog
    from edurise_backup.operations.telling import targets as read_targets

    settings = product.settings()
    with open_catalog(settings) as catalog:
        found = read_targets(settings, catalog)
    problems = [f"{one.settings.name}: {one.problem}" for one in found if one.problem]
    product.output.result(found, _targets_text(found), even_quiet="\n".join(problems))
    return 1 if problems else 0


def _problem(error: BackupError | None) -> str:
    return "; to do: ".join(filter(None, (error.message, error.hint))) if error else ""


def _worst_first(rows: Sequence[AlarmRow]) -> list[AlarmRow]:
    return sorted(rows, key=lambda row: (row.acknowledged_at is not None, -row.severity.rank))


def _alarms_text(rows: Sequence[AlarmRow]) -> str:
    if not rows:
        return "no alarm is open"
    lines = []
    for row in rows:
        state = f"settled {row.settled_at:%Y-%m-%d %H:%M} UTC" if row.settled_at else "open"
        if row.acknowledged_by and not row.settled_at:
            state = f"{row.acknowledged_by} looks after it"
        head = f"{str(row.id)[:8]}  {row.severity.value.upper():8}  since {row.raised_at:%Y-%m-%d %H:%M} UTC  {state}"
        lines += [head, f"          {row.kind.value}: {printable(row.message)}"]
        lines += [f"          to do: {printable(row.remedy)}"] if row.remedy else []
    return "\n".join(lines)


def _targets_text(found: Sequence[TargetState]) -> str:
    if not found:
        return "no alarm target is configured: nobody is told of anything (docs/operations/alarms.md)"
    rows = []
    for one in found:
        told = one.settings
        last, failing = "nothing yet", ""
        if one.last is not None:
            failing = "" if one.last.sent_at else one.last.error
            state = "sent" if one.last.sent_at else "given up" if one.last.given_up_at else "waits"
            last = f"{one.last.event.value} {state} {one.last.sent_at or one.last.created_at:%Y-%m-%d %H:%M} UTC"
        rows.append(
            [
                told.name,
                ",".join(told.severities),
                ",".join(told.kinds) or "all",
                f"after {told.after_minutes} min" if told.after_minutes else "at once",
                f"{told.quiet_hours} {told.zone}" if told.quiet_hours else "-",
                last,
                one.problem or failing or "fine",
            ]
        )
    return table(["Target", "Severities", "Kinds", "When", "Quiet hours", "Last message", "State"], rows)
