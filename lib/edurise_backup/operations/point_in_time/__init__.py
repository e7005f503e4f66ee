"""Moments of a cluster: which can be brought back, what happened when, and how one is brought back: START HERE."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edurise_backup.operations.point_in_time.explaining import Explained, explain_time
    from edurise_backup.operations.point_in_time.recovering import plan_recovery_to, queue_recovery_to, recover_to
    from edurise_backup.operations.point_in_time.rescuing import plan_rescue_from, rescue_from
    from edurise_backup.operations.point_in_time.windows import ClusterWindows, recovery_windows

_HOMES = {
    "ClusterWindows": "windows",
    "Explained": "explaining",
    "explain_time": "explaining",
    "plan_recovery_to": "recovering",
    "plan_rescue_from": "rescuing",
    "queue_recovery_to": "recovering",
    "recover_to": "recovering",
    "recovery_windows": "windows",
    "rescue_from": "rescuing",
}
"""Where each is: a recovery does not wait for what only a rescue needs."""

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


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
