"""A bucket as a part of the product: recovery sets, rows of `storage.objects`, recovery back into a bucket, pages."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboard.scheduling import source_names
from edurise_backup import operations
from edurise_backup.errors import ConflictError, InputError, NotFoundError, UnreachableError
from edurise_backup.model.jobs import BackupJob, BackupType, BucketsTo, JobStatus, RecoveryJob, RecoveryTarget, Verdict
from edurise_backup.model.schedules import Work
from edurise_backup.operations.alarms import expected_sources
from edurise_backup.operations.doctor import examine
from edurise_backup.operations.findings import Level
from tests.support.bucket_product import move_bucket, objects_in, protect_bucket
from tests.support.buckets import described
from tests.support.catalog import Product, run
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket

pytestmark = pytest.mark.usefixtures("credential")
ESSAYS = {f"objects/essays/essay {number}.txt": b"%d" % number * (1000 + number) for number in range(1, 6)}


@pytest.fixture
def bucket(rclone: S3Server) -> str:
    """Give a bucket with an object for each row of the school's `storage.objects`, and one more."""
    name = new_bucket(rclone)
    for key, body in {**ESSAYS, "objects/media/film": bytes(range(256)) * 400}.items():
        rclone.client().put_object(Bucket=name, Key=key, Body=body, ContentType="text/essay", Metadata={"by": "pupil"})
    return name


@pytest.fixture
def protected(product: Product, rclone: S3Server, bucket: str) -> Iterator[Product]:
    """Give a product that protects it."""
    protect_bucket(product, rclone, bucket, 'objects_of = "school"')
    yield product


def back_up(product: Product, kind: BackupType = BackupType.FILES, source: str | None = "media") -> BackupJob:
    return operations.create_backup(kind, settings=product.settings, source=source)


def recover(product: Product, job: BackupJob, target: Path, buckets: BucketsTo) -> RecoveryJob:
    where = RecoveryTarget(str(target), parts=(BackupType.FILES,), buckets=buckets)
    return operations.initiate_recovery(job.id, where, settings=product.settings)


def test_a_full_backup_holds_the_bucket_and_brings_it_back_into_an_empty_one(
    protected: Product, rclone: S3Server, bucket: str, tmp_path: Path
) -> None:
    job = back_up(protected, BackupType.FULL, None)
    assert (job.status, job.warnings) == (JobStatus.COMPLETED, ())
    assert ("files", "media") in {(part.part.value, part.source) for part in job.parts}
    assert ("files", "media") in expected_sources(protected.settings)
    verified = operations.verify_backup(job.id, settings=protected.settings)
    assert verified.verification_status is Verdict.PASSED
    other = new_bucket(rclone)
    move_bucket(protected, bucket, other)
    done = recover(protected, job, tmp_path / "restored", BucketsTo.EMPTY)
    assert (done.status, done.verification_status, done.findings) == (JobStatus.COMPLETED, Verdict.PASSED, ())
    assert described(rclone, other, "objects/") == described(rclone, bucket, "objects/")
    assert objects_in(tmp_path / "restored" / "files") and not (tmp_path / "restored" / "files" / "media").exists()
    assert "bucket media: 6 objects were sent" in " ".join(done.checks)


def test_a_recovery_that_was_cut_short_goes_on_and_leaves_alone_what_is_there(
    protected: Product, rclone: S3Server, bucket: str, tmp_path: Path
) -> None:
    job = back_up(protected)
    other = new_bucket(rclone)
    move_bucket(protected, bucket, other)
    recover(protected, job, tmp_path / "first", BucketsTo.EMPTY)
    rclone.client().delete_object(Bucket=other, Key="objects/media/film")
    with pytest.raises(ConflictError, match="is not empty"):
        recover(protected, job, tmp_path / "second", BucketsTo.EMPTY)
    done = recover(protected, job, tmp_path / "third", BucketsTo.ADD)
    assert done.verification_status is Verdict.PASSED
    assert "1 objects were sent" in " ".join(done.checks)
    rclone.client().put_object(Bucket=other, Key="objects/media/film", Body=b"by now another one")
    done = recover(protected, job, tmp_path / "fourth", BucketsTo.ADD)
    assert (done.status, done.verification_status) == (JobStatus.FAILED, Verdict.FAILED)
    assert done.findings == ("media/film: is there, and is another one: it was left as it is",)


def test_a_bucket_comes_back_as_files_unless_somebody_says_otherwise(protected: Product, tmp_path: Path) -> None:
    job = back_up(protected)
    done = recover(protected, job, tmp_path / "restored", BucketsTo.FILES)
    assert done.verification_status is Verdict.PASSED
    top = tmp_path / "restored" / "files" / "media" / "buckets" / "media"
    assert objects_in(top) == sorted([key.removeprefix("objects/") for key in ESSAYS] + ["media/film"])


def test_an_incremental_backup_reads_what_changed(protected: Product, rclone: S3Server, bucket: str) -> None:
    back_up(protected)
    rclone.client().put_object(Bucket=bucket, Key="objects/new", Body=b"new")
    again = back_up(protected)
    assert again.files == 7
    assert again.new_bytes is not None and 0 < again.new_bytes < 10_000


def test_rows_without_their_object_or_of_another_size_are_warnings(
    protected: Product, rclone: S3Server, bucket: str
) -> None:
    rclone.client().delete_object(Bucket=bucket, Key="objects/essays/essay 1.txt")
    rclone.client().put_object(Bucket=bucket, Key="objects/essays/essay 2.txt", Body=b"short")
    job = back_up(protected, BackupType.FULL, None)
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert job.warnings == (
        "storage.objects of school names essays/essay 1.txt, which has no object",
        "storage.objects of school says that essays/essay 2.txt has 1002 bytes, it has 5",
    )


def test_objects_of_a_self_hosted_supabase_are_found_below_tenant_and_version(
    protected: Product, rclone: S3Server, bucket: str
) -> None:
    protected.execute(
        "ALTER TABLE storage.objects ADD version text", "UPDATE storage.objects SET version = 'v-' || id WHERE id < 5"
    )
    client = rclone.client()
    for number, key in enumerate(ESSAYS, 1):
        client.delete_object(Bucket=bucket, Key=key)
        hosted = key.replace("objects/", "objects/stub/")
        client.put_object(Bucket=bucket, Key=f"{hosted}/v-{number}", Body=ESSAYS[key])
    job = back_up(protected, BackupType.FULL, None)
    assert job.warnings == ("storage.objects of school names essays/essay 5.txt, which has no object",)


def test_a_bucket_that_cannot_be_listed_is_told_before_a_job_exists(
    protected: Product, rclone: S3Server, bucket: str
) -> None:
    move_bucket(protected, bucket, "no-such-bucket-at-all")
    with pytest.raises(NotFoundError, match="there is no bucket"):
        back_up(protected)
    move_bucket(protected, "no-such-bucket-at-all", bucket)
    (protected.home / "secret.key").write_text("another one\n")
    with pytest.raises(UnreachableError, match="refuses the signature"):
        back_up(protected)
    assert operations.get_backups(settings=protected.settings) == []


def test_doctor_asks_every_bucket_and_goes_on_after_one_that_fails(
    protected: Product, rclone: S3Server, bucket: str
) -> None:
    found = [one for one in examine(protected.settings) if one.subject == "media"]
    assert [one.level for one in found] == [Level.FINE]
    move_bucket(protected, bucket, "no-such-bucket-at-all")
    (found_now,) = [one for one in examine(protected.settings) if one.subject == "media"]
    assert found_now.level is Level.FAULT
    assert found_now.remedy


def test_a_bucket_that_is_not_configured_any_more_is_restored_as_files_only(protected: Product, tmp_path: Path) -> None:
    job = back_up(protected)
    protected.configure('name = "media"', 'name = "other"')
    with pytest.raises(NotFoundError, match="no bucket is named 'media'"):
        recover(protected, job, tmp_path / "back", BucketsTo.EMPTY)
    assert recover(protected, job, tmp_path / "files", BucketsTo.FILES).verification_status is Verdict.PASSED


def test_the_command_line_backs_a_bucket_up_and_brings_it_back(
    protected: Product, rclone: S3Server, bucket: str, tmp_path: Path
) -> None:
    assert run(protected, "backup", "files", "--source", "media").returncode == 0
    other = new_bucket(rclone)
    move_bucket(protected, bucket, other)
    wrong = run(protected, "recover", "latest", "--target", tmp_path / "r", "--buckets", "elsewhere")
    assert (wrong.returncode, "say files, empty or add" in wrong.stderr) == (2, True)
    done = run(protected, "recover", "latest", "--target", tmp_path / "r", "--buckets", "empty", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verification_status"] == "passed"
    assert described(rclone, other, "objects/") == described(rclone, bucket, "objects/")
    for text in (done.stdout, done.stderr, wrong.stderr):
        assert rclone.secret_key not in text


def test_the_pages_offer_the_bucket_as_a_source_of_files(protected: Product) -> None:
    assert source_names(protected.settings, Work.FILES) == ["uploads", "media"]


def test_a_full_backup_takes_no_single_source(protected: Product) -> None:
    with pytest.raises(InputError, match="takes every source"):
        back_up(protected, BackupType.FULL, "media")
