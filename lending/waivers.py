"""Waivers: what a prepayment cost, given up by two persons; one asks, another agrees."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from lending import approvals, corrections, events, ledger, loans, margin_accounts, notices, obligations, replays
from lending.corrections import CORRECTED, WAIVER, UnableToCorrect
from lending.engine import accounts, money
from lending.models import Approval, Correction, Loan, LoanState, Repayment, User
from lending.notices import Letter


def ask(payment: Repayment, *, reason: str, maker: User, now: datetime) -> Approval:
    """
    Ask a second person to waive what a payment cost that paid principal before its time.

    What it cost pays what else is owed instead, and what is left of it is the client's again.

    Raises
    ------
    UnableToCorrect
        If the payment cost nothing, it was waived already, the loan is past correcting, or nothing is said of why.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    loan = payment.loan
    corrections.check_maker(loan, maker)
    said = corrections.said_of(reason)
    cost = _check(payment, loan)
    payload = {"loan": str(loan.public_id), "payment": payment.key, "reason": said}
    payload |= {"asset": loan.asset.code, "amount": money.text(cost)}
    if any(row.payload.get("payment") == payment.key for row in corrections.waiting(loan, now=now)):
        raise UnableToCorrect("something is asked about this payment already")
    return approvals.request(WAIVER, payload, maker=maker, now=now, client=loan.client)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Correction:
    """
    Waive what a payment cost that paid principal before its time, as two persons agreed.

    Its income is posted back, and everything that followed is worked out again: interest above all.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it can not be waived any more, because of what happened meanwhile.
    """
    payment = Repayment.objects.select_related("loan", "entry").get(key=approval.payload["payment"])
    account = margin_accounts.lock(payment.loan.margin_account_id)
    loan = loans.locked(payment.loan)
    free = ledger.owed(accounts.client_free(loan.asset.code, loan.client_id))
    key, cause = f"waived:{approval.public_id}", "make-whole was waived"
    try:
        cost = _check(payment, loan)
        wanted = corrections.replanned(loan, freed=payment)
        booked = replays.book(loan, wanted, key=key, cause=cause, now=now, actor=approval.checker, client_free=free)
    except (UnableToCorrect, replays.UnableToSettle) as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    row = Correction(
        client_id=loan.client_id,
        loan=loan,
        kind=Correction.Kind.WAIVER,
        cause=Correction.Cause.WAIVED,
        repayment=payment,
        reason=approval.payload["reason"],
        maker=approval.maker,
        checker=approval.checker,
        effective_at=payment.received_at,
        recorded_at=now,
    )
    replays.remember(booked, row)
    margin_accounts.touch(account)
    facts = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(cost)}
    events.emit("loans", "make_whole_waived", facts, client_id=loan.client_id, now=now)
    if loan.state in loans.OWING and not loans.owes(loan):
        loans.transition(loan, LoanState.REPAID, actor=approval.checker, cause=cause, now=now)
    obligations.recount(loan, replays.received(loan), now=now)
    what, paid_at = corrections.stated(loan, cost), f"{payment.received_at:%d %b %Y %H:%M} UTC"
    body = (
        f"{what} that your payment of {paid_at} cost for paying principal before its time was waived. It pays what "
        "else you owe on this loan, and what is left of it stands in your free balance."
    )
    letter = Letter(
        client=loan.client, kind="make_whole_waived", subject=f"{what} was waived", body=body, key=key,
        margin_account=loan.margin_account,
    )  # fmt: skip
    notices.enqueue([letter], now=now)
    return row


def _check(payment: Repayment, loan: Loan) -> Decimal:
    """Check that what a payment cost can be waived, and return how much it is."""
    if loan.state not in CORRECTED:
        raise UnableToCorrect(f"{loan} is {loan.get_state_display().lower()}: its past is closed")
    made = set(payment.corrections.values_list("kind", flat=True))
    if Correction.Kind.REVERSAL in made:
        raise UnableToCorrect("it was taken back already")
    if Correction.Kind.WAIVER in made:
        raise UnableToCorrect("it was waived already")
    cost = replays.parts_now([payment])[payment.pk].make_whole
    if not cost:
        raise UnableToCorrect("this payment cost nothing that could be waived")
    return cost
