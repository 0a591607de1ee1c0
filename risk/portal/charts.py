"""What a loan's charts are drawn from: its LTV and the prices under it, with the calls that were made, as JSON."""

from datetime import datetime, timedelta
from typing import Any

from lending.models import Loan
from risk import history
from risk.models import MarginCall
from risk.prices import Marks

SPANS = {"6h": timedelta(hours=6), "24h": timedelta(days=1), "7d": timedelta(days=7), "all": None}
USUAL = "24h"


def of_loan(loan: Loan, marks: Marks, *, span: str, now: datetime) -> dict[str, Any]:
    """Return the history of a loan's margin account over a span up to now, its levels, and the calls within it."""
    length = SPANS.get(span, SPANS[USUAL])
    funded_at = loan.start_at or now
    start_at = funded_at if length is None else max(funded_at, now - length)
    account = loan.margin_account
    drawn = history.of_account(account, marks, start_at=start_at, now=now)
    calls = MarginCall.objects.filter(margin_account=account, issued_at__gte=start_at).order_by("issued_at")
    return {
        "at": [_second(at) for at in drawn.at],
        "ltv": drawn.ltv,
        "quality": drawn.quality,
        "prices": drawn.price,
        "levels": [[name, float(level)] for name, level in account.terms.levels],
        "marks": [mark for call in calls for mark in _marks(call)],
    }


def _marks(call: MarginCall) -> list[dict[str, Any]]:
    """Return what a call puts on the chart: when it was issued, and how and when it ended."""
    found = [{"at": _second(call.issued_at), "words": "Call issued", "bad": True}]
    if call.closed_at:
        ended = call.get_state_display().lower()
        found.append({"at": _second(call.closed_at), "words": f"Call {ended}", "bad": call.state == "liquidated"})
    return found


def _second(at: datetime) -> int:
    return int(at.timestamp())
