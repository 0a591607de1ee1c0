"""What a loan was charged beside its interest, and what it costs that a line is not drawn."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from lending import interest
from lending.engine import accounts
from lending.engine.chart import AccountKind, Category
from lending.engine.replay import Flow, Unused
from lending.models import Loan, LoanState, Obligation, Posting


def charged(loan: Loan, not_late: Sequence[Obligation]) -> Iterable[Flow]:
    """
    Return what was charged to a loan beside its interest, as the ledger has it, but for what was taken back.

    The fee on what is not drawn is not among them: it is worked out like interest.
    """
    account = accounts.of_loan(AccountKind.FEES_RECEIVABLE, loan.asset.code, loan.client_id, loan.pk)
    kinds = ("fee", "late_fee", "loan_taken_over")
    found = Posting.objects.filter(account__key=account.text(), entry__kind__in=kinds, entry__reversed_by=None)
    found = found.exclude(entry__in=[row.late_fee_entry_id for row in not_late])
    found = found.exclude(entry__postings__category=Category.UNUSED_FEE)
    rows = found.order_by("entry__effective_at", "pk")
    for at, amount in rows.values_list("entry__effective_at", "amount"):
        yield Flow(at, amount)


def unused(loan: Loan, *, default_from: datetime) -> Unused | None:
    """
    Return what it costs that a line is not drawn, which is in default from an instant on; None for nothing.

    One that was paid off under notice costs nothing from then on.
    """
    if not loan.unused_fee:
        return None
    ends = [interest.maturity_at(loan), default_from]
    if loan.state == LoanState.REPAID and loan.accrued_at:
        ends.append(loan.accrued_at)
    return Unused(loan.principal, loan.unused_fee, min(ends))
