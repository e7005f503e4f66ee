"""Trees, names and times: what is written is what is read, for any input."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from edurise_backup.errors import BackupError
from edurise_backup.model.content import (
    ExtendedAttribute,
    Node,
    decode_tree,
    encode_tree,
    name_bytes,
    nanoseconds,
    quote_name,
    rfc3339,
    unquote_name,
)
from edurise_backup.model.snapshot import Snapshot, decode_snapshot, encode_snapshot

NAME_BYTES = st.binary(min_size=1, max_size=40).filter(lambda raw: b"/" not in raw and b"\0" not in raw)
NAMES = NAME_BYTES.map(lambda raw: raw.decode("utf-8", "surrogateescape")) | st.text(
    st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=40
)
NAMES = NAMES.filter(lambda name: name not in (".", ".."))
YEARS_1_TO_9999 = st.integers(-62_135_596_800 * 10**9, 253_402_300_800 * 10**9 - 1)
TIMES = YEARS_1_TO_9999.map(rfc3339)
IDS = st.binary(min_size=32, max_size=32).map(bytes.hex)
U64 = st.integers(0, 2**63)
EARLY, LATE = datetime(1, 1, 2), datetime(9999, 12, 30)  # noqa: DTZ001  hypothesis wants them naive
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@st.composite
def nodes(draw: st.DrawFn, name: str) -> Node:
    """Draw one node of any kind."""
    kind = draw(st.sampled_from(["file", "dir", "symlink", "dev", "chardev", "fifo"]))
    return Node(
        name=name,
        type=kind,
        mode=draw(st.integers(0, 2**32 - 1)),
        mtime=draw(TIMES),
        atime=draw(TIMES),
        ctime=draw(TIMES),
        uid=draw(st.integers(0, 2**32 - 1)),
        gid=draw(st.integers(0, 2**32 - 1)),
        user=draw(TEXT),
        group=draw(TEXT),
        inode=draw(U64),
        device_id=draw(U64),
        size=draw(st.integers(0, 2**62)),
        links=draw(U64),
        linktarget=draw(TEXT),
        linktarget_raw=draw(st.none() | st.binary(min_size=1, max_size=20)),
        extended_attributes=draw(st.lists(st.builds(ExtendedAttribute, TEXT, st.binary(max_size=20)), max_size=3)),
        device=draw(U64),
        content=draw(st.lists(IDS, max_size=3)) if kind == "file" else None,
        subtree=draw(IDS) if kind == "dir" else None,
    )


@given(NAMES)
@example("\\x41")
@example("\udcff\udc80")
@example("\ufffd")
@example("\\")
def test_unquoting_undoes_quoting(name: str) -> None:
    quoted = quote_name(name)
    assert unquote_name(quoted) == name
    quoted.encode()  # what goes into JSON is Unicode, whatever the name's bytes


@given(st.data(), st.lists(NAMES, max_size=6, unique_by=name_bytes))
def test_decoding_undoes_encoding_a_tree(data: st.DataObject, names: list[str]) -> None:
    tree = [data.draw(nodes(name)) for name in sorted(names, key=name_bytes)]
    plaintext = encode_tree(tree)
    assert decode_tree(plaintext) == tree
    assert encode_tree(decode_tree(plaintext)) == plaintext


@given(st.lists(NAMES, min_size=2, max_size=4, unique_by=name_bytes))
def test_a_tree_out_of_order_is_never_written(names: list[str]) -> None:
    tree = [
        Node(name=name, type="fifo", mtime=rfc3339(0), atime=rfc3339(0), ctime=rfc3339(0), uid=0, gid=0, content=None)
        for name in sorted(names, key=name_bytes, reverse=True)
    ]
    with pytest.raises(ValueError, match="out of order"):
        encode_tree(tree)


@given(YEARS_1_TO_9999)
@example(-1)
@example(0)
@example(10**9 - 1)
@example(253_402_300_799_999_999_999)
def test_reading_undoes_writing_a_time(moment: int) -> None:
    assert nanoseconds(rfc3339(moment)) == moment


@given(st.datetimes(EARLY, LATE), st.integers(-14 * 60, 14 * 60))
def test_a_time_means_the_same_in_every_zone(moment: datetime, minutes: int) -> None:
    elsewhere = moment.replace(tzinfo=UTC).astimezone(timezone(timedelta(minutes=minutes)))
    assert nanoseconds(elsewhere.isoformat()) == nanoseconds(rfc3339(nanoseconds(moment.isoformat() + "Z")))


@given(st.integers(-(10**30), 10**30))
def test_a_time_beyond_the_format_is_moved_to_its_end_not_refused(moment: int) -> None:
    nanoseconds(rfc3339(moment))


@given(
    st.builds(
        Snapshot, time=TIMES, tree=IDS, paths=st.lists(TEXT, max_size=3), tags=st.none() | st.lists(TEXT, min_size=1)
    )
)
def test_decoding_undoes_encoding_a_snapshot(snapshot: Snapshot) -> None:
    assert decode_snapshot(encode_snapshot(snapshot)) == snapshot


# Bytes from anywhere

MUTATED_TREE = encode_tree(
    [
        Node(
            name=name,
            type="file",
            mtime=rfc3339(1),
            atime=rfc3339(2),
            ctime=rfc3339(3),
            uid=1,
            gid=2,
            linktarget_raw=b"raw",
            extended_attributes=[ExtendedAttribute("user.a", b"value")],
            content=["ab" * 32],
            subtree="cd" * 32,
        )
        for name in ("a", "b\udcff\n")
    ]
)


@st.composite
def mutated(draw: st.DrawFn, original: bytes) -> bytes:
    """Draw bytes near `original`: some replaced, removed, repeated."""
    content = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        end = min(len(content), at + draw(st.integers(0, 6)))
        content[at:end] = draw(
            st.binary(max_size=6) | st.sampled_from([b"-1", b"1e400", b"null", b'"', b"\\u", b"\\U"])
        )
    return bytes(content)


@settings(max_examples=500)
@given(st.binary(max_size=200) | mutated(MUTATED_TREE))
@example(MUTATED_TREE.replace(b"b\\\\xff", b"\\\\Uffffffff"))
@example(MUTATED_TREE.replace(b'"uid":1', b'"uid":-1'))
@example(MUTATED_TREE.replace(b'"uid":1', b'"uid":99999999999999999999'))
@example(MUTATED_TREE.replace(b"ab" * 32, b"zz" * 32))
@example(MUTATED_TREE.replace(b"cd" * 32, b"cd"))
def test_bytes_that_are_no_tree_are_damage(content: bytes) -> None:
    try:
        found = decode_tree(content)
    except BackupError:
        return
    for node in found:  # what a reader relies on holds
        assert "/" not in node.name
        assert all(len(bytes.fromhex(name)) == 32 for name in (*(node.content or ()), node.subtree or "00" * 32))
        assert 0 <= node.uid < 2**32


@settings(max_examples=300)
@given(st.binary(max_size=100) | mutated(encode_snapshot(Snapshot(time=rfc3339(5), tree="ab" * 32, paths=["/a"]))))
def test_bytes_that_are_no_snapshot_are_damage(content: bytes) -> None:
    try:
        found = decode_snapshot(content)
    except BackupError:
        return
    assert len(bytes.fromhex(found.tree)) == 32
