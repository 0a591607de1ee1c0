"""The queue of open calls: a page of it, its rows for a page that is told of changes, one row alone."""

import uuid
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.shortcuts import get_object_or_404, render
from django.views.decorators.http import require_safe

from lending import events
from lending.portal.doors import SignedIn
from risk import prices
from risk import queue as queues
from risk.console.doors import frame, risk_only
from risk.console.stream import STREAM
from risk.models import OPEN_CALL_STATES, CallState, MarginCall
from risk.prices import Market

FEED = 30
_TAKEN = (("", "Anybody"), (queues.NOBODY, "Nobody"), (queues.MINE, "Me"))


@require_safe
@risk_only
def queue(request: SignedIn) -> HttpResponse:
    """Show the queue, and follow it."""
    market = prices.market(now=request.reading.now)
    # Events are read first: what happens while the page is built comes over the live line.
    feed = events.newest(STREAM, FEED)
    context = {"feed": feed, "last_seq": feed[0].seq if feed else 0, **_queue(request, market)}
    return render(request, "console/queue.html", {**frame(request, "queue", market), **context})


@require_safe
@risk_only
def rows(request: SignedIn) -> HttpResponse:
    """Show the queue's table alone, for a page that is told that something changed."""
    now = request.reading.now
    return render(request, "console/rows.html", {"now": now, **_queue(request, prices.market(now=now))})


@require_safe
@risk_only
def row(request: SignedIn, public_id: uuid.UUID) -> HttpResponse:
    """Show one row; nothing once its call is closed."""
    now = request.reading.now
    found = queues.of_call(get_object_or_404(MarginCall, public_id=public_id), prices.market(now=now), now=now)
    return render(request, "console/row.html", {"now": now, "row": found}) if found else HttpResponse()


def _queue(request: SignedIn, market: Market) -> dict[str, Any]:
    """Return the page of the queue that a request asks for, with the filters that it chose."""
    wanted = {name: request.GET.get(name, "") for name in ("state", "manager", "asset", "taken")}
    asked = request.GET.get("page", "")
    found = queues.of_open_calls(
        queues.Filters(**wanted),
        market,
        reader=request.user,
        page=int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 7 else 1,
        now=request.reading.now,
    )
    return {
        "queue": found,
        "wanted": wanted,
        "filtered": any(wanted.values()),
        "query": urlencode({name: value for name, value in wanted.items() if value}),
        "open_states": [(state.value, state.label) for state in OPEN_CALL_STATES],
        "states": [(state, CallState(state).label, count) for state, count in found.states.items()],
        "assets": [asset.code for asset in market.assets],
        "taken": _TAKEN,
    }
