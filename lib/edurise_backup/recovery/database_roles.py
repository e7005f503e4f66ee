"""Make the roles that a restored database needs and that the server does not have.

A role that exists is never changed: it may have another password and other
rights here on purpose.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from edurise_backup.errors import ToolError
from edurise_backup.model.database import Globals, Membership, Role
from edurise_backup.postgres.names import quote_name, quote_text
from edurise_backup.postgres.properties import role_setting_statement
from edurise_backup.postgres.session import Connection, fetch

# statements carry password verifiers, which do not belong in the server's log
_QUIET = ("log_statement", "none"), ("log_min_duration_statement", "-1"), ("log_min_error_statement", "panic")


@dataclass(frozen=True, slots=True)
class EnsuredRoles:
    """What was made, and what was there and stayed as it was."""

    created: list[str]
    kept: list[str]


def ensure_roles(connection: Connection, wanted: Globals) -> EnsuredRoles:
    """Create the missing roles with attributes, memberships, settings and comments, all or none.

    A membership is granted when its role or its member is new. Who granted it
    before is not kept. Raises ToolError.
    """
    existing = {str(name) for (name,) in fetch(connection, "SELECT rolname::text FROM pg_catalog.pg_roles")}
    new = [role for role in wanted.roles if role.name not in existing]
    created = {role.name for role in new}
    version = connection.info.server_version
    statements = [statement for role in new for statement in _role(role)]
    for one in wanted.memberships:
        known = {one.role, one.member} <= existing | created
        if known and created & {one.role, one.member}:
            statements.append(_membership(one, since_16=version >= 160000))
    try:
        with connection.transaction():
            superuser = fetch(connection, "SELECT pg_catalog.current_setting('is_superuser') = 'on'")[0][0]
            for name, value in _QUIET if superuser and statements else ():
                connection.execute("SELECT pg_catalog.set_config(%s, %s, true)", [name, value])
            # whoever makes a role may give objects to it only as its member (since 16 not even that by itself)
            own = [] if superuser else [_own_membership(role.name, since_16=version >= 160000) for role in new]
            for statement in [*statements, *own]:
                connection.execute(statement.encode())
    except psycopg.Error as error:
        # the chained error would show the statement, and with it a verifier
        raise ToolError(
            f"the missing roles cannot be made: {error.diag.message_primary or 'no reason given'}",
            safe="nothing was changed",
            hint="restore with a role that may create roles, or create these first: " + ", ".join(sorted(created)),
        ) from None
    return EnsuredRoles(sorted(created), sorted(role.name for role in wanted.roles if role.name in existing))


def _role(role: Role) -> Iterator[str]:
    name = quote_name(role.name)
    flags = [
        word if value else f"NO{word}"
        for word, value in (
            ("SUPERUSER", role.superuser),
            ("INHERIT", role.inherit),
            ("CREATEROLE", role.create_role),
            ("CREATEDB", role.create_database),
            ("LOGIN", role.login),
            ("REPLICATION", role.replication),
            ("BYPASSRLS", role.bypass_rls),
        )
    ]
    flags.append(f"CONNECTION LIMIT {role.connection_limit}")
    if role.valid_until is not None:
        flags.append(f"VALID UNTIL {quote_text(role.valid_until)}")
    if role.verifier is not None:
        flags.append(f"PASSWORD {quote_text(role.verifier)}")
    yield f"CREATE ROLE {name} WITH {' '.join(flags)}"
    for setting in role.settings:
        yield role_setting_statement(role.name, setting)
    if role.comment is not None:
        yield f"COMMENT ON ROLE {name} IS {quote_text(role.comment)}"


def _own_membership(name: str, *, since_16: bool) -> str:
    return f"GRANT {quote_name(name)} TO CURRENT_USER" + (" WITH SET TRUE, INHERIT TRUE" if since_16 else "")


def _membership(one: Membership, *, since_16: bool) -> str:
    options = [f"ADMIN {'TRUE' if one.admin else 'FALSE'}"]
    if one.inherit is not None and one.set is not None:
        options += [f"INHERIT {'TRUE' if one.inherit else 'FALSE'}", f"SET {'TRUE' if one.set else 'FALSE'}"]
    grant = f"GRANT {quote_name(one.role)} TO {quote_name(one.member)}"
    if since_16:
        return f"{grant} WITH {', '.join(options)}"
    return f"{grant} WITH ADMIN OPTION" if one.admin else grant
