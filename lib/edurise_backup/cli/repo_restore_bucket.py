"""`edurise-backup repo restore --target s3:…`: files of a snapshot, or the objects that they were, into a bucket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edurise_backup.cli.command import Engine
from edurise_backup.cli.output import printable, size

if TYPE_CHECKING:
    from edurise_backup.operations.snapshots import Chosen


def restore_to_bucket(
    engine: Engine,
    chosen: Chosen,
    target: str,
    *,
    include: Sequence[str],
    exclude: Sequence[str],
    overwrite: bool,
    dry_run: bool,
    lock: bool,
) -> int:
    """Send what is not there yet; exit status 1 when an object is not there as it should be, 3 with problems."""
    from edurise_backup.operations.opening import readable
    from edurise_backup.operations.restoring_buckets import Existing, plan_into_bucket, restore_into_bucket, target_at

    repository = engine.repository()
    place = target_at(target, Existing.REPLACE if overwrite else Existing.REFUSE, repository)
    with engine.output.progress() as progress, readable(repository, lock=lock):
        plan = plan_into_bucket(repository, chosen, include=include, exclude=exclude)
        if dry_run:
            place.check(progress)
            return _show_plan(engine, chosen, target, len(plan.objects), plan.bytes, plan.left_out)
        progress.phase("restore", bytes_total=plan.bytes)
        done = restore_into_bucket(repository, plan, place, progress=progress)
    problems = [*plan.left_out, *done.problems]
    told = [printable(sentence) for sentence in (*done.failed, *problems)]
    engine.output.result(
        {
            "snapshot_id": chosen.id,
            "target": target,
            "sent": done.sent,
            "equal": done.equal,
            "bytes": done.bytes,
            "failed": done.failed,
            "problems": problems,
        },
        "\n".join(
            [
                *told,
                f"sent {done.sent} objects, {size(done.bytes)}, of snapshot {chosen.id[:8]} to {target}; "
                f"{done.equal} were there and equal" + (f", {len(done.failed)} failed" if done.failed else ""),
            ]
        ),
        even_quiet="\n".join(told),
    )
    return 1 if done.failed else 3 if problems else 0


def _show_plan(engine: Engine, chosen: Chosen, target: str, count: int, total: int, left_out: Sequence[str]) -> int:
    told = [printable(sentence) for sentence in left_out]
    engine.output.result(
        {"snapshot_id": chosen.id, "target": target, "dry_run": True, "objects": count, "bytes": total,
         "problems": list(left_out)},
        "\n".join([*told, f"would bring {count} objects, {size(total)}, to {target}; nothing was sent"]),
        even_quiet="\n".join(told),
    )  # fmt: skip
    return 3 if left_out else 0
