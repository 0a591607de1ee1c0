"""Deposits that nobody could be found for: two persons say whose they are, and they count from when they arrived."""

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet

from lending import access, approvals, arrivals, audit, ledger, loans, margin_accounts
from lending.engine import entries, money
from lending.models import Approval, Asset, Deposit, DepositAddress, Loan, LoanState, Role, User

KIND = "match_deposit"
MATCHERS = frozenset({Role.OPERATIONS})
# A loan that waits for collateral can be sent some, and one in recovery be paid; nothing is owed to the others.
_OPEN = (*loans.OWING, LoanState.COLLATERAL_PENDING)
_Purpose = DepositAddress.Purpose


class UnableToMatch(Exception):
    """A deposit can not be given to a loan; the message says why."""


def candidates(deposit: Deposit) -> QuerySet[Loan]:
    """Return the loans that a deposit may have been meant for."""
    found = Loan.objects.filter(state__in=_OPEN).select_related("client", "asset", "product")
    if deposit.asset.kind == Asset.Kind.FIAT:
        found = found.filter(asset=deposit.asset)
    return found.order_by("client__name", "pk")


def ask(deposit: Deposit, loan: Loan, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to give an unmatched deposit to a loan.

    Raises
    ------
    UnableToMatch
        If it is matched, the loan can not take it, no reason is given, or it was asked for already.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    access.require_role(maker, *MATCHERS)
    if deposit.state != Deposit.State.UNMATCHED:
        raise UnableToMatch(f"the deposit is {deposit.get_state_display().lower()}")
    if not candidates(deposit).filter(pk=loan.pk).exists():
        raise UnableToMatch(f"{loan} can not take {deposit.asset.code}")
    said = reason.strip()
    if not said:
        raise UnableToMatch("say how it is known whose it is")
    if waiting(deposit, now=now) is not None:
        raise UnableToMatch("it was asked for already")
    payload = {
        "deposit": str(deposit.public_id),
        "loan": str(loan.public_id),
        "asset": deposit.asset.code,
        "quantity": money.text(deposit.quantity),
        "as": str(purpose_of(deposit, loan)),
        "reason": said[:400],
    }
    return approvals.request(KIND, payload, maker=maker, now=now, client=loan.client)


def waiting(deposit: Deposit, *, now: datetime) -> Approval | None:
    """Return the request about a deposit that nobody has decided yet."""
    found = Approval.objects.filter(
        kind=KIND, state=Approval.State.REQUESTED, expires_at__gt=now, payload__deposit=str(deposit.public_id)
    )
    return found.select_related("maker", "client").first()


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Deposit:
    """
    Give a deposit to its client and put it to its purpose, dated by its arrival: no deadline since makes it late.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it was matched meanwhile, or the loan can not take it any more.
    """
    asked = approval.payload
    deposit = Deposit.objects.get(public_id=asked["deposit"])
    loan = Loan.objects.get(public_id=asked["loan"])
    try:
        return give(
            deposit,
            loan,
            _Purpose(asked["as"]),
            reason=asked["reason"],
            maker=approval.maker,
            checker=approval.checker,
            now=now,
        )
    except UnableToMatch as refused:
        raise approvals.UnableToApprove(str(refused)) from refused


@transaction.atomic
def give(
    deposit: Deposit,
    loan: Loan,
    purpose: DepositAddress.Purpose,
    *,
    reason: str,
    maker: User,
    checker: User | None,
    now: datetime,
) -> Deposit:
    """
    Give a deposit that nobody claims to a loan's client and put it to its purpose, for a caller who may decide it.

    Raises
    ------
    UnableToMatch
        If it is matched by now, or the loan can not take it.
    """
    account = margin_accounts.lock(loan.margin_account_id)
    loan = Loan.objects.select_related("asset", "client").get(pk=loan.pk)
    deposit = Deposit.objects.select_for_update(of=("self",)).select_related("asset").get(pk=deposit.pk)
    if deposit.state != Deposit.State.UNMATCHED:
        raise UnableToMatch(f"the deposit is {deposit.get_state_display().lower()} by now")
    if not candidates(deposit).filter(pk=loan.pk).exists():
        raise UnableToMatch(f"{loan} can not take {deposit.asset.code}")
    heading = entries.Heading(
        key=f"match:{deposit.custodian}:{deposit.custodian_ref}",
        effective_at=deposit.confirmed_at or now,
        book_id=loan.book_id,
        client_id=loan.client_id,
    )
    draft = entries.matched_deposit(heading, asset=deposit.asset.code, quantity=deposit.quantity)
    ledger.post(draft, now=now, actor=checker or maker)
    deposit.client, deposit.state, deposit.credited_at = loan.client, Deposit.State.CREDITED, now
    deposit.save(update_fields=["client", "state", "credited_at"])
    audit.write(
        "deposit_matched",
        actor=checker or maker,
        obj=deposit,
        after={"loan": str(loan.public_id), "as": purpose, "maker": maker.email},
        reason=reason,
        now=now,
    )
    arrivals.news(deposit.state, deposit, now).save()
    arrivals.use(deposit, account, purpose, now=now)
    return deposit


def purpose_of(deposit: Deposit, loan: Loan) -> DepositAddress.Purpose:
    """Return what a deposit is for: what was lent pays the loan, anything else secures it."""
    pays = deposit.asset_id == loan.asset_id and loan.state in loans.OWING
    return _Purpose.REPAYMENT if pays else _Purpose.COLLATERAL
