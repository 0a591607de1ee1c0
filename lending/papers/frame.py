"""The sheet that every paper is printed on: letterhead, page x of y, and at the foot what identifies it."""

import io
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import Any

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Flowable,
    Frame,
    PageTemplate,
    Paragraph,
    Table,
    TableStyle,
)

# Bitstream Vera comes with reportlab under a licence that lets it be embedded; its figures are all of one width.
REGULAR, BOLD = "Vera", "VeraBd"
for _name in (REGULAR, BOLD):
    pdfmetrics.registerFont(TTFont(_name, f"{_name}.ttf"))
pdfmetrics.registerFontFamily(REGULAR, normal=REGULAR, bold=BOLD, italic=REGULAR, boldItalic=BOLD)

INK, MUTED, LINE, BRASS = (colors.HexColor(code) for code in ("#14202c", "#55626e", "#dfdbd0", "#c19a4b"))
MARGIN, TOP, FOOT = 18 * mm, 26 * mm, 24 * mm
WIDTH = A4[0] - 2 * MARGIN
_WITH_HEAD = 32 * mm  # so much must follow a heading on its page

TEXT = ParagraphStyle("text", fontName=REGULAR, fontSize=8.5, leading=12.5, textColor=INK)
SMALL = ParagraphStyle("small", parent=TEXT, fontSize=7, leading=10, textColor=MUTED)
TITLE = ParagraphStyle("title", parent=TEXT, fontName=BOLD, fontSize=17, leading=22, spaceAfter=2)
SUBTITLE = ParagraphStyle("subtitle", parent=TEXT, fontSize=10, leading=14, spaceAfter=5)
HEAD = ParagraphStyle("head", parent=TEXT, fontName=BOLD, fontSize=10.5, leading=14, spaceBefore=11, spaceAfter=3)
CELL = ParagraphStyle("cell", parent=TEXT, fontSize=7, leading=9)
FIGURE = ParagraphStyle(
    "figure", parent=TEXT, fontName=BOLD, alignment=TA_RIGHT, fontSize=8, leading=10.5, wordWrap="CJK"
)

_TABLE = (
    ("FONT", (0, 0), (-1, -1), REGULAR, 7),
    ("TEXTCOLOR", (0, 0), (-1, -1), INK),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ("LINEBELOW", (0, 0), (-1, -1), 0.4, LINE),
    ("TOPPADDING", (0, 0), (-1, -1), 2.4),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2.6),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("LEFTPADDING", (0, 0), (0, -1), 0),
    ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
)
_HEADED = (
    ("FONT", (0, 0), (-1, 0), BOLD, 6.5),
    ("TEXTCOLOR", (0, 0), (-1, 0), MUTED),
    ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
)
_CLOSED = (("FONT", (0, -1), (-1, -1), BOLD, 7), ("LINEBELOW", (0, -1), (-1, -1), 0.8, INK))


def facts(rows: Sequence[tuple[str, str]]) -> Table:
    """Return rows of a label and its figure; a long figure breaks where it must."""
    lines = [(label, Paragraph(escape(figure), FIGURE)) for label, figure in rows]
    style = TableStyle([*_TABLE, ("FONT", (0, 0), (0, -1), REGULAR, 8)])
    return Table(lines, colWidths=(WIDTH * 0.58, WIDTH * 0.42), style=style)


def table(
    head: Sequence[str], rows: Sequence[Sequence[Any]], *, widths: Sequence[float], figures: int, closed: bool = False
) -> Table:
    """
    Return a table whose head repeats on every page.

    `widths` are shares of the page; the last `figures` columns stand to the right; a closed one ends with a sum.
    """
    total = sum(widths)
    right = ("ALIGN", (-figures, 0), (-1, -1), "RIGHT")
    style = TableStyle([*_TABLE, *_HEADED, right, *(_CLOSED if closed else ())])
    return Table([head, *rows], colWidths=[WIDTH * share / total for share in widths], repeatRows=1, style=style)


def words(text: str, style: ParagraphStyle = TEXT) -> Paragraph:
    """Return a text as it is, whatever stands in it, in lines."""
    return Paragraph(escape(text), style)


def render(story: Sequence[Flowable], *, title: str, foot: Sequence[str]) -> bytes:
    """Return the PDF of a story; `foot` are the lines that identify it on every page."""
    out = io.BytesIO()
    document = BaseDocTemplate(
        out, pagesize=A4, leftMargin=MARGIN, rightMargin=MARGIN, topMargin=TOP, bottomMargin=FOOT,
        title=title, author="Plimsoll", lang="en", invariant=True,
    )  # fmt: skip
    whole = Frame(MARGIN, FOOT, document.width, document.height, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[whole]))
    document.build(list(_together(story)), canvasmaker=_numbered(title, foot))
    return out.getvalue()


def _together(story: Iterable[Flowable]) -> Iterator[Flowable]:
    """Yield a story in which no heading stands alone at the foot of a page; long tables still begin where they are."""
    for part in story:
        if isinstance(part, Paragraph) and part.style is HEAD:
            yield CondPageBreak(_WITH_HEAD)
        yield part


def _numbered(title: str, foot: Sequence[str]) -> type[Canvas]:
    """Return a canvas that keeps its pages until it knows how many there are, and only then prints the frame."""

    class Numbered(Canvas):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.kept: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802
            self.kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self.kept, 1):
                self.__dict__.update(page)
                _paper(self, title, foot, number, len(self.kept))
                super().showPage()
            super().save()

    return Numbered


def _paper(canvas: Canvas, title: str, foot: Sequence[str], number: int, pages: int) -> None:
    width, height = A4
    canvas.saveState()
    canvas.setFillColor(INK)
    canvas.setFont(BOLD, 11)
    canvas.drawString(MARGIN, height - 15 * mm, "Plimsoll")
    canvas.setFont(REGULAR, 7)
    canvas.setFillColor(MUTED)
    canvas.drawRightString(width - MARGIN, height - 15 * mm, title)
    canvas.setStrokeColor(BRASS)
    canvas.setLineWidth(1.2)
    canvas.line(MARGIN, height - 18 * mm, width - MARGIN, height - 18 * mm)
    canvas.setStrokeColor(LINE)
    canvas.setLineWidth(0.5)
    canvas.line(MARGIN, 17 * mm, width - MARGIN, 17 * mm)
    canvas.setFont(REGULAR, 6)
    for place, line in enumerate(foot):
        canvas.drawString(MARGIN, (13.5 - 3 * place) * mm, line)
    canvas.drawRightString(width - MARGIN, 13.5 * mm, f"Page {number} of {pages}")
    canvas.restoreState()
