"""All of `edurise-backup repo …`, and the product, on a bucket of a real server; stock restic beside us."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import CancelledError, InputError
from edurise_backup.model.jobs import BackupType, JobStatus, RecoveryTarget
from edurise_backup.model.traffic import Traffic
from edurise_backup.operations.doctor import examine
from edurise_backup.operations.opening import create_repository, open_store
from edurise_backup.stores.local import LocalStore
from tests.support.catalog import Product
from tests.support.engine import ONE_PACK, PASSPHRASE, back_up, check, create, opened, restored_differences
from tests.support.restic import find_restic
from tests.support.s3_product import in_bucket
from tests.support.s3_proxy import Answer, S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket, store_at
from tests.support.stores import MemoryStore, save_to
from tests.support.trees import describe, differences, small_tree, write

pytestmark = pytest.mark.usefixtures("credential")
PROGRAM = [sys.executable, "-c", "from edurise_backup.cli import main; main()", "repo"]


@dataclass(slots=True)
class Bucket:
    """A bucket, our command line and stock restic."""

    server: S3Server
    name: str
    folder: Path

    @property
    def location(self) -> str:
        """The repository in it."""
        return self.server.location(self.name, "backups/edurise")

    @property
    def environment(self) -> dict[str, str]:
        """The credential is told by the environment alone."""
        password = self.folder / "password"
        password.write_text(f"{PASSPHRASE}\n")
        ours = {"EDURISE_REPOSITORY": self.location, "EDURISE_PASSWORD_FILE": str(password)}
        theirs = {"RESTIC_REPOSITORY": self.location, "RESTIC_PASSWORD_FILE": str(password)}
        cache = {"RESTIC_CACHE_DIR": str(self.folder / "cache")}
        return {**os.environ, **self.server.environment, **ours, **theirs, **cache}

    def run(self, *words: str | Path, status: int = 0, **more: str) -> str:
        """Run a command of ours and return what it prints; no secret may be in that."""
        done = subprocess.run(
            [*PROGRAM, *map(str, words)],
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        for secret in (PASSPHRASE, self.server.secret_key):
            assert secret not in done.stdout + done.stderr
        return done.stdout + done.stderr

    def restic(self, *words: str | Path) -> str:
        """Run stock restic."""
        done = subprocess.run(
            [find_restic(), *map(str, words)],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(params=["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    """Give an empty bucket of each server."""
    server: S3Server = request.getfixturevalue(request.param)
    return Bucket(server, new_bucket(server), tmp_path)


def test_a_repository_lives_in_a_bucket_and_stock_restic_opens_it(bucket: Bucket) -> None:
    tree = small_tree(bucket.folder / "tree")
    bucket.run("init")
    bucket.run("backup", tree)
    write(tree / "later", b"later" * 1000)
    bucket.run("backup", tree)
    assert len(json.loads(bucket.run("snapshots", "--json"))) == 2
    assert "no errors were found" in bucket.run("check")
    assert "no errors were found" in bucket.restic("check", "--read-data")
    bucket.restic("restore", "latest", "--target", bucket.folder / "theirs")
    assert differences(describe(tree), describe(bucket.folder / "theirs" / str(tree).lstrip("/"))) == []
    bucket.restic("backup", tree)  # with our locks and indexes beside its own
    bucket.run("forget", "--keep-last", "1", "--grace", "0")
    bucket.run("prune", "--grace", "0", "--max-removed", "100%")
    bucket.run("restore", "latest", "--target", bucket.folder / "ours")
    assert differences(describe(tree), describe(bucket.folder / "ours" / str(tree).lstrip("/"))) == []
    assert "no errors were found" in bucket.restic("check", "--read-data")


def test_a_bucket_of_stock_restic_is_read_verified_and_restored(bucket: Bucket) -> None:
    tree = small_tree(bucket.folder / "tree")
    bucket.restic("init")
    bucket.restic("backup", tree)
    assert "no errors were found" in bucket.run("check")
    bucket.run("restore", "latest", "--target", bucket.folder / "ours")
    assert differences(describe(tree), describe(bucket.folder / "ours" / str(tree).lstrip("/"))) == []


def test_a_repository_is_copied_between_a_directory_and_a_bucket(bucket: Bucket) -> None:
    tree = small_tree(bucket.folder / "tree")
    store = MemoryStore()
    create(store)
    back_up(opened(store), tree)
    save_to(bucket.folder / "local", store)
    bucket.run("init")
    bucket.run(
        "copy", "--to", bucket.location, "--to-password-file", bucket.folder / "password", "--repository",
        bucket.folder / "local",
    )  # fmt: skip
    assert "no errors were found" in bucket.run("check")


def test_the_probe_says_what_the_server_does_and_is_kept(bucket: Bucket) -> None:
    bucket.run("init")
    found = json.loads(bucket.run("probe", "--json"))
    assert found["conditional_create"] == {"rclone": "no", "swift": "yes"}[bucket.server.kind]
    assert found["sha256"] == {"rclone": "no", "swift": "yes"}[bucket.server.kind]
    assert [found[name] for name in ("md5", "metadata", "ranges", "listed_at_once", "deletes")] == ["yes"] * 5
    assert (found["versioning"], found["object_lock"], found["dangers"]) == ("off", "off", [])
    store = store_at(bucket.server, bucket.name, bucket.folder, prefix="backups/edurise")
    assert [name.rpartition("/")[0] for name, _ in store.list("edurise")] == ["edurise/probes"] * 2
    assert "keeps an object from being replaced" in bucket.run("probe")


def test_the_probe_of_a_credential_that_may_not_delete_says_so(rclone: S3Server, tmp_path: Path) -> None:
    with S3Proxy(rclone, [WireFault("DELETE", "/probe/", status=403, code="AccessDenied", times=99)]) as proxy:
        bucket = Bucket(proxy.server, new_bucket(rclone), tmp_path)
        bucket.run("init")
        found = json.loads(bucket.run("probe", "--json"))
        assert found["deletes"] == "no"
        assert any("may not delete" in remark for remark in found["remarks"])


def test_a_directory_is_not_probed(tmp_path: Path, rclone: S3Server) -> None:
    bucket = Bucket(rclone, "unused", tmp_path)
    create(LocalStore(tmp_path / "local"))
    said = bucket.run("probe", "--repository", tmp_path / "local", status=2)
    assert "only a bucket can be probed" in said


def test_the_probe_finds_versions_that_nobody_removes_and_doctor_repeats_it(
    swift: S3Server, tmp_path: Path, files_product: Product
) -> None:
    bucket = new_bucket(swift)
    swift.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    product = in_bucket(files_product, swift, bucket)
    operations.make_repository(product.settings)
    remarks = [one.message for one in examine(product.settings) if one.subject == "repository"]
    assert any("no rule removes older versions" in remark for remark in remarks), remarks


@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("s3:", "names no server"),
        ("s3:https://", "names no server"),
        ("s3:https://host.internal", "names no bucket"),
        ("s3:https://me:canary@host.internal/bucket", "holds a user, a password"),
        ("s3:https://host.internal/bucket/../../x", "is not one"),
        ("s3:https://host.internal:port/bucket", "names no server"),
        ("s3:http://host.internal/bucket", "plain http"),
    ],
)
def test_a_location_that_is_none_is_refused_before_anything_is_asked(
    rclone: S3Server, tmp_path: Path, location: str, words: str
) -> None:
    bucket = Bucket(rclone, "unused", tmp_path)
    said = bucket.run("snapshots", "--repository", location, status=2, EDURISE_ALLOW_PLAINTEXT="")
    assert words in said
    assert "canary" not in said


def test_a_bucket_that_is_not_there_is_told_by_every_command(rclone: S3Server, tmp_path: Path) -> None:
    bucket = Bucket(rclone, "no-such-bucket", tmp_path)
    for words in (["init"], ["snapshots"], ["check"], ["backup", str(tmp_path)]):
        assert "there is no bucket 'no-such-bucket'" in bucket.run(*words, status=2)


def test_a_backup_of_the_working_directory_is_not_taken_for_one_of_the_bucket(rclone: S3Server, tmp_path: Path) -> None:
    bucket = Bucket(rclone, new_bucket(rclone), tmp_path)
    bucket.run("init")
    small_tree(tmp_path / "tree")
    bucket.run("backup", "--", ".")


def test_a_credential_that_may_delete_locks_only_backs_up_and_cannot_prune(rclone: S3Server, tmp_path: Path) -> None:
    """The attacker has it, too: whatever he tries, nothing but locks goes."""
    tree = small_tree(tmp_path / "tree")
    writer = WireFault("DELETE", status=403, code="AccessDenied", times=10_000)
    with S3Proxy(rclone) as proxy:
        direct = Bucket(rclone, new_bucket(rclone), tmp_path)
        bucket = Bucket(proxy.server, direct.name, tmp_path)
        direct.run("init")
        proxy.faults.append(writer)
        writer.unless = "/locks/"
        bucket.run("backup", tree)
        write(tree / "later", b"later" * 1000)
        bucket.run("backup", tree)
        assert "no errors were found" in bucket.run("check")
        bucket.run("restore", "latest", "--target", tmp_path / "target")
        assert writer.fired == 0
        assert "may not do DeleteObject" in bucket.run("forget", "--keep-last", "1", "--grace", "0", status=2)
        assert len(json.loads(direct.run("snapshots", "--json"))) == 2
        assert "no errors were found" in direct.run("check")


# How often the server is asked


def traffic_of(server: S3Server, name: str, tree: Path, folder: Path) -> Traffic:
    store = store_at(server, name, folder / "keys")
    back_up(opened(store), tree)
    return store.traffic()


def test_an_unchanged_backup_asks_seldom_and_lists_no_data(rclone: S3Server, tmp_path: Path) -> None:
    """The listings are of keys, locks, index files and snapshots: never of packs."""
    tree = small_tree(tmp_path / "tree")
    name = new_bucket(rclone)
    create(store_at(rclone, name, tmp_path / "keys"))
    first = traffic_of(rclone, name, tree, tmp_path)
    assert first.requests("PutObject") < 40
    again = traffic_of(rclone, name, tree, tmp_path)
    assert again.requests("PutObject") == 2, "the lock and the snapshot"
    assert again.requests("DeleteObject") == 1
    assert again.requests("ListObjectsV2") <= 9
    assert again.total.requests <= 45
    assert again.total.sent < 2000


def test_a_tree_of_many_directories_asks_no_oftener_when_nothing_has_changed(rclone: S3Server, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(300):
        write(tree / f"{number % 17}" / f"{number}" / "file", b"%d" % number)
    name = new_bucket(rclone)
    create(store_at(rclone, name, tmp_path / "keys"))
    back_up(opened(store_at(rclone, name, tmp_path / "keys")), tree, settings=ONE_PACK)
    store = store_at(rclone, name, tmp_path / "keys")
    back_up(opened(store), tree, settings=ONE_PACK)
    assert store.traffic().total.requests <= 45


# The product


def test_the_product_backs_up_verifies_and_restores_on_a_bucket(
    files_product: Product, rclone: S3Server, tmp_path: Path
) -> None:
    settings = in_bucket(files_product, rclone, new_bucket(rclone)).settings
    operations.make_repository(settings)
    job = operations.create_backup(BackupType.FULL, settings=settings)
    assert job.status is JobStatus.COMPLETED, job.warnings
    assert operations.verify_backup(job.id, settings=settings).status.good
    recovered = operations.initiate_recovery(job.id, RecoveryTarget(str(tmp_path / "recovered")), settings=settings)
    assert recovered.status.good
    assert len([path for path in (tmp_path / "recovered").rglob("essay *.txt") if path.is_file()]) == 5
    operations.prune_repository(settings=settings)
    assert operations.check_repository(settings=settings).status is JobStatus.COMPLETED
    found = [one for one in examine(settings) if one.subject == "repository"]
    assert [one for one in found if one.level.name == "FAULT"] == []
    assert any("was probed at" in one.message for one in found)


def test_init_refuses_a_bucket_whose_rules_would_delete_a_repository(
    rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = b"<LifecycleConfiguration><Rule><ID>tidy</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>"
    rule += b"<Expiration><Days>30</Days></Expiration></Rule></LifecycleConfiguration>"
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    bucket = new_bucket(rclone)
    fault = WireFault("GET", "lifecycle", answer=lambda answer: Answer(200, answer.headers, rule))
    with S3Proxy(rclone, [fault]) as proxy:
        location = proxy.server.location(bucket, "edurise")
        with pytest.raises(InputError, match="tidy deletes objects after 30 days") as caught:
            create_repository(location, PASSPHRASE)
        assert caught.value.hint
        assert list(open_store(location).list("keys")) == []


def test_making_a_repository_on_a_server_that_is_ill_can_be_stopped(
    rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    ill = WireFault("GET|HEAD|PUT", "", status=500, code="InternalError", times=10**6)

    def stop() -> None:
        if ill.fired > 2:
            raise CancelledError("nobody waits any more")

    with S3Proxy(rclone, [ill]) as proxy, pytest.raises(CancelledError):
        create_repository(proxy.server.location(new_bucket(rclone), "edurise"), PASSPHRASE, stop=stop)


def test_a_snapshot_restores_from_a_bucket_bit_for_bit(rclone: S3Server, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    store = store_at(rclone, new_bucket(rclone), tmp_path / "keys")
    create(store)
    saved = back_up(opened(store), tree)
    assert check(opened(store)).findings == []
    assert restored_differences(opened(store), saved.snapshot, tree, tmp_path / "target") == []
