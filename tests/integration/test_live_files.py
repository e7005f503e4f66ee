"""Small files that change in place: many read together, here and in another process, with the same results."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from edurise_backup.machine.crew import Program
from edurise_backup.model.compression import AUTO
from edurise_backup.model.content import blob_id
from edurise_backup.model.paging import PageCheck, Paged
from edurise_backup.pipeline.chunker import ChunkSizes
from edurise_backup.pipeline.sealer import SealSettings
from edurise_backup.pipeline.sealing import Sealing
from edurise_backup.ports import LiveFile, StoredFile
from edurise_backup.postgres.page_checksums import checksum
from edurise_backup.verification.packs import examined_by, examining_crew
from tests.support.sealed import KEY, Taken

CUT = 16 * 1024
PAGE = 8192
SIZES = ChunkSizes(minimum=16 * 1024, average=64 * 1024, maximum=256 * 1024)
ENOUGH = 600
"""So many of these files are worth a process."""


@pytest.fixture(params=["here", "in another process"])
def sealing(request: pytest.FixtureRequest, tmp_path: Path) -> Sealing:
    """One that has something to do for another process, or has not."""
    made = Sealing(KEY, SealSettings(AUTO, check=True), SIZES, members=1)
    request.addfinalizer(made.close)
    if request.param != "here":
        taken = Taken()
        (tmp_path / "before").write_bytes(bytes(100))
        made.live([LiveFile(str(tmp_path / "before"), Paged(CUT, end=100))] * ENOUGH, taken.claim, taken.take)
        assert made._crew.begun
    return made


def pages(first: int, count: int, seed: int) -> bytes:
    """Return pages with their checksums, written before any backup began."""
    rng, found = random.Random(seed), b""
    for number in range(first, first + count):
        page = bytearray(bytes(8) + rng.randbytes(PAGE // 2) + bytes(PAGE // 2 - 8))
        page[8:10] = checksum(bytes(page), number).to_bytes(2, "little")
        found += page
    return found


def test_every_file_comes_back_as_it_is_and_what_is_odd_is_told(sealing: Sealing, tmp_path: Path) -> None:
    check = PageCheck(0, 1 << 40)
    contents = {"empty": b"", "few bytes": b"x" * 100, "some": pages(0, 3, 1), "more": pages(0, 20, 2) + b"a rest"}
    contents |= {"same as some": contents["some"], "new": bytes(2 * PAGE)}
    damaged = bytearray(pages(0, 9, 3))
    damaged[4 * PAGE + 77] ^= 1
    contents["damaged"] = bytes(damaged)
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    files = [LiveFile(str(tmp_path / name), Paged(CUT, check, 0, len(content))) for name, content in contents.items()]
    (tmp_path / "grown").write_bytes(contents["some"] + b"grown")
    (tmp_path / "shrunk").write_bytes(b"less")
    (tmp_path / "folder").mkdir()
    odd = ["grown", "shrunk", "vanished", "folder"]
    files += [LiveFile(str(tmp_path / name), Paged(CUT, check, 0, len(contents["some"]))) for name in odd]
    taken = Taken()
    found = [one for one in sealing.live(files, taken.claim, taken.take) if one is not None]
    assert len(found) == len(files)
    stored = dict(zip([*contents, *odd], found, strict=True))
    for name, content in [*contents.items(), ("grown", contents["some"]), ("shrunk", b"less")]:
        one = stored[name]
        assert b"".join(taken.plain[blob] for blob in one.blobs) == content, name
        assert one.blobs == [blob_id(content[at : at + CUT]) for at in range(0, len(content), CUT)]
        assert (one.size, one.trouble) == (len(content), "")
        assert one.status is not None
        assert one.status.st_ino == (tmp_path / name).stat().st_ino
        assert list(one.damaged) == ([4] if name == "damaged" else []), name
    assert stored["vanished"][:4] == StoredFile(None, [], 0, "")[:4]
    assert stored["folder"][:4] == StoredFile(None, [], 0, os.strerror(errno.EINVAL))[:4]


def test_nothing_that_is_known_is_sealed_again(sealing: Sealing, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(pages(0, 8, 4))
    file = LiveFile(str(tmp_path / "file"), Paged(CUT, end=8 * PAGE))
    taken = Taken()
    first = sealing.live([file], taken.claim, taken.take)
    known, taken.plain = dict(taken.plain), {}
    again = sealing.live([file], lambda ids: [False] * len(ids), taken.take)
    assert again == first
    assert taken.plain == {}
    assert len(known) == 4


def test_a_program_loads_once_what_all_its_members_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numpy comes with the checksums of very many pages; only what has them needs it."""
    words: list[list[str]] = []
    real = Program.__init__

    def init(self: Program, module: str, *, also: Sequence[str] = (), alone: bool = False) -> None:
        words.append(list(also))
        real(self, module, also=also, alone=alone)

    monkeypatch.setattr(Program, "__init__", init)
    (tmp_path / "file").write_bytes(bytes(100))
    for check in (None, PageCheck(0, 1)):
        made = Sealing(KEY, SealSettings(AUTO, check=True), SIZES, members=2)
        taken = Taken()
        try:
            made.live([LiveFile(str(tmp_path / "file"), Paged(CUT, check, 0, 100))] * ENOUGH, taken.claim, taken.take)
        finally:
            made.close()
    assert words == [[], ["edurise_backup.postgres.page_checksum_columns"]]


def test_a_program_that_was_killed_is_begun_anew_and_its_members_go_on() -> None:
    crew = examining_crew(KEY, members=2)
    try:
        with crew.member() as member:
            assert examined_by(member, "0" * 64, "/nowhere") is None
            first = crew._program
            assert first is not None
            first._process.kill()
            first._process.wait()
            with crew.member() as another:
                assert crew._program is not first
                assert examined_by(another, "0" * 64, "/nowhere") is None
            assert examined_by(member, "0" * 64, "/nowhere") is None
    finally:
        crew.close()
