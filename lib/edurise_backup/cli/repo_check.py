"""`edurise-backup repo check | repair index | repair packs`: find damage, name its cost, bring back what is whole."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import printable, size
from edurise_backup.cli.repo import NoLock
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.repository.repairing.affected import Affected
    from edurise_backup.repository.repairing.index_repair import IndexRepairPlan
    from edurise_backup.repository.repairing.pack_repair import PackRepairPlan
    from edurise_backup.verification.checker import CheckResult
    from edurise_backup.verification.coverage import CoverageFigures

Apply = Annotated[bool, typer.Option("--apply", help="Do it; else only say what would be done.")]

_HEALING = (
    "a later backup of the same data stores what is missing again; what no source has any more stays lost: "
    "those snapshots restore without it, or can be forgotten"
)


def add_commands(app: typer.Typer) -> None:
    """Put the commands beside those that write and read snapshots."""
    command(app, Engine)(check)
    repair = typer.Typer(no_args_is_help=True, help="Bring a damaged repository back; shows what it would do first.")
    command(repair, Engine, "index")(repair_index)
    command(repair, Engine, "packs")(repair_packs)
    app.add_typer(repair, name="repair")


def check(
    engine: Engine,
    read_data: Annotated[bool, typer.Option("--read-data", help="Read and prove every byte.")] = False,
    budget: Annotated[
        str,
        typer.Option(help="Read and prove this much (10GiB, 30m, 5%), what was never or longest ago proved first."),
    ] = "",
    no_lock: NoLock = False,
) -> int:
    """Check that every snapshot can be restored; exit status 1 when something is wrong.

    Without --no-lock it is noted in the repository which packs passed, and which are damaged.
    """
    from edurise_backup.verification.budget import Budget
    from edurise_backup.verification.checker import check as check_repository

    if read_data and budget:
        raise InputError("--read-data reads everything, a budget less", hint="use one of the two")
    bound = Budget.parse(budget) if budget else None
    repository = engine.repository()
    with engine.output.progress() as progress, nullcontext() if no_lock else repository.lock():
        found = check_repository(repository, progress=progress, read_data=read_data, budget=bound, record=not no_lock)
    engine.output.result(
        _check_json(found), "\n".join(_check_lines(found)), even_quiet="\n".join(map(printable, found.findings))
    )
    return 0 if found.sound else 1


def repair_index(
    engine: Engine,
    apply: Apply = False,
    read_all_packs: Annotated[
        bool, typer.Option("--read-all-packs", help="Read the headers of packs that the index knows, too.")
    ] = False,
) -> int:
    """Index packs that no readable index file lists, and drop those that are gone; exit status 3 when files are lost.

    Needs no readable index file at all: every pack says itself what it holds.
    """
    from edurise_backup.repository.repairing.index_repair import apply_index_repair, plan_index_repair

    repository = engine.repository()
    kept: list[str] = []
    with engine.output.progress() as progress, repository.lock(exclusive=apply) as lock:
        plan = plan_index_repair(repository, progress=progress, read_all_packs=read_all_packs)
        if apply and plan.changes:
            kept = apply_index_repair(repository, plan, lock, progress=progress)
    lost = _affected_lines(plan.affected, plan.unreadable_snapshots)
    engine.output.result(
        {"applied": apply and plan.changes, "kept": kept, **_index_json(plan)},
        "\n".join([*_index_lines(plan), *lost, *_kept_lines(kept), _verdict(plan.changes, apply)]),
        even_quiet="\n".join(lost),
    )
    return 3 if plan.affected.count or plan.unreadable_snapshots else 0


def repair_packs(
    engine: Engine,
    ids: Annotated[
        list[str] | None, typer.Argument(help="Packs (ids or their beginnings); none: those that a check has noted.")
    ] = None,
    apply: Apply = False,
    read_data: Annotated[bool, typer.Option("--read-data", help="Read every pack to find the damaged ones.")] = False,
) -> int:
    """Salvage what is whole from damaged packs and take them out; exit status 3 when files are lost.

    The damaged packs' bytes are kept in the repository, below edurise/damaged.
    """
    from edurise_backup.repository.repairing.pack_repair import plan_pack_repair
    from edurise_backup.verification.choosing import choose_packs, repair_chosen

    if ids and read_data:
        raise InputError("packs are named and all are to be read", hint="use one of the two")
    repository = engine.repository()
    kept: list[str] = []
    with engine.output.progress() as progress, repository.lock(exclusive=apply) as lock:
        chosen = choose_packs(repository, ids or [], read_data=read_data, progress=progress)
        plan = plan_pack_repair(repository, chosen.packs, progress=progress)
        if apply:
            kept = repair_chosen(repository, chosen, plan, lock, progress=progress)
    notes = chosen.suspects.damage
    lost = [*_unread_lines(plan), *_affected_lines(plan.affected, plan.unreadable_snapshots)]
    engine.output.result(
        {"applied": apply and plan.changes, "kept": kept, **_packs_json(plan)},
        "\n".join([*_pack_lines(plan), *notes, *lost, *_kept_lines(kept), _verdict(plan.changes, apply)]),
        even_quiet="\n".join(lost),
    )
    return 3 if plan.affected.count or plan.unreadable_snapshots or plan.unread else 0


def _check_json(found: CheckResult) -> dict[str, object]:
    coverage = found.coverage
    return {
        "sound": found.sound,
        "findings": found.findings,
        "remarks": found.remarks,
        "snapshots": found.snapshots,
        "packs": found.packs,
        "blobs": found.blobs,
        "packs_read": found.packs_read,
        "bytes_read": found.bytes_read,
        "damaged_packs": found.damaged_packs,
        "affected": _affected_json(found.affected),
        "coverage": {
            "packs": coverage.packs,
            "bytes": coverage.bytes,
            "never": coverage.never,
            "oldest": coverage.oldest,
            "within_30_days_percent": coverage.within_percent,
        },
    }


def _index_json(plan: IndexRepairPlan) -> dict[str, object]:
    return {
        "packs": plan.packs,
        "indexed_anew": sorted(plan.found),
        "missing_packs": plan.missing,
        "unreadable_index_files": plan.unreadable,
        "superseded_index_files": sorted(plan.superseded),
        "packs_without_header": plan.headless,
        "packs_that_disagree": plan.disagreeing,
        "unreadable_snapshots": plan.unreadable_snapshots,
        "affected": _affected_json(plan.affected),
    }


def _packs_json(plan: PackRepairPlan) -> dict[str, object]:
    return {
        "packs": [
            {
                "id": pack.pack,
                "bytes": pack.size,
                "whole_blobs": len(pack.whole),
                "broken_blobs": len(pack.broken),
                "trouble": pack.trouble,
            }
            for pack in plan.packs
        ],
        "sound_packs": plan.sound,
        "missing_packs": plan.missing,
        "unread_packs": plan.unread,
        "lost_blobs": len(plan.lost),
        "unreadable_snapshots": plan.unreadable_snapshots,
        "affected": _affected_json(plan.affected),
    }


def _check_lines(found: CheckResult) -> list[str]:
    lines = [*map(printable, found.findings), *found.remarks, *_affected_lines(found.affected, [])]
    lines.append(
        f"{found.snapshots} snapshots, {found.packs} packs, {found.blobs} blobs, "
        f"{size(found.bytes_read)} in {found.packs_read} packs read and proved"
    )
    lines.append(_coverage_line(found.coverage))
    if found.damaged_packs:
        lines.append("`repo repair packs` shows what can be salvaged from the damaged packs")
    lines.append("no errors were found" if found.sound else f"{len(found.findings)} errors were found")
    return lines


def _coverage_line(coverage: CoverageFigures) -> str:
    line = f"{coverage.within_percent:g} % of {size(coverage.bytes)} were proved within the last 30 days"
    if coverage.overdue_packs:
        line += f"; {coverage.overdue_packs} of {coverage.packs} packs are overdue, {coverage.never} were never proved"
    if coverage.oldest is not None:
        line += f"; the oldest proof is of {coverage.oldest:%Y-%m-%d %H:%M} UTC"
    return line


def _index_lines(plan: IndexRepairPlan) -> list[str]:
    lines = [f"index {index_id[:8]} is not readable: {why}" for index_id, why in plan.unreadable.items()]
    lines += [f"pack {pack[:8]} is missing and drops out of the index" for pack in plan.missing]
    lines += [f"pack {pack[:8]} is in no index, and stays so: {why}" for pack, why in plan.headless.items()]
    lines += [
        f"pack {pack[:8]}: its header and the index disagree; `repair packs {pack[:8]}` salvages it"
        for pack in plan.disagreeing
    ]
    lines.append(f"{len(plan.found)} of {plan.packs} packs are to be listed anew from their headers")
    return lines


def _pack_lines(plan: PackRepairPlan) -> list[str]:
    lines = [
        f"pack {pack.pack[:8]}: {len(pack.whole)} blobs are whole, {len(pack.broken)} are damaged"
        + "".join(f"; {why}" for why in pack.trouble)
        for pack in plan.packs
    ]
    lines += [f"pack {pack[:8]} is not damaged and stays" for pack in plan.sound]
    lines += [f"pack {pack[:8]} is missing; `repair index` takes it out of the index" for pack in plan.missing]
    if not lines and not plan.unread:
        lines.append("no damaged pack is known; with --read-data every pack is read")
    if plan.lost:
        lines.append(f"{len(plan.lost)} blobs are whole in no pack")
    return lines


def _unread_lines(plan: PackRepairPlan) -> list[str]:
    return [f"pack {pack[:8]} could not be read and stays: {why}" for pack, why in plan.unread.items()]


def _affected_lines(affected: Affected, unreadable: list[str]) -> list[str]:
    """Name what cannot be restored as it was, and what heals it."""
    lines = [printable(text) for text in unreadable]
    lines += [f"affected: snapshot {one.snapshot[:8]}, {printable(one.path)}" for one in affected.paths]
    if affected.count:
        more = affected.count - len(affected.paths)
        lines += [f"affected: {more} more"] if more else []
        lines.append(f"{affected.count} paths in {len(affected.snapshots)} snapshots cannot be restored as they were")
        lines.append(_HEALING)
    return lines


def _affected_json(affected: Affected) -> dict[str, object]:
    return {
        "count": affected.count,
        "snapshots": affected.snapshots,
        "paths": [{"snapshot": one.snapshot, "path": one.path} for one in affected.paths],
    }


def _kept_lines(kept: list[str]) -> list[str]:
    return [f"the damaged bytes are kept as {name}" for name in kept]


def _verdict(changes: bool, applied: bool) -> str:
    if not changes:
        return "nothing is to be repaired"
    return "repaired" if applied else "nothing was changed: --apply does it"
