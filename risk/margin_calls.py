"""Margin calls: issued on an exact breach, cured by what is paid, cleared by the market, or expired."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import F, Manager, Q, QuerySet

from lending import bulk, margin_accounts, notices
from lending.models import MarginAccount, User
from risk import clocks, confirming, cures, exposures, incidents, letters, prices, restraints, sales
from risk.breaches import OPENED, Breach, UnableToIssue, issue, level_of, shown_ltv, stored_ltv
from risk.exposures import AccountFacts, Judgement
from risk.models import OPEN_CALL_STATES, CallEvent, CallLevel, CallState, Dispute, MarginCall, SaleCause
from risk.prices import Marks

__all__ = [
    "RECEIVED",
    "RUNNING",
    "Breach",
    "UnableToAcknowledge",
    "UnableToIssue",
    "acknowledge",
    "assess",
    "assess_due",
    "close",
    "close_by_market",
    "expire_due",
    "issue",
    "locked",
    "open_of",
    "restart_clock",
    "set_levels",
    "shown_ltv",
    "stored_ltv",
]

RUNNING = (CallState.ISSUED, CallState.NOTIFIED, CallState.ACKNOWLEDGED, CallState.PARTIALLY_CURED)
RECEIVED = (CallState.NOTIFIED, CallState.ACKNOWLEDGED, CallState.PARTIALLY_CURED)
# The step that a call's end is written down as.
_CLOSED = {
    CallState.CURED: "cured",
    CallState.CURED_BY_MARKET: "cured",
    CallState.LIQUIDATED: "liquidated",
    CallState.WAIVED: "waived",
    CallState.WITHDRAWN: "withdrawn",
}


class UnableToAcknowledge(Exception):
    """The call is closed or in sale."""


def open_of(calls: QuerySet[MarginCall] | Manager[MarginCall]) -> list[MarginCall]:
    """Return which of some calls are open, with how their sales go, the most pressing first."""
    found = sales.with_sales(calls).filter(state__in=OPEN_CALL_STATES).select_related("cure_asset", "client")
    return list(found.order_by("cure_due_at", "pk"))


def under_call(margin_account_id: int, *, at: datetime) -> bool:
    """
    Return whether what arrived at an instant and is booked now is a cure: a margin call, or its sale, stood or stands.

    A call that stands counts whatever is booked after it, also what arrived before. Of one that stood its steps say
    when: a call that is opened again forgets its earlier opening.
    """
    if MarginCall.objects.filter(margin_account=margin_account_id, closed_at=None).exists():
        return True
    steps = CallEvent.objects.filter(call__margin_account=margin_account_id, happened_at__lte=at)
    last = steps.filter(kind__in=(*OPENED, *_CLOSED.values())).order_by("-happened_at", "-pk").first()
    return last is not None and last.kind in OPENED


def set_levels(running: Sequence[tuple[MarginCall, AccountFacts, Judgement]], *, now: datetime) -> None:
    """
    Shorten the clocks of running calls whose accounts pass the accelerated level, restore those that fall back.

    The caller holds the accounts' locks.
    """
    moved = [(call, facts, judged) for call, facts, judged in running if call.level != level_of(judged)]
    if not moved:
        return
    stops = clocks.stops_of([(call, facts.position.assets) for call, facts, _judged in moved], now=now)
    steps, told = [], []
    for call, _facts, judged in moved:
        call.level = level_of(judged)
        call.paused_s = clocks.paused_s(stops[call.pk])
        accelerated = call.level == CallLevel.ACCELERATED
        call.accelerated_due_at = clocks.accelerated_due_at(call, now=now) if accelerated else None
        call.cure_due_at = clocks.due_at(call)
        kind, due = "accelerated" if accelerated else "restored", letters.instant(call.cure_due_at, call.client)
        facts = {"due_at": due, "ltv": f"{stored_ltv(judged):f}"}
        steps.append(letters.Step(call=call, kind=kind, facts=facts, public=f"Deadline {kind}: {due}"))
        told.append(
            letters.later(
                call,
                f"margin_call_{kind}",
                f"Margin call: deadline {kind}",
                f"The deadline of your margin call is now: {due}.",
                key=f"{kind}:{now.isoformat()}",
            )
        )
    bulk.update([call for call, _facts, _judged in moved], ["level", "paused_s", "accelerated_due_at", "cure_due_at"])
    letters.record_many(steps, now=now)
    notices.enqueue(told, now=now)


def close(call: MarginCall, state: CallState, reason: str, *, now: datetime, remaining_s: int | None = None) -> None:
    """Close a call and touch its account, whose next breach is looked at afresh. The caller holds the lock."""
    call.remaining_s = remaining_s
    _close([call], state, reason, now=now)


def close_by_market(calls: Sequence[tuple[MarginCall, AccountFacts]], *, now: datetime) -> None:
    """Close calls that held below clear_ltv long enough, keeping what is left of their clocks for a reopening."""
    if not calls:
        return
    stops = clocks.stops_of([(call, facts.position.assets) for call, facts in calls], now=now)
    for call, _facts in calls:
        call.paused_s = clocks.paused_s(stops[call.pk])
        call.remaining_s = clocks.left_s(call, now=now)
    closed = [call for call, _facts in calls]
    _close(closed, CallState.CURED_BY_MARKET, "the market brought the LTV below the clearing level", now=now)


def _close(calls: Sequence[MarginCall], state: CallState, reason: str, *, now: datetime) -> None:
    for call in calls:
        call.state, call.closed_at, call.close_reason = state, now, reason
    bulk.update(calls, ["state", "closed_at", "close_reason", "paused_s", "remaining_s"])
    margin_accounts.touch(*(call.margin_account for call in calls))
    _end_disputes(calls, now=now)
    kind = _CLOSED[state]
    facts = {"state": state.value, "reason": reason}
    letters.record_many(
        [letters.Step(call=call, kind=kind, facts=facts, public=reason.capitalize()) for call in calls], now=now
    )
    notices.enqueue(
        [
            letters.later(
                call,
                f"margin_call_{kind}",
                f"Margin call closed: {reason}",
                f"Your margin call of {letters.instant(call.issued_at, call.client)} is closed: {reason}.",
                key=f"closed:{now.isoformat()}",
            )
            for call in calls
        ],
        now=now,
    )


def _end_disputes(calls: Sequence[MarginCall], *, now: datetime) -> None:
    """Write down that unanswered disputes end with their calls: nothing is left about which to answer."""
    unanswered = set(Dispute.objects.filter(call__in=calls, outcome="").values_list("call", flat=True))
    ended = [call for call in calls if call.pk in unanswered]
    said = "The dispute ends with the call"
    letters.record_many(
        [letters.Step(call=call, kind="dispute_ended", facts={"answered": False}, public=said) for call in ended],
        now=now,
    )
    incidents.close_for(incidents.DISPUTE, [call.margin_account for call in ended], now=now)


def assess_due(*, now: datetime) -> int:
    """Note receipts and count payments for every running call that has news, and return how many changed."""
    news = Q(received_at=None, notice__deemed_received_at__isnull=False)
    news |= ~Q(margin_account__version=F("assessed_version"))
    due = MarginCall.objects.filter(news, state__in=RUNNING).order_by("issued_at", "public_id")
    changed = 0
    for key, account in list(due.values_list("pk", "margin_account")):
        with transaction.atomic():
            margin_accounts.lock(account)
            changed += assess(locked(key), now=now)
    return changed


def locked(call_id: int) -> MarginCall:
    """Return a call as it stands with what its steps need; the caller holds its account's lock."""
    return MarginCall.objects.select_related("margin_account__terms", "client", "notice", "cure_asset", "snapshot").get(
        pk=call_id
    )


def assess(call: MarginCall, *, now: datetime) -> bool:
    """Note receipt of a call and count what was paid towards it; returns whether anything changed. Under the lock."""
    if call.state not in RUNNING:
        return False
    before = (call.state, call.received_at, call.cured_fraction)
    if call.received_at is None and call.notice and call.notice.deemed_received_at:
        _receive(call, at=call.notice.deemed_received_at, now=now)
    cash, fraction = cures.paid(call)
    shown = cures.shown(fraction)
    if shown > call.cured_fraction:
        call.cash_cured, call.cured_fraction = cash, shown
        if fraction < 1:
            call.state = CallState.PARTIALLY_CURED
        letters.record(
            call,
            "progress",
            now=now,
            facts={"cash_cured": f"{cash:f}", "cured_fraction": f"{shown:f}"},
            public=f"{letters.percent(min(shown, Decimal(1)))} of the call is paid",
        )
    call.assessed_version = call.margin_account.version
    call.save(
        update_fields=[
            "state", "received_at", "cure_due_at", "accelerated_due_at", "cash_cured", "cured_fraction",
            "assessed_version",
        ]
    )  # fmt: skip
    if fraction >= 1:
        close(call, CallState.CURED, "what was called for has been paid", now=now)
    return before != (call.state, call.received_at, call.cured_fraction)


def _receive(call: MarginCall, *, at: datetime, now: datetime) -> None:
    """Start a call's clocks at its receipt and write that down; the caller saves it."""
    clocks.receive(call, at=at)
    if call.state == CallState.ISSUED:
        call.state = CallState.NOTIFIED
    letters.record(
        call,
        "notified",
        now=now,
        facts={"received_at": clocks.text(call.received_at), "due_at": clocks.text(call.cure_due_at)},
        public=f"Received; due {letters.instant(call.cure_due_at, call.client)}",
    )


def expire_due(*, now: datetime) -> int:
    """Expire the calls whose deadline has passed and that nothing excuses, and return how many calls were closed."""
    due = MarginCall.objects.filter(state__in=RECEIVED, cure_due_at__lte=now).order_by("cure_due_at", "public_id")
    found = list(due.values_list("pk", "margin_account"))
    done = 0
    for key, account in found:
        with transaction.atomic():
            facts = exposures.load_locked([account], now=now)[account]
            # Read under the lock: the market moves on while a crash's calls are gone through.
            done += _expire(locked(key), facts, prices.current(now=now), now=now)
    return done


def _expire(call: MarginCall, facts: AccountFacts, marks: Marks, *, now: datetime) -> bool:
    """Decide one call whose deadline has passed, under its account's lock."""
    assess(call, now=now)
    if call.state not in RECEIVED:
        return True
    # At the liquidation level it may be for sale already, and the sale have been put off or left to people.
    sold_for = sales.standing(call.margin_account_id)
    if _pause(call, facts, now=now) or None in sold_for:
        return False
    judged = exposures.judge(facts, marks)
    excused = restraints.by_default(facts, judged, sold_for, now=now) or restraints.on_expiry(call, now=now)
    if reason := excused or restraints.on_sale(facts, judged, call.episode, now=now):
        incidents.log(facts.account, call.episode, "expiry_waits", reason, now=now)
        return False
    clear_ltv = facts.terms.clear_ltv
    above = judged.exposed.exceeds(clear_ltv)
    if above and confirming.holds(call, facts, judged, marks, level=clear_ltv, now=now):
        incidents.log(facts.account, call.episode, "sale_waits", confirming.WAITS, now=now)
        return False
    snapshot = prices.snapshot(marks, now=now)
    if not above:
        reason = "at the deadline the LTV was below the clearing level, so nothing is sold"
        if call.events.filter(kind=confirming.HELD).exists():
            reason = "what was in its final confirmation at the deadline has come, or the price, so nothing is sold"
        incidents.log(facts.account, call.episode, "not_expired", reason, now=now, snapshot=snapshot)
        close(call, CallState.CURED_BY_MARKET, reason, now=now, remaining_s=0)
        return True
    call.state = CallState.EXPIRED
    call.save(update_fields=["state"])
    ltv = f"{stored_ltv(judged):f}"
    SaleCause.objects.create(
        client_id=call.client_id,
        margin_account=facts.account,
        episode=call.episode,
        kind=SaleCause.Kind.EXPIRED_CALL,
        call=call,
        snapshot=snapshot,
        evidence={
            "notice": call.notice.key if call.notice else None,
            "received_at": clocks.text(call.received_at),
            "due_at": clocks.text(call.cure_due_at),
            "paused_s": call.paused_s,
            "cured_fraction": f"{call.cured_fraction:f}",
            "ltv": ltv,
            "clear_ltv": f"{clear_ltv:f}",
        },
        declared_at=now,
    )
    letters.record(
        call,
        "expired",
        now=now,
        facts={"ltv": ltv, "snapshot": str(snapshot.public_id)},
        public="The deadline has passed",
    )
    letters.told(
        call,
        "margin_call_expired",
        "Margin call expired: collateral will be sold",
        f"Your margin call was due at {letters.instant(call.cure_due_at, call.client)} and was not met. "
        "The smallest amount of collateral that restores your account will be sold.",
        key="expired",
        now=now,
    )
    return True


def _pause(call: MarginCall, facts: AccountFacts, *, now: datetime) -> bool:
    """Add to a call's clock what has stopped it; returns whether that leaves it time."""
    stopped = clocks.stops(call, facts.position.assets, now=now)
    paused = clocks.paused_s(stopped)
    if paused > call.paused_s:
        call.paused_s = paused
        call.cure_due_at = clocks.due_at(call)
        call.save(update_fields=["paused_s", "cure_due_at"])
        due = clocks.text(call.cure_due_at)
        why = sorted({stop.why for stop in stopped})
        letters.record(
            call,
            "paused",
            now=now,
            facts={"paused_s": paused, "due_at": due, "stops": [stop.as_json() for stop in stopped]},
            public=f"The clock stood still: {', '.join(why)}. Due {letters.instant(call.cure_due_at, call.client)}",
        )
    return call.cure_due_at is None or call.cure_due_at > now


def restart_clock(account: MarginAccount, *, now: datetime) -> None:
    """Give the running call of an account at once the time in which its clock stood still."""
    facts = exposures.load_locked([account.pk], now=now)[account.pk]
    running = MarginCall.objects.filter(margin_account=account, state__in=RUNNING).first()
    if running is not None:
        _pause(locked(running.pk), facts, now=now)


def acknowledge(call: MarginCall, *, user: User, now: datetime, by_voice: bool = False) -> MarginCall:
    """
    Note that the client has seen a call; one that was acknowledged by voice has been received, if not before.

    Raises
    ------
    UnableToAcknowledge
        If the call is closed or in sale.
    """
    with transaction.atomic():
        margin_accounts.lock(call.margin_account_id)
        call = locked(call.pk)
        if call.state not in RUNNING:
            raise UnableToAcknowledge(f"the call is {call.get_state_display().lower()}")
        if by_voice and call.received_at is None:
            _receive(call, at=now, now=now)
            call.save(update_fields=["state", "received_at", "cure_due_at", "accelerated_due_at"])
        if call.acknowledged_at is None:
            call.acknowledged_at, call.acknowledged_by = now, user
            if call.state != CallState.PARTIALLY_CURED:
                call.state = CallState.ACKNOWLEDGED
            call.save(update_fields=["acknowledged_at", "acknowledged_by", "state"])
            letters.record(call, "acknowledged", now=now, actor=user, public=f"Acknowledged by {user}")
    return call
