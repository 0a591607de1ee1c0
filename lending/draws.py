"""
Draws: parts of a revolving line, asked for by its client or the client's manager, paid out by operations.

What is drawn is checked at the marks of the moment in which it is paid out, like the funding of a loan. What is repaid
can be drawn again, until the line is ended and its notice is over.
"""

from datetime import datetime
from decimal import Decimal

from django.db import transaction

from lending import (
    access,
    audit,
    authority,
    events,
    interest,
    ledger,
    loans,
    margin_accounts,
    obligations,
    permits,
    screening,
    withdrawals,
)
from lending.engine import entries, money
from lending.models import Draw, Loan, LoanState, Role, SigningRule, User

_DRAWN_ON = (LoanState.ACTIVE, LoanState.RECALLED)
ASKERS = frozenset({Role.RELATIONSHIP_MANAGER})  # for a client of theirs; a signer of the client asks without them


class UnableToDraw(Exception):
    """An amount of a line can not be asked for, paid out or dropped; the message says why."""


def available(loan: Loan) -> Decimal:
    """Return what is not drawn of a line, in its asset; nothing of what is no line, does not run, or is in sale."""
    if not loan.is_line or loan.state not in _DRAWN_ON:
        return money.ZERO
    with money.exact():
        return max(loan.principal - loan.principal_outstanding, money.ZERO)


def waiting(loan: Loan) -> Draw | None:
    """Return the draw of a line that is asked for and not yet paid out."""
    return Draw.objects.filter(loan=loan, state=Draw.State.REQUESTED).select_related("asked_by").first()


@transaction.atomic
def ask(loan: Loan, amount: Decimal, *, by: User, now: datetime) -> Draw:
    """
    Ask for a part of a line to be paid out.

    Raises
    ------
    UnableToDraw
        If it is no running line, more than is available, no amount of its asset, something else is due and not paid,
        another draw waits, or a person of the client signs for so much only with another.
    lending.access.UnableToAccess
        If `by` neither signs for the client, by its authority matrix, nor manages it.
    """
    loan = loans.lock(loan)
    if access.may_sign(by, loan.client):
        needed = authority.require(by, loan.client, SigningRule.Action.ACCEPT, asset=loan.asset, amount=amount)
        if needed != authority.ALONE:
            raise UnableToDraw("so much takes two signatures: have your contact at the desk ask for it")
    else:
        access.require_role(by, *ASKERS)
        access.require_client(by, loan.client)
    _check(loan, amount, now)
    if waiting(loan) is not None:
        raise UnableToDraw("another draw waits to be paid out: drop that first, or wait")
    row = Draw.objects.create(client_id=loan.client_id, loan=loan, amount=amount, asked_by=by, asked_at=now)
    _tell(row, "draw_asked", by, now)
    return row


@transaction.atomic
def drop_waiting(loan: Loan, *, by: User, now: datetime) -> Draw:
    """
    Drop the draw of a line that is not paid out yet, for its client or the desk.

    Raises
    ------
    UnableToDraw
        If none waits.
    lending.access.UnableToAccess
        If `by` neither signs for the client, nor manages it, nor works in operations.
    """
    loan = loans.lock(loan)
    if not access.may_sign(by, loan.client):
        access.require_role(by, Role.OPERATIONS, *ASKERS)
        access.require_client(by, loan.client)
    row = _locked(waiting(loan))
    row.state, row.decided_by, row.decided_at = Draw.State.CANCELLED, by, now
    row.save(update_fields=["state", "decided_by", "decided_at"])
    _tell(row, "draw_dropped", by, now)
    return row


@transaction.atomic
def pay_out(draw: Draw, *, permit: permits.Permit, actor: User, now: datetime) -> Draw:
    """
    Lend what was asked for: credit it to the client's free balance, and send it where the line is paid out to.

    Raises
    ------
    UnableToDraw
        If it waits no more, is no longer available, the margin account is frozen, the client has not paid what is due,
        or the actor asked for it.
    lending.loans.UnableToMove
        If the client is no longer onboarded, or not eligible for the line any more.
    lending.permits.UnableToVerify
        If the permit does not allow the draw.
    lending.access.UnableToAccess
        If the actor does not hold the operations role.
    """
    account = margin_accounts.lock(draw.loan.margin_account_id)
    loan = loans.locked(draw.loan)
    access.require_role(actor, Role.OPERATIONS)
    screening.check_money_out(loan.client)
    row = _locked(draw)
    if actor.pk in (row.asked_by_id, loan.made_by_id):
        raise UnableToDraw(f"{actor} asked for this draw or made its line, and can not also pay it out")
    if account.frozen:
        raise UnableToDraw("the margin account is frozen")
    loans.check_borrower(loan, now=now)
    _check(loan, row.amount, now)
    permits.verify(permit, account, permits.DRAW, loan.asset, row.amount, now=now)
    key = f"draw:{row.public_id}"
    interest.catch_up(loan, until=now, reason=key, now=now)
    heading = entries.Heading(
        key=key, effective_at=now, book_id=loan.book_id, client_id=loan.client_id, loan_id=loan.pk
    )
    row.entry = ledger.post(
        entries.disbursement(heading, asset=loan.asset.code, principal=row.amount), now=now, actor=actor
    )
    row.state, row.decided_by, row.decided_at = Draw.State.PAID_OUT, actor, now
    row.save(update_fields=["state", "decided_by", "decided_at", "entry"])
    with money.exact():
        loan.principal_outstanding += row.amount
    loan.save(update_fields=["principal_outstanding"])
    obligations.project(loan)
    margin_accounts.touch(account)
    if loan.payout_address:
        withdrawals.request(
            loan.client,
            loan.asset,
            row.amount,
            destination=loan.payout_address,
            purpose="draw",
            maker=loan.made_by,  # who named the address
            checker=actor,
            book=loan.book,
            key=key,
            now=now,
        )
    _tell(row, "draw_paid_out", actor, now)
    return row


def _check(loan: Loan, amount: Decimal, now: datetime) -> None:
    code = loan.asset.code
    if not loan.is_line:
        raise UnableToDraw("it is no revolving line: it was paid out when it was funded")
    if loan.state not in _DRAWN_ON or now >= interest.maturity_at(loan):
        raise UnableToDraw(f"nothing can be drawn of it: it is {loan.get_state_display().lower()}")
    if now >= interest.default_at(loan):  # a sale that is over has left it running until its payments are looked at
        raise UnableToDraw(f"nothing can be drawn of it: it is in default since {interest.default_at(loan):%Y-%m-%d}")
    if not money.is_positive(amount) or amount != money.quantize_down(amount, loan.asset.decimals):
        raise UnableToDraw(f"{amount} is not an amount that {code} allows ({loan.asset.decimals} decimals)")
    if amount > available(loan):
        raise UnableToDraw(f"{money.text(available(loan))} {code} are available, not {money.text(amount)}")
    if why := obligations.holds_back(loan.client):
        raise UnableToDraw(f"nothing can be drawn while {why}")


def _locked(draw: Draw | None) -> Draw:
    found = Draw.objects.select_for_update(of=("self",)).filter(state=Draw.State.REQUESTED, pk=draw.pk if draw else 0)
    row = found.select_related("loan__asset").first()
    if row is None:
        raise UnableToDraw("no draw waits")
    return row


def _tell(row: Draw, kind: str, actor: User, now: datetime) -> None:
    loan = row.loan
    facts = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(row.amount)}
    events.emit("loans", kind, facts, client_id=row.client_id, now=now)
    audit.write(kind, actor=actor, obj=row, after={**facts, "state": row.state}, now=now)
