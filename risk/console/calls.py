"""One margin call: what a person needs to handle it, what they do about it, and the evidence of all of it."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import CharField, OuterRef, QuerySet
from django.db.models.functions import Cast, JSONObject
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending.models import NoticeDelivery
from lending.portal.doors import SignedIn
from risk import conditional_credits, handling, margin_calls, positions, reserved_cures, sales, two_keys
from risk.console.doors import frame, risk_only
from risk.models import (
    OPEN_CALL_STATES,
    CallState,
    CollateralCure,
    DecisionLog,
    LiquidationOrder,
    MarginCall,
    MarginState,
    MarginStatus,
)

_SOLD = (*sales.IN_SALE, CallState.LIQUIDATED)


def _calls() -> QuerySet[MarginCall]:
    """Return calls with what their pages show of them, each in one query."""
    return sales.with_sales(MarginCall.objects).select_related(
        "client__relationship_manager",
        "margin_account__terms",
        "margin_account__client",
        "margin_account__margin_status",
        "cure_asset",
        "snapshot",
        "claimed_by",
        "acknowledged_by",
    )


@require_safe
@risk_only
def call(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show one call: how long is left, what cures it, who handles it, where its account stands."""
    return _page(request, public_id)


def _page(request: SignedIn, public_id: uuid.UUID, *, status: int = 200, **more: Any) -> HttpResponse:
    cures = CollateralCure.objects.filter(call=OuterRef("pk")).order_by("asset__code")
    exact = {name: Cast(name, CharField()) for name in ("quantity", "price")}
    wanted = reserved_cures.beside(_calls())
    wanted = wanted.annotate(cures=ArraySubquery(cures.values(json=JSONObject(asset="asset__code", **exact))))
    shown: Any = get_object_or_404(wanted, public_id=public_id)
    account, around = shown.margin_account, frame(request, "queue")
    state: MarginStatus | None = getattr(account, "margin_status", None)
    context = {
        "call": shown,
        "is_open": shown.state in OPEN_CALL_STATES,
        "runs": shown.state in margin_calls.RUNNING,
        "mine": shown.claimed_by_id == request.user.pk,
        "standing": positions.standing(account, now=around["now"], marks=around["market"].marks),
        "cures": shown.cures,
        "conditional": conditional_credits.standing(shown, now=around["now"])
        if shown.state in OPEN_CALL_STATES
        else None,
        "set_aside": shown.set_aside,
        "steps": shown.events.select_related("actor").order_by("-happened_at", "-pk"),
        "orders": _orders(shown) if shown.state in _SOLD else (),
        "may_take_two": shown.state in _SOLD or (state is not None and state.state == MarginState.LIQUIDATE),
        "note_length": handling.NOTE_LENGTH,
    }
    return render(request, "console/call.html", {**around, **context, **more}, status=status)


def _orders(shown: MarginCall) -> QuerySet[LiquidationOrder]:
    found = LiquidationOrder.objects.filter(margin_account=shown.margin_account_id, episode=shown.episode)
    return found.select_related("asset", "cause").order_by("slice", "pk")


@require_safe
@risk_only
def evidence(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show everything that a call rests on: steps, notices with their delivery, prices, decisions, sales."""
    shown = get_object_or_404(_calls(), public_id=public_id)
    account = shown.margin_account
    told = NoticeDelivery.objects.filter(notice__margin_account=account, notice__created_at__gte=shown.issued_at)
    if shown.closed_at:
        told = told.filter(notice__created_at__lte=shown.closed_at)
    context = {
        "call": shown,
        "steps": shown.events.select_related("actor").order_by("happened_at", "pk"),
        "deliveries": told.select_related("notice").order_by("notice__created_at", "notice", "channel", "address"),
        "snapshot": sorted(shown.snapshot.marks.items()),
        "orders": _orders(shown),
        "decisions": DecisionLog.objects.filter(margin_account=account, episode=shown.episode).order_by("first_at"),
    }
    return render(request, "console/evidence.html", {**frame(request, "queue"), **context})


def _act(
    request: SignedIn, public_id: uuid.UUID, act: Callable[[MarginCall], object], done: str, *, not_done: str
) -> HttpResponse:
    """Do one thing about a call and return to its page, which says that it was done or why not."""
    wanted = get_object_or_404(MarginCall.objects.select_related("margin_account__client"), public_id=public_id)
    try:
        act(wanted)
    except (handling.UnableToClaim, two_keys.UnableToAsk) as refusal:
        messages.error(request, f"{not_done}: {refusal}.")
    else:
        messages.success(request, done)
    return redirect("console_call", public_id=public_id)


@require_POST
@risk_only
def claim(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Take a call, so that nobody else works on it too."""
    now = request.reading.now
    return _act(
        request,
        public_id,
        lambda wanted: handling.claim(wanted, user=request.user, now=now),
        "The call is yours.",
        not_done="Not claimed",
    )


@require_POST
@risk_only
def take_over(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Take a call from the person who holds it."""
    held_by, now = request.POST.get("held_by", ""), request.reading.now
    return _act(
        request,
        public_id,
        lambda wanted: handling.take_over(wanted, user=request.user, held_by=held_by, now=now),
        "The call is yours now; its evidence says from whom you took it.",
        not_done="Not taken over",
    )


@require_POST
@risk_only
def hand_back(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Put a call back into the queue."""
    now = request.reading.now
    return _act(
        request,
        public_id,
        lambda wanted: handling.hand_back(wanted, user=request.user, now=now),
        "The call is back in the queue.",
        not_done="Not put back",
    )


@require_POST
@risk_only
def ask_two_keys(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Ask the head of risk to agree to a sale that takes two persons."""
    kind, now = request.POST.get("kind", ""), request.reading.now
    return _act(
        request,
        public_id,
        lambda wanted: two_keys.request(kind, wanted.margin_account, wanted.episode, maker=request.user, now=now),
        "Asked: the sale waits for another person, the head of risk.",
        not_done="Not asked",
    )


@require_safe
@risk_only
def two_persons(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show what of a call's sale takes two persons: alone, or as a part of the call's page."""
    now = request.reading.now
    wanted = sales.with_sales(MarginCall.objects).select_related("margin_account", "client")
    shown = get_object_or_404(wanted, public_id=public_id)
    account = shown.margin_account
    context = {
        "call": shown,
        "is_open": shown.state in OPEN_CALL_STATES,
        "needed": [(kind, two_keys.WORDS[kind]) for kind in two_keys.needed(account, shown.episode)],
        "asked": [(two_keys.WORDS[asked.kind], asked) for asked in two_keys.asked(account, shown.episode)],
    }
    if request.headers.get("HX-Request"):
        return render(request, "console/two_persons.html", {"now": now, **context})
    return render(request, "console/two_persons_page.html", {**frame(request, "queue"), **context})


@require_POST
@risk_only
def note(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Keep a note about a call; one that can not be kept comes back as it was written."""
    wanted, text = get_object_or_404(MarginCall, public_id=public_id), request.POST.get("note", "")
    try:
        handling.note(wanted, text, user=request.user, now=request.reading.now)
    except handling.UnableToNote as refusal:
        return _page(request, public_id, status=422, note=text, note_error=f"Not kept: {refusal}.")
    messages.success(request, "Your note is kept.")
    return redirect("console_call", public_id=public_id)


@require_POST
@risk_only
def acknowledge(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Keep that the client acknowledged a call by voice."""
    wanted, name = get_object_or_404(MarginCall, public_id=public_id), request.POST.get("spoke_with", "")
    try:
        handling.acknowledge(wanted, user=request.user, spoke_with=name, now=request.reading.now)
    except (handling.UnableToNote, margin_calls.UnableToAcknowledge) as refusal:
        return _page(request, public_id, status=422, spoke_with=name, spoken_error=f"Not kept: {refusal}.")
    messages.success(request, f"Kept: {name.strip()} has acknowledged the call.")
    return redirect("console_call", public_id=public_id)
