"""`edurise-backup pin | hold`: backups that no policy drops."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.jobs import BackupWord
from edurise_backup.cli.output import table

if TYPE_CHECKING:
    from edurise_backup.catalog.protections import ProtectionRow
    from edurise_backup.model.protections import Protection, ProtectionKind

Reason = Annotated[str, typer.Option(help="Why it must stay; shown wherever it keeps the backup.")]
Word = Annotated[str, typer.Argument(help="Its id or its backup's, or the beginning of one.")]


def add_commands(app: typer.Typer) -> None:
    """Put the two groups on the top level."""
    pins = typer.Typer(no_args_is_help=True, help="Keep a backup whatever a policy says, until the pin is removed.")
    command(pins, Product, "add")(add_pin)
    command(pins, Product, "remove")(take_pin_away)
    command(pins, Product, "list")(list_pins)
    app.add_typer(pins, name="pin")
    holds = typer.Typer(no_args_is_help=True, help="Put a backup on legal hold: nobody drops it before its release.")
    command(holds, Product, "add")(add_hold)
    command(holds, Product, "release")(let_go)
    command(holds, Product, "list")(list_holds)
    app.add_typer(holds, name="hold")


def add_pin(product: Product, backup: BackupWord, reason: Reason) -> None:
    """Pin a backup: neither a policy nor `forget` drops it, by name either."""
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.protections import pin_backup

    made = pin_backup(backup, reason, actor=local_actor(), settings=product.settings())
    product.output.result(made, _placed(made))


def take_pin_away(product: Product, pin: Word) -> None:
    """Remove a pin: the policy of its series judges the backup again."""
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.protections import remove_pin

    done = remove_pin(pin, actor=local_actor(), settings=product.settings())
    product.output.result(done, f"the pin {str(done.id)[:8]} on the backup {done.backup_id} is removed")


def list_pins(product: Product) -> int:
    """List the pins; exit status 1 when one is gone from the repository unreleased."""
    from edurise_backup.model.protections import ProtectionKind

    return _list(product, ProtectionKind.PIN)


def add_hold(
    product: Product,
    backup: BackupWord,
    reason: Reason,
    until: Annotated[
        datetime | None, typer.Option(help="When it ends by itself (UTC); without it, when it is released.")
    ] = None,
) -> None:
    """Put a backup on legal hold; what is forgotten already, and can be brought back, stays so as long as it lasts."""
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.protections import hold_backup

    end = until.replace(tzinfo=UTC) if until else None
    made = hold_backup(backup, reason, actor=local_actor(), until=end, settings=product.settings())
    product.output.result(made, _placed(made))


def let_go(product: Product, hold: Word) -> None:
    """Release a legal hold; recorded in the audit trail."""
    from edurise_backup.operations.people import local_actor
    from edurise_backup.operations.protections import release_hold

    done = release_hold(hold, actor=local_actor(), settings=product.settings())
    product.output.result(done, f"the hold {str(done.id)[:8]} on the backup {done.backup_id} is released")


def list_holds(product: Product) -> int:
    """List the legal holds; exit status 1 when one is gone from the repository unreleased."""
    from edurise_backup.model.protections import ProtectionKind

    return _list(product, ProtectionKind.HOLD)


def _list(product: Product, kind: ProtectionKind) -> int:
    from edurise_backup.operations.protections import list_protections, vanished_sentence

    found = list_protections(kind, settings=product.settings())
    now = datetime.now(UTC)
    rows = [
        [
            str(row.id)[:8],
            str(row.backup_id)[:8],
            _state(row, now),
            row.who,
            f"{row.since:%Y-%m-%d %H:%M}",
            f"{row.until:%Y-%m-%d %H:%M}" if row.until else "",
            row.reason,
        ]
        for row in found
    ]
    head = ["ID", "Backup", "State", "By", "Since (UTC)", "Until", "Reason"]
    gone = [vanished_sentence(row) for row in found if row.missing_since is not None]
    text = table(head, rows) if rows else f"there is no {kind.value}"
    product.output.result(found, "\n".join([text, *gone]), even_quiet="\n".join(gone))
    return 1 if gone else 0


def _state(row: ProtectionRow, now: datetime) -> str:
    if row.missing_since is not None:
        return "VANISHED"
    return "in force" if row.protection.active(now) else "ended"


def _placed(made: Protection) -> str:
    return (
        f"{made.kind.value} {str(made.id)[:8]}: the backup {made.backup_id} stays, with {len(made.snapshots)} "
        f"snapshots{f' until {made.until:%Y-%m-%d %H:%M} UTC' if made.until else ''}\n"
        f"`{made.remedy}` ends it"
    )
