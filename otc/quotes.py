"""
Quotes: ask every dealer, accept the best bid once.

Every step that reaches outside is a committed row first (ASKED, ACCEPTING), the message second, the answer third. A
step whose answer is unknown is queried at the dealer before anything is sent again.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Exists, OuterRef

from lending import ids, margin_accounts
from lending.engine import money
from otc import blocks, ports, rfqs
from otc.engine import allocation, execution
from otc.models import BlockOrder, Commitment, Dealer, Quote, Rfq
from risk import endings, exposures, liquidations, prices, restraints, two_keys
from risk.engine.ladder import past_gap_limit

EXECUTABLE_AT_LEAST = 2
ANSWER_WITHIN = timedelta(seconds=10)  # how long bids that are too few wait for those that did not answer


class UnableToAccept(Exception):
    """No bid was accepted; the text says why, and it stands on the request too."""


def collect_due(*, now: datetime) -> int:
    """Ask every dealer about every open request, and return how many answers were recorded."""
    collected = 0
    for rfq in Rfq.objects.filter(state=Rfq.State.OPEN).select_related("block__asset").order_by("public_id"):
        if rfq.expires_at < now:
            _expire(rfq, "no answer in time", now=now)
            continue
        fresh = _write_down(rfq, now=now)
        pending = list(rfq.quotes.filter(state=Quote.State.ASKED).select_related("dealer").order_by("dealer__code"))
        for quote, answer in _ask_all(rfq, pending, fresh, now=now):
            collected += _record(quote, answer, now=now)
        if _enough(rfq, now=now):
            Rfq.objects.filter(pk=rfq.pk, state=Rfq.State.OPEN).update(state=Rfq.State.QUOTED)
    return collected


def accept_due(*, now: datetime) -> int:
    """Find out what became of acceptances without an answer, then accept the best bid of every quoted request."""
    for quote in (
        Quote.objects.filter(state=Quote.State.ACCEPTING, accepted_at__lt=now)
        .select_related("dealer", "rfq")
        .order_by("public_id")
    ):
        _learn(quote, now=now)
    accepted = 0
    in_flight = Quote.objects.filter(rfq=OuterRef("pk"), state=Quote.State.ACCEPTING)
    for rfq in Rfq.objects.filter(~Exists(in_flight), state=Rfq.State.QUOTED).order_by("public_id"):
        try:
            accepted += accept_best(rfq, now=now).state == Quote.State.ACCEPTED
        except UnableToAccept:
            continue
    return accepted


def accept_best(rfq: Rfq, *, now: datetime) -> Quote:
    """
    Accept the best bid of a request that stands above the collar, and return it.

    A dealer that says no at its last look makes the next best bid the best, as long as two are executable. The quote
    comes back ACCEPTING when the dealer's answer is not known yet.

    Raises
    ------
    UnableToAccept
        If no sale may rest on the mark, fewer than two bids are executable, the orders were stopped, or the request
        is over.
    """
    while True:
        quote = _choose(rfq, now=now)
        dealer = ports.dealers()[quote.dealer.code]
        try:
            answer = dealer.accept(quote.client_order_id, at=now)
        except ports.UnableToTell:
            return quote
        quote = resolve(quote, answer, now=now)
        if quote.state != Quote.State.REJECTED:
            return quote


def resolve(quote: Quote, answer: ports.Answer, *, now: datetime) -> Quote:
    """Record what a dealer said about an acceptance, once; what was committed to a rejected one is let go."""
    with transaction.atomic():
        margin_accounts.lock_many(sorted(quote.commitments.values_list("part__order__margin_account_id", flat=True)))
        quote = Quote.objects.select_for_update(of=("self",)).select_related("dealer", "rfq").get(pk=quote.pk)
        if quote.state != Quote.State.ACCEPTING:
            return quote
        if answer.status == ports.Status.ACCEPTED:
            quote.state = Quote.State.ACCEPTED
            quote.save(update_fields=["state"])
            Rfq.objects.filter(pk=quote.rfq_id).update(state=Rfq.State.ACCEPTED, closed_at=now)
            quote.rfq.quotes.filter(state__in=[Quote.State.ASKED, Quote.State.LIVE]).update(
                state=Quote.State.EXPIRED, done_at=now, reason="another bid was accepted"
            )
        else:
            quote.state, quote.done_at = Quote.State.REJECTED, now
            quote.reason = (answer.reason or answer.status.value)[:200]
            quote.save(update_fields=["state", "done_at", "reason"])
            let_go(quote, now=now)
    return quote


def let_go(quote: Quote, *, now: datetime) -> None:
    """Give back to the orders what an accepted quote will not fill any more; the caller holds their accounts."""
    for commitment in (
        quote.commitments.filter(released_at=None).select_related("part__order").order_by("part__order__public_id")
    ):
        with money.exact():
            rest = commitment.quantity - commitment.filled_quantity
        if rest > 0:
            liquidations.uncommit(commitment.part.order, rest, now=now)
        commitment.released_at = now
        commitment.save(update_fields=["released_at"])


# --- asking -----------------------------------------------------------------------------------------------------------


def _write_down(rfq: Rfq, *, now: datetime) -> set[int]:
    """Commit one ASKED row per dealer, and return the ids of those that are new: only they may be sent unasked."""
    known = set(rfq.quotes.values_list("dealer_id", flat=True))
    fresh = []
    for dealer in Dealer.objects.filter(enabled=True, code__in=list(ports.dealers())).order_by("code"):
        if dealer.pk in known:
            continue
        key = f"{rfq.block.asset.code}-{rfq.block.window_start:%Y%m%dT%H%M%S}-{rfq.clip}-{dealer.code}"
        quote, created = Quote.objects.get_or_create(
            rfq=rfq,
            dealer=dealer,
            defaults={
                "public_id": ids.derived("quote", rfq.public_id, dealer.code),
                "client_order_id": key,
                "asked_at": now,
            },
        )
        if created:
            fresh.append(quote.pk)
    return set(fresh)


def _ask_all(
    rfq: Rfq, pending: list[Quote], fresh: set[int], *, now: datetime
) -> list[tuple[Quote, ports.Answer | None]]:
    """Return every dealer's answer, asked side by side; None where none came."""
    known = ports.dealers()

    def ask(quote: Quote) -> ports.Answer | None:
        dealer = known[quote.dealer.code]
        try:
            heard = None if quote.pk in fresh else dealer.query(quote.client_order_id, at=now)
            return heard or dealer.request_quote(
                ports.QuoteRequest(quote.client_order_id, rfq.block.asset.code, rfq.quantity, now)
            )
        except ports.UnableToTell:
            return None

    return list(zip(pending, side_by_side(ask, pending), strict=True))


def side_by_side(ask: Callable[[Quote], ports.Answer | None], quotes: list[Quote]) -> list[ports.Answer | None]:
    """Return one outside answer per quote, in their order; threads only wait for the wire and touch no row."""
    if len(quotes) < 2:
        return [ask(quote) for quote in quotes]
    with ThreadPoolExecutor(max_workers=min(8, len(quotes))) as pool:
        return list(pool.map(ask, quotes))


def _enough(rfq: Rfq, *, now: datetime) -> bool:
    """Return whether bids may be compared: everybody answered, or enough did and the rest did not when asked."""
    silent = rfq.quotes.filter(state=Quote.State.ASKED)
    live = rfq.quotes.filter(state=Quote.State.LIVE)
    return live.count() >= EXECUTABLE_AT_LEAST or not silent.filter(asked_at__gt=now - ANSWER_WITHIN).exists()


def _record(quote: Quote, answer: ports.Answer | None, *, now: datetime) -> bool:
    if answer is None:
        return False
    with transaction.atomic():
        quote = Quote.objects.select_for_update().get(pk=quote.pk)
        if quote.state != Quote.State.ASKED:
            return False
        quote.quoted_at, quote.reason = now, answer.reason[:200]
        if answer.status == ports.Status.QUOTED and answer.price and answer.quantity:
            quote.state = Quote.State.LIVE
            quote.price, quote.quantity, quote.expires_at = answer.price, answer.quantity, answer.expires_at
            quote.dealer_quote_id = answer.quote_id
        else:
            quote.state, quote.done_at = Quote.State.REFUSED, now
        quote.save()
    return True


# --- accepting --------------------------------------------------------------------------------------------------------


def _choose(rfq: Rfq, *, now: datetime) -> Quote:
    """Commit the clip's orders to the best executable bid and mark it ACCEPTING, or say why none is accepted."""
    parts = BlockOrder.objects.filter(block_id=rfq.block_id, order__state__in=blocks.SELLABLE_STATES)
    with transaction.atomic():
        # The account rows come first everywhere: a cure that is being credited either is seen below, or waits.
        margin_accounts.lock_many(sorted(set(parts.values_list("order__margin_account_id", flat=True))))
        rfq = Rfq.objects.select_for_update(of=("self",)).select_related("block__asset__policy").get(pk=rfq.pk)
        marks = prices.current(now=now)
        refusal = _decline(rfq, marks, now=now)
        if refusal is None:
            quote = _executable(rfq, marks, now=now)[0]
            if _commit(rfq, quote, marks, now=now):
                quote.mark_price = marks.price(rfq.block.asset.code)
                quote.snapshot = prices.snapshot(marks, now=now)
                quote.state, quote.accepted_at = Quote.State.ACCEPTING, now
                quote.save(update_fields=["mark_price", "snapshot", "state", "accepted_at"])
                return quote
            refusal = "orders of the clip were stopped; the rest is asked for again"
            rfqs.close(rfq, Rfq.State.CANCELLED, refusal, now=now)
    raise UnableToAccept(refusal)


def _decline(rfq: Rfq, marks: prices.Marks, *, now: datetime) -> str | None:
    """Return why nothing of a request is accepted now; a request that can not come to anything is closed."""
    code = rfq.block.asset.code
    if rfq.state != Rfq.State.QUOTED:
        return f"the request is {rfq.state}"
    if rfq.quotes.filter(state__in=[Quote.State.ACCEPTING, Quote.State.ACCEPTED]).exists():
        return "a bid is being accepted"
    over = rfq.expires_at < now
    on = rfqs.basis(marks, code)
    if on is None or (rfq.basis == Rfq.Basis.AUTOMATIC and on != Rfq.Basis.AUTOMATIC):
        grace = ", in the grace after an outage" if on == Rfq.Basis.IN_GRACE else ""
        reason = f"the mark of {code} is {marks.quality(code).value}{grace}: no sale may rest on it"
        if over:
            rfqs.close(rfq, Rfq.State.EXPIRED, reason, now=now)
        return reason
    executable = len(_executable(rfq, marks, now=now))
    if over or executable < EXECUTABLE_AT_LEAST:
        reason = f"{executable} of {rfq.quotes.count()} bids executable: slow down and ask again"
        rfqs.close(rfq, Rfq.State.EXPIRED, reason, now=now)
        return reason
    return None


def _executable(rfq: Rfq, marks: prices.Marks, *, now: datetime) -> list[Quote]:
    """
    Return the bids that may be accepted, best first.

    A bid as far above the mark as the collar lies below it rests on another price than ours and counts for nothing.
    """
    mark, collar = marks.price(rfq.block.asset.code), rfq.block.asset.policy.collar
    if mark is None:
        return []
    floor = max(rfq.collar_price, execution.collar_price(mark, collar))
    ceiling = execution.collar_price(mark, -collar)
    live = rfq.quotes.filter(
        state=Quote.State.LIVE, expires_at__gte=now, price__gte=floor, price__lte=ceiling, quantity__lte=rfq.quantity
    )
    return list(live.select_related("dealer").order_by("-price", "dealer__code"))


def _commit(rfq: Rfq, quote: Quote, marks: prices.Marks, *, now: datetime) -> bool:
    """
    Commit the orders of a block to a quote, pro rata; False when less is wanted than the quote would sell.

    What was put out as agreed to by two persons is taken from those orders alone, however good the mark is by now.
    """
    on = rfqs.basis(marks, rfq.block.asset.code)
    allowed = rfqs.sellable(blocks.parts_of(rfq.block), rfq.basis, now=now)
    wanted = _still_wanted(rfqs.sellable(allowed, on, now=now) if on else [], marks, on, now=now)
    open_quantities = [blocks.open_quantity(part.order) for part in wanted]
    with money.exact():
        rest = sum(open_quantities, Decimal(0))
    if quote.quantity is None or rest < quote.quantity:
        return False
    shares = allocation.pro_rata(quote.quantity, open_quantities, lot=rfq.block.asset.policy.lot)
    for part, share in zip(wanted, shares, strict=True):
        if share > 0:
            granted = liquidations.commit(part.order, share, now=now)
            if granted != share:
                raise UnableToAccept(f"an order gave {granted} of {share}")
            if on != Rfq.Basis.AUTOMATIC:
                two_keys.use(str(on), part.order.margin_account, part.order.episode, now=now)
            Commitment.objects.create(quote=quote, part=part, quantity=share)
    return True


def _still_wanted(
    parts: list[BlockOrder], marks: prices.Marks, on: Rfq.Basis | None, *, now: datetime
) -> list[BlockOrder]:
    """
    Return the parts whose accounts, judged afresh under their locks, still need the sale; stop orders that do not.

    Money or collateral that was credited since the order was made counts at once. While a mark that an account hangs
    on is not good, its order is neither stopped nor sold, unless the account is over its target at the best bound.
    Nor is the order of a frozen account, or in a grace period one of an account that is not past its gap limit.

    An order for a default needs what it needed to be made: good marks of all that the account holds and owes, or the
    agreement of two persons. It is stopped at once when it gives way, or its default is over.
    """
    opened = [part for part in parts if blocks.open_quantity(part.order) > 0]
    facts = exposures.load_locked({part.order.margin_account_id for part in opened}, now=now)
    wanted = []
    for part in opened:
        found = facts[part.order.margin_account_id]
        if found.account.frozen:
            continue
        judged = exposures.judge(found, marks)
        if on == Rfq.Basis.IN_GRACE and not past_gap_limit(judged.exposed, found.ladder, found.terms.gap_limit):
            continue
        cause = part.order.cause
        unpaid = endings.sold_for(cause, found)
        over = cause.closed_at is not None or bool(endings.default_stops(cause, found, unpaid))
        if not over and cause.loan_id is not None:
            if not restraints.on_sale(found, judged, cause.episode, now=now):
                wanted.append(part)
        elif not over and not endings.outcome(cause, found, unpaid, judged):
            wanted.append(part)
        elif judged.good or over:
            liquidations.stop(part.order, reason="no longer needed when a bid was to be accepted", now=now)
    return wanted


# --- finding out ------------------------------------------------------------------------------------------------------


def _learn(quote: Quote, *, now: datetime) -> None:
    """Ask what became of an acceptance whose answer was lost; one that never arrived is voided, not repeated."""
    dealer = ports.dealers().get(quote.dealer.code)
    if dealer is None:
        return
    try:
        answer = dealer.query(quote.client_order_id, at=now)
        if answer is not None and answer.status == ports.Status.QUOTED:
            answer = dealer.withdraw(quote.client_order_id, at=now)
    except ports.UnableToTell:
        return
    if answer is None:
        answer = ports.Answer(quote.client_order_id, ports.Status.REJECTED, reason="the dealer does not know the order")
    resolve(quote, answer, now=now)


def _expire(rfq: Rfq, note: str, *, now: datetime) -> None:
    with transaction.atomic():
        locked = Rfq.objects.select_for_update(of=("self",)).get(pk=rfq.pk)
        if locked.state == Rfq.State.OPEN:
            rfqs.close(locked, Rfq.State.EXPIRED, note, now=now)
