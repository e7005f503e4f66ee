"""Check a repository: every reference, every size, and on request the bytes, all of them or within a budget.

Findings are collected, not raised: one damaged pack must not hide another.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from edurise_backup.errors import BackupError, CancelledError, DamageError, NotFoundError
from edurise_backup.model.snapshot import Snapshot, SnapshotId, decode_snapshot
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import Clock, Progress, utc_now
from edurise_backup.repository.index import Index
from edurise_backup.repository.index_files import ListedPack, listed_packs
from edurise_backup.repository.layout import Kind, object_id
from edurise_backup.repository.repairing.affected import Affected, Availability, Blob, find_affected
from edurise_backup.repository.repairing.examining import examine_pack, indexed_blobs, lost_blobs
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.undoing import list_forgotten
from edurise_backup.verification.budget import Budget
from edurise_backup.verification.coverage import CoverageFigures, CoverageKeeper, load_coverage
from edurise_backup.verification.packs import PackProof
from edurise_backup.verification.reading import Seconds, read_packs
from edurise_backup.verification.suspects import note_suspects
from edurise_backup.verification.trees import TreeCheck, UsedBlobs


@dataclass(slots=True)
class CheckResult:
    """What was looked at, and what is wrong; without findings everything looked at can be restored."""

    snapshots: int = 0
    packs: int = 0
    blobs: int = 0
    """Of a check of everything, all that the index knows; else those that the snapshots need."""
    packs_read: int = 0
    bytes_read: int = 0
    findings: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """Harmless things, such as packs that no index knows (of an interrupted backup)."""
    damaged_packs: list[str] = field(default_factory=list)
    """Packs whose bytes or sizes are not what was written; `repair packs` salvages what is whole in them."""
    affected: Affected = field(default_factory=Affected)
    """The paths of all checked snapshots that the findings cost, also where trees are shared."""
    coverage: CoverageFigures = field(default_factory=lambda: CoverageFigures(0, 0, 0, None, 0, 0))
    """How long ago the bytes of the packs that belong to the check were last proved."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def check(
    repository: Repository,
    *,
    progress: Progress,
    read_data: bool = False,
    snapshots: Iterable[str] | None = None,
    budget: Budget | None = None,
    record: bool = True,
    now: Clock = utc_now,
    seconds: Seconds = time.monotonic,
    prove: Prove | None = None,
) -> CheckResult:
    """Check the whole repository, or only what the given snapshots need.

    With `read_data` every byte is read, with a budget the packs that were never
    proved and then those that have waited longest, at least one. `record`: keep
    in the repository which packs passed and which are damaged; off for a medium
    that cannot be written. `prove`: who reads the packs, if not this machine alone.
    Raises CancelledError; what passed until then is kept.
    """
    chosen = None if snapshots is None else list(snapshots)
    work = _Check(repository, progress, record=record, now=now, seconds=seconds, prove=prove)
    return work.run(budget or (Budget() if read_data else None), chosen)


Prove = Callable[[list[str]], Iterable[PackProof]]
"""Reads packs and yields their proofs, in any order."""


class _Beside(SilentProgress):
    """Of what goes on beside the reading: ends with the whole, and when that has failed."""

    def __init__(self, whole: Progress) -> None:
        super().__init__()
        self._whole = whole

    def raise_if_cancelled(self) -> None:
        """Raise CancelledError when there is nothing left to be done."""
        self._whole.raise_if_cancelled()
        super().raise_if_cancelled()


class _Check:
    def __init__(
        self,
        repository: Repository,
        progress: Progress,
        *,
        record: bool,
        now: Clock,
        seconds: Seconds,
        prove: Prove | None,
    ) -> None:
        self._repository = repository
        self._proved_by = prove
        self._progress = progress
        self._beside = _Beside(progress)
        self._record = record
        self._now = now
        self._seconds = seconds
        self._result = CheckResult()
        self._sizes: dict[str, int] = {}

    def run(self, budget: Budget | None, chosen: list[str] | None) -> CheckResult:
        self._progress.phase("index")
        if chosen is None:
            self._check_keys()
        self._load_indexes()
        listed = self._repository.store.list(Kind.PACK)
        self._sizes = {pack: size for name, size in listed if (pack := object_id(name)) is not None}
        self._progress.phase("trees")
        trees = TreeCheck(self._repository, self._beside, None if chosen is None else UsedBlobs())
        snapshots = dict(self._snapshots(chosen))
        with ThreadPoolExecutor(1, thread_name_prefix="trees") as beside:
            walking = beside.submit(self._walk, trees, snapshots, whole=chosen is None)
            try:
                if trees.used is not None:
                    walking.result()  # only now it is known which packs are needed
                gone = self._check_packs(trees.used)
                self._prove(budget, trees.used)
                walking.result()
            except BaseException:
                self._beside.cancel()
                raise
        self._result.snapshots = len(snapshots)
        self._result.findings += trees.findings
        self._find_affected(snapshots, trees, gone)
        return self._result

    def _walk(self, trees: TreeCheck, snapshots: dict[SnapshotId, Snapshot], *, whole: bool) -> None:
        for snapshot_id, snapshot in snapshots.items():
            trees.walk(snapshot.tree, f"snapshot {snapshot_id[:8]}")
        if whole:
            self._walk_forgotten(trees)

    def _walk_forgotten(self, trees: TreeCheck) -> None:
        """Look at what may still be brought back; a stock prune does not know of it, so what is lost is no damage."""
        for snapshot_id, forgotten in list_forgotten(self._repository).items():
            alone = TreeCheck(self._repository, self._beside, seen=trees.seen)
            alone.walk(forgotten.snapshot.tree, f"forgotten snapshot {snapshot_id[:8]}")
            if alone.findings:
                self._result.remarks.append(
                    f"the forgotten snapshot {snapshot_id[:8]} cannot be brought back whole: {alone.findings[0]}"
                )

    def _check_keys(self) -> None:
        """A damaged key is found now, not when it is the only one that somebody has left."""
        for key_id in self._repository.key_ids():
            try:
                self._repository.key_file(key_id)
            except BackupError as error:
                self._result.findings.append(f"key {key_id[:8]}: {error.message}")

    def _load_indexes(self) -> None:
        index = Index()
        index.extend(self._listed())
        self._repository.index = index

    def _listed(self) -> Iterator[ListedPack]:
        for index_id in self._repository.box.ids(Kind.INDEX):
            self._progress.raise_if_cancelled()
            try:
                yield from listed_packs(self._repository.box.load(Kind.INDEX, index_id))
            except (DamageError, NotFoundError) as error:
                self._result.findings.append(f"index {index_id[:8]}: {error.message}")

    def _snapshots(self, chosen: list[str] | None) -> Iterable[tuple[SnapshotId, Snapshot]]:
        for name in self._repository.box.ids(Kind.SNAPSHOT) if chosen is None else chosen:
            self._progress.raise_if_cancelled()
            try:
                yield SnapshotId(name), decode_snapshot(self._repository.box.load(Kind.SNAPSHOT, name))
            except (DamageError, NotFoundError) as error:
                self._result.findings.append(f"snapshot {name[:8]}: {error.message}")

    def _check_packs(self, used: UsedBlobs | None) -> set[str]:
        """Compare the packs with the index; return those that are missing."""
        index = self._repository.index
        gone = set()
        unreadable_index = any(finding.startswith("index ") for finding in self._result.findings)
        for pack, expected in index.sizes():
            if used is not None and pack not in used.packs:
                continue
            self._result.packs += 1
            if pack not in self._sizes:
                gone.add(pack)
                self._result.findings.append(f"pack {pack[:8]} is missing")
            elif self._sizes[pack] != expected:
                self._result.damaged_packs.append(pack)
                self._result.findings.append(
                    f"pack {pack[:8]} has {self._sizes[pack]} bytes, its index says {expected}"
                )
        self._result.blobs = len(index) if used is None else len(used)
        unknown = len(self._sizes.keys() - set(index.packs))
        if used is None and unknown and not unreadable_index:
            self._result.remarks.append(f"{unknown} packs are in no index; the next prune removes them")
        return gone

    def _prove(self, budget: Budget | None, used: UsedBlobs | None) -> None:
        """Read packs as far as the budget goes, and say how fresh the proof of all of them is."""
        known = self._repository.index.packs if used is None else used.packs
        sizes = {pack: self._sizes[pack] for pack in known if pack in self._sizes}
        coverage = load_coverage(self._repository.box, now=self._now())
        self._result.remarks += coverage.damage
        if budget is not None:
            chosen = budget.choose(coverage.oldest(sizes), sizes)
            self._progress.phase("read", bytes_total=sum(sizes[pack] for pack in chosen))
            keeper = CoverageKeeper(self._repository.box, coverage, now=self._now)
            try:
                self._read(chosen, budget, keeper)
            finally:
                if self._record:
                    self._result.remarks += keeper.close(self._sizes)
        self._result.coverage = coverage.figures(sizes, now=self._now())
        self._note_damaged()

    def _read(self, packs: list[str], budget: Budget, keeper: CoverageKeeper) -> None:
        wrong_size = frozenset(self._result.damaged_packs)
        proofs: Iterable[PackProof]
        if self._proved_by is not None:
            proofs = self._proved_by(packs)
        else:
            limit, seconds = budget.time, self._seconds
            proofs = read_packs(self._repository, packs, progress=self._progress, limit=limit, seconds=seconds)
        for proof in proofs:
            self._count(proof)
            if proof.passed and proof.pack not in wrong_size:
                keeper.passed(proof.pack)

    def _count(self, proof: PackProof) -> None:
        self._result.packs_read += 1
        self._result.bytes_read += proof.size
        self._result.findings += proof.findings
        if proof.damaged and proof.pack not in self._result.damaged_packs:
            self._result.damaged_packs.append(proof.pack)

    def _note_damaged(self) -> None:
        if not self._record or not self._result.damaged_packs:
            return
        try:
            note_suspects(self._repository.box, self._result.damaged_packs, now=self._now)
        except BackupError as error:
            self._result.remarks.append(f"the damaged packs could not be noted for a repair: {error.message}")

    def _find_affected(self, snapshots: dict[SnapshotId, Snapshot], trees: TreeCheck, gone: set[str]) -> None:
        if not (trees.findings or gone or self._result.damaged_packs):
            return
        self._progress.phase("affected")
        available = Availability(self._repository.index, gone, self._lost(), trees.flawed)
        self._result.affected = find_affected(self._repository, snapshots, available, progress=self._progress)

    def _lost(self) -> frozenset[Blob]:
        """Look into the damaged packs: what is whole in them costs no file."""
        box = self._repository.box
        packs = self._result.damaged_packs
        indexed = indexed_blobs(box, frozenset(packs), progress=self._progress, problems=[])
        examined = []
        for pack in packs:
            try:
                examined.append(examine_pack(box, pack, indexed.get(pack), progress=self._progress))
            except CancelledError:
                raise
            except BackupError as error:
                self._result.remarks.append(f"pack {pack[:8]} could not be looked into: {error.message}")
        return lost_blobs(self._repository, self._repository.index, examined, progress=self._progress)
