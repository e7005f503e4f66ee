"""Queries on the system catalogs about one table, PostgreSQL 14 to 18.

Triggers of foreign keys and of deferrable uniqueness are the server's own:
they are told by their functions, because PostgreSQL 14 also calls the copies
of users' triggers on partitions internal.
"""

from __future__ import annotations

TABLE = """
SELECT c.oid::bigint, c.relkind::text, c.relispartition, c.relpersistence = 'p',
       EXISTS (SELECT FROM pg_catalog.pg_inherits i WHERE i.inhparent = c.oid), c.relrowsecurity,
       EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s
"""

COLUMNS = """
SELECT a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull,
       a.attgenerated = '' AND (a.atthasdef OR t.typdefault IS NOT NULL), a.attgenerated <> '',
       CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' ELSE '' END,
       coalesce(e.typnamespace, t.typnamespace) <> 'pg_catalog'::pg_catalog.regnamespace
FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
     LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
WHERE a.attrelid = %s::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
"""

KEYS = """
SELECT i.indexrelid::bigint, a.attnotnull, a.attname::text, pg_catalog.format_type(a.atttypid, a.atttypmod),
       (WITH RECURSIVE base (oid, below, kind) AS (
            SELECT t.oid, t.typbasetype, t.typtype FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
            UNION ALL SELECT t.oid, t.typbasetype, t.typtype
            FROM base JOIN pg_catalog.pg_type t ON t.oid = base.below WHERE base.kind = 'd')
        SELECT pg_catalog.format_type(base.oid, NULL) FROM base WHERE base.kind <> 'd'),
       s.nspname::text, o.oprname::text, coalesce(l.collisdeterministic, true)
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class x ON x.oid = i.indexrelid
     JOIN pg_catalog.pg_am m ON m.oid = x.relam AND m.amname = 'btree'
     CROSS JOIN pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (number, place)
     JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
     JOIN pg_catalog.pg_opclass c ON c.oid = i.indclass[k.place - 1]
     JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily AND p.amoplefttype = c.opcintype
          AND p.amoprighttype = c.opcintype AND p.amopstrategy = 3
     JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
     JOIN pg_catalog.pg_namespace s ON s.oid = o.oprnamespace
     LEFT JOIN pg_catalog.pg_collation l ON l.oid = i.indcollation[k.place - 1]
WHERE i.indrelid = %s::bigint::oid AND i.indisunique AND i.indisvalid
  AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts
ORDER BY i.indisprimary DESC, x.relname::text COLLATE "C", k.place
"""

FOREIGN_KEYS = """
SELECT o.conname::text, cn.nspname::text, c.relname::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(o.conkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT pg_catalog.format_type(a.atttypid, a.atttypmod)
             FROM pg_catalog.unnest(o.conkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = o.conrelid AND a.attnum = k.number ORDER BY k.place),
       pn.nspname::text, p.relname::text,
       ARRAY(SELECT a.attname::text FROM pg_catalog.unnest(o.confkey) WITH ORDINALITY AS k (number, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = o.confrelid AND a.attnum = k.number ORDER BY k.place),
       ARRAY(SELECT s.nspname::text FROM pg_catalog.unnest(o.conpfeqop) WITH ORDINALITY AS k (oid, place)
             JOIN pg_catalog.pg_operator e ON e.oid = k.oid
             JOIN pg_catalog.pg_namespace s ON s.oid = e.oprnamespace ORDER BY k.place),
       ARRAY(SELECT e.oprname::text FROM pg_catalog.unnest(o.conpfeqop) WITH ORDINALITY AS k (oid, place)
             JOIN pg_catalog.pg_operator e ON e.oid = k.oid ORDER BY k.place),
       o.confupdtype::text, o.confdeltype::text, pg_catalog.pg_get_constraintdef(o.oid)
FROM pg_catalog.pg_constraint o
     JOIN pg_catalog.pg_class c ON c.oid = o.conrelid JOIN pg_catalog.pg_namespace cn ON cn.oid = c.relnamespace
     JOIN pg_catalog.pg_class p ON p.oid = o.confrelid JOIN pg_catalog.pg_namespace pn ON pn.oid = p.relnamespace
WHERE o.contype = 'f' AND o.{side} = %s::bigint::oid
  AND coalesce((pg_catalog.to_jsonb(o) ->> 'conenforced')::pg_catalog.bool, true)
  AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint u WHERE u.oid = o.conparentid AND u.{side} = o.{side})
ORDER BY cn.nspname::text COLLATE "C", c.relname::text COLLATE "C", o.conname::text COLLATE "C"
"""

TRIGGERS = """
SELECT n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text
FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid
     JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_proc f ON f.oid = t.tgfoid
WHERE (c.oid = %s::bigint::oid OR c.oid IN (SELECT relid FROM pg_catalog.pg_partition_tree(%s::bigint::oid)))
  AND NOT (t.tgisinternal AND f.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
           AND (f.proname ~ '^RI_FKey_' OR f.proname = 'unique_key_recheck'))
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C", t.tgname::text COLLATE "C"
"""

SEQUENCES = """
SELECT n.nspname::text, s.relname::text, a.attname::text, q.seqincrement, q.seqmin, q.seqmax, q.seqcache,
       EXISTS (SELECT FROM pg_catalog.pg_depend o
               WHERE o.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.objid = s.oid
                 AND o.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND o.refobjid = a.attrelid
                 AND o.deptype IN ('a', 'i'))
FROM (SELECT d.objid AS sequence, d.refobjsubid AS number FROM pg_catalog.pg_depend d
      WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = %s::bigint::oid
      UNION SELECT d.refobjid, f.adnum FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attrdef f ON f.oid = d.objid
      WHERE d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass
        AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND f.adrelid = %s::bigint::oid) AS numbering
     JOIN pg_catalog.pg_class s ON s.oid = numbering.sequence AND s.relkind = 'S'
     JOIN pg_catalog.pg_namespace n ON n.oid = s.relnamespace
     JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid
     JOIN pg_catalog.pg_attribute a ON a.attrelid = %s::bigint::oid AND a.attnum = numbering.number
ORDER BY n.nspname::text COLLATE "C", s.relname::text COLLATE "C", a.attname::text COLLATE "C"
"""

PARTITIONS = """
SELECT n.nspname::text, c.relname::text
FROM pg_catalog.pg_partition_tree(%s::pg_catalog.text::pg_catalog.regclass) t
     JOIN pg_catalog.pg_class c ON c.oid = t.relid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE t.level > 0
ORDER BY n.nspname::text COLLATE "C", c.relname::text COLLATE "C"
"""
