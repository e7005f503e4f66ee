"""The PDF of a report: the same document gives the same bytes, on any day and in any process.

Exceptions come first. Long tables are cut: the CSV files have every row, and
the index at the end names them with their digests.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate

from edurise_backup.model.reports import ControlStatus
from reports import listings, sections
from reports.document import Document
from reports.layout import MARGIN, PAGE, Layout, draw_frame
from reports.wording import moment

NAME = "report.pdf"


def write_pdf(path: Path, document: Document) -> None:
    """Lay the document out and write it as a new file."""
    layout = Layout()
    title = layout.letters.plain(f"EduRise Backup · {scope(document)}")
    made = layout.letters.plain(f"made {moment(document.made_at)} by {document.made_by}")
    frame = Frame(MARGIN, MARGIN, PAGE[0] - 2 * MARGIN, PAGE[1] - 2 * MARGIN, 0, 0, 0, 0)
    with path.open("xb") as file:
        template = BaseDocTemplate(
            file,
            pagesize=PAGE,
            title=title,
            author="EduRise Backup",
            subject=f"Rules and thresholds {document.policy.version}",
            lang="en",
            invariant=1,  # no clock, no random id
            pageCompression=1,
        )
        template.addPageTemplates(PageTemplate("page", [frame], onPage=partial(draw_frame, title=title, made=made)))
        template.build(list(_story(document, layout)))


def scope(document: Document) -> str:
    """Return what the report is about, in a few words."""
    source = f"source {document.facts.source}" if document.facts.source else "all sources"
    return f"{document.facts.period.text} ({document.facts.period.zone}), {source}"


def verdict_sentence(document: Document) -> str:
    """Return what the verdict rests on."""
    counts = {
        status: sum(result.status is status for result in document.results)
        for status in (ControlStatus.FAIL, ControlStatus.WARN, ControlStatus.NOT_EVALUATED, ControlStatus.PASS)
    }
    words = ", ".join(f"{count} {status.value.replace('_', ' ')}" for status, count in counts.items())
    exceptions = document.excerpts["exceptions"].total
    return (
        f"{len(document.results)} controls: {words}. {exceptions:,} exception{'' if exceptions == 1 else 's'}. "
        "The verdict is the worst of the controls; what was not evaluated had no data, and is not a pass."
    )


def _story(document: Document, layout: Layout) -> Iterator[Flowable]:
    yield from _cover(document, layout)
    yield from sections.exceptions(document, layout)
    yield from sections.controls(document, layout)
    yield from sections.charts(document, layout)
    yield from sections.sources(document, layout)
    yield from sections.storage(document, layout)
    for name in listings.LISTED:
        yield from listings.listing(document, layout, name)
    yield from sections.method(document, layout)
    yield from sections.index(document, layout)


def _cover(document: Document, layout: Layout) -> Iterator[Flowable]:
    facts = document.facts
    yield layout.title(f"Backup report {facts.period.text}")
    yield layout.gap()
    yield layout.verdict(document.verdict, verdict_sentence(document))
    yield layout.gap()
    so_far = "" if facts.until == facts.period.end else f", of which this report tells until {moment(facts.until)}"
    yield layout.facts(
        [
            ("Scope", f"source {facts.source}" if facts.source else "all sources"),
            ("Period", f"{facts.period.text} in the time zone {facts.period.zone}"),
            ("From, to", f"{moment(facts.period.start)} to {moment(facts.period.end)}{so_far}"),
            ("Made", f"{moment(document.made_at)} by {document.made_by}, of the catalog at that moment"),
            ("Rules and thresholds", document.policy.version),
            ("Made with", f"EduRise Backup {document.product_version}"),
        ]
    )
