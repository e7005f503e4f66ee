"""`edurise-backup user …`: who may sign in to the dashboard, and with which roles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, table
from edurise_backup.cli.passwords import from_file, from_file_or_terminal
from edurise_backup.model.people import Role

if TYPE_CHECKING:
    from edurise_backup.model.accounts import Account
    from edurise_backup.model.database import Secret
    from edurise_backup.model.people import Actor
    from edurise_backup.operations.accounts import NewPassword
    from edurise_backup.operations.catalogs import Catalog

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Accounts of the dashboard, and their roles.")

NameArgument = Annotated[str, typer.Argument(help="The account's name.")]
Roles = Annotated[
    list[str] | None, typer.Option("--role", help=f"{', '.join(Role)}; may be repeated: one may have several.")
]
GivenPassword = Annotated[
    Path | None,
    typer.Option("--password-file", help="File that holds the first password; without it one is made and printed."),
]
Prompt = Annotated[bool, typer.Option("--prompt", help="Ask for the first password here.")]


@command(app, Product)
def add(
    product: Product,
    name: NameArgument,
    role: Roles = None,
    password_file: GivenPassword = None,
    prompt: Prompt = False,
) -> None:
    """Make an account. Its password is to be changed at the first sign-in; a made one is printed once."""
    from edurise_backup.operations.accounts import add_account

    made = _do(
        product,
        lambda catalog, by: add_account(catalog, name, role or (), by=by, password=_given(name, password_file, prompt)),
    )
    _tell_new(product, made, f"made the account {made.account.name} ({_roles(made.account)})")


@command(app, Product, "list")
def list_accounts(product: Product) -> None:
    """Show all accounts: roles, locks, last sign-ins."""
    accounts = _do(product, lambda catalog, by: catalog.accounts.all())
    now = datetime.now(UTC)
    rows = [
        [account.name, _roles(account), standing(account, now), _time(account.last_sign_in_at), account.created_by]
        for account in accounts
    ]
    text = table(["Name", "Roles", "State", "Last sign-in (UTC)", "Made by"], rows) if rows else _NOBODY
    product.output.result([_json(account) for account in accounts], text)


@command(app, Product)
def set_roles(product: Product, name: NameArgument, role: Roles = None) -> None:
    """Give an account exactly these roles; it must sign in anew."""
    from edurise_backup.operations import accounts

    account = _do(product, lambda catalog, by: accounts.set_roles(catalog, name, role or (), by=by))
    product.output.result(_json(account), f"{account.name} is {_roles(account)}")


@command(app, Product)
def disable(product: Product, name: NameArgument) -> None:
    """Let an account sign in no more; its sessions end at once."""
    from edurise_backup.operations.accounts import disable_account

    account = _do(product, lambda catalog, by: disable_account(catalog, name, by=by))
    product.output.result(_json(account), f"{account.name} may not sign in any more")


@command(app, Product)
def enable(product: Product, name: NameArgument) -> None:
    """Let an account sign in again; a lock after failed attempts ends, too."""
    from edurise_backup.operations.accounts import enable_account

    account = _do(product, lambda catalog, by: enable_account(catalog, name, by=by))
    product.output.result(_json(account), f"{account.name} may sign in")


@command(app, Product)
def reset_password(
    product: Product, name: NameArgument, password_file: GivenPassword = None, prompt: Prompt = False
) -> None:
    """Give an account a password that is to be changed at the next sign-in; a made one is printed once."""
    from edurise_backup.operations import accounts

    made = _do(
        product,
        lambda catalog, by: accounts.reset_password(catalog, name, by=by, password=_given(name, password_file, prompt)),
    )
    _tell_new(product, made, f"{made.account.name} has another password, and is signed out everywhere")


@command(app, Product)
def change_password(
    product: Product,
    name: NameArgument,
    password_file: Annotated[
        Path | None, typer.Option("--password-file", help="File with the password so far; without it you are asked.")
    ] = None,
    new_password_file: Annotated[
        Path | None, typer.Option("--new-password-file", help="File with the new one; without it you are asked.")
    ] = None,
) -> None:
    """Choose a password of your own."""
    from edurise_backup.model.people import Via
    from edurise_backup.operations import accounts

    old = from_file_or_terminal(password_file, name)
    new = from_file_or_terminal(new_password_file, f"{name} (the new one)", twice=True)
    account = _do(product, lambda catalog, by: accounts.change_password(catalog, name, old, new, via=Via.COMMAND_LINE))
    product.output.result(_json(account), f"{account.name} has a new password")


@command(app, Product)
def remove(product: Product, name: NameArgument) -> None:
    """Remove an account; the audit trail keeps what it did."""
    from edurise_backup.operations.accounts import remove_account

    account = _do(product, lambda catalog, by: remove_account(catalog, name, by=by))
    product.output.result(_json(account), f"removed the account {account.name}")


_NOBODY = """\
there is no account yet: the dashboard lets whoever sits at this machine look, back up, verify and recover.
To do: edurise-backup user add NAME --role admin"""


def standing(account: Account, now: datetime) -> str:
    """Return in a word or two whether the account can sign in."""
    if not account.enabled:
        return "disabled"
    if account.locked_until and account.locked_until > now:
        return f"locked until {_time(account.locked_until)}"
    return "must change its password" if account.must_change else "active"


def _do(product: Product, work: Callable[[Catalog, Actor], T]) -> T:
    from edurise_backup.operations.catalogs import open_catalog
    from edurise_backup.operations.people import local_actor

    with open_catalog(product.settings()) as catalog:
        return work(catalog, local_actor())


def _given(name: str, path: Path | None, prompt: bool) -> Secret | None:
    if path is not None:
        return from_file(path)
    return from_file_or_terminal(None, name, twice=True) if prompt else None


def _tell_new(product: Product, made: NewPassword, said: str) -> None:
    one_time = made.one_time.reveal() if made.one_time else None
    told = f"\none-time password: {one_time}\nIt is shown this once, and is to be changed at the first sign-in."
    product.output.result(
        {**_json(made.account), "one_time_password": one_time},
        said + (told if one_time else ""),
        even_quiet=one_time or "",
    )


def _roles(account: Account) -> str:
    return ", ".join(role.value for role in Role if role in account.roles)


def _json(account: Account) -> dict[str, object]:
    return {
        "id": account.id,
        "name": account.name,
        "roles": [role.value for role in Role if role in account.roles],
        "enabled": account.enabled,
        "must_change_password": account.must_change,
        "failures": account.failures,
        "locked_until": account.locked_until,
        "last_sign_in_at": account.last_sign_in_at,
        "created_at": account.created_at,
        "created_by": printable(account.created_by),
    }


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M") if moment else ""
