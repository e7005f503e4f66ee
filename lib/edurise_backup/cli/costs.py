"""`edurise-backup costs`, and what `recover --dry-run` says: requests, bytes and money."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, size, table

if TYPE_CHECKING:
    from edurise_backup.model.prices import Price
    from edurise_backup.operations.costs import StoreCosts
    from edurise_backup.operations.quoting import RecoveryQuote

UNPRICED = "no prices are set: [repository.prices], see docs/operations/object-storage.md"


def add_commands(app: typer.Typer) -> None:
    """Put the command on the top level."""
    command(app, Product)(costs)


def costs(product: Product) -> None:
    """Show what each store is asked for this month, by kind of job, and what that and a recovery cost."""
    from edurise_backup.operations import copy_costs, store_costs

    settings = product.settings()
    found, copies = store_costs(settings=settings), copy_costs(settings=settings)
    document = {**_json(found), "copies": [_json(copy) for copy in copies]}
    product.output.result(document, "\n\n".join(map(_text, (found, *copies))))


def _json(found: StoreCosts) -> dict[str, object]:
    recovery = found.recovery
    return {
        "store": found.store,
        "location": found.location,
        "as_of": found.as_of,
        "stored_bytes": found.stored_bytes,
        "this_month": [
            {"kind": one.kind, "jobs": one.jobs, "operations": dict(one.traffic.operations)} for one in found.this_month
        ],
        "month": {"demand": found.month.demand, "price": price_json(found.month.price)},
        "recovery": recovery
        and {
            "backup": recovery.backup.id,
            "demand": recovery.demand,
            "measured": recovery.measured,
            "price": price_json(recovery.price),
        },
        "object_lock": found.lock,
        "locks": found.locks,
        "locked_until": found.locked_until,
    }


def _text(found: StoreCosts) -> str:
    rows = [
        [
            one.kind,
            str(one.jobs),
            operation,
            f"{count.requests:,}",
            size(count.sent),
            size(count.received),
        ]
        for one in found.this_month
        for operation, count in sorted(one.traffic.operations.items())
    ]
    head = ["Jobs of", "Jobs", "Operation", "Requests", "Sent", "Received"]
    month, recovery = found.month, found.recovery
    stored = "unknown size" if found.stored_bytes is None else size(found.stored_bytes)
    lines = [
        f"{found.store}: {printable(found.location)}: {stored}, object lock {found.lock}",
        table(head, rows) if rows else "no requests were counted this month: a directory has none",
        f"the month, going on like this: {month.demand.writes:,} writes, {month.demand.reads:,} reads, "
        f"{size(month.demand.received)} fetched, {size(month.stored)} stored: {_price(month.price)}",
    ]
    if recovery:
        sure = "measured by its verification" if recovery.measured else "at most: what its sources held"
        lines.append(
            f"bringing back the newest full backup: {recovery.demand.reads:,} reads, "
            f"{size(recovery.demand.received)} fetched ({sure}): {_price(recovery.price)}"
        )
    if found.locks and found.locks.earliest:
        behind = f"; {found.locks.behind:,} objects wait for the next prune" if found.locks.behind else ""
        lines.append(f"the first object lock ends {found.locks.earliest:%Y-%m-%d %H:%M} UTC{behind}")
    return "\n".join([*lines, *([] if month.price else [UNPRICED])])


def _price(price: Price | None) -> str:
    return str(price) if price else "not priced"


def price_json(price: Price | None) -> dict[str, object] | None:
    """Return a price with its sum."""
    if price is None:
        return None
    return {
        "currency": price.currency,
        "requests": price.requests,
        "storage": price.storage,
        "egress": price.egress,
        "total": price.total,
    }


def quote_json(quote: RecoveryQuote) -> dict[str, object]:
    """Return a quote as a document."""
    return {
        "dry_run": True,
        "backup": quote.backup_id,
        "store": quote.store,
        "store_name": quote.name,
        "store_notes": quote.notes,
        "restored_bytes": quote.restored_bytes,
        "parts": quote.parts,
        "demand": quote.demand,
        "price": price_json(quote.price),
    }


def quote_text(quote: RecoveryQuote) -> str:
    """Describe a quote for a person."""
    rows = [
        [
            part.part.value,
            printable(part.source),
            size(part.restored_bytes),
            f"{part.requests:,}",
            size(part.fetched_bytes),
        ]
        for part in quote.parts
    ]
    asked = f"{quote.demand.reads:,} reads and {quote.demand.writes:,} writes and listings"
    total = f"in all {asked}, {size(quote.demand.received)} fetched from {printable(quote.store)}"
    if not quote.demand.reads:
        total = f"from the directory {printable(quote.store)}, which costs nothing"
    price = f"price: {quote.price}" if quote.price else UNPRICED if quote.demand.reads else ""
    head = ["Part", "Source", "Restored", "Reads", "Fetched"]
    notes = [f"store: {printable(note)}" for note in quote.notes]
    return "\n".join(filter(None, [table(head, rows), *notes, total, price, "nothing was changed"]))
