"""A server whose listings lag: what was just written is trusted by its name, a prune that sees too little refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConflictError
from edurise_backup.model.jobs import JobStatus, Verdict
from tests.support.catalog import Product
from tests.support.engine import ONE_PACK, back_up, check, create, opened, prune, restored_differences
from tests.support.s3_product import in_bucket
from tests.support.s3_proxy import Answer, S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket, store_at
from tests.support.trees import small_tree, write

pytestmark = pytest.mark.usefixtures("credential")
_ENTRY = re.compile(rb"<Contents>.*?</Contents>", re.DOTALL)
_KEY = re.compile(rb"<Key>(.*?)</Key>")


class Lag:
    """Leaves out of each listing what was not there when it began to lag."""

    def __init__(self) -> None:
        self.known: set[bytes] | None = None
        self.hidden = 0

    def begin(self, names: set[bytes]) -> None:
        """From now on only these are listed."""
        self.known = names

    def __call__(self, answer: Answer) -> Answer:
        """Return what the server says, without what is new."""
        if self.known is None:
            return answer
        entries = _ENTRY.findall(answer.body)
        late = [entry for entry in entries if _name(entry) not in self.known]
        self.hidden += len(late)
        body = answer.body
        for entry in late:
            body = body.replace(entry, b"")
        count = len(entries) - len(late)
        return answer.with_body(re.sub(rb"<KeyCount>\d+</KeyCount>", b"<KeyCount>%d</KeyCount>" % count, body))


def _name(entry: bytes) -> bytes:
    found = _KEY.search(entry)
    assert found is not None
    return found[1].rpartition(b"/")[2]


def lagging(lag: Callable[[Answer], Answer]) -> WireFault:
    return WireFault("GET", "list-type=2", answer=lag, times=10_000)


def names_of(server: S3Server, bucket: str) -> set[bytes]:
    listing = server.client().list_objects_v2(Bucket=bucket)
    return {str(one["Key"]).rpartition("/")[2].encode() for one in listing.get("Contents", [])}


@pytest.mark.parametrize("kind", ["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def test_a_backup_does_not_need_to_see_what_it_has_just_written(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: S3Server = request.getfixturevalue(kind)
    tree, lag = small_tree(tmp_path / "tree"), Lag()
    with S3Proxy(server, [lagging(lag)]) as proxy:
        bucket = new_bucket(server)
        create(store_at(server, bucket, tmp_path / "keys"))
        lag.begin(names_of(server, bucket))
        saved = back_up(opened(store_at(proxy.server, bucket, tmp_path / "keys")), tree)
        assert lag.hidden > 0, "index files of our own were not listed"
    repository = opened(store_at(server, bucket, tmp_path / "keys"))
    assert list(repository.snapshots()) == [saved.id]
    assert check(repository).findings == []
    assert restored_differences(repository, saved.snapshot, tree, tmp_path / "target") == []


def test_a_prune_that_does_not_see_a_known_snapshot_refuses(rclone: S3Server, tmp_path: Path) -> None:
    tree, lag = small_tree(tmp_path / "tree"), Lag()
    with S3Proxy(rclone, [lagging(lag)]) as proxy:
        bucket = new_bucket(rclone)
        direct = store_at(rclone, bucket, tmp_path / "keys")
        create(direct)
        back_up(opened(direct), tree, settings=ONE_PACK)
        lag.begin(names_of(rclone, bucket))
        write(tree / "later", b"later" * 1000)
        newest = back_up(opened(direct), tree, settings=ONE_PACK)
        with pytest.raises(ConflictError, match="are not in the repository") as caught:
            prune(opened(store_at(proxy.server, bucket, tmp_path / "keys")), known=[newest.id])
        assert "nothing was removed" in caught.value.safe
    assert check(opened(direct)).findings == []


def test_a_prune_that_knows_nothing_removes_nothing_that_it_does_not_see(rclone: S3Server, tmp_path: Path) -> None:
    """`repo prune` has no catalog: what is not listed is not judged, and what was un-indexed waits."""
    tree, lag = small_tree(tmp_path / "tree"), Lag()
    with S3Proxy(rclone, [lagging(lag)]) as proxy:
        bucket = new_bucket(rclone)
        direct = store_at(rclone, bucket, tmp_path / "keys")
        create(direct)
        back_up(opened(direct), tree, settings=ONE_PACK)
        lag.begin(names_of(rclone, bucket))
        write(tree / "later", b"later" * 1000)
        newest = back_up(opened(direct), tree, settings=ONE_PACK)
        prune(opened(store_at(proxy.server, bucket, tmp_path / "keys")))
    assert check(opened(direct)).findings == []
    assert restored_differences(opened(direct), newest.snapshot, tree, tmp_path / "target") == []


def test_the_products_prune_refuses_and_its_check_does_not_cry_wolf(
    files_product: Product, rclone: S3Server, tmp_path: Path
) -> None:
    lag = Lag()
    with S3Proxy(rclone, [lagging(lag)]) as proxy:
        bucket = new_bucket(rclone)
        settings = in_bucket(files_product, proxy.server, bucket).settings
        operations.make_repository(settings)
        operations.create_backup("files", settings=settings)
        lag.begin(names_of(rclone, bucket))
        files_product.put("essays/later.txt", b"later" * 1000)
        late = operations.create_backup("files", settings=settings)
        assert late.status is JobStatus.COMPLETED
        with pytest.raises(ConflictError, match="are not in the repository"):
            operations.prune_repository(settings=settings)
        found = operations.check_repository(settings=settings)
        assert not any("missing" in finding for finding in found.findings), found.findings
        lag.known = None
        assert operations.check_repository(settings=settings).verification_status is Verdict.PASSED
        assert operations.prune_repository(settings=settings).status.good
