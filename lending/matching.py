"""
Deposits that nobody could be found for: two persons say whose they are, and they count from when they arrived.

Or they say that a deposit brings what was taken over from another system: that stands on the books since the takeover,
as a break with the custodian until it comes, and is not put there a second time.
"""

from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from lending import access, approvals, arrivals, audit, breaks, ledger, loans, margin_accounts, reasons
from lending.breaks import TAKEN_OVER
from lending.engine import entries, money
from lending.models import (
    LOSS_OPEN,
    Approval,
    Asset,
    Deposit,
    DepositAddress,
    Entry,
    Loan,
    LoanState,
    Role,
    Takeover,
    User,
)

KIND = "match_deposit"
MATCHERS = frozenset({Role.OPERATIONS})
# A loan that waits for collateral can be sent some, and one with a loss be paid; nothing is owed to the others.
_OPEN = Q(state__in=(*loans.OWING, LoanState.COLLATERAL_PENDING))
_PAYABLE = (*loans.OWING, *LOSS_OPEN)
_Purpose = DepositAddress.Purpose


class UnableToMatch(Exception):
    """A deposit can not be given to a loan; the message says why."""


def candidates(deposit: Deposit) -> QuerySet[Loan]:
    """Return the loans that a deposit may have been meant for."""
    broken = Q(state__in=LOSS_OPEN, asset=deposit.asset)
    found = Loan.objects.filter(_OPEN | broken).select_related("client", "asset", "product")
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
    said = reasons.kept(reason, UnableToMatch, missing="say how it is known whose it is")
    if waiting(deposit, now=now) is not None:
        raise UnableToMatch("it was asked for already")
    payload = {
        "deposit": str(deposit.public_id),
        "loan": str(loan.public_id),
        "asset": deposit.asset.code,
        "quantity": money.text(deposit.quantity),
        "as": str(purpose_of(deposit, loan)),
        "reason": said,
    }
    return approvals.request(KIND, payload, maker=maker, now=now, client=loan.client)


def ask_taken_over(deposit: Deposit, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to agree that an unmatched deposit brings what stands on the books since a takeover.

    Raises
    ------
    UnableToMatch
        If it is matched, is more than what was taken over and has not come, no reason is given, or it was asked for.
    lending.access.UnableToAccess
        If the maker is not of operations.
    """
    access.require_role(maker, *MATCHERS)
    _check_taken_over(deposit)
    said = reasons.kept(reason, UnableToMatch, missing="say how it is known what it brings")
    if waiting(deposit, now=now) is not None:
        raise UnableToMatch("it was asked for already")
    payload = {
        "deposit": str(deposit.public_id),
        "asset": deposit.asset.code,
        "quantity": money.text(deposit.quantity),
        "reason": said,
    }
    return approvals.request(TAKEN_OVER, payload, maker=maker, now=now)


@transaction.atomic
def carry_out_taken_over(approval: Approval, *, now: datetime) -> Deposit:
    """
    Take a deposit off the books again as two persons agreed: what it brings stands there since the takeover.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it was matched meanwhile, or more has come than was taken over.
    """
    rows = Deposit.objects.select_for_update(of=("self",)).select_related("asset")
    deposit = rows.get(public_id=approval.payload["deposit"])
    list(Takeover.objects.select_for_update().order_by("pk").values_list("pk"))  # two that come share what is to come
    try:
        _check_taken_over(deposit)
    except UnableToMatch as refused:
        raise approvals.UnableToApprove(str(refused)) from refused
    name = f"{deposit.custodian}:{deposit.custodian_ref}"
    booked = Entry.objects.get(idempotency_key=f"deposit:{name}")
    key, cause = f"{TAKEN_OVER}:{name}", "on the books since the takeover"
    at, actor = booked.effective_at, approval.checker
    ledger.reverse(booked, key=key, now=now, cause=cause, actor=actor, effective_at=at)
    deposit.state, deposit.credited_at = Deposit.State.CREDITED, now
    deposit.save(update_fields=["state", "credited_at"])
    facts = {"as": "what was taken over", "maker": approval.maker.email}
    audit.write("deposit_matched", actor=actor, obj=deposit, after=facts, reason=approval.payload["reason"], now=now)
    return deposit


def _check_taken_over(deposit: Deposit) -> None:
    if deposit.state != Deposit.State.UNMATCHED:
        raise UnableToMatch(f"the deposit is {deposit.get_state_display().lower()}")
    left = breaks.to_come(deposit.asset, deposit.custodian)
    if deposit.quantity > left:
        raise UnableToMatch(f"{money.text(left)} {deposit.asset.code} were taken over and have not come yet")


def waiting(deposit: Deposit, *, now: datetime) -> Approval | None:
    """Return the request about a deposit that nobody has decided yet."""
    found = Approval.objects.filter(
        kind__in=(KIND, TAKEN_OVER),
        state=Approval.State.REQUESTED,
        expires_at__gt=now,
        payload__deposit=str(deposit.public_id),
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
    arrivals.give(deposit, account, purpose, heading=heading, actor=checker or maker, now=now, loan=loan)
    audit.write(
        "deposit_matched",
        actor=checker or maker,
        obj=deposit,
        after={"loan": str(loan.public_id), "as": purpose, "maker": maker.email},
        reason=reason,
        now=now,
    )
    return deposit


def purpose_of(deposit: Deposit, loan: Loan) -> DepositAddress.Purpose:
    """Return what a deposit is for: what was lent pays the loan, anything else secures it."""
    pays = deposit.asset_id == loan.asset_id and loan.state in _PAYABLE
    return _Purpose.REPAYMENT if pays else _Purpose.COLLATERAL
