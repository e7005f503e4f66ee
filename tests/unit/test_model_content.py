"""Nodes, modes, names and snapshot words: examples whose answer is known from stock restic."""

from __future__ import annotations

import os
import stat

import pytest

from edurise_backup.errors import AmbiguousError, DamageError, NotFoundError
from edurise_backup.model.content import (
    Node,
    blob_id,
    decode_tree,
    encode_tree,
    go_mode,
    nanoseconds,
    quote_name,
    rfc3339,
    unix_permissions,
    unquote_name,
)
from edurise_backup.model.snapshot import Snapshot, SnapshotId, choose_snapshot, decode_snapshot


def test_an_empty_tree_has_the_id_that_every_client_gives_it() -> None:
    assert encode_tree([]) == b'{"nodes":[]}\n'
    assert blob_id(b"").hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("plain name", "plain name"),
        ('say "hi"', '\\"hi\\"'.join(["say ", ""])),
        ("back\\slash", "back\\\\slash"),
        ("a\nb\tc\x07", "a\\nb\\tc\\a"),
        ("\x01\x7f", "\\x01\\x7f"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("é漢", "é漢"),
        ("\u00a0\u2028\ufeff", "\\u00a0\\u2028\\ufeff"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_names_are_quoted_as_go_quotes_them(name: str, quoted: str) -> None:
    assert quote_name(name) == quoted
    assert unquote_name(quoted) == name


def test_octal_escapes_are_understood_although_go_never_writes_them() -> None:
    assert unquote_name("\\101\\x41\\u0041\\U00000041") == "AAAA"


@pytest.mark.parametrize(
    "text", ["\\", "a\\", "\\q", "\\x4", "\\u12", "\\777", "\\ud800", "\\U00110000", "\\Uffffffff"]
)
def test_escapes_that_go_refuses_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unquote_name(text)


@pytest.mark.parametrize(
    ("mode", "kind", "bits"),
    [
        (stat.S_IFREG | 0o644, "file", 0o644),
        (stat.S_IFDIR | 0o755, "dir", 0o755 | 1 << 31),
        (stat.S_IFLNK | 0o777, "symlink", 0o777 | 1 << 27),
        (stat.S_IFREG | 0o4755, "file", 0o755 | 1 << 23),
        (stat.S_IFREG | 0o2755, "file", 0o755 | 1 << 22),
        (stat.S_IFDIR | 0o1777, "dir", 0o777 | 1 << 31 | 1 << 20),
        (stat.S_IFCHR | 0o600, "chardev", 0o600 | 1 << 26 | 1 << 21),
        (stat.S_IFIFO | 0o600, "fifo", 0o600 | 1 << 25),
    ],
)
def test_modes_are_gos(mode: int, kind: str, bits: int) -> None:
    assert go_mode(mode) == (kind, bits)
    assert unix_permissions(bits) == stat.S_IMODE(mode)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (1_500_000_000, "1970-01-01T00:00:01.5Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_700_000_000_120_000_000, "2023-11-14T22:13:20.12Z"),
    ],
)
def test_times_are_written_as_go_writes_them(moment: int, text: str) -> None:
    assert rfc3339(moment) == text
    assert nanoseconds(text) == moment


def test_times_of_other_zones_are_understood() -> None:
    assert nanoseconds("2024-01-01T01:00:00.25+01:00") == nanoseconds("2024-01-01T00:00:00.25Z")
    assert nanoseconds("0001-01-01T00:00:00Z") == nanoseconds("0000-01-01T00:00:00Z")


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        nanoseconds(text)


def test_five_characters_are_escaped_as_go_escapes_them_in_json() -> None:
    when = rfc3339(0)
    link = Node(
        name="<&>", type="symlink", mtime=when, atime=when, ctime=when, uid=0, gid=0, linktarget="\u2028&", content=None
    )
    plaintext = encode_tree([link])
    assert b"\\u003c\\u0026\\u003e" in plaintext
    assert b"\\u2028\\u0026" in plaintext
    assert decode_tree(plaintext) == [link]


# Words for snapshots

SHOTS = {
    SnapshotId(key * 64): Snapshot(time=time, tree="00" * 32, paths=["/"])
    for key, time in (("a", "2024-01-02T00:00:00Z"), ("b", "2024-01-01T00:00:00Z"))
}
SHOTS[SnapshotId("ab" + "c" * 62)] = Snapshot(time="2023-01-01T00:00:00Z", tree="00" * 32, paths=["/"])


def test_latest_is_the_newest_by_its_time() -> None:
    assert choose_snapshot("latest", SHOTS) == "a" * 64


def test_a_beginning_names_one_snapshot_in_any_case() -> None:
    assert choose_snapshot("B", SHOTS) == "b" * 64
    assert choose_snapshot("abc", SHOTS) == "ab" + "c" * 62


def test_a_beginning_of_two_is_ambiguous_and_the_answer_lists_them() -> None:
    with pytest.raises(AmbiguousError, match="names 2 snapshots: aaaaaaaaaaaa, abcccccccccc"):
        choose_snapshot("a", SHOTS)


@pytest.mark.parametrize("word", ["", "c", "latest2", os.sep])
def test_a_word_that_names_nothing_is_not_found(word: str) -> None:
    with pytest.raises(NotFoundError):
        choose_snapshot(word, SHOTS)


def test_an_empty_repository_has_no_latest() -> None:
    with pytest.raises(NotFoundError, match="holds no snapshot"):
        choose_snapshot("latest", {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"time":"now","tree":"' + b"0" * 64 + b'","paths":[]}',
        b'{"time":"1970-01-01T00:00:00Z","tree":"x"}',
    ],
)
def test_what_is_no_snapshot_is_damage(content: bytes) -> None:
    with pytest.raises(DamageError):
        decode_snapshot(content)


def test_our_tags_carry_values() -> None:
    shot = Snapshot(time=rfc3339(0), tree="00" * 32, paths=[], tags=["set=42", "plain", "set=43"])
    assert shot.tag("set") == "42"
    assert shot.tag("plain") is None
