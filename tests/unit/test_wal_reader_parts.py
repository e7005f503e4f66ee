"""The parts of the log's reader that are pure: checksums, page images, judgement, names."""

from __future__ import annotations

import random
import struct
from datetime import UTC, datetime

import numpy
import pytest
import zstandard

from edurise_backup.model.wal import Segment, Timeline
from edurise_backup.postgres.wal.checksums import checksums
from edurise_backup.postgres.wal.decoding import Image, decode, unpack_pglz
from edurise_backup.postgres.wal.facts import Event, EventKind, File, RelationChange
from edurise_backup.postgres.wal.judging import Commit, judge
from edurise_backup.postgres.wal.naming import FileName, FileNames
from edurise_backup.postgres.wal.reader import SegmentReader
from edurise_backup.postgres.wal.records import read_records
from edurise_backup.postgres.wal.telling import name_events
from edurise_backup.postgres.wal.transactions import OpenTransaction, RowWritten, parse_ending, precedes
from tests.support.wal import SIZE
from tests.support.wal_writer import LogWriter, crc32c

NOW = datetime(2026, 3, 1, 14, 3, 7, tzinfo=UTC)
SEGMENT = Segment(Timeline(1), 3)


# checksums


def test_the_reference_checksum_is_crc_32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_checksums_of_records_of_every_length_are_right() -> None:
    noise = random.Random(4)
    lengths = [*range(24, 60), 535, 536, 537, 1048, 1049, 2400, 9001]
    stream, starts = bytearray(), []
    for length in lengths:
        starts.append(len(stream))
        stream += noise.randbytes(length) + bytes(-length % 8)
    found = checksums(
        numpy.frombuffer(bytes(stream) + bytes(64), numpy.uint8), numpy.array(starts), numpy.array(lengths)
    )
    records = [bytes(stream[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
    assert found.tolist() == [crc32c(record[24:] + record[:20]) for record in records]


# page images


def test_a_page_image_gets_its_hole_back() -> None:
    image = Image(flags=0x01, hole_begin=100, hole_length=8192 - 150, content=b"a" * 100 + b"b" * 50)
    assert image.page() == b"a" * 100 + bytes(8192 - 150) + b"b" * 50


def test_a_compressed_page_image_is_unpacked_or_unknown() -> None:
    page = b"page" * 2048
    packed = zstandard.ZstdCompressor().compress(page)
    assert Image(0x10, 0, 0, packed).page() == page
    assert Image(0x10, 0, 0, b"no zstd").page() is None
    assert Image(0x08, 0, 0, packed).page() is None  # LZ4 has no reader here


def test_pglz_repeats_what_its_tags_name() -> None:
    assert unpack_pglz(bytes([0b0001_0000]) + b"abcd" + bytes([0x0F, 4, 10]), 32) == b"abcd" * 8
    assert unpack_pglz(bytes([0b0000_0001, 0x00, 9]), 3) is None
    assert unpack_pglz(b"\0ab", 3) is None


@pytest.mark.parametrize(("major", "told"), [(14, 0x03), (15, 0x05), (18, 0x05)])
def test_the_bit_of_a_compressed_image_is_that_of_its_release(major: int, told: int) -> None:
    writer = LogWriter(SEGMENT, major=major)
    reference = struct.pack("<BBHHHBH", 0, 0x10, 0, 20, 100, told, 8000)
    place = struct.pack("<IIII", 1663, 5, 16384, 77)
    writer.record(kind=0, info=0xB0, raw=reference + place + b"i" * 20)
    records = read_records(writer.segment(), SEGMENT, size=SIZE, unfinished=True).records
    block = decode(records, 0).blocks[0]
    assert (block.file, block.number) == (File(1663, 5, 16384), 77)
    assert block.image == Image(0x05, 100, 8000, b"i" * 20)


# ends of transactions


@pytest.mark.parametrize(("major", "item"), [(15, 12), (17, 12), (18, 16)])
def test_a_commit_is_read_past_what_its_release_keeps_of_statistics(major: int, item: int) -> None:
    main = struct.pack("<qI", 1, 1 | 2 | 4 | 256 | 8 | 16)
    main += struct.pack("<II", 5, 1663) + struct.pack("<III", 2, 71, 72) + struct.pack("<IIII", 1, 1663, 5, 16384)
    main += struct.pack("<I", 2) + bytes(2 * item) + struct.pack("<I", 1) + bytes(16) + struct.pack("<I", 70)
    ending = parse_ending(main, 0, 0xB0, major)
    assert (ending.xid, ending.children, ending.files) == (70, (71, 72), (File(1663, 5, 16384),))


def test_a_list_longer_than_its_record_is_refused() -> None:
    with pytest.raises(struct.error):
        parse_ending(struct.pack("<qII", 1, 2, 4_000_000_000), 7, 0x80, 15)


def test_transactions_that_a_crash_left_open_are_forgotten_once_they_do_not_run() -> None:
    writer = LogWriter(SEGMENT)
    delete = struct.pack("<BBHIIII", 0, 0, 0, 1663, 5, 16384, 0) + bytes([255, 8]) + bytes(8)
    writer.record(kind=10, info=0x10, xid=900, raw=delete)
    writer.record(kind=8, info=0x10, body=struct.pack("<iiIIII", 0, 0, 0, 901, 901, 900))
    commit = struct.pack("<q", 1_000_000)
    writer.record(kind=1, info=0, xid=900, body=commit)  # cannot be, unless the number began anew
    facts = SegmentReader(size=SIZE, threshold=1).read(SEGMENT, writer.segment(), partial=True)
    assert (facts.commits, facts.events) == (1, ())


@pytest.mark.parametrize(("major", "dropped"), [(14, 0x10), (15, 0x20), (17, 0x20)])
def test_a_dropped_database_is_told_in_the_words_of_its_release(major: int, dropped: int) -> None:
    writer = LogWriter(SEGMENT, major=major)
    writer.record(kind=4, info=dropped, xid=900, body=struct.pack("<III", 17000, 1, 1663))
    writer.record(kind=4, info=0, xid=901, body=struct.pack("<IIII", 17001, 1663, 1, 1663))
    for xid in (900, 901):
        writer.record(kind=1, xid=xid, body=struct.pack("<q", 1_000_000))
    facts = SegmentReader(size=SIZE).read(SEGMENT, writer.segment(), partial=True)
    assert [(event.kind.value, event.database) for event in facts.events] == [
        ("drop database", 17000),
        ("create database", 17001),
    ]
    assert facts.latest == datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC)


def test_numbers_of_transactions_begin_anew() -> None:
    assert precedes(7, 8)
    assert precedes(4_294_967_290, 3)
    assert not precedes(3, 4_294_967_290)


# judgement


def _row(how: str, oid: int, number: int, *, kind: str = "r", name: str = "t", was: int = 0) -> RowWritten:
    return RowWritten(how, 5, oid, name, 2200, number, 0, kind, was)


def _file(number: int, tablespace: int = 1663) -> File:
    return File(tablespace, 5, number)


def _judged(did: OpenTransaction, *dropped: int) -> list[tuple[str, int, bool]]:
    commit = Commit(70, NOW, 1000, 1040, tuple(_file(number) for number in dropped))
    return [
        (event.kind.value, event.file.number if event.file else 0, event.certain)
        for event in judge(commit, did, threshold=1000)
    ]


def test_a_file_that_nothing_came_for_was_dropped() -> None:
    assert _judged(OpenTransaction(), 20000, 20001) == [("drop", 20000, True), ("drop", 20001, True)]


def test_what_came_and_went_in_one_transaction_is_nothing() -> None:
    assert _judged(OpenTransaction(created=[_file(20000)]), 20000) == []


def test_a_file_that_another_came_for_is_rewritten_and_uncertain_when_the_log_shows_no_row() -> None:
    assert _judged(OpenTransaction(created=[_file(20009)]), 20000) == [("rewritten", 20000, False)]


def test_a_row_that_got_a_new_file_is_a_truncate() -> None:
    did = OpenTransaction(created=[_file(20009)], rows=[_row("update", 16400, 20009)])
    assert _judged(did, 20000) == [("truncate", 20000, True)]


def test_a_table_that_moved_to_another_tablespace_is_rewritten() -> None:
    did = OpenTransaction(created=[_file(20009, 16999)], rows=[_row("update", 16400, 20009, was=20000)])
    assert _judged(did, 20000) == [("rewritten", 20000, True)]


def test_an_index_that_got_a_new_file_is_not_told() -> None:
    did = OpenTransaction(created=[_file(20009)], rows=[_row("update", 16400, 20009, kind="i", was=20000)])
    assert _judged(did, 20000) == []


def test_a_dropped_table_takes_its_parts_with_it() -> None:
    parts = [("r", 20000), ("t", 20001), ("i", 20002), ("S", 20003)]
    rows = [_row("delete", 16400 + step, number, kind=kind) for step, (kind, number) in enumerate(parts)]
    assert _judged(OpenTransaction(rows=rows), 20000, 20001, 20002, 20003) == [("drop", 20000, True)]


def test_a_drop_beside_a_truncate_is_told_apart() -> None:
    rows = [_row("update", 16400, 20009, was=20000), _row("delete", 16401, 20005)]
    did = OpenTransaction(created=[_file(20009)], rows=rows)
    assert _judged(did, 20000, 20005) == [("truncate", 20000, True), ("drop", 20005, True)]


# names


def _name(number: int, name: str, *, oid: int = 16400, kind: str = "r", owner: int = 0) -> FileName:
    return FileName(
        database=5,
        number=number,
        tablespace=1663,
        oid=oid,
        namespace=2200,
        schema="public",
        name=name,
        kind=kind,
        owner=owner,
    )


def _event(kind: EventKind, number: int, *, rows: int = 0, certain: bool = True) -> Event:
    return Event(
        kind=kind,
        xid=81234,
        time=NOW,
        commit_lsn=1000,
        commit_end=1040,
        database=5,
        file=_file(number),
        rows=rows,
        certain=certain,
    )


def test_a_file_has_the_name_of_its_time() -> None:
    names = FileNames()
    names.add([_name(20000, "old")], 100)
    names.add([_name(20000, "new")], 200)
    found = [names.name(5, 20000, lsn) for lsn in (50, 150, 200, 900)]
    assert [name.name if name else "" for name in found] == ["old", "old", "new", "new"]
    assert names.name(6, 20000, 150) is None


def test_the_log_corrects_what_a_sample_said() -> None:
    names = FileNames()
    names.add([_name(20000, "grades")], 100)
    change = RelationChange(
        database=5, oid=16400, name="marks", namespace=2200, number=20009, tablespace=0, kind="r", lsn=300
    )
    names.correct([change])
    assert [str(names.name(5, number, 400)) for number in (20000, 20009)] == ["public.grades", "public.marks"]


def test_names_that_no_longer_hold_can_be_forgotten() -> None:
    names = FileNames()
    for lsn, name in ((100, "a"), (200, "b"), (300, "c")):
        names.add([_name(20000, name)], lsn)
    names.forget(250)
    assert [(lsn, name.name) for lsn, name in names.entries()] == [(200, "b"), (300, "c")]


def test_an_event_is_told_for_the_table_and_not_for_its_parts() -> None:
    names = FileNames()
    names.add(
        [
            _name(20000, "submissions"),
            _name(20001, "submissions_pkey", oid=16401, kind="i", owner=16400),
            _name(20002, "submissions_id_seq", oid=16402, kind="S", owner=16400),
        ],
        100,
    )
    events = [_event(EventKind.DROP, number) for number in (20001, 20000, 20002)]
    assert [named.text for named in name_events(events, names)] == ["DROP TABLE public.submissions"]


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (_event(EventKind.TRUNCATE, 20000), "TRUNCATE public.grades"),
        (_event(EventKind.BULK_DELETE, 20000, rows=1500), "DELETE of 1,500 rows from public.grades"),
        (_event(EventKind.BULK_UPDATE, 20000, rows=1500), "UPDATE of 1,500 rows of public.grades"),
        (_event(EventKind.REWRITTEN, 20000, certain=False), "public.grades was dropped, emptied or rewritten"),
        (_event(EventKind.DROP, 20007), "DROP of relation with file 1663/5/20007"),
        (_event(EventKind.TRUNCATE, 20007), "TRUNCATE relation with file 1663/5/20007"),
    ],
)
def test_an_event_reads_like_what_was_done(event: Event, text: str) -> None:
    names = FileNames()
    names.add([_name(20000, "grades")], 100)
    assert [named.text for named in name_events([event], names)] == [text]


def test_a_database_has_the_name_that_is_given() -> None:
    event = Event(kind=EventKind.DROP_DATABASE, xid=7, time=NOW, commit_lsn=1, commit_end=2, database=17000)
    (named,) = name_events([event], FileNames(), databases={17000: "moodle"})
    assert named.text == "DROP DATABASE moodle"
