"""
A walk over a loan that is to be paid month by month, beside a clerk's paper.

What is unpaid after its grace costs a fee and puts the loan in default; what comes to be known late undoes that; what
is taken back is asked for again; an amendment asks for something else.
"""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest

from lending.models import Correction, Loan, LoanState, Obligation
from tests.factories import lending as make
from tests.independent.naive_dues import NaiveDues, midnight
from tests.independent.naive_loan import Payment
from tests.invariants.walking import DAY, D, Walk

pytestmark = pytest.mark.django_db
GRACE, LATE = 2, "0.0513"
_State = Obligation.State


class InstalmentWalk(Walk):
    """A loan of two months and a half."""

    longest = 3 * DAY

    def __init__(self, seed: int, day_count: str, kind: str) -> None:
        super().__init__(seed)
        self.parts = kind == "equal_principal"
        product = make.ProductFactory(
            code="monthly", schedule_kind=kind, grace_days=GRACE, late_fee=D(LATE), day_count=day_count
        )
        principal = Decimal(self.rng.randrange(10**7, 10**8)) / 100
        loan = make.active_loan(product=product, principal=principal, days=75)
        self.begin(loan, default_at=midnight(loan.maturity_date) + (GRACE + 1) * DAY)
        self.dues = NaiveDues(self.paper, GRACE, Fraction(D(LATE)))
        self.dues.agree(loan.start_at.date(), loan.maturity_date, loan.start_at, parts=self.parts)
        self.defaults = self.healed = self.late = 0
        self.has_sold = False

    def before(self) -> None:
        self.has_sold = False
        was = self.dues.in_default()
        self.dues.look(self.now)
        self.defaults += self.dues.in_default() and not was
        self.late += len(self.paper.charged)

    def verbs(self) -> list[Callable[[], None]]:
        return [*super().verbs(), self.pay, self.amend, self.sell]

    def amount(self) -> Decimal:
        """Return what is missing of what is asked for, a little less or more, or any amount."""
        missing = [one.amount - one.paid for one in self.dues.asks if one.amount and one.met_at is None]
        if missing and self.rng.random() < 0.7:
            off = self.rng.choice([D(0), D(0), D(0), D("-0.01"), D(1000)])
            return max(self.rng.choice(missing) + off, D("0.01"))
        return super().amount()

    def amend(self) -> None:
        if not self.dues.overdue(self.now):
            super().amend()

    def amended(self, maturity: dt.date | None) -> None:
        dues, loan = self.dues, self.loan
        met = [one for one in dues.asks if one.met_at is not None and (one.amount or one.due_at <= self.now)]
        since = max((one.due_at for one in met), default=self.paper.start).date()
        dues.asks = met
        if maturity:
            self.paper.default_at = dues.after_grace(maturity)
        dues.agree(since, loan.maturity_date, self.now, parts=self.parts)

    def paid(self, row: object) -> None:
        was = self.dues.in_default()
        super().paid(row)
        self.dues.paid(self.paper.payments[-1], self.now)
        self.healed += was and not self.dues.in_default()

    def sell(self) -> None:
        known = len(self.rows)
        super().sell()
        self.has_sold = len(self.rows) > known  # a loan that owes nothing is not sold for

    def gone(self, payment: Payment) -> None:
        super().gone(payment)
        self.dues.taken_back(self.now)

    def compare_state(self, loan: Loan, trail: str) -> None:
        dues = self.dues
        # After a sale that leaves debt, what is in default is late until it is looked at next.
        broken = _State.LATE if self.has_sold and not dues.repaid else _State.DEFAULTED
        state = LoanState.MATURED if self.now >= dues.asks[-1].due_at else LoanState.ACTIVE
        if dues.in_default() and not self.has_sold:
            state = LoanState.DEFAULTED
        assert loan.state == (LoanState.REPAID if dues.repaid else state), trail
        assert loan.default_at == self.paper.default_at, trail
        rows = Obligation.objects.filter(loan=loan).exclude(state=_State.REPLACED).order_by("due_at", "pk")
        for row, ask in zip(rows, dues.asks, strict=True):
            fee = ask.fee[1] if ask.fee else 0
            assert (row.due_at, row.balance, row.late_fee) == (ask.due_at, ask.left, fee), trail
            assert row.state == broken if ask.broken else row.state != _State.DEFAULTED, trail
            if not dues.repaid and not dues.in_default():
                found = (row.amount, row.paid, row.default_at)
                assert found == (ask.amount, ask.paid, ask.default_at), trail
                assert row.met_at == (ask.met_at if ask.amount or ask.due_at <= self.now else None), trail

    def income(self) -> dict[str, Decimal]:
        return {**super().income(), "late_fee": sum((fee for _, fee in self.paper.charged), D(0))}


@pytest.mark.parametrize(
    ("seed", "day_count", "kind"), [(1, "30/360", "interest_only"), (6, "ACT/360", "equal_principal")]
)
def test_a_walk_over_a_loan_paid_by_its_schedule_agrees_with_a_clerk(seed: int, day_count: str, kind: str) -> None:
    walk = InstalmentWalk(seed, day_count, kind)
    walk.walk()
    assert walk.defaults
    assert walk.late
    made = Correction.objects.filter(kind=Correction.Kind.DEFAULT).exists()
    assert walk.healed or made, "a default was undone, or dated back"
    assert walk.healed == (seed == 6)
    assert Correction.objects.filter(kind=Correction.Kind.REVERSAL).exists()
