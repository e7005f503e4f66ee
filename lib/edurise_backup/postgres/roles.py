"""Read what the databases of a server share: roles, memberships, tablespaces."""

from __future__ import annotations

from typing import cast

import psycopg

from edurise_backup.model.database import Globals, Membership, Role, Setting, Tablespace
from edurise_backup.postgres.facts import server_version
from edurise_backup.postgres.session import Connection, fetch, translated

_ROLES = """
SELECT r.rolname::text, r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb, r.rolcanlogin, r.rolreplication,
       r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil::text, {verifier}::text,
       pg_catalog.shobj_description(r.oid, 'pg_authid')::text,
       ARRAY(SELECT setting::text FROM pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) setting
             WHERE s.setrole = r.oid AND s.setdatabase = 0 ORDER BY setting COLLATE "C")
FROM pg_catalog.{catalog} r
WHERE r.rolname !~ '^pg_'
ORDER BY r.rolname::text COLLATE "C"
"""
_MEMBERSHIPS = """
SELECT r.rolname::text, u.rolname::text, g.rolname::text, m.admin_option, {options}
FROM pg_catalog.pg_auth_members m JOIN pg_catalog.pg_roles r ON r.oid = m.roleid
     JOIN pg_catalog.pg_roles u ON u.oid = m.member LEFT JOIN pg_catalog.pg_roles g ON g.oid = m.grantor
ORDER BY r.rolname::text COLLATE "C", u.rolname::text COLLATE "C", g.rolname::text COLLATE "C"
"""
_TABLESPACES = """
SELECT spcname::text, pg_catalog.pg_get_userbyid(spcowner)::text, pg_catalog.pg_tablespace_location(oid)
FROM pg_catalog.pg_tablespace WHERE spcname !~ '^pg_' ORDER BY spcname::text COLLATE "C"
"""


def read_globals(connection: Connection) -> Globals:
    """Return the server's roles, memberships and tablespaces; verifiers only where the role may read them.

    Raises what `session.translated` makes of the server's errors.
    """
    try:
        readable = bool(fetch(connection, "SELECT has_table_privilege('pg_catalog.pg_authid', 'SELECT')")[0][0])
        return Globals(
            server_version=server_version(connection),
            verifiers_included=readable,
            roles=_read_roles(connection, readable=readable),
            memberships=_read_memberships(connection),
            tablespaces=[Tablespace(*cast("tuple[str, str, str]", row)) for row in fetch(connection, _TABLESPACES)],
        )
    except psycopg.Error as error:
        raise translated(error, "the server's roles") from error


def _read_roles(connection: Connection, *, readable: bool) -> list[Role]:
    catalog, verifier = ("pg_authid", "r.rolpassword") if readable else ("pg_roles", "NULL")
    rows = fetch(connection, _ROLES.format(catalog=catalog, verifier=verifier))
    return [_role(row) for row in rows]


def _role(row: tuple[object, ...]) -> Role:
    flags = cast("tuple[bool, bool, bool, bool, bool, bool, bool]", row[1:8])
    superuser, inherit, create_role, create_database, login, replication, bypass_rls = flags
    return Role(
        name=cast("str", row[0]),
        superuser=superuser,
        inherit=inherit,
        create_role=create_role,
        create_database=create_database,
        login=login,
        replication=replication,
        bypass_rls=bypass_rls,
        connection_limit=cast("int", row[8]),
        valid_until=cast("str | None", row[9]),
        verifier=cast("str | None", row[10]),
        comment=cast("str | None", row[11]),
        settings=[Setting(*text.split("=", 1)) for text in cast("list[str]", row[12])],
    )


def _read_memberships(connection: Connection) -> list[Membership]:
    since_16 = connection.info.server_version >= 160000
    options = "m.inherit_option, m.set_option" if since_16 else "NULL::boolean, NULL::boolean"
    rows = fetch(connection, _MEMBERSHIPS.format(options=options))
    return [Membership(*cast("tuple[str, str, str | None, bool, bool | None, bool | None]", row)) for row in rows]
