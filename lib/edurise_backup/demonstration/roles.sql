-- The roles of the platform: none of them a superuser. Passwords are set by `database.py`.
CREATE ROLE edurise_owner LOGIN CREATEDB CONNECTION LIMIT 20;
CREATE ROLE edurise_auth_admin NOLOGIN NOINHERIT CREATEROLE;
CREATE ROLE edurise_storage_admin NOLOGIN NOINHERIT;
CREATE ROLE anon NOLOGIN;
CREATE ROLE authenticated NOLOGIN;
CREATE ROLE service_role NOLOGIN BYPASSRLS;
CREATE ROLE edurise_readers NOLOGIN;
CREATE ROLE authenticator LOGIN NOINHERIT;
CREATE ROLE edurise_app LOGIN VALID UNTIL '2031-01-01 00:00:00+00';
CREATE ROLE "edurise analyst" LOGIN;

GRANT anon, authenticated, service_role TO authenticator;
GRANT authenticated TO edurise_app;
GRANT edurise_readers TO "edurise analyst" WITH ADMIN OPTION;
GRANT edurise_readers TO service_role WITH INHERIT TRUE, SET FALSE;
GRANT pg_read_all_stats TO edurise_readers;

ALTER ROLE edurise_app SET statement_timeout = '30s';
ALTER ROLE "edurise analyst" SET work_mem = '16MB';
ALTER ROLE anon SET statement_timeout = '3s';

COMMENT ON ROLE edurise_owner IS 'Owns what the platform''s migrations create';
COMMENT ON ROLE "edurise analyst" IS 'Reads reports; a name with a space';
