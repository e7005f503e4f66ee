"""The rows of `accounts`: who may sign in; each change and its audit row are there together, or neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

import msgspec
from psycopg.rows import dict_row

from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import ConflictError, NotFoundError
from edurise_backup.model.accounts import Account, folded, lock_after
from edurise_backup.model.audit import Outcome
from edurise_backup.model.people import Actor, Role
from edurise_backup.ports import Clock, utc_now

_COLUMNS = "id, name, roles, created_at, created_by, disabled_at, must_change, failures, locked_until, last_sign_in_at"
CHANGED_ROLES = "the roles were changed"
CHANGED_PASSWORD = "the password was changed"  # noqa: S105  a reason, not a password
DISABLED = "the account was disabled"


class Accounts:
    """Local accounts; passwords come and go as records of `model.accounts` only."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def all(self) -> tuple[Account, ...]:
        """Return all accounts, by name."""
        return self._sessions.run(lambda connection: _read(connection, "ORDER BY folded", {}))

    def get(self, name: str) -> Account:
        """Return the account of that name, however it is written; raises NotFoundError."""
        return self._sessions.run(lambda connection: _get(connection, name))

    def any(self) -> bool:
        """Whether there is an account at all: from the first one on the dashboard asks for a sign-in."""
        query = "SELECT EXISTS (SELECT FROM accounts)"
        return self._sessions.run(lambda connection: connection.execute(query).fetchone()) == (True,)

    def add(self, account: Account, record: str, by: Actor) -> None:
        """Add an account; raises ConflictError when the name is taken, in whatever case."""

        def work(connection: Connection) -> None:
            done = connection.execute(
                """INSERT INTO accounts (id, name, folded, roles, password, must_change, created_at, created_by)
                   VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (folded) DO NOTHING""",
                (
                    account.id,
                    account.name,
                    folded(account.name),
                    _words(account.roles),
                    record,
                    account.must_change,
                    account.created_at,
                    account.created_by,
                ),
            )
            if not done.rowcount and _get(connection, account.name).id != account.id:  # a commit whose answer was lost
                raise ConflictError(
                    f"there is an account {_get(connection, account.name).name} already",
                    safe="nothing was changed",
                    hint="`edurise-backup user list` shows all; `user set-roles` and `user reset-password` change one",
                )
            self._note(connection, by, "user.add", account.name, {"roles": _words(account.roles)})

        self._sessions.run(work)

    def set_roles(self, name: str, roles: frozenset[Role], by: Actor) -> Account:
        """Give an account these roles and no others; its sessions end. The last admin stays one (ConflictError)."""

        def change(connection: Connection, account: Account) -> None:
            if Role.ADMIN not in roles:
                _keep_an_admin(connection, account)
            connection.execute("UPDATE accounts SET roles = %s WHERE id = %s", (_words(roles), account.id))
            self._end_sessions(connection, account, CHANGED_ROLES)

        detail = {"roles": _words(roles)}
        return self._changed(name, by, "user.set_roles", change, detail)

    def disable(self, name: str, by: Actor) -> Account:
        """Let an account sign in no more, and end its sessions; raises ConflictError for the last admin."""

        def change(connection: Connection, account: Account) -> None:
            _keep_an_admin(connection, account)
            connection.execute(
                "UPDATE accounts SET disabled_at = coalesce(disabled_at, %s) WHERE id = %s", (self._clock(), account.id)
            )
            self._end_sessions(connection, account, DISABLED)

        return self._changed(name, by, "user.disable", change)

    def enable(self, name: str, by: Actor) -> Account:
        """Let an account sign in again; a lock ends, too."""

        def change(connection: Connection, account: Account) -> None:
            query = "UPDATE accounts SET disabled_at = NULL, failures = 0, locked_until = NULL WHERE id = %s"
            connection.execute(query, (account.id,))

        return self._changed(name, by, "user.enable", change)

    def remove(self, name: str, by: Actor) -> Account:
        """Remove an account with its sessions; raises ConflictError for the last admin. The audit trail keeps it."""

        def change(connection: Connection, account: Account) -> None:
            _keep_an_admin(connection, account)
            connection.execute("DELETE FROM accounts WHERE id = %s", (account.id,))

        return self._sessions.run(lambda connection: self._change(connection, name, by, "user.remove", change, {}))

    def set_password(
        self, name: str, record: str, by: Actor, *, must_change: bool, keep: UUID | None = None
    ) -> Account:
        """Replace the password; all sessions but `keep` end, and a lock, too."""

        def change(connection: Connection, account: Account) -> None:
            connection.execute(
                "UPDATE accounts SET password = %s, must_change = %s, failures = 0, locked_until = NULL WHERE id = %s",
                (record, must_change, account.id),
            )
            self._end_sessions(connection, account, CHANGED_PASSWORD, keep=keep)

        action = "user.reset_password" if must_change else "user.change_password"
        return self._changed(name, by, action, change)

    def begin_attempt(self, name: str) -> tuple[Account, str] | None:
        """Count an attempt to prove a password, and return the account with its record; None: none may be made.

        Counted before the password is looked at: attempts side by side cannot
        outrun the lock.
        """

        def work(connection: Connection) -> tuple[Account, str] | None:
            row = connection.execute(
                "SELECT password FROM accounts WHERE folded = %s FOR UPDATE", (folded(name),)
            ).fetchone()
            if row is None:
                return None
            account, now = _get(connection, name), self._clock()
            if not account.enabled or (account.locked_until and account.locked_until > now):
                return None
            failures = account.failures + 1
            query = "UPDATE accounts SET failures = %s, locked_until = %s WHERE id = %s"
            connection.execute(query, (failures, lock_after(failures, now), account.id))
            return account, str(row[0])

        return self._sessions.run(work)

    def end_attempt(self, account: Account) -> None:
        """Note that the password was right: failures are forgotten."""
        query = "UPDATE accounts SET failures = 0, locked_until = NULL, last_sign_in_at = %s WHERE id = %s"
        self._sessions.run(lambda connection: connection.execute(query, (self._clock(), account.id)))

    def _changed(
        self,
        name: str,
        by: Actor,
        action: str,
        change: Callable[[Connection, Account], None],
        detail: Mapping[str, object] | None = None,
    ) -> Account:
        def work(connection: Connection) -> Account:
            self._change(connection, name, by, action, change, detail or {})
            return _get(connection, name)

        return self._sessions.run(work)

    def _change(
        self,
        connection: Connection,
        name: str,
        by: Actor,
        action: str,
        change: Callable[[Connection, Account], None],
        detail: Mapping[str, object],
    ) -> Account:
        # one change of people at a time: two admins cannot remove each other as the last but one
        connection.execute("LOCK TABLE accounts IN SHARE ROW EXCLUSIVE MODE")
        account = _get(connection, name)
        change(connection, account)
        self._note(connection, by, action, account.name, detail)
        return account

    def _note(self, connection: Connection, by: Actor, action: str, name: str, detail: Mapping[str, object]) -> None:
        add_row(connection, by, action, name, outcome=Outcome.DONE, detail=detail, at=self._clock())

    def _end_sessions(self, connection: Connection, account: Account, why: str, *, keep: UUID | None = None) -> None:
        connection.execute(
            """UPDATE dashboard_sessions SET ended_at = greatest(%s, started_at), end_reason = %s
               WHERE account_id = %s AND ended_at IS NULL AND id IS DISTINCT FROM %s""",
            (self._clock(), why, account.id, keep),
        )


def _keep_an_admin(connection: Connection, account: Account) -> None:
    if Role.ADMIN not in account.roles or not account.enabled:
        return
    others = connection.execute(
        "SELECT 1 FROM accounts WHERE 'admin' = ANY(roles) AND disabled_at IS NULL AND id <> %s LIMIT 1", (account.id,)
    ).fetchone()
    if others is None:
        raise ConflictError(
            f"{account.name} is the last admin",
            safe="nothing was changed",
            hint="make another admin first: `edurise-backup user add NAME --role admin`, or `user set-roles`",
        )


def _words(roles: frozenset[Role]) -> list[str]:
    return [role.value for role in Role if role in roles]


def _get(connection: Connection, name: str) -> Account:
    found = _read(connection, "WHERE folded = %(folded)s", {"folded": folded(name)})
    if not found:
        raise NotFoundError(
            f"there is no account {name!r}", safe="nothing was changed", hint="`edurise-backup user list` shows all"
        )
    return found[0]


def _read(connection: Connection, rest: str, parameters: dict[str, object]) -> tuple[Account, ...]:
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(f"SELECT {_COLUMNS} FROM accounts {rest}".encode(), parameters).fetchall()  # noqa: S608
    return msgspec.convert(rows, tuple[Account, ...])
