"""Stock restic finds nothing wrong after a repair and the backup that heals it, and knows nothing of our notes."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edurise_backup.model.content import BlobKind, blob_id
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support.engine import PASSPHRASE, QUICK, TINY, back_up, check, create, opened
from tests.support.repairs import indexed, packs_of, repair_index, repair_packs
from tests.support.restic import Restic
from tests.support.trees import describe, differences, small_tree, write


class Place:
    """One repository on a disk, for us and for stock restic, and the tree that is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tree = small_tree(folder / "tree")
        self.store = LocalStore(folder / "repository")
        create(self.store)
        for number in range(2):
            write(self.tree / "changing", random.Random(f"changing {number}").randbytes(4000))
            back_up(opened(self.store), self.tree, settings=TINY)
        self.restic = Restic(folder / "repository", folder / "restic")

    def change(self, name: str, change: Callable[[bytes], bytes]) -> None:
        """Damage an object on the disk."""
        path = self.folder / "repository" / name
        content = path.read_bytes()
        path.chmod(0o600)
        path.write_bytes(change(content))

    def pack_of(self, file: str) -> tuple[str, int]:
        """Return the name of the pack with a small file's content, and where its ciphertext begins."""
        wanted = blob_id((self.tree / file).read_bytes())
        for pack, blobs in indexed(self.store).items():
            for blob in blobs:
                if blob.id == wanted:
                    return object_name(Kind.PACK, pack), blob.offset + 20
        raise AssertionError(f"{file} is in no pack")

    def heal(self) -> None:
        """Back up the same data again."""
        back_up(opened(self.store), self.tree, settings=TINY)

    def assert_whole(self) -> None:
        """Stock restic checks every byte, and restores the newest snapshot as the tree is."""
        self.restic.check()
        # an ordinary user cannot give the directories above the tree back to root, and restic ends with 1
        self.restic.run("restore", "latest", "--target", str(self.folder / "out"), status=None)
        assert differences(describe(self.tree), describe(self.folder / "out" / str(self.tree).lstrip("/"))) == []


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def flipped(at: int) -> Callable[[bytes], bytes]:
    return lambda content: content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_s05_stock_restic_reads_a_repository_whose_index_was_rebuilt(place: Place) -> None:
    """S-05: one index file is empty, one is gone."""
    first, second = (place.folder / "repository" / "index").iterdir()
    first.chmod(0o600)
    first.write_bytes(b"")
    second.unlink()
    place.restic.run("check", status=1)
    repair_index(place.store)
    place.assert_whole()


def test_a_damaged_data_pack_is_salvaged_and_healed(place: Place) -> None:
    name, at = place.pack_of("folder 0/file 0")
    place.change(name, flipped(at))
    assert check(opened(place.store)).affected.count > 0
    assert repair_packs(place.store, read_data=False).lost
    place.heal()
    place.assert_whole()
    assert (place.folder / "repository" / "edurise" / "damaged").is_dir()
    assert check(opened(place.store)).findings == []


def test_a_pack_that_lost_its_header_is_salvaged_without_loss(place: Place) -> None:
    name = object_name(Kind.PACK, packs_of(place.store, BlobKind.TREE)[0])
    place.change(name, lambda content: content[:-30])
    plan = repair_packs(place.store)
    assert (len(plan.packs), plan.lost, plan.affected.count) == (1, frozenset(), 0)
    place.assert_whole()


def test_a_missing_pack_is_healed(place: Place) -> None:
    name, _ = place.pack_of("folder 0/file 0")
    (place.folder / "repository" / name).unlink()
    repair_index(place.store)
    place.heal()
    place.assert_whole()


def test_stock_restic_prunes_around_our_notes_and_we_go_on(place: Place) -> None:
    check(opened(place.store))
    place.restic.run("forget", "--keep-last", "1", "--prune")
    found = check(opened(place.store))
    assert found.findings == []
    assert found.coverage.never == 0  # read again just now
    place.assert_whole()


@pytest.mark.parametrize("version", [1, 2])
def test_repositories_of_stock_restic_are_checked_and_repaired(tmp_path: Path, version: int) -> None:
    tree = small_tree(tmp_path / "tree")
    restic = Restic.with_quick_key(tmp_path / "repository", tmp_path / "restic", version=version)
    restic.back_up(tree)
    store = LocalStore(tmp_path / "repository")
    Repository.open(store, restic.passphrase).add_key(PASSPHRASE, cost=QUICK)
    for path in (tmp_path / "repository" / "index").iterdir():
        path.unlink()
    repair_index(store)
    assert check(opened(store)).findings == []
    restic.check()
