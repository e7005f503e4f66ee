"""A moment comes back from the first store that has it, and the others step in for what that one does not give."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import InputError, LockedError, NotFoundError, UnreachableError
from edurise_backup.model.jobs import BackupJob, JobStatus, RecoveryJob
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.model.wal import format_lsn
from edurise_backup.operations import point_in_time
from edurise_backup.operations.configured import make_repository
from edurise_backup.operations.point_in_time.rescuing import Wanted
from edurise_backup.operations.records import kept_records
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.stores.local import LocalStore
from tests.integration.test_point_in_time import LEDGER, read_ledger, write
from tests.support import engine
from tests.support.catalog import Product, opened
from tests.support.cluster_product import configure_cluster, receiving, shipped
from tests.support.clusters import ask, reachable_folder, running
from tests.support.copies import add_copy, flip, opened_copy, packs_of


@dataclass(frozen=True, slots=True)
class Place:
    """A product whose cluster lies in the primary and in a copy, ten entries of its ledger behind its base backup."""

    product: Product
    server: Server
    backup: BackupJob
    copy: Path
    folder: Path
    total: int
    """How many entries the ledger has."""

    def recover(self, moment: str = "latest", *, store: str = "", base: str = "") -> RecoveryJob:
        """Recover into a new folder."""
        return point_in_time.recover_to(
            moment, self.folder / "back", store=store, base=base, amcheck=False, settings=self.product.settings
        )

    def entries(self) -> int:
        """Return how many entries the recovered ledger has, all proved."""
        with Server(
            self.folder / "back", binaries=self.server.binaries, password=self.server._password, settings={}
        ) as back:
            return read_ledger(back.address)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with reachable_folder() as folder, running(folder / "data") as found:
        ask(found, LEDGER)
        yield found


@pytest.fixture
def place(tmp_path: Path, catalog_database: Address, server: Server) -> Iterator[Place]:
    with reachable_folder() as folder:
        product = configure_cluster(tmp_path / "product", server, catalog_database)
        before = int(str(ask(server, "SELECT count(*) FROM ledger")[0][0]))
        copy = add_copy(product)
        settings = product.settings
        with opened(product) as catalog, receiving(product, catalog) as reception:
            shipped(reception, server)
            backup = operations.create_backup("cluster", settings=settings)
            write(server, 10, before + 1)
            shipped(reception, server)
        assert operations.copy_backups("offsite", settings=settings).status is JobStatus.COMPLETED
        yield Place(product, server, backup, copy, folder, before + 10)


def test_a_store_that_loses_its_bytes_is_helped_by_the_copy(place: Place) -> None:
    for pack in packs_of(place.product.repository):
        for at in range(100, pack.stat().st_size, 20_000):
            flip(pack, at)
    done = place.recover()
    assert done.stores == ("primary", "offsite")
    assert any(note.startswith("offsite stepped in for primary: ") for note in done.store_notes)
    assert place.entries() == place.total


def test_a_repository_that_was_made_anew_is_passed_over(place: Place) -> None:
    shutil.rmtree(place.product.repository)
    make_repository(place.product.settings)
    choice = point_in_time.plan_recovery_to("latest", settings=place.product.settings)
    assert choice.store == "offsite"
    assert any("primary was passed over: no moment of" in note for note in choice.store_notes)
    done = place.recover()
    assert done.stores == ("offsite",)
    assert place.entries() == place.total


def test_a_moment_that_the_primary_has_no_more_comes_from_the_copy(place: Place) -> None:
    settings = place.product.settings
    (known,) = point_in_time.recovery_windows(settings=settings)
    moment = f"lsn:{format_lsn(known.windows[0].bases[0].stop_lsn)}"
    with opened(place.product) as catalog, receiving(place.product, catalog) as reception:
        newer = operations.create_backup("cluster", settings=settings)
        shipped(reception, place.server)
    repository = engine.opened(LocalStore(place.product.repository))
    engine.forget(repository, SnapshotId(place.backup.parts[0].snapshot_id))
    assert point_in_time.plan_recovery_to("latest", settings=settings).base.backup_id == newer.id
    done = place.recover(moment)
    assert (done.stores, done.backup_id) == (("offsite",), place.backup.id)
    assert any(note.startswith("primary was passed over: ") for note in done.store_notes)


def test_a_moment_that_no_store_has_is_refused_in_the_words_of_the_primary(place: Place) -> None:
    with pytest.raises(InputError, match="lies in no recovery window") as refused:
        place.recover("time:2001-01-01T00:00:00Z")
    assert "nearest moments" in refused.value.hint
    shutil.rmtree(place.product.repository)
    shutil.rmtree(place.copy)
    with pytest.raises(UnreachableError, match=r"no store can serve this: primary: .*; offsite: "):
        place.recover()
    assert not (place.folder / "back").exists()


def test_a_copy_that_has_less_than_is_known_says_so(place: Place) -> None:
    settings = place.product.settings
    with opened(place.product) as catalog, receiving(place.product, catalog) as reception:
        write(place.server, 3, place.total + 1)
        shipped(reception, place.server)
    shutil.rmtree(place.product.repository)
    done = place.recover()
    assert done.status is JobStatus.COMPLETED_WITH_WARNINGS
    (warning,) = [one for one in done.warnings if one.startswith("offsite served in place of primary: it has main up")]
    shown = point_in_time.plan_rescue_from(
        "latest", [Wanted("public", "ledger")], database="postgres", folder=place.folder, settings=settings
    )
    assert warning in shown.store_notes
    with pytest.raises(InputError) as refused:
        place.recover("time:2001-01-01T00:00:00Z")
    assert "primary was passed over: " in refused.value.hint


def test_a_store_that_somebody_holds_is_not_passed_over(place: Place) -> None:
    settings = place.product.settings
    repository = engine.opened(LocalStore(place.product.repository))
    with repository.lock(exclusive=True, settle=engine.AT_ONCE):
        with pytest.raises(LockedError):
            point_in_time.plan_recovery_to("latest", settings=settings)
        assert point_in_time.plan_recovery_to("latest", store="offsite", settings=settings).store == "offsite"


@pytest.mark.parametrize("word", ["job", "snapshot"])
def test_a_base_backup_is_named_by_its_job_or_snapshot_in_a_copy_too(place: Place, word: str) -> None:
    name = str(place.backup.id) if word == "job" else place.backup.parts[0].snapshot_id
    choice = point_in_time.plan_recovery_to("latest", base=name[:12], store="offsite", settings=place.product.settings)
    assert (choice.store, choice.base.backup_id) == ("offsite", place.backup.id)
    with pytest.raises(NotFoundError, match="0 base backups of this window begin with"):
        point_in_time.plan_recovery_to("latest", base="f" * 12, settings=place.product.settings)


def test_a_catalog_that_was_rebuilt_from_the_copy_brings_a_moment_back_from_it(place: Place) -> None:
    settings = place.product.settings
    with opened(place.product) as catalog:
        catalog.sessions.run(lambda session: session.execute("DELETE FROM base_backups"))
    shutil.rmtree(place.product.repository)
    for store in ("", "offsite"):
        with pytest.raises(NotFoundError, match="the catalog does not know the base backup") as refused:
            place.recover(store=store)
        assert "rebuild-catalog --from offsite" in refused.value.hint
    operations.rebuild_catalog(settings=settings, store="offsite")
    done = place.recover()
    assert (done.stores, done.backup_id) == (("offsite",), place.backup.id)
    assert place.entries() == place.total


def test_the_record_of_a_recovery_is_kept_in_the_store_that_served(place: Place) -> None:
    shutil.rmtree(place.product.repository)
    done = place.recover()
    assert done.id in [job.id for job in kept_records(opened_copy(place.copy)) if isinstance(job, RecoveryJob)]


def test_tables_are_rescued_from_the_copy(place: Place) -> None:
    shutil.rmtree(place.product.repository)
    tables = [Wanted("public", "ledger")]
    settings = place.product.settings
    for store in ("", "offsite"):
        shown = point_in_time.plan_rescue_from(
            "latest", tables, database="postgres", store=store, folder=place.folder, settings=settings
        )
        assert shown.plan is not None
        assert not shown.plan.obstacles
    point_in_time.rescue_from(
        "latest", tables, database="postgres", schema="back", store="offsite", folder=place.folder, settings=settings
    )
    assert ask(place.server, "SELECT count(*) FROM back.ledger") == [(place.total,)]
    ask(place.server, "DROP SCHEMA back CASCADE")
