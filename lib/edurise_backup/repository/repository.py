"""The repository: START HERE for what lies in a store.

Open it with a passphrase, take a lock, load the index; then read blobs and
trees, or add them through a writer and publish a snapshot, which is the commit
point: a backup exists if and only if its snapshot object exists.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import msgspec

from edurise_backup.errors import ConflictError, DamageError, InputError, NotFoundError
from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.model.protections import Protection
from edurise_backup.model.snapshot import (
    Snapshot,
    SnapshotId,
    choose_snapshot,
    decode_snapshot,
    encode_snapshot,
)
from edurise_backup.pipeline.codec import MasterKey
from edurise_backup.ports import Store, Vault
from edurise_backup.repository import key_ring, keys
from edurise_backup.repository.blobs import read_any_copy
from edurise_backup.repository.creation import refuse_existing
from edurise_backup.repository.forgetting import GRACE, forget
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import ListedPack, read_listed
from edurise_backup.repository.layout import CONFIG, Kind, object_id, object_name
from edurise_backup.repository.locks import SETTLE, Lock
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.reachability import prove_stored
from edurise_backup.repository.removals import take_away
from edurise_backup.repository.repository_config import POLYNOMIAL, Config, open_config, read_sealed_config
from edurise_backup.repository.snapshots import ReadableSnapshots, read_snapshots
from edurise_backup.repository.standby import Standby
from edurise_backup.repository.trees import Trees
from edurise_backup.repository.writer import BlobWriter, WriterSettings


class Repository:
    """An opened repository; reading is safe from any number of threads."""

    def __init__(self, box: ObjectBox, config: Config, *, key_id: str) -> None:
        self.box = box
        self.config = config
        self.key_id = key_id
        self.index = Index()
        self.damage: list[str] = []
        """Objects that were passed over because they are not readable, a sentence each."""
        self.standby: Standby | None = None
        """Asked for what this repository cannot give."""
        self._packs_seen = False
        self._lost: frozenset[str] = frozenset()
        """Packs that the index leaves out."""
        self._index_files: set[str] = set()
        """The index files that `index` was read from, and those that were written since."""
        self._trees = Trees(box, self.read_blob)
        self._readable = ReadableSnapshots(box)

    @property
    def store(self) -> Store:
        """Where the objects lie."""
        return self.box.store

    # Opening

    @classmethod
    def create(
        cls,
        store: Store,
        passphrase: str,
        *,
        cost: keys.ScryptCost | None = None,
        now: int | None = None,
        vault: Vault | None = None,
    ) -> tuple[Repository, str]:
        """Make a new repository; return it and the recovery key, which is shown once and stored nowhere.

        The config object is written last: without it there is no repository.
        Raises ConflictError over an existing one.
        """
        if not passphrase:
            raise InputError("an empty passphrase protects nothing", hint="put a passphrase into the password file")
        refuse_existing(store)
        cost = cost or keys.ScryptCost()
        now = now if now is not None else int(datetime.now(UTC).timestamp() * 1e9)
        key = MasterKey.generate()
        recovery = keys.new_recovery_key()
        key_id = key_ring.put_key(store, keys.wrap(key, passphrase, cost=cost, now=now))
        key_ring.put_key(store, keys.wrap(key, recovery, cost=cost, now=now, username=keys.RECOVERY_USER))
        config = Config(version=2, id=secrets.token_hex(32), chunker_polynomial=POLYNOMIAL)
        store.put(CONFIG, [key.seal(msgspec.json.encode(config))])
        box = ObjectBox(store, key, version=2)
        box.vault = vault
        return cls(box, config, key_id=key_id), recovery

    @classmethod
    def open(cls, store: Store, passphrase: str, *, vault: Vault | None = None) -> Repository:
        """Open with any of the repository's passphrases; `vault` is the store's, when it locks objects.

        Raises NotARepositoryError, WrongPassphraseError, UnsupportedVersionError, DamageError.
        """
        sealed = read_sealed_config(store)
        key, key_id = key_ring.find_key(store, passphrase)
        box = ObjectBox(store, key, version=2)
        box.vault = vault
        config = open_config(sealed, key, store.address)
        box.version = config.version
        return cls(box, config, key_id=key_id)

    # Passphrases

    def key_files(self) -> dict[str, keys.KeyFile]:
        """Return all key files by id; raises DamageError for one that is not readable."""
        return {key_id: self.key_file(key_id) for key_id in self.key_ids()}

    def key_file(self, key_id: str) -> keys.KeyFile:
        """Return one key file; raises NotFoundError, DamageError."""
        return key_ring.load_key(self.store, key_id)

    def add_key(self, passphrase: str, *, cost: keys.ScryptCost | None = None, username: str | None = None) -> str:
        """Let one more passphrase open the repository; return the key file's id."""
        if not passphrase:
            raise InputError("an empty passphrase protects nothing", hint="put the new passphrase into a file")
        now = int(datetime.now(UTC).timestamp() * 1e9)
        content = keys.wrap(self.box.key, passphrase, cost=cost or keys.ScryptCost(), now=now, username=username)
        return key_ring.put_key(self.store, content)

    def find_key(self, word: str) -> str:
        """Return the id of the one key that begins so; raises NotFoundError."""
        found = [key_id for key_id in self.key_ids() if word and key_id.startswith(word)]
        if len(found) != 1:
            raise NotFoundError(f"{len(found)} keys begin with {word!r}", hint="`key list` shows the ids")
        return found[0]

    def remove_key(self, word: str, *, in_use: bool = False) -> str:
        """Take a passphrase away; the one in use stays unless said. A leaked master key is not answered by this."""
        found = self.find_key(word)
        if found == self.key_id and not in_use:
            raise ConflictError("this is the key in use", hint="open with another passphrase to remove this one")
        take_away(self.box, [object_name(Kind.KEY, found)])
        return found

    def key_ids(self) -> list[str]:
        """Return the ids of all key files, readable or not."""
        return key_ring.key_ids(self.store)

    # Locks

    def lock(self, *, exclusive: bool = False, settle: timedelta = SETTLE, at_once: bool = False) -> Lock:
        """Lock the repository until the lock is released; raises LockedError.

        `at_once` does not wait for the second look: it is made when the lock is confirmed.
        """
        take = Lock.announce if at_once else Lock.acquire
        return take(self.box, exclusive=exclusive, settle=settle)

    # Reading

    def load_index(self, *, strict: bool = True, without: Collection[str] = ()) -> Index:
        """Read all index files.

        One that is not readable raises DamageError; not `strict`, it is noted in
        `damage` and the others serve: what only it knew is missed by name, or
        stored again. Packs in `without` are left out.
        """
        self.drop_index()
        self.damage = []
        index = Index()
        index.extend(self._listed_packs(strict, without))
        self.index, self._lost = index, frozenset(without)
        return index

    def drop_index(self) -> None:
        """Forget the index."""
        self.index = Index()
        self._index_files = set()
        self._packs_seen = False

    def load_index_without(self, lost: Collection[str]) -> None:
        """Load the index as somebody left it who has looked at all packs just now, and found these `lost`."""
        self.load_index(strict=False, without=lost)
        self._packs_seen = True

    def learn_index(self) -> None:
        """Make known what index files list that have come since."""
        self.index.extend(self._listed_packs(False, ()))

    @property
    def index_files(self) -> frozenset[str]:
        """The index files that are relied on: those that were read or written."""
        return frozenset(self._index_files)

    def rely_on(self, index_files: Collection[str]) -> None:
        """Have `publish` prove these, too: somebody else has relied on them for the same snapshot."""
        self._index_files.update(index_files)

    def _listed_packs(self, strict: bool, without: Collection[str]) -> Iterator[ListedPack]:
        return read_listed(self.box, self._index_files, strict=strict, without=without, damage=self.damage)

    def read_blob(self, kind: BlobKind, blob_id: BlobId) -> bytes:
        """Return a blob, proved by its id; a damaged copy is passed over when the index knows another one.

        What this repository cannot give its standby is asked for, if it has one.
        """

        def own() -> bytes:
            return read_any_copy(self.box, self.index, kind, blob_id)

        return own() if self.standby is None else self.standby.blob(own, kind, blob_id)

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a pack, as it is stored; nothing when it is damaged or missing, so that blobs are asked for.

        Raises TransientError, UnreachableError, unless a standby serves in place of this store.
        """

        def own() -> bytes:
            with suppress(NotFoundError, DamageError):
                return self.store.get(name, offset=offset, length=length)
            return b""

        return own() if self.standby is None else self.standby.range(own)

    def read_tree(self, tree_id: str) -> list[Node]:
        """Return a tree's nodes; raises DamageError. The last ones are remembered, up to a number of nodes."""
        return self._trees.read(self.index, BlobId(bytes.fromhex(tree_id)))

    def read_tree_once(self, tree_id: str) -> list[Node]:
        """Return a tree's nodes for somebody who reads each tree once, and need not have them remembered."""
        return self._trees.read(self.index, BlobId(bytes.fromhex(tree_id)), remember=False)

    # Snapshots

    def snapshots(self, *, seen: Mapping[SnapshotId, Snapshot] | None = None) -> dict[SnapshotId, Snapshot]:
        """Return all snapshots by id, oldest first; raises DamageError for one that is not readable.

        Who removes must know all of them; who only reads takes `readable_snapshots`. What was `seen` is not read again.
        """
        return read_snapshots(self.box, seen=seen or {})

    def readable_snapshots(self, unreadable: list[str] | None = None) -> dict[SnapshotId, Snapshot]:
        """List snapshots and return those that can be read; the others are told in `unreadable`, a sentence each."""
        return self._readable.read(unreadable)

    def load_snapshot(self, snapshot_id: SnapshotId) -> Snapshot:
        """Return one snapshot; raises NotFoundError when it was forgotten, DamageError."""
        try:
            return decode_snapshot(self.box.load(Kind.SNAPSHOT, snapshot_id))
        except NotFoundError as error:
            raise NotFoundError(
                f"the snapshot {snapshot_id[:12]} is not in {self.store.address} any more",
                hint="choose another backup; `rebuild-catalog` lists what the repository has",
            ) from error

    def find_snapshot(self, word: str) -> tuple[SnapshotId, Snapshot]:
        """Return the snapshot that a person names; raises NotFoundError, AmbiguousError."""
        found = self.readable_snapshots()
        snapshot_id = choose_snapshot(word, found)
        return snapshot_id, found[snapshot_id]

    def publish(self, snapshot: Snapshot, lock: Lock) -> SnapshotId:
        """Make a backup exist: the commit point. Everything it refers to must be durable and indexed.

        Proves before and after that no prune came in between; if one did, what
        it refers to is looked for again. Raises LockedError when the lock was
        lost, TransientError when data is gone: then nothing is published.
        """
        lock.confirm()
        self._prove_indexed(snapshot)
        snapshot_id = SnapshotId(self.box.save(Kind.SNAPSHOT, encode_snapshot(snapshot)))
        self.confirm_published(snapshot_id, snapshot, lock)
        return snapshot_id

    def confirm_published(self, snapshot_id: SnapshotId, snapshot: Snapshot, lock: Lock) -> None:
        """Look once more, and withdraw the snapshot when `lock` or data was lost.

        A process that was frozen just now may have published what a prune has removed meanwhile.
        """
        try:
            lock.confirm()
            self._prove_indexed(snapshot)
        except BaseException:
            take_away(self.box, [object_name(Kind.SNAPSHOT, snapshot_id)])
            raise

    def _prove_indexed(self, snapshot: Snapshot) -> None:
        unlisted = self._index_files - set(self.box.ids(Kind.INDEX))
        if all(self.box.has(Kind.INDEX, index_id) for index_id in unlisted):
            return  # nothing that we relied on was un-indexed; a listing may lag behind what was just written
        self.load_index(strict=False)
        prove_stored(self.box, self.index, snapshot.tree)

    def forget(
        self,
        snapshot_id: SnapshotId,
        *,
        grace: timedelta = GRACE,
        now: datetime | None = None,
        kept: Mapping[str, Protection] | None = None,
        removed: datetime | None = None,
    ) -> None:
        """Take a snapshot away; it can be brought back until `grace` is over. Its data stays until a prune.

        Raises ConflictError for one that is pinned or held; `kept` says which are, else their notes are read.
        `now` is when that was decided, `removed` this moment, where they differ.
        """
        forget(self.box, snapshot_id, now=now or datetime.now(UTC), grace=grace, kept=kept, removed=removed)

    # Writing

    @contextmanager
    def writer(self, lock: Lock, settings: WriterSettings | None = None) -> Iterator[BlobWriter]:
        """Give a sink for blobs; leaving the block makes them durable and indexed, an error abandons them.

        Blobs of packs that are missing or cut short count as unknown, and are stored again.
        Raises LockedError when `lock` was lost meanwhile.
        """
        self.lost_packs()
        writer = BlobWriter(self.box, self.index, settings or WriterSettings(), confirm=lock.confirm)
        try:
            yield writer
            writer.finish()
        except BaseException:
            writer.abandon()
            self.drop_index()  # it knows packs by now that no index file lists
            raise
        self._index_files.update(writer.index_files)

    def lost_packs(self) -> frozenset[str]:
        """Look at all packs, once for an index; those that are missing or cut short are left out of it from now on."""
        if self._packs_seen:
            return self._lost
        sizes = {object_id(name): size for name, size in self.store.list(Kind.PACK)}
        odd = [(pack, size) for pack, size in self.index.sizes() if sizes.get(pack) != size]
        lost = {pack for pack, size in odd if not self.box.has(Kind.PACK, pack, size)}  # a listing may lag behind
        if lost:
            self.load_index(strict=False, without=lost)
            self.damage += [f"pack {pack[:8]} is missing or cut short; what it held is stored again" for pack in lost]
        self._packs_seen = True
        return self._lost
