"""The audit rows of backups: which snapshots were made and which were forgotten, so that none goes without a word."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec

from edurise_backup.errors import DamageError
from edurise_backup.model.audit import AuditRow, Outcome
from edurise_backup.model.audit_chain import AuditFinding, Fault
from edurise_backup.model.jobs import BackupJob
from edurise_backup.model.people import SYSTEM, Actor
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.repository.forgetting import read_forgotten
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository

COMPLETE = "backup.complete"
FORGET = "backup.forget"
BRING_BACK = "backup.bring_back"
ACCEPT_GONE = "backup.accept_gone"
ELSEWHERE = "backup.forgotten_elsewhere"
_MADE = frozenset({COMPLETE, BRING_BACK})
_GONE = frozenset({FORGET, ACCEPT_GONE, ELSEWHERE})


@dataclass(frozen=True, slots=True)
class _Told:
    """What the trail says of a snapshot that must be there."""

    row: int
    backup: str


def record_backup(catalog: Catalog, repository: Repository, actor: Actor, action: str, backup: BackupJob) -> None:
    """Write what became of a backup's snapshots into the audit trail."""
    _record(catalog, repository, actor, action, str(backup.id), [part.snapshot_id for part in backup.parts])


def note_forgotten_elsewhere(catalog: Catalog, repository: Repository) -> int:
    """Give snapshots that were forgotten without the catalog (`repo forget`) their rows, while notes tell of them."""
    expected = _expected(catalog, repository)
    listed = set(repository.box.ids(Kind.SNAPSHOT))
    try:
        waiting = {str(snapshot) for snapshot in read_forgotten(repository.box)}
    except DamageError:
        return 0  # `check` tells of it; a finding later is better than a row that is not true
    found = sorted(snapshot for snapshot in expected if snapshot in waiting and snapshot not in listed)
    for snapshot in found:
        _record(catalog, repository, SYSTEM, ELSEWHERE, expected[snapshot].backup, [snapshot])
    return len(found)


def vanished_snapshots(catalog: Catalog, repository: Repository) -> tuple[list[AuditFinding], list[str]]:
    """Return a finding for each snapshot that the trail says was made, nobody forgot, and the repository has not."""
    expected = _expected(catalog, repository)
    listed = set(repository.box.ids(Kind.SNAPSHOT))
    try:
        waiting = {str(snapshot) for snapshot in read_forgotten(repository.box)}
    except DamageError as error:
        waiting, problem = set[str](), [error.message]
    else:
        problem = []
    listed |= set(repository.box.ids(Kind.SNAPSHOT))  # an undo publishes the snapshot before its note goes
    findings, elsewhere = [], 0
    for snapshot, told in expected.items():
        if snapshot in listed:
            continue
        if snapshot in waiting:
            elsewhere += 1
            continue
        message = (
            f"the snapshot {snapshot[:12]} of the backup {told.backup} (row {told.row}) is gone, and no row says that "
            "somebody forgot it"
        )
        findings.append(AuditFinding(Fault.SNAPSHOT, told.row, message))
    remarks = [f"{elsewhere} snapshots were forgotten outside of the catalog; the next anchoring writes their rows"]
    return findings, [*problem, *(remarks if elsewhere else [])]


def _record(
    catalog: Catalog, repository: Repository, actor: Actor, action: str, subject: str, snapshots: Sequence[str]
) -> None:
    detail = {"repository": repository.config.id, "snapshots": list(snapshots)}
    catalog.audit.add(actor, action, subject, outcome=Outcome.DONE, detail=detail)


def _expected(catalog: Catalog, repository: Repository) -> dict[str, _Told]:
    """Return the snapshots of this repository that must be there by the trail, in the order of their rows."""
    expected: dict[str, _Told] = {}
    for row in catalog.audit.rows():
        if row.action in _MADE:
            expected |= {snapshot: _Told(row.seq, row.subject) for snapshot in _snapshots(row, repository)}
        elif row.action in _GONE:
            for snapshot in _snapshots(row, repository):
                expected.pop(snapshot, None)
    return expected


def _snapshots(row: AuditRow, repository: Repository) -> Iterator[str]:
    detail = msgspec.json.decode(row.detail)
    if detail.get("repository") == repository.config.id:
        yield from map(str, detail.get("snapshots", ()))
