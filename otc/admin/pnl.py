"""The desk's P&L by book and day: every line with what it rests on, and the residual that must be zero."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from lending import clock
from lending.models import Book, Role
from lending.staff import Page
from otc import pnl

FIRST = date(2009, 1, 1)  # older than anything that could be traded here
READERS = frozenset({Role.DESK_HEAD, Role.RISK_HEAD, Role.COMPLIANCE, Role.AUDITOR})
_ROWS = 100


class DayForm(forms.Form):
    """Which book and day."""

    book = forms.ModelChoiceField(
        queryset=Book.objects.order_by("code"), required=False, to_field_name="code", empty_label="all books"
    )
    day = forms.DateField(
        widget=forms.DateInput(attrs={"type": "date"}),
        error_messages={"invalid": "That is no day; write it as 2021-05-19.", "required": "Choose a day."},
    )

    def clean_day(self) -> date:
        """Return a day that can have a result: neither before there was anything to trade nor after tomorrow."""
        day: date = self.cleaned_data["day"]
        last = clock.now().date() + timedelta(days=1)
        if not FIRST <= day <= last:
            raise forms.ValidationError(f"Choose a day from {FIRST} to {last}.")
        return day


def _asked(request: HttpRequest) -> tuple[DayForm, Book | None, date | None]:
    today = clock.now().date()
    form = DayForm({"day": today.isoformat(), **request.GET.dict()})
    if not form.is_valid():
        return form, None, None
    return form, form.cleaned_data["book"], form.cleaned_data["day"]


@require_safe
def day(request: HttpRequest) -> HttpResponse:
    """Show one day's P&L of a book."""
    form, book, shown = _asked(request)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "P&L", "form": form, "day": shown}
    if shown is None:
        return TemplateResponse(request, "admin/pnl.html", context, status=422)
    try:
        explained = pnl.explain_day(book, shown)
    except pnl.UnableToExplain as problem:
        return TemplateResponse(request, "admin/pnl.html", {**context, "problem": str(problem)})
    context |= {
        "total": explained.total,
        "residual": explained.residual,
        "lines": [
            (name, value, _address("otc_pnl_postings", book, shown, line=name))
            for name, value in explained.lines.items()
        ],
        "unexplained": _address("otc_pnl_postings", book, shown, line=pnl.UNEXPLAINED),
        "assets": [(name, sum(cut.values(), Decimal(0))) for name, cut in sorted(explained.by_asset.items())],
        "before": _address("otc_pnl", book, shown - timedelta(days=1)),
        "after": _address("otc_pnl", book, shown + timedelta(days=1)),
    }
    return TemplateResponse(request, "admin/pnl.html", context)


@require_safe
def postings(request: HttpRequest) -> HttpResponse:
    """Show the postings behind one line of a day's P&L."""
    _, book, shown = _asked(request)
    line = request.GET.get("line", "")
    if shown is None or not line:
        raise Http404("no such line")
    rows = Paginator(pnl.postings_for(book, shown, line), _ROWS).get_page(request.GET.get("page"))
    context = {
        **admin.site.each_context(request),
        "title": f"Postings behind {line.replace('_', ' ')}",
        "rows": rows,
        "day": shown,
        "book": book,
        "line": line,
        "back": _address("otc_pnl", book, shown),
        "here": _address("otc_pnl_postings", book, shown, line=line),
    }
    return TemplateResponse(request, "admin/postings.html", context)


def _address(name: str, book: Book | None, shown: date, **more: str) -> str:
    asked = {"book": book.code if book else "", "day": shown.isoformat(), **more}
    return f"{reverse(f'admin:{name}')}?{urlencode(asked)}"


_site: Any = admin.site
_site.add_page(Page("pnl/", "otc_pnl", day, READERS, "otc", title="P&L"))
_site.add_page(Page("pnl/postings/", "otc_pnl_postings", postings, READERS, "otc"))
