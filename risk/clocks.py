"""When a margin call is due: its own clock, the shorter one of a higher level, and what stops both."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q

from lending.models import Freeze
from risk.engine.ladder import remaining_s
from risk.models import AssetOutage, Dispute, MarginCall

MAX_PAUSE_S = 6 * 3600
DISPUTED = "the call was disputed"
# From, to (None while it lasts), and why.
_Span = tuple[datetime, datetime | None, str]


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
    return stops_of([(call, asset_codes)], now=now)[call.pk]


def stops_of(calls: Iterable[tuple[MarginCall, Iterable[str]]], *, now: datetime) -> dict[int, list[Stop]]:
    """Return what has stopped the clocks of calls, each given with its assets, by call key; in three queries."""
    assets = {call: frozenset(codes) for call, codes in calls}
    received = [call.received_at for call in assets if call.received_at is not None]
    if not received:
        return {call.pk: [] for call in assets}
    outages = _outages(frozenset().union(*assets.values()), since=min(received), now=now)
    freezes = _freezes([call.margin_account_id for call in assets], since=min(received), now=now)
    disputes = _disputes({call.pk: call.cured_fraction for call in assets}, now=now)
    return {
        call.pk: _since(
            call.received_at,
            [span for code in codes for span in outages[code]] + freezes[call.margin_account_id] + disputes[call.pk],
            now=now,
        )
        for call, codes in assets.items()
    }


def _outages(codes: Iterable[str], *, since: datetime, now: datetime) -> defaultdict[str, list[_Span]]:
    open_or_later = Q(end_at=None) | Q(end_at__gt=since)
    found: defaultdict[str, list[_Span]] = defaultdict(list)
    rows = AssetOutage.objects.filter(open_or_later, asset__code__in=list(codes), start_at__lt=now)
    for code, start_at, end_at in rows.values_list("asset__code", "start_at", "end_at"):
        found[code].append((start_at, end_at, f"{code} was out"))
    return found


def _freezes(accounts: list[int], *, since: datetime, now: datetime) -> defaultdict[int, list[_Span]]:
    open_or_later = Q(lifted_at=None) | Q(lifted_at__gt=since)
    found: defaultdict[int, list[_Span]] = defaultdict(list)
    rows = Freeze.objects.filter(open_or_later, margin_account__in=accounts, frozen_at__lt=now)
    for account, start_at, end_at in rows.values_list("margin_account", "frozen_at", "lifted_at"):
        found[account].append((start_at, end_at, "the account was frozen"))
    return found


def _disputes(paid: Mapping[int, Decimal], *, now: datetime) -> defaultdict[int, list[_Span]]:
    """Return the disputes of calls of which some fraction is paid: those whose undisputed part is."""
    found: defaultdict[int, list[_Span]] = defaultdict(list)
    for row in Dispute.objects.filter(call__in=list(paid), opened_at__lt=now):
        if row.undisputed <= paid[row.call_id]:
            end_at = min(row.answered_at or row.answer_due_at, row.answer_due_at)
            found[row.call_id].append((row.opened_at, end_at, DISPUTED))
    return found


def _since(received_at: datetime | None, spans: Iterable[_Span], *, now: datetime) -> list[Stop]:
    """Return what spans leave standing between receipt and now, none of it twice."""
    if received_at is None:
        return []
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
