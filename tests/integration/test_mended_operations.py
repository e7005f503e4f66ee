"""Backups and recoveries at the edges: several sources, hostile tags, missing rights, full disks, odd names."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec import structs

from edurise_backup import operations
from edurise_backup.errors import (
    ConflictError,
    DamageError,
    InputError,
    SourceError,
    SpaceError,
)
from edurise_backup.model.content import Node, blob_id
from edurise_backup.model.database import DatabaseRecord, Secret, decode_record
from edurise_backup.model.jobs import (
    BackupFilters,
    BackupJob,
    BackupType,
    JobId,
    JobStatus,
    RecoveryJob,
    RecoveryTarget,
    Verdict,
)
from edurise_backup.model.policy import RetentionPolicy
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.backups import find_backup
from edurise_backup.operations.engine import choose_forgotten
from edurise_backup.operations.recovery_target import Needs, NewDatabase, refuse_taken
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.tools import Tools
from edurise_backup.recovery.streaming import SnapshotFiles
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, save_snapshot
from edurise_backup.sources.database import DatabaseSource
from edurise_backup.sources.files import FilesSource
from edurise_backup.sources.server_facts import read_configuration, read_inventory
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, opened, run
from tests.support.postgres import capture, databases_of, execute


def back_up(product: Product, kind: BackupType = BackupType.FULL, **options: object) -> BackupJob:
    return operations.create_backup(kind, settings=product.settings, **options)  # type: ignore[arg-type]


def recover(product: Product, job: BackupJob, target: Path, *, suffix: str = "_restored") -> RecoveryJob:
    return operations.initiate_recovery(
        job.id, RecoveryTarget(str(target), database_suffix=suffix), settings=product.settings
    )


def repository_of(product: Product) -> Repository:
    return engine.opened(LocalStore(product.repository))


def rows(product: Product, status: JobStatus | None = None) -> list[BackupJob]:
    return operations.get_backups(BackupFilters(status=status), settings=product.settings)


def add_second_source(product: Product) -> None:
    """Have the same server backed up by a second source, too."""
    text = product.settings_path.read_text()
    start = text.index("[[database]]")
    source = text[start : text.index("[[files]]")].replace('name = "school"', 'name = "annex"')
    product.settings_path.write_text(text[:start] + source + text[start:])


# Several sources


def test_a_policy_never_lets_one_database_source_push_out_another(product: Product) -> None:
    add_second_source(product)
    back_up(product, BackupType.DATABASE)
    newest = back_up(product, BackupType.DATABASE)
    repository = repository_of(product)
    gone, _ = choose_forgotten(repository.snapshots(), [], RetentionPolicy(last=1), now=datetime.now(UTC))
    left = {key for key in repository.snapshots() if key not in gone}
    assert left == {part.snapshot_id for part in newest.parts}
    assert {tuple(repository.snapshots()[key].paths) for key in left} == {("/databases/school",), ("/databases/annex",)}


def test_two_databases_that_would_get_one_name_are_refused_before_anything_is_made(
    product: Product, tmp_path: Path
) -> None:
    add_second_source(product)
    job = back_up(product, BackupType.DATABASE)
    with pytest.raises(InputError, match="two databases of the backup would be school_restored"):
        recover(product, job, tmp_path / "restored")
    assert product.database
    assert "school_restored" not in databases_of(product.database)
    with opened(product) as catalog:
        assert catalog.recoveries.newest(limit=1) == ()


def test_a_second_database_whose_name_is_taken_is_refused_before_the_first_is_made(
    product: Product, tmp_path: Path
) -> None:
    assert product.database
    execute(product.database, "CREATE DATABASE academy", "CREATE DATABASE school_x IS_TEMPLATE true")
    try:
        job = back_up(product, BackupType.DATABASE)
        with pytest.raises(ConflictError, match="school_x exists"):
            recover(product, job, tmp_path / "restored", suffix="_x")
        with pytest.raises(InputError, match=r"cannot be a database's name: it has 6\d bytes"):
            recover(product, job, tmp_path / "restored", suffix="_" + "é" * 29)
        assert databases_of(product.database) >= {"academy", "school"}
        assert not {"academy_x", "school_restored"} & databases_of(product.database)
    finally:
        execute(product.database, "ALTER DATABASE school_x IS_TEMPLATE false")


def test_a_servers_dumps_lie_in_the_folder_that_it_is_given(catalog_database: Address, tools: Tools) -> None:
    with DatabaseSource(
        catalog_database, name="x", tools=tools, folder="/a/deep/place", databases=[catalog_database.database]
    ) as source:
        found = set(capture(source).files)
    assert f"/a/deep/place/{catalog_database.database}/archive.pgdump" in found
    assert all(path.startswith("/a/deep/place/") for path in found)


# Hostile names


@pytest.mark.parametrize("source", ["../../evil", "{outside}"])
def test_a_snapshots_tag_leads_no_recovery_out_of_its_target(
    files_product: Product, tmp_path: Path, source: str
) -> None:
    outside = tmp_path / "outside"
    repository = repository_of(files_product)
    files = FilesSource([str(files_product.storage)])
    tags = ["job=x", "type=files", f"source={source.format(outside=outside)}"]
    with repository.lock(settle=engine.AT_ONCE) as lock:
        save_snapshot(repository, files, Label(files.paths, "h", tags), lock, progress=SilentProgress())
    operations.rebuild_catalog(settings=files_product.settings)
    (job,) = rows(files_product)
    assert job.source == job.parts[0].source == ""
    done = recover(files_product, job, tmp_path / "deep" / "er" / "target")
    assert done.verification_status is Verdict.PASSED
    assert {path.name for path in tmp_path.iterdir()} == {"product", "deep"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["er"]
    assert (tmp_path / "deep/er/target/files" / str(files_product.storage).lstrip("/")).is_dir()


def test_a_job_record_leads_no_recovery_out_of_its_target(files_product: Product, tmp_path: Path) -> None:
    good = back_up(files_product, BackupType.FILES)
    hostile = replace(good, id=JobId(uuid4()), parts=(replace(good.parts[0], source="../../evil"),))
    with opened(files_product) as catalog:
        catalog.jobs.create(replace(hostile, status=JobStatus.QUEUED, started_at=None, completed_at=None, parts=()))
        catalog.jobs.start(hostile.id)
        catalog.jobs.finish(hostile)
    with pytest.raises(InputError, match="no source's name"):
        recover(files_product, hostile, tmp_path / "a" / "target")
    assert {path.name for path in tmp_path.iterdir()} == {"product"}


def test_a_name_that_is_not_utf8_can_be_told_in_a_jobs_row(files_product: Product, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(files_product.storage) + b"/caf\xe9"))
    odd.write_bytes(os.urandom(500_000))
    job = back_up(files_product, BackupType.FILES)
    max((files_product.repository / "data").glob("*/*"), key=lambda path: path.stat().st_size).unlink()
    with pytest.raises(DamageError):
        recover(files_product, job, tmp_path / "restored")
    with opened(files_product) as catalog:
        (recovery,) = catalog.recoveries.newest(limit=1)
    assert recovery.status is JobStatus.FAILED
    verified = operations.verify_backup(job.id, settings=files_product.settings)
    assert verified.verification_status is Verdict.FAILED
    assert verified.findings
    listed = run(files_product, "show", str(job.id), "--json")
    assert listed.returncode == 0, listed.stderr


# Room


def test_a_recovery_that_does_not_fit_is_refused_before_a_byte_is_written(
    files_product: Product, tmp_path: Path
) -> None:
    blob = os.urandom(1 << 24)
    count = shutil.disk_usage(tmp_path).total // len(blob) + 2  # others may free room meanwhile
    huge = Node(
        name="huge",
        type="file",
        mtime="2024-01-01T00:00:00Z",
        atime="2024-01-01T00:00:00Z",
        ctime="2024-01-01T00:00:00Z",
        uid=0,
        gid=0,
        size=count * len(blob),
        content=[blob_id(blob).hex()] * count,
    )
    engine.publish_tree(repository_of(files_product), [huge], blobs=[blob])
    operations.rebuild_catalog(settings=files_product.settings)
    (job,) = rows(files_product)
    with pytest.raises(SpaceError, match="needs at least"):
        recover(files_product, job, tmp_path / "restored")
    assert not (tmp_path / "restored").exists()
    with opened(files_product) as catalog:
        assert catalog.recoveries.newest(limit=1) == ()


def new_database(product: Product, job: BackupJob, *, size: int | None = None) -> NewDatabase:
    """Return the school's database as one that is to be made, of a given size."""
    repository = repository_of(product)
    files = SnapshotFiles(repository, repository.find_snapshot(job.parts[0].snapshot_id)[1].tree)
    record = decode_record(files.read("/databases/school/school/database.json"), DatabaseRecord)
    if size is not None:
        record = structs.replace(record, tables=[structs.replace(record.tables[0], bytes=size)])
    assert product.database
    return NewDatabase(record, "school_new", "school", product.database)


def test_databases_and_files_on_one_disk_share_its_room(product: Product, tmp_path: Path) -> None:
    job = back_up(product, BackupType.DATABASE)
    part = shutil.disk_usage(tmp_path).free * 2 // 3
    database = new_database(product, job, size=part)
    alone, together = Needs(), Needs()
    together.add(tmp_path / "not" / "yet" / "there", part)
    for needs in (alone, together):
        assert refuse_taken([database], needs) == []
    alone.refuse_without_room()
    with pytest.raises(SpaceError, match="needs at least"):
        together.refuse_without_room()


def test_a_disk_that_cannot_be_seen_is_noted(product: Product) -> None:
    assert product.database
    job = back_up(product, BackupType.DATABASE)
    product.execute("CREATE ROLE blind LOGIN PASSWORD 'blind'")
    try:
        blind = replace(product.database, user="blind", password=Secret("blind"))
        (note,) = refuse_taken([replace(new_database(product, job), address=blind)], Needs())
    finally:
        product.execute("DROP ROLE blind")
    assert "the room on the disk of school was not checked" in note


# Paths


@pytest.mark.parametrize("place", ["configuration", "storage"])
def test_a_path_that_is_missing_is_refused_before_anything_is_published(product: Product, place: str) -> None:
    shutil.rmtree(product.home / place)
    with pytest.raises(InputError, match=f"{place} cannot be read"):
        back_up(product)
    assert (rows(product), repository_of(product).snapshots()) == ([], {})


def test_a_flow_run_that_is_refused_leaves_a_row_that_says_so(files_product: Product) -> None:
    shutil.rmtree(files_product.storage)
    flow_run = uuid4()
    with pytest.raises(InputError, match="cannot be read"):
        back_up(files_product, BackupType.FILES, flow_run_id=flow_run)
    (job,) = rows(files_product)
    assert (job.status, job.flow_run_id) == (JobStatus.FAILED, flow_run)
    assert "storage cannot be read" in (job.error or "")
    with pytest.raises(InputError, match="no backup type"):
        back_up(files_product, "nonsense", flow_run_id=flow_run)  # type: ignore[arg-type]
    assert len(rows(files_product)) == 1


def test_a_configuration_that_holds_the_repository_is_refused_before_anything_is_published(product: Product) -> None:
    product.configure('paths = ["configuration"]', 'paths = ["."]')
    with pytest.raises(InputError, match="would back itself up"):
        back_up(product)
    assert (rows(product), repository_of(product).snapshots()) == ([], {})


def test_a_path_that_its_pre_hook_makes_may_be_missing_before(files_product: Product) -> None:
    hooks = 'pre_hook = ["mkdir", "mounted"]\npost_hook = ["rmdir", "mounted"]'.replace(
        "mounted", str(files_product.home / "mounted")
    )
    files_product.configure('paths = ["storage"]', f'paths = ["mounted"]\n{hooks}')
    assert back_up(files_product, BackupType.FILES).status is JobStatus.COMPLETED


def test_a_path_that_its_pre_hook_does_not_make_fails_the_job_and_promises_nothing(product: Product) -> None:
    product.configure('paths = ["storage"]', 'paths = ["mounted"]\npre_hook = ["true"]')
    with pytest.raises(SourceError, match="mounted cannot be read") as caught:
        back_up(product)
    assert caught.value.exit_status == 1
    (job,) = rows(product, JobStatus.FAILED)
    assert "Safe: what was published before it stays whole" in (job.error or "")
    assert len(repository_of(product).snapshots()) == 1


def test_paths_above_the_settings_file_are_compared_with_the_rows_that_name_them(product: Product) -> None:
    product.configure('paths = ["storage"]', 'paths = ["../product/x/../storage"]')
    assert back_up(product).warnings == ()


# Rights


def test_what_a_role_may_not_read_of_the_server_is_told_and_the_rest_is_there(product: Product) -> None:
    assert product.database
    execute(
        product.database,
        "CREATE DATABASE closed",
        "REVOKE CONNECT ON DATABASE closed FROM PUBLIC",
        "CREATE ROLE reader LOGIN PASSWORD 'reader'",
    )
    address = replace(product.database, user="reader", password=Secret("reader"))
    try:
        found = read_inventory(address, ["school"])
        product.execute("GRANT USAGE ON SCHEMA storage TO reader")
        with_schema = read_inventory(address, ["school"])
        configuration = read_configuration(address, ["school"])
    finally:
        product.execute("DROP OWNED BY reader", "DROP ROLE reader")
    for inventory in (found, with_schema):
        assert len(inventory.problems) == 1
        assert "reader may not read the storage's buckets of school" in inventory.problems[0]
        databases = inventory.facts["databases"]
        assert isinstance(databases, dict)
        assert databases["school"]["bytes"] > 0
        assert "pupils" in [table["name"] for table in databases["school"]["tables"]]
    assert len(configuration.problems) == 1
    assert configuration.settings


def test_metadata_that_a_role_may_not_read_are_warnings_of_the_backup(product: Product) -> None:
    assert product.database
    product.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    try:
        product.configure(f"user={product.database.user} ", "user=reader ", after="[[database]]")
        (product.home / "database.password").write_text("reader")
        job = back_up(product, BackupType.METADATA)
    finally:
        product.execute("DROP ROLE reader")
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert [warning.partition(" (")[0] for warning in job.warnings] == [
        "school: reader may not read the storage's buckets of school"
    ]


# The word `latest`


def test_latest_is_the_newest_full_set_when_there_is_one(product: Product, tmp_path: Path) -> None:
    files = back_up(product, BackupType.FILES)
    with opened(product) as catalog:
        assert find_backup(catalog, "latest").id == files.id
        full = back_up(product)
        back_up(product, BackupType.FILES)
        assert find_backup(catalog, "latest").id == full.id
    said = run(product, "verify")
    assert said.returncode == 0, said.stderr
    assert f"of backup {full.id} (full, " in said.stdout
    said = run(product, "recover", "latest", "--target", str(tmp_path / "restored"), "--part", "files")
    assert f"of backup {full.id} (full, " in said.stdout
    assert "newest good full set" in " ".join(run(product, "recover", "--help").stdout.replace("│", " ").split())
    quiet = run(product, "verify", "-q")
    assert (quiet.returncode, quiet.stdout) == (0, "")
