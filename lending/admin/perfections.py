"""How a loan's collateral is given, on its page: the terms that were signed, and what makes the interest hold."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods

from lending import documents, perfections, staff
from lending.admin import acts
from lending.admin.base import SEE_CLIENTS
from lending.models import Document, Loan, Perfection
from lending.staff import Page, roles


class PerfectionForm(forms.Form):
    """A control agreement or a filing."""

    kind = forms.ChoiceField(choices=Perfection.Kind.choices, label="What it is")
    reference = forms.CharField(max_length=80, label="Number, or what it is called")
    held_with = forms.CharField(max_length=120, label="Registry, or custodian that agreed")
    from_date = forms.DateField(label="Holds from", widget=forms.DateInput(attrs={"type": "date"}))
    lapse_date = forms.DateField(
        label="Lapses on", required=False, widget=forms.DateInput(attrs={"type": "date"}),
        help_text="Of a filing; an agreement may hold until it is ended.",
    )  # fmt: skip
    document = forms.ModelChoiceField(
        queryset=Document.objects.none(),
        required=False,
        label="Its paper",
        empty_label="none among the client's papers",
    )

    def __init__(self, data: Any = None, *, loan: Loan) -> None:
        super().__init__(data)
        papers: Any = self.fields["document"]
        papers.queryset = documents.in_use(loan.client)


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return how a loan's collateral is given; what perfects it is fetched by itself."""
    context = {"loan": subject, "given": subject.margin_account.pledge_terms}
    return render_to_string("admin/pledge_terms.html", context, request=request)


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest, pk: int) -> HttpResponse:
    """
    Show what perfects the interest in a loan's collateral, and record a control agreement or a filing.

    It is a page, or the part of the loan's page that asks for it.
    """
    if request.method == "POST":
        return acts.perform(request, _seen(request), pk, _record, refusals=(perfections.UnableToRecord,), again=_page)
    return _page(request, get_object_or_404(_seen(request), pk=pk))


def _seen(request: HttpRequest) -> QuerySet[Loan]:
    mine = Loan.objects.filter(client__in=staff.clients(request))
    return mine.select_related("client", "asset", "margin_account__pledge_terms")


def _page(request: HttpRequest, loan: Loan, refusal: str = "") -> HttpResponse:
    facts = _facts(request, loan, staff.now(request), typed=request.POST or None) | {"refusal": refusal}
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, "admin/perfection.html", facts)
    frame = {**admin.site.each_context(request), "title": "How the collateral is given", **facts}
    return TemplateResponse(request, "admin/perfection_page.html", frame, status=422 if refusal else 200)


def _facts(request: HttpRequest, loan: Loan, now: datetime, *, typed: Any = None) -> dict[str, Any]:
    given = loan.margin_account.pledge_terms
    may = bool(roles(request) & documents.KEEPERS) and not given.by_title
    return {
        "loan": loan,
        "given": given,
        "today": now.date(),
        "standing": [] if given.by_title else perfections.standing(loan.margin_account),
        "form": PerfectionForm(typed, loan=loan) if may else None,
    }


def _record(request: HttpRequest, loan: Loan, now: datetime) -> str:
    form, by = PerfectionForm(request.POST, loan=loan), request.user
    if not form.is_valid():
        raise perfections.UnableToRecord("what is wrong stands beside each field")
    made = perfections.record(loan.margin_account, **form.cleaned_data, by=by, now=now)  # type: ignore[arg-type]
    return f"Recorded: {made}."


_site: Any = admin.site
_site.add_page(Page("perfections/<int:pk>/", "lending_perfection", page, SEE_CLIENTS, "lending"))
