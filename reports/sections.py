"""The sections of the PDF, each from a document to what is laid out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID

from reportlab.platypus import Flowable
from reportlab.platypus.flowables import KeepTogether

from reports import charts as drawing
from reports.controls import CONTROLS
from reports.document import Document
from reports.layout import Column, Layout
from reports.reading import bin_unit
from reports.wording import UNKNOWN, bare_moment, length, moment, size

Record = Mapping[str, object]

SHOWN = 200
"""Rows of a table that the PDF shows; the CSV file has all of them."""
_TIME_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 604800)

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


def exceptions(document: Document, layout: Layout) -> Iterator[Flowable]:
    """What needs a person, the worst first."""
    excerpt = document.excerpts["exceptions"]
    yield from layout.section("Exceptions")
    if not excerpt.total:
        yield layout.text("None was recorded. Controls that were not evaluated, if any, are listed below.")
        return
    counted = [[severity, kind, f"{count:,}"] for (severity, kind), count in document.exceptions]
    yield from layout.table(
        [Column("Severity", 10), Column("What happened", 40), Column("How often", 10, True)], counted
    )
    yield layout.gap()
    columns = [
        Column("Severity", 8),
        Column("When (UTC)", 16),
        Column("What happened", 16),
        Column("About", 12),
        Column("Id", 8),
        Column("Details", 42),
        Column("To do", 28),
    ]
    names = ("severity", "at", "kind", "about", "id", "what", "to_do")
    yield from layout.table(columns, [[shown(name, row[name]) for name in names] for row in excerpt.records()])
    yield from _rest(document, layout, "exceptions")


def controls(document: Document, layout: Layout) -> Iterator[Flowable]:
    """Every control with its share."""
    yield from layout.section("Controls")
    columns = [
        Column("Control", 18),
        Column("Title", 26),
        Column("Status", 12),
        Column("Counted", 12, right=True),
        Column("Of", 12, right=True),
        Column("Share", 9, right=True),
        Column("Observed", 56),
    ]
    rows = [
        [
            result.id,
            result.title,
            result.status.value.replace("_", " "),
            f"{result.numerator:,}",
            f"{result.denominator:,}",
            result.percent,
            result.observed,
        ]
        for result in document.results
    ]
    yield from layout.table(columns, rows, [result.status for result in document.results])


def charts(document: Document, layout: Layout) -> Iterator[Flowable]:
    """Outcomes, durations and growth over the period."""
    facts = document.facts
    unit = bin_unit(facts.period)
    yield from layout.section(f"By {unit}")
    if not facts.bins:
        yield layout.text("No backup began in the period: there is nothing to draw.")
        return
    zone = facts.period.zone
    outcomes = [
        drawing.Bar(
            one.start,
            (
                (one.good - one.warned, drawing.GOOD),
                (one.warned, drawing.WARNED),
                (one.failed, drawing.FAILED),
            ),
        )
        for one in facts.bins
    ]
    told = facts.backups
    yield KeepTogether(
        [
            layout.text(
                f"Backups by outcome: {told.good - told.warned:,} completed (green), {told.warned:,} with warnings "
                f"(yellow), {told.failed:,} failed (red)."
            ),
            drawing.bar_chart(outcomes, zone=zone, unit=unit, label=lambda value: f"{value:,.0f}", steps=_COUNTS),
        ]
    )
    times = [drawing.Bar(one.start, ((one.p95 or 0.0, drawing.PLAIN),)) for one in facts.bins]
    limit = float(document.policy.objectives.full_backup_minutes * 60)
    yield KeepTogether(
        [
            layout.text(
                f"Time that 95 % of the good backups took at most, of all types. Full: {length(facts.full.p95)}; "
                f"incremental: {length(facts.incremental.p95)}. The line is the objective of full backups."
            ),
            drawing.bar_chart(times, zone=zone, unit=unit, label=length, limit=limit, steps=_TIME_STEPS),
        ]
    )
    stored = [drawing.Bar(one.start, ((float(one.stored), drawing.PLAIN),)) for one in facts.bins]
    total = sum(one.stored for one in facts.bins)
    yield KeepTogether(
        [
            layout.text(f"Bytes added to the repository: {size(total)} in all."),
            drawing.bar_chart(stored, zone=zone, unit=unit, label=lambda value: size(round(value)), steps=_SIZES),
        ]
    )


_COUNTS = tuple(factor * 10**power for power in range(8) for factor in (1, 2, 5))
_SIZES = tuple(factor * 1024**power for power in range(6) for factor in (1, 2, 5, 10, 20, 50, 100, 200, 500))


def sources(document: Document, layout: Layout) -> Iterator[Flowable]:
    """How each source was protected."""
    yield from layout.section("Sources")
    columns = [
        Column("Kind", 12),
        Column("Source", 30),
        Column("Good backups in the period", 16, right=True),
        Column("Newest that can be restored", 20),
        Column("Newest verified", 20),
        Column("Time within the RPO", 16, right=True),
    ]
    rows = [
        [
            source.part.value,
            source.name or "none is configured",
            f"{source.backups:,}",
            moment(source.newest),
            moment(source.newest_verified),
            _share(source.seconds_covered, source.seconds),
        ]
        for source in document.facts.sources
    ]
    yield from layout.table(columns, rows)


def storage(document: Document, layout: Layout) -> Iterator[Flowable]:
    """What the period's backups became on their way into the repository."""
    yield from layout.section("Storage and growth")
    facts = document.facts
    if not facts.storage:
        yield layout.text("No good backup began in the period.")
    else:
        heads = ("Backups", "Original", "After deduplication", "After compression", "Stored")
        columns = [Column("Type", 16), *(Column(head, 16, right=True) for head in heads)]
        rows = [
            [
                one.type.value,
                f"{one.backups:,}",
                size(one.original),
                size(one.new),
                size(one.compressed),
                size(one.stored),
            ]
            for one in facts.storage
        ]
        yield from layout.table(columns, rows)
        if any(one.new is None or one.compressed is None for one in facts.storage):
            yield layout.note(f"{UNKNOWN}: not recorded for every backup (those of earlier releases).")
    if len(facts.repository_bytes) > 1:
        (first, before), (last, after) = facts.repository_bytes[0], facts.repository_bytes[-1]
        yield layout.text(
            f"The repository had {size(before)} at {moment(first)} and {size(after)} at {moment(last)}: "
            f"{'+' if after >= before else '–'}{size(abs(after - before))}."
        )
    else:
        yield layout.text(
            "How the whole repository grew is not known: fewer than two prunes or checks recorded its size."
        )


def listing(document: Document, layout: Layout, name: str) -> Iterator[Flowable]:
    """One table of evidence."""
    excerpt, listed = document.excerpts[name], LISTED[name]
    yield from layout.section(excerpt.title)
    if not excerpt.total:
        yield layout.text("None in the period.")
        return
    rows = [[shown(column, _value(row, column)) for _, column in listed] for row in excerpt.records()]
    yield from layout.table([column for column, _ in listed], rows)
    yield from _rest(document, layout, name)


def method(document: Document, layout: Layout) -> Iterator[Flowable]:
    """How each share is counted."""
    yield from layout.section("Method")
    yield layout.text(
        "A share is 100 · numerator / denominator, cut to two places, so that 100 % means every one. Without a "
        "denominator nothing was seen: the control is not evaluated, which is not a pass. A job belongs to the period "
        "in which it began. Expected runs were written down before they were due, and stay when their schedule is "
        "changed or removed. Checks, prunes and alarms are those of the whole repository, whatever the source."
    )
    columns = [Column("Control", 18), Column("Passes when", 34), Column("Numerator", 38), Column("Denominator", 38)]
    columns.append(Column("Supports evidence for", 30))
    rows = [
        [control.id, document.policy.words(control.rule), control.numerator, control.denominator, control.supports]
        for control in CONTROLS
    ]
    yield from layout.table(columns, rows)
    yield layout.note("Clauses are named as those that the evidence supports. This report certifies nothing.")


def index(document: Document, layout: Layout) -> Iterator[Flowable]:
    """The files that belong to the report."""
    yield from layout.section("Evidence")
    yield layout.text(
        "Every row is in these files, which lie beside this one. SHA256SUMS holds the same digests, and this file's: "
        "`sha256sum -c SHA256SUMS` checks them, and `edurise-backup report verify` compares with the catalog."
    )
    columns = [
        Column("File", 22),
        Column("Rows", 10, right=True),
        Column("Bytes", 14, right=True),
        Column("SHA-256", 70),
    ]
    rows = [
        [one.file.name, f"{one.total:,}", f"{one.file.size:,}", one.file.sha256] for one in document.excerpts.values()
    ]
    yield from layout.table(columns, rows)
    letters = layout.letters
    if any(letters.plain(text) != " ".join(text.split()) for text in _texts(document)):
        yield layout.note("A letter that the font of this file lacks is shown as its number, such as \\u0939.")


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


def _rest(document: Document, layout: Layout, name: str) -> Iterator[Flowable]:
    excerpt = document.excerpts[name]
    if excerpt.total > len(excerpt.rows):
        yield layout.note(
            f"These are the first {len(excerpt.rows):,} of {excerpt.total:,}; all of them are in {excerpt.file.name}."
        )


def _share(numerator: int, denominator: int) -> str:
    return f"{numerator * 10_000 // denominator / 100:.2f} %" if denominator else UNKNOWN


def _texts(document: Document) -> Iterator[str]:
    for excerpt in document.excerpts.values():
        for row in excerpt.rows:
            yield from (value for value in row if isinstance(value, str))
