"""
What it costs to pay principal back before its time: from a loan's terms, its schedule and what was paid so far.

It is charged to a payment that the client makes of its own will. Nothing is charged for what a sale brought, for what
arrives or is booked while a margin call is open or a sale is under way, nor for anything once the loan is due or in
default.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time
from decimal import Decimal
from itertools import groupby

from django.conf import settings
from django.utils.module_loading import import_string

from lending import interest, obligations
from lending.engine import money, prepayment, replay
from lending.engine.interest import Step
from lending.engine.replay import Agreed, Facts, Flow
from lending.engine.waterfall import Claims, Split
from lending.interest import History, Payoff
from lending.models import Loan, LoanState, ScheduleRow


@dataclass(frozen=True, slots=True)
class PaidOff:
    """
    What pays a loan off of its client's own will: what it owes, and what it costs that it comes before its time.

    `costs` says that principal paid early has its price at that instant.
    """

    owed: Payoff
    make_whole: Decimal
    costs: bool

    @property
    def total(self) -> Decimal:
        with money.exact():
            return self.owed.total + self.make_whole


def terms_of(loan: Loan) -> prepayment.Terms | None:
    """Return what was agreed of a funded loan for principal that is paid before its time; None for nothing."""
    if not loan.prepayment or loan.start_at is None:
        return None
    return prepayment.Terms(
        kind=prepayment.Kind(loan.prepayment),
        rate=loan.prepayment_rate,
        day_count=loan.day_count,
        decimals=loan.asset.decimals,
        since=loan.began_date or loan.start_at.astimezone(UTC).date(),
        notice=obligations.NOTICE,
    )


def agreed(loan: Loan) -> tuple[Agreed, ...]:
    """
    Return by which schedule a loan's principal is due, from each agreement on; none where it does not matter.

    Where interest becomes principal nothing is due before the end.
    """
    if not loan.prepayment or loan.start_at is None:
        return ()
    rows = ScheduleRow.objects.filter(loan=loan).order_by("version", "number")
    rows = rows.filter(balance=0) if loan.capitalises else rows
    return tuple(
        Agreed(every[0].agreed_at or loan.start_at, tuple(Step(_at(row), row.balance) for row in every))
        for every in (list(version) for _, version in groupby(rows, key=lambda row: row.version))
    )


def flow(loan: Loan, amount: Decimal, *, at: datetime, arrived_at: datetime | None = None) -> Flow:
    """Return a payment that a client makes, and whether what it pays before its time costs what was agreed."""
    return Flow(at, amount, prepays=costs(loan, at=at, arrived_at=arrived_at))


def costs(loan: Loan, *, at: datetime, arrived_at: datetime | None = None) -> bool:
    """Return whether principal that is paid before its time costs anything, of a payment that counts at an instant."""
    if not loan.prepayment or loan.state == LoanState.LIQUIDATING or at >= interest.default_at(loan):
        return False
    return not under_call(loan.margin_account_id, at=arrived_at or at)


def under_call(margin_account_id: int, *, at: datetime) -> bool:
    """Return whether what arrived for a margin account at an instant, and is booked now, is paid for a margin call."""
    found: bool = import_string(settings.LENDING_UNDER_CALL)(margin_account_id, at=at)
    return found


def serve(loan: Loan, payment: Flow, claims: Claims) -> Split:
    """Return how a payment serves the claims of a locked loan whose interest is posted up to it."""
    known = interest.history(loan) if payment.prepays else History()
    return replay.served(_facts(loan, known), _steps(loan, known), payment, claims)


def paid_off(loan: Loan, *owed: Payoff) -> list[PaidOff]:
    """
    Return what a client pays a loan off with at the instants of some payoffs, if nothing is paid before.

    Whether it costs anything is as it is at the first of them: what will be called by then nobody knows.
    """
    terms = terms_of(loan)
    if terms is None or not loan.principal_outstanding or not costs(loan, at=owed[0].good_at):
        return [PaidOff(row, money.ZERO, costs=False) for row in owed]
    known, grow_at = _to_come(loan, until=max(row.good_at for row in owed))
    facts, found = _facts(loan, known), []
    for row in owed:
        steps = _steps(loan, interest.foreseen(loan, known, grow_at, row.good_at))
        place = replay.position(facts, steps, row.good_at)
        cost = prepayment.make_whole(terms, place, row.principal) if place else money.ZERO
        found.append(PaidOff(row, cost, costs=True))
    return found


def foreseen(loan: Loan, amount: Decimal, closing: PaidOff) -> Split:
    """Return what a payment of an amount, > 0, would be for at the instant of a payoff; nothing is written."""
    owed = closing.owed
    with money.exact():
        claims = Claims(fees=owed.fees, interest=owed.interest + owed.pending, principal=owed.principal)
    known, grow_at = _to_come(loan, until=owed.good_at)
    steps = _steps(loan, interest.foreseen(loan, known, grow_at, owed.good_at))
    return replay.served(_facts(loan, known), steps, Flow(owed.good_at, amount, prepays=closing.costs), claims)


def _to_come(loan: Loan, *, until: datetime) -> tuple[History, list[datetime]]:
    """Return a loan's history, and when its interest becomes principal until an instant that has not yet."""
    return interest.history(loan), interest.growing([loan], until=until)[loan.pk]


def _facts(loan: Loan, known: History) -> Facts:
    rate = interest.rate_steps(loan, known) if loan.start_at else ()
    return Facts(loan.day_count, loan.asset.decimals, (), rate, early=terms_of(loan), agreed=agreed(loan))


def _steps(loan: Loan, known: History) -> Sequence[Step]:
    return interest.principal_steps(loan, known) if loan.start_at else ()


def _at(row: ScheduleRow) -> datetime:
    return datetime.combine(row.pay_date, time.min, tzinfo=UTC)
