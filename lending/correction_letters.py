"""What a client is told of a loan whose past was put right."""

from collections.abc import Sequence

from lending.engine import figures, money
from lending.models import LOSS_OPEN, Correction, Obligation, Repayment
from lending.notices import Letter


def taken_back(row: Correction, payment: Repayment, again: Sequence[Obligation], *, key: str) -> Letter:
    """Return what a client is told of a payment that was taken back, and of what is asked for again."""
    loan = row.loan
    what = figures.amount(payment.amount, loan.asset.code)
    lines = [f"Your payment of {what} of {row.effective_at:%d %b %Y %H:%M} UTC was taken back. {why(row.cause)}"]
    if loan.state in LOSS_OPEN:
        lines.append("What it had paid is unpaid again, with what the sale of your collateral left unpaid.")
    else:
        lines.append("Everything since is as if it had not been made: interest, and what later payments were for.")
    for asked in again:
        with money.exact():
            missing = asked.asks - asked.paid
        due = f"{asked.get_kind_display()} due on {asked.due_at:%d %b %Y}"
        lines.append(
            f"Open again: {figures.amount(missing, loan.asset.code)}, {due}. "
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


def why(cause: Correction.Cause | str) -> str:
    """Return why something that was paid is taken back, and where its money is."""
    if cause == Correction.Cause.BOUNCED:
        return "The transfer that brought it came back."
    return "It had been booked wrongly; its money stands in your free balance."
