"""
How a paper leaves the house: as a file with a name of its own.

What draws papers is imported when one is drawn: it is a sixth of what a process would have to import to start.
"""

from django.http import HttpResponse

from lending import statements, tax_years
from lending.models import TermSheet

TYPES = {"csv": "text/csv; charset=utf-8", "pdf": "application/pdf"}


def attachment(content: bytes | str, name: str) -> HttpResponse:
    """Return a file to be kept; its kind is the end of its name."""
    answer = HttpResponse(content, content_type=TYPES[name.rpartition(".")[2]])
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    return answer


def of_term_sheet(sheet: TermSheet) -> HttpResponse:
    """Return a term sheet as a PDF."""
    from lending.papers import term_sheet

    name = f"term-sheet-{str(sheet.loan.public_id)[:8]}-version-{sheet.version}.pdf"
    return attachment(term_sheet.render(sheet), name)


def of_period(drawn: statements.Statement | tax_years.TaxYear, kind: str) -> HttpResponse:
    """Return a statement or a summary of a tax year as a file of that kind."""
    from lending.papers import statement, tax_year

    if isinstance(drawn, tax_years.TaxYear):
        name, content = "tax-year", tax_year.render(drawn) if kind == "pdf" else tax_years.as_csv(drawn)
    else:
        name, content = "statement", statement.render(drawn) if kind == "pdf" else statements.as_csv(drawn)
    return attachment(content, f"{name}-{drawn.from_date}-{drawn.to_date}-seal-{drawn.basis.seq}.{kind}")
