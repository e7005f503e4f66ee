"""Key files and passphrases."""

from __future__ import annotations

import msgspec
import pytest

from edurise_backup.errors import (
    ConflictError,
    DamageError,
    InputError,
    NotFoundError,
    UnsupportedVersionError,
    WrongPassphraseError,
)
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.repository.keys import RECOVERY_USER, KeyFile, new_recovery_key, read_key_file, unwrap, wrap
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository
from tests.support.engine import PASSPHRASE, QUICK, count, create, opened
from tests.support.stores import MemoryStore

KEY = MasterKey.generate()


def test_a_passphrase_unwraps_the_key_that_it_wrapped_and_no_other_does() -> None:
    key_file = read_key_file(wrap(KEY, "päss", cost=QUICK, now=0))
    assert unwrap(key_file, "päss").parts() == KEY.parts()
    for wrong in ("pass", "", "päss "):
        with pytest.raises(DamageError):
            unwrap(key_file, wrong)


def test_a_key_file_holds_neither_passphrase_nor_key() -> None:
    content = wrap(KEY, "a very secret phrase", cost=QUICK, now=0)
    assert b"secret" not in content
    assert all(part not in content for part in KEY.parts())


@pytest.mark.parametrize(
    "change",
    [{"N": 2}, {"N": 1 << 28}, {"N": 1000}, {"r": 0}, {"p": 0}, {"p": 65}, {"r": -8}, {"N": 0}, {"N": -1024}],
    ids=str,
)
def test_a_key_file_with_weak_or_ruinous_parameters_is_refused_before_any_memory_is_spent(
    change: dict[str, int],
) -> None:
    key_file = msgspec.structs.replace(read_key_file(wrap(KEY, "x", cost=QUICK, now=0)), **change)
    with pytest.raises(DamageError, match="impossible scrypt parameters"):
        read_key_file(msgspec.json.encode(key_file))


def test_an_unknown_derivation_is_of_a_newer_version() -> None:
    key_file = msgspec.structs.replace(read_key_file(wrap(KEY, "x", cost=QUICK, now=0)), kdf="argon2")
    with pytest.raises(UnsupportedVersionError):
        read_key_file(msgspec.json.encode(key_file))


def test_recovery_keys_are_long_random_and_can_be_read_aloud() -> None:
    keys = {new_recovery_key() for _ in range(100)}
    assert len(keys) == 100
    assert all(len(key.replace("-", "")) == 32 and not set(key) & set("01OILU") for key in keys)


def test_init_makes_a_passphrase_key_and_a_recovery_key() -> None:
    store = MemoryStore()
    repository, recovery = Repository.create(store, PASSPHRASE, cost=QUICK)
    assert Repository.open(store, recovery).config == repository.config
    assert RECOVERY_USER in [key.username for key in repository.key_files().values()]
    assert not any(recovery.encode() in content for content in store.objects.values())


def test_an_empty_passphrase_is_refused() -> None:
    with pytest.raises(InputError):
        Repository.create(MemoryStore(), "", cost=QUICK)
    with pytest.raises(InputError):
        create().add_key("")


def test_keys_come_and_go_but_the_one_in_use_stays() -> None:
    store = MemoryStore()
    create(store)
    repository = opened(store)
    added = repository.add_key("second", cost=QUICK)
    with pytest.raises(ConflictError):
        repository.remove_key(repository.key_id)
    with pytest.raises(NotFoundError):
        repository.remove_key("")
    assert repository.remove_key(added[:12]) == added
    with pytest.raises(WrongPassphraseError):
        Repository.open(store, "second")
    assert count(store, Kind.KEY) == 2


def test_a_key_file_of_stock_restic_has_our_fields() -> None:
    key_file = read_key_file(wrap(KEY, "x", cost=QUICK, now=0))
    assert set(msgspec.to_builtins(key_file)) == {
        "created",
        "username",
        "hostname",
        "kdf",
        "N",
        "r",
        "p",
        "salt",
        "data",
    }
    assert isinstance(key_file, KeyFile)
