"""`edurise-backup repo forget | forgotten | prune`: let snapshots go, bring them back, free the space."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import duration, size, table
from edurise_backup.cli.repo import HostOption, PathOption, TagOption, snapshot_filter
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.operations.pruning import ForgetResult
    from edurise_backup.repository.prune_plan import Departure, PrunePlan
    from edurise_backup.repository.pruner import Pruned

PackGrace = Annotated[
    str, typer.Option(help="How long packs wait, un-indexed, before they are deleted, e.g. 12h; 0: at once.")
]
MaxUnused = Annotated[
    str, typer.Option(help="Unused data that may stay in packs: a share of all (5%), a size (200M), or unlimited.")
]
MaxRepack = Annotated[str, typer.Option(help="Write at most this much again, e.g. 2G; the rest is for later prunes.")]
MaxRemoved = Annotated[
    str, typer.Option(help="Refuse when more than this share of the data would go at once; 100% never refuses.")
]
Wait = Annotated[str, typer.Option(help="Wait this long for running backups, e.g. 1h; 0: refuse at once.")]


def add_commands(app: typer.Typer) -> None:
    """Put the commands beside the others on a repository."""
    for function in (forget, forgotten, prune):
        command(app, Engine)(function)


def forget(
    engine: Engine,
    ids: Annotated[list[str] | None, typer.Argument(help="Snapshots to forget; none: by policy.")] = None,
    keep_last: Annotated[int, typer.Option(help="Keep the newest N.")] = 0,
    keep_hourly: Annotated[int, typer.Option(help="Keep one of each of the last N hours that have any.")] = 0,
    keep_daily: Annotated[int, typer.Option(help="Keep one of each of the last N days that have any.")] = 0,
    keep_weekly: Annotated[int, typer.Option(help="Keep one of each of the last N weeks that have any.")] = 0,
    keep_monthly: Annotated[int, typer.Option(help="Keep one of each of the last N months that have any.")] = 0,
    keep_yearly: Annotated[int, typer.Option(help="Keep one of each of the last N years that have any.")] = 0,
    keep_within: Annotated[
        str, typer.Option(help="Keep what is at most this much older than the newest, e.g. 7d or 1y2m3d4h.")
    ] = "",
    keep_tag: Annotated[list[str] | None, typer.Option(help="Keep what has this tag; may be repeated.")] = None,
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would go.")] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Bring the named forgotten snapshots back.")] = False,
    grace: Annotated[
        str,
        typer.Option(
            help="How long they can be brought back, e.g. 12h; 7d when not given. 0: not at all. "
            "With --prune also how long packs wait (else 1d)."
        ),
    ] = "",
    prune: Annotated[bool, typer.Option("--prune", help="Then remove data that nothing refers to.")] = False,
    max_unused: MaxUnused = "5%",
    max_repack_size: MaxRepack = "",
    max_removed: MaxRemoved = "50%",
    wait: Wait = "0",
) -> None:
    """Drop snapshots by id or policy, grouped by host and paths; the filters say which ones a policy judges."""
    from edurise_backup.model.policy import RetentionPolicy
    from edurise_backup.operations.pruning import forget_snapshots, parse_duration, prune_wish
    from edurise_backup.operations.snapshots import parse_span
    from edurise_backup.repository.forgetting import GRACE

    policy = RetentionPolicy(
        keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly, tags=tuple(keep_tag or ())
    )
    if undo:
        if not policy.empty or keep_within or prune or dry_run or grace:
            raise InputError("--undo only takes ids", hint="`repo forgotten` lists what can be brought back")
        return _bring_back(engine, ids or [])
    wish = prune_wish(grace or "1d", max_unused, max_repack_size, max_removed, wait)
    with engine.output.progress() as progress:
        result = forget_snapshots(
            engine.repository(),
            ids or [],
            policy,
            within=parse_span(keep_within) if keep_within else None,
            among=snapshot_filter(host, path, tag),
            grace=parse_duration(grace) if grace else GRACE,
            prune=wish if prune else None,
            dry_run=dry_run,
            progress=progress,
        )
    _show_forgotten(engine, result, dry_run=dry_run)
    return None


def _bring_back(engine: Engine, ids: list[str]) -> None:
    from edurise_backup.operations.pruning import bring_back

    with engine.output.progress() as progress:
        back = bring_back(engine.repository(), ids, progress=progress)
    engine.output.result(
        {"brought_back": back}, "\n".join(f"snapshot {snapshot_id[:8]} is back, and whole" for snapshot_id in back)
    )


def _show_forgotten(engine: Engine, result: ForgetResult, *, dry_run: bool) -> None:
    rows = [
        [d.id[:8], d.snapshot.time[:19], "keep" if d.keep else "forget", ", ".join(d.reasons)] for d in result.decisions
    ]
    pruned = result.pruned
    lines = [
        *([table(["ID", "Time (UTC)", "", "Why"], rows)] if rows else []),
        f"{len(result.gone)} snapshots {'would be ' if dry_run else ''}forgotten"
        + (f"; `forget --undo ID` brings them back until {_moment(result.until)}" if result.until else ""),
        *(_pruned_lines(pruned) if pruned else []),
    ]
    engine.output.result(
        {
            "forgotten": result.gone,
            "until": result.until,
            "dry_run": dry_run,
            "freed_bytes": pruned.freed_bytes if pruned else 0,
            "decisions": [{"id": d.id, "keep": d.keep, "reasons": d.reasons} for d in result.decisions],
            "prune": _pruned_json(pruned) if pruned else None,
        },
        "\n".join(lines),
        even_quiet="\n".join(pruned.plan.warnings) if pruned else "",
    )


def forgotten(engine: Engine) -> None:
    """List the forgotten snapshots that can be brought back, and for how long."""
    from edurise_backup.repository.undoing import list_forgotten

    now = datetime.now(UTC)
    found = list_forgotten(engine.repository())
    rows = [
        [
            key[:8],
            one.snapshot.time[:19].replace("T", " "),
            one.snapshot.hostname,
            " ".join(one.snapshot.paths),
            _moment(one.at),
            "until the next prune" if one.over(now) else duration((one.until - now).total_seconds()),
        ]
        for key, one in found.items()
    ]
    engine.output.result(
        [
            {
                "id": key,
                "time": one.snapshot.time,
                "hostname": one.snapshot.hostname,
                "paths": one.snapshot.paths,
                "tags": one.snapshot.tags or [],
                "forgotten": one.at,
                "until": one.until,
                "seconds_left": max(0, round((one.until - now).total_seconds())),
            }
            for key, one in found.items()
        ],
        table(["ID", "Time (UTC)", "Host", "Paths", "Forgotten (UTC)", "Left"], rows)
        + f"\n{len(rows)} forgotten snapshots",
    )


def prune(
    engine: Engine,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would be done.")] = False,
    grace: PackGrace = "1d",
    max_unused: MaxUnused = "5%",
    max_repack_size: MaxRepack = "",
    max_removed: MaxRemoved = "50%",
    wait: Wait = "0",
) -> None:
    """Remove data that no snapshot refers to; forgotten snapshots count until their grace is over."""
    from edurise_backup.operations.pruning import prune_wish, show_prune
    from edurise_backup.repository.pruner import prune as prune_repository

    wish = prune_wish(grace, max_unused, max_repack_size, max_removed, wait)
    repository = engine.repository()
    with engine.output.progress() as progress:
        if dry_run:
            plan = show_prune(repository, wish.options, progress=progress)
        else:
            pruned = prune_repository(repository, wish.options, progress=progress, wait=wish.wait)
    if dry_run:
        engine.output.result(_plan_json(plan), "\n".join([*_plan_lines(plan), "nothing was changed"]))
    else:
        engine.output.result(
            _pruned_json(pruned),
            "\n".join(_pruned_lines(pruned)),
            even_quiet="\n".join(pruned.plan.warnings),
        )


def _plan_lines(plan: PrunePlan) -> list[str]:
    fates, leaving = plan.fates, plan.departure
    return [
        *plan.warnings,
        f"{plan.snapshots} snapshots and {plan.forgotten} forgotten ones refer to {plan.used_blobs} blobs, "
        f"{size(fates.used_bytes)} of {size(plan.total_bytes)} in {plan.packs} packs",
        *([f"{len(plan.over)} forgotten snapshots could not be brought back afterwards"] if plan.over else []),
        *([f"{plan.rescue} packs that no index lists are needed, and would be indexed again"] if plan.rescue else []),
        f"un-index {len(fates.remove)} packs; write {size(fates.repack_bytes)} of {len(fates.repack)} packs again",
        f"delete {len(leaving.due)} packs now, {size(leaving.due_bytes)}",
        *_waiting(leaving),
        f"in the end {size(plan.freed_bytes)} are freed",
        *([f"this would be refused: {plan.refusal}"] if plan.refusal else []),
    ]


def _plan_json(plan: PrunePlan) -> dict[str, object]:
    fates, leaving = plan.fates, plan.departure
    return {
        "dry_run": True,
        "snapshots": plan.snapshots,
        "forgotten": plan.forgotten,
        "forgotten_over": plan.over,
        "packs": plan.packs,
        "total_bytes": plan.total_bytes,
        "used_blobs": plan.used_blobs,
        "used_bytes": fates.used_bytes,
        "unindex_packs": len(fates.remove),
        "repack_packs": len(fates.repack),
        "repack_bytes": fates.repack_bytes,
        "rescue_packs": plan.rescue,
        "delete_packs": len(leaving.due),
        "delete_bytes": leaving.due_bytes,
        "waiting_packs": len(leaving.waiting),
        "waiting_bytes": leaving.waiting_bytes,
        "waiting_until": leaving.until,
        "freed_bytes": plan.freed_bytes,
        "refusal": plan.refusal,
        "warnings": plan.warnings,
        **_locked_json(leaving),
    }


def _pruned_lines(pruned: Pruned) -> list[str]:
    leaving = pruned.departure
    return [
        *pruned.warnings,
        f"deleted {len(leaving.due)} packs, {size(leaving.due_bytes)}; "
        f"wrote {size(pruned.plan.fates.repack_bytes)} again",
        *_waiting(leaving),
        *([f"{pruned.needed_after_all} packs are needed by newer snapshots"] if pruned.needed_after_all else []),
    ]


def _pruned_json(pruned: Pruned) -> dict[str, object]:
    leaving = pruned.departure
    return {
        "dry_run": False,
        "deleted_packs": len(leaving.due),
        "deleted_bytes": leaving.due_bytes,
        "repacked_bytes": pruned.plan.fates.repack_bytes,
        "freed_bytes": pruned.freed_bytes,
        "waiting_packs": len(leaving.waiting),
        "waiting_bytes": leaving.waiting_bytes,
        "waiting_until": leaving.until,
        "needed_after_all": pruned.needed_after_all,
        "locks": pruned.locks,
        "warnings": pruned.warnings,
        **_locked_json(leaving),
    }


def _locked_json(leaving: Departure) -> dict[str, object]:
    return {
        "locked_packs": len(leaving.locked),
        "locked_bytes": leaving.locked_bytes,
        "locked_until": leaving.locked_until,
    }


def _waiting(leaving: Departure) -> list[str]:
    locked = [
        f"{len(leaving.locked)} packs are locked, {size(leaving.locked_bytes)}: "
        f"a prune after {_moment(leaving.locked_until)} may delete the last of them"
    ]
    if not leaving.waiting:
        return locked if leaving.locked else []
    return [
        *(locked if leaving.locked else []),
        f"{len(leaving.waiting)} packs wait, {size(leaving.waiting_bytes)}: "
        f"a prune after {_moment(leaving.until)} may delete the last of them",
    ]


def _moment(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment:%Y-%m-%d %H:%M}"
