"""Metrics of a real catalog, in Prometheus's format, and the Grafana dashboard that asks for them."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.signs import write_sign
from edurise_backup.catalog.stores import Seen
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import ConflictError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.jobs import BackupJob, BackupType, JobId, JobStatus, Verdict
from edurise_backup.model.maintenance import MaintenanceKind
from edurise_backup.model.metrics import METRICS, Sample
from edurise_backup.model.settings import ClusterSettings, CopySettings
from edurise_backup.model.wal import Lsn, Timeline
from edurise_backup.model.wal_status import WalState, WalStatus
from edurise_backup.monitoring.metrics import metrics_served, metrics_text
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.metrics import MetricsReader, read_metrics
from edurise_backup.operations.stores import known_copies
from edurise_backup.postgres.connection import Address
from flows.processes import free_port, wait_until
from tests.support import planted
from tests.support.catalog import Product, command_line, environment, run
from tests.support.documents import ROOT, page, rows, section

NOW = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
GRAFANA = ROOT / "docs" / "operations" / "grafana.json"


@pytest.fixture
def catalog(catalog_database: Address) -> Iterator[Catalog]:
    with ExitStack() as stack:
        sessions = stack.enter_context(Sessions.to(catalog_database))
        migrate(sessions)
        yield Catalog(sessions, stack)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    path = tmp_path / "edurise-backup.toml"
    path.write_text('[repository]\nlocation = "."\n[[files]]\nname = "uploads"\npaths = ["uploads"]\n')
    return load_settings(path, {})


def values(text: str) -> dict[tuple[str, ...], float]:
    """Return every sample under its name and its labels' values, in the order in which they are declared."""
    declared = {metric.sample_name: metric.labels for metric in METRICS}
    return {
        (sample.name, *(sample.labels[label] for label in declared[sample.name])): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_full_catalog_gives_every_metric_with_the_right_value(catalog: Catalog, settings: Settings) -> None:
    for day in (3, 2, 1):
        planted.backup(catalog.sessions, NOW - timedelta(days=day))
        planted.maintenance(catalog.sessions, NOW - timedelta(days=day), MaintenanceKind.PRUNE)
    planted.backup(catalog.sessions, NOW - HOUR, verified_at=NOW, verification_status=Verdict.PASSED)
    failed = {"status": JobStatus.FAILED, "error": "x", "parts": ()}
    planted.backup(catalog.sessions, NOW - HOUR, kind=BackupType.FILES, source="uploads", **failed)
    catalog.jobs.create(BackupJob(id=JobId(uuid4()), type=BackupType.FILES, status=JobStatus.QUEUED))
    catalog.sessions.run(
        lambda c: c.execute("UPDATE backup_jobs SET created_at = %s WHERE status = 'queued'", (NOW - HOUR,))
    )
    catalog.alarms.raise_alarm(Alarm(AlarmKind.CLOCK_OFF, "host", Severity.WARNING, "m"))
    write_sign(catalog.sessions, "watch", NOW - timedelta(seconds=20))
    catalog.sessions.run(
        lambda c: c.execute(
            """INSERT INTO expected_runs (schedule_id, due_at, name, type, grace_until, frozen_at, outcome, judged_at)
               VALUES (%s, %s, 'n', 'full', %s, %s, 'missed', %s)""",
            (uuid4(), NOW, NOW, NOW, NOW),
        )
    )
    offsite = CopySettings(name="offsite", location="/nowhere", password_file="/nowhere")
    settings = replace(settings, copies=(offsite,))
    known_copies(settings, catalog)
    catalog.stores.note_seen("offsite", Seen("id", 0, bytes=5))
    settings = replace(settings, clusters=(ClusterSettings(name="main", url="postgresql://u@localhost/postgres"),))
    catalog.wal.note(reception())
    part = planted.part(BackupType.CLUSTER, "main")
    planted.backup(catalog.sessions, NOW - HOUR, kind=BackupType.CLUSTER, parts=(part,), source="main")
    found = values(metrics_text(lambda: read_metrics(settings, catalog, NOW)))
    assert {
        ("edurise_up",): 1,
        ("edurise_wal_exposure_seconds", "main"): 7,
        ("edurise_wal_lag_bytes", "main"): 100,
        ("edurise_wal_spool_bytes", "main"): 5,
        ("edurise_wal_last_commit_timestamp_seconds", "main"): NOW.timestamp(),
        ("edurise_copy_lag_seconds", "offsite"): (timedelta(days=3) - timedelta(minutes=1)).total_seconds(),
        ("edurise_copy_restore_points", "offsite", "whole"): 0,
        ("edurise_copy_bytes", "offsite"): 5,
        ("edurise_copy_reachable", "offsite"): 1,
        ("edurise_last_good_backup_age_seconds", "files", "uploads"): 3600,
        ("edurise_last_good_backup_timestamp_seconds", "full", ""): (NOW - HOUR).timestamp(),
        ("edurise_last_verified_backup_age_seconds", "files", "uploads"): 3600,
        ("edurise_exposure_seconds",): 3600,
        ("edurise_objective_seconds", "good_backup"): 26 * 3600,
        ("edurise_last_job_duration_seconds", "backup", "full", ""): 60,
        ("edurise_jobs_ended_total", "backup", "full", "completed"): 4,
        ("edurise_jobs_ended_total", "backup", "files", "failed"): 1,
        ("edurise_jobs_open", "backup", "queued"): 1,
        ("edurise_jobs_open", "recovery", "running"): 0,
        ("edurise_oldest_queued_seconds",): 3600,
        ("edurise_last_backup_stored_bytes", "files", "uploads"): planted.MIB,
        ("edurise_last_backup_files", "files", "uploads"): 1000,
        ("edurise_repository_bytes",): 100 * planted.MIB,
        ("edurise_alarms_open", "clock_off", "warning", "no"): 1,
        ("edurise_notifications_waiting",): 0,
        ("edurise_schedule_runs_total", "missed"): 1,
        ("edurise_schedule_runs_total", "kept"): 0,
        ("edurise_service_silent_seconds", "watch"): 20,
        ("edurise_clock_offset_seconds",): 0,
    }.items() <= found.items()
    assert {name for name, *_ in found} == {metric.sample_name for metric in METRICS}


def reception() -> WalStatus:
    """How the reception of a cluster's log stands."""
    return WalStatus(
        source="main",
        system_identifier="7",
        segment_size=16 * planted.MIB,
        timeline=Timeline(1),
        method="stream",
        slot="edurise_backup_main",
        host="tests",
        pid=1,
        started_at=NOW,
        seen_at=NOW,
        state=WalState.RECEIVING,
        ship_seconds=30,
        spool_limit_bytes=1000,
        server_lsn=Lsn(300),
        shipped_lsn=Lsn(200),
        last_commit_at=NOW,
        exposed_since=NOW - timedelta(seconds=7),
        spool_bytes=5,
    )


def test_without_a_backup_the_exposure_is_without_end(catalog: Catalog, settings: Settings) -> None:
    found = values(metrics_text(lambda: read_metrics(settings, catalog, NOW)))
    assert found["edurise_exposure_seconds",] == float("inf")
    assert not any(name == "edurise_last_good_backup_age_seconds" for name, *_ in found)
    nothing = values(metrics_text(lambda: read_metrics(replace(settings, files=()), catalog, NOW)))
    assert ("edurise_exposure_seconds",) not in nothing


def test_a_name_with_quotes_and_line_breaks_stays_one_label() -> None:
    hostile = 'a"b\\c\nedurise_up 7'
    text = metrics_text(lambda: [Sample("last_backup_files", 3, ("files", hostile))])
    assert values(text) == {("edurise_last_backup_files", "files", hostile): 3}


def test_a_catalog_that_is_away_is_down_and_nothing_else(settings: Settings) -> None:
    away = replace(settings, catalog=type(settings.catalog)(url="postgresql://x@127.0.0.1:9/x"))
    reader = MetricsReader(away)
    assert values(metrics_text(reader)) == {("edurise_up",): 0}
    reader.close()


def test_a_port_in_use_is_refused() -> None:
    with metrics_served(tuple, "127.0.0.1", 0) as port:
        with pytest.raises(ConflictError, match=str(port)) as refused, metrics_served(tuple, "127.0.0.1", port):
            pass
        assert refused.value.hint


def test_the_command_serves_metrics_until_it_is_told_to_end(files_product: Product) -> None:
    printed = run(files_product, "metrics")
    assert (printed.returncode, values(printed.stdout)["edurise_up",]) == (0, 1)
    port = free_port()
    server = subprocess.Popen(
        command_line("metrics", "--serve", str(port)),
        env=environment(files_product.settings_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: answers(port), "the metrics", seconds=30, process=server)
        text = httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).text
        assert values(text)["edurise_exposure_seconds",] == float("inf")
    finally:
        server.send_signal(signal.SIGTERM)
        said, _ = server.communicate(timeout=30)
    assert (server.returncode, said) == (0, f"metrics are at http://127.0.0.1:{port}/metrics\n")


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_every_query_of_the_grafana_dashboard_names_a_metric_that_exists_and_every_metric_is_shown() -> None:
    document = json.loads(GRAFANA.read_text())
    expressions = [target["expr"] for panel in document["panels"] for target in panel["targets"]]
    known = {metric.sample_name: metric for metric in METRICS}
    named = [set(re.findall(r"\bedurise_\w+", expression)) for expression in expressions]
    assert all(named)
    assert set().union(*named) == set(known)
    for expression in expressions:
        for name, selector in re.findall(r"(edurise_\w+)\{([^}]*)\}", expression):
            assert set(re.findall(r"(\w+)\s*[!=~]+", selector)) <= set(known[name].labels)
    for panel in document["panels"]:
        for target in panel["targets"]:
            labels = {label for name in re.findall(r"edurise_\w+", target["expr"]) for label in known[name].labels}
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels
    assert len({panel["id"] for panel in document["panels"]}) == len(document["panels"])


def test_the_page_lists_every_metric() -> None:
    listed = {row[0]: row[1] for row in rows(section(page("docs/operations/alarms.md"), "Metrics"))[1:]}
    assert listed == {metric.sample_name: ", ".join(metric.labels) for metric in METRICS}
