"""What our reader tells of the log of real servers, beside what pg_waldump and the server itself say."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from edurise_backup.errors import DamageError
from edurise_backup.model.wal import parse_lsn, segment_at
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.session import Connection
from edurise_backup.postgres.wal.facts import Event, EventKind, SegmentFacts
from edurise_backup.postgres.wal.naming import FileNames, log_position, sample
from edurise_backup.postgres.wal.pages import check_segment
from edurise_backup.postgres.wal.reader import SegmentReader
from edurise_backup.postgres.wal.records import Tail, read_records
from edurise_backup.postgres.wal.telling import name_events
from tests.support.wal import MANAGERS, SIZE, Dumped, File, dump, make_server, segments_of

_TABLES = """
    CREATE TABLE {0}.submissions (id serial PRIMARY KEY, body text);
    CREATE TABLE {0}.enrolments (id int PRIMARY KEY, body text);
    CREATE TABLE {0}.courses (id int PRIMARY KEY, body text);
    CREATE TABLE {0}.lessons (id int PRIMARY KEY, body text);
    CREATE TABLE {0}.grades (id int PRIMARY KEY, mark int);
    CREATE TABLE {0}.essays (id int PRIMARY KEY, body text);
    ALTER TABLE {0}.essays ALTER body SET STORAGE EXTERNAL;
    CREATE TABLE {0}.events (id int, term int) PARTITION BY LIST (term);
    CREATE TABLE {0}.spring PARTITION OF {0}.events FOR VALUES IN (1);
    CREATE TABLE {0}.autumn PARTITION OF {0}.events FOR VALUES IN (2);
    INSERT INTO {0}.submissions (body) SELECT repeat('s', 50) FROM generate_series(1, 200);
    INSERT INTO {0}.enrolments SELECT i, 'e' FROM generate_series(1, 200) i;
    INSERT INTO {0}.courses SELECT i, 'c' FROM generate_series(1, 200) i;
    INSERT INTO {0}.lessons SELECT i, 'l' FROM generate_series(1, 200) i;
    INSERT INTO {0}.grades SELECT i, 0 FROM generate_series(1, 20000) i;
    INSERT INTO {0}.essays SELECT i, repeat('e', 2100) FROM generate_series(1, 1100) i;
    INSERT INTO {0}.events SELECT i, 1 FROM generate_series(1, 1500) i;
    CREATE MATERIALIZED VIEW {0}.averages AS SELECT avg(mark) FROM {0}.grades
"""
_DEEDS = {
    "drop": "DROP TABLE school.submissions",
    "truncate": "TRUNCATE school.enrolments",
    "truncate and fill": "TRUNCATE school.lessons; INSERT INTO school.lessons VALUES (1, 'new'), (2, 'new')",
    "alter": "ALTER TABLE school.courses ALTER COLUMN id TYPE bigint",
    "refresh": "REFRESH MATERIALIZED VIEW school.averages",
    "delete": "DELETE FROM school.grades WHERE id <= 1500",
    "delete in parts": """
        SAVEPOINT a; DELETE FROM school.grades WHERE id BETWEEN 2001 AND 2500; RELEASE a;
        SAVEPOINT b; DELETE FROM school.grades WHERE id BETWEEN 2501 AND 3000; RELEASE b;
        DELETE FROM school.grades WHERE id BETWEEN 3001 AND 3200""",
    "delete taken back in part": """
        DELETE FROM school.grades WHERE id BETWEEN 4001 AND 4500;
        SAVEPOINT a; DELETE FROM school.grades WHERE id BETWEEN 4501 AND 6000; ROLLBACK TO a""",
    "update": "UPDATE school.grades SET mark = 1 WHERE id BETWEEN 7001 AND 8200",
    "delete toasted": "DELETE FROM school.essays",
    "unlink": "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
    "few": "DELETE FROM school.grades WHERE id BETWEEN 9001 AND 9100",
    "move": "UPDATE school.events SET term = 2",
    "drop schema": "DROP SCHEMA old CASCADE",
    "large": "SELECT pg_logical_emit_message(true, 'large', repeat('y', 3500000))",
}
_LONE = {
    "vacuum full": "VACUUM FULL school.grades",
    "vacuum full with toast": "VACUUM FULL school.essays",
    "reindex": "REINDEX TABLE school.grades",
    "vacuum the catalog": "VACUUM FULL pg_class",
    "checkpoint": "CHECKPOINT",
    "create database": "CREATE DATABASE branch",
    "drop database": "DROP DATABASE branch",
}
_SETTINGS = {
    "fsync": "off",
    "wal_keep_size": "1GB",
    "max_prepared_transactions": "10",
    "max_connections": "37",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
}


@dataclass
class Log:
    """A log, and what its server was asked to do."""

    major: int
    system_identifier: int
    files: list[File]
    dumped: list[Dumped]
    names: FileNames
    database: int
    xids: dict[str, int] = field(default_factory=dict)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    end: int = 0
    facts: list[SegmentFacts] = field(default_factory=list)

    @property
    def whole(self) -> list[File]:
        """Return all segments but the last, which is still written to."""
        return self.files[:-1]


@pytest.fixture(
    scope="module",
    params=[(15, "zstd", "replica"), (16, "pglz", "replica"), (18, "off", "replica"), (18, "off", "logical")],
    ids=lambda param: "-".join(map(str, param)),
)
def log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """Yield the log of a server that did all of `_DEEDS`."""
    major, compression, level = request.param
    settings = _SETTINGS | {"wal_compression": compression, "wal_level": level}
    directory = tmp_path_factory.mktemp(f"wal{major}")
    began = datetime.now(UTC)
    server = make_server(directory / "data", major, settings)
    with server:
        log = _lived(server.address)
        log.major, log.began = major, began
        last = segment_at(1, log.end, SIZE).number
        log.files = [file for file in segments_of(server) if file.segment.number <= last]
    log.dumped = [record for record in dump(server, log.files, directory) if record.lsn < log.end]
    log.facts = _read(log)
    yield log


def _lived(address: Address) -> Log:
    with connect(address, autocommit=True) as connection:
        for schema in ("school", "old"):
            connection.execute(f"CREATE SCHEMA {schema}")
            connection.execute(_TABLES.format(schema))
        connection.execute("SELECT lo_from_bytea(0, 'recording') FROM generate_series(1, 1000)")
        connection.execute("CHECKPOINT")
        names = FileNames()
        position = log_position(connection)
        names.add(sample(connection), position)
        (identifier, database) = connection.execute(
            "SELECT system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()) "
            "FROM pg_control_system()"
        ).fetchone() or (0, 0)
        log = Log(0, int(str(identifier)), [], [], names, int(str(database)))
        log.xids = {name: _transaction(connection, deed) for name, deed in _DEEDS.items()}
        log.xids["prepared"] = _prepared(connection)
        _transaction(connection, "DELETE FROM school.grades WHERE id > 15000", end="ROLLBACK")
        for deed in _LONE.values():
            connection.execute(deed.encode())
        log.xids["truncate later"] = _transaction(connection, "TRUNCATE school.lessons")
        _switch_full_page_writes_off(connection)
        connection.execute("SELECT pg_create_restore_point('before the exam')")
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CREATE TABLE school.later (id int)")
        log.end = parse_lsn(str((connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone() or ("",))[0]))
    return log


def _switch_full_page_writes_off(connection: Connection) -> None:
    connection.execute("ALTER SYSTEM SET full_page_writes = off")
    connection.execute("SELECT pg_reload_conf()")
    for _ in range(1000):  # the checkpointer hears of it when the postmaster tells it
        connection.execute("CHECKPOINT")
        if connection.execute("SELECT full_page_writes FROM pg_control_checkpoint()").fetchone() == (False,):
            return
    raise AssertionError("the server did not take the setting")


def _transaction(connection: Connection, deed: str, *, end: str = "COMMIT") -> int:
    connection.execute("BEGIN")
    row = connection.execute("SELECT pg_current_xact_id()::text").fetchone()
    connection.execute(deed.encode())
    connection.execute(end.encode())
    assert row is not None
    return int(str(row[0]))


def _prepared(connection: Connection) -> int:
    xid = _transaction(
        connection, "DELETE FROM school.grades WHERE id BETWEEN 10001 AND 11100", end="PREPARE TRANSACTION 'exam'"
    )
    connection.execute("DELETE FROM school.grades WHERE id = 9999")
    connection.execute("COMMIT PREPARED 'exam'")
    return xid


def _read(log: Log) -> list[SegmentFacts]:
    reader = SegmentReader(size=SIZE, system_identifier=log.system_identifier)
    return [reader.read(file.segment, file.content, partial=file is log.files[-1]) for file in log.files]


def _events(log: Log) -> list[Event]:
    return [event for facts in log.facts for event in facts.events]


def _told(log: Log, deed: str) -> list[tuple[str, str, int]]:
    events = [event for event in _events(log) if event.xid == log.xids[deed]]
    return [(named.event.kind, str(named.name), named.event.rows) for named in name_events(events, log.names)]


def test_every_record_is_the_one_that_pg_waldump_shows(log: Log) -> None:
    ours: list[tuple[int, int, str, int]] = []
    tail: Tail | None = None
    for file in log.files:
        unfinished = file is log.files[-1]
        reading = read_records(file.content, file.segment, size=SIZE, unfinished=unfinished, tail=tail)
        records, tail = reading.records, reading.tail
        columns = (records.lsns, records.xids, records.kinds, records.lengths)
        ours += [
            (lsn, xid, MANAGERS[kind], length)
            for lsn, xid, kind, length in zip(*(column.tolist() for column in columns), strict=True)
            if lsn < log.end
        ]
    assert len(ours) > 10_000
    assert ours == [(record.lsn, record.xid, record.manager, record.length) for record in log.dumped]


def test_records_run_over_the_ends_of_several_segments(log: Log) -> None:
    large = next(record for record in log.dumped if record.length > 3_000_000)
    facts = [facts for facts in log.facts if facts.segment.start(SIZE) > large.lsn]
    assert [one.records for one in facts[:2]] == [0, 0]
    assert next(one.first_lsn for one in facts if one.records) == large.lsn
    assert all(one.follows for one in facts)


def test_ends_of_transactions_are_counted_and_dated(log: Log) -> None:
    facts = log.facts
    deeds = [record.deed for record in log.dumped if record.manager == "Transaction"]
    assert sum(one.commits for one in facts) == sum(deed in ("COMMIT", "COMMIT_PREPARED") for deed in deeds)
    assert sum(one.aborts for one in facts) == sum(deed in ("ABORT", "ABORT_PREPARED") for deed in deeds)
    times = [time for one in facts for time in (one.earliest, one.latest) if time is not None]
    assert log.began - timedelta(seconds=1) <= min(times) <= max(times) <= datetime.now(UTC)
    assert all(sum(count for _, count in one.commits_per_second) == one.commits for one in facts)


def test_a_commit_is_where_the_server_wrote_it(log: Log) -> None:
    commits = {record.xid: record.lsn for record in log.dumped if record.deed == "COMMIT"}
    followers = {a.lsn: b.lsn for a, b in zip(log.dumped, log.dumped[1:], strict=False)}
    event = next(event for event in _events(log) if event.xid == log.xids["drop"])
    assert event.commit_lsn == commits[event.xid]
    assert 0 <= followers[event.commit_lsn] - event.commit_end <= 40  # at most a page header lies between


@pytest.mark.parametrize(
    ("deed", "kind", "name", "rows"),
    [
        ("drop", EventKind.DROP, "school.submissions", 0),
        ("truncate", EventKind.TRUNCATE, "school.enrolments", 0),
        ("truncate and fill", EventKind.TRUNCATE, "school.lessons", 0),
        ("alter", EventKind.REWRITTEN, "school.courses", 0),
        ("refresh", EventKind.REWRITTEN, "school.averages", 0),
        ("delete", EventKind.BULK_DELETE, "school.grades", 1500),
        ("delete in parts", EventKind.BULK_DELETE, "school.grades", 1200),
        ("update", EventKind.BULK_UPDATE, "school.grades", 1200),
        ("delete toasted", EventKind.BULK_DELETE, "school.essays", 1100),
        ("unlink", EventKind.BULK_DELETE, "pg_catalog.pg_largeobject", 1000),
        ("truncate later", EventKind.TRUNCATE, "school.lessons", 0),
        ("move", EventKind.BULK_UPDATE, "school.spring", 1500),
        ("prepared", EventKind.BULK_DELETE, "school.grades", 1100),
    ],
)
def test_a_dangerous_transaction_is_told_by_name(log: Log, deed: str, kind: str, name: str, rows: int) -> None:
    assert _told(log, deed) == [(kind, name, rows)]


@pytest.mark.parametrize("deed", ["few", "large", "delete taken back in part"])
def test_a_harmless_transaction_is_not_told(log: Log, deed: str) -> None:
    assert _told(log, deed) == []


def test_a_dropped_schema_is_its_tables(log: Log) -> None:
    tables = ("autumn", "averages", "courses", "enrolments", "essays", "grades", "lessons", "spring", "submissions")
    assert sorted(_told(log, "drop schema")) == [("drop", f"old.{name}", 0) for name in tables]


def test_the_log_alone_names_relations(log: Log) -> None:
    events = [event for event in _events(log) if event.xid == log.xids["drop schema"]]
    assert {event.name for event in events} >= {"grades", "submissions", "averages"}
    assert all(event.certain for event in events)
    names = FileNames()
    for facts in log.facts:
        names.correct(facts.relations)
    event = next(event for event in _events(log) if event.kind is EventKind.BULK_DELETE)
    assert event.file is not None
    found = names.name(event.file.database, event.file.number, event.commit_lsn)
    assert found is not None
    assert found.name == "grades"


def test_a_vacuum_full_is_a_rewrite_and_a_reindex_is_nothing(log: Log) -> None:
    events = name_events(_events(log), log.names)
    rewritten = [str(named.name) for named in events if named.event.kind is EventKind.REWRITTEN]
    assert rewritten == ["school.courses", "school.averages", "school.grades", "school.essays"]


def test_the_log_alone_tells_one_event_for_a_table_that_was_rewritten_with_all_its_parts(log: Log) -> None:
    rewritten = [(event.name, event.certain) for event in _events(log) if event.kind is EventKind.REWRITTEN]
    assert rewritten == [(name, True) for name in ("courses", "averages", "grades", "essays")]


def test_databases_that_come_and_go_are_told(log: Log) -> None:
    events = [event for event in _events(log) if event.file is None and event.database >= 16384]
    assert [event.kind for event in events] == [EventKind.CREATE_DATABASE, EventKind.DROP_DATABASE]
    assert events[0].database == events[1].database


def test_what_happened_to_the_cluster_is_told(log: Log) -> None:
    facts = log.facts
    (point,) = [point for one in facts for point in one.restore_points]
    assert point.name == "before the exam"
    assert point.lsn == next(record.lsn for record in log.dumped if record.deed == "RESTORE_POINT")
    assert [one.switched for one in facts].count(True) == 1


def test_facts_can_be_kept_as_json(log: Log) -> None:
    kept = msgspec.json.encode(log.facts)
    assert msgspec.json.decode(kept, type=list[SegmentFacts]) == log.facts


def test_a_segment_that_grows_is_told_as_far_as_it_is_written(log: Log) -> None:
    whole = log.facts
    reader = SegmentReader(size=SIZE, system_identifier=log.system_identifier)
    for file, expected in zip(log.whole, whole[:-1], strict=True):
        for part in (0, 1000, SIZE // 3, SIZE // 2 + 12345):
            grown = file.content[:part] + bytes(SIZE - part)
            facts = reader.read(file.segment, grown, partial=True)
            assert facts.end_lsn <= max(expected.end_lsn, file.segment.start(SIZE) + part)
            assert facts.events == expected.events[: len(facts.events)]
        assert reader.read(file.segment, file.content, partial=False) == expected


def test_a_reader_that_was_kept_goes_on(log: Log) -> None:
    reader = SegmentReader(size=SIZE, system_identifier=log.system_identifier)
    found = []
    for file in log.whole:
        found.append(reader.read(file.segment, file.content, partial=False))
        reader = SegmentReader.from_state(reader.to_state())
    assert found == log.facts[:-1]


def test_after_a_gap_it_begins_with_the_first_record_that_begins_there(log: Log) -> None:
    for first in range(len(log.whole)):
        reader = SegmentReader(size=SIZE)
        facts = [reader.read(file.segment, file.content, partial=False) for file in log.whole[first : first + 2]]
        assert not facts[0].follows
        starts = {record.lsn for record in log.dumped}
        assert all(one.first_lsn in starts for one in facts if one.records)


def test_a_changed_byte_is_damage(log: Log) -> None:
    file = log.whole[3]
    for place in (30, 5000, 8192 + 4, 300_001, SIZE - 5):
        changed = bytearray(file.content)
        changed[place] ^= 0x10
        reader = SegmentReader(size=SIZE, system_identifier=log.system_identifier)
        earlier = log.whole[:3]
        for one in earlier:
            reader.read(one.segment, one.content, partial=False)
        with pytest.raises(DamageError):
            facts = reader.read(file.segment, changed, partial=False)
            after = log.whole[4]  # the last bytes are of a record that only the next segment completes
            assert facts.end_lsn < file.segment.end(SIZE)
            reader.read(after.segment, after.content, partial=False)


def test_segments_are_taken_or_refused_with_a_reason(log: Log, tmp_path: Path) -> None:
    file = log.whole[1]
    name, identifier = file.segment.name(SIZE), log.system_identifier
    path = tmp_path / name
    path.write_bytes(file.content)
    assert check_segment(path, name, system_identifier=identifier, size=SIZE) is None
    refused = {
        "1000 bytes": (file.content[:1000], name, identifier),
        "zeros": (bytes(SIZE), name, identifier),
        "another cluster": (file.content, name, identifier + 1),
        "its name says": (file.content, log.whole[2].segment.name(SIZE), identifier),
        "magic number": (b"x" * SIZE, name, identifier),
        "not the name": (file.content, "backup_label", identifier),
    }
    for reason, (content, called, of) in refused.items():
        assert reason in str(check_segment(content, called, system_identifier=of, size=SIZE))
    earlier = "00000000" + name[8:]
    assert check_segment(file.content, earlier, system_identifier=identifier, size=SIZE) is not None


def test_a_promoted_server_goes_on_on_a_timeline_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    settings = _SETTINGS | {"restore_command": "false"}
    server = make_server(tmp_path_factory.mktemp("promoted") / "data", 16, settings)
    with server, connect(server.address, autocommit=True) as connection:
        connection.execute("CREATE TABLE grades AS SELECT generate_series(1, 20000) AS id")
    signal = server.data_directory / "recovery.signal"
    signal.touch()
    state = server.data_directory.stat()
    os.chown(signal, state.st_uid, state.st_gid)
    with server, connect(server.address, autocommit=True) as connection:
        connection.execute("DELETE FROM grades WHERE id > 18000")
        connection.execute("SELECT pg_create_restore_point('on the new timeline')")
        end = log_position(connection)
    files = segments_of(server)
    switch = min(file.segment.number for file in files if file.segment.timeline == 2)
    last = segment_at(2, end, SIZE).number
    old = [file for file in files if file.segment.timeline == 1 and file.segment.number <= switch]
    new = [file for file in files if file.segment.timeline == 2 and file.segment.number <= last]
    reader = SegmentReader(size=SIZE)
    before = [reader.read(file.segment, file.content, partial=file.segment.number == switch) for file in old]
    after = [reader.read(file.segment, file.content, partial=file.segment.number == last) for file in new]
    assert all(one.follows for one in (*before[1:], *after))
    assert [point.name for facts in after for point in facts.restore_points] == ["on the new timeline"]
    assert [event.rows for facts in after for event in facts.events if event.rows] == [2000]


def test_where_the_log_hides_the_rows_of_pg_class_a_guess_is_called_one(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = _SETTINGS | {"wal_compression": "lz4"}
    server = make_server(tmp_path_factory.mktemp("hidden") / "data", 15, settings)
    names, events = FileNames(), []
    with server, connect(server.address, autocommit=True) as connection:
        connection.execute("CREATE TABLE grades AS SELECT generate_series(1, 2000) AS id")
        connection.execute("CHECKPOINT")
        names.add(sample(connection), log_position(connection))
        connection.execute("TRUNCATE grades")
        connection.execute("DROP TABLE grades")
        last = segment_at(1, log_position(connection), SIZE).number
    reader = SegmentReader(size=SIZE)
    for file in segments_of(server):
        if file.segment.number <= last:
            events += reader.read(file.segment, file.content, partial=file.segment.number == last).events
    told = [(named.text, named.event.certain) for named in name_events(events, names) if named.event.file]
    assert told[0] == ("public.grades was dropped, emptied or rewritten", False)
    assert told[1][0].startswith("DROP ")
