"""The whole product in a bucket that holds objects, and with two roles: one that writes, one that prunes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.config import s3_access
from edurise_backup.errors import ForbiddenError, UnreachableError
from edurise_backup.model.jobs import BackupType, JobId, RecoveryTarget
from edurise_backup.operations.doctor import examine
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.probing import probe_location
from tests.support.catalog import Product, command_line
from tests.support.engine import PASSPHRASE
from tests.support.locking_server import locking_bucket
from tests.support.s3_product import in_bucket
from tests.support.s3_proxy import S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket
from tests.support.trees import describe, differences, small_tree

pytestmark = pytest.mark.usefixtures("credential")
LOCK = 'lock_mode = "governance"\nlock_days = 30\n'
WRITER = "append_only = true\n"


def said(product: Product, subject: str) -> list[Finding]:
    return [one for one in examine(product.settings) if one.subject == subject]


def test_the_product_works_on_locked_objects_and_says_until_when(files_product: Product, locking: S3Server) -> None:
    product = in_bucket(files_product, locking, locking_bucket(locking), LOCK)
    settings = product.settings
    operations.make_repository(settings)
    first = operations.create_backup(BackupType.FULL, settings=settings)
    product.put("essays/new.txt", b"new" * 5000)
    operations.create_backup(BackupType.FULL, settings=settings)
    operations.forget_backups([first.id], settings=settings)
    assert operations.verify_backup("latest", settings=settings).status.good
    job = operations.prune_repository(settings=settings, max_unused="0", max_removed="100%")
    assert job.status.good, job.warnings
    assert job.figures
    assert job.figures.pruned
    assert job.figures.pruned.locks is not None
    assert job.figures.pruned.locks.extended > 10
    assert job.figures.pruned.locks.earliest is not None
    assert operations.check_repository(settings=settings).findings == ()
    found = said(product, "object lock")
    assert {one.level for one in found} == {Level.FINE}, found
    assert any("could not be deleted" in one.message for one in found)
    costs = operations.store_costs(settings=settings)
    assert (costs.lock, costs.locks is not None) == ("governance, 30 days", True)
    assert costs.probe is not None
    assert costs.probe.object_lock == "enforced"


def test_a_server_that_takes_locks_and_does_not_keep_them_is_found_out(files_product: Product, swift: S3Server) -> None:
    """Swift's s3api does exactly that."""
    bucket = new_bucket(swift)
    swift.client().put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    product = in_bucket(files_product, swift, bucket, LOCK)
    operations.make_repository(product.settings)
    [found] = said(product, "object lock")
    assert found.level is Level.FAULT
    assert "does not keep them" in found.message
    location, access = product.settings.repository.location, s3_access(product.settings.repository)
    assert probe_location(location, access=access).object_lock == "not enforced"


def test_a_server_without_locks_is_told(files_product: Product, rclone: S3Server) -> None:
    product = in_bucket(files_product, rclone, new_bucket(rclone))
    operations.make_repository(product.settings)
    [found] = said(product, "object lock")
    assert found.level is Level.WARNING
    assert "can delete its backups" in found.message


@contextmanager
def writers(server: S3Server) -> Iterator[S3Proxy]:
    """Have a server whose credential may delete below locks/ alone, once the fault is put in."""
    with S3Proxy(server) as proxy:
        yield proxy


def forbid_deletes(proxy: S3Proxy) -> WireFault:
    fault = WireFault("DELETE", unless="/locks/", status=403, code="AccessDenied", times=10**6)
    proxy.faults.append(fault)
    return fault


@pytest.mark.parametrize("kind", ["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def test_a_writer_backs_up_verifies_checks_and_restores_and_is_told_what_it_may_not(
    kind: str, request: pytest.FixtureRequest, files_product: Product, tmp_path: Path
) -> None:
    server: S3Server = request.getfixturevalue(kind)
    with writers(server) as proxy:
        product = in_bucket(files_product, proxy.server, new_bucket(server))
        operations.make_repository(product.settings)
        first = operations.create_backup(BackupType.FULL, settings=product.settings)
        fault = forbid_deletes(proxy)
        product.put("essays/new.txt", b"new" * 1000)
        second = operations.create_backup(BackupType.FULL, settings=product.settings)
        assert second.status.good
        assert operations.verify_backup(second.id, settings=product.settings).status.good
        assert operations.check_repository(settings=product.settings, read_data=True).findings == ()
        target = RecoveryTarget(str(tmp_path / "target"))
        assert operations.initiate_recovery(second.id, target, settings=product.settings).status.good
        with pytest.raises(UnreachableError, match="may not do DeleteObject") as caught:
            operations.forget_backups([first.id], settings=product.settings)
        assert "locks/" in caught.value.hint
        assert fault.fired
        assert operations.check_repository(settings=product.settings).findings == (), "it takes the mark away"
        assert_nothing_is_lost(product, first.id, second.id)


def assert_nothing_is_lost(product: Product, *backups: JobId) -> None:
    for backup in backups:
        found = operations.verify_backup(backup, settings=product.settings)
        assert found.findings == ()


def test_a_host_that_is_meant_only_to_write_says_so_before_it_asks(files_product: Product, rclone: S3Server) -> None:
    with writers(rclone) as proxy:
        product = in_bucket(files_product, proxy.server, new_bucket(rclone), WRITER)
        operations.make_repository(product.settings)
        backup = operations.create_backup(BackupType.FULL, settings=product.settings)
        [found] = said(product, "credential")
        assert found.level is Level.FAULT, "it still may delete"
        fault = forbid_deletes(proxy)
        [found] = said(product, "credential")
        assert found.level is Level.FINE
        fired = fault.fired
        for act in (
            lambda: operations.prune_repository(settings=product.settings),
            lambda: operations.forget_backups([backup.id], settings=product.settings),
        ):
            with pytest.raises(ForbiddenError, match="append_only") as caught:
                act()
            assert "pruner" in caught.value.hint
        assert fault.fired == fired
        assert operations.prune_repository(settings=product.settings, dry_run=True).status.good
        assert_nothing_is_lost(product, backup.id)


# The command line


class Engine:
    """`edurise-backup repo …` on a locked bucket, as a person runs it."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.server, self.bucket = server, locking_bucket(server)
        (folder / "password").write_text(f"{PASSPHRASE}\n")
        self.environment = {
            **os.environ,
            **server.environment,
            "EDURISE_REPOSITORY": server.location(self.bucket, "edurise"),
            "EDURISE_PASSWORD_FILE": str(folder / "password"),
            "EDURISE_OBJECT_LOCK": "compliance:2",
        }

    def run(self, *words: str | Path, status: int = 0, **more: str) -> str:
        """Run a command and return what it prints."""
        done = subprocess.run(
            command_line("repo", *words),
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr


def test_undelete_brings_a_repository_back_that_nobody_can_open(locking: S3Server, tmp_path: Path) -> None:
    engine, tree = Engine(locking, tmp_path), small_tree(tmp_path / "tree")
    engine.run("init")
    engine.run("backup", tree)
    engine.run("backup", tree, "--force")
    engine.run("forget", "--keep-last", "1", "--grace", "0")
    assert "0 objects would come back" in engine.run("undelete")
    client = locking.client()
    for version in client.list_object_versions(Bucket=engine.bucket)["Versions"]:
        client.delete_object(Bucket=engine.bucket, Key=version["Key"])
    assert "no repository" in engine.run("snapshots", status=2)
    shown = json.loads(engine.run("undelete", "--json"))
    assert shown["closed"]
    assert "config" in {one["name"] for one in shown["objects"]}
    assert "no repository" in engine.run("snapshots", status=2)
    done = json.loads(engine.run("undelete", "--apply", "--json"))
    assert done["applied"]
    assert done["lost"] == []
    assert "no errors were found" in engine.run("check", "--read-data")
    assert len(json.loads(engine.run("snapshots", "--json"))) == 1, "what was forgotten stays forgotten"
    engine.run("restore", "latest", "--target", tmp_path / "target")
    assert differences(describe(tree), describe(tmp_path / "target" / str(tree).lstrip("/"))) == []


def test_undelete_puts_what_was_written_on_top_of_what_a_stranger_wrote(locking: S3Server, tmp_path: Path) -> None:
    """Who may only write can still replace every object, and lock his own bytes."""
    engine, tree = Engine(locking, tmp_path), small_tree(tmp_path / "tree")
    engine.run("init")
    engine.run("backup", tree)
    client = locking.client()
    for version in client.list_object_versions(Bucket=engine.bucket)["Versions"]:
        client.put_object(Bucket=engine.bucket, Key=version["Key"], Body=b"ransom")
    engine.run("snapshots", status=1)
    done = json.loads(engine.run("undelete", "--apply", "--json"))
    assert {one["what"] for one in done["objects"]} == {"replaced"}
    assert "no errors were found" in engine.run("check", "--read-data")
    engine.run("restore", "latest", "--target", tmp_path / "target")
    assert differences(describe(tree), describe(tmp_path / "target" / str(tree).lstrip("/"))) == []


def test_a_prune_on_the_command_line_says_until_when_packs_are_locked(locking: S3Server, tmp_path: Path) -> None:
    engine, tree = Engine(locking, tmp_path), small_tree(tmp_path / "tree")
    engine.run("init")
    engine.run("backup", tree)
    engine.run("backup", small_tree(tmp_path / "other"))
    first = json.loads(engine.run("snapshots", "--json"))[0]["id"]
    engine.run("forget", first, "--grace", "0")
    told = json.loads(engine.run("prune", "--grace", "0", "--max-removed", "100%", "--max-unused", "0", "--json"))
    assert told["deleted_packs"] == 0
    assert told["locked_packs"] > 0
    assert told["locked_until"]
    assert "packs are locked" in engine.run("prune", "--grace", "0", "--dry-run")
    assert "no errors were found" in engine.run("check")


def test_undelete_needs_to_know_that_objects_are_locked(locking: S3Server, tmp_path: Path) -> None:
    engine = Engine(locking, tmp_path)
    assert "EDURISE_OBJECT_LOCK" in engine.run("undelete", status=2, EDURISE_OBJECT_LOCK="")
    assert "is no object lock" in engine.run("init", status=2, EDURISE_OBJECT_LOCK="forever")


def test_a_passphrase_that_was_taken_away_does_not_come_back(locking: S3Server, tmp_path: Path) -> None:
    engine = Engine(locking, tmp_path)
    engine.run("init")
    (tmp_path / "other").write_text("another passphrase\n")
    added = json.loads(engine.run("key", "add", "--new-password-file", tmp_path / "other", "--json"))["id"]
    engine.run("key", "remove", added)
    client = locking.client()
    for version in client.list_object_versions(Bucket=engine.bucket)["Versions"]:
        client.delete_object(Bucket=engine.bucket, Key=version["Key"])
    engine.run("undelete", "--apply")
    keys = [one["id"] for one in json.loads(engine.run("key", "list", "--json"))]
    assert len(keys) == 2
    assert added not in keys
    assert "opens with this passphrase" in engine.run(
        "snapshots", status=2, EDURISE_PASSWORD_FILE=str(tmp_path / "other")
    )
