"""Liquidation orders: placed, and while the desk works on them what is committed, filled and given back."""

from collections.abc import Iterable
from datetime import datetime
from decimal import Decimal

from lending import collateral, events, ids, loans
from lending.engine import money
from lending.models import Loan, LoanState
from risk import letters
from risk.exposures import AccountFacts, Judgement
from risk.incidents import CONSOLE
from risk.models import LIVE_ORDER_STATES, CallState, LiquidationOrder, OrderState, PriceSnapshot, SaleCause
from risk.sale_plans import SalePlan

SELLABLE = (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED, LoanState.DEFAULTED)


class UnableToFill(Exception):
    """A fill or a commitment does not fit its order."""


def place(
    cause: SaleCause,
    facts: AccountFacts,
    unpaid: Iterable[Loan],
    plan: SalePlan,
    judged: Judgement,
    snapshot: PriceSnapshot,
    *,
    now: datetime,
) -> None:
    """Write the orders of a slice and set their collateral aside; the caller holds the margin account's lock."""
    account = facts.account
    # An episode may have a cause that was taken back before anything was sold: its slices keep their numbers.
    earlier = account.orders.filter(episode=cause.episode)
    slice_number = 1 + max(earlier.values_list("slice", flat=True), default=0)
    basis = {"debt": f"{judged.exposed.debt:f}", "weighted": f"{judged.exposed.weighted:f}"}
    for planned in plan.sales:
        order = LiquidationOrder.objects.create(
            public_id=ids.derived("order", account.public_id, cause.episode, slice_number, planned.asset.code),
            client_id=account.client_id,
            margin_account=account,
            episode=cause.episode,
            slice=slice_number,
            asset=planned.asset,
            cause=cause,
            quantity=planned.sale.quantity,
            plan={**planned.as_json(), **basis, "full_close": plan.full_close},
            mark_price=planned.terms.price,
            snapshot=snapshot,
            ordered_at=now,
        )
        collateral.hold(account, planned.asset, order.quantity, key=f"hold:{order.public_id}", now=now)
        announce(order, "liquidation_ordered", f"Selling {letters.amount(order.quantity, planned.asset.code)}", now=now)
    for loan in unpaid:
        if loan.state in SELLABLE:
            loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause=f"{cause.kind} {cause.episode}", now=now)
    call = cause.call
    if call is not None and call.state not in (CallState.LIQUIDATING, CallState.LIQUIDATED):
        call.state = CallState.LIQUIDATING
        call.save(update_fields=["state"])
        letters.record(call, "liquidating", now=now, facts={"cause": cause.kind, "slice": slice_number})


def open_quantity(order: LiquidationOrder) -> Decimal:
    """Return what may still be put into a quote: neither filled, nor committed, nor given back."""
    with money.exact():
        return order.quantity - order.filled_quantity - order.committed_quantity - order.cancelled_quantity


def commit(order: LiquidationOrder, quantity: Decimal, *, now: datetime) -> Decimal:
    """
    Put a part of an order into a quote that is being accepted, and return how much of it there was.

    The caller holds the margin account's lock. Zero once the order was stopped: the first commit wins.
    """
    row = _locked(order)
    granted = min(quantity, open_quantity(row)) if row.state in LIVE_ORDER_STATES else money.ZERO
    if granted <= 0:
        return money.ZERO
    with money.exact():
        row.committed_quantity += granted
    row.state = OrderState.WORKING
    row.save(update_fields=["committed_quantity", "state"])
    return granted


def uncommit(order: LiquidationOrder, quantity: Decimal, *, now: datetime) -> None:
    """
    Give back to an order what an accepted quote did not fill.

    Raises
    ------
    UnableToFill
        If less is committed.
    """
    row = _locked(order)
    if quantity > row.committed_quantity:
        raise UnableToFill(f"{row.committed_quantity:f} is committed, not {quantity:f}")
    with money.exact():
        row.committed_quantity -= quantity
    _finish(row, now=now)


def record_fill(order: LiquidationOrder, quantity: Decimal, proceeds: Decimal, *, now: datetime) -> LiquidationOrder:
    """
    Record what an order received of a fill: units, and USD before costs.

    The caller holds the margin account's lock.

    Raises
    ------
    UnableToFill
        If the quantity is not positive or more than what was committed.
    """
    row = _locked(order)
    if not 0 < quantity <= row.committed_quantity:
        raise UnableToFill(f"a fill of {quantity:f} does not fit {row.committed_quantity:f} committed")
    with money.exact():
        row.committed_quantity -= quantity
        row.filled_quantity += quantity
        row.proceeds += proceeds
    _finish(row, now=now)
    sold = letters.amount(quantity, row.asset.code)
    announce(row, "liquidation_filled", f"Sold {sold} for {letters.amount(proceeds, 'USD')}", now=now)
    return row


def stop(order: LiquidationOrder, *, reason: str, now: datetime) -> Decimal:
    """
    Give back what an order has open and not committed, and return how much that was.

    An order with nothing committed is closed; one with an accepted quote in flight ends when that is filled.
    """
    row = _locked(order)
    rest = open_quantity(row)
    if row.state not in LIVE_ORDER_STATES or rest <= 0:
        return money.ZERO
    with money.exact():
        row.cancelled_quantity += rest
    key = f"unhold:{row.public_id}:{money.quantize_down(row.cancelled_quantity, money.DECIMALS):f}"
    collateral.unhold(row.margin_account, row.asset, rest, key=key, now=now)
    row.plan["stopped"] = reason
    row.save(update_fields=["plan"])
    _finish(row, now=now)
    return rest


def announce(order: LiquidationOrder, kind: str, summary: str, *, now: datetime) -> None:
    """Tell the console and the client what happened to an order."""
    payload = {"order": str(order.public_id), "summary": summary}
    if order.cause.call is not None:
        payload["call"] = str(order.cause.call.public_id)
    for stream in (CONSOLE, letters.client_stream(order.margin_account.client)):
        events.emit(stream, kind, payload, client_id=order.client_id, now=now)


def _finish(row: LiquidationOrder, *, now: datetime) -> None:
    """Save an order's totals, closing it when nothing is open or committed."""
    with money.exact():
        ended = row.filled_quantity + row.cancelled_quantity == row.quantity
    if ended and row.state in LIVE_ORDER_STATES:
        row.state = OrderState.CANCELLED if row.cancelled_quantity else OrderState.FILLED
        row.closed_at = now
    row.save(
        update_fields=["committed_quantity", "filled_quantity", "cancelled_quantity", "proceeds", "state", "closed_at"]
    )


def _locked(order: LiquidationOrder) -> LiquidationOrder:
    rows = LiquidationOrder.objects.select_for_update(of=("self",))
    return rows.select_related("asset", "margin_account__client", "cause__call").get(pk=order.pk)
