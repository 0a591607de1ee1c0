"""
What is due of a loan by itself and comes late: booked as if it had been in time, or kept with the words of why not.

A rate that is reset, and interest that becomes principal, after more was posted than they leave.
"""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet, Value
from django.db.models.functions import Greatest

from lending import ledger, loans, one_by_one, replays
from lending.engine import accounts
from lending.models import Correction, Loan, LoanState, Overdue
from lending.replays import Plan

log = logging.getLogger(__name__)

_MADE = {
    Overdue.Kind.RESET: Correction.Kind.RATE,
    Overdue.Kind.CAPITALISATION: Correction.Kind.CAPITALISED,
}
# What is due of a loan at each beat, and is tried anew at the next one.
_STEPS = (
    Overdue.Kind.ACCRUAL,
    Overdue.Kind.DUNNING,
    Overdue.Kind.ROLLING,
    Overdue.Kind.AMENDMENT,
    Overdue.Kind.CLOSING,
    Overdue.Kind.LAPSE,
)


@dataclass(frozen=True, slots=True)
class Late:
    """Something due of a loan since an instant, and why it is not done; None where it is to be looked at anew."""

    loan: Loan
    at: datetime | None
    reason: str


def put_right(
    loan: Loan,
    prepare: Callable[[], Plan],
    *,
    kind: Overdue.Kind,
    at: Sequence[datetime],
    key: str,
    cause: str,
    said: str,
    now: datetime,
) -> bool:
    """
    Book the differences of what was due of a locked loan at some instants, ascending, and return whether it was done.

    `prepare` writes down what was due and returns what that changes. Where that can not be booked nothing of it stays,
    and the words of why are kept: it is tried again, for what is missing may come. Whatever is wrong about one loan
    holds no other back.
    """
    try:
        with transaction.atomic():
            free = ledger.owed(accounts.client_free(loan.asset.code, loan.client_id))
            booked = replays.book(loan, prepare(), key=key, cause=cause, now=now, actor=None, client_free=free)
            if booked.interest or booked.changes:
                late = Correction.Cause.LATE
                replays.remember(booked, loan, kind=_MADE[kind], cause=late, reason=said, effective_at=at[0], now=now)
            if loan.state in loans.OWING and not loans.owes(loan) and not loans.stays_open(loan):
                loans.transition(loan, LoanState.REPAID, actor=None, cause=said, now=now)
    except replays.UnableToSettle as refusal:
        log.warning("the %s of loan %s was refused: %s", kind.label, loan.public_id, refusal)
        one_by_one.keep(loan, kind, at, str(refusal), now)
        return False
    except Exception:
        log.exception("the %s of loan %s was not done", kind.label, loan.public_id)
        one_by_one.keep(loan, kind, at, one_by_one.UNFORESEEN, now)
        return False
    return True


def standing(loans: Iterable[Loan], kind: Overdue.Kind) -> defaultdict[int, dict[datetime, str]]:
    """Return what of some loans was refused and is not done: by loan key why, by the instant it was due; one query."""
    found: defaultdict[int, dict[datetime, str]] = defaultdict(dict)
    for row in _open(loans, kind).order_by("at"):
        found[row.loan_id][row.at] = row.reason
    return found


def over(loans: Iterable[Loan], kind: Overdue.Kind, *, now: datetime) -> None:
    """Note that nothing of one kind is overdue of some loans any more."""
    # Another worker, whose instant is a later one, may have kept it just before.
    _open(loans, kind).update(done_at=Greatest("since", Value(now)))


def explained(kind: Overdue.Kind, due: Sequence[tuple[Loan, datetime | None]]) -> list[Late]:
    """Return what is due of some loans since an instant each, with why it was refused; nothing where nobody tried."""
    known = standing([loan for loan, _ in due], kind)
    return [Late(loan, at, known[loan.pk].get(at, "") if at else "") for loan, at in due]


def failing(*, before: datetime) -> list[Late]:
    """Return the loans of which a step fails since before an instant, the longest ago first, and what of them waits."""
    rows = Overdue.objects.filter(kind__in=_STEPS, done_at=None, at__lte=before).order_by("at", "pk")
    return [
        Late(row.loan, row.at, f"{row.get_kind_display()} failed; {row.reason}")
        for row in rows.select_related("loan__margin_account", "loan__client")
    ]


def _open(loans: Iterable[Loan], kind: Overdue.Kind) -> QuerySet[Overdue]:
    return Overdue.objects.filter(loan__in=[loan.pk for loan in loans], kind=kind, done_at=None)
