"""Storage and cost, run by Streamlit's AppTest against a real catalog; the store is never asked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from streamlit.testing.v1 import AppTest

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.model.jobs import JobId, JobStatus
from edurise_backup.model.maintenance import (
    LockFigures,
    MaintenanceFigures,
    MaintenanceJob,
    MaintenanceKind,
    PruneFigures,
)
from edurise_backup.model.probe import Finding, Probe
from edurise_backup.model.traffic import Count, Traffic
from edurise_backup.operations import Catalog
from edurise_backup.postgres.connection import Address
from tests.support.pages import DASHBOARD, configure_pages, everything_on

pytestmark = pytest.mark.usefixtures("fresh_caches")
APP = DASHBOARD / "app.py"
HOSTILE = "<script>alert(1)</script> **bold**"
NOW = datetime.now(UTC).replace(microsecond=0)
GIB = 1 << 30
BUCKET = """[repository]
location = "s3:https://nobody.invalid/bucket/edurise"
lock_mode = "compliance"
lock_days = 30
[repository.prices]
currency = "EUR"
writes_per_1000 = 5.0
reads_per_1000 = 0.4
storage_gib_month = 0.02
egress_gib = 0.09
"""
PROBE = Probe(
    address="s3:https://nobody.invalid/bucket/edurise",
    at=NOW - timedelta(hours=2),
    conditional_create=Finding.YES,
    md5=Finding.YES,
    sha256=Finding.NO,
    metadata=Finding.YES,
    ranges=Finding.YES,
    listed_at_once=Finding.YES,
    deletes=Finding.NO,
    versioning="enabled",
    object_lock="enforced",
    clock_skew_seconds=0.2,
    lifecycle="read",
    remarks=(HOSTILE,),
)


@pytest.fixture
def configure(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    """Give what opens the catalog of a product with these settings."""
    opened: list[Catalog] = []

    def make(more: str) -> Catalog:
        path = configure_pages(catalog_database, tmp_path, monkeypatch, more)
        opened.append(operations.open_catalog(load_settings(path)))
        return opened[-1]

    yield make
    for catalog in opened:
        catalog.close()


def page() -> AppTest:
    app = AppTest.from_file(str(APP), default_timeout=60).run().switch_page("views/stores.py").run()
    assert not app.exception
    return app


def tiles(app: AppTest) -> dict[str, str]:
    return {tile.label: str(tile.value) for tile in app.metric}


def plant_prune(catalog: Catalog, *, size: int, at: datetime) -> None:
    """Write a prune that ended then."""
    figures = PruneFigures(
        forgotten_snapshots=0,
        used_bytes=size,
        repacked_bytes=0,
        deleted_packs=0,
        deleted_bytes=0,
        waiting_packs=0,
        waiting_bytes=0,
        waiting_until=None,
        locked_packs=2,
        locked_bytes=100,
        locked_until=NOW + timedelta(days=9),
        locks=LockFigures(extended=10, behind=7, earliest=NOW + timedelta(days=20)),
    )
    job = MaintenanceJob(JobId(uuid4()), MaintenanceKind.PRUNE, JobStatus.QUEUED)
    catalog.maintenance.create(job)
    catalog.maintenance.start(job.id)
    done = replace(
        catalog.maintenance.get(job.id),
        status=JobStatus.COMPLETED,
        started_at=at,
        completed_at=at,
        figures=MaintenanceFigures(3, 4, size, pruned=figures),
    )
    assert catalog.maintenance.finish(done)


def test_a_new_product_has_a_page_that_says_what_is_not_known(configure) -> None:  # type: ignore[no-untyped-def]
    configure(BUCKET)
    app = page()
    assert tiles(app) == {
        "Stored": "–",
        "Growth a day": "–",
        "This month": "0.00 EUR",
        "A whole recovery": "–",
        "Days to full": "no end",
    }
    shown = everything_on(app)
    assert "No requests were counted" in shown
    assert "not found out yet" in shown
    assert "No prune has extended locks yet" in shown


def test_requests_money_locks_and_what_the_server_does_are_shown(configure) -> None:  # type: ignore[no-untyped-def]
    catalog = configure(BUCKET)
    traffic = Traffic({"PutObject": Count(2000, 5 * GIB, 0), "GetObject": Count(1000, 0, GIB)})
    catalog.store_use.add_traffic(uuid4(), "backup", NOW, traffic)
    catalog.store_use.add_traffic(uuid4(), "verification", NOW, Traffic({"GetObject": Count(10, 0, 50)}))
    catalog.store_use.add_probe(replace_at(PROBE, NOW - timedelta(days=3)))
    catalog.store_use.add_probe(PROBE)
    plant_prune(catalog, size=100 * GIB, at=NOW)
    app = page()
    assert tiles(app)["Stored"] == "100.0 GiB"
    amount, currency = tiles(app)["This month"].split()
    assert (float(amount) > 12, currency) == (True, "EUR")
    shown = everything_on(app)
    assert "Objects are locked: compliance, 30 days" in shown
    assert "7 objects wait" in shown
    assert f"{NOW + timedelta(days=20):%Y-%m-%d}" in shown
    requests = next(frame.value for frame in app.dataframe if "Operation" in frame.value.columns)
    assert {tuple(row) for row in requests[["Jobs of", "Operation", "Requests"]].to_numpy().tolist()} == {
        ("backup", "GetObject", 1000),
        ("backup", "PutObject", 2000),
        ("verification", "GetObject", 10),
    }
    found = next(frame.value for frame in app.dataframe if "Found" in frame.value.columns)
    assert dict(found.to_numpy().tolist())["Object lock"] == "enforced"
    assert f"{PROBE.at:%Y-%m-%d %H:%M:%S}" in shown
    assert HOSTILE not in shown, "what a server says is text, never markup"


def replace_at(probe: Probe, at: datetime) -> Probe:
    import msgspec

    return msgspec.structs.replace(probe, at=at, object_lock="off")


def test_locks_that_the_server_does_not_keep_are_an_error(configure) -> None:  # type: ignore[no-untyped-def]
    catalog = configure(BUCKET)
    catalog.store_use.add_probe(replace_at(PROBE, NOW))
    assert any("does not keep locks" in str(error.value) for error in page().error)


def test_a_directory_has_no_requests_and_an_end(configure) -> None:  # type: ignore[no-untyped-def]
    configure('[repository]\nlocation = "repository"\n')
    app = page()
    assert tiles(app)["Days to full"] == "–"
    assert tiles(app)["This month"] == "–"
    shown = everything_on(app)
    assert "It is a directory" in shown
    assert "A directory locks nothing" in shown
