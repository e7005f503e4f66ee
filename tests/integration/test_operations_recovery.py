"""What is recovered is proved; damage, differences and used targets are named, never papered over."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from edurise_backup import operations
from edurise_backup.errors import (
    AmbiguousError,
    BackupError,
    ConflictError,
    DamageError,
    InputError,
    NotFoundError,
    WrongPassphraseError,
)
from edurise_backup.model.database import DatabaseRecord, decode_record
from edurise_backup.model.jobs import (
    BackupJob,
    BackupType,
    JobId,
    JobStatus,
    PartResult,
    RecoveryJob,
    RecoveryTarget,
    Verdict,
)
from edurise_backup.operations.backups import find_backup
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.recovery.database_proof import prove_database
from edurise_backup.recovery.streaming import SnapshotFiles
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Acting, Product, opened
from tests.support.postgres import databases_of, execute
from tests.support.trees import content_of


def back_up(product: Product, kind: BackupType = BackupType.FULL) -> BackupJob:
    return operations.create_backup(kind, settings=product.settings)


def recover(product: Product, job: BackupJob, target: Path, **wanted: object) -> RecoveryJob:
    where = RecoveryTarget(str(target), **wanted)  # type: ignore[arg-type]
    return operations.initiate_recovery(job.id, where, settings=product.settings)


def last_recovery(product: Product) -> RecoveryJob:
    with opened(product) as catalog:
        return catalog.recoveries.newest(limit=1)[0]


def record_of(product: Product, job: BackupJob) -> DatabaseRecord:
    repository = engine.opened(LocalStore(product.repository))
    part = next(one for one in job.parts if one.part is BackupType.DATABASE)
    files = SnapshotFiles(repository, repository.find_snapshot(part.snapshot_id)[1].tree)
    return decode_record(files.read("/databases/school/school/database.json"), DatabaseRecord)


def test_a_set_comes_back_whole_beside_the_live_platform_and_is_proved(product: Product, tmp_path: Path) -> None:
    job = back_up(product)
    done = recover(product, job, tmp_path / "restored")
    assert (done.status, done.verification_status) == (JobStatus.COMPLETED, Verdict.PASSED)
    assert (done.findings, done.warnings) == ((), ())
    assert product.restored_differences(tmp_path / "restored") == []
    assert product.database
    with connect(product.database.with_database("school_restored")) as connection:
        assert connection.execute("SELECT count(*), max(name) FROM pupils").fetchone() == (300, "pupil 99")
    assert done.target_time == job.parts[0].snapshot_time
    assert any("4 tables" in check and "6,306 rows" in check for check in done.checks), done.checks
    assert len(done.checks) == len(set(done.checks))


@pytest.mark.parametrize(
    ("parts", "folders"),
    [
        ((BackupType.FILES,), {"files"}),
        ((BackupType.CONFIGURATION, BackupType.METADATA), {"configuration", "metadata"}),
        pytest.param((BackupType.DATABASE,), set(), marks=pytest.mark.slow),
    ],
)
def test_parts_come_back_alone(
    product: Product, tmp_path: Path, parts: tuple[BackupType, ...], folders: set[str]
) -> None:
    done = recover(product, back_up(product), tmp_path / "restored", parts=parts)
    assert done.verification_status is Verdict.PASSED
    assert done.type is (parts[0] if len(parts) == 1 else BackupType.FULL)
    found = {path.name for path in (tmp_path / "restored").iterdir()} if folders else set()
    assert found == folders
    assert product.database
    assert ("school_restored" in databases_of(product.database)) is (BackupType.DATABASE in parts)


def test_lost_databases_come_back_under_their_own_names(product: Product, tmp_path: Path) -> None:
    assert product.database
    job = back_up(product, BackupType.DATABASE)
    execute(product.database.with_database("postgres"), "DROP DATABASE school WITH (FORCE)")
    done = recover(product, job, tmp_path / "restored", database_suffix="")
    assert done.verification_status is Verdict.PASSED
    assert prove_database(record_of(product, job), address=product.database, new_name="school").findings == []


TAMPERINGS = {
    "UPDATE pupils SET mark = 9.9 WHERE id = 7": "public.pupils",
    "DELETE FROM visits WHERE id = (SELECT max(id) FROM visits)": "public.visits",
    "ALTER TABLE pupils DROP CONSTRAINT pupils_pkey CASCADE": "pupils_pkey",
    "DROP VIEW good_pupils": "good_pupils",
    "ALTER TABLE visits ADD COLUMN extra text": "extra",
    "SELECT setval(pg_get_serial_sequence('visits', 'id'), 5)": "visits_id_seq",
    "CREATE TABLE stray ()": "stray",
    "GRANT SELECT ON pupils TO PUBLIC": "public.pupils",
}


def test_a_difference_planted_after_the_restore_is_found_by_the_proof(product: Product, tmp_path: Path) -> None:
    assert product.database
    job = back_up(product, BackupType.DATABASE)
    recover(product, job, tmp_path / "restored")
    record, address = record_of(product, job), product.database.with_database("postgres")
    for statement, named in TAMPERINGS.items():
        execute(address, "CREATE DATABASE tampered TEMPLATE school_restored")
        execute(address.with_database("tampered"), statement)
        findings = prove_database(record, address=address, new_name="tampered").findings
        assert any(named in finding for finding in findings), (statement, findings)
        execute(address, "DROP DATABASE tampered WITH (FORCE)")


def test_a_recovery_whose_files_are_tampered_with_before_the_proof_fails(product: Product, tmp_path: Path) -> None:
    job = back_up(product, BackupType.FILES)
    target = tmp_path / "restored"
    below = target / "files/uploads" / str(product.storage).lstrip("/")

    def tamper() -> None:
        with (below / "media" / "film.bin").open("r+b") as stream:
            stream.seek(50_000)
            stream.write(b"!")
        (below / "essays" / "essay 1.txt").unlink()

    done = operations.initiate_recovery(
        job.id,
        RecoveryTarget(str(target)),
        settings=product.settings,
        progress=Acting({"prove files uploads": tamper}),
    )
    assert (done.status, done.verification_status) == (JobStatus.FAILED, Verdict.FAILED)
    assert done.findings == (
        f"{product.storage}/essays/essay 1.txt is missing",
        f"{product.storage}/media/film.bin has other bytes than the backup",
    )
    assert done.error == "what was restored differs from the backup in 2 places"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o600)
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def packs_of(product: Product) -> list[Path]:
    """The packs, the largest first: it holds rows or files."""
    return sorted((product.repository / "data").glob("*/*"), key=lambda path: -path.stat().st_size)


@pytest.mark.parametrize("damage", [flip, pytest.param(cut, marks=pytest.mark.slow), Path.unlink])
def test_a_damaged_pack_is_named_by_verify_and_never_restored_as_wrong_bytes(
    product: Product, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    job = back_up(product)
    originals = content_of(product.storage)
    pack = packs_of(product)[0]
    pack.chmod(0o600)
    damage(pack)
    verification = operations.verify_backup(job.id, settings=product.settings)
    assert verification.verification_status is Verdict.FAILED
    assert any(pack.name[:8] in finding for finding in verification.findings)
    with opened(product) as catalog:
        assert catalog.jobs.get(job.id).verification_status is Verdict.FAILED
    with suppress(DamageError):  # what else a damaged database's backup holds is brought back all the same
        recover(product, job, tmp_path / "restored")
    failed = last_recovery(product)
    assert (failed.status, failed.verification_status is Verdict.PASSED) == (JobStatus.FAILED, False)
    assert failed.error
    assert operations.get_backup_stats(settings=product.settings).recoveries_failed == 1
    assert product.database
    assert "school_restored" not in databases_of(product.database)
    below = tmp_path / "restored/files/uploads" / str(product.storage).lstrip("/")
    written = content_of(below) if below.exists() else {}
    assert {name: content for name, content in written.items() if originals.get(name) != content} == {}


def test_a_missing_snapshot_is_named_and_cannot_be_recovered(product: Product, tmp_path: Path) -> None:
    job = back_up(product)
    gone = job.parts[1].snapshot_id
    (product.repository / "snapshots" / gone).unlink()
    verification = operations.verify_backup(job.id, settings=product.settings)
    assert verification.verification_status is Verdict.FAILED
    assert any(gone[:8] in finding for finding in verification.findings)
    with pytest.raises(BackupError, match=gone[:8]):
        recover(product, job, tmp_path / "restored", parts=(BackupType.FILES,))


def test_a_row_that_was_changed_does_not_pass_verification(product: Product, catalog_database: Address) -> None:
    job = back_up(product)
    older = back_up(product, BackupType.FILES)
    execute(
        catalog_database,
        f"UPDATE backup_parts SET snapshot_id = '{older.parts[0].snapshot_id}'"
        f" WHERE backup_id = '{job.id}' AND part = 'files'",
    )
    verification = operations.verify_backup(job.id, settings=product.settings)
    assert verification.verification_status is Verdict.FAILED
    assert "the catalog's row was changed" in verification.findings[-1]


def test_a_used_target_is_refused_before_anything_is_written(product: Product, tmp_path: Path) -> None:
    job = back_up(product)
    target = tmp_path / "restored"
    target.mkdir()
    (target / "mine").write_text("mine")
    with pytest.raises(ConflictError, match="not an empty directory"):
        recover(product, job, target)
    with pytest.raises(ConflictError, match="a database named school exists"):
        recover(product, job, tmp_path / "other", database_suffix="")
    with pytest.raises(InputError, match="not an absolute path"):
        recover(product, job, Path("relative"))
    assert [path.name for path in target.iterdir()] == ["mine"]
    assert not (tmp_path / "other").exists()
    with opened(product) as catalog:
        assert catalog.recoveries.newest() == ()


def test_unknown_and_ambiguous_backups_and_parts_are_refused(product: Product, tmp_path: Path) -> None:
    settings = product.settings
    with opened(product) as catalog:
        with pytest.raises(NotFoundError, match="no good backup"):
            find_backup(catalog, "latest")
        files = back_up(product, BackupType.FILES)
        twin = replace(files, id=JobId(UUID(int=files.id.int ^ 1)), parts=())
        catalog.jobs.create(twin)
        with pytest.raises(AmbiguousError, match="short for more than one"):
            find_backup(catalog, str(files.id)[:8])
        assert find_backup(catalog, "latest").id in (files.id, twin.id)
        for word in ("zz", "", "0" * 33):
            with pytest.raises(NotFoundError):
                find_backup(catalog, word)
    with pytest.raises(NotFoundError):
        operations.verify_backup(uuid4(), settings=settings)
    with pytest.raises(NotFoundError, match="does not hold database"):
        recover(product, files, tmp_path / "restored", parts=(BackupType.DATABASE,))


def test_a_backup_that_failed_is_neither_verified_nor_recovered(product: Product, tmp_path: Path) -> None:
    product.configure('paths = ["storage"]', 'paths = ["storage"]\npre_hook = ["false"]')
    with pytest.raises(BackupError):
        back_up(product, BackupType.FILES)
    (failed,) = operations.get_backups(settings=product.settings)
    for attempt in (
        lambda: operations.verify_backup(failed.id, settings=product.settings),
        lambda: recover(product, failed, tmp_path / "restored"),
        lambda: operations.queue_verification(failed.id, settings=product.settings),
    ):
        with pytest.raises(InputError, match="is failed"):
            attempt()


def test_queued_jobs_that_cannot_start_say_why_in_their_rows(files_product: Product, tmp_path: Path) -> None:
    settings = files_product.settings
    job = back_up(files_product, BackupType.FILES)
    target = RecoveryTarget(str(tmp_path))
    queued = operations.queue_backup("files", settings=settings)
    verification = operations.queue_verification(job.id, settings=settings)
    recovery = operations.queue_recovery(job.id, target, settings=settings)
    with pytest.raises(ConflictError):
        operations.initiate_recovery(job.id, target, settings=settings, job_id=recovery)
    (files_product.home / "passphrase").write_text("wrong")
    with pytest.raises(WrongPassphraseError):
        operations.create_backup("files", settings=settings, job_id=queued)
    with pytest.raises(WrongPassphraseError):
        operations.verify_backup(job.id, settings=settings, job_id=verification)
    with opened(files_product) as catalog:
        rows = (catalog.jobs.get(queued), catalog.verifications.get(verification), catalog.recoveries.get(recovery))
    assert [row.status for row in rows] == [JobStatus.FAILED] * 3
    assert "not an empty directory" in (rows[2].error or "")
    assert rows[0].error


def test_queued_verifications_and_recoveries_keep_their_ids_and_flow_runs(
    files_product: Product, tmp_path: Path
) -> None:
    settings = files_product.settings
    job = back_up(files_product, BackupType.FILES)
    target = RecoveryTarget(str(tmp_path / "restored"))
    verification = operations.queue_verification(job.id, settings=settings)
    recovery = operations.queue_recovery(job.id, target, settings=settings)
    one, other = uuid4(), uuid4()
    proved = operations.verify_backup(job.id, settings=settings, job_id=verification, flow_run_id=one)
    restored = operations.initiate_recovery(job.id, target, settings=settings, job_id=recovery, flow_run_id=other)
    assert (proved.id, proved.flow_run_id) == (verification, one)
    assert (restored.id, restored.flow_run_id) == (recovery, other)
    assert restored.verification_status is Verdict.PASSED


def test_a_recovery_of_parts_counts_their_bytes_only(product: Product, tmp_path: Path) -> None:
    job = back_up(product)
    of: dict[BackupType, PartResult] = {part.part: part for part in job.parts}
    done = recover(product, job, tmp_path / "restored", parts=(BackupType.CONFIGURATION,))
    assert done.restored_bytes == of[BackupType.CONFIGURATION].source_bytes
