"""How people sign in, and who may agree to what, as the configuration says it: pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import msgspec

from edurise_backup.errors import ForbiddenError
from edurise_backup.model.people import Actor, Role, Via

Positive = Annotated[int, msgspec.Meta(ge=1)]
Percent = Annotated[int, msgspec.Meta(ge=0, le=100)]
LONGEST_SHOWN = 200


class GrantSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The roles of whoever has this value in this claim of the identity provider."""

    claim: str
    value: str
    roles: Annotated[tuple[Role, ...], msgspec.Meta(min_length=1)]


class SignInSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How people sign in to the dashboard."""

    provider: Literal["local", "oidc"] = "local"
    """Accounts of the product's own, or an identity provider."""
    idle_minutes: Positive = 30
    """A session that nobody used for so long has ended (of local accounts)."""
    longest_hours: Positive = 12
    """A session ends after so long, however busy it is."""
    name_claim: str = "email"
    """The claim that names the person: in the audit trail, and when two people must be two."""
    grant: tuple[GrantSettings, ...] = ()


class ApprovalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What needs a second person."""

    prune_removes_percent: Percent = 50
    """A prune that removes more than this share of the data needs an approval."""
    break_glass: bool = False
    """A site with one person: what needs a second one goes without, with an alarm each time."""


def claimed_name(claims: Mapping[str, object], settings: SignInSettings) -> str:
    """Return how the provider names a person, as far as it does: for the record, not for a decision."""
    name = claims.get(settings.name_claim) or claims.get("sub")
    shown = "".join(filter(str.isprintable, name)).strip() if isinstance(name, str) else ""
    return shown[:LONGEST_SHOWN] or "somebody without a name"


def actor_of_claims(claims: Mapping[str, object], settings: SignInSettings) -> Actor:
    """Return whom the identity provider vouches for; raises ForbiddenError for a person without name or role.

    An e-mail address counts only when the provider has not said that it is
    unverified: some providers let people write any address.
    """
    if claims.get("email_verified") is False:
        claims = {name: value for name, value in claims.items() if name != "email"}
    name = claims.get(settings.name_claim)
    if not isinstance(name, str) or not name.strip():
        raise ForbiddenError(
            f"the identity provider says no {settings.name_claim} of you, or that it is not verified",
            safe="nothing was done",
            hint="ask for that claim in the provider, or name another one in sign_in.name_claim",
        )
    roles = {role for grant in settings.grant if _holds(claims, grant) for role in grant.roles}
    if not roles:
        raise ForbiddenError(
            f"{name.strip()} is known to the identity provider, but has no role here",
            safe="nothing was done",
            hint="an admin grants roles in [[sign_in.grant]] of the configuration (docs/operations/sign-in.md)",
        )
    return Actor(name.strip(), Via.DASHBOARD, frozenset(roles))


def _holds(claims: Mapping[str, object], grant: GrantSettings) -> bool:
    found = claims.get(grant.claim)
    if isinstance(found, str):
        return found.casefold() == grant.value.casefold() if grant.claim == "email" else found == grant.value
    return isinstance(found, Sequence) and grant.value in found
