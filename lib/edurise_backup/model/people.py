"""Who may do what: roles, and the one table of what each of them permits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from edurise_backup.errors import ForbiddenError, InputError


class Role(StrEnum):
    """What a person is trusted with; one may have several."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    RESTORER = "restorer"
    APPROVER = "approver"
    ADMIN = "admin"
    AUDITOR = "auditor"


class Permission(StrEnum):
    """What an action asks for."""

    VIEW = "view"
    """See states and figures."""
    OPERATE = "operate"
    """Start backups, verifications, checks, dry runs; cancel; pause and resume a schedule; acknowledge an alarm."""
    RESTORE = "restore"
    """Start a recovery."""
    APPROVE = "approve"
    """Agree to what somebody else asked for."""
    ADMINISTER = "administer"
    """Schedules, policies, holds, forgetting, prunes, people, keys, alarm targets."""
    AUDIT = "audit"
    """Read the audit trail and make reports."""


PERMITS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.VIEW}),
    Role.OPERATOR: frozenset({Permission.VIEW, Permission.OPERATE}),
    Role.RESTORER: frozenset({Permission.VIEW, Permission.RESTORE}),
    Role.APPROVER: frozenset({Permission.VIEW, Permission.APPROVE}),
    Role.ADMIN: frozenset({Permission.VIEW, Permission.OPERATE, Permission.ADMINISTER, Permission.AUDIT}),
    Role.AUDITOR: frozenset({Permission.VIEW, Permission.AUDIT}),
}


class Via(StrEnum):
    """Through which door somebody came."""

    COMMAND_LINE = "command line"
    DASHBOARD = "dashboard"
    FLOW = "flow"
    SYSTEM = "system"


@dataclass(frozen=True, slots=True)
class Actor:
    """A person, or the product itself, who does something."""

    name: str
    """Of a person on the command line `NAME@HOST`, of a signed-in one the account's name."""
    via: Via
    roles: frozenset[Role] = frozenset()

    def may(self, permission: Permission) -> bool:
        """Whether a role of this actor permits it."""
        return any(permission in PERMITS[role] for role in self.roles)

    def require(self, permission: Permission) -> None:
        """Raise ForbiddenError unless a role of this actor permits it."""
        if not self.may(permission):
            holders = ", ".join(role.value for role in Role if permission in PERMITS[role])
            raise ForbiddenError(
                f"{self.name} may not {permission.value}",
                safe="nothing was done",
                hint=f"it needs one of the roles {holders}: ask an admin",
            )


SYSTEM = Actor("edurise-backup", Via.SYSTEM, frozenset(Role))
"""What the product does by itself: schedules, reconcilers, alarms."""


def parse_roles(words: Iterable[str]) -> frozenset[Role]:
    """Return the roles that words name; raises InputError for an unknown one."""
    found = set()
    for word in words:
        try:
            found.add(Role(word))
        except ValueError:
            raise InputError(
                f"there is no role {word!r}", safe="nothing was changed", hint=f"choose of {', '.join(Role)}"
            ) from None
    return frozenset(found)
