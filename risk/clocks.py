"""When a margin call is due: its own clock, the shorter one of a higher level, and what stops both."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db.models import Q

from risk.engine.ladder import remaining_s
from risk.models import AssetOutage, MarginCall

MAX_PAUSE_S = 6 * 3600


def due_at(call: MarginCall) -> datetime | None:
    """Return the deadline of a call: none before receipt, the earlier of its clocks after it, later by its pauses."""
    if call.received_at is None:
        return None
    due = call.received_at + timedelta(seconds=call.cure_period_s)
    if call.accelerated_due_at is not None:
        due = min(due, call.accelerated_due_at)
    return due + timedelta(seconds=call.paused_s)


def accelerated_due_at(call: MarginCall, *, now: datetime) -> datetime:
    """
    Return what the accelerated clock that starts now ends at before pauses.

    Only outages from here on may stop it, and `due_at` adds all of the call's: what has been added so far is taken off.
    """
    period_s = call.margin_account.terms.accelerated_cure_period_s
    return now + timedelta(seconds=period_s - call.paused_s)


def receive(call: MarginCall, *, at: datetime) -> None:
    """Start a call's clocks at the instant of deemed receipt; no clock runs before the client was told."""
    if call.accelerated_due_at is not None:
        period = timedelta(seconds=call.margin_account.terms.accelerated_cure_period_s)
        call.accelerated_due_at = max(call.accelerated_due_at, at + period)
    call.received_at = at
    call.cure_due_at = due_at(call)


def left_s(call: MarginCall, *, now: datetime) -> int:
    """Return the seconds of the cure period that were not used."""
    due = due_at(call)
    return call.cure_period_s if due is None else min(remaining_s(due_at=due, closed_at=now), call.cure_period_s)


def text(at: datetime | None) -> str | None:
    """Return an instant as evidence keeps it."""
    return at.isoformat() if at else None


def paused_s(call: MarginCall, asset_codes: Iterable[str], *, now: datetime) -> int:
    """
    Return for how many seconds outages of a call's assets have stopped its clock since receipt, at most six hours.

    Outages that overlap count once. An outage that is still open counts up to now.
    """
    if call.received_at is None:
        return 0
    outages = AssetOutage.objects.filter(
        Q(end_at=None) | Q(end_at__gt=call.received_at), asset__code__in=list(asset_codes), start_at__lt=now
    )
    total, counted_to = timedelta(0), call.received_at
    for start_at, end_at in outages.order_by("start_at", "pk").values_list("start_at", "end_at"):
        start, end = max(start_at, counted_to), min(end_at or now, now)
        if end > start:
            total += end - start
            counted_to = end
    return min(int(total.total_seconds()), MAX_PAUSE_S)
