"""`edurise-backup shards`: how a source is cut for several workers."""

from __future__ import annotations

from typing import Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable


def add_commands(app: typer.Typer) -> None:
    """Put the command on the top level."""
    command(app, Product, "shards")(shards)


def shards(
    product: Product,
    source: Annotated[str, typer.Argument(help="A files source of the configuration.")],
    count: Annotated[int, typer.Option(min=0, help="Into so many shards; 0: as the configuration says.")] = 0,
) -> None:
    """Show how a source would be cut for the workers of a flow; nothing is backed up."""
    from edurise_backup.model.shards import ShardGoal
    from edurise_backup.operations import plan_sharding

    goal = ShardGoal(count=count) if count else None
    plan = plan_sharding(source, settings=product.settings(), goal=goal)
    shown = [
        {
            "entries": shard.weight.entries,
            "bytes": shard.weight.bytes,
            "ranges": [str(one) for one in shard.ranges],
        }
        for shard in plan.shards
    ]
    product.output.result({"source": source, "shards": shown}, "\n".join(map(printable, plan.lines())))
