"""Copies in buckets of a real server, each with a credential of its own; stock restic reads them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConflictError, InputError, UnreachableError
from edurise_backup.model.jobs import JobStatus, RecoveryTarget, Verdict
from edurise_backup.model.location import parse_s3
from edurise_backup.model.people import Actor, Role, Via
from edurise_backup.model.settings import CopySettings
from edurise_backup.model.stores import CopyState
from tests.support.catalog import Product, write_private
from tests.support.copies import COPY_PASSPHRASE, add_copy
from tests.support.restic import find_restic
from tests.support.s3_proxy import S3Proxy, WireFault
from tests.support.s3_servers import S3Server, rclone_server
from tests.support.s3_stores import access_to, new_bucket


def bucket_copy(product: Product, server: S3Server, bucket: str, name: str = "bucket") -> CopySettings:
    """Return a copy in a bucket whose keys lie in files of its own."""
    access = access_to(server, product.home / f"{name}.keys")
    write_private(product.home / f"{name}.passphrase", COPY_PASSPHRASE)
    return CopySettings(
        name=name,
        location=server.location(bucket, "copies/edurise"),
        password_file=str(product.home / f"{name}.passphrase"),
        access_key_file=access.access_key_file,
        secret_key_file=access.secret_key_file,
        allow_plaintext=True,
    )


def test_a_bucket_is_registered_copied_into_verified_and_recovered_from(
    files_product: Product, rclone: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    settings, bucket = files_product.settings, new_bucket(rclone)
    registered = operations.register_store("bucket", bucket_copy(files_product, rclone, bucket), settings=settings)
    assert registered.made
    assert registered.recovery_key
    operations.create_backup("full", settings=settings)
    assert operations.copy_backups("bucket", settings=settings).status is JobStatus.COMPLETED
    assert operations.verify_copy("bucket", settings=settings).verification_status is Verdict.PASSED
    (status,) = operations.get_copies(settings=settings)
    assert status.row.probed is not None
    assert (status.row.own_key, status.row.own_place) == (True, True)
    row = next(row for row in operations.list_stores(settings=settings) if row.name == "bucket")
    assert rclone.secret_key not in str(row)
    shutil.rmtree(files_product.repository)
    job = operations.initiate_recovery("latest", RecoveryTarget(str(files_product.home / "target")), settings=settings)
    assert job.stores == ("bucket",)
    assert files_product.restored_differences(files_product.home / "target") == []


def test_stock_restic_reads_a_copy(files_product: Product, rclone: S3Server, tmp_path: Path) -> None:
    settings, bucket = files_product.settings, new_bucket(rclone)
    found = bucket_copy(files_product, rclone, bucket)
    operations.register_store("bucket", found, settings=settings)
    operations.create_backup("full", settings=settings)
    operations.copy_backups("bucket", settings=settings)
    environment = {
        **os.environ,
        **rclone.environment,
        "RESTIC_REPOSITORY": found.location,
        "RESTIC_PASSWORD_FILE": found.password_file,
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }
    back = ["restore", "latest", "--tag", "type=files", "--target", str(tmp_path / "out")]
    for words in (["check", "--read-data"], back):
        done = subprocess.run([find_restic(), *words], env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / str(files_product.storage).lstrip("/") / "essays" / "essay 1.txt").is_file()


def test_a_connection_that_is_lost_in_the_middle_costs_time_and_nothing_else(
    files_product: Product, rclone: S3Server
) -> None:
    settings, bucket = files_product.settings, new_bucket(rclone)
    faults = [WireFault("PUT", "/data/", cut="after"), WireFault("GET", "/snapshots/", cut="halfway")]
    with S3Proxy(rclone, faults) as proxy:
        operations.register_store("bucket", bucket_copy(files_product, proxy.server, bucket), settings=settings)
        operations.create_backup("full", settings=settings)
        assert operations.copy_backups("bucket", settings=settings).status is JobStatus.COMPLETED
        assert operations.verify_copy("bucket", settings=settings).verification_status is Verdict.PASSED
        again = operations.copy_backups("bucket", settings=settings)
        assert again.figures and again.figures.copied and again.figures.copied.backups == ()


def test_a_server_that_is_gone_is_an_unreachable_copy(files_product: Product, rclone: S3Server) -> None:
    settings, bucket = files_product.settings, new_bucket(rclone)
    with S3Proxy(rclone) as proxy:
        found = bucket_copy(files_product, proxy.server, bucket)
        operations.register_store("bucket", found, settings=settings)
    shutil.rmtree(files_product.home / "bucket.keys")
    with pytest.raises((InputError, UnreachableError)):
        operations.probe_store("bucket", settings=settings)
    (status,) = operations.get_copies(settings=settings)
    assert status.row.unreachable_since is not None


@pytest.mark.slow
def test_repo_copy_between_buckets_takes_a_credential_for_each(
    files_product: Product, rclone: S3Server, tmp_path: Path
) -> None:
    with rclone_server(tmp_path / "other server", access_key="others", secret_key="a-secret-of-others") as other:
        assert other.access_key != rclone.access_key or other.secret_key != rclone.secret_key
        first, second = new_bucket(rclone), new_bucket(other)
        keys = access_to(other, tmp_path / "other keys")
        write_private(tmp_path / "one", "passphrase one")
        write_private(tmp_path / "two", "passphrase two")
        program = [sys.executable, "-m", "edurise_backup", "repo"]

        def run(*words: str | Path, server: S3Server = rclone) -> str:
            environment = {**os.environ, **server.environment}
            done = subprocess.run(
                [*program, *map(str, words)], env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        source, target = rclone.location(first), other.location(second)
        run("init", "-r", source, "-p", tmp_path / "one")
        run("init", "-r", target, "-p", tmp_path / "two", server=other)
        run("backup", files_product.storage, "-r", source, "-p", tmp_path / "one")
        said = run(
            *("copy", "--to", target, "--to-password-file", tmp_path / "two", "-r", source, "-p", tmp_path / "one"),
            *("--to-access-key-file", keys.access_key_file, "--to-secret-key-file", keys.secret_key_file),
        )
        assert "1 snapshots copied" in said
        assert parse_s3(target).bucket == second


def test_what_would_harm_is_not_registered(files_product: Product) -> None:
    settings = files_product.settings
    add_copy(files_product, "near")
    write_private(files_product.home / "p", COPY_PASSPHRASE)

    def register(location: Path | str, name: str = "new", file: str = "p", actor: Actor | None = None) -> None:
        place = str(files_product.home / file) if file else ""
        found = CopySettings(name=name, location=str(location), password_file=place)
        operations.register_store(name, found, settings=files_product.settings, actor=actor)

    for place in (files_product.repository, files_product.repository / "below", files_product.home / "copies" / "near"):
        with pytest.raises(InputError, match=r"is the place of|lies in it"):
            register(place)
    with pytest.raises(InputError, match="a backup would back itself up"):
        register(files_product.storage / "copy")
    with pytest.raises(ConflictError, match="is named 'near' already"):
        register(files_product.home / "other", "near")
    with pytest.raises(InputError, match="is no store's name"):
        register(files_product.home / "other", "a/b")
    with pytest.raises(InputError, match="passphrase"):
        register(files_product.home / "other", file="")
    with pytest.raises(InputError, match="cannot be read"):
        register(files_product.home / "other", file="nothing")
    with pytest.raises(InputError, match="not supported"):
        register("rclone:somewhere")
    with pytest.raises(InputError, match="may not administer"):
        register(files_product.home / "other", actor=Actor("bob", Via.DASHBOARD, frozenset({Role.OPERATOR})))
    link = files_product.home / "by another way"
    link.symlink_to(files_product.repository)
    with pytest.raises(InputError, match="is the place of primary"):
        register(link)
    assert not (files_product.home / "other").exists()
    assert [row.name for row in operations.list_stores(settings=settings)] == ["primary"]


def test_a_registered_store_is_removed_and_its_repository_stays(files_product: Product) -> None:
    write_private(files_product.home / "p", COPY_PASSPHRASE)
    place = files_product.home / "elsewhere"
    found = CopySettings(name="new", location=str(place), password_file=str(files_product.home / "p"))
    operations.register_store("new", found, settings=files_product.settings)
    operations.create_backup("files", settings=files_product.settings)
    operations.copy_backups("new", settings=files_product.settings)
    operations.remove_store("new", settings=files_product.settings)
    assert operations.get_copies(settings=files_product.settings) == ()
    operations.register_store("new", found, settings=files_product.settings)
    operations.copy_backups("new", settings=files_product.settings)
    (status,) = operations.get_copies(settings=files_product.settings)
    assert status.count(CopyState.WHOLE) == 1
