"""Who looks after Prefect: of several that could, one at a time, for as long as he shows signs of life.

A watch or a worker that is killed gives its turn up within a minute and a half;
one that starts again on the same host has it back at once.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid5

from edurise_backup.catalog.leases import Leases
from edurise_backup.errors import ConflictError
from edurise_backup.operations import Catalog

NAME = "service/schedules"
"""Of the lease."""
LENGTH = timedelta(seconds=90)
"""Three looks."""
_HOLDERS = UUID("6f0c2f0e-9b53-4a3e-8a35-0c1f2d7a9a11")


def has_turn(catalog: Catalog, service: str) -> bool:
    """Whether this service of this host looks after Prefect now; takes or keeps the turn if nobody else has it."""
    leases = Leases(catalog.sessions, clock=catalog.clock, length=LENGTH, host=catalog.host)
    try:
        leases.acquire([NAME], uuid5(_HOLDERS, f"{catalog.host}/{service}"))
    except ConflictError:
        return False
    return True


def give_up(catalog: Catalog, service: str) -> None:
    """Let somebody else have the turn at once."""
    leases = Leases(catalog.sessions, length=LENGTH, host=catalog.host)
    mine = uuid5(_HOLDERS, f"{catalog.host}/{service}")
    leases.release({held.name: held.token for held in leases.held() if held.name == NAME and held.holder == mine})


def whose(catalog: Catalog) -> str | None:
    """Return the host that looks after Prefect; None when nobody does."""
    return next((lease.host for lease in catalog.leases.held() if lease.name == NAME), None)
