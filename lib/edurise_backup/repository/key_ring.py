"""The key files of a repository: which there are, which one a passphrase opens."""

from __future__ import annotations

import hashlib

from edurise_backup.errors import BackupError, DamageError, WrongPassphraseError
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.ports import Store
from edurise_backup.repository import keys
from edurise_backup.repository.layout import Kind, object_id, object_name


def put_key(store: Store, content: bytes) -> str:
    """Store a key file; return its id."""
    key_id = hashlib.sha256(content).hexdigest()
    store.put(object_name(Kind.KEY, key_id), [content])
    return key_id


def key_ids(store: Store) -> list[str]:
    """Return the ids of all key files, readable or not."""
    return [found for name, _ in store.list(Kind.KEY) if (found := object_id(name)) is not None]


def load_key(store: Store, key_id: str) -> keys.KeyFile:
    """Return one key file; raises NotFoundError, DamageError."""
    content = store.get(object_name(Kind.KEY, key_id))
    if hashlib.sha256(content).hexdigest() != key_id:
        raise DamageError(f"{object_name(Kind.KEY, key_id)} holds other bytes than those that were written")
    return keys.read_key_file(content)


def find_key(store: Store, passphrase: str) -> tuple[MasterKey, str]:
    """Return the master key and the id of the key file that the passphrase opens; raises WrongPassphraseError."""
    trouble: list[BackupError] = []
    found: list[tuple[str, keys.KeyFile]] = []
    for key_id in key_ids(store):
        try:
            found.append((key_id, load_key(store, key_id)))
        except BackupError as error:
            trouble.append(error)
    found.sort(key=lambda one: one[1].username == keys.RECOVERY_USER)  # rarely meant, and each try takes a while
    for key_id, key_file in found:
        try:
            return keys.unwrap(key_file, passphrase), key_id
        except DamageError:
            continue
    if trouble:
        raise trouble[0]
    raise WrongPassphraseError(
        f"no key of {store.address} opens with this passphrase",
        safe="nothing was changed",
        hint="check the password file; the recovery key that `init` printed opens it, too",
    )
