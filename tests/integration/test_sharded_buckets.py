"""Buckets that several workers share: the snapshot of one process, whatever the keys, and one listing in all."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConfigError
from edurise_backup.model.content import Node
from edurise_backup.model.jobs import JobStatus, RecoveryTarget, Verdict
from edurise_backup.model.shards import NameRange, ShardGoal
from edurise_backup.operations.shard_work import do_order
from edurise_backup.ports import Entry
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from edurise_backup.sources.bucket import READERS
from tests.support import engine
from tests.support.bucket_product import move_bucket, protect_bucket
from tests.support.bucket_snapshots import (
    BEFORE,
    content,
    described_in_snapshot,
    described_older,
    keys_for,
    listed_older,
    saved_files,
)
from tests.support.buckets import PLAIN_KEYS, Saving, described, fill, key_and_bytes
from tests.support.catalog import Product, run_json
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket
from tests.support.sharding import ThreadWorkers, save_in_shards

pytestmark = pytest.mark.usefixtures("credential")
SMALL = ("b-1", "b/x", "b/y/z", "b.c", "b0", "photos-5/a", "photos-7", "photos/1", "photos/2/3", "photos1", "z")


@pytest.fixture
def repository() -> Repository:
    """Give an empty repository."""
    return engine.create()


@pytest.fixture
def saving(server: S3Server, tmp_path: Path) -> Saving:
    """Give a bucket with objects of every kind."""
    made = Saving(server, new_bucket(server), tmp_path)
    fill(server, made.bucket, dict.fromkeys((*keys_for(server), *SMALL)))
    return made


def in_shards(repository: Repository, saving: Saving, *, count: int = 4, **more: object) -> Saved:
    opened = partial(saving.open, settled=BEFORE, page=7, **more)
    return save_in_shards(repository, opened, goal=ShardGoal(count=count), readers=READERS)


def nodes_below(entry: Entry, ranges: Sequence[NameRange]) -> Iterator[tuple[str, Node]]:
    """Walk a folder range by range, and what is below it as a whole."""
    for names in ranges:
        for child in entry.children_in(names):
            yield child.path, child.node
            yield from nodes_below(child, [NameRange()])


def test_ranges_of_a_folder_hold_each_object_once_wherever_it_is_cut(saving: Saving) -> None:
    """Also through names that are beginnings of others, and of folders beside objects of their name."""

    def folder() -> Entry:
        [buckets] = saving.open(page=3).root().children_in(NameRange())
        [own] = buckets.children_in(NameRange())
        return own

    whole = sorted((path, node.name) for path, node in nodes_below(folder(), [NameRange()]))
    assert len(whole) > 20
    components = sorted({path.split("/")[1].encode() for path, _ in whole})
    rng = random.Random(7)
    for _ in range(25):
        bounds = [*rng.sample(components, 3), rng.choice(components) + b"\0", rng.randbytes(2)]
        cuts = [b"", *sorted(bounds), None]
        ranges = [NameRange(first or b"", end) for first, end in pairwise(cuts)]
        found = [(path, node.name) for path, node in nodes_below(folder(), ranges)]
        assert sorted(found) == whole, bounds


@pytest.mark.parametrize("count", [1, 3, 12])
def test_every_byte_and_header_of_every_object_is_in_the_snapshot(
    saving: Saving, repository: Repository, count: int
) -> None:
    saved = in_shards(repository, saving, count=count)
    assert saved.archived.problems == ()
    assert described_in_snapshot(repository, saved) == described(saving.server, saving.bucket)
    assert engine.check(repository).findings == []


def test_it_goes_on_where_one_process_ended_and_the_other_way_round(saving: Saving, repository: Repository) -> None:
    whole = saving.save(repository, settled=BEFORE)
    count = len(described(saving.server, saving.bucket))
    for kind in (in_shards, in_shards):
        again = kind(repository, saving)
        assert again.snapshot.tree == whole.snapshot.tree
        assert again.archived.stats.files_unmodified == count
        assert again.archived.stats.read_bytes == 0
        assert again.archived.stats.dirs_changed == 0
    assert saving.save(repository, settled=BEFORE).snapshot.tree == whole.snapshot.tree
    assert saving.requests("GetObject", "HeadObject") == 0


def test_what_came_changed_and_went_since_the_last_snapshot(saving: Saving, repository: Repository) -> None:
    in_shards(repository, saving, count=8)
    client = saving.server.client()
    for key in ("b/x", "b/y/z", "photos/1", "photos/2/3"):  # folders that the plan has cut are no more
        client.delete_object(Bucket=saving.bucket, Key=key)
    for key in ("b0", "c/new", "photos-6", "b/y/zz"):
        client.put_object(Bucket=saving.bucket, Key=key, Body=key_and_bytes(f"{key} anew"))
    saved = in_shards(repository, saving, count=8)
    assert saved.archived.problems == ()
    assert described_in_snapshot(repository, saved) == described(saving.server, saving.bucket)
    assert content(repository, saved_files(repository, saved)["b0"]) == key_and_bytes("b0 anew")


def test_what_is_excluded_is_in_no_shard(saving: Saving, repository: Repository) -> None:
    saved = in_shards(repository, saving, exclude=("/photos", "*.c"))
    plain = saving.save(engine.create(), exclude=("/photos", "*.c"))
    assert saved.archived.stats.files == plain.archived.stats.files
    held = saved_files(repository, saved)
    assert not {"photos/1", "photos/2/3", "b.c"} & held.keys()
    assert {"photos-7", "photos1", "photos-5/a"} <= held.keys()


def test_all_lists_together_are_little_more_than_one(server: S3Server, repository: Repository, tmp_path: Path) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    client = server.client()
    for number in range(300):
        client.put_object(Bucket=saving.bucket, Key=f"flat/{number:03}", Body=b"x")
    opened = []

    def open_source() -> object:
        opened.append(saving.open(settled=BEFORE, page=20))
        return opened[-1]

    save_in_shards(repository, open_source, goal=ShardGoal(count=5), readers=READERS)  # type: ignore[arg-type]
    opened.clear()
    save_in_shards(repository, open_source, goal=ShardGoal(count=5), readers=READERS)  # type: ignore[arg-type]
    requests = sum(source.traffic().total.requests for source in opened)
    assert requests <= 15 + 5 * 8 + 8, "each shard looks for its folder, and reads a page too many at each end"


@pytest.mark.slow
def test_versions_are_read_when_everything_current_has_been(
    swift: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(swift, new_bucket(swift), tmp_path)
    client = swift.client()
    client.put_bucket_versioning(Bucket=saving.bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a/b", "a-b", "gone", "b%@c", "c/d/e", "c/d/f"):
        for text in (b"first", b"second", b"third"):
            client.put_object(Bucket=saving.bucket, Key=key, Body=text + key.encode(), ContentType="text/x")
    client.delete_object(Bucket=saving.bucket, Key="gone")
    saved = in_shards(repository, saving, versions=True)
    assert saved.archived.problems == ()
    assert len(list(walk_files(repository, saved.snapshot.tree))) > 12
    assert described_older(repository, saved) == listed_older(swift, saving.bucket)
    again = in_shards(repository, saving, versions=True)
    assert again.snapshot.tree == saved.snapshot.tree
    assert again.archived.stats.read_bytes == 0


# The whole product


def test_a_shared_bucket_is_backed_up_verified_and_restored(
    files_product: Product, rclone: S3Server, tmp_path: Path
) -> None:
    bucket = new_bucket(rclone)
    for key in (*PLAIN_KEYS, *SMALL):
        rclone.client().put_object(Bucket=bucket, Key=f"objects/{key}", Body=key_and_bytes(key))
    protect_bucket(files_product, rclone, bucket, "shards = 3")
    settings = files_product.settings
    workers = ThreadWorkers(settings)
    shared = operations.create_backup("files", source="media", settings=settings, workers=workers)
    assert (shared.status, shared.warnings) == (JobStatus.COMPLETED, ())
    assert len(workers.orders) == 3
    assert rclone.secret_key.encode() not in b"".join(workers.orders)
    with operations.open_catalog(settings) as catalog:
        rows = catalog.shards.of(shared.id)
    assert sum(row.files_done for row in rows) == shared.files == len({*PLAIN_KEYS, *SMALL})
    alone = operations.create_backup("files", source="media", settings=settings)
    assert alone.files == shared.files
    done = operations.verify_backup(shared.id, settings=settings, workers=workers)
    assert done.verification_status is Verdict.PASSED
    target = RecoveryTarget(directory=str(tmp_path / "restored"))
    recovery = operations.initiate_recovery(shared.id, target, settings=settings, workers=workers)
    assert recovery.verification_status is Verdict.PASSED
    (found,) = (tmp_path / "restored").rglob("buckets/media")
    assert {str(path.relative_to(found)): path.read_bytes() for path in found.rglob("*") if path.is_file()} == {
        key: key_and_bytes(key) for key in (*PLAIN_KEYS, *SMALL)
    }


def test_a_worker_that_knows_another_bucket_by_the_name_refuses(files_product: Product, rclone: S3Server) -> None:
    bucket = new_bucket(rclone)
    rclone.client().put_object(Bucket=bucket, Key="objects/a", Body=b"a")
    protect_bucket(files_product, rclone, bucket, "shards = 2")
    workers = ThreadWorkers(files_product.settings)
    operations.create_backup("files", source="media", settings=files_product.settings, workers=workers)
    move_bucket(files_product, bucket, new_bucket(rclone))
    with pytest.raises(ConfigError, match="another source 'media'"):
        do_order(workers.orders[0], files_product.settings)


def test_the_command_line_shows_how_a_bucket_would_be_cut(files_product: Product, rclone: S3Server) -> None:
    bucket = new_bucket(rclone)
    for key in SMALL:
        rclone.client().put_object(Bucket=bucket, Key=f"objects/{key}", Body=key_and_bytes(key))
    protect_bucket(files_product, rclone, bucket)
    plan = run_json(files_product, "shards", "media", "--count", "3")
    assert isinstance(plan, dict)
    assert len(plan["shards"]) == 3
    assert sum(shard["bytes"] for shard in plan["shards"]) == sum(len(key_and_bytes(key)) for key in SMALL)
