"""Records of databases: stored, compared, turned into statements."""

from __future__ import annotations

import msgspec
import pytest

from edurise_backup.errors import DamageError, ToolError, UnsupportedVersionError
from edurise_backup.model.database import (
    DatabaseProperties,
    DatabaseRecord,
    Extension,
    Globals,
    Grant,
    LargeObjects,
    ObjectFacts,
    Role,
    RoleSettings,
    SequenceFacts,
    Setting,
    TableFacts,
    decode_record,
    encode_record,
)
from edurise_backup.postgres.facts import Relation
from edurise_backup.postgres.programs import warnings_of
from edurise_backup.postgres.properties import properties_script, property_statements
from edurise_backup.recovery.database_proof import FoundDatabase, compare
from edurise_backup.sources.database_listing import check_listing

PROPERTIES = DatabaseProperties(
    owner='o"wner',
    encoding="UTF8",
    locale_provider="libc",
    collate="C.UTF-8",
    ctype="C.UTF-8",
    locale=None,
    icu_rules=None,
    collation_version="2.36",
    tablespace="pg_default",
    connection_limit=5,
    is_template=False,
    comment="it's \\ here",
    grants=[
        Grant("", "CONNECT", False, "reader"),
        Grant("reader", "CONNECT", True, 'o"wner'),
    ],
    settings=[Setting("search_path", '"$user", public'), Setting("app.x", "1")],
    role_settings=[RoleSettings("reader", [Setting("work_mem", "5MB")])],
)
RECORD = DatabaseRecord(
    name="school",
    folder="/databases/school",
    server_version="18.4",
    server_major=18,
    dump_major=18,
    system_identifier="1",
    lsn="0/1",
    snapshot_time="2026-01-01T00:00:00Z",
    properties=PROPERTIES,
    extensions=[Extension("plpgsql", "1.0", "pg_catalog")],
    tables=[
        TableFacts("public", "a", "table", False, 8192, rows=2, checksum="7"),
        TableFacts("public", "m", "materialized view", False, 8192, rows=1, checksum="1"),
        TableFacts("public", "of_extension", "table", False, 0, extension="x"),
    ],
    sequences=[
        SequenceFacts("public", "still", 5, True, 5, True),
        SequenceFacts("public", "moving", 5, True, 9, True),
    ],
    large_objects=LargeObjects(2, "11"),
    objects=[ObjectFacts("trigger", "public.a: t", "enabled O")],
    archives=["archive.pgdump"],
)
FOUND = FoundDatabase(
    properties=msgspec.structs.replace(PROPERTIES, collation_version="2.40"),
    extensions=RECORD.extensions,
    tables={
        ("table", "public", "a"): (2, "7"),
        ("materialized view", "public", "m"): (3, "3"),
        ("table", "public", "of_extension"): (None, None),
    },
    sequences={("public", "still"): (5, True), ("public", "moving"): (7, True)},
    large_objects=LargeObjects(2, "11"),
    objects=RECORD.objects,
)


def test_a_record_comes_back_from_its_text() -> None:
    assert decode_record(encode_record(RECORD), DatabaseRecord) == RECORD


@pytest.mark.parametrize("text", [b"", b"{}", b"[1]", b'{"record_version": 1}', b"\xff"])
def test_what_is_no_record_is_damage(text: bytes) -> None:
    with pytest.raises(DamageError):
        decode_record(text, DatabaseRecord)


def test_a_record_of_a_later_release_is_refused() -> None:
    later = encode_record(RECORD).replace(b'"record_version": 1', b'"record_version": 2')
    with pytest.raises(UnsupportedVersionError):
        decode_record(later, DatabaseRecord)


def test_a_role_does_not_show_its_verifier() -> None:
    role = Role(
        name="ana",
        superuser=False,
        inherit=True,
        create_role=False,
        create_database=False,
        login=True,
        replication=False,
        bypass_rls=False,
        connection_limit=-1,
        valid_until=None,
        verifier="SCRAM-SHA-256$canary",
        comment=None,
        settings=[],
    )
    all_of_them = Globals(server_version="18.4", verifiers_included=True, roles=[role], memberships=[], tablespaces=[])
    assert "canary" not in repr(all_of_them)
    assert decode_record(encode_record(all_of_them), Globals).roles[0].verifier == "SCRAM-SHA-256$canary"


def test_an_equal_database_gives_no_finding_and_says_what_was_compared() -> None:
    proof = compare(RECORD, FOUND)
    assert proof.findings == []
    assert "The materialized view public.m was computed anew and has 3 rows instead of 1 row." in proof.checks
    assert "1 tables and materialized views hold the same 2 rows with equal checksums." in proof.checks


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        ({"tables": FOUND.tables | {("table", "public", "a"): (1, "7")}}, "table public.a has 1 row instead of 2 rows"),
        ({"tables": FOUND.tables | {("table", "public", "a"): (2, "8")}}, "but not the same ones"),
        ({"tables": {}}, "table public.a is missing"),
        ({"tables": FOUND.tables | {("table", "public", "z"): (0, "0")}}, "table public.z was not in the backup"),
        ({"sequences": FOUND.sequences | {("public", "still"): (6, True)}}, "public.still stands at 6 instead of 5"),
        ({"sequences": FOUND.sequences | {("public", "still"): (5, False)}}, "public.still stands at 5"),
        ({"sequences": FOUND.sequences | {("public", "moving"): (10, True)}}, "instead of 5 to 9"),
        ({"sequences": {}}, "sequence public.moving is missing"),
        ({"large_objects": LargeObjects(3, "11")}, "3 large objects instead of 2"),
        ({"large_objects": LargeObjects(2, "12")}, "not hold the same bytes"),
        ({"objects": []}, "trigger public.a: t is missing"),
        ({"objects": [ObjectFacts("trigger", "public.a: t", "enabled D")]}, "differs: enabled D"),
        ({"extensions": []}, "extension plpgsql is missing"),
        ({"properties": msgspec.structs.replace(PROPERTIES, owner="x")}, 'owner is "x"'),
        ({"properties": msgspec.structs.replace(PROPERTIES, grants=None)}, "grants is null"),
    ],
)
def test_every_difference_is_a_sentence_that_names_the_object(change: dict[str, object], finding: str) -> None:
    known = {name: getattr(FOUND, name) for name in FoundDatabase.__slots__}
    findings = compare(RECORD, FoundDatabase(**known | change)).findings
    assert any(finding in one for one in findings), findings


def test_checksums_made_by_another_rule_are_not_compared() -> None:
    other = msgspec.structs.replace(RECORD, checksum_rule="older")
    changed = {("table", "public", "a"): (2, "8")}
    known = {name: getattr(FOUND, name) for name in FoundDatabase.__slots__}
    assert compare(other, FoundDatabase(**known | {"tables": FOUND.tables | changed})).findings == []


def test_properties_are_set_again_under_the_new_name() -> None:
    assert list(property_statements(PROPERTIES, '"n"')) == [
        'ALTER DATABASE "n" OWNER TO "o""wner"',
        'REVOKE ALL ON DATABASE "n" FROM PUBLIC',
        'REVOKE ALL ON DATABASE "n" FROM "o""wner"',
        'GRANT CONNECT ON DATABASE "n" TO "reader" WITH GRANT OPTION',
        'SET ROLE "reader"',
        'GRANT CONNECT ON DATABASE "n" TO PUBLIC',
        "RESET ROLE",
        "ALTER DATABASE \"n\" SET \"search_path\" TO '$user', 'public'",
        'ALTER DATABASE "n" SET "app.x" TO \'1\'',
        'ALTER ROLE "reader" IN DATABASE "n" SET "work_mem" TO \'5MB\'',
        "COMMENT ON DATABASE \"n\" IS E'it''s \\\\ here'",
        'ALTER DATABASE "n" WITH CONNECTION LIMIT 5',
    ]


def test_a_hostile_name_cannot_leave_the_scripts_comment() -> None:
    script = properties_script(PROPERTIES, "x\nDROP TABLE y; --")
    assert all(not line.startswith("DROP") for line in script.splitlines())


def relation(oid: int, name: str) -> Relation:
    return Relation(
        oid=oid,
        schema="public",
        name=name,
        kind="table",
        unlogged=False,
        bytes=0,
        extension=None,
        columns=(),
        types=(),
        file_node=oid,
        populated=True,
    )


LISTING = """;
; Archive created at 2026-11-22 23:38:08 UTC
;     TOC Entries: 9
;
219; 1259 16384 TABLE public t postgres
220; 1259 16385 TABLE public odd 2566; 0 16399 TABLE DATA name postgres
221; 1259 16386 TABLE ATTACH public p postgres
2566; 0 16384 TABLE DATA public t postgres
"""


def test_a_listing_with_everything_is_accepted() -> None:
    check_listing(LISTING, archive="a", defined=[relation(16384, "t"), relation(16385, "odd")])
    check_listing(LISTING, archive="a", loaded=[relation(16384, "t")])


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ({"defined": [relation(16386, "p")]}, "table public.p"),
        ({"loaded": [relation(16385, "odd")]}, "rows of public.odd"),
        ({"loaded": [relation(16399, "name")]}, "rows of public.name"),
    ],
)
def test_what_a_listing_lacks_is_named(arguments: dict[str, list[Relation]], missing: str) -> None:
    with pytest.raises(ToolError, match=missing):
        check_listing(LISTING, archive="a", **arguments)  # type: ignore[arg-type]


def test_an_archive_of_rows_holds_nothing_else() -> None:
    with pytest.raises(ToolError, match="more than rows"):
        check_listing(LISTING, archive="a", loaded=[relation(16384, "t")], nothing_else=True)


def test_warnings_of_circular_keys_are_harmless_and_others_are_not() -> None:
    words = [
        "pg_dump: warning: there are circular foreign-key constraints on this table:",
        "pg_dump: detail: t",
        "pg_dump: hint: You might not be able to restore the dump.",
        "pg_dump: warning: something else",
        "pg_dump: detail: of it",
    ]
    assert list(warnings_of(words)) == words[3:]
