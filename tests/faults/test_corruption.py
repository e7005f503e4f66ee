"""R5: whatever happens to a stored object, it is found, and never restored as something else."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, DamageError
from edurise_backup.model.snapshot import SnapshotId
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Label, save_snapshot
from edurise_backup.sources.files import FilesSource
from tests.support.engine import (
    AT_ONCE,
    ONE_PACK,
    PASSPHRASE,
    QUICK,
    TINY,
    back_up,
    check,
    create,
    opened,
    restore,
)
from tests.support.stores import MemoryStore
from tests.support.trees import NOON, Described, describe, small_tree, write

Damage = Callable[[MemoryStore, str, random.Random], None]


def flip_a_bit(store: MemoryStore, name: str, rng: random.Random) -> None:
    """Change one bit."""
    content = bytearray(store.objects[name])
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    store.objects[name] = bytes(content)


def truncate(store: MemoryStore, name: str, rng: random.Random) -> None:
    """Cut the end off; sometimes all."""
    content = store.objects[name]
    store.objects[name] = content[: rng.choice([0, rng.randrange(len(content)), len(content) - 1])]


def lengthen(store: MemoryStore, name: str, rng: random.Random) -> None:
    """Append bytes."""
    store.objects[name] += rng.randbytes(rng.randrange(1, 50))


def zero_a_range(store: MemoryStore, name: str, rng: random.Random) -> None:
    """Lose a few sectors."""
    content = bytearray(store.objects[name])
    at = rng.randrange(len(content))
    end = min(len(content), at + 64)
    content[at:end] = b"\0" * (end - at) if any(content[at:end]) else b"\1" * (end - at)
    store.objects[name] = bytes(content)


def swap_with_another(store: MemoryStore, name: str, rng: random.Random) -> None:
    """Exchange the bytes with another object, of the same folder where there is one."""
    folder = name.split("/", maxsplit=1)[0]
    others = [other for other in store.objects if other != name and other.split("/")[0] == folder]
    other = rng.choice(others or [other for other in store.objects if other != name])
    store.objects[name], store.objects[other] = store.objects[other], store.objects[name]


def delete(store: MemoryStore, name: str, rng: random.Random) -> None:
    """Lose the object. Lost snapshots and keys leave no trace in this format: the catalog's audit has them."""
    del store.objects[name]


class Sound:
    """A repository with two snapshots, and what each must restore to."""

    def __init__(self, folder: Path) -> None:
        self.tree = small_tree(folder / "tree")
        self.store = MemoryStore()
        create(self.store).add_key("another passphrase", cost=QUICK)
        self.states: dict[SnapshotId, dict[bytes, Described]] = {}
        for number in range(2):
            saved = back_up(opened(self.store), self.tree, settings=ONE_PACK)
            self.states[saved.id] = describe(self.tree)
            write(self.tree / "folder 0" / "file 0", b"changed %d" % number * 300, mtime=NOON + number + 1)

    def names(self, *kinds: str) -> list[str]:
        return sorted(name for name in self.store.objects if name.split("/")[0] in kinds)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Sound:
    """Make one repository for all trials; each works on a copy of its store."""
    return Sound(tmp_path_factory.mktemp("sound"))


def found_by_check(store: MemoryStore) -> bool:
    """Whether opening or `check --read-data` names the damage."""
    try:
        return bool(check(opened(store)).findings)
    except BackupError:
        return True


def wrong_bytes(store: MemoryStore, sound: Sound, target: Path) -> list[str]:
    """Restore all that still restores, and return what is not as it was (a refusal is right, other bytes never)."""
    wrong = []
    for snapshot_id, state in sound.states.items():
        place = target / snapshot_id[:8]
        try:
            repository = opened(store)
            snapshot = repository.find_snapshot(snapshot_id)[1]
            restore(repository, snapshot.tree, place)
        except BackupError:
            continue
        restored = describe(place / str(sound.tree).lstrip("/"))
        wrong += [f"{name!r} in {snapshot_id[:8]}" for name in state if restored.get(name) != state[name]]
    return wrong


KINDS = ["config", "keys", "data", "index", "snapshots"]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("damage", [flip_a_bit, truncate, lengthen, zero_a_range, swap_with_another])
def test_r5_damage_of_any_object_is_found_and_never_restored(
    sound: Sound, damage: Damage, seed: int, tmp_path: Path
) -> None:
    rng = random.Random(f"{damage.__name__} {seed}")
    for kind in KINDS:
        store = sound.store.copy()
        name = rng.choice(sound.names(kind))
        damage(store, name, rng)
        assert store.objects != sound.store.objects
        assert found_by_check(store), f"{damage.__name__} of {name} (seed {seed}) was not found"
        assert wrong_bytes(store, sound, tmp_path / kind) == []


def test_r5_a_lost_config_index_or_pack_is_found(sound: Sound, tmp_path: Path) -> None:
    for number, name in enumerate(sound.names("config", "index", "data")):
        store = sound.store.copy()
        delete(store, name, random.Random(0))
        assert found_by_check(store), name
        assert wrong_bytes(store, sound, tmp_path / str(number)) == []


@pytest.mark.in_memory_only
@pytest.mark.slow
def test_r5_thousands_of_damages_are_all_found(sound: Sound, tmp_path: Path) -> None:
    rng = random.Random("in depth")
    damages: list[Damage] = [flip_a_bit, truncate, lengthen, zero_a_range, swap_with_another]
    for trial in range(2000):
        store = sound.store.copy()
        damage, name = rng.choice(damages), rng.choice(sound.names(rng.choice(KINDS)))
        damage(store, name, rng)
        assert found_by_check(store), f"{damage.__name__} of {name} (trial {trial})"
        if trial % 10 == 0:
            assert wrong_bytes(store, sound, tmp_path / str(trial)) == []


def test_every_single_bit_of_a_small_pack_counts(tmp_path: Path) -> None:
    tree = write(tmp_path / "tree" / "file", b"small").parent
    store = MemoryStore()
    create(store)
    back_up(opened(store), tree)
    name, content = min(
        ((name, content) for name, content in store.objects.items() if name.startswith("data/")),
        key=lambda item: len(item[1]),
    )
    for at in range(len(content)):
        damaged = store.copy()
        damaged.objects[name] = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        assert not check(opened(damaged)).sound, f"byte {at}"


def test_s05_an_index_of_length_zero_is_named_and_never_taken_for_an_empty_one(sound: Sound) -> None:
    """S-05: after a power loss of a store without fsync an index may be empty."""
    store = sound.store.copy()
    name = sound.names("index")[0]
    store.objects[name] = b""
    with pytest.raises(DamageError):
        opened(store)
    repository = Repository.open(store, PASSPHRASE)
    assert any(name.split("/")[1][:8] in finding for finding in check(repository).findings)


def test_a_damaged_key_does_not_lock_the_others_out_and_is_named(sound: Sound) -> None:
    for name in sound.names("keys"):
        store = sound.store.copy()
        flip_a_bit(store, name, random.Random(1))
        try:
            found = check(opened(store)).findings
        except DamageError:  # it was ours
            continue
        assert any(name.split("/")[1][:8] in finding for finding in found)


def test_a_damaged_copy_of_a_blob_is_passed_over_when_there_is_another(tmp_path: Path) -> None:
    """Two clients that back up at once may store a blob twice; the second copy heals the first."""
    tree = write(tmp_path / "tree" / "file", random.Random(5).randbytes(5000)).parent
    store = MemoryStore()
    create(store)
    one, other = opened(store), opened(store)
    saved = back_up(one, tree)
    _back_up_without_looking(other, tree)
    packs = [name for name in store.objects if name.startswith("data/") and len(store.objects[name]) > 5000]
    assert len(packs) == 2
    for pack in packs:
        damaged = store.copy()
        content = bytearray(damaged.objects[pack])
        content[2500] ^= 1
        damaged.objects[pack] = bytes(content)
        restore(opened(damaged), saved.snapshot.tree, tmp_path / pack.replace("/", "-"))
        restored = tmp_path / pack.replace("/", "-") / str(tree).lstrip("/") / "file"
        assert restored.read_bytes() == (tree / "file").read_bytes()
        assert not check(opened(damaged)).sound


def _back_up_without_looking(repository: Repository, tree: Path) -> None:
    """Back up with the index as it was before the other client's backup."""
    source = FilesSource([str(tree)])
    with repository.lock(settle=AT_ONCE) as lock:
        save_snapshot(repository, source, Label(source.paths), lock, progress=SilentProgress(), settings=TINY)


def test_check_tells_a_lost_snapshots_pack_from_harmless_leftovers(sound: Sound) -> None:
    store = sound.store.copy()
    store.objects["data/00/" + "0" * 64] = b"of an interrupted backup"
    found = check(opened(store))
    assert found.findings == []
    assert found.remarks == ["1 packs are in no index; the next prune removes them"]
    assert {name.split("/")[0] for name in store.objects} >= {Kind.PACK, Kind.KEY}
