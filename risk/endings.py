"""What ends a sale, or makes it smaller: looked at before its first clip, before every further one, and in between."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import F, Q, QuerySet

from lending import margin_accounts
from lending.engine import money
from lending.models import Loan, Obligation
from risk import cures, exposures, letters, margin_calls, sale_plans
from risk.exposures import AccountFacts, Judgement
from risk.models import DEFAULTS, CallState, LiquidationOrder, MarginCall, SaleCause
from risk.orders import open_quantity
from risk.prices import Marks

# After a sale the target holds within this LTV: no further slice for a tenth of a point of slippage.
TOLERANCE = Decimal("0.001")
# A live order is replaced when what is still needed is less than this part of what it has open.
REPLAN_BELOW = Decimal("0.7")
REPLAN_EVERY = timedelta(seconds=60)
GIVES_WAY = "the sale that restores the account's margin comes first"


def replan_due(live: Sequence[LiquidationOrder], *, now: datetime) -> bool:
    """Return whether live orders have stood for a while: a plan that follows every tick never gets to the market."""
    return all(now - order.ordered_at >= REPLAN_EVERY for order in live)


def paid_in_time(cause_ids: Iterable[int]) -> set[int]:
    """Return the causes whose call was paid by its deadline after all: while it was sold, or credited late."""
    news = ~Q(margin_account__version=F("call__assessed_version"))
    changed = SaleCause.objects.filter(news, pk__in=list(cause_ids)).select_related("margin_account")
    found = set()
    for cause in changed:
        if _paid(cause):
            found.add(cause.pk)
        elif cause.call_id is not None:
            MarginCall.objects.filter(pk=cause.call_id).update(assessed_version=cause.margin_account.version)
    return found


def _paid(cause: SaleCause) -> bool:
    """Return whether what a cause's call asked for had arrived by its deadline."""
    if cause.call_id is None:
        return False
    _cash, fraction = cures.paid(margin_calls.locked(cause.call_id))
    return fraction >= 1


def filled() -> QuerySet[LiquidationOrder]:
    """Return the orders of which something was sold."""
    return LiquidationOrder.objects.filter(filled_quantity__gt=0)


def sold_for(cause: SaleCause, facts: AccountFacts) -> tuple[Loan, ...]:
    """
    Return the loans of an account that a cause is sold for and that owe something.

    For a default it is the loan in default alone, and none once its default turned out to be none.
    """
    if cause.loan_id is None:
        return facts.loans
    defaulted = Obligation.objects.filter(loan=cause.loan_id, state=Obligation.State.DEFAULTED)
    return tuple(loan for loan in facts.loans if loan.pk == cause.loan_id) if defaulted.exists() else ()


def aim(
    cause: SaleCause, facts: AccountFacts, unpaid: Sequence[Loan], judged: Judgement, marks: Marks
) -> sale_plans.Aim:
    """Return what the sale behind a cause is to reach; `unpaid` is what it is `sold_for`."""
    if cause.loan_id is None:
        return sale_plans.to_restore(facts, judged)
    return sale_plans.to_pay_off(facts, unpaid, marks)


def default_stops(cause: SaleCause, facts: AccountFacts, unpaid: Sequence[Loan]) -> str:
    """Return why orders of a sale for a default are stopped; "" where none are, and for any other sale."""
    return default_over(cause, facts, unpaid) or gives_way(cause)


def default_over(cause: SaleCause, facts: AccountFacts, unpaid: Sequence[Loan]) -> str:
    """Return why a sale for a default has nothing to sell for any more; "" while it has, and for any other sale."""
    if cause.loan_id is None or unpaid:
        return ""
    return "default_undone" if any(loan.pk == cause.loan_id for loan in facts.loans) else "debt_gone"


def gives_way(cause: SaleCause) -> str:
    """Return why a sale for a default is put off: its account is sold for its margin; "" for any other sale."""
    for_margin = SaleCause.objects.filter(margin_account=cause.margin_account_id, closed_at=None, loan=None)
    return GIVES_WAY if cause.loan_id is not None and for_margin.exists() else ""


def price_came_back(kind: str, facts: AccountFacts, judged: Judgement) -> bool:
    """
    Return whether GOOD marks have brought an account to where its sale, while nothing was sold, is taken back.

    After an expired call that is the level that clears it. A sale at the liquidation level, which has no clock, ends
    one level lower: falling back gives a call its clock again, and the distance keeps a price that hovers at the
    liquidation level from stopping a sale with each beat. A default is sold for whatever the price does.
    """
    if kind in DEFAULTS:
        return False
    level = kind == SaleCause.Kind.LIQUIDATION_LEVEL
    return judged.good and not judged.exposed.exceeds(facts.terms.accelerated_ltv if level else facts.terms.clear_ltv)


def outcome(cause: SaleCause, facts: AccountFacts, unpaid: Sequence[Loan], judged: Judgement) -> str:
    """
    Return why nothing more has to be sold for a cause; "" when something has. `unpaid` is what it is `sold_for`.

    Before every further clip, as before the first: what was called for has been paid (at the liquidation level that
    alone is not enough), the target holds, or, while nothing was sold, the level that clears a call, or after a sale
    at the liquidation level the level below that. Of a default: the loan is paid off, or the default was undone.
    """
    if cause.loan_id is not None:
        return default_over(cause, facts, unpaid)
    if not facts.loans:
        return "debt_gone"
    exposed, terms = judged.exposed, facts.terms
    level = cause.kind == SaleCause.Kind.LIQUIDATION_LEVEL
    cured = cause.call is not None and cause.call.state == CallState.CURED
    if cured or (_paid(cause) and not (level and exposed.exceeds(terms.liquidation_ltv))):
        return "paid_in_time"
    sold = filled().filter(cause=cause).exists()
    if not exposed.exceeds(terms.liquidate_to + (TOLERANCE if sold else 0)):
        return "target_restored"
    if not sold and not exposed.exceeds(terms.clear_ltv):
        return "below_clear"
    return SaleCause.LEVEL_LEFT if level and not sold and price_came_back(cause.kind, facts, judged) else ""


def too_much(live: Sequence[LiquidationOrder], facts: AccountFacts, unpaid: Sequence[Loan], marks: Marks) -> bool:
    """Return whether live orders have clearly more open than their sale still needs, and nothing is in flight."""
    in_flight = any(order.committed_quantity for order in live) or _unsettled(live, facts)
    if in_flight or not any(open_quantity(order) for order in live):
        return False
    judged = exposures.judge(facts, marks)
    if not judged.good:
        return False
    needed = aim(live[0].cause, facts, unpaid, judged, marks)
    if needed.gap <= 0:
        return True
    with money.exact():
        # A sale of a value V at cost f closes V·(1 - f - t·w) of the gap: more where the weight w is below 1.
        target, cost = needed.target, _highest_cost(live)
        closes = sum(
            (
                open_quantity(order)
                * marks.band(order.asset.code).high
                * (1 - cost - target * Decimal(order.plan.get("weight", 1)))
                for order in live
            ),
            money.ZERO,
        )
        return needed.gap < REPLAN_BELOW * closes


def _unsettled(live: Sequence[LiquidationOrder], facts: AccountFacts) -> bool:
    """Return whether fills have not reached the books: more is held than the orders have open."""
    with money.exact():
        waiting = sum((order.quantity - order.filled_quantity - order.cancelled_quantity for order in live), money.ZERO)
        on_hold = sum((pledge.held_quantity for pledge in facts.pledges), money.ZERO)
        return on_hold != waiting


def _highest_cost(live: Sequence[LiquidationOrder]) -> Decimal:
    """Return the highest cost ratio that the live orders were planned with."""
    bps = max(Decimal(order.plan.get("expected_slippage_bps", "0")) for order in live)
    with money.exact():
        return bps * Decimal("0.0001")


def run_on(call: MarginCall, *, now: datetime) -> None:
    """Let a call go on from where its clock is, because its sale was taken back. The caller holds the lock."""
    if call.cured_fraction:
        call.state = CallState.PARTIALLY_CURED
    elif call.acknowledged_at:
        call.state = CallState.ACKNOWLEDGED
    else:
        call.state = CallState.NOTIFIED if call.received_at else CallState.ISSUED
    call.save(update_fields=["state"])
    margin_accounts.touch(call.margin_account)
    due = letters.instant(call.cure_due_at, call.client)
    said = "The price came back before anything was sold, so nothing is; the call goes on"
    letters.record(call, "sale_taken_back", now=now, facts={"due_at": due}, public=f"{said}. Due {due}")
    letters.told(
        call,
        "margin_call_runs_on",
        "Nothing is sold: your margin call goes on",
        f"{said}. It is due at {due}. Above the liquidation level of "
        f"{letters.percent(call.margin_account.terms.liquidation_ltv)} collateral is sold without waiting, as before.",
        key=f"runs_on:{now.isoformat()}",
        now=now,
    )
