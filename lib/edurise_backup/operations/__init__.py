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
    from edurise_backup.operations.backups import create_backup, get_backups, make_repository, queue_backup
    from edurise_backup.operations.catalogs import Catalog, open_catalog
    from edurise_backup.operations.forgetting import accept_gone, bring_backups_back, forget_backups
    from edurise_backup.operations.maintenance import check_repository, prune_repository, queue_check, queue_prune
    from edurise_backup.operations.rebuilding import rebuild_catalog
    from edurise_backup.operations.recoveries import initiate_recovery, queue_recovery
    from edurise_backup.operations.statistics import get_backup_stats
    from edurise_backup.operations.verifications import queue_verification, verify_backup

_HOMES = {
    "Catalog": "catalogs",
    "accept_gone": "forgetting",
    "anchor_audit": "audit",
    "authorise": "approvals",
    "bring_backups_back": "forgetting",
    "check_repository": "maintenance",
    "create_backup": "backups",
    "forget_backups": "forgetting",
    "get_backup_stats": "statistics",
    "get_backups": "backups",
    "initiate_recovery": "recoveries",
    "make_repository": "backups",
    "open_catalog": "catalogs",
    "prune_repository": "maintenance",
    "queue_backup": "backups",
    "queue_check": "maintenance",
    "queue_prune": "maintenance",
    "queue_recovery": "recoveries",
    "queue_verification": "verifications",
    "rebuild_catalog": "rebuilding",
    "verify_audit": "audit",
    "verify_backup": "verifications",
}

__all__ = [
    "Catalog",
    "accept_gone",
    "anchor_audit",
    "authorise",
    "bring_backups_back",
    "check_repository",
    "create_backup",
    "forget_backups",
    "get_backup_stats",
    "get_backups",
    "initiate_recovery",
    "make_repository",
    "open_catalog",
    "prune_repository",
    "queue_backup",
    "queue_check",
    "queue_prune",
    "queue_recovery",
    "queue_verification",
    "rebuild_catalog",
    "verify_audit",
    "verify_backup",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
