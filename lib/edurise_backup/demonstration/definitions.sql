-- Everything that a database defines, a row each: what it is, and how. Names are complete because the
-- search path is empty; grants are sorted, since their order means nothing; numbers of objects do not appear.
WITH ours AS (
    SELECT oid, nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
)
SELECT format('schema %I', n.nspname), concat(ROW(n.nspowner::regrole,
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(coalesce(n.nspacl, acldefault('n', n.nspowner))) a)))
    FROM pg_namespace n JOIN ours o ON o.oid = n.oid
UNION ALL
SELECT format('relation %s', c.oid::regclass), concat(ROW(c.relkind, c.relpersistence, c.relowner::regrole,
        c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.reloptions, c.relispopulated,
        pg_get_partkeydef(c.oid), pg_get_expr(c.relpartbound, c.oid),
        (SELECT string_agg(i.inhparent::regclass::text, ' ' ORDER BY i.inhseqno) FROM pg_inherits i WHERE i.inhrelid = c.oid),
        (SELECT amname FROM pg_am m WHERE m.oid = c.relam),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(coalesce(c.relacl,
            acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner))) a)))
    FROM pg_class c JOIN ours o ON o.oid = c.relnamespace
UNION ALL
SELECT format('column %s.%I', c.oid::regclass, a.attname), concat(ROW(
        row_number() OVER (PARTITION BY c.oid ORDER BY a.attnum), format_type(a.atttypid, a.atttypmod), a.attnotnull,
        a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid), a.attcollation::regcollation, a.attstorage,
        a.attcompression, a.attstattarget,
        (SELECT string_agg(g::text, ' ' ORDER BY g::text) FROM unnest(a.attacl) g)))
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN ours o ON o.oid = c.relnamespace
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT format('constraint %I on %s', k.conname,
        CASE WHEN k.contypid <> 0 THEN k.contypid::regtype::text ELSE k.conrelid::regclass::text END),
        concat(ROW(pg_get_constraintdef(k.oid), k.convalidated))
    FROM pg_constraint k JOIN ours o ON o.oid = k.connamespace
UNION ALL
SELECT format('index %s', i.indexrelid::regclass), concat(ROW(pg_get_indexdef(i.indexrelid), i.indisvalid,
        i.indisready, i.indisprimary, i.indisclustered, i.indisreplident))
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN ours o ON o.oid = c.relnamespace
UNION ALL
SELECT format('trigger %I on %s', t.tgname, t.tgrelid::regclass), concat(ROW(pg_get_triggerdef(t.oid), t.tgenabled))
    FROM pg_trigger t WHERE NOT t.tgisinternal
UNION ALL
SELECT format('routine %s', p.oid::regprocedure), concat(ROW(p.proowner::regrole,
        CASE WHEN p.prokind <> 'a' THEN pg_get_functiondef(p.oid) END,
        (SELECT concat_ws(' ', g.aggtransfn, g.aggtranstype::regtype, g.agginitval, g.aggfinalfn) FROM pg_aggregate g
            WHERE g.aggfnoid = p.oid),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(coalesce(p.proacl, acldefault('f', p.proowner))) a)))
    FROM pg_proc p JOIN ours o ON o.oid = p.pronamespace
UNION ALL
SELECT format('query of %s', c.oid::regclass), pg_get_viewdef(c.oid)
    FROM pg_class c JOIN ours o ON o.oid = c.relnamespace WHERE c.relkind IN ('v', 'm')
UNION ALL
SELECT format('rule %I on %s', r.rulename, r.ev_class::regclass), concat(ROW(pg_get_ruledef(r.oid), r.ev_enabled))
    FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class JOIN ours o ON o.oid = c.relnamespace
    WHERE r.rulename <> '_RETURN'
UNION ALL
SELECT format('type %s', t.oid::regtype), concat(ROW(t.typtype, t.typowner::regrole, t.typnotnull, t.typdefault,
        CASE WHEN t.typbasetype <> 0 THEN format_type(t.typbasetype, t.typtypmod) END,
        (SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = t.oid),
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(coalesce(t.typacl, acldefault('T', t.typowner))) a)))
    FROM pg_type t JOIN ours o ON o.oid = t.typnamespace
UNION ALL
SELECT format('policy %I on %s', p.polname, p.polrelid::regclass), concat(ROW(p.polcmd, p.polpermissive,
        (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE r::regrole::text END, ', ' ORDER BY r::regrole::text)
            FROM unnest(p.polroles) r),
        pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)))
    FROM pg_policy p
UNION ALL
SELECT format('sequence %s', s.seqrelid::regclass), concat(ROW(s.seqtypid::regtype, s.seqstart, s.seqincrement,
        s.seqmin, s.seqmax, s.seqcache, s.seqcycle,
        (SELECT format('%s %s.%I', d.deptype, d.refobjid::regclass, a.attname) FROM pg_depend d
            JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
            WHERE d.classid = 'pg_class'::regclass AND d.objid = s.seqrelid AND d.deptype IN ('a', 'i')
            AND d.refclassid = 'pg_class'::regclass)))
    FROM pg_sequence s
UNION ALL
SELECT format('comment on %s %s', i.type, i.identity), d.description
    FROM pg_description d, pg_identify_object(d.classoid, d.objoid, d.objsubid) i
    WHERE d.objoid >= 16384 OR (d.classoid = 'pg_namespace'::regclass AND d.objoid = 'public'::regnamespace)
UNION ALL
SELECT format('default grants of %s in %s on %s', a.defaclrole::regrole,
        CASE a.defaclnamespace WHEN 0 THEN 'all schemas' ELSE a.defaclnamespace::regnamespace::text END, a.defaclobjtype),
        (SELECT string_agg(g::text, ' ' ORDER BY g::text) FROM unnest(a.defaclacl) g)
    FROM pg_default_acl a
UNION ALL
SELECT format('publication %I', p.pubname), concat(ROW(p.pubowner::regrole, p.puballtables, p.pubinsert, p.pubupdate,
        p.pubdelete, p.pubtruncate, p.pubviaroot,
        (SELECT string_agg(r.prrelid::regclass::text, ', ' ORDER BY r.prrelid::regclass::text) FROM pg_publication_rel r
            WHERE r.prpubid = p.oid)))
    FROM pg_publication p
UNION ALL
SELECT format('event trigger %I', e.evtname), concat(ROW(e.evtevent, e.evtowner::regrole, e.evtfoid::regprocedure,
        e.evtenabled, e.evttags))
    FROM pg_event_trigger e
UNION ALL
SELECT format('statistics %I', s.stxname), concat(ROW(s.stxowner::regrole, pg_get_statisticsobjdef(s.oid), s.stxstattarget))
    FROM pg_statistic_ext s
UNION ALL
SELECT format('extension %I', e.extname), concat(ROW(e.extversion, e.extnamespace::regnamespace))
    FROM pg_extension e
UNION ALL
SELECT format('large object %s', l.oid), concat(ROW(l.lomowner::regrole,
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(coalesce(l.lomacl, acldefault('L', l.lomowner))) a)))
    FROM pg_largeobject_metadata l
UNION ALL
SELECT 'database itself', concat(ROW(d.datdba::regrole, pg_encoding_to_char(d.encoding), d.datlocprovider, d.datcollate,
        d.datctype, to_jsonb(d) ->> 'datlocale', d.datconnlimit, d.datistemplate, d.datallowconn,
        (SELECT string_agg(a::text, ' ' ORDER BY a::text) FROM unnest(coalesce(d.datacl, acldefault('d', d.datdba))) a),
        shobj_description(d.oid, 'pg_database')))
    FROM pg_database d WHERE d.datname = current_database()
UNION ALL
SELECT format('settings for %s', CASE s.setrole WHEN 0 THEN 'everybody' ELSE s.setrole::regrole::text END),
        (SELECT string_agg(c, ' | ' ORDER BY c) FROM unnest(s.setconfig) c)
    FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database()
