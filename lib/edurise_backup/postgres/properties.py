"""Statements that give a database its owner, grants, settings and comment back, whatever it is called now.

A dump's archive holds these for the database's old name only, and
`pg_dumpall --globals-only` not at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from edurise_backup.model.database import DatabaseProperties, Setting
from edurise_backup.postgres.names import quote_name, quote_text, setting_values

PSQL_DATABASE = ':"database"'
"""How a psql script names the database that its variable `database` holds."""


def property_statements(properties: DatabaseProperties, database: str) -> Iterator[str]:
    """Yield SQL statements without semicolons; `database` is a quoted name, or `PSQL_DATABASE`."""
    yield f"ALTER DATABASE {database} OWNER TO {quote_name(properties.owner)}"
    yield from _grants(properties, database)
    for setting in properties.settings:
        yield f"ALTER DATABASE {database} SET {_assignment(setting)}"
    for role in properties.role_settings:
        for setting in role.settings:
            yield f"ALTER ROLE {quote_name(role.role)} IN DATABASE {database} SET {_assignment(setting)}"
    if properties.comment is not None:
        yield f"COMMENT ON DATABASE {database} IS {quote_text(properties.comment)}"
    if properties.connection_limit != -1:
        yield f"ALTER DATABASE {database} WITH CONNECTION LIMIT {properties.connection_limit}"
    if properties.is_template:
        yield f"ALTER DATABASE {database} WITH IS_TEMPLATE true"


def role_setting_statement(role: str, setting: Setting) -> str:
    """Return the statement that gives a role a setting in every database."""
    return f"ALTER ROLE {quote_name(role)} SET {_assignment(setting)}"


def properties_script(properties: DatabaseProperties, name: str) -> str:
    """Return the statements as a psql script for a person without this product."""
    comment = name.encode("unicode_escape").decode()
    lines = [
        f"-- owner, grants, settings and comment of the database {comment}",
        "-- psql --set=database=NAME --file=database.sql, after its archives were restored into NAME",
        "\\set ON_ERROR_STOP on",
        *(f"{statement};" for statement in property_statements(properties, PSQL_DATABASE)),
    ]
    return "\n".join(lines) + "\n"


def _assignment(setting: Setting) -> str:
    values = ", ".join(quote_text(value) for value in setting_values(setting.name, setting.value))
    return f"{quote_name(setting.name)} TO {values}"


def _grants(properties: DatabaseProperties, database: str) -> Iterator[str]:
    if properties.grants is None:
        return
    yield f"REVOKE ALL ON DATABASE {database} FROM PUBLIC"
    yield f"REVOKE ALL ON DATABASE {database} FROM {quote_name(properties.owner)}"
    # whoever passes a privilege on must have got it from the owner before
    for grant in sorted(properties.grants, key=lambda one: (one.grantor != properties.owner, one)):
        grantee = quote_name(grant.grantee) if grant.grantee else "PUBLIC"
        option = " WITH GRANT OPTION" if grant.grantable else ""
        statement = f"GRANT {grant.privilege} ON DATABASE {database} TO {grantee}{option}"
        if grant.grantor == properties.owner:
            yield statement
        else:
            yield f"SET ROLE {quote_name(grant.grantor)}"
            yield statement
            yield "RESET ROLE"
