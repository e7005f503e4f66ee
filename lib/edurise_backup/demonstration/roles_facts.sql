-- The roles of a server, without those that PostgreSQL makes itself; a verifier appears as its digest only.
SELECT format('role %I', r.rolname), concat(ROW(r.rolsuper, r.rolinherit, r.rolcreaterole, r.rolcreatedb,
        r.rolcanlogin, r.rolreplication, r.rolbypassrls, r.rolconnlimit, r.rolvaliduntil AT TIME ZONE 'UTC',
        encode(sha256(r.rolpassword::bytea), 'hex'), shobj_description(r.oid, 'pg_authid')))
    FROM pg_authid r WHERE r.oid >= 16384
UNION ALL
SELECT format('membership of %s in %s', m.member::regrole, m.roleid::regrole),
        string_agg(concat_ws(' ', m.admin_option, to_jsonb(m) ->> 'inherit_option', to_jsonb(m) ->> 'set_option'), ', '
            ORDER BY m.grantor)
    FROM pg_auth_members m WHERE m.member >= 16384 GROUP BY m.member, m.roleid
UNION ALL
SELECT format('settings of %s', s.setrole::regrole), (SELECT string_agg(c, ' | ' ORDER BY c) FROM unnest(s.setconfig) c)
    FROM pg_db_role_setting s WHERE s.setdatabase = 0 AND s.setrole >= 16384
