"""
Draws: parts of a revolving line, signed by its client as its authority matrix says, paid out by operations.

What the client's manager proposes waits for that signature, as an offer does. What is drawn is checked at the marks of
the moment in which it is paid out, like the funding of a loan. What is repaid can be drawn again, until the line is
ended and its notice is over.
"""

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal

from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery

from lending import (
    access,
    audit,
    authority,
    events,
    interest,
    ledger,
    loans,
    margin_accounts,
    notices,
    obligations,
    permits,
    screening,
    withdrawals,
)
from lending.engine import entries, money
from lending.models import Draw, JointSignature, Loan, LoanState, Role, SigningRule, User
from lending.notices import Letter

_DRAWN_ON = (LoanState.ACTIVE, LoanState.RECALLED)
ASKERS = frozenset({Role.RELATIONSHIP_MANAGER})  # propose one to a client of theirs; who signs for it asks without them
_OPEN = (Draw.State.PROPOSED, Draw.State.REQUESTED)
_ACT = "draw"


class UnableToDraw(Exception):
    """An amount of a line can not be asked for, paid out or dropped; the message says why."""


def available(loan: Loan) -> Decimal:
    """Return what is not drawn of a line, in its asset; nothing of what is no line, does not run, or is in sale."""
    if not loan.is_line or loan.state not in _DRAWN_ON:
        return money.ZERO
    with money.exact():
        return max(loan.principal - loan.principal_outstanding, money.ZERO)


def waiting(loan: Loan) -> Draw | None:
    """Return the draw of a line that is proposed or asked for and not yet paid out."""
    return Draw.objects.filter(loan=loan, state__in=_OPEN).select_related("asked_by").first()


def beside(rows: QuerySet[Loan]) -> QuerySet[Loan]:
    """Return loans with how much of them is `proposed` and waits for a signature, in the query that reads them."""
    proposed = Draw.objects.filter(loan=OuterRef("pk"), loan__state__in=_DRAWN_ON, state=Draw.State.PROPOSED)
    return rows.annotate(proposed=Subquery(proposed.values("amount")[:1]))


def signed_first(loan: Loan, *, now: datetime) -> JointSignature | None:
    """Return the signature under a draw of a line that waits for a second one."""
    return authority.waiting([loan.client], now=now).filter(loan=loan, act=_ACT).first()


def signed(loan: Loan) -> Draw:
    """Return the draw of a line that can be paid out; UnableToDraw where none waits, or it is not signed yet."""
    row = waiting(loan)
    if row is None:
        raise UnableToDraw("no draw waits")
    _check_state(row, (Draw.State.REQUESTED,))
    return row


@transaction.atomic
def ask(loan: Loan, amount: Decimal, *, by: User, now: datetime) -> Draw | None:
    """
    Ask for a part of a line to be paid out, as the client's signer; or propose it to them, as their manager.

    None comes back until a second has signed where two do.

    Raises
    ------
    UnableToDraw
        If it is no running line, more than is available, no amount of its asset, something else is due and not paid,
        or another draw waits.
    lending.access.UnableToAccess
        If `by` neither signs for the client, by its authority matrix, nor manages it.
    """
    loan = loans.lock(loan)
    signs = access.may_sign(by, loan.client)
    if signs:
        _authority(loan, amount, by)
    else:
        access.require_role(by, *ASKERS)
        access.require_client(by, loan.client)
    _check(loan, amount, now)
    if waiting(loan) is not None:
        raise UnableToDraw("another draw waits: drop that first, or wait until it is paid out")
    if signs and not _signed(loan, amount, by, now):
        return None
    row = Draw(client_id=loan.client_id, loan=loan, amount=amount, asked_by=by, asked_at=now)
    if signs:
        row.signed_by, row.signed_at = by, now
    else:
        row.state = Draw.State.PROPOSED
    row.save(force_insert=True)
    _tell(row, "draw_asked" if signs else "draw_proposed", by, now)
    return row


@transaction.atomic
def agree(draw: Draw, *, by: User, now: datetime) -> Draw:
    """
    Sign a proposed draw for the client; where two sign, it stays proposed until the second has.

    Raises
    ------
    UnableToDraw
        If it waits for no signature, or is no longer available.
    lending.access.UnableToAccess
        If `by` may not sign for the client, or not this by its authority matrix.
    """
    loan = loans.lock(draw.loan)
    _authority(loan, draw.amount, by)
    row = _locked(draw, Draw.State.PROPOSED)
    _check(loan, row.amount, now)
    if _signed(loan, row.amount, by, now):
        row.state, row.signed_by, row.signed_at = Draw.State.REQUESTED, by, now
        row.save(update_fields=["state", "signed_by", "signed_at"])
        _tell(row, "draw_asked", by, now)
    return row


def ask_signed(row: JointSignature, *, by: User, now: datetime) -> None:
    """Ask for a draw as its second signer; lending.authority.UnableToSign if it can not be asked for any more."""
    loan, amount = Loan.objects.get(public_id=row.content["loan"]), Decimal(row.content["amount"])
    waits = waiting(loan)
    try:
        if waits is not None and (waits.state, waits.amount) == (Draw.State.PROPOSED, amount):
            agree(waits, by=by, now=now)
        else:
            ask(loan, amount, by=by, now=now)
    except UnableToDraw as refusal:
        raise authority.UnableToSign(str(refusal)) from refusal


def _authority(loan: Loan, amount: Decimal, by: User) -> None:
    authority.require(by, loan.client, SigningRule.Action.ACCEPT, asset=loan.asset, amount=amount)


def _signed(loan: Loan, amount: Decimal, by: User, now: datetime) -> bool:
    """Put a signature under a draw, and return whether it is signed whole."""
    content = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(amount)}
    return authority.sign(
        loan.client, SigningRule.Action.ACCEPT, act=_ACT, words=f"{_sum(loan, amount)} to be drawn of {loan}",
        content=content, asset=loan.asset, amount=amount, loan=loan, by=by, now=now,
    )  # fmt: skip


@transaction.atomic
def drop_waiting(loan: Loan, *, by: User, now: datetime) -> Draw:
    """
    Drop the draw of a line that is not paid out yet, for its client or the desk, with what one signed for two.

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
    row = _locked(waiting(loan), *_OPEN)
    authority.void(loan, _ACT, by=by, now=now)
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
        If it waits no more or for a signature, is no longer available, the margin account is frozen, the client has not
        paid what is due, or the actor asked for it or signed it.
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
    row = _locked(draw, Draw.State.REQUESTED)
    if actor.pk in (row.asked_by_id, row.signed_by_id, loan.made_by_id):
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


def _locked(draw: Draw | None, *states: str) -> Draw:
    found = Draw.objects.select_for_update(of=("self",)).filter(state__in=_OPEN, pk=draw.pk if draw else 0)
    row = found.select_related("loan__asset", "loan__client", "loan__margin_account").first()
    if row is None:
        raise UnableToDraw("no draw waits")
    _check_state(row, states)
    return row


def _check_state(row: Draw, states: Collection[str]) -> None:
    if row.state not in states:
        proposed = row.state == Draw.State.PROPOSED
        raise UnableToDraw("the client has not signed it yet" if proposed else "it is signed and waits for the desk")


def _sum(loan: Loan, amount: Decimal) -> str:
    return f"{money.text(amount)} {loan.asset.code}"


# How everybody who acts for the client is told of each step.
_LETTERS = {
    "draw_proposed": (
        "A draw of {amount} waits for your signature",
        (
            "{actor} proposes to pay out {amount} of your line {loan}. Nothing is paid out until it is signed for you, "
            "on the line's page; there it can be dropped, too."
        ),
    ),
    "draw_asked": (
        "A draw of {amount} is asked for",
        (
            "{actor} has signed for {amount} to be paid out of your line {loan}. The desk pays it out if the collateral"
            " holds at the marks of that moment. If nobody of yours wanted it, drop it on the line's page and call us."
        ),
    ),
    "draw_dropped": ("The draw of {amount} is dropped", "{actor} dropped the draw of {amount} of your line {loan}."),
    "draw_paid_out": (
        "{amount} of your line is paid out",
        "{amount} of your line {loan} is paid out, {where}. If nobody of yours asked for it, call us at once.",
    ),
}


def _tell(row: Draw, kind: str, actor: User, now: datetime) -> None:
    loan = row.loan
    facts = {"loan": str(loan.public_id), "asset": loan.asset.code, "amount": money.text(row.amount)}
    events.emit("loans", kind, facts, client_id=row.client_id, now=now)
    audit.write(kind, actor=actor, obj=row, after={**facts, "state": row.state}, now=now)
    where = f"to {loan.payout_address}" if loan.payout_address else "into your free balance here"
    said = {"actor": actor, "amount": _sum(loan, row.amount), "loan": loan, "where": where}
    subject, body = (words.format(**said) for words in _LETTERS[kind])
    letter = Letter(
        client=loan.client, kind=kind, subject=subject, body=body, key=f"{kind}:{row.public_id}",
        margin_account=loan.margin_account,
    )  # fmt: skip
    notices.enqueue([letter], now=now)
