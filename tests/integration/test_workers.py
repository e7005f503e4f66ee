"""Hosts that share a catalog: announced, told apart, refused where they would do harm; and who looks after Prefect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from edurise_backup import operations
from edurise_backup.catalog.leases import Leases
from edurise_backup.catalog.lifecycle import Beat
from edurise_backup.catalog.reconcile import reconcile_dead
from edurise_backup.catalog.workers import Announcement, announce
from edurise_backup.config import load_settings
from edurise_backup.errors import ConflictError, ForbiddenError, NotFoundError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.jobs import BackupFilters, BackupJob, BackupType, JobId, JobStatus, Usage
from edurise_backup.model.people import Actor, Role, Via
from edurise_backup.operations import Catalog
from edurise_backup.operations.people import local_actor
from edurise_backup.operations.workers import (
    begin_worker,
    end_worker,
    give_sign,
    list_workers,
    remove_worker,
)
from edurise_backup.stores.local import LocalStore
from flows.turns import LENGTH, NAME, give_up, has_turn
from tests.support import engine
from tests.support.catalog import Product, opened, run, run_json

OTHER = "other-host"


@pytest.fixture
def catalog(files_product: Product) -> Iterator[Catalog]:
    with opened(files_product) as catalog:
        yield catalog


def host(product: Product, name: str) -> Catalog:
    """Open the catalog as another host does; the caller closes it."""
    return operations.open_catalog(replace(product.settings, host=name))


def others(product: Product, catalog: Catalog, *sources: str, repository: str = "") -> UUID:
    """Have another host be known that reads these sources."""
    worker_id = uuid4()
    here = repository or engine.opened(LocalStore(product.repository)).config.id
    announce(catalog.sessions, Announcement(OTHER, worker_id, "edurise", 2, sources, here, "1"))
    return worker_id


def silenced(catalog: Catalog, name: str, seconds: int = 3600) -> None:
    """Have a worker's last sign lie in the past."""
    catalog.sessions.run(
        lambda connection: connection.execute(
            "UPDATE workers SET started_at = started_at - %(ago)s, seen_at = seen_at - %(ago)s WHERE host = %(host)s",
            {"ago": timedelta(seconds=seconds), "host": name},
        )
    )


def test_a_worker_says_what_its_host_reads_and_when_it_ended(files_product: Product, catalog: Catalog) -> None:
    said = begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=3)
    (state,) = list_workers(catalog)
    assert state.lives
    assert state.worker.sources == ("configuration/settings", "files/uploads", "metadata/platform")
    assert (state.worker.host, state.worker.slots) == (files_product.settings.host, 3)
    give_sign(catalog, said)
    assert list_workers(catalog)[0].worker.seen_at > state.worker.seen_at
    end_worker(catalog, said)
    (state,) = list_workers(catalog)
    assert (state.lives, state.worker.left_at is not None) == (False, True)


def test_a_source_that_names_another_host_is_not_read_here(files_product: Product, catalog: Catalog) -> None:
    files_product.configure('paths = ["storage"]', f'paths = ["storage"]\nhost = "{OTHER}"')
    begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=1)
    assert list_workers(catalog)[0].worker.sources == ("configuration/settings", "metadata/platform")
    for source in (None, "uploads"):
        with pytest.raises(ConflictError, match=f"files/uploads can be read on {OTHER} alone"):
            operations.create_backup(BackupType.FILES, settings=files_product.settings, source=source)
    assert operations.get_backups(BackupFilters(), settings=files_product.settings) == []


def test_a_host_is_never_two_workers_and_a_dead_one_makes_room(files_product: Product, catalog: Catalog) -> None:
    mine = begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=1)
    with pytest.raises(ConflictError, match="lives already"):
        begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=1)
    silenced(catalog, mine.host)
    second = begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=1)
    with pytest.raises(ConflictError, match="another one has taken its name"):
        give_sign(catalog, mine)
    give_sign(catalog, second)


def test_a_worker_that_died_in_this_boot_makes_room_at_once(files_product: Product, catalog: Catalog) -> None:
    begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=1)
    nobody = 2**22 + 1  # above the largest number of a process
    catalog.sessions.run(lambda connection: connection.execute("UPDATE workers SET pid = %s", (nobody,)))
    begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=1)


def test_a_backup_of_everything_is_refused_where_a_source_of_another_host_is_missing(
    files_product: Product, catalog: Catalog
) -> None:
    others(files_product, catalog, "files/theirs", "files/uploads", "metadata/platform")
    for kind in (BackupType.FULL, BackupType.FILES):
        with pytest.raises(ConflictError, match=rf"lacks sources that others read: files/theirs \(on {OTHER}\)"):
            operations.create_backup(kind, settings=files_product.settings)
    assert operations.create_backup(BackupType.FILES, settings=files_product.settings, source="uploads").status.good
    assert operations.create_backup(BackupType.CONFIGURATION, settings=files_product.settings).status.good
    silenced(catalog, OTHER)
    with pytest.raises(ConflictError, match="lacks sources"):  # a host that is away still counts
        operations.create_backup(BackupType.FULL, settings=files_product.settings)
    remove_worker(catalog, local_actor(), OTHER)
    assert operations.create_backup(BackupType.FULL, settings=files_product.settings).status.good


def test_a_flow_run_that_is_refused_leaves_its_row(files_product: Product, catalog: Catalog) -> None:
    others(files_product, catalog, "files/theirs")
    for source, words in (
        (None, "lacks sources"),
        ("theirs", "no source named 'theirs'"),
        ("x", "no source named 'x'"),
    ):
        run_id = uuid4()
        with pytest.raises((ConflictError, NotFoundError), match=words) as told:
            operations.create_backup(
                BackupType.FILES, settings=files_product.settings, source=source, flow_run_id=run_id
            )
        (job,) = [job for job in catalog.jobs.newest() if job.flow_run_id == run_id]
        assert job.status is JobStatus.FAILED
        assert (OTHER in told.value.hint) == (source == "theirs")


def test_another_repository_than_the_others_is_refused(files_product: Product, catalog: Catalog) -> None:
    others(files_product, catalog, "metadata/platform", repository="b" * 64)
    refusals = (
        lambda: begin_worker(catalog, files_product.settings, uuid4(), pool="edurise", slots=1),
        lambda: operations.create_backup(BackupType.CONFIGURATION, settings=files_product.settings),
        lambda: operations.check_repository(settings=files_product.settings),
        lambda: operations.prune_repository(settings=files_product.settings),
    )
    for refused in refusals:
        with pytest.raises(ConflictError, match=f"is not the one that the worker on {OTHER} opens") as told:
            refused()
        assert "a directory of one machine" in told.value.hint


def test_whoever_may_not_administer_removes_no_host(files_product: Product, catalog: Catalog) -> None:
    others(files_product, catalog, "metadata/platform")
    silenced(catalog, OTHER)
    with pytest.raises(ForbiddenError):
        remove_worker(catalog, Actor("olga", Via.DASHBOARD, frozenset({Role.OPERATOR})), OTHER)
    assert len(list_workers(catalog)) == 1
    row = catalog.audit.newest(limit=1)[0]
    assert (row.action, row.actor, row.outcome.value) == ("worker.remove", "olga", "refused")


def test_commands_show_hosts_and_forget_one_that_is_gone(files_product: Product, catalog: Catalog) -> None:
    assert "one machine does everything" in run(files_product, "worker", "list").stdout
    others(files_product, catalog, "files/theirs")
    assert OTHER in run(files_product, "worker", "list").stdout
    refused = run(files_product, "worker", "remove", OTHER)
    assert (refused.returncode, "lives" in refused.stderr) == (2, True)
    assert run(files_product, "worker", "remove", "nobody").returncode == 2
    silenced(catalog, OTHER)
    listed = run(files_product, "worker", "list", "--json")
    (state,) = json.loads(listed.stdout)
    assert (listed.returncode, state["lives"], state["worker"]["host"]) == (1, False, OTHER)
    assert run_json(files_product, "worker", "remove", OTHER) == {"removed": OTHER}
    assert catalog.audit.newest(limit=1)[0].action == "worker.remove"
    assert list_workers(catalog) == ()


def test_what_another_host_reads_is_expected_whoever_looks(files_product: Product, catalog: Catalog) -> None:
    others(files_product, catalog, "files/theirs")
    operations.create_backup(BackupType.CONFIGURATION, settings=files_product.settings)
    done = run(files_product, "watch", "--once")
    assert done.returncode == 0, done.stderr
    subjects = {alarm.subject for alarm in catalog.alarms.open() if alarm.kind is AlarmKind.NO_GOOD_BACKUP}
    assert {"files/theirs", "files/uploads"} <= subjects


def test_one_of_several_looks_after_prefect_and_another_when_it_is_gone(files_product: Product) -> None:
    with host(files_product, "one") as one, host(files_product, "two") as two:
        assert [has_turn(one, "worker"), has_turn(two, "worker"), has_turn(one, "watch")] == [True, False, False]
        assert has_turn(one, "worker")  # also when it was started again
        give_up(two, "worker")  # it has none to give
        assert not has_turn(two, "worker")
        one.sessions.run(
            lambda connection: connection.execute(
                """UPDATE leases SET acquired_at = acquired_at - %(ago)s, renewed_at = renewed_at - %(ago)s,
                   expires_at = expires_at - %(ago)s WHERE name = %(name)s""",
                {"ago": LENGTH + timedelta(seconds=1), "name": NAME},
            )
        )
        assert has_turn(two, "worker")
        assert not has_turn(one, "worker")
        give_up(two, "worker")
        assert has_turn(one, "worker")
        give_up(one, "worker")
        assert one.leases.held() == ()


def test_the_catalogs_clock_decides_and_not_a_hosts(files_product: Product, catalog: Catalog) -> None:
    """Hosts an hour off would take each other's leases and jobs for dead, were they judged by their own clocks."""
    job = BackupJob(JobId(uuid4()), BackupType.FILES, JobStatus.QUEUED, host=OTHER)
    with host(files_product, OTHER) as theirs:
        theirs.jobs.create(job)
        theirs.jobs.start(job.id)
        theirs.jobs.beat(job.id, Beat("files", None, Usage()))
        theirs.leases.acquire(["files/uploads"], job.id)
    server = catalog.sessions.run(lambda connection: connection.execute("SELECT clock_timestamp()").fetchone())
    assert server is not None
    (lease,) = catalog.leases.held()
    assert abs(lease.renewed_at - datetime.fromisoformat(str(server[0]))) < timedelta(minutes=1)
    assert catalog.reconcile() == ()
    with pytest.raises(ConflictError, match=f"on {OTHER}"):
        catalog.leases.acquire(["files/uploads"], uuid4())
    late = Leases(catalog.sessions, clock=lambda: datetime.now(UTC) + timedelta(hours=1))
    late.acquire(["files/uploads"], uuid4())  # what a host's own clock would have done
    assert len(reconcile_dead(catalog.sessions, datetime.now(UTC) + timedelta(hours=1))) == 1


def test_how_long_silence_means_death_is_a_setting(files_product: Product) -> None:
    files_product.configure("[catalog]\n", "[catalog]\nsilence_seconds = 30\n")
    with opened(files_product) as catalog:
        assert catalog.leases.length == catalog.silence == timedelta(seconds=30)
    path = Path(files_product.settings_path)
    path.write_text(path.read_text().replace("silence_seconds = 30", "silence_seconds = 3"))
    with pytest.raises(Exception, match="silence_seconds"):
        load_settings(path, {})
