"""`edurise-backup recover-to`: bring a cluster back as it was at a moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.moments import Source
from edurise_backup.cli.output import printable, size
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.model.jobs import RecoveryJob
    from edurise_backup.operations.point_in_time.choosing import Choice

Moment = Annotated[
    str,
    typer.Argument(
        help="latest, immediate (the end of the base backup), time:2026-11-28T14:03:07.4+01:00, xid:81234, "
        "lsn:16/B374D848 or name:RESTORE_POINT."
    ),
]
Before = Annotated[bool, typer.Option("--before", help="Just before it: not inclusive.")]
TimelineWord = Annotated[str, typer.Option("--timeline", help="A number, `latest`, or `current`: the base backup's.")]
Base = Annotated[
    str, typer.Option("--base", metavar="ID", help="The base backup to begin with; else the newest before.")
]
FromStore = Annotated[
    str, typer.Option("--from", metavar="NAME", help="Take the bytes from this store: a copy, or `primary`.")
]


def add_commands(app: typer.Typer) -> None:
    """Put the command on the top level."""
    command(app, Product, name="recover-to")(recover_to)


def recover_to(
    product: Product,
    moment: Moment,
    target: Annotated[Path | None, typer.Option("--target", "-t", help="A new or empty data directory.")] = None,
    source: Source = "",
    before: Before = False,
    timeline: TimelineWord = "latest",
    pause: Annotated[bool, typer.Option("--pause", help="Leave it in recovery, read-only when started.")] = False,
    base: Base = "",
    from_store: FromStore = "",
    tablespace: Annotated[
        list[str] | None, typer.Option(metavar="OID=DIR", help="Where a tablespace goes; else TARGET.tablespaces/OID.")
    ] = None,
    amcheck: Annotated[bool, typer.Option(help="Read every page of every table and index in the end.")] = True,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only say what it would begin with.")] = False,
) -> int:
    """Recover a cluster to a moment into a new data directory, and prove it; exit status 1 when the proof fails.

    What is impossible is refused before a byte is copied, with the nearest moments. The live server is not touched.
    The bytes come from the first store that has the moment, the primary before the copies; the others step in.
    """
    from edurise_backup.model.jobs import Verdict
    from edurise_backup.model.recovery_target import parse_target
    from edurise_backup.operations import point_in_time as operations

    wanted = parse_target(moment, inclusive=not before, timeline=timeline, action="pause" if pause else "promote")
    settings = product.settings()
    if dry_run:
        choice = operations.plan_recovery_to(wanted, source=source, base=base, store=from_store, settings=settings)
        product.output.result(choice, "\n".join(choice_lines(choice)))
        return 0
    if target is None:
        raise InputError("no target directory is named", hint="use --target DIR, a new or empty one, or --dry-run")
    with product.output.progress() as progress:
        done = operations.recover_to(
            wanted,
            target.absolute(),
            source=source,
            base=base,
            store=from_store,
            tablespaces=dict(map(_place, tablespace or ())),
            amcheck=amcheck,
            settings=settings,
            progress=progress,
        )
    product.output.result(done, recovered_text(done))
    return 0 if done.verification_status is Verdict.PASSED else 1


def choice_lines(choice: Choice) -> list[str]:
    """Describe what a recovery would begin with, for a person."""
    from edurise_backup.model.wal import format_lsn

    replay = f"about {size(choice.replay_bytes)} of log" if choice.replay_bytes is not None else "the log up to there"
    return [
        f"{choice.base.source}, {choice.target}: on timeline {choice.window.timeline}",
        f"  begins with the base backup of {choice.base.stop_at:%Y-%m-%d %H:%M:%S} UTC "
        f"({choice.base.snapshot_id[:8]}, {format_lsn(choice.base.start_lsn)} to {format_lsn(choice.base.stop_lsn)})",
        f"  then replays {replay}",
        *(f"  store: {printable(note)}" for note in choice.store_notes),
    ]


def recovered_text(done: RecoveryJob) -> str:
    """Describe a recovery to a moment for a person."""
    where = done.target.directory if done.target else "nowhere"
    moment = done.target.moment if done.target else ""
    return "\n".join(
        [
            f"recovery {done.id} to {printable(moment)}: {done.status.value.replace('_', ' ')}, "
            f"proof {done.verification_status.value}",
            f"{size(done.restored_bytes or 0)} restored to {printable(where)}; no server runs on it. It is a "
            "cluster of its own now: give it its own archive, and take a base backup",
            *(f"store: {printable(note)}" for note in done.store_notes),
            *(f"proved: {printable(check)}" for check in done.checks),
            *(f"warning: {printable(warning)}" for warning in done.warnings),
            *(f"differs: {printable(finding)}" for finding in done.findings),
        ]
    )


def _place(text: str) -> tuple[int, Path]:
    oid, sign, folder = text.partition("=")
    if not sign or not oid.isdecimal() or not folder:
        raise InputError(
            f"{text!r} is no place of a tablespace", hint="write OID=DIRECTORY, for instance 16400=/srv/fast"
        )
    return int(oid), Path(folder).absolute()
