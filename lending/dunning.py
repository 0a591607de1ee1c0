"""Dunning: what is told before a payment falls due, and what follows when it is not made."""

import logging
from datetime import datetime
from functools import partial

from django.db import transaction

from lending import interest, late_fees, ledger, loans, margin_accounts, notices, obligations, one_by_one, replays
from lending.engine import accounts, figures, money
from lending.models import WHOLE, Correction, Loan, LoanState, Obligation, Overdue
from lending.notices import Letter

log = logging.getLogger(__name__)

_State = Obligation.State
# Nothing becomes due or late while collateral is being sold: what the sale brings may pay it.
_RUNNING = (LoanState.ACTIVE, LoanState.RECALLED, LoanState.MATURED)


def work_due(*, now: datetime) -> int:
    """
    Announce what falls due within days, see what was not paid through to default; return how many loans it was.

    A loan whose last payment is due is MATURED at the start of that day. An obligation that is not met when its grace
    is over puts its loan in default, from that instant at the default rate.
    """
    ready = Obligation.objects.filter(act_at__lte=now).order_by("loan__margin_account_id", "loan_id")
    found = dict.fromkeys(ready.values_list("loan_id", flat=True))
    loans_by_key = Loan.objects.in_bulk(list(found))
    due = [(loan := loans_by_key[key], partial(_work, loan, now)) for key in found]
    return one_by_one.work(Overdue.Kind.DUNNING, due, now=now)


@transaction.atomic
def _work(loan: Loan, now: datetime) -> int:
    account = margin_accounts.lock(loan.margin_account_id)
    loan = loans.locked(loan)
    before, moved = loan.state, False
    for row in Obligation.objects.filter(loan=loan, act_at__lte=now).order_by("due_at", "pk"):
        while row.act_at is not None and row.act_at <= now and _step(loan, row, now):
            moved = True
        if loan.state == LoanState.DEFAULTED:
            break  # the rest of what was expected is due with it
    if loan.state != before:
        margin_accounts.touch(account)
    return int(moved)


def _step(loan: Loan, row: Obligation, now: datetime) -> bool:
    """Take the next step of an obligation that is due, and return whether there was one to take."""
    if row.state == _State.EXPECTED:
        _announce(loan, row, now)
    elif loan.state not in _RUNNING:
        return False
    elif row.state == _State.NOTICED:
        _fall_due(loan, row, now)
    elif row.state == _State.DUE:
        row.state, row.act_at = _State.LATE, row.default_at
        row.save(update_fields=["state", "act_at"])
        if row.default_at > now:
            _tell(loan, row, "payment_late", f"{_what(loan, row)} is late", _late(loan, row), now)
    else:
        _default(loan, row, now)
    return True


def _announce(loan: Loan, row: Obligation, now: datetime) -> None:
    row.amount, row.announced_at = obligations.asked_for(loan, row), now
    row.state, row.act_at = _State.NOTICED, row.due_at
    row.save(update_fields=["amount", "announced_at", "state", "act_at"])
    if row.amount:
        _tell(loan, row, "payment_due", f"{_what(loan, row)} is due on {row.due_at:%d %b %Y}", _asks(loan, row), now)


def _fall_due(loan: Loan, row: Obligation, now: datetime) -> None:
    if row.kind in WHOLE and loan.is_line:
        interest.catch_up(loan, until=now, reason="ended", now=now)
        if not loans.owes(loan):  # nothing was drawn, or all of it paid back
            cause = "the notice is over, and nothing is owed"
            loans.transition(loan, LoanState.REPAID, actor=None, cause=cause, now=now)
            row.refresh_from_db()
            return
    if row.kind in WHOLE and loan.state != LoanState.MATURED:
        cause = "maturity date" if loan.has_fixed_end else "the notice is over"
        loans.transition(loan, LoanState.MATURED, actor=None, cause=cause, now=now)
    if row.kind not in WHOLE and not row.amount:
        row.state, row.act_at, row.met_at = _State.MET, None, row.due_at
    else:
        row.state, row.act_at = _State.DUE, row.due_at + interest.DEFAULT_AFTER
    row.save(update_fields=["state", "act_at", "met_at"])


def _default(loan: Loan, row: Obligation, now: datetime) -> None:
    late_fees.charge(loan, row, grace_over_at=row.act_at or row.default_at, now=now)
    row.state, row.act_at = _State.DEFAULTED, None
    row.save(update_fields=["state", "act_at", "late_fee", "late_fee_entry"])
    # A grace that ran again gives time to pay, but interest is as if the payment that was taken back had never been.
    agreed_at = min(row.default_at, obligations.default_at(loan.calendar, row.due_date, loan.grace_days))
    loans.transition(
        loan,
        LoanState.DEFAULTED,
        actor=None,
        cause=f"{row.get_kind_display()} of {row.due_date:%d %b %Y} was not paid by the end of its grace",
        evidence={"asked": money.text(row.asks), "paid": money.text(row.paid)},
        now=now,
        default_at=min(agreed_at, loan.default_at or agreed_at),
    )
    _put_right(loan, row, now)
    if row.late_fee:  # whatever arrived before it did not pay it, also where that comes to be known later
        interest.catch_up(loan, until=now, reason=f"late_fee:{row.due_date}", now=now)
    _tell(loan, row, "loan_default", f"Loan {_short(loan)} is in default", _defaulted(loan, row), now)


def _put_right(loan: Loan, row: Obligation, now: datetime) -> None:
    """
    Work out anew what followed a default that comes to be known later: interest, fees, and what payments were for.

    A payment was taken back that had met what is in default now, or nobody looked at the instant itself. Where what a
    payment had left over is spent, its split stays, and the next day's interest brings what was earned up to date.
    """
    if loan.default_at is None or loan.accrued_at is None or loan.default_at >= loan.accrued_at:
        return
    cause = "a default dated back"
    free = ledger.owed(accounts.client_free(loan.asset.code, loan.client_id))
    wanted = replays.plan(loan, reset_at=loan.default_at)
    try:
        with transaction.atomic():
            key = f"default:{row.due_date}:{now.isoformat()}"
            booked = replays.book(loan, wanted, key=key, cause=cause, now=now, actor=None, client_free=free)
    except replays.UnableToSettle as refusal:
        log.warning("what loan %s was paid since its default stays as it was: %s", loan.public_id, refusal)
        return
    if booked.interest or booked.changes:
        why = f"{row.get_kind_display()} of {row.due_date:%d %b %Y} was not paid by the end of its grace"
        kind, at = Correction.Kind.DEFAULT, loan.default_at
        replays.remember(booked, loan, kind=kind, cause=Correction.Cause.LATE, reason=why, effective_at=at, now=now)


def _tell(loan: Loan, row: Obligation, kind: str, subject: str, body: str, now: datetime) -> None:
    # Its grace may run again, and a default may end and begin again: each step, taken once, has a word of its own.
    key = f"{kind}:{loan.public_id}:{row.due_date}:{row.kind}:{now.isoformat()}"
    letter = Letter(
        client=loan.client, kind=kind, subject=subject, body=body, key=key, margin_account=loan.margin_account
    )
    notices.enqueue([letter], now=now)


def _what(loan: Loan, row: Obligation) -> str:
    return f"{figures.amount(row.asks, loan.asset.code)} on loan {_short(loan)}"


def _asks(loan: Loan, row: Obligation) -> str:
    lines = [
        (
            f"On {row.due_at:%A, %d %B %Y} {figures.amount(row.asks, loan.asset.code)} is to be paid on your loan of "
            f"{figures.amount(loan.principal, loan.asset.code)}: {row.get_kind_display()}."
        ),
        (
            "What you pay from now on counts towards it. Pay in to the loan's repayment address, or from your free "
            "balance in the portal."
        ),
    ]
    if row.kind in WHOLE:
        lines.append("Interest runs until it is paid: the portal says what pays the loan off at each instant.")
    lines.append(f"Not paid by {row.default_at:%d %b %Y %H:%M} UTC, the loan is in default{_and_fee(loan, row)}.")
    return "\n".join(lines)


def _late(loan: Loan, row: Obligation) -> str:
    with money.exact():
        missing = row.asks - row.paid
    return (
        f"{figures.amount(missing, loan.asset.code)} was to be paid on {row.due_at:%d %b %Y} and has not arrived. "
        f"Not paid by {row.default_at:%d %b %Y %H:%M} UTC, the loan is in default{_and_fee(loan, row)}."
    )


def _and_fee(loan: Loan, row: Obligation) -> str:
    """Return what a late fee adds to the word on a default to come."""
    fee = late_fees.of(loan, row)
    return f", and a late fee of {figures.amount(fee, loan.asset.code)} is charged" if fee else ""


def _defaulted(loan: Loan, row: Obligation) -> str:
    charged = f" A late fee of {figures.amount(row.late_fee, loan.asset.code)} was charged." if row.late_fee else ""
    return (
        f"What was to be paid on {row.due_at:%d %b %Y} has not all arrived. The whole loan is due now, at the default "
        f"rate of {loan.default_rate:.2%} a year from {interest.default_at(loan):%d %b %Y %H:%M} UTC on.{charged}"
    )


def _short(loan: Loan) -> str:
    return str(loan.public_id)[:8]
