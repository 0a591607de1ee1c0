"""A walk over a loan that is amended, floats, is prepaid, or capitalises its interest, beside a clerk's paper."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest

from lending import approvals, benchmarks, capitalisations, interest, resets, waivers
from lending.models import Amendment, Capitalisation, Correction, RateStep, Repayment
from tests.factories import lending as make
from tests.independent.naive_dues import midnight, months_before
from tests.independent.naive_loan import Payment
from tests.invariants.walking import DAY, D, Walk

pytestmark = pytest.mark.django_db
NOTHING = ("", "0")
FLOATING = {
    "benchmark": "SOFR", "spread": D("0.02"), "rate_floor": D("0.03"), "rate_cap": D("0.11"), "reset_months": 1,
    "fixing_lag_days": 1,
}  # fmt: skip


class LoanWalk(Walk):
    """A loan with an end."""

    def __init__(
        self, seed: int, day_count: str, early: tuple[str, str], *, floats: bool = False, grows: bool = False
    ) -> None:
        super().__init__(seed)
        self.floats, self.grows = floats, grows
        kind, rate = early
        self.fixings: dict[dt.date, Decimal] = {}
        self.reset_at: list[dt.datetime] = []
        terms: dict[str, object] = {}
        if floats:
            self.record(self.now.date() - DAY, D("0.04"))
            terms = {"annual_rate": None, "days": 70}
        if grows:
            terms |= {"days": 70}
        sold = {
            "schedule_kind": "capitalised" if grows else "bullet",
            "prepayment": kind,
            "prepayment_rate": D(rate),
            **(FLOATING if floats else {}),
        }
        product = make.ProductFactory(day_count=day_count, **sold)
        principal = Decimal(self.rng.randrange(10**7, 10**8)) / 100
        loan = make.active_loan(product=product, principal=principal, **{"days": 40, **terms})
        ends = [(loan.start_at, midnight(loan.maturity_date))]
        self.begin(loan, ends=ends, early=kind, early_rate=Fraction(D(rate)))

    def before(self) -> None:
        self.accrued = self.loan.state in interest.ACCRUING
        if self.grows and self.rng.random() < 0.7:
            self.grow()
        if self.floats and self.rng.random() < 0.7:  # now and then nobody resets anything for a day or two
            self.reset()

    def verbs(self) -> list[Callable[[], None]]:
        found = [*super().verbs(), self.amend, *([self.waive] if self.paper.early else [])]
        return [*found, *([self.fix, self.fix] if self.floats else [])]

    def waive(self) -> None:
        """What a payment cost is waived, also of a loan that is paid off by now."""
        costly = [n for n, payment in enumerate(self.paper.payments) if payment.cost and not payment.gone]
        if not costly:
            return
        n = self.rng.choice(costly)
        asked = waivers.ask(self.rows[n], reason="they stay", maker=self.olga, now=self.now)
        approvals.decide(asked, checker=self.rolf, approve=True, now=self.now)
        self.paper.payments[n].freed = True

    def fix(self) -> None:
        """A fixing of today, or of a day that was fixed otherwise or not at all."""
        day = self.now.date() - DAY * self.rng.choice([0, 0, 1, 3, 20, 40])
        rate = self.rng.choice([D("-0.005"), D("0.0125"), D("0.04"), D("0.053100000001"), D("0.2")])
        if self.fixings.get(day) != rate:
            self.record(day, rate)

    def record(self, day: dt.date, rate: Decimal) -> None:
        asked = benchmarks.ask(
            "SOFR", "Overnight", f"date,rate\n{day},{rate}", reason="its page", maker=self.olga, now=self.now
        )
        approvals.decide(asked, checker=self.rhea, approve=True, now=self.now)
        self.fixings[day] = rate

    def reset(self) -> None:
        """Reset what is due, and have the clerk write down anew at which rate each period runs."""
        resets.work_due(now=self.now)
        loan, paper = self.loan, self.paper
        if loan.state not in interest.ACCRUING:
            return
        ends = sorted(day for day in (months_before(loan.maturity_date, n) for n in range(1, 30)))
        for day in ends:
            at = dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)
            last = self.reset_at[-1] if self.reset_at else paper.start
            if last.date() < day and paper.start.date() + 7 * DAY <= day and at <= self.now:
                self.reset_at.append(at)
        margin = paper.default_rates[0][1] - paper.rates[0][1]
        del paper.rates[1:], paper.default_rates[1:]
        for at in self.reset_at:
            known = max(day for day in self.fixings if day <= at.date() - DAY)
            rate = min(max(Fraction(self.fixings[known]) + Fraction(2, 100), Fraction(3, 100)), Fraction(11, 100))
            paper.rates.append((at, rate))
            paper.default_rates.append((at, rate + margin))

    def grow(self) -> None:
        """Make principal of what is due at the end of each period, and have the clerk write down that it was."""
        interest.accrue_due(now=self.now)
        while capitalisations.work_due(now=self.now):
            pass
        if self.accrued:
            self.paper.grows_at = self.ended()

    def paid(self, row: Repayment) -> None:
        """What a period that was over has left due becomes principal before what counts from then on pays it."""
        super().paid(row)
        if self.grows and self.accrued:
            done = {*self.paper.grows_at, *(at for at in self.ended() if at <= row.received_at)}
            self.paper.grows_at = sorted(done)

    def gone(self, payment: Payment) -> None:
        super().gone(payment)
        if self.grows and self.accrued:
            self.paper.grows_at = self.ended()

    def ended(self) -> list[dt.datetime]:
        """Return the ends of the periods that are over."""
        ends = [months_before(self.loan.maturity_date, n) for n in range(1, 4)]
        first = self.paper.start.date() + 7 * DAY
        return sorted(midnight(day) for day in ends if first <= day and midnight(day) <= self.now)

    def total(self, until: dt.datetime) -> Decimal:
        """A period that is over counts, also while nobody has made principal of its interest yet."""
        paper, done = self.paper, self.paper.grows_at
        if not self.grows or until < self.now:
            return super().total(until)
        paper.grows_at = self.ended()
        paper.settle()
        total = super().total(until)
        paper.grows_at = done
        paper.settle()
        return total


@pytest.mark.parametrize(
    ("seed", "day_count", "early"),
    [
        (1, "ACT/360", NOTHING), (2, "ACT/365F", ("share", "0.0213")), (3, "ACT/ACT ISDA", ("interest", "0.0107")),
        (4, "30/360", ("interest", "0")), (5, "30E/360", NOTHING), (6, "ACT/360", ("interest", "0.03")),
    ],
)  # fmt: skip
def test_a_walk_over_a_loan_agrees_with_a_clerk(seed: int, day_count: str, early: tuple[str, str]) -> None:
    walk = LoanWalk(seed, day_count, early)
    walk.walk()
    assert Correction.objects.filter(kind=Correction.Kind.REVERSAL).count() >= 2
    assert Correction.objects.filter(kind=Correction.Kind.PAYMENT).count() >= 4
    by_verb = Correction.objects.filter(kind=Correction.Kind.WAIVER) if walk.paper.early else Amendment.objects.all()
    assert by_verb.exists()


def test_a_walk_over_a_loan_that_floats_agrees_with_a_clerk() -> None:
    walk = LoanWalk(19, "30/360", NOTHING, floats=True)
    walk.walk()
    assert len(walk.reset_at) >= 2
    assert RateStep.objects.filter(number__gt=1).exists()
    assert Correction.objects.filter(kind=Correction.Kind.RATE).exists()


def test_a_walk_over_a_loan_whose_interest_becomes_principal_agrees_with_a_clerk() -> None:
    walk = LoanWalk(19, "30/360", NOTHING, floats=True, grows=True)
    walk.walk()
    assert walk.paper.grows_at
    assert Capitalisation.objects.exists()
    assert Correction.objects.filter(kind=Correction.Kind.PAYMENT).exists()
