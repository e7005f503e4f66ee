"""`edurise-backup schedule …`: what is run again and again, and how that went."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable
from edurise_backup.cli.schedule_text import preview_text, schedules_text, sentence, status_text
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.model.schedules import KeepRules

app = typer.Typer(name="schedule", no_args_is_help=True, help="What is run again and again, and how that went.")

Word = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Its name, or the beginning of its id.")]
Type = Annotated[
    str | None,
    typer.Option("--type", "-t", help="full, database, files, configuration, metadata, verify, check, prune, …"),
]
Every = Annotated[
    str | None,
    typer.Option("--every", "-e", metavar="FREQUENCY", help='"every day at 02:00", "6h", "0 2 * * 1-5", …'),
]
Retention = Annotated[int | None, typer.Option(help="Days for which every backup of it is kept; 30 without it.")]
Source = Annotated[str | None, typer.Option(help="The one source to back up; without it all of the type.")]
Zone = Annotated[str | None, typer.Option(help="Time zone, such as Asia/Kolkata; UTC without it.")]
ReadAll = Annotated[
    bool | None, typer.Option("--incremental/--read-all", help="Take unchanged files over, or read every file again.")
]
Tag = Annotated[list[str] | None, typer.Option(help="Put this tag on each backup; may be repeated.")]
Option = Annotated[
    list[str] | None, typer.Option("--option", "-o", metavar="NAME=VALUE", help="Of what is run: budget=5%, wait=1h.")
]
Keep = Annotated[
    list[str] | None,
    typer.Option(metavar="RULE=N", help="Keep more than the days: daily=14, weekly=8, monthly=12; may be repeated."),
]
Jitter = Annotated[str | None, typer.Option(help="Begin up to so much later, e.g. 10m; the same for the same time.")]
Grace = Annotated[str | None, typer.Option(help="A run later than this is missed, e.g. 2h; 1h without it.")]
Blackout = Annotated[
    list[str] | None, typer.Option(metavar="SPAN", help='Start nothing then: "mon-fri 08:00-18:00"; may be repeated.')
]
CatchUp = Annotated[bool | None, typer.Option(help="Make up for the newest missed run, once.")]


def add_commands(parent: typer.Typer) -> None:
    """Put the commands below `schedule`."""
    for function, name in (
        (add, "add"),
        (list_, "list"),
        (edit, "edit"),
        (pause, "pause"),
        (resume, "resume"),
        (remove, "remove"),
        (preview, "preview"),
        (status, "status"),
    ):
        command(app, Product, name)(function)
    parent.add_typer(app, name="schedule")


def add(
    product: Product,
    name: Annotated[str, typer.Argument(help="A name of its own.")],
    type: Type = None,  # noqa: A002  the mission's word
    every: Every = None,
    retention: Retention = None,
    source: Source = None,
    zone: Zone = None,
    incremental: ReadAll = None,
    tag: Tag = None,
    option: Option = None,
    keep: Keep = None,
    jitter: Jitter = None,
    grace: Grace = None,
    blackout: Blackout = None,
    catch_up: CatchUp = None,
) -> None:
    """Run something again and again, from now on."""
    from edurise_backup.operations import schedule_backup

    if type is None or every is None:
        raise InputError(
            "a schedule needs a type and a frequency",
            safe="nothing was changed",
            hint='for instance: edurise-backup schedule add nightly --type full --every "every day at 02:00"',
        )
    given = _given(
        type, every, retention, source, zone, incremental, tag, option, keep, jitter, grace, blackout, catch_up
    )
    schedule = schedule_backup({"name": name, **given}, settings=product.settings())
    product.output.result(schedule, f"added: {sentence(schedule)}")


def edit(
    product: Product,
    schedule: Word,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    type: Type = None,  # noqa: A002  the mission's word
    every: Every = None,
    retention: Retention = None,
    source: Source = None,
    zone: Zone = None,
    incremental: ReadAll = None,
    tag: Tag = None,
    option: Option = None,
    keep: Keep = None,
    jitter: Jitter = None,
    grace: Grace = None,
    blackout: Blackout = None,
    catch_up: CatchUp = None,
) -> None:
    """Change what is named; lists are replaced as a whole, and an empty text empties one."""
    from edurise_backup.operations import edit_schedule

    given = _given(
        type, every, retention, source, zone, incremental, tag, option, keep, jitter, grace, blackout, catch_up
    )
    changed = edit_schedule(schedule, ({"name": name} if name else {}) | given, settings=product.settings())
    product.output.result(changed, f"changed: {sentence(changed)}")


def list_(product: Product) -> None:
    """List the schedules with their next and last run."""
    from edurise_backup.operations import list_schedules

    found = list_schedules(settings=product.settings())
    product.output.result(found, schedules_text(found))


def pause(
    product: Product,
    schedule: Word,
    until: Annotated[
        datetime | None,
        typer.Option(
            formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"],
            help="When it ends by itself, in UTC: 2026-12-24T06:00; without it `resume` ends it.",
        ),
    ] = None,
) -> None:
    """Let a schedule rest; a run under way goes on."""
    from edurise_backup.operations import pause_schedule

    end = until.replace(tzinfo=UTC) if until else None
    paused = pause_schedule(schedule, until=end, settings=product.settings())
    product.output.result(paused, f"paused: {sentence(paused)}")


def resume(product: Product, schedule: Word) -> None:
    """End a schedule's pause."""
    from edurise_backup.operations import resume_schedule

    resumed = resume_schedule(schedule, settings=product.settings())
    product.output.result(resumed, f"resumed: {sentence(resumed)}")


def remove(product: Product, schedule: Word) -> None:
    """Remove a schedule; its backups, and the record of its runs, stay."""
    from edurise_backup.operations import remove_schedule

    removed = remove_schedule(schedule, settings=product.settings())
    product.output.result(removed, f"removed: {printable(removed.name)}; its backups stay")


def preview(
    product: Product,
    schedule: Annotated[
        str | None, typer.Argument(metavar="SCHEDULE", help="Its name, or the beginning of its id.")
    ] = None,
    every: Every = None,
    zone: Zone = None,
    jitter: Jitter = None,
    blackout: Blackout = None,
    count: Annotated[int, typer.Option("--count", "-n", help="How many due times.")] = 10,
) -> None:
    """Show the next due times of a schedule, or of a frequency, and why some of them will not run."""
    from edurise_backup.operations import ScheduleConfig, preview_schedule

    if (schedule is None) == (every is None):
        raise InputError(
            "name a schedule, or a frequency with --every", safe="nothing was changed", hint="one of the two"
        )
    asked = schedule or ScheduleConfig(
        "preview", "metadata", every or "", zone=zone or "", jitter=jitter or "0", blackout=tuple(blackout or ())
    )
    found = preview_schedule(asked, count, settings=product.settings())
    product.output.result(found, preview_text(found))


def status(
    product: Product,
    schedule: Annotated[str | None, typer.Argument(metavar="SCHEDULE", help="One of them; without it all.")] = None,
    runs: Annotated[int, typer.Option(min=1, max=1000, help="How many runs of each, newest first.")] = 10,
) -> None:
    """Judge what is due, and show how the newest expected runs of each schedule went."""
    from edurise_backup.operations import schedule_status

    found = schedule_status(schedule, runs=runs, settings=product.settings())
    product.output.result(found, "\n\n".join(map(status_text, found)) or "no schedule yet")


def _given(
    type: str | None,  # noqa: A002  the mission's word
    every: str | None,
    retention: int | None,
    source: str | None,
    zone: str | None,
    incremental: bool | None,
    tag: Sequence[str] | None,
    option: Sequence[str] | None,
    keep: Sequence[str] | None,
    jitter: str | None,
    grace: str | None,
    blackout: Sequence[str] | None,
    catch_up: bool | None,
) -> dict[str, object]:
    """Return the fields of a schedule that were named."""
    named: dict[str, object | None] = {
        "type": type,
        "frequency": every,
        "retention": retention,
        "source": source,
        "zone": zone,
        "incremental": incremental,
        "tags": _listed(tag),
        "options": {pair[0]: _value(pair[1]) for pair in _pairs(option)} if option else None,
        "keep": _keep(keep) if keep else None,
        "jitter": jitter,
        "grace": grace,
        "blackout": _listed(blackout),
        "catch_up": catch_up,
    }
    return {name: value for name, value in named.items() if value is not None}


def _listed(words: Sequence[str] | None) -> tuple[str, ...] | None:
    return tuple(word for word in words if word) if words else None


def _pairs(words: Sequence[str]) -> list[tuple[str, str]]:
    pairs = []
    for word in filter(None, words):
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputError(f"{word!r} is not NAME=VALUE", safe="nothing was changed", hint="for instance budget=5%")
        pairs.append((name.strip(), value.strip()))
    return pairs


def _value(text: str) -> str | bool:
    return {"true": True, "false": False}.get(text.lower(), text)


def _keep(words: Sequence[str]) -> KeepRules:
    from edurise_backup.model.schedules import KeepRules

    numbers: dict[str, int] = {}
    tags: list[str] = []
    for name, value in _pairs(words):
        if name == "tag":
            tags.append(value)
        elif name in ("last", "hourly", "daily", "weekly", "monthly", "yearly") and value.lstrip("-").isdecimal():
            numbers[name] = int(value)
        else:
            raise InputError(
                f"{name}={value} is no rule for keeping",
                safe="nothing was changed",
                hint="write last, hourly, daily, weekly, monthly, yearly with a number (-1: all), or tag=NAME",
            )
    return KeepRules(**numbers, tags=tuple(tags))
