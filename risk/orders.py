"""Liquidation orders while the desk works on them: what is committed, filled and given back."""

from datetime import datetime
from decimal import Decimal

from lending import collateral, events
from lending.engine import money
from risk import letters
from risk.incidents import CONSOLE
from risk.models import LIVE_ORDER_STATES, LiquidationOrder, OrderState


class UnableToFill(Exception):
    """A fill or a commitment does not fit its order."""


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
