"""A table that was dropped comes back with its structure, its rows and its numbers."""

from __future__ import annotations

import pytest

from edurise_backup.errors import ConflictError, InputError
from edurise_backup.recovery.rescue.shapes import Wanted
from tests.support.rescue import MakeMoments, Moments

SHOP = r'''
CREATE TYPE mood AS ENUM ('sad', 'happy');
CREATE TABLE makers (id integer PRIMARY KEY, name text);
CREATE TABLE "Goods ""x""" (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, number serial, name text DEFAULT 'x' CHECK (name <> ''),
    maker integer REFERENCES makers ON DELETE CASCADE, mood mood, big text GENERATED ALWAYS AS (upper(name)) STORED
);
CREATE TABLE sales (good bigint REFERENCES "Goods ""x""", at date, PRIMARY KEY (good, at)) PARTITION BY RANGE (at);
CREATE TABLE sales_1 PARTITION OF sales FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE sales_2 PARTITION OF sales DEFAULT;
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'fired'; END $$;
CREATE INDEX by_name ON "Goods ""x""" (lower(name));
COMMENT ON TABLE "Goods ""x""" IS E'what\nis sold\nSET lock_timeout = 0;\n\\restrict x\n';
COMMENT ON COLUMN "Goods ""x""".name IS 'its name';
GRANT SELECT ON "Goods ""x""" TO pg_monitor;
ALTER TABLE "Goods ""x""" ENABLE ROW LEVEL SECURITY;
CREATE POLICY happy ON "Goods ""x""" USING (mood = 'happy');
INSERT INTO makers VALUES (1, 'one'), (2, 'two');
INSERT INTO "Goods ""x""" (name, maker, mood) SELECT 'good ' || i, 1 + i % 2, 'sad' FROM generate_series(1, 100) i;
INSERT INTO sales SELECT i, '2025-12-01'::date + i FROM generate_series(1, 100) i;
CREATE TRIGGER fails BEFORE INSERT ON "Goods ""x""" FOR EACH ROW EXECUTE FUNCTION fail();
'''
GOODS = 'Goods "x"'
ASPECTS = (
    'SELECT t::text FROM "Goods ""x""" t ORDER BY id',
    "SELECT t::text FROM sales t ORDER BY 1",
    "SELECT t::text FROM sales_1 t ORDER BY 1",
    "SELECT c.relname::text, pg_get_constraintdef(o.oid) FROM pg_constraint o JOIN pg_class c ON c.oid = o.conrelid"
    " ORDER BY 1, 2",
    "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
    " WHERE indrelid > 16384 AND indexrelid::regclass::text !~ 'toast' ORDER BY 1, 2",
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1",
    "SELECT relname::text, relacl::text, relrowsecurity, obj_description(oid) FROM pg_class"
    " WHERE relkind IN ('r', 'p', 'S') AND oid > 16384 ORDER BY 1",
    "SELECT attrelid::regclass::text, attname::text, atttypid::regtype::text, attidentity::text, attgenerated::text"
    " FROM pg_attribute WHERE attrelid > 16384 AND attrelid::regclass::text !~ 'toast'"
    " AND attnum > 0 AND NOT attisdropped ORDER BY 1, 2",
    "SELECT sequencename::text, last_value FROM pg_sequences ORDER BY 1",
    "SELECT polname::text, pg_get_expr(polqual, polrelid) FROM pg_policy",
)


def differing(both: Moments) -> list[str]:
    """Return the queries that do not give the same on both sides."""
    return [query for query in ASPECTS if both.rows(query) != both.rows(query, there=True)]


def test_dropped_tables_come_back_with_all_that_belongs_to_them(moments: MakeMoments) -> None:
    both = moments(SHOP)
    both.happens('DROP TABLE "Goods ""x""", sales', "DELETE FROM makers WHERE id = 2")
    done = both.bring_back("makers", GOODS, "sales")
    assert [(one.table.name, one.created, one.inserted) for one in done.tables] == [
        ("makers", False, 1),
        (GOODS, True, 100),
        ("sales", True, 100),
    ]
    assert differing(both) == []
    assert both.compare("makers", GOODS, "sales").equal


def test_what_a_dropped_table_lacks_here_is_told_beforehand(moments: MakeMoments) -> None:
    both = moments(SHOP)
    both.happens('DROP TABLE "Goods ""x""" CASCADE', "DROP TYPE mood", "DELETE FROM makers WHERE id = 2")
    plan = both.plan(GOODS)
    assert plan.obstacles[0].endswith("The live database does not have the type public.mood.")
    assert "1 x public.Goods" in plan.obstacles[1]
    assert any("sales_good_fkey" in note for note in plan.tables[0].comparison.match.notes)
    with pytest.raises(InputError):
        both.apply(plan)


def test_rows_of_a_dropped_table_come_back_by_a_condition(moments: MakeMoments) -> None:
    both = moments(SHOP)
    both.happens("DROP TABLE sales")
    both.bring_back(Wanted("public", "sales", "good <= 3"))
    assert both.rows("SELECT good FROM sales ORDER BY 1") == [(1,), (2,), (3,)]


def test_a_table_that_was_made_meanwhile_is_not_touched(moments: MakeMoments) -> None:
    both = moments(SHOP)
    both.happens("DROP TABLE sales")
    plan = both.plan("sales")
    both.happens("CREATE TABLE sales (good bigint)", "INSERT INTO sales VALUES (7)")
    with pytest.raises(ConflictError):
        both.apply(plan)
    assert both.rows("SELECT * FROM sales") == [(7,)]


def test_a_schema_that_is_gone_is_told(moments: MakeMoments) -> None:
    both = moments("CREATE SCHEMA s; CREATE TABLE s.t (id integer PRIMARY KEY);")
    both.happens("DROP SCHEMA s CASCADE")
    assert both.plan(Wanted("s", "t")).obstacles == ("s.t: The live database does not have the schema s.",)
