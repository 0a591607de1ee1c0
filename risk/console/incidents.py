"""Incidents: what a person must look at, what was done about it, and what is over."""

import uuid
from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.db.models import Prefetch
from django.http import HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_POST, require_safe

from lending.portal.doors import SignedIn
from risk import incidents as verbs
from risk.console.doors import frame, risk_only
from risk.models import Incident, IncidentEvent

OPEN, CLOSED = 100, 50


@require_safe
@risk_only
def incidents(request: SignedIn) -> HttpResponse:
    """Show open incidents, then the latest closed ones, with what people did about them."""
    return _page(request)


def _page(request: SignedIn, *, status: int = 200, **more: Any) -> HttpResponse:
    steps = Prefetch("events", IncidentEvent.objects.select_related("actor").order_by("happened_at", "pk"))
    found = Incident.objects.select_related(
        "asset", "client", "margin_account", "acknowledged_by", "resolved_by"
    ).prefetch_related(steps)
    still = found.filter(closed_at=None)
    shown = list(still.order_by("-opened_at", "-pk")[:OPEN])
    context = {
        "open_incidents": shown,
        "more": still.count() - len(shown) if len(shown) == OPEN else 0,
        "closed_incidents": found.exclude(closed_at=None).order_by("-closed_at", "-pk")[:CLOSED],
        "closes_by_itself": verbs.CLOSES_BY_ITSELF,
    }
    return render(request, "console/incidents.html", {**frame(request, "incidents"), **context, **more}, status=status)


def _act(request: SignedIn, public_id: uuid.UUID, act: Callable[[Incident], object], done: str) -> HttpResponse:
    """Do one thing about an incident; a text that can not be kept comes back as it was written."""
    wanted = get_object_or_404(Incident, public_id=public_id)
    try:
        act(wanted)
    except verbs.UnableToHandle as refusal:
        said = {"at": wanted.pk, "said": request.POST.get("note", ""), "problem": f"Not done: {refusal}."}
        return _page(request, status=422, **said)
    messages.success(request, done)
    return redirect("console_incidents")


@require_POST
@risk_only
def acknowledge(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Note who looks into an incident."""
    user, now = request.user, request.reading.now
    done = "Noted: you look into it."
    return _act(request, public_id, lambda wanted: verbs.acknowledge(wanted, user=user, now=now), done)


@require_POST
@risk_only
def handle(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Keep a note about an incident, or close it with one, as the pressed button says."""
    text, user, now = request.POST.get("note", ""), request.user, request.reading.now
    if "resolve" in request.POST:
        done = "The incident is closed."
        return _act(request, public_id, lambda wanted: verbs.resolve(wanted, text, user=user, now=now), done)
    done = "Your note is kept."
    return _act(request, public_id, lambda wanted: verbs.note(wanted, text, user=user, now=now), done)
