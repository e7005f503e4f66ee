"""The operations of the product: START HERE. Parts are joined here and nowhere else.

`engine` works on a repository alone; everything else writes jobs into the catalog.
Names are imported when they are first used: the engine's commands must start
quickly, and without a database driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edurise_backup.operations.approvals import authorise
    from edurise_backup.operations.audit import anchor_audit, verify_audit
    from edurise_backup.operations.backups import create_backup, get_backups, queue_backup
    from edurise_backup.operations.catalogs import Catalog, open_catalog
    from edurise_backup.operations.configured import make_repository
    from edurise_backup.operations.copies import copy_backups, queue_copy
    from edurise_backup.operations.copy_status import CopyStatus, get_copies
    from edurise_backup.operations.copy_upkeep import (
        check_copy,
        prune_copy,
        queue_copy_check,
        queue_copy_prune,
        queue_copy_verification,
        verify_copy,
    )
    from edurise_backup.operations.costs import copy_costs, store_costs
    from edurise_backup.operations.forgetting import accept_gone, bring_backups_back, forget_backups
    from edurise_backup.operations.judging import judge_runs
    from edurise_backup.operations.maintenance import check_repository, prune_repository, queue_check, queue_prune
    from edurise_backup.operations.protections import (
        hold_backup,
        list_protections,
        pin_backup,
        release_hold,
        remove_pin,
    )
    from edurise_backup.operations.quoting import quote_recovery
    from edurise_backup.operations.rebuilding import rebuild_catalog
    from edurise_backup.operations.recoveries import initiate_recovery, queue_recovery
    from edurise_backup.operations.registering import (
        adopt_store,
        list_stores,
        make_copy,
        probe_store,
        queue_probe,
        queue_registration,
        register_store,
        remove_store,
    )
    from edurise_backup.operations.retention import apply_retention, plan_retention, queue_retention
    from edurise_backup.operations.retention_drift import retention_drift
    from edurise_backup.operations.retention_simulation import simulate_retention
    from edurise_backup.operations.schedule_config import ScheduleConfig
    from edurise_backup.operations.schedule_runs import begin_run
    from edurise_backup.operations.schedules import (
        edit_schedule,
        list_schedules,
        pause_schedule,
        preview_schedule,
        remove_schedule,
        resume_schedule,
        schedule_backup,
        schedule_status,
    )
    from edurise_backup.operations.sharding import plan_sharding
    from edurise_backup.operations.statistics import get_backup_stats
    from edurise_backup.operations.verifications import queue_verification, verify_backup

_HOMES = {
    "Catalog": "catalogs",
    "CopyStatus": "copy_status",
    "ScheduleConfig": "schedule_config",
    "accept_gone": "forgetting",
    "adopt_store": "registering",
    "anchor_audit": "audit",
    "apply_retention": "retention",
    "authorise": "approvals",
    "begin_run": "schedule_runs",
    "bring_backups_back": "forgetting",
    "check_copy": "copy_upkeep",
    "check_repository": "maintenance",
    "copy_backups": "copies",
    "copy_costs": "costs",
    "create_backup": "backups",
    "edit_schedule": "schedules",
    "forget_backups": "forgetting",
    "get_backup_stats": "statistics",
    "get_backups": "backups",
    "get_copies": "copy_status",
    "hold_backup": "protections",
    "initiate_recovery": "recoveries",
    "judge_runs": "judging",
    "list_protections": "protections",
    "list_schedules": "schedules",
    "list_stores": "registering",
    "make_copy": "registering",
    "make_repository": "configured",
    "open_catalog": "catalogs",
    "pause_schedule": "schedules",
    "pin_backup": "protections",
    "plan_retention": "retention",
    "plan_sharding": "sharding",
    "preview_schedule": "schedules",
    "probe_store": "registering",
    "prune_copy": "copy_upkeep",
    "prune_repository": "maintenance",
    "queue_backup": "backups",
    "queue_check": "maintenance",
    "queue_copy": "copies",
    "queue_copy_check": "copy_upkeep",
    "queue_copy_prune": "copy_upkeep",
    "queue_copy_verification": "copy_upkeep",
    "queue_probe": "registering",
    "queue_prune": "maintenance",
    "queue_recovery": "recoveries",
    "queue_registration": "registering",
    "queue_retention": "retention",
    "queue_verification": "verifications",
    "quote_recovery": "quoting",
    "rebuild_catalog": "rebuilding",
    "register_store": "registering",
    "release_hold": "protections",
    "remove_pin": "protections",
    "remove_schedule": "schedules",
    "remove_store": "registering",
    "resume_schedule": "schedules",
    "retention_drift": "retention_drift",
    "schedule_backup": "schedules",
    "schedule_status": "schedules",
    "simulate_retention": "retention_simulation",
    "store_costs": "costs",
    "verify_audit": "audit",
    "verify_backup": "verifications",
    "verify_copy": "copy_upkeep",
}

__all__ = [
    "Catalog",
    "CopyStatus",
    "ScheduleConfig",
    "accept_gone",
    "adopt_store",
    "anchor_audit",
    "apply_retention",
    "authorise",
    "begin_run",
    "bring_backups_back",
    "check_copy",
    "check_repository",
    "copy_backups",
    "copy_costs",
    "create_backup",
    "edit_schedule",
    "forget_backups",
    "get_backup_stats",
    "get_backups",
    "get_copies",
    "hold_backup",
    "initiate_recovery",
    "judge_runs",
    "list_protections",
    "list_schedules",
    "list_stores",
    "make_copy",
    "make_repository",
    "open_catalog",
    "pause_schedule",
    "pin_backup",
    "plan_retention",
    "plan_sharding",
    "preview_schedule",
    "probe_store",
    "prune_copy",
    "prune_repository",
    "queue_backup",
    "queue_check",
    "queue_copy",
    "queue_copy_check",
    "queue_copy_prune",
    "queue_copy_verification",
    "queue_probe",
    "queue_prune",
    "queue_recovery",
    "queue_registration",
    "queue_retention",
    "queue_verification",
    "quote_recovery",
    "rebuild_catalog",
    "register_store",
    "release_hold",
    "remove_pin",
    "remove_schedule",
    "remove_store",
    "resume_schedule",
    "retention_drift",
    "schedule_backup",
    "schedule_status",
    "simulate_retention",
    "store_costs",
    "verify_audit",
    "verify_backup",
    "verify_copy",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
