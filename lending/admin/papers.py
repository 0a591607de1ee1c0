"""Statements and tax years of clients, for those of the desk who see them: the papers that the client reads."""

from typing import Any

from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.views.decorators.http import require_safe

from lending import staff
from lending.admin.base import SEE_CLIENTS
from lending.forms import StatementForm, TaxYearForm, answered, usual_statement, usual_tax_year
from lending.staff import Page


@require_safe
def statement(request: HttpRequest) -> HttpResponse:
    """Show a client's statement, or hand it out as a file."""
    return _paper(request, StatementForm, usual_statement, "statement", "Statements")


@require_safe
def tax_year(request: HttpRequest) -> HttpResponse:
    """Show the summary of a client's tax year, or hand it out as a file."""
    return _paper(request, TaxYearForm, usual_tax_year, "tax_year", "Tax years")


def _paper(request: HttpRequest, form_class: Any, usual: Any, name: str, title: str) -> HttpResponse:
    clients = list(staff.clients(request).order_by("name"))
    now = staff.now(request)
    asked = request.GET if "start" in request.GET else usual(clients[0] if clients else None, now.date())
    form = form_class(asked, clients=clients)
    drawn, paper = answered(form, request.GET)
    if paper is not None:
        return paper
    shown = {"statement": drawn, "year": drawn, "form": form, "now": now, "title": title}
    context = {**admin.site.each_context(request), **shown}
    return TemplateResponse(request, f"admin/{name}.html", context, status=200 if form.is_valid() else 422)


_site: Any = admin.site
_site.add_page(Page("statements/", "lending_statements", statement, SEE_CLIENTS, "lending", title="Statements"))
_site.add_page(Page("tax-years/", "lending_tax_years", tax_year, SEE_CLIENTS, "lending", title="Tax years"))
