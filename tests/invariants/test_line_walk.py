"""A walk over a line: drawn, repaid, drawn again, ended and kept, its fee paid first, beside a clerk's paper."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest

from lending import approvals, draws, recalls
from lending.models import Correction, Loan, LoanState
from tests.factories import lending as make
from tests.independent.naive_dues import midnight
from tests.invariants.walking import DAY, D, Walk

pytestmark = pytest.mark.django_db
NOTICE = 5


class LineWalk(Walk):
    """A line that asks for interest once a year, so that nothing but its end can put it in default."""

    def __init__(self, seed: int, day_count: str, unused: str) -> None:
        super().__init__(seed)
        product = make.ProductFactory(
            code="line", tenor="revolving", notice_days=NOTICE, schedule_kind="interest_only", frequency_months=12,
            unused_fee=D(unused), day_count=day_count,
        )  # fmt: skip
        limit = Decimal(self.rng.randrange(10**7, 10**8)) / 100
        loan = make.active_loan(product=product, principal=limit, days=None)
        self.signer = make.borrower(f"signer{loan.client_id}", loan.client)
        self.begin(loan, lent=D(0), limit=limit, unused_rate=Fraction(D(unused)))
        opening = self.paper.cents(Fraction(limit) * Fraction(loan.origination_fee))
        self.paper.charged.append((loan.start_at, opening))

    def verbs(self) -> list[Callable[[], None]]:
        found = [*super().verbs(), self.sell, self.draw, self.draw, self.draw]
        return [*found, self.end, self.keep] if self.now - self.paper.start > 20 * DAY else found

    def draw(self) -> None:
        loan = self.loan
        left = self.paper.limit - self.paper.principal_at(self.now)
        is_open = loan.state in (LoanState.ACTIVE, LoanState.RECALLED)
        assert draws.available(loan) == (max(left, D(0)) if is_open else 0)
        amount = (draws.available(loan) * self.rng.choice([D("0.01"), D("0.3"), D(1)])).quantize(D("0.01"))
        if not amount:
            return
        row = draws.ask(loan, amount, by=self.signer, now=self.now)
        draws.pay_out(row, permit=make.draw_permit(loan, amount=amount, now=self.now), actor=self.olga, now=self.now)
        self.paper.drawn.append((self.now, amount))

    def end(self) -> None:
        """The client gives notice."""
        loan = self.loan
        if loan.state == LoanState.ACTIVE:
            recalls.give_notice(loan, by=self.signer, now=self.now)
            self.paper.over_at = midnight(self.now.date() + NOTICE * DAY)
            self.paper.default_at = self.paper.over_at + DAY

    def keep(self) -> None:
        """Two persons take the notice back."""
        loan = self.loan
        if loan.state == LoanState.RECALLED:
            asked = recalls.ask_to_keep(loan, reason="they stay", maker=self.rhea, now=self.now)
            approvals.decide(asked, checker=self.rolf, approve=True, now=self.now)
            self.paper.over_at, self.paper.default_at = None, dt.datetime.max.replace(tzinfo=dt.UTC)

    def compare(self) -> None:
        loan = self.loan  # paid off under notice, it is over before its day
        self.paper.closed_at = loan.accrued_at if loan.state == LoanState.REPAID else None
        super().compare()

    def compare_state(self, loan: Loan, trail: str) -> None:
        owes = loan.principal_outstanding or loan.interest_due or loan.fees_due
        if self.paper.over_at is None and not any(payment.sold for payment in self.paper.payments):
            assert loan.state == LoanState.ACTIVE, trail
        if loan.state in (LoanState.ACTIVE, LoanState.RECALLED):  # it stays open while nothing is owed on it
            assert self.paper.over_at is None or self.now < self.paper.over_at, trail
        else:
            assert (loan.state == LoanState.REPAID) != bool(owes), trail


@pytest.mark.parametrize(("seed", "day_count", "unused"), [(4, "ACT/360", "0.006"), (1, "30/360", "0.0173")])
def test_a_walk_over_a_line_agrees_with_a_clerk(seed: int, day_count: str, unused: str) -> None:
    walk = LineWalk(seed, day_count, unused)
    walk.walk()
    assert len(walk.paper.drawn) >= 4
    assert Correction.objects.filter(kind=Correction.Kind.REVERSAL).exists()
    assert Correction.objects.filter(kind=Correction.Kind.PAYMENT).exists()
