"""Everything that is measured, as samples: from the catalog, the disk and the clocks; no repository is opened."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

from edurise_backup.catalog.metric_facts import read_samples
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError
from edurise_backup.model.alarm_facts import CopyFacts, Facts, LastGood, WalFacts
from edurise_backup.model.alarm_store import days_to_full
from edurise_backup.model.metrics import Sample
from edurise_backup.operations.alarms import gather
from edurise_backup.operations.catalogs import Catalog, open_catalog


def read_metrics(settings: Settings, catalog: Catalog, now: datetime) -> tuple[Sample, ...]:
    """Return every sample of now; raises what the catalog raises."""
    facts = gather(settings, catalog, now)
    copies = (sample for copy in facts.copies for sample in _of_copy(copy))
    logs = (sample for log in facts.wal for sample in _of_log(log, now))
    own = read_samples(catalog.sessions, now)
    return (Sample("up", 1.0), *_of_facts(facts), *logs, *copies, *_objectives(settings), *own)


class MetricsReader:
    """Reads metrics again and again; a catalog that does not answer is `up 0`, and is opened anew the next time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._catalog: Catalog | None = None
        self._lock = threading.Lock()  # scrapes come in threads of their own

    def __call__(self) -> tuple[Sample, ...]:
        """Return every sample of now; raises nothing that the catalog raises."""
        with self._lock:
            try:
                if self._catalog is None:
                    self._catalog = open_catalog(self._settings)
                return read_metrics(self._settings, self._catalog, self._settings.around.clock())
            except BackupError:
                self._close()
                return (Sample("up", 0.0),)

    def close(self) -> None:
        """Let go of the catalog."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()


def _of_facts(facts: Facts) -> Iterator[Sample]:
    for good in facts.last_good:
        yield from _of_source(good, facts.now)
    if facts.expected:
        newest = {(good.part, good.source): good.newest_at for good in facts.last_good}
        ages = [_seconds(facts.now - newest[one]) if one in newest else float("inf") for one in facts.expected]
        yield Sample("exposure_seconds", max(ages))
    if facts.store is not None:
        if facts.store.sizes:
            yield Sample("repository_bytes", facts.store.sizes[-1].bytes)
        if facts.store.free_bytes is not None:
            yield Sample("repository_free_bytes", facts.store.free_bytes)
        if (days := days_to_full(facts.store)) is not None:
            yield Sample("repository_full_days", days)
    if facts.clock_offset is not None:
        yield Sample("clock_offset_seconds", facts.clock_offset.total_seconds())
    latest: dict[str, datetime] = {}
    for sign in facts.signs:
        latest[sign.service] = max(sign.at, latest.get(sign.service, sign.at))
    for service, at in latest.items():
        yield Sample("service_silent_seconds", _seconds(facts.now - at), (service,))


def _of_log(found: WalFacts, now: datetime) -> Iterator[Sample]:
    if found.status is None:
        return
    yield Sample("wal_exposure_seconds", found.status.exposure(now).total_seconds(), (found.source,))
    yield Sample("wal_lag_bytes", found.status.lag_bytes, (found.source,))
    yield Sample("wal_spool_bytes", found.status.spool_bytes, (found.source,))
    if found.status.last_commit_at is not None:
        yield Sample("wal_last_commit_timestamp_seconds", found.status.last_commit_at.timestamp(), (found.source,))


def _of_copy(copy: CopyFacts) -> Iterator[Sample]:
    lag = max((length for _, _, length in copy.lags), default=timedelta(0))
    yield Sample("copy_lag_seconds", lag.total_seconds(), (copy.name,))
    yield Sample("copy_restore_points", copy.whole, (copy.name, "whole"))
    yield Sample("copy_restore_points", copy.damaged, (copy.name, "damaged"))
    if copy.bytes is not None:
        yield Sample("copy_bytes", copy.bytes, (copy.name,))
    yield Sample("copy_reachable", 0.0 if copy.unreachable_since else 1.0, (copy.name,))


def _of_source(good: LastGood, now: datetime) -> Iterator[Sample]:
    labels = (good.part, good.source)
    yield Sample("last_good_backup_timestamp_seconds", good.newest_at.timestamp(), labels)
    yield Sample("last_good_backup_age_seconds", _seconds(now - good.newest_at), labels)
    if good.verified_at is not None:
        yield Sample("last_verified_backup_age_seconds", _seconds(now - good.verified_at), labels)


def _objectives(settings: Settings) -> Iterator[Sample]:
    found = settings.objectives
    for name, length in (
        ("full_backup", timedelta(minutes=found.full_backup_minutes)),
        ("incremental_backup", timedelta(minutes=found.incremental_backup_minutes)),
        ("verification", timedelta(minutes=found.verification_minutes)),
        ("recovery", timedelta(minutes=found.recovery_minutes)),
        ("good_backup", timedelta(hours=found.good_backup_hours)),
        ("verified", timedelta(days=found.verified_days)),
        ("free", timedelta(days=found.free_days)),
    ):
        yield Sample("objective_seconds", length.total_seconds(), (name,))


def _seconds(length: timedelta) -> float:
    return max(0.0, length.total_seconds())
