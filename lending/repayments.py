"""What reduces a loan: money that a borrower pays, proceeds of a sale, and the loss when neither is enough."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction
from django.db.models import Q

from lending import capitalisations, events, interest, ledger, loans, margin_accounts, obligations, prepayments, replays
from lending.engine import accounts, entries, money
from lending.engine.replay import Flow, Parts
from lending.engine.waterfall import Claims, Split, allocate
from lending.models import Approval, Asset, Correction, Entry, Loan, LoanState, MarginAccount, Pledge, Repayment, User

BACK_DATING_LIMIT = timedelta(hours=24)


class UnableToRepay(Exception):
    """A payment can not be applied to this loan; the message says why."""


class UnableToRealise(Exception):
    """A shortfall can not be booked; the message says why."""


@dataclass(frozen=True, slots=True)
class WaterfallResult:
    """Where the proceeds of a sale went, in the loan's asset."""

    fees: Decimal
    interest: Decimal
    principal: Decimal
    surplus: Decimal
    short: Decimal


@transaction.atomic
def record(
    loan: Loan,
    amount: Decimal,
    *,
    key: str,
    received_at: datetime,
    now: datetime,
    actor: User | None = None,
    asset: Asset | None = None,
    arrived_at: datetime | None = None,
    agreed: Approval | None = None,
) -> Repayment:
    """
    Pay a loan out of its client's free balance: fees, then interest to the second of receipt, then principal, with
    what it costs to pay that before its time.

    What is more than the payoff stays in the free balance and shows as the payment's surplus. The same key with the
    same amount pays once and returns the first payment. It also works while the account is frozen or in sale: adding
    money is never blocked.

    Parameters
    ----------
    amount : Decimal
        In the loan's asset, > 0, at most the client's free balance.
    received_at : datetime
        When the money arrived; interest stops there. Where interest or later payments are on the books already, they
        are worked out again and the differences posted. At most 24 hours back when a person records it alone; the
        custodian's own report of a deposit is evidence enough for more.
    asset : Asset, optional
        What was paid, when the caller knows it; anything but the loan's asset is refused.
    arrived_at : datetime, optional
        When it truly arrived, when that was before `received_at`: what a margin call's deadline is held against.
    agreed : Approval, optional
        What two persons have agreed to, of a payment dated further back; it may also reach a loan that is repaid.

    Raises
    ------
    UnableToRepay
        If the amount is not positive, too fine, or more than what is free; the asset is not the loan's; nothing is
        owed; the receipt is in the future or too old; or the key was used otherwise.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    loan = loans.locked(loan)
    if first := _repeated(loan, amount, key=key, kind=Repayment.Kind.CASH):
        return first
    capitalisations.catch_up(loan, until=min(received_at, now), now=now)
    check(loan, amount, asset, received_at, by_hand=actor is not None, agreed=agreed is not None, now=now)
    flow = prepayments.flow(loan, amount, at=received_at, arrived_at=arrived_at)
    in_default = loan.state in (LoanState.DEFAULTED, LoanState.LIQUIDATING)
    before_default = received_at < interest.default_at(loan) <= now or obligations.broken_after(loan, received_at)
    if (in_default and before_default) or (loan.accrued_at and received_at < loan.accrued_at):
        payment = _late(account, loan, flow, key, agreed, actor, arrived_at, now)
    else:
        interest.catch_up(loan, until=received_at, reason=key, now=now)
        split = prepayments.serve(loan, flow, _claims(loan))
        if split.surplus == amount:
            raise UnableToRepay(_too_little(amount, loan) if split.short else f"nothing is owed on {loan}")
        heading = interest.heading(loan, key, received_at)
        draft = entries.repayment(heading, asset=loan.asset.code, paid=replays.dues(split))
        entry = ledger.post(draft, now=now, actor=actor)
        payment = _reduce(
            account,
            loan,
            split,
            flow,
            kind=Repayment.Kind.CASH,
            key=key,
            arrived_at=arrived_at,
            entry=entry,
            now=now,
        )
    if loan.state in loans.OWING and not loans.owes(loan) and not loans.stays_open(loan):
        loans.transition(loan, LoanState.REPAID, actor=actor, cause=f"repayment {key}", now=now)
    return payment


def _late(
    account: MarginAccount,
    loan: Loan,
    flow: Flow,
    key: str,
    agreed: Approval | None,
    actor: User | None,
    arrived_at: datetime | None,
    now: datetime,
) -> Repayment:
    """Record a payment that counts before what is on the books already, and work out anew all that followed."""
    free = ledger.owed(accounts.client_free(loan.asset.code, loan.client_id))
    if loan.accrued_at and loan.accrued_at < flow.at:
        interest.catch_up(loan, until=flow.at, reason=key, now=now)
    wanted = replays.plan(loan, added=flow)
    cause = "a payment recorded late"
    try:
        booked = replays.book(loan, wanted, key=key, cause=cause, now=now, actor=actor, client_free=free)
    except replays.UnableToSettle as refusal:
        raise UnableToRepay(str(refusal)) from refusal
    if booked.added is None:
        raise UnableToRepay("the payment itself was not posted")
    payment = _written(
        account,
        loan,
        wanted.added,
        flow,
        kind=Repayment.Kind.CASH,
        key=key,
        arrived_at=arrived_at,
        entry=booked.added,
        now=now,
    )
    why = agreed.payload["reason"] if agreed else "recorded after interest or a later payment was on the books"
    replays.remember(
        booked,
        loan,
        kind=Correction.Kind.PAYMENT,
        cause=Correction.Cause.LATE,
        reason=why,
        effective_at=flow.at,
        now=now,
        payment=payment,
        agreed=agreed,
    )
    if wanted.heals:
        loans.undo_default(loan, default_from=wanted.default_from, actor=actor, now=now)
    obligations.recount(loan, replays.received(loan), healed=wanted.heals, now=now)
    return payment


@transaction.atomic
def apply(proceeds: Decimal, loan: Loan, *, key: str, cause: str, now: datetime) -> WaterfallResult:
    """
    Apply what a sale of collateral brought, net of its fee, to the loan: fees, interest, principal.

    The proceeds stand on the account's sale proceeds, in the loan's asset. A surplus is the client's at once. Where
    the loan is already paid the whole amount is surplus. The same key applies once.

    Raises
    ------
    UnableToRepay
        If the amount is not positive, is more than the sale proceeds on the account, or the key was used otherwise.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    loan = loans.locked(loan)
    if first := _repeated(loan, proceeds, key=key, kind=Repayment.Kind.LIQUIDATION):
        return _result(first, loan, now)
    if not money.is_positive(proceeds):
        raise UnableToRepay(f"proceeds of {proceeds} {loan.asset.code} are not above zero")
    source = accounts.sale_proceeds(loan.asset.code, loan.client_id, account.pk)
    standing = ledger.owed(source)
    if proceeds > standing:
        on_account = f"{money.text(standing)} {loan.asset.code} of sale proceeds stand on the account"
        raise UnableToRepay(f"{on_account}, not {money.text(proceeds)}")
    capitalisations.catch_up(loan, until=now, now=now)
    interest.catch_up(loan, until=now, reason=key, now=now)
    split = allocate(proceeds, _claims(loan))
    draft = entries.waterfall(
        interest.heading(loan, key, now, cause=cause),
        asset=loan.asset.code,
        paid=replays.dues(split),
        margin_account_id=account.pk,
        surplus=split.surplus,
    )
    entry = ledger.post(draft, now=now)
    payment = _reduce(
        account,
        loan,
        split,
        Flow(now, proceeds),
        kind=Repayment.Kind.LIQUIDATION,
        key=key,
        entry=entry,
        now=now,
    )
    if not split.short and loan.state in loans.OWING:
        loans.transition(loan, LoanState.REPAID, actor=None, cause=f"{cause}: sale {key}", now=now)
    return _result(payment, loan, now)


@transaction.atomic
def shortfall(loan: Loan, *, key: str, cause: str, now: datetime, dust: Collection[int] = ()) -> Decimal:
    """
    Book what the collateral did not cover as a deficiency claim and, at once, as a credit loss; return the amount.

    The loan moves to WORKOUT. Zero when nothing is owed; a second call does nothing. `dust` are the keys of pledges
    of which risk knows that what is not held is worth less than can be paid: they stay pledged.

    Raises
    ------
    UnableToRealise
        If collateral, held or not, or proceeds that were not applied are left, or the loan is not in default or sale.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    loan = loans.locked(loan)
    if loan.state == LoanState.WORKOUT or not loans.owes(loan):
        return money.ZERO
    if loan.state not in (LoanState.DEFAULTED, LoanState.LIQUIDATING):
        raise UnableToRealise(f"{loan} is {loan.get_state_display().lower()}: only a sale or a default ends in a loss")
    worth_selling = Q(quantity__gt=0) & ~Q(pk__in=dust)
    left = Pledge.objects.filter(worth_selling | Q(held_quantity__gt=0), margin_account=account)
    if left.exists():
        raise UnableToRealise(f"collateral of {account} is left to sell")
    if ledger.balance(accounts.sale_proceeds(loan.asset.code, loan.client_id, account.pk)):
        raise UnableToRealise(f"sale proceeds of {account} are not applied yet")
    interest.catch_up(loan, until=now, reason=key, now=now)
    unpaid = entries.Dues(fees=loan.fees_due, interest=loan.interest_due, principal=loan.principal_outstanding)
    draft = entries.shortfall(interest.heading(loan, key, now, cause=cause), asset=loan.asset.code, unpaid=unpaid)
    ledger.post(draft, now=now)
    loan.fees_due = loan.interest_due = loan.principal_outstanding = money.ZERO
    loan.save(update_fields=["fees_due", "interest_due", "principal_outstanding"])
    margin_accounts.touch(account)
    if loan.state == LoanState.DEFAULTED:
        loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause=cause, now=now)
    loans.transition(loan, LoanState.WORKOUT, actor=None, cause=cause, now=now)
    return unpaid.total


def check(
    loan: Loan,
    amount: Decimal,
    asset: Asset | None,
    received_at: datetime,
    *,
    by_hand: bool,
    agreed: bool,
    now: datetime,
) -> None:
    """Check a payment as `record` says; `agreed` is one that two persons agree to."""
    if asset is not None and asset.pk != loan.asset_id:
        raise UnableToRepay(f"this loan is in {loan.asset.code}; a payment in {asset.code} can not repay it")
    check_amount(loan, amount)
    if loan.state not in loans.OWING and not (agreed and loan.state == LoanState.REPAID):
        raise UnableToRepay(f"nothing is owed on {loan}: it is {loan.get_state_display().lower()}")
    if received_at > now:
        raise UnableToRepay(f"a payment can not have arrived in the future, at {received_at:%Y-%m-%d %H:%M:%S} UTC")
    if loan.start_at and received_at < loan.start_at:
        if loan.began_date is not None:
            taken_over = f"{loan} was taken over at {loan.start_at:%Y-%m-%d %H:%M} UTC"
            raise UnableToRepay(f"{taken_over}: what was paid before belongs in the books that it came from")
        raise UnableToRepay("a payment can not have arrived before the loan was funded")
    if by_hand and not agreed and now - received_at > BACK_DATING_LIMIT:
        raise UnableToRepay("a payment dated more than 24 hours back needs a back-dated entry by two persons")
    check_free(loan, amount)


def check_amount(loan: Loan, amount: Decimal) -> None:
    """Check that an amount is above zero and none that the loan's asset can not be paid in."""
    code = loan.asset.code
    if not money.is_positive(amount):
        raise UnableToRepay(f"{amount} {code} is not an amount above zero")
    if amount != money.quantize_down(amount, loan.asset.decimals):
        raise UnableToRepay(f"{money.text(amount)} is finer than {code} can be paid ({loan.asset.decimals} decimals)")


def check_free(loan: Loan, amount: Decimal) -> None:
    """Check that the loan's client has an amount of its asset free."""
    code = loan.asset.code
    free = ledger.owed(accounts.client_free(code, loan.client_id))
    if amount > free:
        raise UnableToRepay(f"{loan.client} has {money.text(free)} {code} free, not {money.text(amount)}")


def _reduce(
    account: MarginAccount,
    loan: Loan,
    split: Split,
    flow: Flow,
    *,
    kind: str,
    key: str,
    entry: Entry,
    now: datetime,
    arrived_at: datetime | None = None,
) -> Repayment:
    with money.exact():
        loan.fees_due -= split.fees
        loan.interest_due -= split.interest
        loan.principal_outstanding -= split.principal
    loan.save(update_fields=["fees_due", "interest_due", "principal_outstanding"])
    with money.exact():
        obligations.pay(loan, flow.amount - split.surplus, at=flow.at)
    return _written(
        account,
        loan,
        split,
        flow,
        kind=kind,
        key=key,
        entry=entry,
        now=now,
        arrived_at=arrived_at,
    )


def _written(
    account: MarginAccount,
    loan: Loan,
    split: Split | Parts,
    flow: Flow,
    *,
    kind: str,
    key: str,
    entry: Entry,
    now: datetime,
    arrived_at: datetime | None = None,
) -> Repayment:
    margin_accounts.touch(account)
    events.emit(
        "loans",
        "repayment",
        {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(flow.amount), "kind": kind},
        client_id=loan.client_id,
        now=now,
    )
    return Repayment.objects.create(
        key=key,
        client_id=loan.client_id,
        loan=loan,
        kind=kind,
        amount=flow.amount,
        **{part: getattr(split, part) for part in replays.PARTS},
        prepays=flow.prepays,
        received_at=flow.at,
        arrived_at=arrived_at if arrived_at != flow.at else None,
        recorded_at=now,
        entry=entry,
    )


def _repeated(loan: Loan, amount: Decimal, *, key: str, kind: str) -> Repayment | None:
    first = Repayment.objects.filter(key=key).first()
    if first is None:
        return None
    if (first.loan_id, first.amount, first.kind) != (loan.pk, amount, kind):
        raise UnableToRepay(f"the key {key} was used for another payment, of {money.text(first.amount)}")
    return first


def _too_little(amount: Decimal, loan: Loan) -> str:
    return f"{money.text(amount)} {loan.asset.code} pays no principal together with what it costs to pay that early"


def _claims(loan: Loan) -> Claims:
    return Claims(fees=loan.fees_due, interest=loan.interest_due, principal=loan.principal_outstanding)


def _result(payment: Repayment, loan: Loan, now: datetime) -> WaterfallResult:
    return WaterfallResult(
        fees=payment.fees,
        interest=payment.interest,
        principal=payment.principal,
        surplus=payment.surplus,
        short=interest.payoff(loan, now=now).total,
    )
