"""The desk's P&L by book and day: every line with what it rests on, and the residual that must be zero."""

from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import OuterRef, Subquery, Sum
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.dateparse import parse_date
from django.views.decorators.http import require_safe

from lending import staff
from lending.models import Book, Role
from lending.staff import Page
from otc import figures, pnl
from otc.admin import sparkline, waterfall
from otc.models import Block, Rfq
from risk import prices
from risk.engine.quality import Quality

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

    def __init__(self, data: Any, *, today: date) -> None:
        super().__init__({"day": today.isoformat(), **data})
        self.today = today

    def clean_day(self) -> date:
        """Return a day that can have a result: neither before there was anything to trade nor after tomorrow."""
        day: date = self.cleaned_data["day"]
        last = self.today + timedelta(days=1)
        if not FIRST <= day <= last:
            raise forms.ValidationError(f"Choose a day from {FIRST} to {last}.")
        return day


def _asked(request: HttpRequest) -> tuple[DayForm, Book | None, date | None]:
    form = DayForm(request.GET.dict(), today=staff.now(request).date())
    if not form.is_valid():
        return form, None, None
    return form, form.cleaned_data["book"], form.cleaned_data["day"]


@require_safe
def day(request: HttpRequest) -> HttpResponse:
    """Show the P&L of a day, with its month and its year until then, and one of them explained."""
    form, book, shown = _asked(request)
    context: dict[str, Any] = {**admin.site.each_context(request), "title": "P&L", "form": form, "day": shown}
    if shown is None:
        return TemplateResponse(request, "admin/pnl.html", context, status=422)
    context |= {
        "now": staff.now(request),
        "before": _address("otc_pnl", book, shown - timedelta(days=1)),
        "after": _address("otc_pnl", book, shown + timedelta(days=1)),
        "blocks": _in_flight() if book is None else (),
    }
    firsts = {"year": shown.replace(month=1, day=1), "month": shown.replace(day=1), "day": shown}
    period = request.GET.get("period", "day")
    period = period if period in firsts else "day"
    try:
        cuts = pnl.explain_until(book, [pnl.bounds(first)[0] for first in firsts.values()], pnl.bounds(shown)[1])
    except pnl.UnableToExplain as problem:
        return TemplateResponse(request, "admin/pnl.html", {**context, "problem": str(problem)})
    by_name = dict(zip(firsts, cuts, strict=True))
    cut = by_name[period]
    since = firsts[period]
    address = partial(_address, "otc_pnl_postings", book, shown, since=since.isoformat())
    context |= {
        "periods": [
            (name, words, by_name[name].whole, _address("otc_pnl", book, shown, period=name))
            for name, words in zip(("day", "month", "year"), (f"{shown:%d %b %Y}", *_so_far(shown)), strict=True)
        ],
        "period": period,
        "since": since,
        "total": cut.whole.total,
        "residual": cut.whole.residual,
        "bars": waterfall.bars(cut.whole.lines, cut.whole.unexplained, cut.whole.total, address),
        "unexplained": address(line=pnl.UNEXPLAINED),
        "assets": [(name, sum(part.values(), Decimal(0))) for name, part in sorted(cut.whole.by_asset.items())],
        "books": _books(by_name, shown) if book is None else (),
        "held": cut.held,
    }
    return TemplateResponse(request, "admin/pnl.html", context)


def _so_far(shown: date) -> tuple[str, str]:
    return f"{shown:%B} so far", f"{shown:%Y} so far"


def _books(by_name: dict[str, pnl.Cut], shown: date) -> list[tuple[Book, list[Decimal], str]]:
    """Return each book with its day, month and year, and where it is explained."""
    books = Book.objects.in_bulk(by_name["year"].by_book)
    return [
        (book, [by_name[name].by_book[pk].total for name in ("day", "month", "year")], _address("otc_pnl", book, shown))
        for pk, book in sorted(books.items(), key=lambda pair: pair[1].code)
    ]


def _in_flight() -> list[Block]:
    """Return the blocks that are being sold, with the price that is asked for now, the newest first."""
    live = Rfq.objects.filter(block=OuterRef("pk")).order_by("-clip")
    blocks = Block.objects.filter(closed_at=None).select_related("asset").annotate(
        clip=Subquery(live.values("clip")[:1]), rfq_state=Subquery(live.values("state")[:1]),
        mark=Subquery(live.values("mark_price")[:1]), collar=Subquery(live.values("collar_price")[:1]),
    )  # fmt: skip
    return list(blocks.order_by("-window_start", "asset__code")[:_ROWS])


@require_safe
def key_figures(request: HttpRequest) -> HttpResponse:
    """Show the key figures with their trend: a page, or the part of one that asks for it."""
    now = staff.now(request)
    rows = [(series, sparkline.points(series.points)) for series in figures.hourly(now=now)]
    marks = prices.current(now=now).of.values()
    context = {
        "rows": rows,
        "now": now,
        "title": "Key figures",
        "quality": max((mark.quality for mark in marks), key=list(Quality).index, default=None),
        "as_of": min((mark.as_of for mark in marks), default=None),
    }
    if request.headers.get("HX-Request"):
        return TemplateResponse(request, "admin/figures.html", context)
    return TemplateResponse(request, "admin/figures_page.html", {**admin.site.each_context(request), **context})


@require_safe
def postings(request: HttpRequest) -> HttpResponse:
    """Show the postings behind one line of a day's P&L."""
    _, book, shown = _asked(request)
    line = request.GET.get("line", "")
    if shown is None or not line:
        raise Http404("no such line")
    since = parse_date(request.GET.get("since", "")) or shown
    if since > shown:
        raise Http404("a period can not end before it starts")
    behind = pnl.postings_for(book, shown, line, since=since)
    rows = Paginator(behind, _ROWS).get_page(request.GET.get("page"))
    context = {
        **admin.site.each_context(request),
        "title": f"Postings behind {line.replace('_', ' ')}",
        "rows": rows,
        "sums": behind.order_by().values_list("asset__code").annotate(Sum("amount")).order_by("asset__code"),
        "day": shown,
        "since": since,
        "book": book,
        "line": line,
        "back": _address("otc_pnl", book, shown),
        "here": _address("otc_pnl_postings", book, shown, line=line, since=since.isoformat()),
    }
    return TemplateResponse(request, "admin/postings.html", context)


def _address(name: str, book: Book | None, shown: date, **more: str) -> str:
    asked = {"book": book.code if book else "", "day": shown.isoformat(), **more}
    return f"{reverse(f'admin:{name}')}?{urlencode(asked)}"


_site: Any = admin.site
_site.add_page(Page("pnl/", "otc_pnl", day, READERS, "otc", title="P&L"))
_site.add_page(Page("pnl/figures/", "otc_figures", key_figures, READERS, "otc", title="Key figures"))
_site.add_page(Page("pnl/postings/", "otc_pnl_postings", postings, READERS, "otc"))
