"""The rows of `approvals`: each step is decided by `model.approvals`, on a locked row, with its audit row."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import AmbiguousError, NotFoundError
from edurise_backup.model import approvals as rules
from edurise_backup.model.approvals import Approval, ApprovalState
from edurise_backup.model.people import Actor, Via
from edurise_backup.ports import Clock, utc_now


class Approvals:
    """What was asked for, agreed to and used."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def request(self, actor: Actor, act: str, plan: str) -> Approval:
        """Return the open request of this person for exactly this, a new one if there is none.

        Raises ForbiddenError when no person asks.
        """
        now = self._clock()
        wanted = rules.request(uuid4(), actor, act, plan, now)

        def work(connection: Connection) -> Approval:
            rest = "WHERE act = %(act)s AND plan_hash = %(hash)s AND decided_at IS NULL AND requested_by = %(by)s"
            values: dict[str, object] = {"act": act, "hash": wanted.plan_hash, "by": actor.name}
            for found in _read(connection, f"{rest} ORDER BY requested_at DESC", values):
                if found.state(now) is ApprovalState.REQUESTED:
                    return found
            _insert(connection, wanted)
            add_row(connection, actor, "approval.request", str(wanted.id), detail=_detail(wanted), at=now)
            return wanted

        return self._sessions.run(work)

    def decide(self, approval_id: UUID, actor: Actor, *, agreed: bool, note: str = "") -> Approval:
        """Approve or deny a request; raises as `model.approvals.decide`, NotFoundError."""
        now = self._clock()

        def work(connection: Connection) -> Approval:
            approval, changed = _locked(connection, approval_id), _changed(connection, actor)
            decided = rules.decide(approval, actor, now, agreed=agreed, note=note, changed=changed)
            connection.execute(
                """UPDATE approvals SET decided_by = %s, decided_at = %s, agreed = %s, note = %s, expires_at = %s
                   WHERE id = %s""",
                (decided.decided_by, decided.decided_at, agreed, note, decided.expires_at, approval_id),
            )
            action = "approval.approve" if agreed else "approval.deny"
            add_row(connection, actor, action, str(approval_id), detail={**_detail(decided), "note": note}, at=now)
            return decided

        return self._sessions.run(work)

    def use(self, actor: Actor, act: str, plan: str) -> Approval | None:
        """Use up an approval for exactly this, and return it; None when there is none that this actor may use."""
        now, digest = self._clock(), rules.plan_hash(plan)

        def work(connection: Connection) -> Approval | None:
            rest = """WHERE act = %(act)s AND plan_hash = %(hash)s AND agreed AND used_at IS NULL
                      ORDER BY decided_at FOR UPDATE"""
            for found in _read(connection, rest, {"act": act, "hash": digest}):
                if rules.usable(found, actor, act, digest, now):
                    used = rules.use(found, actor, act, digest, now)
                    query = "UPDATE approvals SET used_by = %s, used_at = %s WHERE id = %s"
                    connection.execute(query, (used.used_by, used.used_at, used.id))
                    add_row(connection, actor, "approval.use", str(used.id), detail=_detail(used), at=now)
                    return used
            return None

        return self._sessions.run(work)

    def get(self, word: UUID | str) -> Approval:
        """Return the approval that an id or its beginning names; raises NotFoundError, AmbiguousError."""
        found = self._sessions.run(
            lambda connection: _read(
                connection, "WHERE starts_with(id::text, %(word)s) LIMIT 2", {"word": str(word).lower()}
            )
        )
        if not found or not str(word):
            raise _unknown(word)
        if len(found) > 1:
            raise AmbiguousError(f"several approvals begin with {word!r}", hint="write more of the id")
        return found[0]

    def newest(self, *, limit: int = 50) -> tuple[Approval, ...]:
        """Return the newest first, in whatever state."""
        rest = "ORDER BY requested_at DESC, id DESC LIMIT %(limit)s"
        return self._sessions.run(lambda connection: _read(connection, rest, {"limit": limit}))

    def waiting(self) -> tuple[Approval, ...]:
        """Return the requests that can be decided now, the oldest first."""
        rest = "WHERE decided_at IS NULL AND expires_at > %(now)s ORDER BY requested_at, id"
        return self._sessions.run(lambda connection: _read(connection, rest, {"now": self._clock()}))


def _changed(connection: Connection, actor: Actor) -> tuple[str, datetime] | None:
    """Return who else last had the actor's account in hand, and when; the product itself is nobody else."""
    row = connection.execute(
        """SELECT actor, at FROM audit_log
           WHERE subject = %s AND actor <> subject AND via <> ALL (%s) AND outcome = 'done'
             AND action IN ('user.add', 'user.set_roles', 'user.enable', 'user.reset_password')
           ORDER BY seq DESC LIMIT 1""",
        (actor.name, [Via.SYSTEM.value]),
    ).fetchone()
    if row is None:
        return None
    name, at = row
    assert isinstance(at, datetime)
    return str(name), at


def _detail(approval: Approval) -> dict[str, object]:
    return {"act": approval.act, "plan_sha256": approval.plan_hash, "requested_by": approval.requested_by}


def _locked(connection: Connection, approval_id: UUID) -> Approval:
    found = _read(connection, "WHERE id = %(id)s FOR UPDATE", {"id": approval_id})
    if not found:
        raise _unknown(approval_id)
    return found[0]


def _unknown(word: object) -> NotFoundError:
    return NotFoundError(
        f"there is no approval {str(word)!r}",
        safe="nothing was changed",
        hint="`edurise-backup approval list` shows all",
    )


def _insert(connection: Connection, approval: Approval) -> None:
    connection.execute(
        """INSERT INTO approvals (id, act, plan, plan_hash, requested_by, requested_at, expires_at)
           VALUES (%s, %s, %s, %s, %s, %s, %s)""",
        (
            approval.id,
            approval.act,
            approval.plan,
            approval.plan_hash,
            approval.requested_by,
            approval.requested_at,
            approval.expires_at,
        ),
    )


def _read(connection: Connection, rest: str, parameters: dict[str, object]) -> tuple[Approval, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(f"SELECT * FROM approvals {rest}".encode(), parameters).fetchall()  # noqa: S608  ours
    return msgspec.convert(rows, tuple[Approval, ...])
