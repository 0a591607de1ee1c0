"""The whole book: how its LTVs lie, who would be sold at which fall, what it holds, and which sources are silent."""

from datetime import datetime
from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from lending.portal.doors import SignedIn
from risk import stress
from risk.console.doors import frame, risk_only
from risk.models import PriceFeed


@require_safe
@risk_only
def book(request: SignedIn) -> HttpResponse:
    """Show the book at the marks of now and under falls of 5 to 60 %."""
    around = frame(request, "book")
    found = stress.of_book(around["market"], now=around["now"])
    context = {"stress": found, "charts": _charts(found), "silent": _silent(around["now"])}
    return render(request, "console/book.html", {**around, **context})


def _charts(found: stress.Stress) -> dict[str, Any]:
    """Return the figures as the page's charts take them."""
    return {
        "edges": [float(edge) for edge, _count, _debt in found.bins],
        "accounts": [count for _edge, count, _debt in found.bins],
        "shocks": [float(-fall.shock) for fall in found.falls],
        "called": [fall.called for fall in found.falls],
        "liquidated": [fall.liquidated for fall in found.falls],
        "shortfall": [float(fall.shortfall) for fall in found.falls],
    }


def _silent(now: datetime) -> list[PriceFeed]:
    """Return the feeds that do not count now: too old, excluded, switched off, or never heard."""
    feeds = PriceFeed.objects.select_related("source", "pair__base", "pair__quote").order_by("pair", "source__code")
    return [feed for feed in feeds if not feed.source.enabled or feed.excluded_since or feed.is_silent(now)]
