"""Queries on PostgreSQL's system catalogs, versions 14 to 18.

Objects that an extension owns are left out: `CREATE EXTENSION` makes them.
Object identifiers below 16384 are the server's own (FirstNormalObjectId in
`src/include/access/transam.h`).
"""

# ruff: noqa: S608 (the queries are put together from constants of this file only)

from __future__ import annotations

PROPERTIES = """
SELECT pg_catalog.pg_get_userbyid(d.datdba)::text, pg_catalog.pg_encoding_to_char(d.encoding)::text,
       {provider}::text, d.datcollate::text, d.datctype::text, {locale}::text, {rules}::text, {collation}::text,
       s.spcname::text, d.datconnlimit, d.datistemplate,
       pg_catalog.shobj_description(d.oid, 'pg_database')::text, d.datacl IS NULL
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace s ON s.oid = d.dattablespace
WHERE d.datname = %s
"""

DATABASE_GRANTS = """
SELECT coalesce(pg_catalog.pg_get_userbyid(nullif(a.grantee, 0))::text, ''), a.privilege_type::text,
       a.is_grantable, pg_catalog.pg_get_userbyid(a.grantor)::text
FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a
WHERE d.datname = %s
"""

DATABASE_SETTINGS = """
SELECT setting::text
FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
     pg_catalog.unnest(s.setconfig) setting
WHERE d.datname = %s AND s.setrole = 0
ORDER BY setting COLLATE "C"
"""

ROLE_SETTINGS = """
SELECT pg_catalog.pg_get_userbyid(s.setrole)::text, setting::text
FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase,
     pg_catalog.unnest(s.setconfig) setting
WHERE d.datname = %s AND s.setrole <> 0
ORDER BY 1, setting COLLATE "C"
"""

_USER_SCHEMA = "n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"


def _extension(catalog: str, oid: str) -> str:
    return f"""(SELECT e.extname::text FROM pg_catalog.pg_depend x JOIN pg_catalog.pg_extension e ON e.oid = x.refobjid
      WHERE x.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass AND x.objid = {oid}
        AND x.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass AND x.deptype = 'e' LIMIT 1)"""


RELATIONS = f"""
SELECT c.oid::bigint, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence = 'u',
       c.relpages::bigint * 8192, {_extension("pg_class", "c.oid")},
       ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname::text COLLATE "C"),
       ARRAY(SELECT a.atttypid::bigint FROM pg_catalog.pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attname::text COLLATE "C"),
       c.relfilenode::bigint, c.relispopulated
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND c.relpersistence <> 't' AND {_USER_SCHEMA}
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C"
"""

SIZES = """
SELECT coalesce(pg_catalog.pg_table_size(oid), 0)::bigint
FROM pg_catalog.unnest(%s::bigint[]::oid[]) WITH ORDINALITY AS wanted (oid, place) ORDER BY place
"""

FILE_NODES = """
SELECT coalesce(pg_catalog.pg_relation_filenode(oid), 0)::bigint
FROM pg_catalog.unnest(%s::bigint[]::oid[]) WITH ORDINALITY AS wanted (oid, place) ORDER BY place
"""
"""The files as they are now, not as the transaction's snapshot has them (the function asks the server's cache)."""

HIDDEN = """
SELECT pg_catalog.row_security_active(oid)
FROM pg_catalog.unnest(%s::bigint[]::oid[]) WITH ORDINALITY AS wanted (oid, place) ORDER BY place
"""

SEQUENCES = f"""
SELECT c.oid::bigint, n.nspname::text, c.relname::text,
       (SELECT d.refobjid::bigint FROM pg_catalog.pg_depend d
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.objsubid = 0
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i') LIMIT 1)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {_USER_SCHEMA} AND {_extension("pg_class", "c.oid")} IS NULL
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C"
"""

EXTENSIONS = """
SELECT e.extname::text, e.extversion::text, n.nspname::text
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
ORDER BY e.extname::text COLLATE "C"
"""

USER_CONTENT = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE oid >= 16384 AND relpersistence <> 't')
    OR EXISTS (SELECT FROM pg_catalog.pg_proc WHERE oid >= 16384)
    OR EXISTS (SELECT FROM pg_catalog.pg_type WHERE oid >= 16384)
    OR EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE oid >= 16384 AND nspname !~ '^pg_(toast_)?temp_')
    OR EXISTS (SELECT FROM pg_catalog.pg_extension WHERE oid >= 16384)
    OR EXISTS (SELECT FROM pg_catalog.pg_largeobject_metadata)
    OR EXISTS (SELECT FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
               WHERE d.datname = pg_catalog.current_database())
"""


def _items(acl: str, sign: str) -> str:
    return f"""SELECT '{sign}' || coalesce(pg_catalog.pg_get_userbyid(nullif(a.grantee, 0))::text, '') || '='
        || a.privilege_type || CASE WHEN a.is_grantable THEN '*' ELSE '' END FROM pg_catalog.aclexplode({acl}) a"""


def _grants(acl: str, kind: str, owner: str) -> str:
    """What differs from the default privileges: an explicit default and none are the same to a dump."""
    standard = f"pg_catalog.acldefault({kind}, {owner})"
    actual = f"coalesce({acl}, {standard})"
    return f"""coalesce((SELECT pg_catalog.string_agg(item, ',' ORDER BY item COLLATE "C") FROM (
        ({_items(actual, "+")} EXCEPT {_items(standard, "+")}) UNION ALL
        ({_items(standard, "-")} EXCEPT {_items(actual, "-")})) AS items (item)), 'default')"""


def _owned(owner: str, acl: str, kind: str) -> str:
    return f"""'owner ' || pg_catalog.pg_get_userbyid({owner})::text || ', grants ' || {_grants(acl, kind, owner)}"""


_RELATION_KIND = "(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END)::\"char\""
_NAME = "pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname)"

OBJECTS = (
    f"""
SELECT 'schema', pg_catalog.quote_ident(n.nspname)::text, {_owned("n.nspowner", "n.nspacl", "'n'")}
FROM pg_catalog.pg_namespace n
WHERE {_USER_SCHEMA} AND {_extension("pg_namespace", "n.oid")} IS NULL
""",
    f"""
SELECT CASE c.relkind WHEN 'r' THEN 'table' WHEN 'p' THEN 'partitioned table' WHEN 'v' THEN 'view'
            WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' WHEN 'S' THEN 'sequence'
            ELSE 'composite type' END,
       {_NAME}, {_owned("c.relowner", "c.relacl", _RELATION_KIND)}
       || CASE WHEN c.relrowsecurity THEN ', row security' ELSE '' END
       || CASE WHEN c.relforcerowsecurity THEN ' forced' ELSE '' END
       || CASE c.relpersistence WHEN 'u' THEN ', unlogged' ELSE '' END
       || coalesce(', options ' || pg_catalog.array_to_string(c.reloptions, ' '), '')
       || coalesce(', partition of ' || i.inhparent::pg_catalog.regclass::text, '')
       || coalesce(', comment ' || pg_catalog.md5(pg_catalog.obj_description(c.oid, 'pg_class')), '')
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
     LEFT JOIN pg_catalog.pg_inherits i ON c.relispartition AND i.inhrelid = c.oid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S', 'c') AND c.relpersistence <> 't' AND {_USER_SCHEMA}
  AND {_extension("pg_class", "c.oid")} IS NULL
""",
    f"""
SELECT 'column', {_NAME} || '.' || pg_catalog.quote_ident(a.attname),
       pg_catalog.format_type(a.atttypid, a.atttypmod)
       || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END
       || CASE WHEN a.atthasdef THEN ' default' ELSE '' END
       || CASE a.attidentity WHEN '' THEN '' ELSE ' identity ' || a.attidentity::text END
       || CASE a.attgenerated WHEN '' THEN '' ELSE ' generated ' || a.attgenerated::text END
       || CASE WHEN a.attacl IS NULL THEN '' ELSE ' grants ' || {_grants("a.attacl", "'c'", "c.relowner")} END
       || coalesce(' comment ' || pg_catalog.md5(pg_catalog.col_description(c.oid, a.attnum)), '')
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'c') AND c.relpersistence <> 't' AND a.attnum > 0
  AND NOT a.attisdropped AND {_USER_SCHEMA} AND {_extension("pg_class", "c.oid")} IS NULL
""",
    f"""
SELECT 'constraint', coalesce({_NAME}, pg_catalog.format_type(o.contypid, NULL)) || ': '
       || pg_catalog.quote_ident(o.conname),
       'type ' || o.contype::text || CASE WHEN o.convalidated THEN ', validated' ELSE ', not validated' END
       || CASE WHEN o.condeferrable THEN ', deferrable' ELSE '' END
       || CASE WHEN o.condeferred THEN ', deferred' ELSE '' END
FROM pg_catalog.pg_constraint o JOIN pg_catalog.pg_namespace n ON n.oid = o.connamespace
     LEFT JOIN pg_catalog.pg_class c ON c.oid = o.conrelid
WHERE {_USER_SCHEMA} AND {_extension("pg_class", "c.oid")} IS NULL
  AND {_extension("pg_type", "o.contypid")} IS NULL AND o.contype <> 'n'
""",
    f"""
SELECT 'index', {_NAME} || ': ' || pg_catalog.quote_ident(k.relname),
       m.amname || CASE WHEN i.indisunique THEN ' unique' ELSE '' END
       || CASE WHEN i.indisvalid THEN ' valid' ELSE ' not valid' END
       || CASE WHEN i.indisclustered THEN ' clustered' ELSE '' END
       || CASE WHEN i.indisreplident THEN ' replica identity' ELSE '' END
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class k ON k.oid = i.indexrelid
     JOIN pg_catalog.pg_am m ON m.oid = k.relam JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND {_USER_SCHEMA} AND {_extension("pg_class", "c.oid")} IS NULL
""",
    f"""
SELECT 'trigger', {_NAME} || ': ' || pg_catalog.quote_ident(t.tgname),
       'enabled ' || t.tgenabled::text || ', calls ' || t.tgfoid::pg_catalog.regproc::text
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE NOT t.tgisinternal AND {_USER_SCHEMA} AND {_extension("pg_class", "c.oid")} IS NULL
""",
    f"""
SELECT 'policy', {_NAME} || ': ' || pg_catalog.quote_ident(p.polname),
       'for ' || p.polcmd::text || CASE WHEN p.polpermissive THEN '' ELSE ', restrictive' END || ', to '
       || (SELECT pg_catalog.string_agg(coalesce(pg_catalog.pg_get_userbyid(nullif(r, 0))::text, 'public'), ',' ORDER BY
             coalesce(pg_catalog.pg_get_userbyid(nullif(r, 0))::text, 'public') COLLATE "C")
           FROM pg_catalog.unnest(p.polroles) r)
FROM pg_catalog.pg_policy p JOIN pg_catalog.pg_class c ON c.oid = p.polrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE {_USER_SCHEMA} AND {_extension("pg_class", "c.oid")} IS NULL
""",
    f"""
SELECT 'routine', f.oid::pg_catalog.regprocedure::text,
       'body ' || pg_catalog.md5(f.prosrc) || CASE WHEN f.prosecdef THEN ', security definer' ELSE '' END
       || coalesce(', with ' || pg_catalog.array_to_string(f.proconfig, ' '), '')
       || ', ' || {_owned("f.proowner", "f.proacl", "'f'")}
FROM pg_catalog.pg_proc f JOIN pg_catalog.pg_namespace n ON n.oid = f.pronamespace
WHERE {_USER_SCHEMA} AND {_extension("pg_proc", "f.oid")} IS NULL
""",
    f"""
SELECT 'type', pg_catalog.format_type(t.oid, NULL),
       CASE t.typtype WHEN 'e' THEN 'enum ' || (SELECT pg_catalog.string_agg(e.enumlabel, ',' ORDER BY e.enumsortorder)
                                               FROM pg_catalog.pg_enum e WHERE e.enumtypid = t.oid)
            WHEN 'd' THEN 'domain over ' || pg_catalog.format_type(t.typbasetype, t.typtypmod)
            ELSE 'kind ' || t.typtype::text END || ', ' || {_owned("t.typowner", "t.typacl", "'T'")}
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typtype IN ('e', 'd', 'r') AND {_USER_SCHEMA} AND {_extension("pg_type", "t.oid")} IS NULL
""",
    f"""
SELECT 'event trigger', pg_catalog.quote_ident(v.evtname), v.evtevent::text || ', enabled ' || v.evtenabled::text
FROM pg_catalog.pg_event_trigger v WHERE {_extension("pg_event_trigger", "v.oid")} IS NULL
""",
    f"""
SELECT 'publication', pg_catalog.quote_ident(p.pubname),
       CASE WHEN p.puballtables THEN 'all tables' ELSE 'tables '
         || coalesce((SELECT pg_catalog.string_agg(r.prrelid::pg_catalog.regclass::text, ','
              ORDER BY r.prrelid::pg_catalog.regclass::text COLLATE "C")
              FROM pg_catalog.pg_publication_rel r WHERE r.prpubid = p.oid), '') END
FROM pg_catalog.pg_publication p WHERE {_extension("pg_publication", "p.oid")} IS NULL
""",
    f"""
SELECT 'default privileges', pg_catalog.pg_get_userbyid(d.defaclrole)::text || ' in '
       || coalesce(n.nspname::text, 'all schemas') || ' on ' || d.defaclobjtype::text,
       coalesce((SELECT pg_catalog.string_agg(item, ',' ORDER BY item COLLATE "C")
                 FROM ({_items("d.defaclacl", "+")}) AS items (item)), 'none')
FROM pg_catalog.pg_default_acl d LEFT JOIN pg_catalog.pg_namespace n ON n.oid = d.defaclnamespace
""",
)
"""Each selects kind, name and state; see `ObjectFacts`."""
