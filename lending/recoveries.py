"""Recoveries that were none: what was paid on a loss is taken back by two persons, and is unpaid again."""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from lending import (
    approvals,
    correction_letters,
    corrections,
    events,
    ledger,
    loans,
    margin_accounts,
    notices,
    shared_transfers,
    workouts,
)
from lending.corrections import UnableToCorrect
from lending.engine import figures, money
from lending.models import LOSS_TAKEN, Approval, Correction, Entry, Loan, User
from lending.notices import Letter

KIND = "take_back_recovery"


def waiting(loan: Loan, *, now: datetime) -> list[Approval]:
    """Return the requests to take back what was recovered of a loan that nobody has decided yet."""
    return [row for row in approvals.waiting(KIND, now=now) if row.payload["loan"] == str(loan.public_id)]


def ask(
    loan: Loan, entry_id: int, *, cause: Correction.Cause | str, reason: str, maker: User, now: datetime
) -> Approval:
    """
    Ask a second person to take back what was recovered of a loan's loss by an entry.

    Its money is in the client's free balance afterwards; if the transfer that brought it came back, it leaves that too.

    Raises
    ------
    lending.corrections.UnableToCorrect
        If the entry is no recovery of the loan that stands, the loan is closed, the cause is none, nothing is said of
        how it is known, or it was asked for already.
    lending.access.UnableToAccess
        If the maker lacks the role, or has nothing to do with the client.
    """
    corrections.check_maker(loan, maker)
    said = corrections.said_of(reason)
    entry, amount = _standing(loan, entry_id)
    _check(loan, entry, cause)
    if any(row.payload["recovery"] == entry.idempotency_key for row in waiting(loan, now=now)):
        raise UnableToCorrect("it was asked for already")
    payload = {
        "loan": str(loan.public_id),
        "recovery": entry.idempotency_key,
        "asset": loan.asset.code,
        "amount": money.text(amount),
        "cause": str(cause),
        "reason": said,
    }
    return approvals.request(KIND, payload, maker=maker, now=now, client=loan.client)


@transaction.atomic
def carry_out(approval: Approval, *, now: datetime) -> Entry:
    """
    Take back what was recovered, as two persons agreed: it is unpaid again, and a recovered loan is open again.

    Raises
    ------
    lending.approvals.UnableToApprove
        If it can not be taken back any more, because of what happened meanwhile.
    """
    asked, actor = approval.payload, approval.checker
    cause = Correction.Cause(asked["cause"])
    loan = loans.lock(Loan.objects.get(public_id=asked["loan"]))
    try:
        entry, amount = _standing(loan, Entry.objects.get(idempotency_key=asked["recovery"]).pk)
        transfer = _check(loan, entry, cause)
        said = "a recovery was taken back"
        mirror = ledger.reverse(entry, key=ledger.reversal_key(entry), cause=said, actor=actor, now=now)
        workouts.unpaid_again(loan, entry, amount, cause=said, actor=actor, now=now)
        if transfer is not None:
            shared_transfers.give_up(transfer, loan, actor=actor, now=now)
    except (UnableToCorrect, shared_transfers.UnableToGiveUp) as refusal:
        raise approvals.UnableToApprove(str(refusal)) from refusal
    margin_accounts.touch(margin_accounts.lock(loan.margin_account_id))
    facts = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(amount)}
    events.emit("loans", "recovery_taken_back", facts, client_id=loan.client_id, now=now)
    notices.enqueue([_letter(loan, amount, cause, key=f"taken_back:{approval.public_id}")], now=now)
    return mirror


def _standing(loan: Loan, entry_id: int) -> tuple[Entry, Decimal]:
    """Return an entry that recovered something of a loan and was not taken back, and how much that was."""
    found = next((row for row in workouts.recoveries(loan) if row[0].pk == entry_id), None)
    if found is None:
        raise UnableToCorrect("choose what was recovered of the loan and not taken back")
    return found


def _check(loan: Loan, entry: Entry, cause: Correction.Cause | str) -> Entry | None:
    """Check that a recovery can be taken back for a cause; return the transfer that came back with it, if one did."""
    if cause not in (Correction.Cause.WRONG, Correction.Cause.BOUNCED):
        raise UnableToCorrect("say whether it was booked wrongly or its transfer came back")
    if loan.state not in LOSS_TAKEN:
        raise UnableToCorrect(f"{loan} is {loan.get_state_display().lower()}: its past is closed")
    if cause == Correction.Cause.WRONG:
        return None
    transfer = shared_transfers.of(entry.idempotency_key)
    if transfer is None:
        raise UnableToCorrect(shared_transfers.NONE)
    return transfer


def _letter(loan: Loan, amount: Decimal, cause: Correction.Cause, *, key: str) -> Letter:
    what, left = (figures.amount(value, loan.asset.code) for value in (amount, workouts.loss_of(loan).unpaid))
    name = str(loan.public_id)[:8]
    return Letter(
        client=loan.client,
        kind="payment_taken_back",
        subject=f"Your payment of {what} was taken back",
        body=f"{what} that had made good what the sale of your collateral left unpaid on your loan {name} were taken "
        f"back. {correction_letters.why(cause)} {left} are left unpaid.",
        key=key,
        margin_account=loan.margin_account,
    )
