"""Requests for quote: which clip of which block goes out, when, and how much of it at once."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Sum

from lending import ids
from lending.engine import money
from otc import blocks
from otc.engine import execution
from otc.models import Block, BlockOrder, Quote, Rfq, ThrottleDecision
from risk import prices, two_keys
from risk.models import LiquidationOrder, MarginStatus, PriceSnapshot, Quality

LIFE_S = 60
PAUSE_S = 10  # after a request that sold nothing
THROTTLE_SPAN = timedelta(minutes=1)
_WAIT_DAYS = 1 / 24  # the horizon over which waiting is weighed


@dataclass(frozen=True)
class _Ready:
    """A block that could put out a clip: on what basis, what is left that may be sold on it, and its mark."""

    block: Block
    basis: Rfq.Basis
    rest: Decimal
    mark: Decimal
    expected_loss: float


def open_due(*, now: datetime) -> int:
    """Net waiting orders into blocks, ask for quotes on the next clip of every block that may, return how many."""
    blocks.gather_due(now=now)
    waiting = _waiting(now=now)
    if not waiting:
        return 0
    blocks.close_due(now=now)
    marks = prices.current(now=now)
    ready = _ready(waiting, marks, now=now)
    if not ready:
        return 0
    snapshot = prices.snapshot(marks, now=now)
    return sum(1 for entry, limit in _throttled(ready, now=now) if _open(entry, limit, snapshot, now=now))


def basis(marks: prices.Marks, code: str) -> Rfq.Basis | None:
    """Return on what basis an asset may be sold at these marks; None on none."""
    quality = marks.quality(code)
    if quality == Quality.GOOD:
        return Rfq.Basis.IN_GRACE if marks.in_grace(code) else Rfq.Basis.AUTOMATIC
    return Rfq.Basis.DEGRADED if quality == Quality.DEGRADED else None


def sellable(parts: Sequence[BlockOrder], on: Rfq.Basis | str, *, now: datetime) -> list[BlockOrder]:
    """
    Return the parts of a block that may be sold on a basis: all on a good mark, else what two persons agreed to.

    Such orders are put out with their like only: nobody's coins go out on a mark that is not good in somebody else's
    wake.
    """
    if on == Rfq.Basis.AUTOMATIC:
        return list(parts)
    agreed = two_keys.agreements(on, now=now)
    return [part for part in parts if (str(part.order.margin_account.public_id), part.order.episode) in agreed]


def close(rfq: Rfq, state: Rfq.State, note: str, *, now: datetime) -> None:
    """End a request that sold nothing, with the reason; bids that still stand end with it."""
    rfq.state, rfq.note, rfq.closed_at = state, note[:200], now
    rfq.save(update_fields=["state", "note", "closed_at"])
    rfq.quotes.filter(state__in=[Quote.State.ASKED, Quote.State.LIVE]).update(
        state=Quote.State.EXPIRED, done_at=now, reason=note[:200]
    )


def _waiting(*, now: datetime) -> list[Block]:
    """Return the blocks whose window has ended, with nothing in flight, and whose last request is not too fresh."""
    in_flight = Rfq.objects.filter(block=OuterRef("pk"), state__in=blocks.LIVE_RFQ_STATES)
    unfinished = Quote.objects.filter(rfq__block=OuterRef("pk"), state=Quote.State.ACCEPTED, done_at=None)
    just_failed = Rfq.objects.filter(
        block=OuterRef("pk"),
        state__in=[Rfq.State.EXPIRED, Rfq.State.CANCELLED],
        closed_at__gt=now - timedelta(seconds=PAUSE_S),
    )
    candidates = (
        Block.objects.exclude(state=Block.State.DONE)
        .filter(~Exists(in_flight), ~Exists(unfinished), ~Exists(just_failed))
        .select_related("asset__policy")
        .order_by("window_start", "asset__code")
    )
    return [block for block in candidates if blocks.window_end(block) <= now]


def _ready(waiting: list[Block], marks: prices.Marks, *, now: datetime) -> list[_Ready]:
    allowed = [(block, on) for block in waiting if (on := basis(marks, block.asset.code)) is not None]
    parts: dict[int, list[BlockOrder]] = defaultdict(list)
    rows = BlockOrder.objects.filter(block__in=[block for block, _on in allowed])
    for part in rows.select_related("order__margin_account").order_by("order__public_id"):
        parts[part.block_id].append(part)
    accounts = {part.order.margin_account_id for found in parts.values() for part in found}
    ltv = dict(MarginStatus.objects.filter(pk__in=accounts).values_list("pk", "ltv"))
    ready = []
    for block, on in allowed:
        these = sellable(parts[block.pk], on, now=now)
        left, mark = blocks.rest(these), marks.price(block.asset.code)
        if left > 0 and mark:
            loss = sum(_loss_of(part.order, mark, ltv, block.asset.policy.daily_volatility) for part in these)
            ready.append(_Ready(block, on, left, mark, loss))
    return ready


def _loss_of(order: LiquidationOrder, mark: Decimal, ltv: Mapping[int, Decimal | None], volatility: Decimal) -> float:
    """Return what waiting with an order is expected to lose, USD; an account whose LTV nobody knows counts as 1."""
    known = ltv.get(order.margin_account_id)
    value = float(blocks.open_quantity(order)) * float(mark)
    return execution.expected_loss(value, 1.0 if known is None else float(known), float(volatility), _WAIT_DAYS)


def _throttled(ready: list[_Ready], *, now: datetime) -> list[tuple[_Ready, Decimal]]:
    """Return what every block may put out, USD; scarce capacity goes by expected loss, and that is written down."""
    out: dict[str, Decimal] = dict(
        Rfq.objects.filter(opened_at__gt=now - THROTTLE_SPAN)
        .exclude(state__in=[Rfq.State.EXPIRED, Rfq.State.CANCELLED])
        .values_list("block__asset__code")
        .annotate(usd=Sum(F("quantity") * F("mark_price")))
        .values_list("block__asset__code", "usd")
    )
    claims, asset_left, by_id = [], {}, {}
    for entry in ready:
        policy, code = entry.block.asset.policy, entry.block.asset.code
        with money.exact():
            wanted = min(entry.rest * entry.mark, policy.clip_usd)
            asset_left[code] = policy.throttle_usd_per_minute - out.get(code, Decimal(0))
        claims.append(execution.Wanted(entry.block.pk, code, entry.expected_loss, wanted))
        by_id[entry.block.pk] = entry
    left = Decimal(settings.OTC_THROTTLE_USD_PER_MINUTE) - sum(out.values(), Decimal(0))
    grants = execution.share_throttle(claims, asset_left=asset_left, left=left)
    wanted_by_id = {claim.key: claim.wanted for claim in claims}
    scarce = any(grant.granted < wanted_by_id[grant.key] for grant in grants)
    if scarce:
        ThrottleDecision.objects.bulk_create(
            [
                ThrottleDecision(
                    block_id=grant.key,
                    decided_at=now,
                    rank=grant.rank,
                    expected_loss_usd=money.quantize_up(Decimal(repr(by_id[grant.key].expected_loss)), 2),
                    wanted_usd=money.quantize_up(wanted_by_id[grant.key], 2),
                    granted_usd=money.quantize_down(grant.granted, 2),
                )
                for grant in grants
            ],
            ignore_conflicts=True,
        )
    return [(by_id[grant.key], grant.granted) for grant in grants]


def _open(entry: _Ready, limit: Decimal, snapshot: PriceSnapshot, *, now: datetime) -> bool:
    """Open the next request of a block if nobody else just did."""
    policy = entry.block.asset.policy
    with transaction.atomic():
        block = Block.objects.select_for_update(skip_locked=True).filter(pk=entry.block.pk).first()
        if block is None or block.rfqs.filter(state__in=blocks.LIVE_RFQ_STATES).exists():
            return False
        rest = blocks.rest(sellable(blocks.parts_of(block), entry.basis, now=now))
        quantity = execution.clip_quantity(rest, mark=entry.mark, limit_usd=limit, lot=policy.lot)
        if quantity <= 0:
            return False
        clip = (block.rfqs.aggregate(last=Max("clip"))["last"] or 0) + 1
        Rfq.objects.create(
            public_id=ids.derived("rfq", block.public_id, clip),
            block=block,
            clip=clip,
            quantity=quantity,
            basis=entry.basis,
            mark_price=entry.mark,
            collar_price=money.quantize_up(execution.collar_price(entry.mark, policy.collar), money.DECIMALS),
            snapshot=snapshot,
            opened_at=now,
            expires_at=now + timedelta(seconds=LIFE_S),
        )
        if block.state == Block.State.OPEN:
            block.state = Block.State.WORKING
            block.save(update_fields=["state"])
    return True
