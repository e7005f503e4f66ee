"""`repo check` and `repo repair` as a person or a script runs them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edurise_backup.model.content import BlobKind
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.stores.local import LocalStore
from tests.support.engine import PASSPHRASE, TINY, back_up, create, opened
from tests.support.repairs import indexed, packs_of
from tests.support.trees import content_of, small_tree, write

PROGRAM = [sys.executable, "-m", "edurise_backup", "repo"]


@dataclass(frozen=True, slots=True)
class Place:
    """A repository with one snapshot of `tree`."""

    folder: Path

    @property
    def repository(self) -> Path:
        return self.folder / "repository"

    @property
    def store(self) -> LocalStore:
        return LocalStore(self.repository)

    @property
    def environment(self) -> dict[str, str]:
        password = str(self.folder / "password")
        return {**os.environ, "EDURISE_REPOSITORY": str(self.repository), "EDURISE_PASSWORD_FILE": password}

    def run(self, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*PROGRAM, *words], env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert PASSPHRASE not in done.stdout + done.stderr
        return done

    def json(self, *words: str, status: int = 0) -> dict[str, object]:
        found = json.loads(self.run(*words, "--json", status=status).stdout)
        assert isinstance(found, dict)
        return found

    def damage_a_pack(self) -> str:
        """Flip a bit in the first blob of the largest data pack; return the pack's id."""
        pack = packs_of(self.store, BlobKind.DATA)[0]
        at = indexed(self.store)[pack][0].offset + 20
        path = self.repository / object_name(Kind.PACK, pack)
        content = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        return pack


@pytest.fixture
def place(tmp_path: Path) -> Place:
    store = LocalStore(tmp_path / "repository")
    create(store)
    back_up(opened(store), small_tree(tmp_path / "tree"), settings=TINY)
    (tmp_path / "password").write_text(PASSPHRASE + "\n")
    return Place(tmp_path)


def test_a_budget_reads_a_part_and_the_coverage_grows_to_every_byte(place: Place) -> None:
    first = place.json("check", "--budget", "1KiB")
    assert first["packs_read"] == 1
    coverage = first["coverage"]
    assert isinstance(coverage, dict)
    assert set(coverage) == {"packs", "bytes", "never", "oldest", "within_30_days_percent"}
    assert coverage["never"] == coverage["packs"] - 1
    assert 0 < coverage["within_30_days_percent"] < 100
    assert "were never proved" in place.run("check", "--budget", "40%").stdout
    shown = place.run("check", "--budget", "5m").stdout
    assert "100 % of" in shown
    assert "no errors were found" in shown


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--budget", "5"),
        ("check", "--budget", "0%"),
        ("check", "--budget", "5%", "--read-data"),
        ("repair", "packs", "nonsense"),
        ("repair", "packs", "abc", "--read-data"),
        ("repair", "packs", "--apply", "zz"),
        ("repair", "nothing"),
        ("repair", "index", "what"),
    ],
)
def test_bad_input_is_refused_with_status_2_and_changes_nothing(place: Place, words: tuple[str, ...]) -> None:
    before = content_of(place.repository)
    assert place.run(*words, status=2).stderr
    after = content_of(place.repository)
    for listing in (before, after):
        listing.pop("locks", None)
    assert after == before


def test_from_damage_to_healing(place: Place) -> None:
    pack = place.damage_a_pack()
    found = place.json("check", "--read-data", status=1)
    assert found["damaged_packs"] == [pack]
    shown = place.run("repair", "packs", status=3).stdout
    assert "1 are damaged" in shown
    assert f"affected: snapshot {next((place.repository / 'snapshots').iterdir()).name[:8]}, {place.folder}" in shown
    assert "a later backup of the same data" in shown
    assert "nothing was changed: --apply does it" in shown
    assert (place.repository / object_name(Kind.PACK, pack)).exists()
    done = place.json("repair", "packs", "--apply", status=3)
    assert (done["applied"], done["lost_blobs"], done["kept"]) == (True, 1, [f"edurise/damaged/{pack}"])
    assert (place.repository / f"edurise/damaged/{pack}").exists()
    assert not (place.repository / object_name(Kind.PACK, pack)).exists()
    assert "no damaged pack is known" in place.run("repair", "packs", status=3).stdout
    place.run("backup", str(place.folder / "tree"), "--host", "tests")
    assert place.json("check", "--read-data")["sound"] is True
    assert place.json("repair", "packs", "--read-data")["packs"] == []


def test_an_index_that_is_gone_comes_back(place: Place) -> None:
    for path in (place.repository / "index").iterdir():
        path.unlink()
    place.run("check", status=1)
    dry = place.json("repair", "index")
    assert dry["applied"] is False
    assert len(list((place.repository / "index").iterdir())) == 0
    done = place.json("repair", "index", "--apply")
    assert (done["applied"], done["indexed_anew"]) == (True, dry["indexed_anew"])
    assert "nothing is to be repaired" in place.run("repair", "index", "--apply", "--read-all-packs").stdout
    assert place.json("check", "--read-data")["sound"] is True


def test_quiet_repairs_still_name_what_is_lost(place: Place) -> None:
    pack = place.damage_a_pack()
    assert "affected: snapshot" in place.run("repair", "packs", pack[:12], "-q", status=3).stdout


def test_help_says_what_each_option_does(place: Place) -> None:
    for words in (("check",), ("repair",), ("repair", "index"), ("repair", "packs")):
        assert "--help" in place.run(*words, "--help").stdout


def test_a_cancelled_check_ends_by_itself_and_leaves_no_lock(place: Place) -> None:
    write(place.folder / "more" / "large", os.urandom(60_000_000))
    place.run("backup", str(place.folder / "more"), "--no-check")
    process = subprocess.Popen(
        [*PROGRAM, "check", "--read-data"], env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    while not list((place.repository / "locks").iterdir()) and process.poll() is None:
        os.sched_yield()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode in (0, 130), errors  # 0: it had ended before it heard
    assert b"Traceback" not in errors
    assert list((place.repository / "locks").iterdir()) == []
