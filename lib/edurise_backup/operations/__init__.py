"""The operations of the product: START HERE. Parts are joined here and nowhere else.

`engine` works on a repository alone; everything else writes jobs into the catalog.
"""

from edurise_backup.operations.backups import create_backup, get_backups, make_repository, queue_backup
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.rebuilding import rebuild_catalog
from edurise_backup.operations.recoveries import initiate_recovery, queue_recovery
from edurise_backup.operations.statistics import get_backup_stats
from edurise_backup.operations.verifications import queue_verification, verify_backup

__all__ = [
    "Catalog",
    "create_backup",
    "get_backup_stats",
    "get_backups",
    "initiate_recovery",
    "make_repository",
    "open_catalog",
    "queue_backup",
    "queue_recovery",
    "queue_verification",
    "rebuild_catalog",
    "verify_backup",
]
