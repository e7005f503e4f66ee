"""The sections of the PDF, each from a document to what is laid out."""

from __future__ import annotations

from collections.abc import Iterator

from reportlab.lib.units import mm
from reportlab.platypus import Flowable
from reportlab.platypus.flowables import KeepTogether

from reports import charts as drawing
from reports.controls import CONTROLS
from reports.document import Document
from reports.layout import Column, Layout
from reports.listings import rest, shown
from reports.reading import bin_unit
from reports.wording import UNKNOWN, length, moment, size

_TIME_STEPS = (1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 14400, 28800, 43200, 86400, 172800, 604800)


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
    yield from rest(document, layout, "exceptions")


def controls(document: Document, layout: Layout) -> Iterator[Flowable]:
    """Every control with its share."""
    yield from layout.section("Controls")
    columns = [
        Column("Control", 18),
        Column("Title", 26),
        Column("Status", 17),
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
    yield from layout.section(f"By {unit}", room=60 * mm)
    if not any(one.good or one.failed for one in facts.bins):
        yield layout.text("No backup ended in the period: there is nothing to draw.")
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


def method(document: Document, layout: Layout) -> Iterator[Flowable]:
    """How each share is counted."""
    yield from layout.section("Method", room=90 * mm)
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
    yield from layout.section("Evidence", room=75 * mm)
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


def _share(numerator: int, denominator: int) -> str:
    return f"{numerator * 10_000 // denominator / 100:.2f} %" if denominator else UNKNOWN


def _texts(document: Document) -> Iterator[str]:
    for excerpt in document.excerpts.values():
        for row in excerpt.rows:
            yield from (value for value in row if isinstance(value, str))
