"""Blocks: the liquidation orders of one asset and window, netted into one sale."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef

from lending import ids
from lending.engine import money
from lending.models import Asset
from otc.models import Block, BlockOrder, Quote, Rfq
from risk.models import LIVE_ORDER_STATES, LiquidationOrder, OrderState

LIVE_RFQ_STATES = (Rfq.State.OPEN, Rfq.State.QUOTED)
SELLABLE_STATES = (OrderState.PENDING, OrderState.WORKING)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def gather_due(*, now: datetime) -> int:
    """Net every order that waits into the block of its asset and window, and return how many there were."""
    unplaced = LiquidationOrder.objects.filter(
        ~Exists(BlockOrder.objects.filter(order=OuterRef("pk"))), state=OrderState.PENDING
    )
    if not unplaced.exists():
        return 0
    with transaction.atomic():
        waiting = list(
            unplaced.select_related("asset__policy")
            .select_for_update(skip_locked=True, of=("self",))
            .order_by("ordered_at", "public_id")
        )
        for order in waiting:
            block = _block_for(order, now=now)
            BlockOrder.objects.create(block=block, order=order, quantity=order.quantity)
            with money.exact():
                block.quantity += order.quantity
            block.save(update_fields=["quantity"])
    return len(waiting)


def close_due(*, now: datetime) -> int:
    """Close every block whose orders have nothing left to sell and nothing in flight, and return how many."""
    closed = 0
    live_rfq = Rfq.objects.filter(block=OuterRef("pk"), state__in=LIVE_RFQ_STATES)
    unfinished = Quote.objects.filter(
        rfq__block=OuterRef("pk"), state__in=[Quote.State.ACCEPTING, Quote.State.ACCEPTED], done_at=None
    )
    live_order = BlockOrder.objects.filter(block=OuterRef("pk"), order__state__in=LIVE_ORDER_STATES)
    for block_id in list(
        Block.objects.exclude(state=Block.State.DONE)
        .filter(~Exists(live_rfq), ~Exists(unfinished), ~Exists(live_order))
        .order_by("window_start", "asset__code")
        .values_list("pk", flat=True)
    ):
        closed += (
            Block.objects.filter(pk=block_id)
            .exclude(state=Block.State.DONE)
            .update(state=Block.State.DONE, closed_at=now)
        )
    return closed


def window_of(at: datetime, window_s: int) -> datetime:
    """Return the start of the window that an instant lies in."""
    return at - (at - _EPOCH) % timedelta(seconds=window_s)


def window_end(block: Block) -> datetime:
    """Return when a block stops taking orders and its first clip may go out."""
    return block.window_start + timedelta(seconds=block.asset.policy.block_window_s)


def open_quantity(order: LiquidationOrder) -> Decimal:
    """Return what of an order may still be put out for quote."""
    if order.state not in SELLABLE_STATES:
        return Decimal(0)
    with money.exact():
        return order.quantity - order.filled_quantity - order.committed_quantity - order.cancelled_quantity


def rest(parts: Iterable[BlockOrder]) -> Decimal:
    """Return what the orders of a block may still put out for quote together."""
    with money.exact():
        return sum((open_quantity(part.order) for part in parts), Decimal(0))


def parts_of(block: Block) -> list[BlockOrder]:
    """Return the parts of a block with their orders, in an order that does not hang on database ids."""
    rows = block.parts.select_related("order__cause__call", "order__margin_account")
    return list(rows.order_by("order__public_id"))


def _block_for(order: LiquidationOrder, *, now: datetime) -> Block:
    """Return the block of an order's window, locked; a latecomer joins the window that is open now."""
    window_s = order.asset.policy.block_window_s
    block = _locked(order.asset, window_of(order.ordered_at, window_s), now=now)
    if block.state != Block.State.OPEN:
        block = _locked(order.asset, window_of(now, window_s), now=now)
    while block.state != Block.State.OPEN:
        block = _locked(order.asset, block.window_start + timedelta(seconds=window_s), now=now)
    return block


def _locked(asset: Asset, window_start: datetime, *, now: datetime) -> Block:
    block, _ = Block.objects.select_for_update().get_or_create(
        asset=asset,
        window_start=window_start,
        defaults={"created_at": now, "public_id": ids.derived("block", asset.code, window_start.isoformat())},
    )
    return block
