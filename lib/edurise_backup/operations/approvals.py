"""What needs two people: the one place where it is decided whether an act may go on.

Asked by the operations themselves, below every surface: a command, a page and
a flow's parameters are refused alike.
"""

from __future__ import annotations

from collections.abc import Mapping

from edurise_backup.catalog.audit import add_row
from edurise_backup.errors import AwaitingApprovalError, ForbiddenError, InputError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.approvals import WAITS, anonymous, plan_hash, plan_text
from edurise_backup.model.audit import Outcome
from edurise_backup.model.people import Actor
from edurise_backup.operations.catalogs import Catalog


def authorise(
    catalog: Catalog, actor: Actor, act: str, plan: Mapping[str, object], *, break_glass: bool = False
) -> None:
    """Return when another person has approved exactly this plan, and use that approval up; else raise ForbiddenError.

    A person's first attempt makes the request, which the error names. Nobody
    may be told from the approver behind a flow run or the product itself: those
    use what people asked for and agreed to, and ask for nothing. `break_glass`
    (`approvals.break_glass` of the settings) lets a person go on alone, with an
    audit row and an alarm.
    """
    text = _text(plan)
    if catalog.approvals.use(actor, act, text) is not None:
        return
    if break_glass and not anonymous(actor):
        _break_glass(catalog, actor, act, text)
        return
    try:
        request = catalog.approvals.request(actor, act, text)
    except ForbiddenError:
        detail = {"plan_sha256": plan_hash(text)}
        catalog.audit.add(actor, act, outcome=Outcome.REFUSED, detail=detail)
        raise
    raise AwaitingApprovalError(
        f"{act} needs a second person: the approval {str(request.id)[:8]} was asked for",
        safe="nothing was done",
        hint=f"another person decides within {WAITS.total_seconds() / 3600:.0f} hours: "
        f"`edurise-backup approval approve {str(request.id)[:8]} --as NAME`, or the dashboard's page Audit and "
        "administration; then do the same again, within an hour. A site of one person sets approvals.break_glass",
    )


def _text(plan: Mapping[str, object]) -> str:
    try:
        return plan_text(plan)
    except (TypeError, ValueError) as error:
        raise InputError(f"a plan that is to be approved is no JSON: {error}", safe="nothing was done") from error


def _break_glass(catalog: Catalog, actor: Actor, act: str, text: str) -> None:
    digest = plan_hash(text)
    catalog.sessions.run(
        lambda connection: add_row(
            connection, actor, "approval.break_glass", act, detail={"plan_sha256": digest}, at=catalog.clock()
        )
    )
    catalog.alarms.raise_alarm(
        Alarm(
            AlarmKind.BREAK_GLASS,
            f"{act} {digest[:12]}",
            Severity.WARNING,
            f"{actor.name} did {act} without a second person, because approvals.break_glass is set",
            "look at `edurise-backup audit list --action approval`; with a second person, unset approvals.break_glass",
        )
    )
