"""Whatever people try in whatever order: nothing goes without two of them, and nothing goes twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from edurise_backup.errors import ConflictError, ForbiddenError
from edurise_backup.model import approvals
from edurise_backup.model.approvals import STANDS, WAITS, Approval, ApprovalState, person
from edurise_backup.model.people import Actor, Permission, Role, Via

NAMES = ("alice", "Alice", "ALICE@host", "alice@school.org", "bob", "BOB@host", "carol", "Prefect")
ROLES = st.sampled_from([frozenset({role}) for role in Role] + [frozenset(Role)])
ACTORS = st.builds(Actor, st.sampled_from(NAMES), st.sampled_from(list(Via)), ROLES)
ACTS = st.sampled_from(["repository.prune", "key.remove"])
PLANS = st.sampled_from(['{"packs":"a"}', '{"packs":"b"}', "{}"])


class Approvals(RuleBasedStateMachine):
    """Requests, decisions, uses and the passing of time, in any order."""

    ids: Bundle[int] = Bundle("ids")

    def __init__(self) -> None:
        super().__init__()
        self.now = datetime(2026, 11, 27, 7, 0, tzinfo=UTC)
        self.all: list[Approval] = []
        self.uses: list[tuple[Approval, Actor, datetime]] = []

    @rule(target=ids, actor=ACTORS, act=ACTS, plan=PLANS)
    def ask(self, actor: Actor, act: str, plan: str) -> int:
        try:
            made = approvals.request(UUID(int=len(self.all)), actor, act, plan, self.now)
        except ForbiddenError:
            assert actor.via in (Via.FLOW, Via.SYSTEM)
            made = approvals.request(UUID(int=len(self.all)), Actor("carol", Via.DASHBOARD), act, plan, self.now)
        self.all.append(made)
        return len(self.all) - 1

    @rule(number=ids, actor=ACTORS, agreed=st.booleans())
    def decide(self, number: int, actor: Actor, agreed: bool) -> None:
        before = self.all[number]
        try:
            self.all[number] = approvals.decide(before, actor, self.now, agreed=agreed)
        except ForbiddenError:
            assert (
                not actor.may(Permission.APPROVE)
                or actor.via in (Via.FLOW, Via.SYSTEM)
                or (agreed and person(actor.name) == person(before.requested_by))
            )
        except ConflictError:
            assert before.state(self.now) is not ApprovalState.REQUESTED
        else:
            assert before.state(self.now) is ApprovalState.REQUESTED

    @rule(number=ids, actor=ACTORS, act=ACTS, plan=PLANS)
    def use(self, number: int, actor: Actor, act: str, plan: str) -> None:
        before = self.all[number]
        try:
            self.all[number] = approvals.use(before, actor, act, approvals.plan_hash(plan), self.now)
        except ForbiddenError:
            return
        self.uses.append((before, actor, self.now))
        assert (before.act, before.plan) == (act, plan)

    @rule(passed=st.sampled_from([timedelta(minutes=1), STANDS - timedelta(minutes=1), STANDS, WAITS]))
    def wait(self, passed: timedelta) -> None:
        self.now += passed

    @invariant()
    def nothing_went_without_two_people_within_the_hour_or_twice(self) -> None:
        assert len({approval.id for approval, _, _ in self.uses}) == len(self.uses)
        for approval, actor, at in self.uses:
            assert approval.agreed
            assert approval.decided_by
            assert approval.decided_at
            assert approval.decided_by.split("@")[0].lower() != approval.requested_by.split("@")[0].lower()
            if actor.via in (Via.COMMAND_LINE, Via.DASHBOARD):
                assert approval.decided_by.split("@")[0].lower() != actor.name.split("@")[0].lower()
            assert approval.decided_at <= at < approval.decided_at + STANDS
            assert approval.decided_at < approval.requested_at + WAITS


TestApprovals = Approvals.TestCase
