"""`edurise-backup repo diff | find | dump | copy | mount`: look into snapshots, and take them elsewhere."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edurise_backup.cli.command import Engine, command
from edurise_backup.cli.output import printable, size, table
from edurise_backup.cli.repo import HostOption, NoLock, PathOption, SnapshotWord, TagOption, snapshot_filter
from edurise_backup.errors import InputError

if TYPE_CHECKING:
    from edurise_backup.model.content import Node
    from edurise_backup.recovery.comparing import Change, Count, Summary
    from edurise_backup.recovery.finding import Version
    from edurise_backup.repository.copying import Copied


def add_commands(app: typer.Typer) -> None:
    """Put the commands beside those that write and read snapshots."""
    for function in (diff, find, dump, copy, mount):
        command(app, Engine)(function)


def copy(
    engine: Engine,
    to: Annotated[str, typer.Option("--to", metavar="LOCATION", help="The repository that receives the snapshots.")],
    to_password_file: Annotated[Path, typer.Option("--to-password-file", help="File with its passphrase.")],
    ids: Annotated[list[str] | None, typer.Argument(help="Snapshots to copy; none: all that pass the filters.")] = None,
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
    no_lock: NoLock = False,
    to_access_key_file: Annotated[
        Path | None, typer.Option("--to-access-key-file", help="Of its bucket: file with the access key id.")
    ] = None,
    to_secret_key_file: Annotated[
        Path | None, typer.Option("--to-secret-key-file", help="Of its bucket: file with the secret key.")
    ] = None,
    to_profile: Annotated[
        str, typer.Option("--to-profile", help="Of its bucket: profile, in place of two files.")
    ] = "",
    to_region: Annotated[str, typer.Option("--to-region", help="Of its bucket: its region.")] = "",
    to_ca_file: Annotated[
        Path | None, typer.Option("--to-ca-file", help="Of its bucket: certificates of the authorities to trust.")
    ] = None,
) -> int:
    """Copy snapshots into another repository, each blob proved on the way; exit status 1 when one was left behind.

    What is there already is not read again: a copy that was interrupted goes on with the same command. Without
    --to-… keys the bucket that receives is reached by the credential of the one that gives.
    """
    from edurise_backup.config import s3_access
    from edurise_backup.model.settings import RepositorySettings
    from edurise_backup.operations.browsing import choose_several, refuse_same_place
    from edurise_backup.operations.opening import locked, readable
    from edurise_backup.operations.secrets import known, read_secret_file
    from edurise_backup.repository.copying import copy_snapshots

    with engine.output.progress() as progress:
        source = engine.repository()
        access = s3_access(
            RepositorySettings(
                access_key_file=str(to_access_key_file or ""),
                secret_key_file=str(to_secret_key_file or ""),
                profile=to_profile,
                region=to_region,
                ca_file=str(to_ca_file or ""),
                allow_plaintext=s3_access().allow_plaintext,
            )
        )
        destination = engine.other_repository(
            to, known(read_secret_file(to_password_file, "--to-password-file")).reveal(), access
        )
        refuse_same_place(source, destination)
        with readable(source, lock=not no_lock), locked(destination) as lock:
            unreadable: list[str] = []
            chosen = choose_several(source, ids or [], snapshot_filter(host, path, tag), unreadable)
            done = copy_snapshots(source, destination, chosen, lock, progress=progress)
    done.problems[:0] = [*unreadable, *source.damage]
    _show_copied(engine, done)
    return 1 if done.problems else 0


def _show_copied(engine: Engine, done: Copied) -> None:
    problems = list(map(printable, done.problems))
    engine.output.result(
        done,
        "\n".join(
            [
                *problems,
                *(f"copied {item.source[:8]} as {item.copy[:8]}" for item in done.snapshots),
                *(f"{item.source[:8]} is there already as {item.copy[:8]}" for item in done.skipped),
                f"{len(done.snapshots)} snapshots copied, {len(done.skipped)} were there already; "
                f"{done.blobs} blobs, {size(done.stored_bytes)} stored ({size(done.plain_bytes)} before compression)",
            ]
        ),
        even_quiet="\n".join(problems),
    )


def diff(
    engine: Engine,
    before: SnapshotWord,
    after: SnapshotWord,
    metadata: Annotated[bool, typer.Option("--metadata", help="Also list paths whose metadata alone differs.")] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="Read equal directories, too: what they share counts as kept.")
    ] = False,
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
) -> int:
    """Compare two snapshots: + added, - removed, M content, T type, U metadata; exit status 3 with unreadable parts."""
    from edurise_backup.operations.snapshots import choose, tree_of
    from edurise_backup.recovery.comparing import Comparison

    repository = engine.repository()
    among = snapshot_filter(host, path, tag)
    chosen = [choose(repository, word, among) for word in (before, after)]
    with engine.output.progress() as progress:
        repository.load_index(strict=False)
        trees = [tree_of(repository, one) for one in chosen]
        comparison = Comparison(repository, *trees, progress=progress, metadata=metadata, exact=exact)
        changes = list(comparison.changes())
    summary = comparison.summary
    summary.problems += repository.damage
    engine.output.result(
        {
            "before": chosen[0].id,
            "after": chosen[1].id,
            "changes": [_change_as_json(change) for change in changes],
            "summary": summary,
        },
        "\n".join([*map(_change_line, changes), *map(printable, summary.problems), *_summary_lines(summary)]),
        even_quiet="\n".join(map(printable, summary.problems)),
    )
    return 3 if summary.problems else 0


def _change_as_json(change: Change) -> dict[str, object]:
    sizes = [node.size if node is not None and node.type == "file" else None for node in (change.before, change.after)]
    return {"path": change.path, "mark": change.mark, "size_before": sizes[0], "size_after": sizes[1]}


def _change_line(change: Change) -> str:
    before, after = (_size_of(node) for node in (change.before, change.after))
    sizes = f"{before} -> {after}" if before and after and before != after else after or before
    return f"{change.mark:<4} {printable(change.path)}" + (f"  ({sizes})" if sizes else "")


def _size_of(node: Node | None) -> str:
    return size(node.size) if node is not None and node.type == "file" else ""


def _summary_lines(summary: Summary) -> list[str]:
    def line(word: str, count: Count) -> str:
        return (
            f"{word:<8} {count.files} files, {count.dirs} directories, {count.others} others; {size(count.bytes)} "
            f"in {count.data_blobs} data blobs and {count.tree_blobs} trees"
        )

    return [line("added", summary.added), line("removed", summary.removed), f"changed  {summary.changed_files} files"]


def find(
    engine: Engine,
    patterns: Annotated[list[str], typer.Argument(help="Names or paths to look for; * ? [ ] ** as in --exclude.")],
    oldest: Annotated[str, typer.Option(metavar="TIME", help="Modified at this time (UTC) or later.")] = "",
    newest: Annotated[str, typer.Option(metavar="TIME", help="Modified at this time (UTC) or before.")] = "",
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
) -> int:
    """Find paths in all snapshots that pass the filters, a row a version; exit status 3 with unreadable parts."""
    from edurise_backup.operations.written import parse_moment
    from edurise_backup.recovery.finding import Search, Wanted

    wanted = Wanted(patterns, parse_moment(oldest) if oldest else None, parse_moment(newest) if newest else None)
    repository = engine.repository()
    problems: list[str] = []
    among = snapshot_filter(host, path, tag).apply(repository.readable_snapshots(problems))
    with engine.output.progress() as progress:
        repository.load_index(strict=False)
        search = Search(repository, among, wanted, progress=progress)
        versions = list(search.versions())
    problems += [*repository.damage, *search.problems]
    rows = [
        [
            *(one.path, one.node.type, str(one.node.size), one.node.mtime[:19].replace("T", " ")),
            *(one.first[:8], one.last[:8], str(one.snapshots)),
        ]
        for one in versions
    ]
    head = ["Path", "Type", "Bytes", "Modified (UTC)", "First", "Last", "Snapshots"]
    engine.output.result(
        {"versions": [_version_as_json(version) for version in versions], "problems": problems},
        "\n".join([*map(printable, problems), table(head, rows), f"{len(rows)} versions in {len(among)} snapshots"]),
        even_quiet="\n".join(map(printable, problems)),
    )
    return 3 if problems else 0


def _version_as_json(version: Version) -> dict[str, object]:
    node = version.node
    return {
        "path": version.path,
        "type": node.type,
        "size": node.size,
        "mtime": node.mtime,
        "first": version.first,
        "last": version.last,
        "snapshots": version.snapshots,
    }


def dump(
    engine: Engine,
    snapshot: SnapshotWord,
    file: Annotated[str, typer.Argument(metavar="PATH", help="A file in the snapshot; with --archive a directory.")],
    target: Annotated[
        Path | None, typer.Option("--target", "-t", help="Write a new file, which gets its name when it is whole.")
    ] = None,
    archive: Annotated[str, typer.Option("--archive", metavar="tar", help="Write a directory as an archive.")] = "",
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
    no_lock: NoLock = False,
) -> int:
    """Write one file to standard output, each byte proved; after an error what was written is incomplete."""
    from edurise_backup.operations.browsing import dump_path
    from edurise_backup.operations.opening import readable
    from edurise_backup.operations.snapshots import choose, tree_of
    from edurise_backup.recovery.drains import StandardOutput, new_file

    if archive not in ("", "tar"):
        raise InputError(f"the archive format {archive!r} is not known", hint="use --archive tar")
    repository = engine.repository()
    chosen = choose(repository, snapshot, snapshot_filter(host, path, tag))
    with ExitStack() as stack:
        progress = stack.enter_context(engine.output.progress())
        stack.enter_context(readable(repository, lock=not no_lock))
        tree = tree_of(repository, chosen)
        drain = StandardOutput() if target is None else stack.enter_context(new_file(target))
        done = dump_path(repository, tree, file, drain, as_tar=archive == "tar", progress=progress)
    problems = "\n".join(map(printable, done.problems))
    if target is not None:
        text = f"wrote {size(done.bytes)} of snapshot {chosen.id[:8]} to {target}"
        result = {"snapshot_id": chosen.id, "path": file, "bytes": done.bytes, "problems": done.problems}
        engine.output.result(result, "\n".join(filter(None, [problems, text])), even_quiet=problems)
    elif problems:
        typer.echo(problems, err=True)
    return 3 if done.problems else 0


def mount(
    engine: Engine,
    ids: Annotated[list[str] | None, typer.Argument(help="Snapshots to show; none: all that pass the filters.")] = None,
    *,
    mountpoint: Annotated[Path, typer.Argument(help="An empty directory.")],
    cache: Annotated[str, typer.Option(metavar="SIZE", help="Memory for what was read last.")] = "128M",
    allow_other: Annotated[
        bool, typer.Option("--allow-other", help="Let other users in; files then show to whom their mode allows.")
    ] = False,
    host: HostOption = None,
    path: PathOption = None,
    tag: TagOption = None,
    no_lock: NoLock = False,
) -> int:
    """Show snapshots as directories, read-only, until Ctrl-C or an unmount; exit status 3 after unreadable parts.

    ids/ID holds each snapshot, snapshots/TIME and hosts/HOST/TIME lead to it. Later snapshots do not appear.
    """
    from edurise_backup.operations.browsing import choose_several
    from edurise_backup.operations.opening import readable
    from edurise_backup.operations.written import parse_size
    from edurise_backup.recovery.mounting import mount as mount_files
    from edurise_backup.recovery.snapshot_files import SnapshotFiles

    cache_bytes = parse_size(cache)
    repository = engine.repository()
    problems: list[str] = []
    with readable(repository, lock=not no_lock):
        chosen = choose_several(repository, ids or [], snapshot_filter(host, path, tag), problems)
        problems += repository.damage
        files = SnapshotFiles(repository, chosen, cache_bytes=cache_bytes)
        problems += mount_files(files, mountpoint, allow_other=allow_other)
    text = "\n".join([*map(printable, problems), f"{mountpoint} was unmounted"])
    result = {"snapshots": list(chosen), "problems": problems}
    engine.output.result(result, text, even_quiet="\n".join(map(printable, problems)))
    return 3 if problems else 0
