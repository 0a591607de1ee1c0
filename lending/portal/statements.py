"""Statements of account and tax years in the portal: on the page, as PDF, as CSV."""

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from lending.forms import StatementForm, TaxYearForm, answered, usual_statement, usual_tax_year
from lending.portal.doors import SignedIn, borrower_only, clients_of


@require_safe
@borrower_only
def statement(request: SignedIn) -> HttpResponse:
    """Show a statement, or hand it out as a file when the address says so."""
    clients, today = clients_of(request), request.reading.now.date()
    asked = request.GET if "start" in request.GET else usual_statement(clients[0], today)
    form = StatementForm(asked, clients=clients)
    drawn, paper = answered(form, request.GET)
    context = {"now": request.reading.now, "page": "statements", "form": form, "statement": drawn}
    return paper or render(request, "portal/statement.html", context, status=200 if form.is_valid() else 422)


@require_safe
@borrower_only
def tax_year(request: SignedIn) -> HttpResponse:
    """Show the summary of a tax year, or hand it out as a file when the address says so."""
    clients, today = clients_of(request), request.reading.now.date()
    asked = request.GET if "start" in request.GET else usual_tax_year(clients[0], today)
    form = TaxYearForm(asked, clients=clients)
    drawn, paper = answered(form, request.GET)
    context = {"now": request.reading.now, "page": "statements", "form": form, "year": drawn}
    return paper or render(request, "portal/tax_year.html", context, status=200 if form.is_valid() else 422)
