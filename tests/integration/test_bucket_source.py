"""A bucket as a source, on real servers: every byte and every header, and no request for what did not change."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, InputError, NotFoundError, UnreachableError
from edurise_backup.model.location import parse_s3, place_apart
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.repository import Repository
from edurise_backup.s3.wire import Wire
from edurise_backup.sources.bucket import BucketOptions, BucketSource
from tests.support import engine
from tests.support.bucket_snapshots import (
    BEFORE,
    content,
    described_in_snapshot,
    described_older,
    keys_for,
    listed_older,
    saved_files,
)
from tests.support.buckets import (
    PLAIN_KEYS,
    Saving,
    described,
    fill,
    key_and_bytes,
)
from tests.support.s3_proxy import Answer, S3Proxy, WireFault
from tests.support.s3_servers import S3Server, rclone_server
from tests.support.s3_stores import access_to, new_bucket

pytestmark = pytest.mark.usefixtures("credential")


@pytest.fixture
def repository() -> Repository:
    """Give an empty repository."""
    return engine.create()


def test_every_byte_and_header_of_every_object_is_in_the_snapshot(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    fill(server, saving.bucket, keys_for(server))
    saved = saving.save(repository, page=7)
    assert saved.archived.problems == ()
    assert described_in_snapshot(repository, saved) == described(server, saving.bucket)


def test_an_unchanged_bucket_costs_its_listing_and_nothing_else(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    fill(server, saving.bucket, keys_for(server))
    count = len(described(server, saving.bucket))
    first = saving.save(repository, settled=BEFORE)
    assert saving.requests() == 1 + count + 2  # a listing, one for each object, two more ranges of the large one
    second = saving.save(repository, settled=BEFORE)
    assert saving.requests() == 1
    assert second.archived.stats.read_bytes == 0
    assert second.archived.stats.files_unmodified == count
    assert second.snapshot.tree == first.snapshot.tree
    assert second.archived.stats.source_bytes == first.archived.stats.source_bytes


def test_one_listing_costs_a_request_for_each_thousand_objects(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    fill(server, saving.bucket, [f"many/{number:03}" for number in range(40)])
    saving.save(repository, settled=BEFORE)
    saving.save(repository, settled=BEFORE, page=10)
    assert saving.requests("ListObjectsV2") == 5  # 42 objects
    assert saving.requests("GetObject", "HeadObject") == 0


def test_bytes_headers_and_names_that_changed_are_read_and_nothing_else(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    fill(server, saving.bucket, PLAIN_KEYS)
    saving.save(repository, settled=BEFORE)
    client = server.client()
    wait_for_another_second()
    client.put_object(Bucket=saving.bucket, Key="a.txt", Body=key_and_bytes("a.txt"), ContentType="text/other")
    client.put_object(Bucket=saving.bucket, Key="a/b", Body=key_and_bytes("other"))
    client.put_object(Bucket=saving.bucket, Key="new", Body=b"new")
    client.delete_object(Bucket=saving.bucket, Key="a0")
    saved = saving.save(repository, settled=BEFORE)
    assert saving.requests("GetObject", "HeadObject") == 3
    assert described_in_snapshot(repository, saved) == described(server, saving.bucket)


def test_an_object_that_is_not_clearly_older_than_the_listing_is_read_again(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    fill(server, saving.bucket, PLAIN_KEYS)
    saving.save(repository, settled=timedelta(hours=1))
    again = saving.save(repository, settled=timedelta(hours=1))
    assert again.archived.stats.files_unmodified == 0
    assert again.archived.problems == ()


@pytest.mark.parametrize(("age_in_seconds", "seen"), [(2, True), (3600, False)])
def test_a_change_that_leaves_size_time_and_etag_is_seen_when_it_was_made_near_the_listing(
    rclone: S3Server, repository: Repository, tmp_path: Path, age_in_seconds: int, seen: bool
) -> None:
    """Other metadata within the same second of the server's; that an older time hides it shows that the rule did it."""
    moments = [datetime.now(UTC).replace(microsecond=0) - timedelta(seconds=age_in_seconds)]
    bucket = new_bucket(rclone)
    with S3Proxy(rclone, [telling(moments)]) as proxy:
        saving = Saving(proxy.server, bucket, tmp_path)
        for kind in ("text/one", "text/two"):
            rclone.client().put_object(Bucket=bucket, Key="k", Body=b"one", ContentType=kind)
            saved = saving.save(repository, settled=timedelta(seconds=10))
    kept = described_in_snapshot(repository, saved)["k"].told["ContentType"]
    assert kept == ("text/two" if seen else "text/one")


def telling(moments: list[datetime]) -> WireFault:
    """Have the server say of every object that it was changed at the last of these moments."""

    def answer(told: Answer) -> Answer:
        listed = f"<LastModified>{moments[-1]:%Y-%m-%dT%H:%M:%S}.000Z</LastModified>".encode()
        kept = [(name, value) for name, value in told.headers if name.lower() != "last-modified"]
        headers = (*kept, ("Last-Modified", format_datetime(moments[-1], usegmt=True)))
        return Answer(told.status, headers, re.sub(rb"<LastModified>[^<]*</LastModified>", listed, told.body))

    return WireFault("GET", answer=answer, times=99)


def test_neither_size_nor_time_nor_etag_is_trusted_alone(
    rclone: S3Server, repository: Repository, tmp_path: Path
) -> None:
    moments = [datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)]
    bucket = new_bucket(rclone)
    rclone.client().put_object(Bucket=bucket, Key="k", Body=b"one")
    with S3Proxy(rclone, [telling(moments)]) as proxy:
        saving = Saving(proxy.server, bucket, tmp_path)
        read = []
        for body, seconds in ((b"one", 0), (b"one", 0), (b"two", 0), (b"two", 1), (b"long", 1), (b"long", 1)):
            moments.append(moments[0] + timedelta(seconds=seconds))
            rclone.client().put_object(Bucket=bucket, Key="k", Body=body)
            saved = saving.save(repository, settled=timedelta(seconds=10))
            read.append(saving.requests("GetObject"))
    assert read == [1, 0, 1, 1, 1, 0]
    assert content(repository, saved_files(repository, saved)["k"]) == b"long"


def test_what_is_excluded_is_neither_read_nor_kept(server: S3Server, repository: Repository, tmp_path: Path) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    fill(server, saving.bucket, PLAIN_KEYS)
    saved = saving.save(repository, exclude=("*.txt", "/a", "film"))
    kept = {"A/x", "a-1", "a0", "empty", "x y+z%41&c", "é/ü", "deep/" + "l" * 200}
    assert set(saved_files(repository, saved)) == kept
    assert saving.requests("GetObject", "HeadObject") == len(kept)


def test_what_goes_on_where_an_excluded_name_ends_is_kept(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    for key in ("tmp", "tmp.1", "tmpfile", "tmps/in it", "u"):
        server.client().put_object(Bucket=saving.bucket, Key=key, Body=b"x")
    assert set(saved_files(repository, saving.save(repository, exclude=("/tmp",)))) == {
        *("tmp.1", "tmpfile", "tmps/in it", "u")
    }


def test_a_large_folder_that_is_excluded_is_left_out_by_the_server(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    for key in ("a", "cache2", "z", *(f"cache/{number:03}" for number in range(60))):
        server.client().put_object(Bucket=saving.bucket, Key=key, Body=b"x")
    assert set(saved_files(repository, saving.save(repository, exclude=("/cache",), page=5))) == {"a", "cache2", "z"}
    assert saving.requests("ListObjectsV2") <= 5


def test_only_what_lies_below_the_folder_is_backed_up(server: S3Server, repository: Repository, tmp_path: Path) -> None:
    saving = Saving(server, new_bucket(server), tmp_path, prefix="some/folder")
    for key in ("some/folder/in", "some/folder/in/deep", "some/folders/out", "some/folder", "out"):
        if server.kind == "swift" or key not in ("some/folder", "some/folder/in"):  # rclone's are files and folders
            server.client().put_object(Bucket=saving.bucket, Key=key, Body=b"x")
    assert set(saved_files(repository, saving.save(repository))) - {"in"} == {"in/deep"}


def test_a_bucket_that_is_empty_makes_an_empty_snapshot(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saved = Saving(server, new_bucket(server), tmp_path).save(repository)
    assert saved_files(repository, saved) == {}
    assert saved.archived.problems == ()


@pytest.mark.slow
def test_versions_that_are_not_current_and_deletions_lie_in_a_place_of_their_own(
    swift: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(swift, new_bucket(swift), tmp_path, options={"versions": True, "page": 2})
    client = swift.client()
    client.put_bucket_versioning(Bucket=saving.bucket, VersioningConfiguration={"Status": "Enabled"})
    for key in ("a/b", "a-b", "gone", "b%@c"):
        for text in (b"first", b"second", b"third"):
            client.put_object(Bucket=saving.bucket, Key=key, Body=text + key.encode(), ContentType="text/x")
    client.delete_object(Bucket=saving.bucket, Key="gone")
    saved = saving.save(repository, settled=BEFORE)
    current = saved_files(repository, saved)
    assert {key: content(repository, node) for key, node in current.items()} == {
        key: b"third" + key.encode() for key in ("a/b", "a-b", "b%@c")
    }
    assert described_older(repository, saved) == listed_older(swift, saving.bucket)
    again = saving.save(repository, settled=BEFORE)
    assert saving.requests("GetObject", "HeadObject") == 0
    assert again.snapshot.tree == saved.snapshot.tree


def test_a_server_whose_address_has_a_path_is_asked_there(
    repository: Repository, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """As hosted Supabase's is."""
    with rclone_server(tmp_path_factory.mktemp("hosted"), path="/storage/v1/s3") as hosted:
        place = place_apart(f"{hosted.endpoint}/storage/v1/s3/", "media", "folder")
        wire = Wire(place, access_to(hosted, tmp_path))
        wire.ask("CreateBucket")
        wire.ask("PutObject", name="k", Body=b"bytes")
        source = BucketSource("hosted", wire, BucketOptions(), progress=SilentProgress())
        saved = engine.back_up_source(repository, source, [source.path])
        assert set(saved_files(repository, saved, "/buckets/hosted/")) == {"k"}


@pytest.mark.parametrize(
    ("wrong", "error", "said"),
    [
        ({"bucket": "no-such-bucket-at-all"}, NotFoundError, "there is no bucket"),
        ({"access": "nobody"}, UnreachableError, "access key"),
        ({"secret": "wrong"}, UnreachableError, "refuses the signature"),
        ({"secret": None}, InputError, "cannot be read"),
        ({"plaintext": False}, InputError, "plain http"),
    ],
)
def test_what_stands_in_the_way_of_listing_says_what_to_do(
    rclone: S3Server, tmp_path: Path, wrong: dict[str, object], error: type[BackupError], said: str
) -> None:
    access = access_to(rclone, tmp_path)
    for name, text in wrong.items():
        if name in ("access", "secret"):
            key = tmp_path / f"{name}.key"
            key.unlink()
            if text:
                key.write_text(str(text))
    if "plaintext" in wrong:
        access = replace(access, allow_plaintext=False)
    bucket = str(wrong.get("bucket") or new_bucket(rclone))
    with pytest.raises(error) as caught:
        wire = Wire(replace(parse_s3(rclone.location(bucket)), table="bucket[]"), access)
        BucketSource("media", wire, BucketOptions(), progress=SilentProgress()).look()
    told = "\n".join(caught.value.lines())
    assert said in told
    assert "repository." not in told
    assert caught.value.hint


def wait_for_another_second() -> None:
    """Wait until the servers' clocks, which tell seconds, show another one."""
    second = int(time.time())
    while int(time.time()) <= second + 1:
        threading.Event().wait(0.05)
