"""Fills: record what a dealer executed, once, and share it out to the orders that were committed to it."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from django.db import IntegrityError, transaction

from lending import access, approvals, margin_accounts, reasons
from lending.engine import money
from lending.models import Approval, Role, User
from otc import ports, quotes
from otc.engine import allocation, execution
from otc.models import Allocation, Commitment, Fill, Quote
from risk import incidents

CENTS = Decimal("0.01")
CLOSE_QUOTE, IMPOSSIBLE = "close_quote", "impossible_fill"
CLOSERS = frozenset({Role.DESK_HEAD})


class UnableToRecord(Exception):
    """A reported fill contradicts what is known: other content under a known id, more than was accepted, no order."""


def poll_due(*, now: datetime) -> int:
    """Ask about every accepted quote that is not done, record its fills, and return how many were new."""
    recorded = 0
    open_quotes = (
        Quote.objects.filter(state=Quote.State.ACCEPTED, done_at=None)
        .select_related("dealer", "rfq__block__asset")
        .order_by("public_id")
    )
    for quote in open_quotes:
        answer = _heard(quote, ports.dealers(), now=now)
        if answer is None:
            continue
        known = set(quote.fills.values_list("dealer_fill_id", flat=True))
        for fill in answer.fills:
            if fill.fill_id not in known and _recorded(fill, quote, now=now):
                recorded += 1
                known.add(fill.fill_id)
        # A fill that could not be recorded may be coins that are sold: let go, they would be sold again.
        if answer.done and known.issuperset(fill.fill_id for fill in answer.fills):
            _finish(quote, now=now)
    return recorded


def record(fill: ports.ReportedFill, *, now: datetime) -> Fill:
    """
    Record a dealer's execution and share it out, and return it; the same report again returns the first record.

    Raises
    ------
    UnableToRecord
        If the report contradicts what is known.
    """
    quote = Quote.objects.select_related("dealer", "rfq").filter(client_order_id=fill.client_order_id).first()
    if quote is None:
        raise UnableToRecord(f"no quote of ours is called {fill.client_order_id}")
    if quote.state == Quote.State.ACCEPTING:  # the fill proves the acceptance whose answer was lost
        quote = quotes.resolve(quote, ports.Answer(fill.client_order_id, ports.Status.ACCEPTED), now=now)
    try:
        with transaction.atomic():
            accounts = quote.commitments.values_list("part__order__margin_account_id", flat=True)
            margin_accounts.lock_many(sorted(set(accounts)))
            quote = Quote.objects.select_for_update(of=("self",)).select_related("dealer", "rfq").get(pk=quote.pk)
            known = Fill.objects.filter(dealer=quote.dealer, dealer_fill_id=fill.fill_id).first()
            return _same(known, quote, fill) if known else _write(quote, fill, now=now)
    except IntegrityError as refused:
        raise UnableToRecord(f"{fill.fill_id}: {refused}") from refused


def ask_to_close(quote: Quote, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to end an accepted quote whose dealer reports what can not be, on the dealer's word.

    What was recorded stands; what was not filled goes back to its orders.

    Raises
    ------
    UnableToRecord
        If the quote is over or was never accepted, nothing is said, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is not the head of the desk.
    """
    access.require_role(maker, *CLOSERS)
    said = reasons.kept(reason, UnableToRecord, missing="say what the dealer has confirmed")
    if quote.state != Quote.State.ACCEPTED or quote.done_at is not None:
        raise UnableToRecord("only an accepted quote that is not done can be ended")
    payload = {"quote": quote.client_order_id, "filled": f"{quote.filled_quantity:f}", "reason": said}
    if Approval.objects.filter(
        kind=CLOSE_QUOTE, state=Approval.State.REQUESTED, expires_at__gt=now, payload__quote=quote.client_order_id
    ).exists():
        raise UnableToRecord("it was asked for already")
    return approvals.request(CLOSE_QUOTE, payload, maker=maker, now=now)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> None:
    """
    End a quote as two persons agreed, if nothing was filled since they looked.

    Raises
    ------
    lending.approvals.UnableToApprove
        If the quote is over, or another fill was recorded meanwhile.
    """
    quote = Quote.objects.select_related("rfq__block__asset").get(client_order_id=approval.payload["quote"])
    if quote.state != Quote.State.ACCEPTED or quote.done_at is not None:
        raise approvals.UnableToApprove("the quote is over")
    if f"{quote.filled_quantity:f}" != approval.payload["filled"]:
        raise approvals.UnableToApprove("another fill was recorded meanwhile; look again")
    _finish(quote, now=now)
    incidents.close(IMPOSSIBLE, asset=quote.rfq.block.asset, now=now)


def _write(quote: Quote, fill: ports.ReportedFill, *, now: datetime) -> Fill:
    if quote.state != Quote.State.ACCEPTED or quote.mark_price is None:
        raise UnableToRecord(f"{fill.fill_id}: the quote is {quote.state}")
    row = Fill.objects.create(
        dealer=quote.dealer,
        dealer_fill_id=fill.fill_id,
        quote=quote,
        block_id=quote.rfq.block_id,
        quantity=fill.quantity,
        price=fill.price,
        mark_price=quote.mark_price,
        slippage_bps=execution.slippage_bps(fill.price, quote.mark_price),
        executed_at=fill.executed_at,
        recorded_at=now,
    )
    Allocation.objects.bulk_create(_shared_out(row, quote))
    return row


def _shared_out(fill: Fill, quote: Quote) -> list[Allocation]:
    """Return what every committed order gets of a fill: coins pro rata, cash at the average price."""
    commitments = list(
        Commitment.objects.filter(quote=quote, released_at=None)
        .select_related("part__order__asset__policy")
        .order_by("part__order__public_id")
    )
    with money.exact():
        rests = [commitment.quantity - commitment.filled_quantity for commitment in commitments]
        if fill.quantity > sum(rests, Decimal(0)):
            raise UnableToRecord(f"{fill.dealer_fill_id}: {fill.quantity} is more than what was accepted")
    shares = allocation.pro_rata(fill.quantity, rests, lot=commitments[0].part.order.asset.policy.lot)
    served = [(commitment.part, share) for commitment, share in zip(commitments, shares, strict=True) if share > 0]
    cash = allocation.cash_shares(proceeds(fill), [share for _, share in served], unit=CENTS)
    return [
        Allocation(fill=fill, part=part, client_id=part.order.client_id, quantity=share, proceeds=paid)
        for (part, share), paid in zip(served, cash, strict=True)
    ]


def proceeds(fill: Fill) -> Decimal:
    """Return what the dealer pays for a fill, USD, rounded down to the cent."""
    with money.exact():
        gross = fill.quantity * fill.price
    return money.quantize_down(gross, 2)


def _same(known: Fill, quote: Quote, fill: ports.ReportedFill) -> Fill:
    if (known.quote_id, known.quantity, known.price) != (quote.pk, fill.quantity, fill.price):
        raise UnableToRecord(f"{fill.fill_id} was reported before as {known.quantity} at {known.price}")
    return known


def _recorded(fill: ports.ReportedFill, quote: Quote, *, now: datetime) -> bool:
    """Record one report of many; one that contradicts what is known goes to a person and holds up no other."""
    try:
        record(fill, now=now)
    except UnableToRecord as refused:
        summary = f"{quote.dealer} reports a fill that can not be: {refused}"
        incidents.open_once(IMPOSSIBLE, summary[:300], asset=quote.rfq.block.asset, now=now)
        return False
    return True


def _heard(quote: Quote, dealers: Mapping[str, ports.Dealer], *, now: datetime) -> ports.Answer | None:
    dealer = dealers.get(quote.dealer.code)
    try:
        return dealer.query(quote.client_order_id, at=now) if dealer else None
    except ports.UnableToTell:
        return None


def _finish(quote: Quote, *, now: datetime) -> None:
    """Note that no more fills will come, and give the unfilled rest back to the orders."""
    with transaction.atomic():
        accounts = quote.commitments.values_list("part__order__margin_account_id", flat=True)
        margin_accounts.lock_many(sorted(set(accounts)))
        locked = Quote.objects.select_for_update(of=("self",)).get(pk=quote.pk)
        if locked.done_at is None:
            quotes.let_go(locked, now=now)
            locked.done_at = now
            locked.save(update_fields=["done_at"])
