"""Seal the audit trail's head into the repository, and prove that the trail is what it was.

The catalog's masters can write any row; the repository's key is not theirs. An
anchor is a sealed note `edurise/audit/…` with the number and the hash of the
newest row: rows up to it cannot be changed, removed or cut off unnoticed. Rows
since then are held by their chain alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from edurise_backup.catalog.audit import add_row
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, ConflictError, DamageError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.audit import NOTHING, AuditRow
from edurise_backup.model.audit_chain import Anchor, AuditFinding, Chain, Fault, compare_anchors, follow_chain
from edurise_backup.model.people import SYSTEM, Actor
from edurise_backup.operations.audited import note_forgotten_elsewhere, vanished_snapshots
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.people import local_actor
from edurise_backup.operations.primary import opened_primary
from edurise_backup.repository.repository import Repository

FOLDER = "audit"
ANCHOR = "audit.anchor"
FOLLOWS = "audit.follows"
LOST = "audit.lost"
_SUBJECT = "audit trail"


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a look at the whole trail has found."""

    rows: int
    head: str
    """The hash of the newest row."""
    head_at: datetime | None
    anchors: int
    anchored_to: int
    """The newest row that an anchor proves; 0 for none."""
    anchored_at: datetime | None
    findings: tuple[AuditFinding, ...]
    remarks: tuple[str, ...]

    @property
    def intact(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class Anchored:
    """What was sealed."""

    anchor: Anchor
    report: AuditReport


class _Note(msgspec.Struct, kw_only=True, frozen=True):
    first: str
    seq: int
    hash: str
    at: datetime


def verify_audit(catalog: Catalog, repository: Repository | None = None) -> AuditReport:
    """Look at every row and every anchor; what is wrong is a finding, the first bad row named, no error.

    Without a repository only the chain is looked at, and the report says so.
    """
    if repository is None:
        chain = follow_chain(catalog.audit.rows)
        found = [chain.finding] if chain.finding else []
        return _report(chain, (), found, ["the anchors in the repository were not looked at"])
    anchors, findings = _anchors(repository)
    chain = follow_chain(catalog.audit.rows, [anchor.seq for anchor in anchors])
    lost, told = _lost(catalog)
    own = [anchor for anchor in anchors if anchor.first == chain.first and anchor.name not in lost]
    findings = [*([chain.finding] if chain.finding else []), *compare_anchors(chain, own), *findings]
    foreign, remarks = _foreign(catalog, chain, [anchor for anchor in anchors if anchor.first != chain.first])
    findings += [*foreign, *_lost_anchors(catalog, anchors)]
    vanished, more = vanished_snapshots(catalog, repository)
    return _report(chain, own, [*findings, *vanished], [*told, *remarks, *more])


def verify_and_tell(catalog: Catalog, repository: Repository | None = None) -> AuditReport:
    """Do as `verify_audit`, and raise or settle the alarm that belongs to it."""
    report = verify_audit(catalog, repository)
    if report.findings:
        catalog.alarms.raise_alarm(
            Alarm(
                AlarmKind.AUDIT_BROKEN,
                _SUBJECT,
                Severity.CRITICAL,
                report.findings[0].message,
                "follow docs/operations/approvals-and-audit.md, When the trail is broken",
            )
        )
    elif repository is not None:
        catalog.alarms.settle(AlarmKind.AUDIT_BROKEN, _SUBJECT)
    return report


def anchor_audit(*, settings: Settings | None = None, actor: Actor | None = None) -> Anchored:
    """Prove the trail, then seal its head into the repository; to be done every day.

    Snapshots that were forgotten outside of the catalog (`repo forget`) get
    their rows first. Raises DamageError, after an alarm, for a trail that is
    broken: what is wrong is never sealed as if it were right.
    """
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        repository = opened_primary(settings, catalog)
        note_forgotten_elsewhere(catalog, repository)
        report = verify_and_tell(catalog, repository)
        if report.findings:
            raise DamageError(
                f"the audit trail is broken: {report.findings[0].message}",
                safe="nothing was anchored; backups are not affected",
                hint="`edurise-backup audit verify` shows all; follow docs/operations/approvals-and-audit.md",
            )
        return Anchored(seal_head(catalog, repository, actor or local_actor(), catalog.clock()), report)


def seal_head(catalog: Catalog, repository: Repository, actor: Actor, now: datetime) -> Anchor:
    """Seal the newest row into the repository without looking at the others; the trail says so in a row of its own."""
    head = _head(catalog)
    first = next(iter(catalog.audit.rows())).hash
    name = f"{FOLDER}/{first[:16]}/{head.seq:012}-{head.hash[:16]}"
    note = _Note(first=first, seq=head.seq, hash=head.hash, at=now.astimezone(UTC))
    with suppress(ConflictError):  # the same row was anchored before
        repository.box.save_note(name, msgspec.json.encode(note))
    detail = {"seq": head.seq, "hash": head.hash, "repository": repository.config.id}
    catalog.audit.add(actor, ANCHOR, name, detail=detail)
    return Anchor(first, head.seq, head.hash, note.at, name)


def note_predecessors(catalog: Catalog, repository: Repository, actor: Actor) -> int:
    """Write into the trail of a catalog that was made anew which trails came before; return how many.

    Called by `rebuild_catalog`: that an old trail is gone with its catalog is
    then a recorded act, and no finding any more.
    """
    anchors, _ = _anchors(repository)
    chain = follow_chain(catalog.audit.rows)
    known = _followed(catalog)
    last = {anchor.first: anchor for anchor in sorted(anchors, key=lambda anchor: anchor.seq)}
    news = [anchor for first, anchor in last.items() if first != chain.first and known.get(first) != anchor.hash]
    for anchor in news:
        detail = {"seq": anchor.seq, "hash": anchor.hash, "anchored_at": anchor.at.isoformat()}
        catalog.audit.add(actor, FOLLOWS, anchor.first, detail=detail)
    return len(news)


def note_lost(catalog: Catalog, repository: Repository, actor: Actor) -> int:
    """Write into a trail that was just taken over from an export which anchored rows it lacks; return how many anchors.

    Called by `rebuild_catalog`: what was done between the export and the loss
    of the catalog is gone, which is then a recorded act, and a remark for ever.
    """
    anchors, _ = _anchors(repository)
    chain = follow_chain(catalog.audit.rows)
    length = chain.last.seq if chain.last else 0
    beyond = [anchor for anchor in anchors if anchor.first == chain.first and anchor.seq > length]
    for anchor in beyond:
        detail = {"first": length + 1, "last": anchor.seq, "hash": anchor.hash, "anchored_at": anchor.at.isoformat()}
        catalog.audit.add(actor, LOST, anchor.name, detail=detail)
    return len(beyond)


def _lost(catalog: Catalog) -> tuple[set[str], list[str]]:
    """Return the anchors whose rows went with an earlier catalog, as the trail says, and a sentence for each."""
    found = [row for row in catalog.audit.rows() if row.action == LOST]
    details = [msgspec.json.decode(row.detail, type=dict[str, object]) for row in found]
    return {row.subject for row in found}, [
        f"rows {detail['first']} to {detail['last']} went with an earlier catalog, as {row.actor} noted when it was "
        f"rebuilt at {row.at:%Y-%m-%d %H:%M:%S} UTC (row {row.seq})"
        for row, detail in zip(found, details, strict=True)
    ]


def _head(catalog: Catalog) -> AuditRow:
    if not catalog.audit.newest(limit=1):
        catalog.sessions.run(lambda connection: add_row(connection, SYSTEM, "audit.begin", at=catalog.clock()))
    return catalog.audit.newest(limit=1)[0]


def _anchors(repository: Repository) -> tuple[list[Anchor], list[AuditFinding]]:
    """Return the anchors in the repository, and a finding for each that is not readable."""
    anchors, findings = [], []
    for name in sorted(repository.box.notes(FOLDER)):
        try:
            note = msgspec.json.decode(repository.box.load_note(name), type=_Note)
        except (BackupError, msgspec.DecodeError) as error:
            findings.append(AuditFinding(Fault.ANCHOR, None, f"the anchor {name} cannot be read: {error}"))
        else:
            anchors.append(Anchor(note.first, note.seq, note.hash, note.at, name))
    return anchors, findings


def _foreign(catalog: Catalog, chain: Chain, anchors: list[Anchor]) -> tuple[list[AuditFinding], list[str]]:
    """Judge anchors of other trails: those that this one says it follows are history, others a finding."""
    findings, remarks = [], []
    followed = _followed(catalog)
    for anchor in {anchor.first: anchor for anchor in sorted(anchors, key=lambda anchor: anchor.seq)}.values():
        what = f"{anchor.seq} rows, last anchored at {anchor.at:%Y-%m-%d %H:%M:%S} UTC"
        if followed.get(anchor.first) == anchor.hash:
            remarks.append(f"this trail follows another one ({what}), which went with an earlier catalog")
        else:
            begun = "row 1 was written anew" if chain.rows else "row 1 and all others are gone"
            message = f"the repository holds anchors of another trail ({what}): {begun}, or the catalog is another one"
            findings.append(AuditFinding(Fault.REWRITTEN, 1, message))
    return findings, remarks


def _followed(catalog: Catalog) -> dict[str, str]:
    followed = {}
    for row in catalog.audit.rows():
        if row.action == FOLLOWS:
            followed[row.subject] = str(msgspec.json.decode(row.detail)["hash"])
    return followed


def _lost_anchors(catalog: Catalog, anchors: list[Anchor]) -> Iterator[AuditFinding]:
    """Yield the anchors that the trail says were sealed, and that the repository has no more."""
    names = {anchor.name for anchor in anchors}
    for row in catalog.audit.rows():
        if row.action == ANCHOR and row.subject not in names:
            yield AuditFinding(Fault.ANCHOR, row.seq, f"the anchor {row.subject} that row {row.seq} tells of is gone")


def _report(
    chain: Chain, own: list[Anchor] | tuple[()], findings: list[AuditFinding], remarks: list[str]
) -> AuditReport:
    good = [anchor for anchor in own if chain.hashes.get(anchor.seq) == anchor.hash]
    newest = max(good, key=lambda anchor: anchor.seq, default=None)
    return AuditReport(
        rows=chain.rows,
        head=chain.last.hash if chain.last else NOTHING,
        head_at=chain.last.at if chain.last else None,
        anchors=len(own),
        anchored_to=newest.seq if newest else 0,
        anchored_at=newest.at if newest else None,
        findings=tuple(findings),
        remarks=tuple(remarks),
    )
