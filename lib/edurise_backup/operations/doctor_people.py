"""What `doctor` says of people: who could get in without a name, and whether the audit trail is anchored."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from edurise_backup.config import Settings
from edurise_backup.machine.listening import open_to_others
from edurise_backup.model.audit import AuditFilters
from edurise_backup.model.people import Role
from edurise_backup.operations.audit import ANCHOR
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.findings import Finding, Level

OLD_ANCHOR = timedelta(hours=36)
"""An anchor is made every day; this leaves room for a late run."""
_SUBJECT = "people"


def examine_people(settings: Settings) -> Iterator[Finding]:
    """Look at accounts, at who can reach the dashboard, and at the newest anchor."""
    exposed = open_to_others(settings.dashboard_port)
    with open_catalog(settings) as catalog:
        yield from _sign_in(settings, catalog, exposed=exposed)
        yield from _second_person(settings, catalog)
        yield _anchor(catalog, datetime.now(UTC))


def _sign_in(settings: Settings, catalog: Catalog, *, exposed: bool) -> Iterator[Finding]:
    port = settings.dashboard_port
    if settings.sign_in.provider == "local" and not catalog.accounts.any():
        yield Finding(
            Level.FAULT if exposed else Level.WARNING,
            _SUBJECT,
            f"there is no account, and port {port} is open to other machines"
            if exposed
            else "there is no account: whoever uses this machine may start backups and recoveries on the dashboard",
            "`edurise-backup user add NAME --role admin`",
        )
        return
    if exposed:
        yield Finding(
            Level.WARNING,
            _SUBJECT,
            f"port {port} is open to other machines, and the dashboard speaks no TLS: passwords could be read",
            "listen on 127.0.0.1 behind a proxy with TLS (docs/operations/sign-in.md)",
        )
    yield Finding(Level.FINE, _SUBJECT, "the dashboard asks for a sign-in")


def _second_person(settings: Settings, catalog: Catalog) -> Iterator[Finding]:
    if settings.approvals.break_glass:
        yield Finding(
            Level.WARNING,
            _SUBJECT,
            "approvals.break_glass is set: one person alone can remove backups for good",
            "unset it once there are two people",
        )
    elif settings.sign_in.provider == "local" and not any(
        account.enabled and Role.APPROVER in account.roles for account in catalog.accounts.all()
    ):
        yield Finding(
            Level.WARNING,
            _SUBJECT,
            "nobody may approve: what needs a second person cannot be done",
            "`edurise-backup user add NAME --role approver`",
        )


def _anchor(catalog: Catalog, now: datetime) -> Finding:
    rows = catalog.audit.newest(limit=1, filters=AuditFilters(action=ANCHOR))
    remedy = "`edurise-backup audit anchor`, every day (docs/operations/approvals-and-audit.md)"
    if not rows:
        return Finding(
            Level.WARNING, "audit trail", "it was never anchored: a rewritten one would not be noticed", remedy
        )
    age = now - rows[0].at
    if age > OLD_ANCHOR:
        hours = round(age / timedelta(hours=1))
        return Finding(Level.WARNING, "audit trail", f"it was anchored {hours} hours ago, and should be daily", remedy)
    return Finding(Level.FINE, "audit trail", "it was anchored within the last day")
