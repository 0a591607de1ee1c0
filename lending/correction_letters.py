"""What a client is told of a loan whose past was put right."""

from collections.abc import Sequence
from decimal import Decimal

from lending.engine import money
from lending.models import Correction, Loan, LoanState, Obligation, Repayment
from lending.notices import Letter


def taken_back(row: Correction, payment: Repayment, again: Sequence[Obligation], *, key: str) -> Letter:
    """Return what a client is told of a payment that was taken back, and of what is asked for again."""
    loan = row.loan
    what = stated(loan, payment.amount)
    where = (
        "The transfer that brought it came back."
        if row.cause == Correction.Cause.BOUNCED
        else "It had been booked wrongly; its money stands in your free balance."
    )
    lines = [f"Your payment of {what} of {row.effective_at:%d %b %Y %H:%M} UTC was taken back. {where}"]
    if loan.state in (LoanState.WORKOUT, LoanState.WRITTEN_OFF):
        lines.append("What it had paid is unpaid again, with what the sale of your collateral left unpaid.")
    else:
        lines.append("Everything since is as if it had not been made: interest, and what later payments were for.")
    for asked in again:
        with money.exact():
            missing = asked.asks - asked.paid
        lines.append(
            f"Open again: {stated(loan, missing)}, {asked.get_kind_display()} due on {asked.due_at:%d %b %Y}. "
            f"Not paid by {asked.default_at:%d %b %Y %H:%M} UTC, the loan is in default."
        )
    return Letter(
        client=loan.client,
        kind="payment_taken_back",
        subject=f"Your payment of {what} was taken back",
        body="\n".join(lines),
        key=key,
        margin_account=loan.margin_account,
    )


def stated(loan: Loan, amount: Decimal) -> str:
    """Return an amount of a loan as a letter says it."""
    return f"{money.quantize_up(amount, loan.asset.decimals):,f} {loan.asset.code}"
