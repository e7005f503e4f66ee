"""S-22: whatever the damage, a repair leaves every snapshot that could be read before readable."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError
from edurise_backup.model.content import BlobKind
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.verification.checker import check
from tests.support.engine import QUICK, create, opened
from tests.support.repairs import (
    Contents,
    back_up_below,
    contents,
    flip,
    indexed,
    intact,
    packs_of,
    repair_index,
    repair_packs,
)
from tests.support.stores import MemoryStore
from tests.support.trees import small_tree, write

SETTINGS = WriterSettings(pack_size=7000, workers=2)
Harm = Callable[[MemoryStore, str, str], None]
"""Does something to an object; the second name is another one of its folder."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A repository with three snapshots, what they hold, and the tree as it is now."""

    store: MemoryStore
    live: Path
    expected: dict[SnapshotId, Contents]
    added: list[dict[str, str]]
    """For each backup an object of each kind that it was the first to write."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Make one repository for all damages; each works on a copy."""
    live = small_tree(tmp_path_factory.mktemp("sound") / "live")
    store = MemoryStore()
    create(store).add_key("another", cost=QUICK)
    expected: dict[SnapshotId, Contents] = {}
    added = []
    for number in range(3):
        write(live / "folder 1" / "changing", random.Random(f"changing {number}").randbytes(4000))
        before = set(store.objects)
        saved = back_up_below(opened(store), live, settings=SETTINGS)
        added.append(by_kind(store, sorted(store.objects.keys() - before)))
        expected[saved.id] = contents(store, saved.id)
        check(opened(store), progress=SilentProgress(), read_data=True)  # notes below edurise/
    return Sound(store, live, expected, added)


def by_kind(store: MemoryStore, names: list[str]) -> dict[str, str]:
    """Return one name of each kind."""
    found = {name.split("/")[0]: name for name in names if not name.startswith("data/")}
    for word, kind in (("data", BlobKind.DATA), ("trees", BlobKind.TREE)):
        packs = (object_name(Kind.PACK, pack) for pack in packs_of(store, kind))
        found[word] = next(name for name in packs if name in names)
    return found


def set_bytes(store: MemoryStore, name: str, change: Callable[[bytes], bytes]) -> None:
    store.objects[name] = change(store.objects[name])


def flip_at(share: float) -> Harm:
    def harm(store: MemoryStore, name: str, other: str) -> None:
        flip(store, name, int((len(store.objects[name]) - 1) * share))

    return harm


def swap(store: MemoryStore, name: str, other: str) -> None:
    store.objects[name], store.objects[other] = store.objects[other], store.objects[name]


def zero_the_middle(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[: middle - 32] + bytes(64) + content[middle + 32 :]


HARMS: dict[str, Harm] = {
    "first byte flipped": flip_at(0),
    "middle flipped": flip_at(0.5),
    "last byte flipped": flip_at(1),
    "deleted": lambda store, name, other: store.delete(name),
    "emptied": lambda store, name, other: set_bytes(store, name, lambda content: b""),
    "cut in half": lambda store, name, other: set_bytes(store, name, lambda content: content[: len(content) // 2]),
    "last byte lost": lambda store, name, other: set_bytes(store, name, lambda content: content[:-1]),
    "first byte lost": lambda store, name, other: set_bytes(store, name, lambda content: content[1:]),
    "lengthened": lambda store, name, other: set_bytes(store, name, lambda content: content + b"\0more"),
    "zeroed": lambda store, name, other: set_bytes(store, name, lambda content: bytes(len(content))),
    "middle zeroed": lambda store, name, other: set_bytes(store, name, zero_the_middle),
    "exchanged": swap,
    "replaced by another": lambda store, name, other: store.objects.update({name: store.objects[other]}),
}
ALONE = ["snapshots", "index", "data", "trees", "edurise"]
"""Kinds of which the damaged object leaves other snapshots intact."""
KINDS = ["config", "keys", *ALONE, "first index", "first data", "first trees"]
FIELDS = {
    "nonce of a blob": lambda blob, size: blob.offset,
    "ciphertext of a blob": lambda blob, size: blob.offset + 16,
    "tag of a blob": lambda blob, size: blob.offset + blob.length - 1,
    "tag of the header": lambda blob, size: size - 5,
    "ciphertext of the header": lambda blob, size: size - 5 - 20,
    "nonce of the header": lambda blob, size: size,
    "length of the header": lambda blob, size: size - 4,
}
"""Where a pack's fields are: by its last blob and the pack's size; the header's nonce is counted from there."""


def victims(sound: Sound, kind: str) -> tuple[str, str]:
    """Return the names of an object of the kind, and of another one to exchange it with.

    It is of the second backup, so that the other snapshots live without it, or of the first, which all need.
    """
    own = kind.removeprefix("first ")
    if own in sound.added[1]:
        return sound.added[0 if own != kind else 1][own], sound.added[2][own]
    names = sorted(name for name in sound.store.objects if name.split("/")[0] == kind)
    return names[0], names[1] if len(names) > 1 else sound.added[0]["data"]


def assert_repair_keeps_what_is_intact(sound: Sound, store: MemoryStore) -> None:
    """Repair the index, then the packs; then a backup of the same data mends the newest snapshot."""
    assert store.objects != sound.store.objects
    before = intact(store, sound.expected)
    with suppress(BackupError):  # a refusal is right, harm never is
        repair_index(store)
    assert before <= intact(store, sound.expected)
    with suppress(BackupError):
        repair_packs(store)
    assert before <= intact(store, sound.expected)
    with suppress(BackupError):
        repair_index(store, read_all_packs=True)
    assert before <= intact(store, sound.expected)


def test_s22_more_than_fifty_kinds_of_damage_are_tried() -> None:
    assert len(HARMS) * len(KINDS) + 2 * len(FIELDS) > 100


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("kind", KINDS)
def test_s22_a_repair_keeps_intact_snapshots_intact(sound: Sound, kind: str, harm: str) -> None:
    """S-22: `repair_destroys_good_data`."""
    store = sound.store.copy()
    HARMS[harm](store, *victims(sound, kind))
    assert bool(intact(store, sound.expected)) or kind not in ALONE
    assert_repair_keeps_what_is_intact(sound, store)
    if kind not in ("config", "keys", "snapshots"):
        heals(sound, store)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ["data", "trees"])
def test_s22_a_flipped_bit_in_any_field_of_a_pack_costs_its_blob_at_most(sound: Sound, kind: str, field: str) -> None:
    """S-22, and a flip outside of the blobs costs nothing at all."""
    store = sound.store.copy()
    name, _ = victims(sound, kind)
    blob = indexed(store)[name.rpartition("/")[2]][-1]
    size = len(store.objects[name]) if field != "nonce of the header" else blob.offset + blob.length
    flip(store, name, FIELDS[field](blob, size))
    assert_repair_keeps_what_is_intact(sound, store)
    if "header" in field:
        assert intact(store, sound.expected) == set(sound.expected)
    heals(sound, store)


def heals(sound: Sound, store: MemoryStore) -> None:
    """Back up the same data after the repair: its snapshot comes back, and what it could not mend is named."""
    saved = back_up_below(opened(store), sound.live, settings=SETTINGS)
    newest = list(sound.expected)[-1]
    assert contents(store, saved.id) == sound.expected[newest]
    assert newest in intact(store, sound.expected)
    result = check(opened(store), progress=SilentProgress(), read_data=True)
    assert set(result.affected.snapshots) == set(sound.expected) - intact(store, sound.expected)
    assert result.damaged_packs == []


def test_s22_several_damages_at_once_keep_what_is_intact(sound: Sound) -> None:
    """S-22 in depth: random harms to random objects, four at a time."""
    rng = random.Random(22)
    for _ in range(40):
        store = sound.store.copy()
        for _ in range(4):
            names = [name for name, content in store.objects.items() if content and not name.startswith("config")]
            name = rng.choice(names)
            folder = [other for other in names if other.split("/")[0] == name.split("/")[0]]
            HARMS[rng.choice(sorted(HARMS))](store, name, rng.choice(folder))
        assert_repair_keeps_what_is_intact(sound, store)
