"""Who passes the console's door, and what stands above each of its pages."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpResponse

from lending import access, clock
from lending.portal.doors import SignedIn
from risk import prices
from risk.prices import Market

View = Callable[..., HttpResponse]
HOURS = ("6", "24", "72")


def risk_only(view: View) -> View:
    """Wrap a view so that only risk staff reach it; role and clock are read once a request."""

    @login_required
    @wraps(view)
    def wrapped(request: SignedIn, *args: Any, **kwargs: Any) -> HttpResponse:
        request.roles = access.require_role(request.user, *access.RISK_ROLES)
        request.reading = clock.reading()
        return view(request, *args, **kwargs)

    return wrapped


def frame(request: SignedIn, page: str, market: Market | None = None) -> dict[str, Any]:
    """Return what stands above every page: which one it is, and how old the marks are."""
    now = request.reading.now
    market = market or prices.market(now=now)
    return {"page": page, "now": now, "market": market, "marks": market.rows}


def hours_of(request: SignedIn) -> int:
    """Return over how many hours a page's chart goes back: as the reader chose, a day if they did not."""
    asked = request.GET.get("hours", "")
    return int(asked) if asked in HOURS else 24
