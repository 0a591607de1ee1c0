"""Breaches: accounts above their margin call level, and the calls that are issued for them, in one go."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Count

from lending import bulk, ids, notices
from risk import cures, letters
from risk.engine.ltv import Exposure, ltv_of
from risk.exposures import AccountFacts, Judgement
from risk.models import CallEvent, CallLevel, CallState, MarginCall, MarginState, PriceSnapshot
from risk.prices import Marks

# What numeric(20, 12) shows of an LTV without collateral value.
INFINITE_LTV = Decimal(999_999)
# The steps that a call's openings are written down as: the first, and each after the market had closed it.
OPENED = ("issued", "reopened")
_ACCELERATED = (MarginState.ACCELERATED, MarginState.LIQUIDATE)


class UnableToIssue(Exception):
    """The account is not in breach, or has a call already."""


@dataclass(frozen=True, slots=True)
class Breach:
    """An account above its margin call level, decided exactly, and the closed call that it reopens, if any."""

    facts: AccountFacts
    judged: Judgement
    episode: int
    reopens: MarginCall | None = None


def stored_ltv(judged: Judgement) -> Decimal:
    """Return an account's LTV as a column can hold it, rounded up."""
    return shown_ltv(judged.exposed)


def shown_ltv(exposed: Exposure) -> Decimal:
    """Return the LTV of an exposure as a column can hold it, rounded up."""
    ltv = ltv_of(exposed)
    return min(ltv, INFINITE_LTV) if ltv.is_finite() else INFINITE_LTV


def level_of(judged: Judgement) -> CallLevel:
    """Return the level at which a call stands while its account stands where it was judged to."""
    return CallLevel.ACCELERATED if judged.state in _ACCELERATED else CallLevel.CALL


def issue(breaches: Sequence[Breach], marks: Marks, snapshot: PriceSnapshot, *, now: datetime) -> list[MarginCall]:
    """
    Issue a call for each breach, with both cures fixed at this snapshot and the notices in the same transaction.

    However many there are, it takes the same few statements. The caller holds the locks of the margin accounts.

    Raises
    ------
    UnableToIssue
        If an exposure does not exceed its margin call level.
    """
    if not breaches:
        return []
    for breach in breaches:
        if not breach.judged.exposed.exceeds(breach.facts.terms.margin_call_ltv):
            raise UnableToIssue(f"{breach.facts.account} is not above {breach.facts.terms.margin_call_ltv}")
    seen = cures.credited(breach.facts.account.pk for breach in breaches)
    demands = [cures.demand(breach.facts, breach.judged, marks) for breach in breaches]
    calls = [
        _demanded(breach, wanted, seen[breach.facts.account.pk], snapshot, now=now)
        for breach, wanted in zip(breaches, demands, strict=True)
    ]
    all_of_each = list(zip(breaches, calls, demands, strict=True))
    reopened = [call for breach, call, _wanted in all_of_each if breach.reopens]
    openings = _openings(reopened)
    told = [
        letters.issued(call, breach.facts, wanted, opening=1 + openings.get(call.pk, 0))
        for breach, call, wanted in all_of_each
    ]
    for call, notice in zip(calls, notices.enqueue(told, now=now), strict=True):
        call.notice = notice
    MarginCall.objects.bulk_create(call for breach, call, _wanted in all_of_each if not breach.reopens)
    bulk.update(reopened)
    cures.save_collateral(zip(calls, demands, strict=True))
    letters.record_many([_step(breach, call, wanted) for breach, call, wanted in all_of_each], now=now)
    return calls


def _demanded(
    breach: Breach, wanted: cures.Demand, seen: cures.Credited, snapshot: PriceSnapshot, *, now: datetime
) -> MarginCall:
    """Return the call of a breach as it is to be written: a new one, or that of the episode which it reopens."""
    facts, judged = breach.facts, breach.judged
    account, terms = facts.account, facts.terms
    call = breach.reopens or MarginCall(
        public_id=ids.derived("call", account.public_id, breach.episode), margin_account=account, episode=breach.episode
    )
    period_s = terms.cure_period_s if breach.reopens is None else breach.reopens.remaining_s or 0
    call.client = account.client
    call.level = level_of(judged)
    call.state = CallState.ISSUED
    call.ltv = stored_ltv(judged)
    call.debt_usd, call.weighted_collateral_usd = judged.exposed.debt, judged.exposed.weighted
    call.snapshot, call.cure_asset, call.cash_cure = snapshot, wanted.asset, wanted.cash
    call.cash_cured = call.cured_fraction = Decimal(0)
    call.cure_period_s, call.remaining_s, call.paused_s = period_s, None, 0
    call.issued_at, call.received_at, call.cure_due_at = now, None, None
    accelerated_due_at = now + timedelta(seconds=terms.accelerated_cure_period_s)
    call.accelerated_due_at = accelerated_due_at if call.level == CallLevel.ACCELERATED else None
    call.last_movement_id, call.last_repayment_id = seen.movement_id, seen.repayment_id
    call.assessed_version = account.version
    call.acknowledged_at = call.acknowledged_by = call.closed_at = None
    call.close_reason = ""
    return call


def _openings(calls: Sequence[MarginCall]) -> dict[int, int]:
    """Return how often each of some calls has been issued or reopened."""
    if not calls:
        return {}
    found = CallEvent.objects.filter(call__in=calls, kind__in=OPENED)
    return dict(found.values_list("call").annotate(times=Count("pk")).order_by())


def _step(breach: Breach, call: MarginCall, wanted: cures.Demand) -> letters.Step:
    judged = breach.judged
    return letters.Step(
        call=call,
        kind="reopened" if breach.reopens else "issued",
        facts={
            "level": call.level,
            "state": judged.state,
            "ltv": f"{call.ltv:f}",
            "quality": judged.quality,
            "bounded": judged.bounded,
            "snapshot": str(call.snapshot.public_id),
            "cash_cure": f"{wanted.cash:f}",
            "cure_asset": wanted.asset.code,
            "collateral_cures": {asset.code: f"{units:f}" for asset, units, _price in wanted.collateral},
            "cure_period_s": call.cure_period_s,
        },
        public=f"Margin call at LTV {letters.percent(call.ltv)}",
    )
