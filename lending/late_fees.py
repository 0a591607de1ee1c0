"""Late fees: charged once for what is unpaid when its grace is over, and taken back if it was paid in time."""

from datetime import UTC, datetime
from decimal import Decimal

from lending import interest, ledger
from lending.engine import entries, money
from lending.engine.chart import Category
from lending.models import WHOLE, Loan, Obligation, User


def of(loan: Loan, row: Obligation) -> Decimal:
    """Return what it costs that an obligation is unpaid after its grace, rounded up; nothing for what ends a loan."""
    if row.kind in WHOLE:
        return money.ZERO
    with money.exact():
        return money.quantize_up(loan.late_fee * (row.asks - row.paid), loan.asset.decimals)


def charge(loan: Loan, row: Obligation, *, grace_over_at: datetime, now: datetime) -> None:
    """
    Charge the late fee of an obligation of a locked loan, once; it is due like any fee from then on.

    The caller saves the row. One whose payment was taken back has its grace again, and its fee once that is over.
    """
    fee = of(loan, row)
    if not fee or row.late_fee:
        return
    over = f"{grace_over_at.astimezone(UTC):%Y-%m-%dT%H%M%S.%f}"
    heading = interest.heading(loan, f"late_fee:{loan.public_id}:{row.due_date}:{over}", now)
    draft = entries.fee(heading, asset=loan.asset.code, amount=fee, category=Category.LATE_FEE)
    row.late_fee_entry, row.late_fee = ledger.post(draft, now=now), fee
    with money.exact():
        loan.fees_due += fee
    loan.save(update_fields=["fees_due"])


def give_back(row: Obligation, *, now: datetime, actor: User | None) -> None:
    """Reverse the late fee of an obligation that was paid in time, as of when it was charged."""
    entry = row.late_fee_entry
    if entry is None:
        return
    said, at = "it was paid in time", entry.effective_at
    ledger.reverse(entry, key=ledger.reversal_key(entry), now=now, cause=said, actor=actor, effective_at=at)
    row.late_fee, row.late_fee_entry = money.ZERO, None
    row.save(update_fields=["late_fee", "late_fee_entry"])
