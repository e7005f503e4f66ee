"""What `create_backup` does on a small real platform: parts, warnings, hooks, refusals, queued jobs."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import sql

from edurise_backup import operations
from edurise_backup.errors import (
    CancelledError,
    ConfigError,
    InputError,
    LockedError,
    SourceError,
    ToolError,
    TransientError,
    UnreachableError,
)
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobStatus, Verdict
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Acting, Product, aged, opened
from tests.support.postgres import execute

ALL = (BackupType.DATABASE, BackupType.FILES, BackupType.CONFIGURATION, BackupType.METADATA)


def back_up(product: Product, kind: BackupType = BackupType.FULL, **options: object) -> BackupJob:
    return operations.create_backup(kind, settings=product.settings, **options)  # type: ignore[arg-type]


def repository_of(product: Product) -> Repository:
    return engine.opened(LocalStore(product.repository))


def paths_in(product: Product, job: BackupJob, part: BackupType) -> set[str]:
    repository = repository_of(product)
    snapshot = next(one.snapshot_id for one in job.parts if one.part is part)
    return {path for path, _ in walk_files(repository, repository.find_snapshot(snapshot)[1].tree)}


def failed_row(product: Product) -> BackupJob:
    (job,) = operations.get_backups(BackupFilters(status=JobStatus.FAILED), settings=product.settings)
    return job


def test_a_full_backup_is_a_set_of_all_four_parts(product: Product) -> None:
    job = back_up(product, tags=("term 1",))
    assert (job.status, job.warnings) == (JobStatus.COMPLETED, ())
    assert tuple(part.part for part in job.parts) == ALL
    assert job.set_id is not None
    assert job.parts[0].lsn
    assert job.parts[0].snapshot_time
    assert job.size == sum(part.source_bytes for part in job.parts)
    assert job.location == f"{product.repository} {','.join(part.snapshot_id for part in job.parts)}"
    snapshots = repository_of(product).snapshots()
    assert {one.tag("set") for one in snapshots.values()} == {str(job.set_id)}
    assert all("term 1" in (one.tags or []) for one in snapshots.values())
    assert {one.hostname for one in snapshots.values()} == {"tests"}


def test_a_second_backup_reads_only_the_files_that_changed_but_dumps_everything(product: Product) -> None:
    aged(product.storage)
    first = back_up(product)
    product.put("essays/essay 2.txt", b"x" * 1002)
    second = back_up(product)
    of = {part.part: part for part in second.parts}
    assert of[BackupType.FILES].read_bytes == 1002
    assert of[BackupType.FILES].source_bytes == first.parts[1].source_bytes
    assert of[BackupType.DATABASE].read_bytes == of[BackupType.DATABASE].source_bytes
    assert of[BackupType.DATABASE].stored_bytes < first.parts[0].stored_bytes
    again = back_up(product, BackupType.FILES, incremental=False)
    assert again.read_bytes == again.size


@pytest.mark.parametrize("kind", ALL)
def test_each_part_is_a_backup_of_its_own(product: Product, kind: BackupType) -> None:
    job = back_up(product, kind)
    assert job.status is JobStatus.COMPLETED
    assert [part.part for part in job.parts] == [kind]
    assert job.set_id is None
    assert operations.verify_backup(job.id, settings=product.settings).verification_status is Verdict.PASSED


def test_the_database_part_holds_archives_facts_and_roles(product: Product) -> None:
    found = paths_in(product, back_up(product, BackupType.DATABASE), BackupType.DATABASE)
    server, folder = "/databases/school", "/databases/school/school"
    assert {f"{server}/globals.sql", f"{server}/globals.json"} <= found
    assert {f"{folder}/{name}" for name in ("archive.pgdump", "archive.toc", "database.json", "database.sql")} <= found
    assert [path for path in found if path.startswith(f"{folder}/data/")] == [
        f"{folder}/data/0001-public.visits.pgdump"
    ]


def test_an_excluded_database_is_left_out(product: Product) -> None:
    assert product.database
    execute(product.database, "CREATE DATABASE scratch")
    product.configure("large_table_mib = 1", 'large_table_mib = 1\nexclude = ["scratch"]')
    found = paths_in(product, back_up(product, BackupType.DATABASE), BackupType.DATABASE)
    assert "/databases/school/school" in found
    assert "/databases/school/scratch" not in found


def test_rows_of_storage_objects_without_their_file_are_warnings(product: Product) -> None:
    (product.storage / "essays" / "essay 3.txt").unlink()
    product.put("essays/essay 4.txt", b"short")
    job = back_up(product)
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert sorted(job.warnings) == [
        "storage.objects of school names essays/essay 3.txt, which has no file",
        "storage.objects of school says that essays/essay 4.txt has 1004 bytes, it has 5",
    ]


@pytest.mark.parametrize(
    ("statements", "told"),
    [
        (("ALTER TABLE storage.buckets DROP COLUMN public",), ()),
        (
            ("DROP TABLE storage.objects", "CREATE TABLE storage.objects (id integer, bucket integer)"),
            (
                'storage.objects of school was not compared with the files: column "bucket_id" does not exist',
                "the storage's buckets of school could not be listed (column o.bucket_id does not exist)",
            ),
        ),
    ],
)
def test_tables_of_the_storages_names_with_another_shape_fail_no_backup(
    product: Product, statements: tuple[str, ...], told: tuple[str, ...]
) -> None:
    product.execute(*statements)
    job = operations.create_backup(settings=product.settings)
    assert job.status is (JobStatus.COMPLETED_WITH_WARNINGS if told else JobStatus.COMPLETED), job.warnings
    assert [text for text in told if not any(text in warning for warning in job.warnings)] == []


def test_an_object_that_is_deleted_after_the_dump_is_a_warning(product: Product) -> None:
    gone = product.storage / "essays" / "essay 1.txt"
    progress = Acting({"files": gone.unlink})
    job = back_up(product, progress=progress)
    assert progress.done
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert job.warnings == ("storage.objects of school names essays/essay 1.txt, which has no file",)


def test_an_object_that_is_added_after_the_dump_is_no_warning(product: Product) -> None:
    job = back_up(product, progress=Acting({"files": lambda: product.put("essays/late.txt", b"late")}))
    assert job.status is JobStatus.COMPLETED
    assert f"{product.storage}/essays/late.txt" in paths_in(product, job, BackupType.FILES)


def test_a_file_that_cannot_be_read_is_a_warning_and_the_others_are_kept(files_product: Product) -> None:
    unreadable = f"/proc/{os.getpid()}/mem"  # reading its first byte fails for everybody, root too
    files_product.configure('paths = ["storage"]', f'paths = ["storage", "{unreadable}"]')
    job = back_up(files_product, BackupType.FILES)
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert job.warnings == (f"{unreadable}: Input/output error",)
    found = paths_in(files_product, job, BackupType.FILES)
    assert f"{files_product.storage}/media/film.bin" in found
    assert unreadable not in found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_this_user_may_not_read_is_a_warning(files_product: Product) -> None:
    closed = files_product.storage / "essays"
    closed.chmod(0)
    try:
        job = back_up(files_product, BackupType.FILES)
    finally:
        closed.chmod(0o700)
    assert job.warnings == (f"{closed}: Permission denied",)


class Growing(SilentProgress):
    """Lets a file grow whenever a piece of any file was read."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Append a byte."""
        if bytes_done:
            with self._path.open("ab") as stream:
                stream.write(b"x")


def test_a_file_that_keeps_changing_is_a_warning(files_product: Product) -> None:
    film = files_product.put("media/live.bin", os.urandom(1 << 20))
    job = back_up(files_product, BackupType.FILES, progress=Growing(film))
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert job.warnings == (f"{film}: changed while it was read",)
    assert str(film) in paths_in(files_product, job, BackupType.FILES)


def test_hooks_run_before_and_after_the_files_are_read(files_product: Product) -> None:
    add_hooks(files_product, f"echo frozen > {files_product.storage}/state", f"rm {files_product.storage}/state")
    job = back_up(files_product, BackupType.FILES)
    assert f"{files_product.storage}/state" in paths_in(files_product, job, BackupType.FILES)
    assert not (files_product.storage / "state").exists()


def test_a_pre_hook_that_fails_fails_the_job_and_the_post_hook_runs_even_then(files_product: Product) -> None:
    released = files_product.home / "released"
    add_hooks(files_product, "echo no room for a snapshot >&2; exit 7", f"touch {released}")
    with pytest.raises(ToolError, match="pre_hook of uploads ended with status 7: no room for a snapshot"):
        back_up(files_product, BackupType.FILES)
    assert released.exists()
    assert "no room for a snapshot" in (failed_row(files_product).error or "")
    assert repository_of(files_product).snapshots() == {}


def test_a_post_hook_that_fails_is_a_warning_of_a_backup_that_is_whole(files_product: Product) -> None:
    add_hooks(files_product, "true", "echo still mounted >&2; exit 1")
    job = back_up(files_product, BackupType.FILES)
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert len(job.warnings) == 1
    assert "post_hook of uploads ended with status 1: still mounted" in job.warnings[0]
    assert operations.verify_backup(job.id, settings=files_product.settings).verification_status is Verdict.PASSED


def add_hooks(product: Product, before: str, after: str) -> None:
    hooks = f'pre_hook = ["sh", "-c", "{before}"]\npost_hook = ["sh", "-c", "{after}"]\n'
    product.configure('paths = ["storage"]\n', f'paths = ["storage"]\n{hooks}')


@pytest.mark.parametrize("place", ["repository", "data"])
def test_a_source_that_contains_what_the_backup_writes_is_refused(files_product: Product, place: str) -> None:
    (files_product.home / "data").mkdir(exist_ok=True)
    (files_product.home / "outer").symlink_to(files_product.home / place)
    for path in (".", place):
        text = files_product.settings_path.read_text()
        files_product.configure('paths = ["storage"]', f'paths = ["{path}"]')
        with pytest.raises(InputError, match="a backup would back itself up"):
            back_up(files_product, BackupType.FILES)
        files_product.settings_path.write_text(text)
    assert repository_of(files_product).snapshots() == {}


def test_a_queued_backup_is_run_under_its_id_with_its_flow_run(files_product: Product) -> None:
    job_id = operations.queue_backup("files", settings=files_product.settings, tags=("nightly",))
    with opened(files_product) as catalog:
        assert catalog.jobs.get(job_id).status is JobStatus.QUEUED
    flow_run = uuid4()
    job = back_up(files_product, BackupType.FILES, job_id=job_id, flow_run_id=flow_run)
    assert (job.id, job.flow_run_id, job.tags) == (job_id, flow_run, ("nightly",))
    assert job.status is JobStatus.COMPLETED


@pytest.mark.parametrize("call", [operations.create_backup, operations.queue_backup])
@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("everything", {}, "there is no backup type 'everything'"),
        ("files", {"source": "downloads"}, "no source named 'downloads'"),
        ("database", {}, "nothing is configured to back up as database"),
        ("full", {"source": "uploads"}, "a full backup takes every source"),
        ("files", {"tags": ("a,b",)}, "a tag holds no comma"),
    ],
)
def test_what_cannot_be_backed_up_is_refused_before_a_job_exists(
    files_product: Product, call: Callable[..., object], kind: str, options: dict[str, object], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        call(kind, settings=files_product.settings, **options)
    assert operations.get_backups(settings=files_product.settings) == []


def test_without_a_repository_nothing_is_made_anywhere(files_product: Product) -> None:
    files_product.settings_path.write_text('data_directory = "data"\n[[files]]\nname = "x"\npaths = ["storage"]\n')
    with pytest.raises(ConfigError, match="no repository is configured"):
        back_up(files_product, BackupType.FILES)
    assert not (files_product.home / "data").exists()


def test_a_locked_repository_fails_the_job_and_says_who_holds_it(files_product: Product) -> None:
    with (
        repository_of(files_product).lock(exclusive=True, settle=engine.AT_ONCE),
        pytest.raises(LockedError, match=f"process {os.getpid()}"),
    ):
        back_up(files_product, BackupType.FILES)
    assert f"process {os.getpid()}" in (failed_row(files_product).error or "")


def test_an_unreachable_database_fails_the_job_with_what_to_do(product: Product) -> None:
    product.configure("dbname=postgres", "dbname=no_such_database")
    with pytest.raises(UnreachableError, match="no_such_database"):
        back_up(product)
    job = failed_row(product)
    assert "nothing was read or changed" in (job.error or "")
    assert job.hint == "check its name and the right to connect to it"


def test_a_locked_table_is_a_transient_fault_and_nothing_is_published(product: Product) -> None:
    assert product.database
    product.configure("large_table_mib = 1", "large_table_mib = 1\nlock_timeout_seconds = 1")
    with connect(product.database) as connection:
        connection.execute("LOCK TABLE pupils IN ACCESS EXCLUSIVE MODE")
        with pytest.raises((TransientError, ToolError)) as caught:
            back_up(product, BackupType.DATABASE)
    assert isinstance(caught.value, TransientError)
    assert repository_of(product).snapshots() == {}
    assert back_up(product, BackupType.DATABASE).status is JobStatus.COMPLETED


def test_a_catalog_that_drops_its_connections_does_not_stop_a_backup(
    product: Product, catalog_database: Address
) -> None:
    def drop() -> None:
        execute(
            catalog_database.with_database("postgres"),
            sql.SQL("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}").format(
                catalog_database.database
            ),
        )

    progress = Acting({"files": drop, "metadata": drop})
    job = back_up(product, progress=progress)
    assert progress.done
    assert job.status is JobStatus.COMPLETED
    assert [phase.name for phase in job.phases] == ["database", "files", "configuration", "metadata"]


def test_a_backup_that_is_asked_to_stop_is_cancelled_and_keeps_what_it_published(product: Product) -> None:
    stop = threading.Event()
    with pytest.raises(CancelledError):
        back_up(product, stop=stop, progress=Acting({"configuration": stop.set}))
    (job,) = operations.get_backups(settings=product.settings)
    assert job.status is JobStatus.CANCELLED
    assert job.completed_at
    assert "what was published before it is whole" in (job.error or "")
    assert len(repository_of(product).snapshots()) == 2
    assert engine.check(repository_of(product)).findings == []


def test_a_role_without_rights_fails_the_backup_rather_than_leaving_rows_out(product: Product) -> None:
    assert product.database
    product.execute("CREATE ROLE shy LOGIN PASSWORD 'shy'", "ALTER TABLE pupils ENABLE ROW LEVEL SECURITY")
    try:
        product.execute(
            "GRANT USAGE ON SCHEMA public, storage TO shy", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO shy"
        )
        product.configure(f"user={product.database.user} ", "user=shy ", after="[[database]]")
        (product.home / "database.password").write_text("shy")
        with pytest.raises(SourceError):
            back_up(product, BackupType.DATABASE)
    finally:
        product.execute("DROP OWNED BY shy", "DROP ROLE shy")


def test_settings_that_a_role_may_not_read_are_a_warning(product: Product) -> None:
    assert product.database
    product.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
    try:
        product.configure(f"user={product.database.user} ", "user=reader ", after="[[database]]")
        (product.home / "database.password").write_text("reader")
        job = back_up(product, BackupType.CONFIGURATION)
    finally:
        product.execute("DROP ROLE reader")
    assert job.status is JobStatus.COMPLETED_WITH_WARNINGS
    assert len(job.warnings) == 1
    assert "reader may not read the access rules" in job.warnings[0]


def test_backups_are_found_by_type_status_source_time_tag_set_and_verdict(product: Product) -> None:
    full = back_up(product, tags=("term",))
    files = back_up(product, BackupType.FILES, source="uploads")
    product.configure("large_table_mib = 1", 'large_table_mib = 1\nbindir = "nowhere"')
    with pytest.raises(ConfigError):
        back_up(product, BackupType.DATABASE)
    operations.verify_backup(full.id, settings=product.settings)
    failed = failed_row(product)
    now = datetime.now(UTC)

    def found(**filters: object) -> list[object]:
        return [job.id for job in operations.get_backups(BackupFilters(**filters), settings=product.settings)]  # type: ignore[arg-type]

    assert found() == [failed.id, files.id, full.id]
    assert found(type=BackupType.FILES) == [files.id]
    assert found(status=JobStatus.COMPLETED) == [files.id, full.id]
    assert found(source="uploads") == [files.id, full.id]
    assert found(source="school") == [full.id]
    assert found(verified=True) == [full.id]
    assert found(verified=False, status=JobStatus.COMPLETED) == [files.id]
    assert found(tag="term") == [full.id]
    assert found(set_id=full.set_id) == [full.id]
    assert found(until=full.started_at) == []
    assert found(since=now + timedelta(seconds=1)) == []
    assert found(limit=1, offset=1) == [files.id]


def test_figures_count_what_the_jobs_did(product: Product) -> None:
    empty = operations.get_backup_stats(settings=product.settings)
    assert (empty.running, empty.source_bytes, empty.dedup_ratio) == (0, 0, None)
    first, second = back_up(product), back_up(product)
    operations.verify_backup(second.id, settings=product.settings)
    stats = operations.get_backup_stats(settings=product.settings)
    full = next(kind for kind in stats.types if kind.type is BackupType.FULL)
    assert (full.completed, full.failed, full.last_good_id) == (2, 0, second.id)
    assert stats.source_bytes == (first.size or 0) + (second.size or 0)
    assert stats.stored_bytes == (first.stored_bytes or 0) + (second.stored_bytes or 0)
    assert (stats.verified, stats.unverified) == (1, 1)
    assert stats.dedup_ratio is not None
    assert stats.dedup_ratio > 1
