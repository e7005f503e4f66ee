"""The metrics that the product offers, as data: names, kinds and labels. Pages and dashboards are held to this list."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "edurise_"


class MetricType(StrEnum):
    """How a metric behaves."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric; a counter's samples are named with `_total`."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    type: MetricType = MetricType.GAUGE

    @property
    def sample_name(self) -> str:
        """The name in queries."""
        return f"{PREFIX}{self.name}_total" if self.type is MetricType.COUNTER else f"{PREFIX}{self.name}"


@dataclass(frozen=True, slots=True)
class Sample:
    """A value of a metric; `labels` are in the metric's order."""

    metric: str
    value: float
    labels: tuple[str, ...] = ()


METRICS: tuple[Metric, ...] = (
    Metric("up", "1 when the catalog answers; else nothing but this is there"),
    Metric("last_good_backup_timestamp_seconds", "The moment that the newest good backup shows", ("part", "source")),
    Metric("last_good_backup_age_seconds", "How old that is", ("part", "source")),
    Metric(
        "last_verified_backup_age_seconds",
        "How old the newest backup is that passed a verification",
        ("part", "source"),
    ),
    Metric(
        "exposure_seconds", "What would be lost now: the greatest age of all that is configured; Inf without a backup"
    ),
    Metric("objective_seconds", "What is allowed", ("objective",)),
    Metric("last_job_duration_seconds", "Of the newest job that ended well", ("kind", "type", "source")),
    Metric(
        "last_job_end_timestamp_seconds", "When the newest job of this end ended", ("kind", "type", "source", "status")
    ),
    Metric("jobs_ended", "Jobs by their end", ("kind", "type", "status"), MetricType.COUNTER),
    Metric("jobs_open", "Jobs that wait or run", ("kind", "status")),
    Metric("oldest_queued_seconds", "How long the job that waits longest has waited"),
    Metric("last_backup_source_bytes", "Bytes of the source in its newest good backup", ("part", "source")),
    Metric("last_backup_read_bytes", "Bytes that it read", ("part", "source")),
    Metric("last_backup_stored_bytes", "Bytes that it added to the repository", ("part", "source")),
    Metric("last_backup_files", "Files in it", ("part", "source")),
    Metric("repository_bytes", "What the repository's packs took when last measured"),
    Metric("repository_free_bytes", "Room that its store has left"),
    Metric("repository_full_days", "Days until the store may be full, by the pessimistic bound of the trend"),
    Metric("copy_lag_seconds", "How long a copy has been behind the source that it is furthest behind of", ("copy",)),
    Metric("copy_restore_points", "Restore points in a copy: whole, or damaged or gone", ("copy", "state")),
    Metric("copy_bytes", "What a copy's packs took when it was last seen", ("copy",)),
    Metric("copy_reachable", "1 when a copy could be opened the last time, else 0", ("copy",)),
    Metric("wal_exposure_seconds", "How much of a cluster's log would be lost if its server burned now", ("source",)),
    Metric("wal_lag_bytes", "What a cluster's server has written beyond what is in the repository", ("source",)),
    Metric("wal_spool_bytes", "What of a cluster's log waits for the repository", ("source",)),
    Metric("wal_last_commit_timestamp_seconds", "The latest commit in the repository", ("source",)),
    Metric("alarms_open", "Open alarms", ("kind", "severity", "acknowledged")),
    Metric("notifications_waiting", "Messages that no target has taken yet"),
    Metric("schedule_runs", "Expected runs of schedules by what became of them", ("outcome",), MetricType.COUNTER),
    Metric("service_silent_seconds", "How long ago a service last said that it works", ("service",)),
    Metric("clock_offset_seconds", "How far this host's clock is ahead of the catalog server's"),
)
"""Every metric, in the order in which they are shown."""
