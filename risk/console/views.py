"""The queue of open calls, a call with its evidence, marks by source, incidents."""

import uuid
from collections.abc import Callable
from datetime import datetime
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Case, Count, F, IntegerField, Q, QuerySet, Value, When
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending import access, clock, events
from lending.models import EventStream
from lending.portal.doors import SignedIn
from risk import handling, positions, two_keys
from risk import incidents as incident_verbs
from risk.console.stream import STREAM
from risk.models import (
    OPEN_CALL_STATES,
    CallState,
    DecisionLog,
    Incident,
    LiquidationOrder,
    MarginCall,
    MarginState,
    MarginStatus,
    Mark,
)

View = Callable[..., HttpResponse]

_ROWS = 200
_FEED = 30


def risk_only(view: View) -> View:
    """Wrap a view so that only risk staff reach it."""

    @login_required
    @wraps(view)
    def wrapped(request: SignedIn, *args: Any, **kwargs: Any) -> HttpResponse:
        access.require_role(request.user, *access.RISK_ROLES)
        return view(request, *args, **kwargs)

    return wrapped


def _frame(page: str, now: datetime) -> dict[str, Any]:
    """Return what stands above every page: which one it is, and how old the marks are."""
    return {"page": page, "now": now, "marks": list(Mark.objects.select_related("asset").order_by("asset__code"))}


def _open_calls() -> QuerySet[MarginCall]:
    """Return open calls, the most pressing first: expired ones, then by deadline, then those not yet received."""
    pressing = Case(
        When(state__in=[CallState.EXPIRED, CallState.LIQUIDATING], then=Value(0)),
        When(cure_due_at__isnull=False, then=Value(1)),
        default=Value(2),
        output_field=IntegerField(),
    )
    found = MarginCall.objects.filter(state__in=OPEN_CALL_STATES).select_related("client", "cure_asset", "claimed_by")
    return found.annotate(pressing=pressing).order_by("pressing", F("cure_due_at").asc(nulls_last=True), "issued_at")


def _queue() -> dict[str, Any]:
    states = MarginStatus.objects.aggregate(
        unknown=Count("pk", filter=Q(state=MarginState.UNKNOWN)),
        liquidate=Count("pk", filter=Q(state=MarginState.LIQUIDATE)),
        warning=Count("pk", filter=Q(state=MarginState.WARNING)),
    )
    total = MarginCall.objects.filter(state__in=OPEN_CALL_STATES).count()
    return {"calls": _open_calls()[:_ROWS], "total": total, "rows_shown": _ROWS, "states": states}


@require_safe
@risk_only
def queue(request: SignedIn) -> HttpResponse:
    """Show the queue, and follow it."""
    now = clock.now()
    # The number is read first: what happens while the page is built comes over the live line.
    newest = EventStream.objects.filter(name=STREAM).values_list("last_seq", flat=True).first() or 0
    feed = events.read(STREAM, max(newest - _FEED, 0), _FEED)
    return render(
        request,
        "console/queue.html",
        {
            **_frame("queue", now),
            **_queue(),
            "feed": list(reversed(feed)),
            "last_seq": feed[-1].seq if feed else newest,
        },
    )


@require_safe
@risk_only
def rows(request: SignedIn) -> HttpResponse:
    """Show the queue alone, for a page that is told that something changed."""
    return render(request, "console/rows.html", {"now": clock.now(), **_queue()})


@require_safe
@risk_only
def call(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show one call with everything that it rests on."""
    now = clock.now()
    wanted = MarginCall.objects.select_related(
        "client__relationship_manager",
        "margin_account__terms",
        "cure_asset",
        "snapshot",
        "claimed_by",
        "acknowledged_by",
    )
    shown = get_object_or_404(wanted, public_id=public_id)
    account = shown.margin_account
    return render(
        request,
        "console/call.html",
        {
            **_frame("queue", now),
            "call": shown,
            "is_open": shown.state in OPEN_CALL_STATES,
            "standing": positions.standing(account, now=now),
            "cures": shown.collateral_cures.select_related("asset").order_by("asset__code"),
            "evidence": shown.events.select_related("actor").order_by("happened_at", "pk"),
            "snapshot": sorted(shown.snapshot.marks.items()),
            "orders": LiquidationOrder.objects.filter(margin_account=account, episode=shown.episode)
            .select_related("asset", "cause")
            .order_by("slice", "pk"),
            "two_keys": [(kind, two_keys.WORDS[kind]) for kind in two_keys.needed(account, shown.episode)],
            "two_keys_asked": [(two_keys.WORDS[row.kind], row) for row in two_keys.asked(account, shown.episode)],
            "decisions": DecisionLog.objects.filter(margin_account=account, episode=shown.episode).order_by("first_at"),
        },
    )


@require_POST
@risk_only
def claim(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Take a call, so that nobody else works on it too."""
    wanted = get_object_or_404(MarginCall, public_id=public_id)
    try:
        handling.claim(wanted, user=request.user, now=clock.now())
    except handling.UnableToClaim as refusal:
        messages.error(request, f"Not claimed: {refusal}.")
    else:
        messages.success(request, "The call is yours.")
    return redirect("console_call", public_id=public_id)


@require_POST
@risk_only
def ask_two_keys(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Ask the head of risk to agree to a sale that takes two persons."""
    wanted = get_object_or_404(MarginCall.objects.select_related("margin_account__client"), public_id=public_id)
    kind = request.POST.get("kind", "")
    try:
        two_keys.request(kind, wanted.margin_account, wanted.episode, maker=request.user, now=clock.now())
    except two_keys.UnableToAsk as refusal:
        messages.error(request, f"Not asked: {refusal}.")
    else:
        messages.success(request, "Asked: the sale waits for another person, the head of risk.")
    return redirect("console_call", public_id=public_id)


@require_safe
@risk_only
def marks(request: SignedIn) -> HttpResponse:
    """Show every mark with the sources that made it."""
    return render(request, "console/marks.html", _frame("marks", clock.now()))


@require_safe
@risk_only
def incidents(request: SignedIn) -> HttpResponse:
    """Show open incidents, then the latest closed ones."""
    found = Incident.objects.select_related("asset", "client", "acknowledged_by")
    return render(
        request,
        "console/incidents.html",
        {
            **_frame("incidents", clock.now()),
            "open_incidents": found.filter(closed_at=None).order_by("-opened_at", "-pk")[:_ROWS],
            "closed_incidents": found.exclude(closed_at=None).order_by("-closed_at", "-pk")[:50],
        },
    )


@require_POST
@risk_only
def acknowledge(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Note who looks after an incident."""
    incident_verbs.acknowledge(get_object_or_404(Incident, public_id=public_id), user=request.user, now=clock.now())
    messages.success(request, "Noted: you look after it.")
    return redirect("console_incidents")
