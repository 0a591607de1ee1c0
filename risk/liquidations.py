"""Liquidations: a declared cause, the smallest sale, and again until the target holds or nothing is left."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from lending import events, loans, margin_accounts, repayments
from lending.models import Loan, LoanState, Pledge
from risk import (
    confirming,
    endings,
    exposures,
    incidents,
    letters,
    margin_calls,
    orders,
    prices,
    reserved_cures,
    restraints,
    sale_plans,
    sales,
    two_keys,
)
from risk.engine.ladder import breach_held, past_gap_limit
from risk.exposures import AccountFacts, Judgement
from risk.models import (
    LIVE_ORDER_STATES,
    CallState,
    LiquidationOrder,
    MarginCall,
    MarginState,
    MarginStatus,
    Quality,
    SaleCause,
)
from risk.orders import commit, open_quantity, record_fill, stop, uncommit
from risk.prices import Marks
from risk.sale_plans import UnableToPlan

__all__ = [
    "commit",
    "complete_due",
    "held",
    "open_quantity",
    "order_due",
    "record_fill",
    "stop",
    "uncommit",
]


def held(status: MarginStatus, *, now: datetime) -> bool:
    """Return whether a breach of the liquidation level has held long enough for an irreversible act."""
    since = status.breach_since
    return since is not None and breach_held(evaluations=status.breach_count, since=since, now=now)


def order_due(*, now: datetime) -> int:
    """Declare the causes that have become due, order the first sale of each, and return how many were ordered."""
    open_cause = SaleCause.objects.filter(margin_account=OuterRef("margin_account"), closed_at=None, loan=None)
    agreed = {account for account, _episode in two_keys.agreements(two_keys.SALE_ON_DEGRADED, now=now)}
    counted = Q(breach_since__isnull=False) | Q(margin_account__public_id__in=agreed)
    breached = MarginStatus.objects.filter(~Exists(open_cause), counted, state=MarginState.LIQUIDATE)
    declarable = list(breached.order_by("margin_account__public_id").values_list("margin_account", flat=True))
    waiting = list(_open_causes().filter(~_has_order()).values_list("pk", "margin_account"))
    if not declarable and not waiting:
        return 0
    ordered = sum(_advance(cause, account, now=now) for cause, account in waiting)
    for account in declarable:
        with transaction.atomic():
            cause = _declare(account, now=now)
            if cause is not None:
                ordered += _advance(cause.pk, account, now=now)
    return ordered


def complete_due(*, now: datetime) -> int:
    """
    Carry on every cause in sale: stop what a cure made unnecessary, plan the next slice, or close it.

    Returns how many causes were closed or ordered again.
    """
    causes = list(_open_causes().filter(_has_order()).values_list("pk", "margin_account"))
    if not causes:
        return 0
    marks = prices.current(now=now)
    busy = _live_by_cause(cause for cause, _account in causes)
    facts = exposures.load((account for cause, account in causes if cause in busy), now=now)
    unsettled = set(
        Pledge.objects.filter(margin_account__in=[account for _cause, account in causes], held_quantity__gt=0)
        .values_list("margin_account", flat=True)
    )  # fmt: skip
    paid = endings.paid_in_time(cause for cause, _account in causes)
    sold = set(endings.filled().filter(cause__in=[cause for cause, _account in causes]).values_list("cause", flat=True))
    done, passed_over = 0, []
    for cause, account in causes:
        if cause in busy:
            # Looked at without a lock first: most orders of a crash go on as they are.
            stands, live = facts[account], busy[cause]
            judged, unpaid = exposures.judge(stands, marks), endings.sold_for(live[0].cause, stands)
            over = cause not in sold and endings.price_came_back(live[0].cause.kind, stands, judged)
            over = over or bool(endings.default_stops(live[0].cause, stands, unpaid))
            replan = endings.replan_due(live, now=now) and endings.too_much(live, stands, unpaid, marks)
            if cause in paid or over or replan:
                done += _trim(cause, account, now=now)
        elif account not in unsettled:
            done += _advance(cause, account, now=now)
        else:
            passed_over.append(cause)
    _say_passed_over(passed_over, now=now)
    return done


def _say_passed_over(cause_ids: Sequence[int], *, now: datetime) -> None:
    """Write down why nothing is ordered for causes while other orders of their accounts hold the collateral."""
    if not cause_ids:
        return
    causes = SaleCause.objects.filter(pk__in=cause_ids).select_related("margin_account").order_by("pk")
    incidents.log_many(
        [
            incidents.Undone(cause.margin_account, cause.episode, "sale_waits", _held_by_others(cause))
            for cause in causes
        ],
        now=now,
    )


def _held_by_others(cause: SaleCause) -> str:
    """Return why nothing is ordered for a cause while the collateral is held for another."""
    return endings.gives_way(cause) or restraints.UNSETTLED


def _live_by_cause(causes: Iterable[int]) -> dict[int, list[LiquidationOrder]]:
    """Return the live orders of some causes."""
    found: dict[int, list[LiquidationOrder]] = {}
    live = LiquidationOrder.objects.filter(state__in=LIVE_ORDER_STATES, cause__in=list(causes))
    for order in live.select_related("asset", "margin_account__client", "cause").order_by("public_id"):
        found.setdefault(order.cause_id, []).append(order)
    return found


def _open_causes() -> QuerySet[SaleCause]:
    return SaleCause.objects.filter(closed_at=None).order_by("declared_at", "margin_account__public_id")


def _has_order() -> Exists:
    return Exists(LiquidationOrder.objects.filter(cause=OuterRef("pk")))


def _declare(account_id: int, *, now: datetime) -> SaleCause | None:
    """Declare the liquidation level as the cause of a sale, if it still stands, has held, and nothing was cured."""
    facts = exposures.load_locked([account_id], now=now)[account_id]
    running = MarginCall.objects.filter(margin_account=account_id, state__in=margin_calls.RUNNING).first()
    sold_for = sales.standing(account_id)
    if running is None or None in sold_for:
        return None
    call = margin_calls.locked(running.pk)
    if reserved_cures.carry_out(call, now=now):  # nothing is sold before what its client has set aside is used
        facts = exposures.load_locked([account_id], now=now)[account_id]
        call = margin_calls.locked(running.pk)
    margin_calls.assess(call, now=now)
    status = MarginStatus.objects.get(margin_account=account_id)
    marks = prices.current(now=now)
    judged = exposures.judge(facts, marks)
    if call.state not in margin_calls.RUNNING or judged.state != MarginState.LIQUIDATE:
        return None
    excused = restraints.by_default(facts, judged, sold_for, now=now)
    if reason := excused or restraints.on_sale(facts, judged, call.episode, now=now):
        incidents.log(facts.account, call.episode, "sale_waits", reason, now=now)
        return None
    gap = past_gap_limit(judged.exposed, facts.ladder, facts.terms.gap_limit)
    # On DEGRADED marks no breach is counted: there the two persons stand for its holding.
    if not gap and judged.good and not held(status, now=now):
        return None
    if confirming.holds(call, facts, judged, marks, level=facts.terms.liquidation_ltv, now=now):
        incidents.log(facts.account, call.episode, "sale_waits", confirming.WAITS, now=now)
        return None
    cause = SaleCause.objects.create(
        client_id=call.client_id,
        margin_account=facts.account,
        episode=call.episode,
        kind=SaleCause.Kind.LIQUIDATION_LEVEL,
        call=call,
        snapshot=prices.snapshot(marks, now=now),
        evidence={
            "ltv": f"{margin_calls.stored_ltv(judged):f}",
            "liquidation_ltv": f"{facts.terms.liquidation_ltv:f}",
            "quality": judged.quality.value,
            "evaluations": status.breach_count,
            "since": status.breach_since.isoformat() if status.breach_since else None,
            "past_gap_limit": gap,
        },
        declared_at=now,
    )
    letters.told(
        call,
        "liquidation",
        "Liquidation level reached: collateral is being sold",
        f"The LTV of your margin account is {letters.percent(margin_calls.stored_ltv(judged))}, above the liquidation "
        f"level of {letters.percent(facts.terms.liquidation_ltv)}. The smallest amount of collateral that restores "
        "your account is being sold.",
        key=f"liquidation:{now.isoformat()}",
        now=now,
    )
    return cause


@transaction.atomic
def _advance(cause_id: int, account_id: int, *, now: datetime) -> bool:
    """Order the next slice of a cause, or close it; returns whether either happened."""
    facts = exposures.load_locked([account_id], now=now)[account_id]
    cause = SaleCause.objects.select_related("margin_account__client", "call__client").get(pk=cause_id)
    if cause.closed_at is not None or cause.orders.filter(state__in=LIVE_ORDER_STATES).exists():
        return False
    now = max(now, cause.declared_at)  # a round that began earlier may have waited for the lock
    facts = _given_back(cause, facts, now=now)
    if facts.held:
        incidents.log(facts.account, cause.episode, "sale_waits", _held_by_others(cause), now=now)
        return False
    call = cause.call
    # Nothing is sold before what its client has set aside is used, whichever worker comes first to an expired call.
    if (
        call is not None
        and not cause.orders.exists()
        and reserved_cures.carry_out(margin_calls.locked(call.pk), now=now)
    ):
        facts = exposures.load_locked([account_id], now=now)[account_id]
    return _go_on(cause, facts, now=now)


def _go_on(cause: SaleCause, facts: AccountFacts, *, now: datetime) -> bool:
    """Order the next slice of a cause, or close it, with nothing of its account's collateral held. Under the lock."""
    call = cause.call
    marks = prices.current(now=now)
    unpaid = endings.sold_for(cause, facts)
    put_off = (endings.gives_way(cause) or restraints.on_default(cause, now=now)) if unpaid else ""
    if unpaid and not put_off and all(sale_plans.is_dust(pledge, marks) for pledge in facts.pledges):
        return _shortfall(cause, facts, unpaid, now=now)
    judged = exposures.judge(facts, marks)
    if unpaid and (reason := put_off or restraints.on_sale(facts, judged, cause.episode, now=now)):
        incidents.log(facts.account, cause.episode, "sale_waits", reason, now=now)
        return False
    if ending := endings.outcome(cause, facts, unpaid, judged):
        return _close(cause, ending, now=now)
    if call is not None and not cause.orders.exists():
        expired = cause.kind == SaleCause.Kind.EXPIRED_CALL
        level = facts.terms.clear_ltv if expired else facts.terms.liquidation_ltv
        if confirming.holds(call, facts, judged, marks, level=level, now=now):
            incidents.log(facts.account, cause.episode, "sale_waits", confirming.WAITS, now=now)
            return False
    return _sell(cause, facts, unpaid, judged, marks, now=now)


def _given_back(cause: SaleCause, facts: AccountFacts, *, now: datetime) -> AccountFacts:
    """
    Return an account's facts once its sale for a default has given its orders back to a cause that comes before it.

    What is committed of them is in flight: that settles first. The caller holds the lock.
    """
    if cause.loan_id is not None or not facts.held:
        return facts
    account = facts.account.pk
    live = LiquidationOrder.objects.filter(
        margin_account=account, state__in=LIVE_ORDER_STATES, cause__loan__isnull=False
    )
    stopped = [stop(order, reason=endings.GIVES_WAY, now=now) for order in live.order_by("public_id")]
    return exposures.load_locked([account], now=now)[account] if any(stopped) else facts


def _sell(
    cause: SaleCause, facts: AccountFacts, unpaid: Sequence[Loan], judged: Judgement, marks: Marks, *, now: datetime
) -> bool:
    """Order the next slice of a cause, or leave it to people with a reason."""
    try:
        plan = sale_plans.plan(facts, endings.aim(cause, facts, unpaid, judged, marks), marks)
    except UnableToPlan as refused:
        return _refuse(facts, cause, str(refused), now=now)
    # Two persons have agreed to pay a loan in default off out of its collateral, whatever that takes.
    one_person = cause.loan_id is None
    large = one_person and plan.full_close and plan.market_value > sale_plans.FULL_CLOSE_LIMIT_USD
    if large and not two_keys.use(two_keys.FULL_CLOSE, facts.account, cause.episode, now=now):
        return _refuse(facts, cause, two_keys.ALL_IS_SOLD, now=now)
    if judged.quality == Quality.DEGRADED or judged.in_grace:
        degraded = judged.quality == Quality.DEGRADED
        kind = two_keys.SALE_ON_DEGRADED if degraded else two_keys.SALE_IN_GRACE
        two_keys.use(kind, facts.account, cause.episode, now=now)
    orders.place(cause, facts, unpaid, plan, judged, prices.snapshot(marks, now=now), now=now)
    return True


def _refuse(facts: AccountFacts, cause: SaleCause, reason: str, *, now: datetime) -> bool:
    """Leave a due sale to people: an incident with the reason."""
    incidents.log(facts.account, cause.episode, "sale_refused", reason, now=now)
    incidents.open_once(incidents.SALE_REFUSED, f"{facts.account}: {reason}", now=now, margin_account=facts.account)
    return False


@transaction.atomic
def _trim(cause_id: int, account_id: int, *, now: datetime) -> bool:
    """Stop live orders whose open rest is no longer needed because money or collateral came, or the price did."""
    facts = exposures.load_locked([account_id], now=now)[account_id]
    live = _live_by_cause([cause_id]).get(cause_id, [])
    cause = SaleCause.objects.select_related("call").get(pk=cause_id)
    marks = prices.current(now=now)
    judged = exposures.judge(facts, marks)
    unpaid, any_mark = endings.sold_for(cause, facts), cause.kind == SaleCause.Kind.EXPIRED_CALL
    ending = endings.outcome(cause, facts, unpaid, judged) if judged.good or any_mark else ""
    over = ending == "paid_in_time" or (ending in ("below_clear", SaleCause.LEVEL_LEFT) and judged.good)
    if stops := endings.default_stops(cause, facts, unpaid):
        over, ending = True, stops
    if not over and not endings.too_much(live, facts, unpaid, marks):
        return False
    reason = ending.replace("_", " ") if over else "less is needed now"
    stopped = [stop(order, reason=reason, now=now) for order in live]
    if any(order.committed_quantity for order in live):
        return any(stopped)
    return _advance(cause_id, account_id, now=now)


def _shortfall(cause: SaleCause, facts: AccountFacts, unpaid: Iterable[Loan], *, now: datetime) -> bool:
    """Book what the collateral did not cover, inside the liquidation, and close the cause; dust stays pledged."""
    dust = [pledge.pk for pledge in facts.pledges]
    for loan in unpaid:
        if loan.state in orders.SELLABLE:  # nothing but dust from the start: no order was ever made
            loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause=f"{cause.kind} {cause.episode}", now=now)
        key = f"shortfall:{cause.margin_account.public_id}:{cause.episode}:{loan.public_id}"
        repayments.shortfall(loan, key=key, cause=cause.kind, dust=dust, now=now)
    return _close(cause, "shortfall", now=now)


def _close(cause: SaleCause, ending: str, *, now: datetime) -> bool:
    """Close a cause with its call, and give the loans that no other sale is for back to their ordinary life."""
    cause.closed_at, cause.outcome = now, ending
    cause.save(update_fields=["closed_at", "outcome"])
    account = cause.margin_account
    sold_for = sales.standing(account.pk)
    for loan in Loan.objects.filter(margin_account=account, state=LoanState.LIQUIDATING).order_by("public_id"):
        if None in sold_for or loan.pk in sold_for:
            continue
        state = loans.by_its_dates(loan, now=now) if loans.owes(loan) else LoanState.REPAID
        loans.transition(loan, state, actor=None, cause=f"sale over: {ending}", now=now)
    if cause.call_id is not None:
        _close_call(margin_calls.locked(cause.call_id), cause, ending, now=now)
    if not sold_for:  # another that still stands may be what was left to people
        incidents.close(incidents.SALE_REFUSED, now=now, margin_account=account)
    margin_accounts.touch_many([account.pk])
    payload = {"account": str(account.public_id), "summary": f"Sale over: {ending.replace('_', ' ')}"}
    events.emit(incidents.CONSOLE, "liquidation_done", payload, client_id=cause.client_id, now=now)
    return True


def _close_call(call: MarginCall, cause: SaleCause, ending: str, *, now: datetime) -> None:
    """Close the call of a cause that is over, unless a cure or the market ended it before anything was ordered."""
    sold, said = endings.filled().filter(cause=cause).exists(), ending.replace("_", " ")
    if call.closed_at is not None:
        return
    if ending == SaleCause.LEVEL_LEFT:
        endings.run_on(call, now=now)
    elif ending == "paid_in_time" and not sold:
        margin_calls.close(call, CallState.CURED, "what was called for arrived in time", now=now)
    elif sold or ending == "shortfall":
        margin_calls.close(call, CallState.LIQUIDATED, f"sale over: {said}", now=now)
    else:
        margin_calls.close(call, CallState.CURED_BY_MARKET, f"nothing had to be sold: {said}", now=now, remaining_s=0)
