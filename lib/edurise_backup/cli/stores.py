"""`edurise-backup store register | list | probe | remove`: where repositories lie."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from edurise_backup.cli.command import Product, command
from edurise_backup.cli.output import printable, size, table

app = typer.Typer(no_args_is_help=True, help="The stores: the primary repository and its copies.")


def register(
    product: Product,
    name: Annotated[str, typer.Argument(help="What the copy is called from now on.")],
    location: Annotated[str, typer.Argument(help="A directory, or s3:https://HOST/BUCKET/FOLDER.")],
    password_file: Annotated[Path, typer.Option("--password-file", "-p", help="File with its own passphrase.")],
    access_key_file: Annotated[Path | None, typer.Option(help="Of a bucket: file with the access key id.")] = None,
    secret_key_file: Annotated[Path | None, typer.Option(help="Of a bucket: file with the secret key.")] = None,
    bucket_profile: Annotated[str, typer.Option(help="Of a bucket: profile, in place of two files.")] = "",
    region: Annotated[str, typer.Option(help="Of a bucket: its region.")] = "",
    ca_file: Annotated[Path | None, typer.Option(help="Of a bucket: certificates of the authorities to trust.")] = None,
    allow_plaintext: Annotated[bool, typer.Option("--allow-plaintext", help="Allow s3:http://….")] = False,
    lag_hours: Annotated[int, typer.Option(min=1, help="How long a restore point may wait for its copy.")] = 26,
) -> None:
    """Register a further copy: probe its place, make or open its repository, refuse what would harm."""
    from edurise_backup.config.places import absolute, store_place
    from edurise_backup.model.settings import CopySettings
    from edurise_backup.operations import register_store

    here = Path.cwd()
    found = CopySettings(
        name=name,
        location=store_place(location, here),
        lag_hours=lag_hours,
        password_file=absolute(str(password_file), here),
        access_key_file=absolute(str(access_key_file or ""), here),
        secret_key_file=absolute(str(secret_key_file or ""), here),
        profile=bucket_profile,
        region=region,
        ca_file=absolute(str(ca_file or ""), here),
        allow_plaintext=allow_plaintext,
    )
    with product.output.progress() as progress:
        done = register_store(name, found, settings=product.settings(), progress=progress)
    key = (
        f"\nits recovery key, shown this once: {done.recovery_key}\nkeep it elsewhere: it opens the copy alone"
        if done.recovery_key
        else ""
    )
    said = "its repository was made" if done.made else "its repository was there, and opens"
    product.output.result(
        {"name": name, "location": found.location, "made": done.made, "recovery_key": done.recovery_key},
        f"{name} is registered: {printable(found.location)}; {said}{key}\n"
        f"`edurise-backup copy run {name}` brings the first copies",
        even_quiet=key.strip(),
    )


def init(product: Product, name: Annotated[str, typer.Argument(help="A copy that the configuration names.")]) -> None:
    """Make the repository of a copy that the configuration names; prints its recovery key, once."""
    from edurise_backup.operations import make_copy

    done = make_copy(name, settings=product.settings())
    key = f"its recovery key, shown this once: {done.recovery_key}\nkeep it elsewhere: it opens the copy alone"
    if done.replaces:
        key += f"\nanother repository was there before: `edurise-backup store adopt {name}` forgets what it had"
    product.output.result(
        {"name": name, "recovery_key": done.recovery_key}, f"made the copy {name}\n{key}", even_quiet=key
    )


def list_stores(product: Product) -> None:
    """List the stores, the primary first, as they were last seen."""
    from edurise_backup.operations import list_stores as stores_of

    found = stores_of(settings=product.settings())
    rows = [
        [
            row.name,
            row.origin.value,
            printable(row.location),
            str(row.snapshots if row.snapshots is not None else ""),
            size(row.bytes) if row.bytes is not None else "",
            _time(row.seen_at),
            _time(row.probed_at),
            printable(row.trouble),
        ]
        for row in found
    ]
    head = ["Name", "Named by", "Location", "Snapshots", "Size", "Seen (UTC)", "Probed (UTC)", "Trouble"]
    product.output.result(found, table(head, rows) if rows else "no store is configured")


def probe(product: Product, name: Annotated[str, typer.Argument(help="A store, or `primary`.")]) -> int:
    """Open a store and find out what its server really does; exit status 1 when it is not fit."""
    from edurise_backup.operations import probe_store

    with product.output.progress() as progress:
        job = probe_store(name, settings=product.settings(), progress=progress)
    lines = [f"DANGER: {printable(danger)}" for danger in job.findings]
    lines += [f"note: {printable(remark)}" for remark in job.remarks]
    snapshots = job.figures.snapshots if job.figures else 0
    product.output.result(job, "\n".join([*lines, f"{name} opens, {snapshots} snapshots"]), even_quiet="\n".join(lines))
    return 1 if job.findings else 0


def adopt(product: Product, name: Annotated[str, typer.Argument(help="A copy, or `primary`.")] = "primary") -> None:
    """Take the repository that lies in a store's place now for that store's from here on."""
    from edurise_backup.operations import adopt_store

    row = adopt_store(name, settings=product.settings())
    then = "`edurise-backup check` says which backups are not in it"
    if name != "primary":
        then = f"`edurise-backup copy run {name}` brings what it lacks"
    product.output.result(
        row, f"{name} is the repository {row.repository_id[:8]} at {printable(row.location)} from now on; {then}"
    )


def remove(product: Product, name: Annotated[str, typer.Argument(help="A registered copy.")]) -> None:
    """Take a copy out of the register; its repository stays as it is."""
    from edurise_backup.operations import remove_store

    row = remove_store(name, settings=product.settings())
    product.output.result(row, f"{name} is not in the register any more; {printable(row.location)} was not touched")


command(app, Product)(register)
command(app, Product)(init)
command(app, Product, "list")(list_stores)
command(app, Product)(probe)
command(app, Product)(adopt)
command(app, Product)(remove)


def _time(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if moment else ""
