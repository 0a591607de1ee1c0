"""
The transfer behind a payment: what else it paid of a margin account's loans, and how it leaves the books again.

Its payments are named by it, and are found again together.
"""

from datetime import datetime

from lending import ledger
from lending.engine import accounts, money
from lending.models import Correction, Entry, Loan, Posting, Repayment, User

NONE = "it was paid out of the free balance: no transfer of its own brought it"


class UnableToGiveUp(Exception):
    """A transfer can not be taken out of the books; the message says why."""


def key_of_rest(key: str, loan: Loan) -> str:
    """Return the key of the payment that what another one left over makes to a loan."""
    return f"{key}:{loan.public_id}"


def together(payment: Repayment) -> list[Repayment]:
    """
    Return the payments that one transfer made and that were not taken back, in the order in which they were made.

    As a rule that is the payment alone; none if it was taken back.
    """
    first = payment.key.removesuffix(f":{payment.loan.public_id}")
    beside = Loan.objects.filter(margin_account=payment.loan.margin_account_id)
    keys = [first, *(key_of_rest(first, loan) for loan in beside)]
    rows = Repayment.objects.filter(key__in=keys).exclude(corrections__kind=Correction.Kind.REVERSAL)
    found = list(rows.select_related("loan__asset", "loan__client", "entry").order_by("pk"))
    return found if any(row.key == first for row in found) else [row for row in found if row == payment]


def of(key: str) -> Entry | None:
    """Return the entry of the transfer that brought a payment or a recovery, by that one's key; None without one."""
    name, _, rest = key.partition(":")
    brought = name in ("repayment", "recovery")
    return Entry.objects.filter(idempotency_key=f"deposit:{rest}").first() if brought else None


def give_up(transfer: Entry, loan: Loan, *, actor: User | None, now: datetime) -> None:
    """
    Take a transfer that came back out of the books, once what it paid of a locked loan was taken back.

    Raises
    ------
    UnableToGiveUp
        If its money is not in the client's free balance any more.
    """
    free = ledger.owed(accounts.client_free(loan.asset.code, loan.client_id))
    amount = max(Posting.objects.filter(entry=transfer).values_list("amount", flat=True))
    if free < amount:
        said = f"{money.text(free)} {loan.asset.code} of the transfer's {money.text(amount)}"
        raise UnableToGiveUp(f"only {said} are left in the client's free balance")
    # It may have come for nobody, or been held back: what gave it to this client is undone before it goes.
    given = [transfer.idempotency_key.replace("deposit:", f"{step}:", 1) for step in ("match", "let_in")]
    for entry in Entry.objects.filter(idempotency_key__in=given):
        ledger.reverse(entry, key=f"bounced:{entry.idempotency_key}", cause="bounced", actor=actor, now=now)
    ledger.reverse(transfer, key=f"bounced:{transfer.idempotency_key}", cause="bounced", actor=actor, now=now)
