"""What a prune looks at before it decides: snapshots, forgotten ones, index files, packs, and what is in use.

The order of the listings is the safety beside running backups: snapshots, then
notes of forgotten ones, then index files, then packs. Whatever is newer than
its listing looks too old to be known, never too old to be kept.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NoReturn

from edurise_backup.errors import ConflictError, DamageError, InputError, NotFoundError
from edurise_backup.model.policy import FUTURE
from edurise_backup.model.snapshot import Snapshot, SnapshotId
from edurise_backup.ports import Progress, Store
from edurise_backup.repository.forgetting import Forgotten, read_forgotten
from edurise_backup.repository.holds import kept_snapshots, refuse_lost
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import ListedPack, listed_packs
from edurise_backup.repository.layout import Kind, object_id, object_name
from edurise_backup.repository.moments import moment_of
from edurise_backup.repository.objects import ObjectBox
from edurise_backup.repository.packs import PackedBlob, decode_header, header_length, read_header
from edurise_backup.repository.reachability import Reachable
from edurise_backup.repository.repository import Repository

SKEW = timedelta(minutes=5)
"""A clock that differs more from the store's is not believed."""
_TAIL = 64 * 1024


@dataclass(frozen=True, slots=True)
class Roots:
    """Whose trees are kept, and the forgotten snapshots whose grace has ended."""

    snapshots: Mapping[SnapshotId, Snapshot]
    forgotten: Mapping[SnapshotId, Forgotten]
    over: Mapping[SnapshotId, Forgotten]

    def trees(self, *, without: Collection[str] = ()) -> list[str]:
        """Return the trees of all roots but those named in `without`."""
        kept = {**{key: one.snapshot for key, one in self.forgotten.items()}, **self.snapshots}
        return [snapshot.tree for key, snapshot in kept.items() if key not in without]

    def ids(self) -> set[str]:
        """Return the ids of the snapshots whose trees are kept."""
        return {*self.snapshots, *self.forgotten}

    def warnings(self, now: datetime) -> list[str]:
        """Return what a wrong clock seems to have written, a sentence each."""
        late = [key for key, shot in self.snapshots.items() if moment_of(shot.time) > now + FUTURE]
        notes = [key for key, one in self.forgotten.items() if one.from_future(now)]
        return [f"snapshot {key[:8]} is dated in the future; it is kept like any other" for key in late] + [
            f"snapshot {key[:8]} is said to have been forgotten in the future; it stays until a person undoes that"
            for key in notes
        ]


def read_roots(
    repository: Repository,
    *,
    now: datetime,
    known: Collection[str] = (),
    seen: Mapping[SnapshotId, Snapshot] | None = None,
) -> Roots:
    """Return the roots; `seen` are snapshots that need not be read again.

    Raises DamageError for a snapshot or note that is not readable, ConflictError
    when a snapshot of `known`, or one that is pinned or held, is neither listed
    nor forgotten: the listing is short, or somebody removed it. A forgotten one
    that is pinned or held stays whatever its grace.
    """
    snapshots = repository.snapshots(seen=seen or {})
    waiting = read_forgotten(repository.box)  # after the snapshots: forgetting writes the note first
    lost = sorted(set(known) - snapshots.keys() - waiting.keys())
    if lost:
        raise ConflictError(
            f"{len(lost)} snapshots that are known are not in the repository: {', '.join(one[:8] for one in lost[:5])}",
            safe="nothing was removed",
            hint="see whether the store lists everything; `edurise-backup forget --gone ID` accepts a loss",
        )
    kept = kept_snapshots(repository.box, now)
    there = {*snapshots, *waiting}
    if not kept.keys() <= there:  # published, or brought back, since the listing: the second look sees it
        there.update(map(SnapshotId, repository.box.ids(Kind.SNAPSHOT)))
    refuse_lost(there, kept)
    over = {key: one for key, one in waiting.items() if one.over(now) and key not in kept}
    return Roots(snapshots, {key: one for key, one in waiting.items() if key not in over}, over)


def refuse_wrong_clock(store: Store, now: datetime) -> None:
    """Raise InputError when the store's clock, where it can be told, and ours are too far apart."""
    theirs = store.now()
    if theirs is not None and abs(theirs - now) > SKEW:
        raise InputError(
            f"the clocks disagree: the one of {store.address} says {theirs:%Y-%m-%d %H:%M:%S}, "
            f"this machine's {now:%Y-%m-%d %H:%M:%S}",
            safe="nothing was removed: a wrong clock could end a grace too early",
            hint="set the clocks right, then run the same command again",
        )


@dataclass(slots=True)
class Survey:
    """What there is; packs are named by their numbers in the index."""

    box: ObjectBox
    progress: Progress
    roots: Roots
    index: Index = field(default_factory=Index)
    files: dict[str, array[int]] = field(default_factory=dict)
    """Each index file's packs."""
    stored: array[int] = field(default_factory=lambda: array("q"))
    """Each pack's bytes in the store; -1 for one that is not there."""
    unlisted: dict[str, int] = field(default_factory=dict)
    """Packs in the store that no index lists, with their bytes."""
    rescued: set[int] = field(default_factory=set)
    """Packs that no index lists, and that a snapshot needs: to be indexed again."""
    lost: int = 0
    """Blobs of forgotten snapshots that are nowhere any more: another client has pruned."""
    reach: Reachable = field(init=False)

    @classmethod
    def take(cls, repository: Repository, roots: Roots, progress: Progress) -> Survey:
        """Look at everything once; raises DamageError when something that a snapshot needs is nowhere."""
        survey = cls(repository.box, progress, roots)
        progress.phase("index")
        survey.load(repository.box.ids(Kind.INDEX))
        survey._list_packs()
        if not roots.snapshots and (survey.unlisted or survey.index.pack_count):
            raise ConflictError(
                "the repository lists no snapshot, so a prune would remove everything",
                safe="nothing was removed",
                hint="check that the snapshots are there; to start anew, make a new repository",
            )
        if survey.unlisted and not survey.index.pack_count:
            raise DamageError(
                "there are packs, and no index lists any of them",
                safe="nothing was removed",
                hint="check that the index files are there; the repair command builds them anew",
            )
        progress.phase("trees")
        survey.reach = Reachable(repository.box, survey.index, progress)
        survey.reach.walk(roots.trees(without=roots.forgotten.keys() - roots.snapshots.keys()))
        survey.find_missing()
        survey.reach.walk(roots.trees(without=roots.snapshots))
        survey.find_missing(give_up=True)
        return survey

    def load(self, index_ids: Iterable[str]) -> None:
        """Take in further index files; raises DamageError for one that is not readable."""
        self.index.extend(self._packs_of(index_ids))
        known = [pack for pack in self.unlisted if self.index.pack_number(bytes.fromhex(pack)) is not None]
        self.stored.extend([-1] * (self.index.pack_count - len(self.stored)))
        for pack in known:
            self.stored[self.number(bytes.fromhex(pack))] = self.unlisted.pop(pack)

    def _packs_of(self, index_ids: Iterable[str]) -> Iterator[ListedPack]:
        for index_id in index_ids:
            self.progress.raise_if_cancelled()
            numbers = self.files[index_id] = array("I")
            for pack in listed_packs(self.box.load(Kind.INDEX, index_id)):
                yield pack
                numbers.append(self.number(pack.id))

    def number(self, pack: bytes) -> int:
        """Return the number of a pack that the index knows."""
        number = self.index.pack_number(pack)
        if number is None:
            raise KeyError(pack.hex())
        return number

    def _list_packs(self) -> None:
        for name, size in self.box.store.list(Kind.PACK):
            pack = object_id(name)
            if pack is None:
                continue
            number = self.index.pack_number(bytes.fromhex(pack))
            if number is None:
                self.unlisted[pack] = size
            else:
                self.stored[number] = size

    def find_missing(self, *, give_up: bool = False) -> None:
        """Look for what no index knows in the packs that no index lists.

        What is nowhere raises DamageError, or, with `give_up`, is counted as lost.
        A writer that was frozen in the one instant between its last look and its
        snapshot can have published a snapshot of what a prune had un-indexed.
        """
        while self.reach.missing:
            packs = [(pack, blobs) for pack in self.unlisted if (blobs := self._wanted_header(pack))]
            if not packs and give_up:
                self.lost += len(self.reach.missing)
                self.reach.missing.clear()
            elif not packs:
                self._refuse_missing()
            for pack, blobs in packs:
                self.index.add_pack(pack, blobs)
                self.stored.append(self.unlisted.pop(pack))
                self.rescued.add(self.number(bytes.fromhex(pack)))
            self.reach.again()

    def _wanted_header(self, pack: str) -> list[PackedBlob]:
        """Return the blobs of a pack that holds something missing and is whole; else nothing."""
        self.progress.raise_if_cancelled()
        name, size = object_name(Kind.PACK, pack), self.unlisted[pack]
        with suppress(DamageError, NotFoundError):
            tail = self.box.store.get(name, offset=max(0, size - _TAIL), length=min(size, _TAIL))
            length = header_length(tail, size)
            if length + 4 > len(tail):
                tail = self.box.store.get(name)
            blobs = decode_header(self.box.key.open(tail[-4 - length : -4]))
            if any((blob.kind, blob.id) in self.reach.missing for blob in blobs):
                content = self.box.store.get(name)
                if hashlib.sha256(content).hexdigest() == pack:
                    return read_header(content, self.box.key)
        return []

    def warnings(self) -> list[str]:
        """Return what is wrong with forgotten snapshots, a sentence each."""
        if not self.lost:
            return []
        return [f"{self.lost} blobs of forgotten snapshots are gone, so they cannot all be brought back"]

    def _refuse_missing(self) -> NoReturn:
        raise DamageError(
            f"{len(self.reach.missing)} blobs that snapshots refer to are in no pack",
            safe="nothing was removed",
            hint="run `check` to see which snapshots are affected",
        )
