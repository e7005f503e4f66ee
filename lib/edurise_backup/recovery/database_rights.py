"""What a role lacks to bring databases back: found before anything is made, and by `doctor` before it is needed.

Source of the rules: the PostgreSQL manual, "CREATE DATABASE", "CREATE ROLE",
"ALTER DATABASE … OWNER TO", "CREATE EXTENSION".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

import psycopg

from edurise_backup.errors import ForbiddenError
from edurise_backup.model.database import DatabaseRecord, Globals
from edurise_backup.postgres.session import Connection, fetch, translated

_OWNER = re.compile(r"\bowner (.*?), grants ", re.DOTALL)
_ROLE = """
    SELECT rolsuper, rolcreatedb, rolcreaterole FROM pg_catalog.pg_roles WHERE rolname = current_user"""
_NO_MEMBER = """
    SELECT rolname::text FROM pg_catalog.pg_roles
    WHERE rolname = ANY (%s) AND NOT pg_catalog.pg_has_role(current_user, oid, %s) ORDER BY 1"""
_ROLES = "SELECT rolname::text FROM pg_catalog.pg_roles"
_SUPERUSERS_EXTENSIONS = """
    SELECT DISTINCT name::text FROM pg_catalog.pg_available_extension_versions
    WHERE name = ANY (%s) AND superuser AND NOT trusted ORDER BY 1"""
# the dependencies of all databases; what belongs to the first superuser is not in them
_OWNERS = """
    SELECT pg_catalog.pg_get_userbyid(refobjid)::text FROM pg_catalog.pg_shdepend
    WHERE deptype = 'o' AND refclassid = 'pg_catalog.pg_authid'::regclass
    UNION SELECT pg_catalog.pg_get_userbyid(datdba)::text FROM pg_catalog.pg_database
    WHERE datallowconn AND datname NOT IN ('template0', 'template1', 'postgres')"""


def refuse_without_rights(
    connection: Connection, server: str, server_globals: Globals, records: Iterable[DatabaseRecord]
) -> None:
    """Raise ForbiddenError when the session's role cannot make what the backup holds; names all that it lacks."""
    records = list(records)
    owners = {record.properties.owner for record in records}
    owners |= {
        owner
        for record in records
        for one in record.objects
        # before 15 it belongs to the first superuser, and pg_dump leaves it alone
        if (one.kind, one.name) != ("schema", "public") or record.server_major >= 15
        for owner in _OWNER.findall(one.state)
    }
    extensions = {one.name for record in records for one in record.extensions}
    lacking = lacking_rights(connection, owners, wanted=server_globals, extensions=extensions)
    if lacking:
        raise ForbiddenError(
            f"the role {connection.info.user} cannot bring these databases back on {server}: "
            f"it lacks {', '.join(lacking)}",
            safe="nothing was changed",
            hint=f"name a role that can, best a superuser, in [database.recovery] of {server} "
            "(docs/operations/configuration.md, Who recovers); --part brings the other parts back now",
        )


def lacking_rights(
    connection: Connection, owners: Collection[str], *, wanted: Globals | None = None, extensions: Collection[str] = ()
) -> list[str]:
    """Return what the session's role lacks to make databases whose objects belong to `owners`; [] for a superuser.

    `wanted`: the roles that the server must have afterwards. Raises UnreachableError, SourceError.
    """
    owners = [name for name in owners if not name.startswith("pg_")]  # the server's own: an owner is a member of them
    member = "SET" if connection.info.server_version >= 160000 else "MEMBER"
    try:
        superuser, databases, roles = fetch(connection, _ROLE)[0]
        if superuser:
            return []
        existing = {str(name) for (name,) in fetch(connection, _ROLES)}
        foreign = [str(name) for (name,) in fetch(connection, _NO_MEMBER, [owners, member])]
        closed = [str(name) for (name,) in fetch(connection, _SUPERUSERS_EXTENSIONS, [list(extensions)])]
    except psycopg.Error as error:
        raise translated(error, "the role's rights") from error
    new = [role for role in wanted.roles if role.name not in existing] if wanted else []
    strong = [role.name for role in new if role.superuser or role.replication or role.bypass_rls]
    lacking = [] if databases else ["CREATEDB"]
    if new and not roles:
        lacking.append(f"CREATEROLE (to make {_some([role.name for role in new])})")
    if strong:
        lacking.append(f"SUPERUSER (to make {_some(strong)})")
    if closed:
        lacking.append(f"SUPERUSER (for the extension {_some(closed)})")
    if foreign:
        lacking.append(f"membership in {_some(foreign)} (to give objects to their owners)")
    return lacking


def extensions_in(connection: Connection) -> set[str]:
    """Return the extensions of the session's database; raises UnreachableError, SourceError."""
    try:
        return {str(name) for (name,) in fetch(connection, "SELECT extname::text FROM pg_catalog.pg_extension")}
    except psycopg.Error as error:
        raise translated(error, "the extensions") from error


def owners_on(connection: Connection) -> set[str]:
    """Return the roles that own something in the server's databases; raises UnreachableError, SourceError."""
    try:
        return {str(name) for (name,) in fetch(connection, _OWNERS)}
    except psycopg.Error as error:
        raise translated(error, "the owners of the databases") from error


def _some(names: Collection[str], most: int = 4) -> str:
    more = len(names) - most
    return ", ".join(sorted(names)[:most]) + (f" and {more} more" if more > 0 else "")
