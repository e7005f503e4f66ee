"""`edurise-backup rescue`: single tables, or some of their rows, as they were at a moment."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.moments import Source
from edurise_backup.cli.output import printable
from edurise_backup.cli.recovering_to import Before, FromStore, TimelineWord
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.operations.point_in_time.rescuing import Rescue
    from edurise_backup.recovery.rescue.shapes import Wanted


def add_commands(app: typer.Typer) -> None:
    """Put the command on the top level."""
    command(app, Product)(rescue)


def rescue(
    product: Product,
    tables: Annotated[list[str], typer.Argument(help="SCHEMA.TABLE, as many as are wanted.")],
    at: Annotated[str, typer.Option("--at", help="The moment, as for `recover-to`.")],
    database: Annotated[str, typer.Option("--database", "-d", help="The live database, and its name back then.")],
    source: Source = "",
    before: Before = False,
    timeline: TimelineWord = "latest",
    from_store: FromStore = "",
    where: Annotated[str, typer.Option(help="Only rows that match this SQL condition (one table).")] = "",
    into_schema: Annotated[
        str,
        typer.Option("--into-schema", metavar="NAME", help="Into a new schema; nothing else changes."),
    ] = "",
    merge: Annotated[
        str, typer.Option("--merge", metavar="HASH", help="Merge by the plan that was shown, named by its hash.")
    ] = "",
    changed: Annotated[bool, typer.Option("--changed", help="Put changed rows back, too.")] = False,
    delete_extra: Annotated[
        bool, typer.Option("--delete-extra", help="Delete rows that were not there at that moment.")
    ] = False,
    folder: Annotated[
        Path | None, typer.Option("--folder", metavar="DIR", help="Where the sandbox goes: as large as the cluster.")
    ] = None,
    triggers: Annotated[bool, typer.Option("--triggers", help="Leave the users' triggers on while merging.")] = False,
) -> int:
    """Show how tables differ from that moment, and what bringing them back would change; then do it, when asked.

    A sandbox is recovered to that moment, compared with the live tables, and removed. Without --into-schema or --merge
    nothing is changed: the plan that is printed has a hash, and --merge HASH does exactly that, in one transaction.
    """
    from edurise_backup.model.recovery_target import parse_target
    from edurise_backup.operations import point_in_time as operations
    from edurise_backup.operations.point_in_time.rescuing import Options

    wanted = [_wanted(name, where) for name in tables]
    if where and len(wanted) != 1:
        raise InputError("a condition is of one table", safe="nothing was done", hint="name one table with --where")
    moment = parse_target(at, inclusive=not before, timeline=timeline)
    options = Options(changed=changed, delete_extra=delete_extra, triggers=triggers)
    settings = product.settings()
    with product.output.progress() as progress:
        if not into_schema and not merge:
            done = operations.plan_rescue_from(
                moment,
                wanted,
                database=database,
                source=source,
                store=from_store,
                options=options,
                folder=folder,
                settings=settings,
                progress=progress,
            )
        else:
            done = operations.rescue_from(
                moment,
                wanted,
                database=database,
                source=source,
                store=from_store,
                schema=into_schema,
                expected=merge,
                options=options,
                folder=folder,
                settings=settings,
                progress=progress,
            )
    notes = [f"store: {printable(note)}" for note in done.store_notes]
    product.output.result(done, "\n".join([*notes, *_lines(done)]))
    return 1 if done.plan is not None and done.plan.obstacles else 0


def _wanted(text: str, where: str) -> Wanted:
    from edurise_backup.operations.point_in_time.rescuing import Wanted

    schema, sign, name = text.partition(".")
    if not sign or not schema or not name:
        raise InputError(
            f"{text!r} is no table", safe="nothing was done", hint="write SCHEMA.TABLE, e.g. public.grades"
        )
    return Wanted(schema, name, where)


def _lines(done: Rescue) -> list[str]:
    if done.plan is not None:
        lines = [printable(line) for line in done.plan.lines()]
        end = (
            "nothing was changed"
            if done.plan.obstacles
            else f"nothing was changed; do it with --merge {done.plan.hash}"
        )
        return [*lines, end]
    if done.merged is not None:
        return [
            f"{one.table}: {one.inserted} rows inserted, {one.updated} put back, {one.deleted} deleted"
            + (", made again" if one.created else "")
            for one in done.merged.tables
        ]
    return [f"{one.table} as {one.copy}: {one.rows} rows" for one in done.imported]
