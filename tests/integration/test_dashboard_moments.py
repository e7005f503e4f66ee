"""Point in time, run by Streamlit's AppTest against a real catalog."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from dashboard.moments_chart import clicked
from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.jobs import BackupType, JobId, JobStatus
from edurise_backup.model.wal import Lsn, Timeline
from edurise_backup.model.wal_status import Arrival, BaseBackup, SegmentRow, WalEvent, WalState, WalStatus
from edurise_backup.operations import Catalog
from edurise_backup.operations.point_in_time import queue_recovery_to
from edurise_backup.postgres.connection import Address
from tests.support import planted
from tests.support.pages import DASHBOARD, configure_pages, everything_on

pytestmark = pytest.mark.usefixtures("fresh_caches")
NOW = datetime.now(UTC).replace(microsecond=0)
SIZE = 16 << 20
HOSTILE = "<script>alert(1)</script> **bold**"
CLUSTER = '[[cluster]]\nname = "main"\nurl = "host=/nowhere user=nobody dbname=postgres"\n'


@pytest.fixture
def configured(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return configure_pages(catalog_database, tmp_path, monkeypatch, f'[repository]\nlocation = "repository"\n{CLUSTER}')


@pytest.fixture
def catalog(configured: Path) -> Iterator[Catalog]:
    with operations.open_catalog(load_settings(configured)) as catalog:
        yield catalog


def page() -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / "views" / "moments.py"), default_timeout=60).run()
    assert not app.exception
    return app


def plant(catalog: Catalog) -> None:
    """Write a base backup of three hours ago, its log up to now, and a table that was dropped an hour ago."""
    plant_base(catalog, NOW - timedelta(hours=3), SIZE)
    catalog.wal.arrived([arrival(number) for number in range(1, 7)])
    catalog.wal.note(
        WalStatus(
            source="main",
            system_identifier="7",
            segment_size=SIZE,
            timeline=Timeline(1),
            method="stream",
            slot="edurise_backup_main",
            host="tests",
            pid=1,
            started_at=NOW,
            seen_at=NOW,
            state=WalState.RECEIVING,
            ship_seconds=30,
            spool_limit_bytes=1 << 30,
            server_lsn=Lsn(7 * SIZE + (5 << 20)),
            shipped_lsn=Lsn(7 * SIZE),
            last_commit_at=NOW,
            trouble=f"shipping: {HOSTILE}",
            hint="bring it back",
        )
    )


def plant_base(catalog: Catalog, began: datetime, segment: int) -> JobId:
    """Write a base backup that began and ended in a segment of the log."""
    part = planted.part(BackupType.CLUSTER, "main")
    job_id = planted.backup(catalog.sessions, began, kind=BackupType.CLUSTER, parts=(part,), source="main")
    catalog.wal.add_base(
        BaseBackup(
            source="main",
            snapshot_id=part.snapshot_id,
            system_identifier="7",
            timeline=Timeline(1),
            start_lsn=Lsn(segment + 40),
            stop_lsn=Lsn(segment + 400),
            start_at=began,
            stop_at=began,
            segment_size=SIZE,
            server_version="18.4",
            method="local",
            backup_id=job_id,
        )
    )
    return job_id


def arrival(number: int) -> Arrival:
    begin = NOW - timedelta(hours=3) + timedelta(minutes=30 * (number - 1))
    row = SegmentRow(
        source="main",
        system_identifier="7",
        timeline=Timeline(1),
        number=number,
        name=f"{1:08X}{0:08X}{number:08X}",
        complete=True,
        follows=number > 1,
        begin_lsn=Lsn(number * SIZE),
        end_lsn=Lsn((number + 1) * SIZE),
        shipped_at=NOW,
        first_commit_at=begin,
        last_commit_at=begin + timedelta(minutes=30),
        commits=30,
        activity=((int(begin.timestamp()) + 5, 30),),
    )
    event = WalEvent(
        source="main",
        timeline=Timeline(1),
        at=NOW - timedelta(hours=1),
        xid=81234,
        commit_lsn=Lsn(4 * SIZE + 100),
        commit_end=Lsn(4 * SIZE + 200),
        kind="drop",
        database="school",
        relation="public.submissions",
        said="DROP TABLE public.submissions",
    )
    return Arrival(row, (event,) if number == 4 else ())


def test_without_a_base_backup_the_page_says_what_to_do(catalog: Catalog) -> None:
    assert catalog.wal.statuses() == ()
    said = everything_on(page())
    assert "there is no base backup" in said
    assert "Its log is not received" in said


def test_windows_exposure_and_deeds_are_shown_and_nothing_becomes_markup(catalog: Catalog) -> None:
    plant(catalog)
    app = page()
    tiles = {tile.label: str(tile.value) for tile in app.metric}
    assert tiles["Behind the server"] == "5.0 MiB"
    assert tiles["Would be lost now"].endswith(" s")
    (table,) = app.dataframe
    assert table.value["Timeline"].tolist() == [1]
    assert table.value["Then"].tolist() == ["goes on"]
    assert "DROP TABLE public.submissions" in str(app.selectbox(key="moment deed").options)
    said = "".join(str(one.value) for one in app.error)
    assert "shipping" in said
    assert "bring it back" in said
    assert "<script>" not in said


def test_the_moment_just_before_a_deed_becomes_the_target(catalog: Catalog) -> None:
    plant(catalog)
    app = page()
    app.button(key="just before").click().run()
    assert app.text_input(key="moment target").value == "before lsn:0/4000064"


def test_a_time_is_explained_and_one_that_cannot_be_is_told_with_the_nearest(catalog: Catalog) -> None:
    plant(catalog)
    app = page()
    app.text_input(key="moment target").set_value(f"time:{(NOW - timedelta(hours=2)).isoformat()}").run()
    assert any("It can be brought back, on timeline 1" in str(one.value) for one in app.success)
    app.text_input(key="moment target").set_value(f"time:{(NOW - timedelta(days=2)).isoformat()}").run()
    assert any("cannot be brought back" in str(one.value) for one in app.warning)
    app.text_input(key="moment target").set_value("yesterday").run()
    assert any("no target" in str(one.value) for one in app.caption)


def test_nothing_starts_before_directory_and_name_are_typed(catalog: Catalog) -> None:
    plant(catalog)
    app = page()
    button = next(one for one in app.button if one.label == "Recover to this moment")
    assert button.disabled
    app.text_input(key="moment directory").set_value("/srv/recovered/data").run()
    app.text_input(key="moment confirmation").set_value("main").run()
    assert not next(one for one in app.button if one.label == "Recover to this moment").disabled


def test_a_recovery_is_queued_from_the_base_backup_before_its_moment_or_refused(
    configured: Path, catalog: Catalog
) -> None:
    settings = load_settings(configured)
    with pytest.raises(NotFoundError, match="there is no base backup"):
        queue_recovery_to("latest", Path("/srv/recovered"), settings=settings)
    plant(catalog)
    newer = plant_base(catalog, NOW - timedelta(minutes=40), 5 * SIZE)
    chosen = {}
    for moment in (f"time:{(NOW - timedelta(hours=2)).isoformat()}", "before lsn:0/4000064", "latest", "xid:99999"):
        job_id = queue_recovery_to(moment, Path("/srv/recovered"), settings=settings)
        job = catalog.recoveries.get(job_id)
        assert job.status is JobStatus.QUEUED
        chosen[moment.partition(":")[0]] = job.backup_id == newer
    assert chosen == {"time": False, "before lsn": False, "latest": True, "xid": True}
    with pytest.raises(InputError, match="lies in no recovery window"):
        queue_recovery_to(f"time:{(NOW - timedelta(days=2)).isoformat()}", Path("/srv/recovered"), settings=settings)
    queued = catalog.sessions.run(lambda connection: connection.execute("SELECT id FROM recovery_jobs").fetchall())
    assert len(queued) == len(chosen)


def test_a_click_on_the_chart_is_a_moment_in_utc() -> None:
    state = {"selection": {"points": [{"x": "2026-11-28 14:03:07.418"}]}}
    assert clicked(state) == datetime(2026, 11, 28, 14, 3, 7, 418000, tzinfo=UTC)
    assert clicked({"selection": {"points": []}}) is None
    assert clicked(None) is None
