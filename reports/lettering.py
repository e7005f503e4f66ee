"""Text from outside as a PDF can show it: never markup, and no letter without a sign.

The font that ships with ReportLab (Bitstream Vera) is embedded; it has the
letters of western European languages. A letter that it lacks is shown as its
number, \\u0939: nothing is left out or turned into a box, and the CSV files
hold the letter itself.
"""

from __future__ import annotations

from xml.sax.saxutils import escape

from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont

REGULAR = "Vera"
BOLD = "VeraBd"
_LONGEST = 600


class Lettering:
    """Knows which letters the fonts have."""

    def __init__(self) -> None:
        regular, bold = TTFont(REGULAR, "Vera.ttf"), TTFont(BOLD, "VeraBd.ttf")
        for font in (regular, bold):
            pdfmetrics.registerFont(font)
        pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)
        self._known = frozenset(regular.face.charToGlyph) & frozenset(bold.face.charToGlyph)

    def plain(self, text: str) -> str:
        """Return text on one line in letters that the fonts have; very long text is cut, and says so."""
        if len(text) > _LONGEST:
            text = f"{text[:_LONGEST]} … ({len(text) - _LONGEST:,} more characters in the CSV file)"
        return "".join(self._shown(letter) for letter in text)

    def markup(self, text: str) -> str:
        """Return the same for a paragraph, whose text is XML."""
        return escape(self.plain(text))

    def _shown(self, letter: str) -> str:
        number = ord(letter)
        if number in self._known and letter.isprintable():
            return letter
        if letter in "\n\r\t":
            return " "
        return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
