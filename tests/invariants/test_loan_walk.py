"""A seeded walk over a loan's verbs, late, reversed and amended, beside a clerk's paper: equal to the cent."""

import calendar
import datetime as dt
import random
from decimal import Decimal
from fractions import Fraction

import pytest
from django.db.models import Sum

from lending import (
    amendments,
    approvals,
    benchmarks,
    capitalisations,
    corrections,
    dunning,
    interest,
    invariants,
    ledger,
    repayments,
    replays,
    resets,
    waivers,
)
from lending.debts import owed_over
from lending.engine import accounts
from lending.engine.chart import AccountKind, Category
from lending.models import Amendment, Capitalisation, Correction, Loan, LoanState, Posting, RateStep, Repayment, Role
from lending.other_terms import UnableToAmend, Wanted
from tests.factories import lending as make
from tests.independent.naive_loan import NaiveLoan, Payment

pytestmark = pytest.mark.django_db
DAY = dt.timedelta(days=1)
STEPS = 50
FREE = Decimal(9_000_000)
D = Decimal
NOTHING = ("", "0")
FLOATING = {
    "benchmark": "SOFR", "spread": D("0.02"), "rate_floor": D("0.03"), "rate_cap": D("0.11"), "reset_months": 1,
    "fixing_lag_days": 1,
}  # fmt: skip
RATES = [(None, None), (D("0.01"), D("0.02")), (D("0.0731"), D("0.15")), (D("0.12"), D("0.125"))]


def midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC)


class Walk:
    """One loan on the books and on paper, and a clock that only goes forward."""

    def __init__(
        self, seed: int, day_count: str, early: tuple[str, str], *, floats: bool = False, grows: bool = False
    ) -> None:
        self.rng = random.Random(seed)
        self.floats, self.grows = floats, grows
        kind, rate = early
        self.now = make.NOW
        self.olga, self.rhea = make.staff("olga", Role.OPERATIONS), make.staff("rhea", Role.RISK)
        self.rolf = make.staff("rolf", Role.RISK_HEAD)
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
        self.pk, self.client = loan.pk, loan.client
        make.give(loan.client, "USD", FREE)
        self.begun_with = self.free()
        self.paper = NaiveLoan(
            start=loan.start_at,
            lent=loan.principal,
            day_count=day_count,
            rates=[(loan.start_at, Fraction(loan.annual_rate))],
            default_rates=[(loan.start_at, Fraction(loan.default_rate))],
            default_at=midnight(loan.maturity_date) + DAY,
            ends=[(loan.start_at, midnight(loan.maturity_date))],
            early=kind,
            early_rate=Fraction(D(rate)),
        )
        self.rows: list[Repayment] = []
        self.did: list[str] = []

    @property
    def loan(self) -> Loan:
        named = ("asset", "client", "made_by", "accepted_by")
        return Loan.objects.select_related(*named).get(pk=self.pk)

    def free(self) -> Decimal:
        return ledger.owed(accounts.client_free("USD", self.client.pk))

    def amount(self) -> Decimal:
        owed = interest.payoff(self.loan, now=self.now).total or Decimal(1000)
        share = self.rng.choice(
            [*map(Decimal, ("0.0001", "0.003", "0.02", "0.07", "0.2")), Decimal(1), Decimal("1.05")]
        )
        return max((owed * share).quantize(Decimal("0.01")), Decimal("0.01"))

    def instant(self, since: dt.datetime) -> dt.datetime:
        """Return an instant up to now; sometimes exactly midnight, now, or that of another payment."""
        pick = self.rng.random()
        if pick < 0.1 and self.rows:
            return max(since, self.rng.choice(self.rows).received_at)
        at = since + (self.now - since) * self.rng.random()
        if pick < 0.25:
            at = max(since, at.replace(hour=0, minute=0, second=0, microsecond=0))
        return at

    def step(self) -> None:
        self.now += dt.timedelta(seconds=self.rng.randrange(1, 2 * 86_400))
        dunning.work_due(now=self.now)
        amendments.work_due(now=self.now)
        verbs = [self.accrue, self.pay, self.pay_late, self.pay_back_dated, self.pay_back_dated, self.take_back]
        verbs += [self.amend, *([self.waive] if self.paper.early else [])]
        if self.grows and self.rng.random() < 0.7:
            self.grow()
        if self.floats:
            verbs += [self.fix, self.fix]
            if self.rng.random() < 0.7:  # now and then nobody resets anything for a day or two
                self.reset()
        verb = self.rng.choice(verbs)
        self.did.append(f"{self.now:%d.%m. %H:%M:%S} {verb.__name__}")
        verb()

    def accrue(self) -> None:
        interest.accrue_due(now=self.now)

    def pay(self) -> None:
        self._pay(self.now)

    def pay_late(self) -> None:
        """A payment of the last day, as the custodian may report it."""
        self._pay(self.instant(max(self.now - DAY, self.paper.start)))

    def _pay(self, at: dt.datetime) -> None:
        key, amount = f"pay:{len(self.did)}", self.amount()
        try:
            row = repayments.record(self.loan, amount, key=key, received_at=at, now=self.now)
        except repayments.UnableToRepay:
            assert self.loan.state == LoanState.REPAID or not self.owed_at(at) or self.too_little(amount, at)
            return
        self.paid(row)

    def pay_back_dated(self) -> None:
        at, amount = self.instant(self.paper.start), self.amount()
        try:
            asked = corrections.ask_payment(
                self.loan, amount, received_at=at, reason="found", maker=self.olga, now=self.now
            )
        except corrections.UnableToCorrect:
            assert not self.owed_at(at) or self.too_little(amount, at)
            return
        approvals.decide(asked, checker=self.rhea, approve=True, now=self.now)
        self.paid(Repayment.objects.get(key=f"back_dated:{asked.public_id}"))

    def take_back(self) -> None:
        standing = [n for n, payment in enumerate(self.paper.payments) if not payment.gone]
        if not standing:
            return
        n = self.rng.choice(standing)
        asked = corrections.ask_reversal(
            self.rows[n], cause=Correction.Cause.WRONG, reason="another's", maker=self.olga, now=self.now
        )
        approvals.decide(asked, checker=self.rhea, approve=True, now=self.now)
        self.paper.payments[n].gone = True

    def waive(self) -> None:
        """What a payment cost is waived, also of a loan that is paid off by now."""
        costly = [n for n, payment in enumerate(self.paper.payments) if payment.cost and not payment.gone]
        if not costly:
            return
        n = self.rng.choice(costly)
        asked = waivers.ask(self.rows[n], reason="they stay", maker=self.olga, now=self.now)
        approvals.decide(asked, checker=self.rolf, approve=True, now=self.now)
        self.paper.payments[n].freed = True

    def amend(self) -> None:
        """Other rates from now or from a later instant on, a later maturity, or both; only before a default."""
        loan = self.loan
        annual, default = self.rng.choice(RATES)
        maturity = None if annual and self.rng.random() < 0.5 else loan.maturity_date + dt.timedelta(days=5)
        signs_until = self.now + dt.timedelta(hours=1)
        from_at = signs_until + DAY * self.rng.random() * 3 if not maturity and self.rng.random() < 0.5 else None
        wanted = Wanted(annual_rate=annual, default_rate=default, maturity_date=maturity, from_at=from_at)
        try:
            row = amendments.propose(
                loan, wanted, reason="as agreed", expires_at=signs_until, maker=loan.made_by, now=self.now
            )
        except UnableToAmend as refusal:
            self.did.append(f"    {refusal}")
            return
        amendments.approve(row, by=self.rhea, now=self.now)
        amendments.sign(row, by=loan.accepted_by, read=row.sheet.fingerprint, now=self.now)
        if annual is not None and default is not None:
            self.paper.rates.append((from_at or self.now, Fraction(annual)))
            self.paper.default_rates.append((from_at or self.now, Fraction(default)))
        if maturity:
            self.paper.default_at = midnight(maturity) + DAY
            self.paper.ends.append((self.now, midnight(maturity)))

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
        ends = sorted(day for day in (self.months_before(loan.maturity_date, n) for n in range(1, 30)))
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
        loan, paper = self.loan, self.paper
        if loan.state in interest.ACCRUING:
            ends = [self.months_before(loan.maturity_date, n) for n in range(1, 4)]
            paper.grows_at = sorted(
                midnight(day) for day in ends if paper.start.date() + 7 * DAY <= day and midnight(day) <= self.now
            )

    def months_before(self, day: dt.date, months: int) -> dt.date:
        year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
        return dt.date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))

    def paid(self, row: Repayment) -> None:
        self.rows.append(row)
        self.paper.payments.append(Payment(row.received_at, row.amount))

    def owed_at(self, at: dt.datetime) -> bool:
        return bool(self.paper.principal_at(at) or self.paper.interest_due_at(at))

    def too_little(self, amount: Decimal, at: dt.datetime) -> bool:
        """Return whether an amount is the cent or two that pay no principal together with its price."""
        return amount <= D("0.02") and bool(self.paper.price(at)) and not self.paper.interest_due_at(at)

    # --- what both say -----------------------------------------------------------------------------------------------

    def compare(self) -> None:
        self.paper.settle()
        loan, paper, trail = self.loan, self.paper, "\n".join(self.did)
        assert loan.principal_outstanding == paper.principal_at(self.now), trail
        owes = loan.principal_outstanding or loan.interest_due
        assert (loan.state == LoanState.REPAID) != bool(owes), trail
        total = interest.payoff(loan, now=self.now).total
        assert total == paper.principal_at(self.now) + paper.interest_due_at(self.now), trail
        assert loan.interest_posted == paper.earned(loan.accrued_at), trail
        parts = replays.parts_now(self.rows)
        for row, payment in zip(self.rows, paper.payments, strict=True):
            wanted = (payment.interest, payment.principal, payment.cost, payment.surplus)
            part = parts[row.pk]
            found = (part.interest, part.principal, part.make_whole, part.surplus)
            assert found == ((0, 0, 0, 0) if payment.gone else wanted), trail
        kept = sum((p.interest + p.principal + p.cost for p in paper.payments if not p.gone), Decimal(0))
        assert self.free() == self.begun_with - kept, trail
        self.compare_books(loan, trail)
        times = [self.instant(paper.start) for _ in range(2)]
        for at, owed in zip(times, owed_over([loan], times)[loan.pk], strict=True):
            assert owed == paper.principal_at(at) + paper.interest_due_at(at), trail

    def compare_books(self, loan: Loan, trail: str) -> None:
        """The ledger as of any end of a day, and of any payment, is what was true then."""
        days = [self.paper.start.replace(hour=0) + n * DAY for n in range(1, (loan.accrued_at - self.paper.start).days)]
        at_ends = self.rng.sample(days, min(3, len(days)))
        payments = [p.at for p in self.paper.in_order()]
        for at in [*at_ends, *self.rng.sample(payments, min(2, len(payments))), loan.accrued_at]:
            # A day's interest counts in its last microsecond; a payment at that midnight belongs to the next day.
            principal, receivable = self.balances(loan, at)
            assert principal == self.paper.principal_at(at), trail
            assert receivable == self.paper.interest_due_at(at), (at, trail)

    def balances(self, loan: Loan, at: dt.datetime) -> tuple[Decimal, Decimal]:
        found = []
        for kind in (AccountKind.LOAN_PRINCIPAL, AccountKind.INTEREST_RECEIVABLE):
            key = accounts.of_loan(kind, "USD", loan.client_id, loan.pk).text()
            rows = Posting.objects.filter(account__key=key, entry__effective_at__lte=at)
            found.append(rows.aggregate(total=Sum("amount"))["total"] or Decimal(0))
        return found[0], found[1]

    def compare_income(self) -> None:
        """What was earned before the default and after it stands apart."""
        loan = self.loan
        start = self.paper.earned(min(loan.accrued_at, self.paper.default_at))
        rows = Posting.objects.filter(loan=loan)
        for category, wanted in (
            (Category.INTEREST, start),
            (Category.DEFAULT_INTEREST, self.paper.earned(loan.accrued_at) - start),
            (Category.MAKE_WHOLE, sum((p.cost for p in self.paper.payments if not p.gone), Decimal(0))),
        ):
            booked = rows.filter(category=category).aggregate(total=Sum("amount"))["total"] or Decimal(0)
            assert -booked == wanted, (category, "\n".join(self.did))


@pytest.mark.parametrize(
    ("seed", "day_count", "early"),
    [
        (1, "ACT/360", NOTHING), (2, "ACT/365F", ("share", "0.0213")), (3, "ACT/ACT ISDA", ("interest", "0.0107")),
        (4, "30/360", ("interest", "0")), (5, "30E/360", NOTHING), (6, "ACT/360", ("interest", "0.03")),
    ],
)  # fmt: skip
def test_a_walk_over_a_loan_agrees_with_a_clerk(seed: int, day_count: str, early: tuple[str, str]) -> None:
    walk = Walk(seed, day_count, early)
    for _ in range(STEPS):
        walk.step()
        walk.compare()
    walk.compare_income()
    assert [violation for violation in invariants.check() if violation.code in {"I1", "I2", "I3", "I11", "I15"}] == []
    assert Correction.objects.filter(kind=Correction.Kind.REVERSAL).count() >= 2
    assert Correction.objects.filter(kind=Correction.Kind.PAYMENT).count() >= 4
    by_verb = Correction.objects.filter(kind=Correction.Kind.WAIVER) if walk.paper.early else Amendment.objects.all()
    assert by_verb.exists()


def test_a_walk_over_a_loan_that_floats_agrees_with_a_clerk() -> None:
    walk = Walk(19, "30/360", NOTHING, floats=True)
    for _ in range(STEPS):
        walk.step()
        walk.compare()
    walk.compare_income()
    assert [violation for violation in invariants.check() if violation.code in {"I1", "I2", "I3", "I11", "I15"}] == []
    assert len(walk.reset_at) >= 2
    assert RateStep.objects.filter(number__gt=1).exists()
    assert Correction.objects.filter(kind=Correction.Kind.RATE).exists()


def test_a_walk_over_a_loan_whose_interest_becomes_principal_agrees_with_a_clerk() -> None:
    walk = Walk(19, "30/360", NOTHING, floats=True, grows=True)
    for _ in range(STEPS):
        walk.step()
        walk.compare()
    walk.compare_income()
    assert [violation for violation in invariants.check() if violation.code in {"I1", "I2", "I3", "I11", "I15"}] == []
    assert walk.paper.grows_at
    assert Capitalisation.objects.exists()
    assert Correction.objects.filter(kind=Correction.Kind.PAYMENT).exists()
