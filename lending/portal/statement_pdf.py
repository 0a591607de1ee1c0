"""A statement as a PDF: the same statement gives the same bytes."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from html import escape

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageTemplate, Paragraph, Spacer, Table, TableStyle

from lending.statements import Section, Statement
from lending.templatetags.plimsoll import plain

_INK, _MUTED, _LINE, _BRASS = (colors.HexColor(code) for code in ("#14202c", "#55626e", "#dfdbd0", "#c19a4b"))
_TEXT = ParagraphStyle("text", fontName="Helvetica", fontSize=8.5, leading=12, textColor=_INK)
_SMALL = ParagraphStyle("small", parent=_TEXT, fontSize=7.5, leading=10, textColor=_MUTED)
_TITLE = ParagraphStyle("title", parent=_TEXT, fontName="Times-Bold", fontSize=20, leading=24)
_HEAD = ParagraphStyle("head", parent=_TEXT, fontName="Times-Bold", fontSize=12, leading=16, spaceBefore=10)
_WIDTHS = (36 * mm, 36 * mm, 44 * mm, 29 * mm, 29 * mm)
_STYLE = TableStyle(
    [
        ("FONT", (0, 0), (-1, -1), "Helvetica", 7.5),
        ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 7),
        ("TEXTCOLOR", (0, 0), (-1, -1), _INK),
        ("TEXTCOLOR", (0, 0), (-1, 0), _MUTED),
        ("ALIGN", (3, 0), (-1, -1), "RIGHT"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, _INK),
        ("FONT", (0, -1), (-1, -1), "Helvetica-Bold", 7.5),
        ("TOPPADDING", (0, 0), (-1, -1), 2.2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
    ]
)


def render(statement: Statement) -> bytes:
    """Return the PDF of a statement, A4, with its client, period, basis and fingerprint on every page."""
    out = io.BytesIO()
    title = f"Statement of account, {statement.client.name}"
    document = BaseDocTemplate(
        out, pagesize=A4, leftMargin=18 * mm, rightMargin=18 * mm, topMargin=24 * mm, bottomMargin=22 * mm,
        title=title, author="Plimsoll", invariant=True,
    )  # fmt: skip
    frame = Frame(document.leftMargin, document.bottomMargin, document.width, document.height, 0, 0, 0, 0)
    document.addPageTemplates(PageTemplate(frames=[frame], onPage=lambda canvas, _: _paper(canvas, statement)))
    document.build(_story(statement))
    return out.getvalue()


def _story(statement: Statement) -> list[Flowable]:
    sealed_at = statement.basis.sealed_at
    known = f"as known at {_instant(sealed_at)}, seal {statement.basis.seq}" if sealed_at else "before any entry"
    story: list[Flowable] = [
        Paragraph("Statement of account", _TITLE),
        Paragraph(escape(statement.client.name), _HEAD),
        Paragraph(f"{statement.from_date:%d %b %Y} to {statement.to_date:%d %b %Y}, whole days UTC, {known}.", _TEXT),
        Spacer(1, 4 * mm),
    ]
    for section in statement.sections:
        story += _section(section)
    if not statement.sections:
        story.append(Paragraph("Nothing stood on any account, and nothing changed.", _TEXT))
    return story


def _section(section: Section) -> list[Flowable]:
    name = f"{section.label}, {section.asset}" + (f" <font size=8>{section.of}</font>" if section.of else "")
    lines = [
        ("Counts from", "Booked", "What", "Change", "Balance"),
        ("", "", "Opening balance", "", _amount(section.opening, section)),
    ]
    lines += [
        (
            _instant(row.effective_at),
            _instant(row.recorded_at),
            row.what,
            _amount(row.change, section),
            _amount(row.balance, section),
        )
        for row in section.rows
    ]
    lines.append(("", "", "Closing balance", "", _amount(section.closing, section)))
    return [Paragraph(name, _HEAD), Table(lines, colWidths=_WIDTHS, repeatRows=1, style=_STYLE)]


def _paper(canvas: Canvas, statement: Statement) -> None:
    width, height = A4
    canvas.saveState()
    canvas.setFont("Times-Bold", 13)
    canvas.setFillColor(_INK)
    canvas.drawString(18 * mm, height - 15 * mm, "Plimsoll")
    canvas.setStrokeColor(_BRASS)
    canvas.setLineWidth(1.2)
    canvas.line(18 * mm, height - 18 * mm, width - 18 * mm, height - 18 * mm)
    canvas.setFont("Helvetica", 6.5)
    canvas.setFillColor(_MUTED)
    canvas.drawString(18 * mm, 12 * mm, f"SHA-256 of its CSV {statement.fingerprint}")
    canvas.drawString(18 * mm, 9 * mm, f"Rests on seal {statement.basis.seq} {statement.basis.hash}")
    canvas.drawRightString(width - 18 * mm, 12 * mm, f"Page {canvas.getPageNumber()}")
    canvas.restoreState()


def _amount(amount: Decimal, section: Section) -> str:
    return plain(amount, section.asset)


def _instant(at: datetime) -> str:
    return f"{at.astimezone(UTC):%d %b %Y %H:%M:%S} UTC"
