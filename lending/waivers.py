"""Waivers: what a prepayment cost, given up by two persons; one asks, another agrees."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from lending import corrections, notices, replays
from lending.corrections import CORRECTED, WAIVER, UnableToCorrect
from lending.engine import figures
from lending.models import Approval, Correction, Loan, Repayment, User
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
    again = "something is asked about this payment already"
    return corrections.ask_about(
        payment, WAIVER, lambda loan: _check(payment, loan), again=again, reason=reason, maker=maker, now=now
    )


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
    key, payment = f"waived:{approval.public_id}", corrections.payment_of(approval)
    row, cost, _ = corrections.put_right(
        approval,
        payment,
        _check,
        kind=Correction.Kind.WAIVER,
        cause=Correction.Cause.WAIVED,
        key=key,
        said="make-whole was waived",
        event="make_whole_waived",
        now=now,
    )
    loan = row.loan
    what, paid_at = figures.amount(cost, loan.asset.code), f"{payment.received_at:%d %b %Y %H:%M} UTC"
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
