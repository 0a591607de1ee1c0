"""A margin call as its borrower sees it: what to send, where, until when, and what happens otherwise."""

import uuid
from datetime import datetime
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access, deposits
from lending.engine import money
from lending.models import DepositAddress
from lending.portal.doors import SignedIn, borrower_only, clients_of, signs_for
from lending.portal.forms import TransferForm
from lending.portal.views import free_balance, own_loan
from risk import conditional_credits, confirming, cures, margin_calls, positions, prices, reserved_cures, sales
from risk.models import OPEN_CALL_STATES, MarginCall
from risk.portal import activity, charts
from risk.portal.panels import what_if_context

_COLLATERAL, _REPAYMENT = DepositAddress.Purpose.COLLATERAL, DepositAddress.Purpose.REPAYMENT


def own_call(request: SignedIn, public_id: uuid.UUID) -> MarginCall:
    """Return a call on the reader's clients; anybody else's does not exist."""
    mine = sales.with_sales(MarginCall.objects).filter(client__in=clients_of(request))
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
    shown = own_call(request, public_id)
    account = shown.margin_account
    is_open = shown.state in OPEN_CALL_STATES
    is_running = shown.state in margin_calls.RUNNING
    signer = signs_for(request, shown.client)
    events = list(shown.events.select_related("actor").order_by("happened_at", "pk"))
    answer = render(
        request,
        "portal/call.html",
        {
            "now": now,
            "call": shown,
            "terms": account.terms,
            "is_open": is_open,
            "is_running": is_running,
            "signs": signer,
            "may_acknowledge": is_open and shown.acknowledged_at is None and signer,
            **(_ways(shown, now) if is_open else {}),
            "standing": positions.standing(account, now=now) if is_open else None,
            "loans": [] if is_open else account.loans.select_related("asset").order_by("pk"),
            "events": events,
            "instructed": reserved_cures.step_of(shown, events),
            "sale_waits_until": confirming.until(shown, events, now=now) if is_running else None,
        },
    )
    if request.headers.get("HX-Request") and not is_open:
        answer["HX-Refresh"] = "true"  # all of the page is about a call that is open
    return answer


def _ways(shown: MarginCall, now: datetime) -> dict[str, Any]:
    """Return each way to cure a call: how much of it is still needed, where it goes, and when it can count."""
    where = deposits.addresses(shown.margin_account_id, now=now)
    demanded = shown.collateral_cures.select_related("asset").order_by("asset__code")
    due_at = shown.cure_due_at
    collateral: list[dict[str, Any]] = [
        {
            "cure": cure,
            "left": cures.left(cure.quantity, shown.cured_fraction, cure.asset.decimals),
            "address": (address := where.get((_COLLATERAL, cure.asset.code))),
            "late": _late(address, due_at),
        }
        for cure in demanded
    ]
    address = where.get((_REPAYMENT, shown.cure_asset.code))
    return {
        "cash": {
            "left": cures.left(shown.cash_cure, shown.cured_fraction, shown.cure_asset.decimals),
            "address": address,
            "late": _late(address, due_at),
        },
        "collateral": collateral,
        "transfer_form": TransferForm(
            assets=sorted({shown.cure_asset.code, *(way["cure"].asset.code for way in collateral)})
        ),
    }


def _late(address: DepositAddress | None, due_at: datetime | None) -> bool:
    """Return whether a transfer that is sent now is likely to count only after the deadline."""
    counts_at = getattr(address, "counts_at", None)
    return counts_at is not None and due_at is not None and counts_at > due_at


@require_safe
@borrower_only
def transfers(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """
    Show what comes in for a call, and answer "did my transfer arrive?".

    For a page that refreshes itself only the table; otherwise a page of its own, which needs no script.
    """
    shown = own_call(request, public_id)
    coming = deposits.of_account(shown.margin_account_id)
    now = request.reading.now
    conditional = conditional_credits.standing(shown, now=now) if shown.state in OPEN_CALL_STATES else None
    if request.headers.get("HX-Request"):
        owed = shown.margin_account.loans.select_related("asset").order_by("pk").first()
        free = free_balance(owed) if owed and shown.state in OPEN_CALL_STATES else money.ZERO
        context = {
            "deposits": coming, "call": shown, "now": now, "loan": owed, "free": free, "conditional": conditional,
        }  # fmt: skip
        return render(request, "portal/deposits.html", context)
    where = deposits.addresses(shown.margin_account_id, now=now)
    asked = bool(request.GET)
    form = TransferForm(request.GET if asked else None, assets=sorted({code for _purpose, code in where}))
    found = None
    if asked and form.is_valid():
        found = deposits.look_up(shown.client, **form.cleaned_data)
    return render(
        request,
        "portal/transfers.html",
        {
            "now": now,
            "call": shown,
            "deposits": coming,
            "addresses": where.values(),
            "form": form,
            "found": found,
            "conditional": conditional,
        },
        status=422 if form.errors else 200,
    )


@require_POST
@borrower_only
def acknowledge(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Note that the borrower has read the call."""
    shown = own_call(request, public_id)
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


@require_safe
@borrower_only
def history(request: SignedIn, public_id: uuid.UUID) -> JsonResponse:
    """Return what a loan's charts are drawn from."""
    subject = own_loan(request, public_id)
    now = request.reading.now
    span = request.GET.get("span", charts.USUAL)
    return JsonResponse(charts.of_loan(subject, prices.current(now=now), span=span, now=now))


@require_safe
@borrower_only
def all_activity(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show all that happened to a loan, or one kind of it."""
    subject = own_loan(request, public_id)
    wanted = request.GET.get("kind", "")
    kinds = [wanted] if wanted in activity.KINDS else list(activity.KINDS)
    return render(
        request,
        "portal/activity.html",
        {
            "now": request.reading.now,
            "loan": subject,
            "kinds": activity.KINDS,
            "wanted": wanted if wanted in activity.KINDS else "",
            "happenings": activity.of_loan(subject, kinds),
            "most": activity.MOST_OF_EACH,
        },
    )
