"""
Lapses: a loan that is not paid out ends.

The desk takes it back, or it was signed and not paid out in time: nobody agreed on its terms for ever.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.db import transaction

from lending import authority, loans, notices, obligations, one_by_one
from lending.models import Loan, LoanState, Overdue, SigningRule, TermSheetAcceptance, User
from lending.notices import Letter

SIGNED = (LoanState.ACCEPTED, LoanState.APPROVED, LoanState.COLLATERAL_PENDING)


def ends_at(loan: Loan) -> datetime | None:
    """Return when a signed loan ends unless it is paid out before; its sheet is read beside it."""
    if loan.state not in SIGNED:
        return None
    sheet: Mapping[str, Any] | None = loan.sheet  # type: ignore[attr-defined]
    if not sheet or not sheet["accepted_at"]:
        return None
    return datetime.fromisoformat(sheet["accepted_at"]) + loans.PAID_OUT_WITHIN


@transaction.atomic
def cancel(loan: Loan, *, actor: User, cause: str, now: datetime) -> Loan:
    """Drop a loan that was not funded, and tell its client; lending.loans.UnableToMove when it was."""
    loan = loans.lock(loan)
    offered = loan.state == LoanState.QUOTED
    authority.void(loan, SigningRule.Action.ACCEPT, by=actor, now=now)
    loans.transition(loan, LoanState.CANCELLED, actor=actor, cause=cause, now=now)
    what = f"the offer of a loan of {loan}" if offered else f"your loan {loan}, which was signed and not paid out"
    body = (
        f"The desk has cancelled {what}: nothing is owed for it. What you have sent for it as collateral can be asked "
        f"for on the loan's page. If this is a surprise, talk to {loan.client.relationship_manager}."
    )
    letter = Letter(
        client=loan.client, kind="loan_cancelled", subject=f"The loan {loan} was cancelled", body=body,
        key=f"loan_cancelled:{loan.public_id}", margin_account=loan.margin_account,
    )  # fmt: skip
    notices.enqueue([letter], now=now)
    return loan


def work_due(*, now: datetime) -> int:
    """End the loans that were signed and not paid out in time, and return how many."""
    signed_by = now - loans.PAID_OUT_WITHIN
    due = Loan.objects.filter(state__in=SIGNED, term_sheets__acceptance__accepted_at__lte=signed_by)
    rows = [(loan, partial(_end, loan, now)) for loan in due.order_by("margin_account", "pk")]
    return one_by_one.work(Overdue.Kind.LAPSE, rows, now=now)


@transaction.atomic
def _end(loan: Loan, now: datetime) -> int:
    loan = loans.lock(loan)
    if loan.state not in SIGNED:
        return 0
    signed_at = TermSheetAcceptance.objects.get(sheet__loan=loan).accepted_at
    days = loans.PAID_OUT_WITHIN.days
    cause = f"signed on {signed_at:%d %b %Y} and not paid out within {days} days"
    loans.transition(loan, LoanState.CANCELLED, actor=None, cause=cause, now=now)
    goes_back = "goes back to you"
    if obligations.secures(loan.margin_account):  # a pool's
        goes_back = "secures your other loans of its pool, and goes back as far as they let it"
    body = (
        f"Your loan {loan} was signed on {signed_at:%d %b %Y} and could not be paid out within {days} days, so it ends "
        f"here: nothing is owed for it. What you have sent for it as collateral {goes_back}: ask for it on "
        f"the loan's page. For a new offer, talk to {loan.client.relationship_manager}."
    )
    letter = Letter(
        client=loan.client, kind="loan_lapsed", subject=f"Your loan {loan} was not paid out in time", body=body,
        key=f"loan_lapsed:{loan.public_id}", margin_account=loan.margin_account,
    )  # fmt: skip
    notices.enqueue([letter], now=now)
    return 1
