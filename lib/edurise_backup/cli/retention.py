"""`edurise-backup retention plan | apply | simulate | drift`: what schedules keep, and what that means."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.maintenance import job_text
from edurise_backup.cli.output import printable, size, table

if TYPE_CHECKING:
    from edurise_backup.model.policy import RetentionPolicy
    from edurise_backup.model.retention import PointDecision
    from edurise_backup.model.simulation import Simulation
    from edurise_backup.operations.retention_drift import SeriesDrift
    from edurise_backup.operations.retention_plan import RetentionPlan

Keep = Annotated[int, typer.Option(min=-1, help="How many to keep; 0: the rule is off, -1: all.")]


def add_commands(app: typer.Typer) -> None:
    """Put the group on the top level."""
    group = typer.Typer(no_args_is_help=True, help="What the schedules' retention keeps and drops, and why.")
    for function in (plan, apply, simulate, drift):
        command(group, Product)(function)
    app.add_typer(group, name="retention")


def plan(
    product: Product,
    why: Annotated[bool, typer.Option("--why", help="Show every restore point with what keeps it.")] = False,
) -> None:
    """Show what the retention of all schedules would drop now; nothing is changed."""
    from edurise_backup.operations.retention import plan_retention

    found = plan_retention(product.settings())
    product.output.result(_plan_json(found), _plan_text(found, why), even_quiet=printable(found.refusal))


def apply(
    product: Product,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Only show what would go.")] = False,
    grace: Annotated[str, typer.Option(help="How long they can be brought back, e.g. 12h; 0: not at all.")] = "7d",
    wait: Annotated[str, typer.Option(help="Wait this long for a prune, e.g. 1h; 0: refuse at once.")] = "0",
) -> None:
    """Forget the backups that no schedule's retention, pin or hold keeps, as a job."""
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.retention import apply_retention

    settings = product.settings()
    with product.output.progress() as progress:
        job = apply_retention(
            settings=settings, actor=local_actor(), dry_run=dry_run, grace=grace, wait=wait, progress=progress
        )
    done = job.figures.forgotten if job.figures else None
    count = len(done.backups) if done else 0
    until = f"; `forget --undo ID` brings them back until {_time(done.until)} UTC" if done and done.until else ""
    product.output.result(
        job,
        f"{job_text(job)}\n{count} backups {'would be ' if dry_run else ''}forgotten{until}",
        even_quiet="\n".join(map(printable, job.warnings)),
    )


def simulate(
    product: Product,
    schedule: Annotated[str, typer.Option(help="A schedule, by name: its series, and its policy.")] = "",
    type: Annotated[str, typer.Option(help="Without a schedule: the type of backup.")] = "full",  # noqa: A002
    source: Annotated[str, typer.Option(help="Without a schedule: the one source.")] = "",
    within: Annotated[int, typer.Option(min=0, help="Another policy: days for which everything is kept.")] = 0,
    keep_last: Keep = 0,
    keep_hourly: Keep = 0,
    keep_daily: Keep = 0,
    keep_weekly: Keep = 0,
    keep_monthly: Keep = 0,
    keep_yearly: Keep = 0,
    every: Annotated[str, typer.Option(help="How often there is a backup, e.g. 1h; else as until now.")] = "",
    days: Annotated[int, typer.Option(help="How many days to come.")] = 90,
) -> int:
    """Show what a policy keeps and drops in the days to come; exit status 1 when an objective would be missed."""
    from edurise_backup.model.retention import checked_policy
    from edurise_backup.model.schedules import KeepRules
    from edurise_backup.operations.pruning import parse_duration
    from edurise_backup.operations.retention_simulation import Question, simulate_retention

    keep = KeepRules(keep_last, keep_hourly, keep_daily, keep_weekly, keep_monthly, keep_yearly)
    policy: RetentionPolicy | None = None
    if within or keep != KeepRules():
        policy = checked_policy(within, keep)
    question = Question(
        schedule=schedule,
        type=type,
        source=source,
        policy=policy,
        every=parse_duration(every) if every else None,
        days=days,
    )
    found = simulate_retention(question, settings=product.settings())
    broken = "\n".join(_broken_lines(found))
    product.output.result(_simulation_json(found), _simulation_text(found), even_quiet=broken)
    return 1 if found.broken else 0


def drift(product: Product) -> int:
    """Compare the restore points that are there with those that the policies mean; exit status 1 when they differ."""
    from edurise_backup.operations.retention_drift import drift_sentence, retention_drift

    found = retention_drift(settings=product.settings())
    wrong = [drift_sentence(one) for one in found if one.differs]
    rows = [_drift_row(one) for one in found]
    head = ["Series", "There", "Meant", "Too many", "Too few"]
    text = table(head, rows) if rows else "no series has a policy: there is no schedule of backups"
    product.output.result(found, "\n".join([text, *map(printable, wrong)]), even_quiet="\n".join(map(printable, wrong)))
    return 1 if wrong else 0


def _drift_row(one: SeriesDrift) -> list[str]:
    counts = (one.there, one.meant, len(one.too_many), len(one.too_few))
    return [one.series.titled(one.schedules), *map(str, counts)]


def _plan_text(found: RetentionPlan, why: bool) -> str:
    rows = [
        [one.series.titled(one.schedules), ", ".join(one.schedules), str(one.kept), str(one.dropped)]
        for one in found.series
    ]
    shown = [_decision_row(decision) for one in found.series for decision in one.decisions if why or not decision.keep]
    return "\n".join(
        [
            table(["Series", "Schedules", "Keep", "Drop"], rows) if rows else "there is no backup yet",
            *([table(["ID", "Type", "Taken (UTC)", "", "Why"], shown)] if shown else []),
            *(f"misses: {printable(sentence)}" for sentence in found.breaks),
            *map(printable, found.remarks),
            f"{len(found.dropped)} backups would be forgotten; they added {size(found.freed_bytes)} to the repository",
            *([f"this would be refused: {printable(found.refusal)}"] if found.refusal else []),
            "nothing was changed",
        ]
    )


def _decision_row(decision: PointDecision) -> list[str]:
    point = decision.point
    return [
        str(point.id)[:8],
        point.series.type,
        _time(point.moment),
        "keep" if decision.keep else "drop",
        ", ".join(decision.reasons),
    ]


def _plan_json(found: RetentionPlan) -> dict[str, object]:
    return {
        "as_of": found.as_of,
        "series": [
            {
                "series": one.series,
                "schedules": one.schedules,
                "kept": one.kept,
                "dropped": one.dropped,
                "decisions": [
                    {
                        "id": d.point.id,
                        "moment": d.point.moment,
                        "keep": d.keep,
                        "judged": d.judged,
                        "reasons": d.reasons,
                    }
                    for d in one.decisions
                ],
            }
            for one in found.series
        ],
        "dropped": found.dropped,
        "freed_bytes": found.freed_bytes,
        "breaks": found.breaks,
        "remarks": found.remarks,
        "refusal": found.refusal,
    }


def _simulation_text(found: Simulation) -> str:
    weeks = [day for number, day in enumerate(found.days, 1) if number % 7 == 0 or number == len(found.days)]
    rows = [[_time(day.at), str(day.kept), size(day.kept_bytes), _time(day.oldest)] for day in weeks]
    return "\n".join(
        [
            table(["At (UTC)", "Kept", "Size", "Oldest"], rows),
            f"{found.dropped} restore points go within {len(found.days)} days, {size(found.freed_bytes)} at most; "
            f"never more than {found.most} are kept at the end of a day",
            *_broken_lines(found),
        ]
    )


def _broken_lines(found: Simulation) -> list[str]:
    return [
        f"misses {one.control}: {printable(one.message)}" + (f" (from {_time(one.since)} UTC)" if one.since else "")
        for one in found.broken
    ]


def _simulation_json(found: Simulation) -> dict[str, object]:
    return {
        "begun": found.begun,
        "series": found.series,
        "days": found.days,
        "broken": found.broken,
        "dropped": found.dropped,
        "freed_bytes": found.freed_bytes,
        "most": found.most,
    }


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
