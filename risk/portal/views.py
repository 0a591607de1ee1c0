"""A margin call as its borrower sees it: what to send, where, until when, and what happens otherwise."""

import uuid
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access
from lending.engine import money
from lending.models import DepositAddress
from lending.portal.doors import SignedIn, borrower_only, clients_of, signs_for
from lending.portal.views import deposits_of, own_loan
from risk import margin_calls, positions, prices
from risk.models import OPEN_CALL_STATES, CallState, MarginCall
from risk.portal.panels import what_if_context

_RUNNING = (CallState.ISSUED, CallState.NOTIFIED, CallState.ACKNOWLEDGED, CallState.PARTIALLY_CURED)


def _own_call(request: SignedIn, public_id: uuid.UUID) -> MarginCall:
    """Return a call on the reader's clients; anybody else's does not exist."""
    mine = MarginCall.objects.filter(client__in=clients_of(request))
    wanted = mine.select_related(
        "client__relationship_manager",
        "margin_account__terms",
        "margin_account__client",
        "cure_asset",
        "snapshot",
        "acknowledged_by",
    )
    return get_object_or_404(wanted, public_id=public_id)


@require_safe
@borrower_only
def call(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show one call."""
    now = request.reading.now
    shown = _own_call(request, public_id)
    account = shown.margin_account
    is_open = shown.state in OPEN_CALL_STATES
    missing = max(shown.cash_cure - shown.cash_cured, money.ZERO)
    return render(
        request,
        "portal/call.html",
        {
            "now": now,
            "call": shown,
            "terms": account.terms,
            "is_open": is_open,
            "is_running": shown.state in _RUNNING,
            "cash_left": money.quantize_up(missing, shown.cure_asset.decimals),
            "may_acknowledge": (is_open and shown.acknowledged_at is None and signs_for(request, shown.client)),
            "cures": shown.collateral_cures.select_related("asset").order_by("asset__code"),
            "addresses": _addresses(account.pk),
            "deposits": deposits_of(account.pk),
            "standing": positions.standing(account, now=now) if is_open else None,
            "loans": account.loans.select_related("asset", "product").order_by("pk"),
            "events": shown.events.select_related("actor").order_by("happened_at", "pk"),
        },
    )


def _addresses(margin_account_id: int) -> dict[str, dict[str, Any]]:
    """Return where to send what, by purpose and asset."""
    rows = DepositAddress.objects.filter(margin_account=margin_account_id).select_related("asset")
    found: dict[str, dict[str, Any]] = {"collateral": {}, "repayment": {}}
    for row in rows.prefetch_related("asset__networks"):
        found[row.purpose][row.asset.code] = row
    return found


@require_safe
@borrower_only
def deposits(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show the transfers that are coming in: the part of the page that changes by itself."""
    shown = _own_call(request, public_id)
    return render(request, "portal/deposits.html", {"deposits": deposits_of(shown.margin_account_id)})


@require_POST
@borrower_only
def acknowledge(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Note that the borrower has read the call."""
    shown = _own_call(request, public_id)
    access.require_signer(request.user, shown.client)
    try:
        margin_calls.acknowledge(shown, user=request.user, now=request.reading.now)
    except margin_calls.UnableToAcknowledge as refusal:
        messages.error(request, f"Not acknowledged: {refusal}.")
    else:
        messages.success(request, "Acknowledged. The time left does not change.")
    return redirect("portal_call", public_id=public_id)


@require_safe
@borrower_only
def what_if(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Answer a question about a loan: the part of its page that changes while a slider moves."""
    subject = own_loan(request, public_id)
    now = request.reading.now
    marks = prices.current(now=now)
    standing = positions.standing(subject.margin_account, now=now, marks=marks)
    answer = what_if_context(request, subject, standing, marks)
    return render(request, "portal/what_if.html", {"loan": subject, "standing": standing, **answer})
