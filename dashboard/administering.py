"""The door for people and approvals: each act checks the role of whoever is there now, and is written down."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from dashboard import people, queries
from edurise_backup.model.accounts import Account
from edurise_backup.model.alarms import AlarmKind, AlarmRow
from edurise_backup.model.approvals import Approval
from edurise_backup.model.audit import AuditFilters, AuditRow
from edurise_backup.model.people import Permission
from edurise_backup.operations import accounts
from edurise_backup.operations.audit import ANCHOR, AuditReport, verify_audit

RECENT = 20


def add_account(name: str, roles: Sequence[str]) -> accounts.NewPassword:
    """Make an account with a one-time password; raises ForbiddenError, InputError, ConflictError."""
    by = people.permitted(Permission.ADMINISTER, "user.add", name)
    return accounts.add_account(queries.catalog(), name, roles, by=by)


def set_roles(name: str, roles: Sequence[str]) -> Account:
    """Give an account exactly these roles; raises ForbiddenError, InputError, ConflictError."""
    by = people.permitted(Permission.ADMINISTER, "user.set_roles", name)
    return accounts.set_roles(queries.catalog(), name, roles, by=by)


def set_enabled(name: str, *, enabled: bool) -> Account:
    """Let an account sign in, or not any more; raises ForbiddenError, ConflictError for the last admin."""
    by = people.permitted(Permission.ADMINISTER, "user.enable" if enabled else "user.disable", name)
    return (accounts.enable_account if enabled else accounts.disable_account)(queries.catalog(), name, by=by)


def reset_password(name: str) -> accounts.NewPassword:
    """Give an account a one-time password; raises ForbiddenError, NotFoundError."""
    by = people.permitted(Permission.ADMINISTER, "user.reset_password", name)
    return accounts.reset_password(queries.catalog(), name, by=by)


def remove_account(name: str) -> Account:
    """Remove an account; raises ForbiddenError, ConflictError for the last admin."""
    by = people.permitted(Permission.ADMINISTER, "user.remove", name)
    return accounts.remove_account(queries.catalog(), name, by=by)


def decide(approval_id: UUID, *, agreed: bool, note: str) -> Approval:
    """Approve or deny what somebody else asked for; raises ForbiddenError, ConflictError."""
    action = "approval.approve" if agreed else "approval.deny"
    by = people.permitted(Permission.APPROVE, action, str(approval_id))
    return queries.catalog().approvals.decide(approval_id, by, agreed=agreed, note=note)


def all_accounts() -> tuple[Account, ...]:
    """Return all accounts, by name."""
    return queries.catalog().accounts.all()


def waiting_approvals() -> tuple[Approval, ...]:
    """Return the requests that can be decided now, the oldest first."""
    return queries.catalog().approvals.waiting()


def recent_approvals() -> tuple[Approval, ...]:
    """Return the newest requests, in whatever state."""
    return queries.catalog().approvals.newest(limit=RECENT)


def audit_alarms() -> tuple[AlarmRow, ...]:
    """Return the open alarms about the trail."""
    return tuple(alarm for alarm in queries.catalog().alarms.open() if alarm.kind is AlarmKind.AUDIT_BROKEN)


def newest_anchor() -> tuple[AuditRow, ...]:
    """Return the row of the newest anchor, if there is one."""
    return queries.catalog().audit.newest(limit=1, filters=AuditFilters(action=ANCHOR))


def audit_rows(filters: AuditFilters, *, limit: int) -> tuple[AuditRow, ...]:
    """Return the newest rows of the audit trail; raises ForbiddenError."""
    people.current_actor().require(Permission.AUDIT)
    return queries.catalog().audit.newest(limit=limit, filters=filters)


def check_chain() -> AuditReport:
    """Follow the chain of all rows; the repository with the anchors is not opened from here. Raises ForbiddenError."""
    people.permitted(Permission.AUDIT, "audit.verify")
    return verify_audit(queries.catalog())
