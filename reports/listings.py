"""The tables of the PDF: the first rows of each table of evidence, and which columns are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from reportlab.platypus import Flowable

from reports.document import Document
from reports.layout import Column, Layout
from reports.wording import UNKNOWN, bare_moment, length, size

Record = Mapping[str, object]

SHOWN = 200
"""Rows of a table that the PDF shows; the CSV file has all of them."""
LISTED: dict[str, tuple[tuple[Column, str], ...]] = {
    "recoveries": (
        (Column("Began (UTC)", 16), "started_at"),
        (Column("Recovery", 8), "id"),
        (Column("Of backup", 8), "backup_id"),
        (Column("Type", 9), "type"),
        (Column("Status", 12), "status"),
        (Column("Proof", 8), "verification_status"),
        (Column("Took", 9, right=True), "duration_seconds"),
        (Column("Restored", 9, right=True), "restored_bytes"),
        (Column("Proved, or found", 42), "remark"),
    ),
    "verifications": (
        (Column("Began (UTC)", 16), "started_at"),
        (Column("Verification", 9), "id"),
        (Column("Of backup", 8), "backup_id"),
        (Column("Type", 9), "backup_type"),
        (Column("Status", 12), "status"),
        (Column("Verdict", 8), "verification_status"),
        (Column("Took", 9, right=True), "duration_seconds"),
        (Column("Read", 9, right=True), "bytes_read"),
        (Column("Found", 40), "remark"),
    ),
    "backups": (
        (Column("Began (UTC)", 16), "started_at"),
        (Column("Backup", 8), "id"),
        (Column("Type", 9), "type"),
        (Column("Reads", 9), "incremental"),
        (Column("Status", 12), "status"),
        (Column("Verified", 8), "verification_status"),
        (Column("Took", 9, right=True), "duration_seconds"),
        (Column("Source", 9, right=True), "source_bytes"),
        (Column("Stored", 9, right=True), "stored_bytes"),
        (Column("Error or warning", 34), "remark"),
    ),
    "expected_runs": (
        (Column("Due (UTC)", 16), "due_at"),
        (Column("Schedule", 22), "schedule"),
        (Column("Type", 10), "type"),
        (Column("Source", 14), "source"),
        (Column("Outcome", 9), "outcome"),
        (Column("Job", 8), "job_id"),
        (Column("Frozen (UTC)", 16), "frozen_at"),
        (Column("Reason", 28), "reason"),
    ),
    "deletions": (
        (Column("Taken (UTC)", 16), "started_at"),
        (Column("Backup", 8), "id"),
        (Column("Type", 10), "type"),
        (Column("Size", 9, right=True), "source_bytes"),
        (Column("Forgotten (UTC)", 16), "forgotten_at"),
        (Column("Promised until (UTC)", 16), "promised_until"),
        (Column("Missing since (UTC)", 16), "missing_since"),
        (Column("Judgement", 20), "judgement"),
    ),
    "maintenance": (
        (Column("Began (UTC)", 16), "started_at"),
        (Column("Job", 8), "id"),
        (Column("Kind", 8), "kind"),
        (Column("Status", 12), "status"),
        (Column("Verdict", 8), "verification_status"),
        (Column("Took", 9, right=True), "duration_seconds"),
        (Column("Repository", 9, right=True), "repository_bytes"),
        (Column("Deleted", 9, right=True), "deleted_bytes"),
        (Column("Found", 40), "remark"),
    ),
    "alarms": (
        (Column("Raised (UTC)", 16), "raised_at"),
        (Column("Severity", 8), "severity"),
        (Column("Kind", 14), "kind"),
        (Column("About", 14), "subject"),
        (Column("Message", 40), "message"),
        (Column("Settled (UTC)", 16), "settled_at"),
        (Column("Acknowledged by", 12), "acknowledged_by"),
    ),
}
"""The tables that follow the charts, with the columns that are shown of each."""


def listing(document: Document, layout: Layout, name: str) -> Iterator[Flowable]:
    """One table of evidence."""
    excerpt, listed = document.excerpts[name], LISTED[name]
    yield from layout.section(excerpt.title)
    if not excerpt.total:
        yield layout.text("None in the period.")
        return
    rows = [[shown(column, _value(row, column)) for _, column in listed] for row in excerpt.records()]
    yield from layout.table([column for column, _ in listed], rows)
    yield from rest(document, layout, name)


def rest(document: Document, layout: Layout, name: str) -> Iterator[Flowable]:
    excerpt = document.excerpts[name]
    if excerpt.total > len(excerpt.rows):
        yield layout.note(
            f"These are the first {len(excerpt.rows):,} of {excerpt.total:,}; all of them are in {excerpt.file.name}."
        )


def shown(name: str, value: object) -> str:
    """Return a value of a table as a person reads it."""
    match value:
        case None | "":
            return UNKNOWN
        case bool():
            return "changes" if value else "everything"
        case UUID():
            return str(value)[:8]
        case datetime():
            return bare_moment(value)
        case list():
            return "; ".join(map(str, value))
        case _:
            return _shown_text(name, value)


def _shown_text(name: str, value: object) -> str:
    if name == "duration_seconds":
        return length(float(str(value)))
    if name.endswith("bytes"):
        return size(int(str(value)))
    return str(value).replace("_", " ") if name in ("status", "kind") else str(value)


_REMARKS: tuple[str, ...] = ("error", "findings", "warnings", "checks")


def _value(row: Record, column: str) -> object:
    """Return a cell; a remark is the first thing that there is to say."""
    if column != "remark":
        return row[column]
    return next((row[name] for name in _REMARKS if row.get(name)), None)
