"""Benchmarks: what was fixed for which day, and fixings to be recorded by two persons; how a loan came by its rate."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.views.decorators.http import require_http_methods, require_safe

from lending import benchmarks, csv_tables, outlook, overdue, resets, staff
from lending.admin.base import SEE_CLIENTS
from lending.benchmarks import Reading, UnableToRecord
from lending.interest import ACCRUING
from lending.models import Benchmark, Loan, Overdue
from lending.staff import Page, roles
from lending.typed import TableForm

_SHOWN = 12
_RATE = "components/rate.html"


class FixingsForm(TableForm):
    """The fixings of one benchmark, and where they are from."""

    code = forms.CharField(max_length=20, label="Benchmark", help_text="Its code: SOFR, EURIBOR-3M.")
    name = forms.CharField(max_length=80, required=False, label="Called", help_text="Of one that is new.")
    file = forms.FileField(
        label="CSV file", required=False, allow_empty_file=True,
        help_text="Columns: date, rate; the rate as a fraction, 5.31 % is 0.0531.",
    )  # fmt: skip
    table = forms.CharField(
        label="Or the fixings themselves", required=False, strip=False, max_length=csv_tables.SIZE,
        widget=forms.Textarea(attrs={"rows": 6, "spellcheck": "false", "placeholder": "date,rate"}),
    )  # fmt: skip
    reason = forms.CharField(max_length=400, label="Where they are from", help_text="The second person reads it.")

    def clean_code(self) -> str:
        """Return the code as codes are written."""
        return str(self.cleaned_data["code"]).upper()

    def with_text(self) -> "FixingsForm":
        """Return the form with the file's text in its place: a file can not be filled in again."""
        form = FixingsForm({name: value for name, value in self.cleaned_data.items() if name != "file"})
        form.full_clean()
        return form


@require_http_methods(["GET", "HEAD", "POST"])
def page(request: HttpRequest) -> HttpResponse:
    """Show benchmarks with their last fixings; try a table, show every error, and ask for a second person."""
    may = bool(roles(request) & benchmarks.MAKERS)
    form = FixingsForm(request.POST or None, request.FILES or None)
    reading: Reading | None = None
    now = staff.now(request)
    if request.method == "POST":
        if not may:
            raise PermissionDenied
        if form.is_valid():
            form = form.with_text()
            reading = _read(request, form)
            if reading is None:
                messages.success(request, "Asked: it waits on the page Approvals for a second person.")
                return HttpResponseRedirect(reverse("admin:lending_benchmarks"))
    rows = list(Benchmark.objects.order_by("code"))
    fixings = benchmarks.newest(rows, _SHOWN)
    frame = {
        **admin.site.each_context(request), "title": "Benchmarks", "form": form if may else None, "now": now,
        "rows": [(row, fixings[row.pk]) for row in rows], "reading": reading,
        "waiting": benchmarks.waiting("", now=now),
    }  # fmt: skip
    bad = bool(form.errors or (reading and reading.problems))
    return TemplateResponse(request, "admin/benchmarks.html", frame, status=422 if bad else 200)


def _read(request: HttpRequest, form: FixingsForm) -> Reading | None:
    """Return what a valid form's table says; None once it was asked for. A refusal becomes the form's own error."""
    said, now = form.cleaned_data, staff.now(request)
    try:
        found = benchmarks.read(said["code"], said["table"], now=now)
        if found.problems or request.POST.get("act") != "ask":
            return found
        maker: Any = request.user
        benchmarks.ask(said["code"], said["name"], said["table"], reason=said["reason"], maker=maker, now=now)
    except (UnableToRecord, csv_tables.UnableToRead) as refused:
        form.add_error(None, f"Not asked: {refused}.")
        return Reading((), ())
    return None


def part(request: HttpRequest, subject: Loan, *, now: datetime) -> SafeString:
    """Return where a funded loan that floats shows how it came by its rate, fetched by itself; nothing for others."""
    if not subject.floats or subject.start_at is None:
        return SafeString("")
    address = reverse("admin:lending_rate", args=[subject.pk])
    return format_html(
        '<div hx-get="{0}" hx-trigger="load"><p><a href="{0}">How it comes by its rate</a></p></div>', address
    )


@require_safe
def rate(request: HttpRequest, pk: int) -> HttpResponse:
    """Show how a loan came by its rate, and what is still to be paid: the part of its page, or a page of its own."""
    loan = get_object_or_404(_seen(request), pk=pk)
    now = staff.now(request)
    runs = loan.start_at is not None and loan.state in ACCRUING
    facts = {
        "loan": loan, "asset": loan.asset.code, "now": now, "steps": resets.history(loan),
        "refused": overdue.standing([loan], Overdue.Kind.RESET)[loan.pk].items(),
        "ahead": outlook.ahead(loan, now=now) if loan.floats and runs else [], "staff": True,
    }  # fmt: skip
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, _RATE, facts)
    frame = {**admin.site.each_context(request), "title": f"The rate of {loan}", "part": _RATE, **facts}
    return TemplateResponse(request, "admin/loan_part_page.html", frame)


def _seen(request: HttpRequest) -> QuerySet[Loan]:
    return Loan.objects.filter(client__in=staff.clients(request)).select_related("client", "asset")


_site: Any = admin.site
_site.add_page(Page("benchmarks/", "lending_benchmarks", page, SEE_CLIENTS, "lending", title="Benchmarks"))
_site.add_page(Page("rates/<int:pk>/", "lending_rate", rate, SEE_CLIENTS, "lending"))
