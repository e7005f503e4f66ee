"""How a page of a report looks: styles, tables, the frame around each page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, CondPageBreak, Flowable, Paragraph, Spacer, Table

from edurise_backup.model.reports import ControlStatus
from reports.lettering import BOLD, REGULAR, Lettering

PAGE = landscape(A4)
MARGIN = 14 * mm
WIDTH = PAGE[0] - 2 * MARGIN
INK = colors.HexColor("#1c2733")
PALE = colors.HexColor("#5c6b7a")
LINE = colors.HexColor("#c9d2da")
SHADE = colors.HexColor("#f2f5f7")
STATUS_COLOURS = {
    ControlStatus.PASS: colors.HexColor("#d9f0df"),
    ControlStatus.WARN: colors.HexColor("#fdeecb"),
    ControlStatus.FAIL: colors.HexColor("#f9d6d3"),
    ControlStatus.NOT_EVALUATED: colors.HexColor("#e3e6ea"),
}
_SMALL = 7
_ROWS_AT_ONCE = 60
"""A long table is laid out in pieces: the time for one grows with the square of its rows."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its head, its share of the width, and whether it holds numbers."""

    head: str
    share: float
    right: bool = False


class Layout:
    """Makes paragraphs and tables."""

    def __init__(self) -> None:
        self.letters = Lettering()
        base = ParagraphStyle("base", fontName=REGULAR, fontSize=8.5, leading=11.5, textColor=INK)
        self._text = base
        self._small = ParagraphStyle("small", base, fontSize=7, leading=8.8)
        self._number = ParagraphStyle("number", self._small, alignment=TA_RIGHT)
        self._head = ParagraphStyle("head", self._small, fontName=BOLD)
        self._head_right = ParagraphStyle("head right", self._head, alignment=TA_RIGHT)
        self._title = ParagraphStyle("title", base, fontName=BOLD, fontSize=22, leading=28)
        self._section = ParagraphStyle(
            "section", base, fontName=BOLD, fontSize=13, leading=17, spaceBefore=9, spaceAfter=4
        )
        self._verdict = ParagraphStyle("verdict", base, fontName=BOLD, fontSize=16, leading=21)
        self._note = ParagraphStyle("note", self._small, textColor=PALE, spaceAfter=3, spaceBefore=2)

    def title(self, text: str) -> Flowable:
        """Return the report's title."""
        return Paragraph(self.letters.markup(text), self._title)

    def section(self, text: str, *, room: float = 38 * mm) -> Iterator[Flowable]:
        """Yield a section's title, on a new page unless there is some room for what follows."""
        yield CondPageBreak(room)
        yield Paragraph(self.letters.markup(text), self._section)

    def text(self, text: str) -> Flowable:
        """Return a paragraph."""
        return Paragraph(self.letters.markup(text), self._text)

    def note(self, text: str) -> Flowable:
        """Return a remark in small letters."""
        return Paragraph(self.letters.markup(text), self._note)

    def gap(self) -> Flowable:
        """Return a little room."""
        return Spacer(1, 3 * mm)

    def verdict(self, status: ControlStatus, sentence: str) -> Flowable:
        """Return the verdict in a box of its colour; the word says it, too."""
        word = Paragraph(self.letters.markup(status.value.replace("_", " ")), self._verdict)
        box = Table([[word, self.text(sentence)]], colWidths=[0.24 * WIDTH, 0.76 * WIDTH])
        style = [
            ("BACKGROUND", (0, 0), (-1, -1), STATUS_COLOURS[status]),
            ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
            *((side, (0, 0), (-1, -1), 8) for side in ("TOPPADDING", "BOTTOMPADDING", "LEFTPADDING")),
        ]
        box.setStyle(style)
        return box

    def facts(self, pairs: Sequence[tuple[str, str]]) -> Flowable:
        """Return names and values side by side."""
        rows = [[Paragraph(self.letters.markup(name), self._head), self._cell(value)] for name, value in pairs]
        table = Table(rows, colWidths=[0.24 * WIDTH, 0.76 * WIDTH], hAlign="LEFT")
        table.setStyle([("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE), *_TIGHT])
        return table

    def table(
        self, columns: Sequence[Column], rows: Sequence[Sequence[str]], statuses: Sequence[ControlStatus] = ()
    ) -> Iterator[Flowable]:
        """Yield a table in pieces, each with its head; `statuses` colour the third column of the rows."""
        whole = sum(column.share for column in columns)
        widths = [WIDTH * column.share / whole for column in columns]
        head = [
            Paragraph(self.letters.markup(column.head), self._head_right if column.right else self._head)
            for column in columns
        ]
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            piece = rows[begin : begin + _ROWS_AT_ONCE]
            cells = [
                [self._cell(text, right=column.right) for column, text in zip(columns, row, strict=True)]
                for row in piece
            ]
            body = cells if begin else [head, *cells]
            table = Table(body, colWidths=widths, repeatRows=0 if begin else 1, hAlign="LEFT")
            table.setStyle([*_TIGHT, *_STRIPES] if begin else [*_TIGHT, *_STRIPES, *_HEAD])
            for number, status in enumerate(statuses[begin : begin + _ROWS_AT_ONCE], 0 if begin else 1):
                table.setStyle([("BACKGROUND", (2, number), (2, number), STATUS_COLOURS[status])])
            yield table

    def _cell(self, text: str, *, right: bool = False) -> Paragraph:
        return Paragraph(self.letters.markup(text), self._number if right else self._small)


_TIGHT = [
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("TOPPADDING", (0, 0), (-1, -1), 1.8),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
    ("LEFTPADDING", (0, 0), (-1, -1), 4),
    ("RIGHTPADDING", (0, 0), (-1, -1), 5),
]
_STRIPES = [("LINEBELOW", (0, 0), (-1, -1), 0.25, LINE)]
_HEAD = [("BACKGROUND", (0, 0), (-1, 0), SHADE), ("LINEBELOW", (0, 0), (-1, 0), 0.8, PALE)]


def draw_frame(canvas: Canvas, document: BaseDocTemplate, *, title: str, made: str) -> None:
    """Draw what stands on every page; both texts are in letters that the font has."""
    canvas.saveState()
    canvas.setFont(REGULAR, _SMALL)
    canvas.setFillColor(PALE)
    canvas.drawString(MARGIN, 8 * mm, fitting(title, 0.48 * WIDTH))
    canvas.drawRightString(PAGE[0] - MARGIN - 0.08 * WIDTH, 8 * mm, fitting(made, 0.42 * WIDTH))
    canvas.drawRightString(PAGE[0] - MARGIN, 8 * mm, f"Page {document.page}")
    canvas.restoreState()


def fitting(text: str, width: float) -> str:
    """Return text for the frame, cut to a width in points."""
    if stringWidth(text, REGULAR, _SMALL) <= width:
        return text
    while text and stringWidth(f"{text}…", REGULAR, _SMALL) > width:
        text = text[:-1]
    return f"{text}…"
