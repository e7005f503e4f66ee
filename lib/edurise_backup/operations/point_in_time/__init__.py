"""Moments of a cluster: which can be brought back, what happened when, and how one is brought back: START HERE."""

from __future__ import annotations

from edurise_backup.operations.point_in_time.explaining import Explained, explain_time
from edurise_backup.operations.point_in_time.recovering import plan_recovery_to, queue_recovery_to, recover_to
from edurise_backup.operations.point_in_time.rescuing import plan_rescue_from, rescue_from
from edurise_backup.operations.point_in_time.windows import ClusterWindows, recovery_windows

__all__ = [
    "ClusterWindows",
    "Explained",
    "explain_time",
    "plan_recovery_to",
    "plan_rescue_from",
    "queue_recovery_to",
    "recover_to",
    "recovery_windows",
    "rescue_from",
]
