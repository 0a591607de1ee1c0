"""Settlement: book a fill and apply its proceeds in one transaction, then exchange coins for cash with the dealer."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from lending import access, audit, custody, interest, ledger, loans, margin_accounts, reasons, repayments
from lending import collateral as pledges
from lending import ports as lending_ports
from lending.engine import entries, money
from lending.models import Loan, Role, User
from otc import ports
from otc.models import Allocation, Fill, Settlement
from risk import incidents, liquidations, orders, prices

CASH = "USD"
DEFAULT_LAG_S = 600
INSTRUCTORS = frozenset({Role.DESK_HEAD})
_REFUSALS = (
    entries.UnableToDraft,
    ledger.UnableToPost,
    repayments.UnableToRepay,
    pledges.UnableToHold,
    orders.UnableToFill,
)


class UnableToSettle(Exception):
    """A fill can not be booked now; it stays recorded and is tried again."""


@dataclass(frozen=True)
class _Share:
    """One order's part of a fill, with what its proceeds will pay."""

    allocation: Allocation
    debts: list[Loan]
    fee: Decimal

    @property
    def net(self) -> Decimal:
        with money.exact():
            return self.allocation.proceeds - self.fee


def settle_due(*, now: datetime) -> int:
    """Book every fill that is recorded and not booked, exchange what is due, and return how many steps were taken."""
    taken = 0
    unbooked = Fill.objects.filter(settled_at=None).select_related("dealer", "block__asset")
    for fill in unbooked.order_by("executed_at", "dealer_fill_id"):
        taken += _booked(fill, now=now)
    for settlement in (
        Settlement.objects.filter(state=Settlement.State.INSTRUCTED, due_at__lte=now)
        .select_related("fill", "dealer", "asset")
        .order_by("due_at", "fill__dealer_fill_id")
    ):
        taken += _exchange(settlement, now=now)
    return taken


def settle(fill: Fill, *, now: datetime) -> Settlement:
    """
    Book a fill, apply its proceeds to the loans it was sold for, and instruct its settlement, all or nothing.

    Each order's share becomes one entry `fill:<dealer>:<their id>:<order's public id>`; proceeds for a loan in
    another currency are changed at that currency's mark; the waterfall takes fees, interest and principal, and the
    surplus is the client's at once. A fill that is booked already returns its settlement.

    Raises
    ------
    UnableToSettle
        If a loan's asset has no mark to change the proceeds at.
    """
    with transaction.atomic():
        accounts = fill.allocations.values_list("part__order__margin_account_id", flat=True)
        margin_accounts.lock_many(sorted(set(accounts)))
        fill = Fill.objects.select_for_update(of=("self",)).select_related("dealer", "block__asset").get(pk=fill.pk)
        if fill.settled_at is not None:
            return fill.settlement
        shares = _shares(fill)
        _book_sales(fill, shares, now=now)
        for share in shares:
            _apply(fill, share, now=now)
            order = share.allocation.part.order
            liquidations.record_fill(order, share.allocation.quantity, share.allocation.proceeds, now=now)
        fill.settled_at = now
        fill.save(update_fields=["settled_at"])
        return _instruct(fill, shares)


def _booked(fill: Fill, *, now: datetime) -> bool:
    """Book one fill of many; one that the books refuse goes to a person and holds up no other."""
    try:
        settle(fill, now=now)
    except UnableToSettle:
        return False
    except _REFUSALS as refused:
        summary = f"a fill of {fill.quantity:f} {fill.block.asset.code} by {fill.dealer} can not be booked: {refused}"
        incidents.open_once(incidents.UNBOOKED_FILL, summary[:300], asset=fill.block.asset, now=now)
        return False
    if not Fill.objects.filter(settled_at=None, block__asset=fill.block.asset).exists():
        incidents.close(incidents.UNBOOKED_FILL, asset=fill.block.asset, now=now)
    return True


def _shares(fill: Fill) -> list[_Share]:
    rows = (
        Allocation.objects.filter(fill=fill)
        .select_related("part__order__cause", "part__order__margin_account__terms")
        .order_by("part__order__public_id")
    )
    shares = []
    for row in rows:
        account = row.part.order.margin_account
        with money.exact():
            fee = money.quantize_up(row.proceeds * account.terms.liquidation_fee, 2)
        shares.append(_Share(row, _debts(account.pk, row.part.order.cause.loan_id), min(fee, row.proceeds)))
    return shares


def _debts(margin_account_id: int, in_default: int | None) -> list[Loan]:
    """
    Return the loans that a sale pays: the one alone whose default it was made for, or by maturity.

    What is more than that one owes is the client's: its others are not due. The last loan stands for the client when
    nothing is owed.
    """
    mine = Loan.objects.filter(margin_account_id=margin_account_id).select_related("asset")
    if in_default is not None:
        return list(mine.filter(pk=in_default))
    found = list(mine.order_by(loans.END, "public_id"))
    return [loan for loan in found if loans.owes(loan)] or found[-1:]


def _book_sales(fill: Fill, shares: list[_Share], *, now: datetime) -> None:
    asset = fill.block.asset
    drafts = [
        entries.sale(
            _heading(fill, share, share.debts[0], "fill", effective_at=fill.executed_at),
            asset=asset.code,
            quantity=share.allocation.quantity,
            proceeds_asset=CASH,
            proceeds=share.allocation.proceeds,
            margin_account_id=share.allocation.part.order.margin_account_id,
            dealer=fill.dealer.code,
            liquidation_fee=share.fee,
        )
        for share in shares
    ]
    for share, entry in zip(shares, ledger.post_many(drafts, now=now), strict=True):
        row = share.allocation
        row.entry = entry
        row.save(update_fields=["entry"])
        account = row.part.order.margin_account
        pledges.sell_held(account, asset, row.quantity, entry=entry, key=entry.idempotency_key, now=now)


def _apply(fill: Fill, share: _Share, *, now: datetime) -> None:
    """Pay the account's loans out of one share's proceeds; the last one takes what is left, surplus included."""
    rest = share.net
    for number, loan in enumerate(share.debts, start=1):
        price = _price(loan, now=now)
        cash = rest
        if number < len(share.debts):
            with money.exact():
                cash = min(rest, money.quantize_up(interest.payoff(loan, now=now).total * price, 2))
        amount = _changed(fill, share, loan, cash, price, now=now)
        if amount > 0:
            key = _key("waterfall", fill, share, loan)
            repayments.apply(amount, loan, key=key, cause=share.allocation.part.order.cause.kind, now=now)
        with money.exact():
            rest -= cash
        if rest <= 0:
            return


def _price(loan: Loan, *, now: datetime) -> Decimal:
    """Return what one unit of a loan's asset costs in cash."""
    if loan.asset.code == CASH:
        return Decimal(1)
    price = prices.current(now=now).price(loan.asset.code)
    if price is None or not price.is_finite() or price <= 0:
        raise UnableToSettle(f"{loan.asset.code} has no mark to change the proceeds at")
    return price


def _changed(fill: Fill, share: _Share, loan: Loan, cash: Decimal, price: Decimal, *, now: datetime) -> Decimal:
    """Change cash into the loan's asset at its mark, and return how much of it that gives."""
    if loan.asset.code == CASH or cash <= 0:
        return cash
    bought = money.div_down(cash, price, loan.asset.decimals)
    if bought > 0:
        ledger.post(
            entries.conversion(
                _heading(fill, share, loan, "conversion", effective_at=now),
                paid_asset=CASH,
                paid=cash,
                bought_asset=loan.asset.code,
                bought=bought,
                margin_account_id=share.allocation.part.order.margin_account_id,
            ),
            now=now,
        )
    return bought


def _heading(fill: Fill, share: _Share, loan: Loan, kind: str, *, effective_at: datetime) -> entries.Heading:
    order = share.allocation.part.order
    return entries.Heading(
        key=_key(kind, fill, share, loan),
        effective_at=effective_at,
        book_id=loan.book_id,
        cause=f"{order.cause.kind}:{order.public_id}",
        client_id=order.client_id,
        loan_id=loan.pk,
    )


def _key(kind: str, fill: Fill, share: _Share, loan: Loan) -> str:
    """Return the natural key of one booking; the loan is named where a share may pay several."""
    parts = [kind, fill.dealer.code, fill.dealer_fill_id, str(share.allocation.part.order.public_id)]
    return ":".join(parts if kind == "fill" else [*parts, str(loan.public_id)])


# --- delivery against payment -----------------------------------------------------------------------------------------


def _instruct(fill: Fill, shares: list[_Share]) -> Settlement:
    dealer = ports.dealers().get(fill.dealer.code)
    lag_s = dealer.settlement_lag_s if dealer else DEFAULT_LAG_S
    with money.exact():
        cash = sum((share.allocation.proceeds for share in shares), Decimal(0))
    return Settlement.objects.create(
        fill=fill,
        dealer=fill.dealer,
        asset=fill.block.asset,
        quantity=fill.quantity,
        cash=cash,
        due_at=fill.executed_at + timedelta(seconds=lag_s),
    )


def _exchange(settlement: Settlement, *, now: datetime) -> bool:
    """Exchange coins for cash at the custodian under our own key, then book it; an unknown answer is asked again."""
    key = f"settlement:{settlement.dealer.code}:{settlement.fill.dealer_fill_id}"
    if settlement.attempt > 1:
        key += f":{settlement.attempt}"
    try:
        done = custody.deliver_versus_payment(
            key,
            deliver_asset=settlement.asset.code,
            deliver_quantity=settlement.quantity,
            receive_asset=CASH,
            receive_quantity=settlement.cash,
            counterparty=settlement.dealer.code,
            now=now,
        )
    except custody.UnableToSettle as refused:
        return _fail(settlement, str(refused), now=now)
    if not done:
        return False
    with transaction.atomic():
        locked = Settlement.objects.select_for_update(of=("self",)).get(pk=settlement.pk)
        if locked.state != Settlement.State.INSTRUCTED:
            return False
        ledger.post(
            entries.settlement(
                entries.Heading(key=key, effective_at=now, book_id=margin_accounts.house_book().pk, cause="settlement"),
                asset=settlement.asset.code,
                quantity=settlement.quantity,
                cash_asset=CASH,
                cash=settlement.cash,
                dealer=settlement.dealer.code,
                custodian=lending_ports.custodian().name,
            ),
            now=now,
        )
        locked.state, locked.settled_at = Settlement.State.SETTLED, now
        locked.save(update_fields=["state", "settled_at"])
    return True


def _fail(settlement: Settlement, reason: str, *, now: datetime) -> bool:
    """Note that the custodian refused, for a person to look at; nothing is sent again under this key."""
    Settlement.objects.filter(pk=settlement.pk, state=Settlement.State.INSTRUCTED).update(
        state=Settlement.State.FAILED, reason=reason[:200]
    )
    summary = f"{settlement.quantity:f} {settlement.asset.code} to {settlement.dealer} can not be settled: {reason}"
    incidents.open_once(incidents.SETTLEMENT_FAILED, summary[:300], asset=settlement.asset, now=now)
    return False


@transaction.atomic
def instruct_again(settlement: Settlement, *, reason: str, by: User, now: datetime) -> Settlement:
    """
    Instruct a settlement that the custodian refused once more, under another key, once what was wrong is put right.

    The refusal was final for its key, so nothing can be exchanged twice.

    Raises
    ------
    UnableToSettle
        If it has not failed, or nothing is said about what was put right.
    lending.access.UnableToAccess
        If the user is not the head of the desk.
    """
    access.require_role(by, *INSTRUCTORS)
    said = reasons.kept(reason, UnableToSettle, missing="say what was put right")
    row = Settlement.objects.select_for_update(of=("self",)).select_related("asset").get(pk=settlement.pk)
    if row.state != Settlement.State.FAILED:
        raise UnableToSettle(f"it is {row.get_state_display().lower()}")
    before = {"state": row.state, "reason": row.reason, "attempt": row.attempt}
    row.state, row.reason, row.attempt = Settlement.State.INSTRUCTED, "", row.attempt + 1
    row.save(update_fields=["state", "reason", "attempt"])
    after = {"state": row.state, "attempt": row.attempt}
    audit.write("settlement_instructed_again", actor=by, obj=row, before=before, after=after, reason=said, now=now)
    if not Settlement.objects.filter(state=Settlement.State.FAILED, asset=row.asset).exists():
        incidents.close(incidents.SETTLEMENT_FAILED, asset=row.asset, now=now)
    return row
