"""`edurise-backup approval …`: what needs a second person, and that person's word.

One login of the operating system may be used by two people, or by one who acts
as two: so whoever decides proves who he is with his account's password.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, table
from edurise_backup.cli.passwords import PasswordFile, from_file_or_terminal

if TYPE_CHECKING:
    from edurise_backup.model.approvals import Approval

app = typer.Typer(no_args_is_help=True, help="What needs a second person.")

IdArgument = Annotated[str, typer.Argument(help="The approval's id, or its beginning.")]
AsOption = Annotated[str, typer.Option("--as", help="Your account; it needs the role approver.")]
Note = Annotated[str, typer.Option(help="Why; kept with the decision.")]


@command(app, Product, "list")
def list_approvals(
    product: Product,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those that can be decided now.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
) -> None:
    """Show what was asked for, the newest first."""
    from edurise_backup.operations.catalogs import open_catalog

    with open_catalog(product.settings()) as catalog:
        found = catalog.approvals.waiting() if waiting else catalog.approvals.newest(limit=limit)
    now = datetime.now(UTC)
    rows = [
        [
            str(one.id)[:8],
            one.act,
            one.state(now).value,
            printable(one.requested_by),
            _time(one.requested_at),
            printable(one.decided_by or ""),
            _time(one.expires_at),
        ]
        for one in found
    ]
    head = ["ID", "What", "State", "Asked by", "Asked (UTC)", "Decided by", "Until (UTC)"]
    product.output.result([as_json(one, now) for one in found], table(head, rows) if rows else "nothing was asked for")


@command(app, Product)
def show(product: Product, approval: IdArgument) -> None:
    """Show one request with the whole plan: what is approved is this, and nothing else."""
    from edurise_backup.operations.catalogs import open_catalog

    with open_catalog(product.settings()) as catalog:
        found = catalog.approvals.get(approval)
    _tell(product, found)


@command(app, Product)
def approve(
    product: Product, approval: IdArgument, as_: AsOption, password_file: PasswordFile = None, note: Note = ""
) -> None:
    """Agree that the plan may be carried out, once, within an hour."""
    _decide(product, approval, as_, password_file, note, agreed=True)


@command(app, Product)
def deny(
    product: Product, approval: IdArgument, as_: AsOption, password_file: PasswordFile = None, note: Note = ""
) -> None:
    """Refuse a request."""
    _decide(product, approval, as_, password_file, note, agreed=False)


def _decide(product: Product, approval: str, name: str, password_file: Path | None, note: str, *, agreed: bool) -> None:
    from edurise_backup.operations.accounts import prove_person
    from edurise_backup.operations.catalogs import open_catalog

    with open_catalog(product.settings()) as catalog:
        wanted = catalog.approvals.get(approval)
        person = prove_person(catalog, name, from_file_or_terminal(password_file, name))
        decided = catalog.approvals.decide(wanted.id, person, agreed=agreed, note=note)
    _tell(product, decided)


def _tell(product: Product, approval: Approval) -> None:
    now = datetime.now(UTC)
    plan = json.dumps(json.loads(approval.plan), indent=2, ensure_ascii=False)
    lines = [
        f"approval {approval.id}: {approval.act}, {approval.state(now).value}",
        f"asked for by {approval.requested_by} at {_time(approval.requested_at)} UTC",
    ]
    if approval.decided_by:
        word = "approved" if approval.agreed else "denied"
        lines.append(f"{word} by {approval.decided_by} at {_time(approval.decided_at)} UTC {approval.note}".rstrip())
    if approval.used_by:
        lines.append(f"used by {approval.used_by} at {_time(approval.used_at)} UTC")
    lines += [f"ends at {_time(approval.expires_at)} UTC", f"plan (SHA-256 {approval.plan_hash}):"]
    text = "\n".join([*map(printable, lines), *(f"  {printable(line)}" for line in plan.splitlines())])
    product.output.result(as_json(approval, now), text)


def as_json(approval: Approval, now: datetime) -> dict[str, object]:
    """Return an approval as one JSON object, its plan within."""
    return {
        "id": approval.id,
        "act": approval.act,
        "state": approval.state(now).value,
        "plan": json.loads(approval.plan),
        "plan_sha256": approval.plan_hash,
        "requested_by": approval.requested_by,
        "requested_at": approval.requested_at,
        "decided_by": approval.decided_by,
        "decided_at": approval.decided_at,
        "note": approval.note,
        "used_by": approval.used_by,
        "used_at": approval.used_at,
        "expires_at": approval.expires_at,
    }


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else ""
