"""One margin account: where it stands now and stood before, its calls and sales, what it was told, what cures it."""

import uuid
from datetime import timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import OuterRef
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from lending.models import LoanState, MarginAccount, NoticeDelivery
from lending.portal.doors import SignedIn
from risk import cures, default_sales, history, positions, prices
from risk.console.doors import frame, hours_of, risk_only
from risk.models import Incident, LiquidationOrder
from risk.positions import Standing
from risk.prices import Marks

_ROWS = 50


@require_safe
@risk_only
def account(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show one margin account with everything that risk knows of it."""
    open_incidents = Incident.objects.filter(margin_account=OuterRef("pk"), closed_at=None).order_by("-opened_at")
    wanted = MarginAccount.objects.select_related("terms", "client__relationship_manager", "margin_status")
    wanted = wanted.annotate(incidents=ArraySubquery(open_incidents.values("summary")))
    shown: Any = get_object_or_404(wanted, public_id=public_id)
    around = frame(request, "queue")
    marks = around["market"].marks
    standing = positions.standing(shown, now=around["now"], marks=marks)
    told = NoticeDelivery.objects.filter(notice__margin_account=shown).select_related("notice")
    orders = LiquidationOrder.objects.filter(margin_account=shown).select_related("asset", "cause")
    context = {
        "account": shown,
        "status": getattr(shown, "margin_status", None),
        "standing": standing,
        "cure": _cure(standing, marks),
        "calls": shown.margin_calls.select_related("cure_asset", "claimed_by").order_by("-episode")[:_ROWS],
        "orders": orders.order_by("-ordered_at", "-pk")[:_ROWS],
        "deliveries": told.order_by("-notice__created_at", "notice", "channel", "address")[:_ROWS],
        "hours": hours_of(request),
        "defaults": default_sales.for_default(standing.debts, now=around["now"]),
        "defaulted": [loan for loan, _payoff in standing.debts if loan.state == LoanState.DEFAULTED],
    }
    return render(request, "console/account.html", {**around, **context})


def _cure(standing: Standing, marks: Marks) -> cures.Demand | None:
    """Return what would bring an account to cure_to; None where nothing would be asked for, or nobody can say."""
    if standing.ltv is None or not standing.judgement.exposed.exceeds(standing.facts.terms.cure_to):
        return None
    return cures.demand(standing.facts, standing.judgement, marks)


@require_safe
@risk_only
def ltv_history(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Return an account's LTV over the last hours for its chart, with the levels of its ladder and its calls."""
    now = request.reading.now
    shown = get_object_or_404(MarginAccount.objects.select_related("terms"), public_id=public_id)
    start_at = now - timedelta(hours=hours_of(request))
    found = history.of_account(shown, prices.current(now=now), start_at=start_at, now=now)
    calls = (
        shown.margin_calls.filter(issued_at__gte=start_at).order_by("issued_at").values_list("issued_at", "closed_at")
    )
    first = next((place for place, ltv in enumerate(found.ltv) if ltv is not None), 0)
    return JsonResponse(
        {
            "at": [at.timestamp() for at in found.at[first:]],
            "ltv": found.ltv[first:],
            "quality": found.quality[first:],
            "levels": [[name, float(level)] for name, level in shown.terms.levels],
            "calls": [[begin.timestamp(), end.timestamp() if end else now.timestamp()] for begin, end in calls],
        }
    )
