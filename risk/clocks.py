"""When a margin call is due: its own clock, the shorter one of a higher level, and what stops both."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from lending.models import Freeze
from risk.engine.ladder import remaining_s
from risk.models import AssetOutage, Dispute, MarginCall

MAX_PAUSE_S = 6 * 3600
DISPUTED = "the call was disputed"


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


@dataclass(frozen=True, slots=True)
class Stop:
    """A span in which a call's clock stood still, and why."""

    start_at: datetime
    end_at: datetime
    why: str

    def as_json(self) -> dict[str, str]:
        """Return the span as evidence keeps it."""
        return {"from": self.start_at.isoformat(), "to": self.end_at.isoformat(), "why": self.why}


def stops(call: MarginCall, asset_codes: Iterable[str], *, now: datetime) -> list[Stop]:
    """
    Return what has stopped a call's clock since receipt: outages of its assets, freezes of its account, a dispute.

    A dispute stops it for the disputed part alone: only while the rest is paid. What is still open counts up to now;
    what overlaps is cut, so that no second counts twice.
    """
    received_at = call.received_at
    if received_at is None:
        return []
    outages = AssetOutage.objects.filter(
        Q(end_at=None) | Q(end_at__gt=received_at), asset__code__in=list(asset_codes), start_at__lt=now
    )
    freezes = Freeze.objects.filter(
        Q(lifted_at=None) | Q(lifted_at__gt=received_at), margin_account=call.margin_account_id, frozen_at__lt=now
    )
    disputed = Dispute.objects.filter(call=call.pk, opened_at__lt=now, undisputed__lte=call.cured_fraction).values_list(
        "opened_at", "answered_at", "answer_due_at"
    )
    out = outages.values_list("start_at", "end_at", "asset__code")
    frozen = freezes.values_list("frozen_at", "lifted_at")
    spans = [(start_at, end_at, f"{code} was out") for start_at, end_at, code in out]
    spans += [(start_at, end_at, "the account was frozen") for start_at, end_at in frozen]
    spans += [(start_at, min(end_at or due_at, due_at), DISPUTED) for start_at, end_at, due_at in disputed]
    found, counted_to = [], received_at
    for start_at, end_at, why in sorted(spans, key=lambda span: (span[0], span[2])):
        start, end = max(start_at, counted_to), min(end_at or now, now)
        if end > start:
            found.append(Stop(start, end, why))
            counted_to = end
    return found


def paused_s(found: Sequence[Stop]) -> int:
    """Return for how many seconds a clock has stood still, at most six hours, and a dispute's own limit besides."""
    spans = [((stop.end_at - stop.start_at).total_seconds(), stop.why == DISPUTED) for stop in found]
    disputed = sum(seconds for seconds, of_dispute in spans if of_dispute)
    rest = sum(seconds for seconds, of_dispute in spans if not of_dispute)
    return int(disputed + min(rest, MAX_PAUSE_S))
