"""Approvals: what one person asks for and another one agrees to; a state machine without I/O.

An approval is for one act and one exact plan (SHA-256 of its canonical JSON),
is used once, and within the hour. Whoever asked, or acts, is never the one who
agrees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from edurise_backup.errors import ConflictError, ForbiddenError
from edurise_backup.model.people import Actor, Permission, Via

WAITS = timedelta(hours=24)
"""A request that nobody decides lapses."""
SETTLES = timedelta(hours=24)
"""So long an account approves nothing after somebody else had it in hand: its person can notice, and say so."""
STANDS = timedelta(hours=1)
"""How long an approval may be used."""


class ApprovalState(StrEnum):
    """Where a request stands."""

    REQUESTED = "requested"
    APPROVED = "approved"
    DENIED = "denied"
    USED = "used"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Approval:
    """A row of `approvals`."""

    id: UUID
    act: str
    """What is to be done, as `THING.VERB`."""
    plan: str
    """Canonical JSON: what exactly."""
    plan_hash: str
    requested_by: str
    requested_at: datetime
    expires_at: datetime
    """Until when it can be decided, and once it is approved, used."""
    decided_by: str | None = None
    decided_at: datetime | None = None
    agreed: bool | None = None
    note: str = ""
    """What whoever decided wrote."""
    used_by: str | None = None
    used_at: datetime | None = None

    def state(self, now: datetime) -> ApprovalState:
        """Return where it stands at this moment."""
        if self.used_at is not None:
            return ApprovalState.USED
        if self.agreed is False:
            return ApprovalState.DENIED
        if now >= self.expires_at:
            return ApprovalState.EXPIRED
        return ApprovalState.APPROVED if self.agreed else ApprovalState.REQUESTED


def plan_text(plan: Mapping[str, object]) -> str:
    """Return a plan as canonical JSON: the same bytes for the same plan. Raises TypeError for what JSON has not."""
    return json.dumps(plan, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def plan_hash(text: str) -> str:
    """Return the SHA-256 of a plan's text, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def person(name: str) -> str:
    """Return whom a name means when two people must be two.

    `alice@host` of the command line, the account `Alice` and the address
    `alice@school.org` may well be one person; two strangers who share the part
    before the @ are refused now and then, which is the safe side.
    """
    return name.partition("@")[0].casefold()


def anonymous(actor: Actor) -> bool:
    """Whether no person stands behind it: a flow run, whoever started it, or the product itself."""
    return actor.via in (Via.FLOW, Via.SYSTEM)


def request(approval_id: UUID, actor: Actor, act: str, text: str, now: datetime) -> Approval:
    """Return a new request; raises ForbiddenError when no person makes it: nobody could be told from the approver."""
    if anonymous(actor):
        raise ForbiddenError(
            f"{act} needs two people, and a flow run is none",
            safe="nothing was done",
            hint="a person asks for it on the command line or the dashboard, another one approves it; "
            "the flow may use that approval within the hour",
        )
    return Approval(approval_id, act, text, plan_hash(text), actor.name, now, now + WAITS)


def decide(
    approval: Approval,
    actor: Actor,
    now: datetime,
    *,
    agreed: bool,
    note: str = "",
    changed: tuple[str, datetime] | None = None,
) -> Approval:
    """Return the approval as decided; raises ForbiddenError for the wrong person, ConflictError when it is too late.

    `changed`: who last made the actor's account, gave it a password or roles, and when, if it was somebody else.
    """
    actor.require(Permission.APPROVE)
    if anonymous(actor):
        raise ForbiddenError("a flow run cannot decide anything", safe="nothing was decided")
    if agreed and person(actor.name) == person(approval.requested_by):
        raise ForbiddenError(
            f"{actor.name} asked for this, and cannot approve it",
            safe="nothing was decided",
            hint="another person with the role approver must look at it",
        )
    if agreed and changed is not None and now - changed[1] < SETTLES:
        raise ForbiddenError(
            f"{changed[0]} changed the account {actor.name} at {changed[1]:%Y-%m-%d %H:%M} UTC (password, roles): "
            "whoever can do that could be the one who approves",
            safe="nothing was decided",
            hint=f"another approver decides, or {actor.name} {SETTLES.total_seconds() / 3600:.0f} hours after that",
        )
    if (state := approval.state(now)) is not ApprovalState.REQUESTED:
        raise ConflictError(
            f"the request {approval.id} is {state.value}: it can no longer be decided",
            safe="nothing was changed",
            hint="try the act again, which makes a new request",
        )
    return replace(
        approval,
        decided_by=actor.name,
        decided_at=now,
        agreed=agreed,
        note=note,
        expires_at=now + STANDS if agreed else approval.expires_at,
    )


def usable(approval: Approval, actor: Actor, act: str, digest: str, now: datetime) -> bool:
    """Whether this approval lets this actor do exactly this, now."""
    return (
        approval.state(now) is ApprovalState.APPROVED
        and approval.act == act
        and approval.plan_hash == digest == plan_hash(approval.plan)
        and approval.decided_by is not None
        and person(approval.decided_by) != person(approval.requested_by)
        and (anonymous(actor) or person(approval.decided_by) != person(actor.name))
    )


def use(approval: Approval, actor: Actor, act: str, digest: str, now: datetime) -> Approval:
    """Return the approval as used up; raises ForbiddenError when it is not for this."""
    if not usable(approval, actor, act, digest, now):
        raise ForbiddenError(f"the approval {approval.id} is not for this", safe="nothing was done")
    return replace(approval, used_by=actor.name, used_at=now)
