"""`edurise-backup repo undelete`: bring back what a stranger has deleted or replaced in a bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import printable

if TYPE_CHECKING:
    from edurise_backup.operations.undeleting import Undeleted

_SHOWN = 20


def add_commands(app: typer.Typer) -> None:
    """Add it to `repo`."""
    command(app, Engine, opens=False)(undelete)


def undelete(
    engine: Engine,
    apply: Annotated[bool, typer.Option("--apply", help="Do it; without this it is only shown.")] = False,
) -> int:
    """Show what strangers deleted or replaced in a bucket with object lock; exit status 1 when something is lost."""
    from edurise_backup.config import s3_access
    from edurise_backup.operations.opening import Limits
    from edurise_backup.operations.undeleting import undelete as bring_back

    with engine.output.progress() as progress:
        done = bring_back(
            engine.place(),
            engine.passphrase(),
            access=s3_access(),
            limits=Limits(0, 0, engine.output.raise_if_cancelled),
            apply=apply,
            progress=progress,
        )
    engine.output.result(_json(done), _text(done), even_quiet="\n".join(f"lost: {name}" for name in done.plan.lost))
    return 1 if done.plan.lost else 0


def _json(done: Undeleted) -> dict[str, object]:
    return {
        "applied": done.applied,
        "closed": done.closed,
        "objects": [{"name": one.name, "what": _what(one.deleted)} for one in done.plan.objects],
        "lost": done.plan.lost,
        "removed_by_us": done.plan.ours,
    }


def _what(deleted: bool) -> str:
    return "deleted" if deleted else "replaced"


def _text(done: Undeleted) -> str:
    objects = done.plan.objects
    lines = [f"{_what(one.deleted)}: {printable(one.name)}" for one in objects[:_SHOWN]]
    if len(objects) > _SHOWN:
        lines.append(f"and {len(objects) - _SHOWN} more")
    lines += [f"lost, no version is what was written: {printable(name)}" for name in done.plan.lost[:_SHOWN]]
    if done.plan.ours:
        lines.append(f"{done.plan.ours} objects stay hidden: this product removed them itself")
    said = "are back" if done.applied else "would come back"
    lines.append(f"{len(objects)} objects {said}" + ("" if done.applied else "; nothing was changed"))
    if done.closed:
        lines.append("these come first: only when they are back it is seen what else is gone")
    return "\n".join(lines)
