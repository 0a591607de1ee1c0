"""Marks by asset: the sources behind each, how it moved, how good it was, and what of the book hangs on it."""

from datetime import timedelta

from django.db.models import Count, F, Q, Sum
from django.http import Http404, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from lending.models import Asset, Pledge
from lending.portal.doors import SignedIn
from risk import history, prices
from risk.console.doors import frame, hours_of, risk_only
from risk.models import AssetOutage, PriceFeed, RejectedTicks


@require_safe
@risk_only
def marks(request: SignedIn) -> HttpResponse:
    """Show every mark with the sources that made it."""
    return render(request, "console/marks.html", frame(request, "marks"))


@require_safe
@risk_only
def ticker(request: SignedIn) -> HttpResponse:
    """Show the line of marks alone, for a page that stays open."""
    return render(request, "console/ticker.html", frame(request, "marks"))


@require_safe
@risk_only
def asset(request: SignedIn, code: str) -> HttpResponse:
    """Show one asset: its mark, its sources with weights and exclusions, its outages, and who holds it."""
    around, hours = frame(request, "marks"), hours_of(request)
    now = around["now"]
    shown = next((known for known in around["market"].assets if known.code == code and hasattr(known, "policy")), None)
    if shown is None:
        raise Http404("no such asset is priced")
    refused = RejectedTicks.objects.filter(pair_code__startswith=f"{shown.code}-", date__gte=now.date() - timedelta(1))
    held = Pledge.objects.filter(asset=shown).aggregate(
        total=Sum(F("quantity") + F("held_quantity")), accounts=Count("pk", filter=Q(quantity__gt=0))
    )
    feeds = PriceFeed.objects.filter(pair__base=shown).select_related("source", "pair__quote")
    context = {
        "asset": shown,
        "mark": getattr(shown, "mark", None),
        "feeds": [(feed, feed.is_silent(now)) for feed in feeds.order_by("source__code", "pair__quote__code")],
        "refused": refused.order_by("-date", "source_code", "reason"),
        "outages": AssetOutage.objects.filter(asset=shown).order_by("-start_at")[:20],
        "spans": history.spans(shown, start_at=now - timedelta(hours=hours), end_at=now)[:20],
        "held": held,
        "hours": hours,
    }
    return render(request, "console/asset.html", {**around, **context})


@require_safe
@risk_only
def mark_history(request: SignedIn, code: str) -> HttpResponse:
    """Return an asset's mark over the last hours for its chart."""
    shown = get_object_or_404(Asset, code=code, policy__isnull=False)
    now = request.reading.now
    since = now - timedelta(hours=hours_of(request))
    found = history.of_mark(shown, prices.current(now=now), start_at=since, now=now)
    return JsonResponse({"at": [at.timestamp() for at in found.at], "price": found.price, "quality": found.quality})
