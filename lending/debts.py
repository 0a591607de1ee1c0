"""What loans owed over time: for charts."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal

from lending.engine import money
from lending.interest import History, due_at, histories, principal_steps
from lending.models import Loan


def owed_over(loans: Sequence[Loan], times: Sequence[datetime]) -> dict[int, list[Decimal]]:
    """
    Return what each loan owed at some instants up to now, by loan key, in the loan's asset.

    Principal and the interest that was earned and not yet paid, as the payments are known today; without fees.
    """
    known = histories(loan.pk for loan in loans)
    return {loan.pk: [_at(loan, known[loan.pk], at) for at in times] for loan in loans}


def _at(loan: Loan, known: History, at: datetime) -> Decimal:
    if loan.start_at is None or at < loan.start_at:
        return money.ZERO
    until = [row for row in known.paid if row.at <= at]
    with money.exact():
        return principal_steps(loan, History(until))[-1].value + max(due_at(loan, known, at), money.ZERO)
