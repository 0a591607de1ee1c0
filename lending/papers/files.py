"""How a paper leaves the house: as a file with a name of its own."""

from django.http import HttpResponse

from lending.models import TermSheet
from lending.papers import term_sheet

TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}


def attachment(content: bytes | str, name: str) -> HttpResponse:
    """Return a file to be kept; its kind is the end of its name."""
    answer = HttpResponse(content, content_type=TYPES[name.rpartition(".")[2]])
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def of_term_sheet(sheet: TermSheet) -> HttpResponse:
    """Return a term sheet as a PDF."""
    name = f"term-sheet-{str(sheet.loan.public_id)[:8]}-version-{sheet.version}.pdf"
    return attachment(term_sheet.render(sheet), name)
