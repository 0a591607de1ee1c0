"""A seeded walk over a loan's verbs, late and reversed, beside a clerk's paper: equal to the cent."""

import datetime as dt
import random
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

from django.db.models import Sum

from lending import (
    amendments,
    approvals,
    corrections,
    dunning,
    interest,
    invariants,
    ledger,
    loans,
    repayments,
    replays,
    rolling,
)
from lending.debts import owed_over
from lending.engine import accounts
from lending.engine.chart import AccountKind, Category
from lending.models import Correction, Loan, LoanState, Posting, Repayment, Role
from lending.other_terms import UnableToAmend, Wanted
from tests.factories import lending as make
from tests.independent.naive_dues import midnight
from tests.independent.naive_loan import NaiveLoan, Payment

DAY = dt.timedelta(days=1)
STEPS = 50
FREE = Decimal(9_000_000)
D = Decimal
RATES = [(None, None), (D("0.01"), D("0.02")), (D("0.0731"), D("0.15")), (D("0.12"), D("0.125"))]
KINDS = {
    AccountKind.LOAN_PRINCIPAL: NaiveLoan.principal_at,
    AccountKind.INTEREST_RECEIVABLE: NaiveLoan.interest_due_at,
    AccountKind.FEES_RECEIVABLE: NaiveLoan.fees_due_at,
}


class Walk:
    """One loan on the books and on paper, and a clock that only goes forward, at most by `longest` at a time."""

    longest = 2 * DAY

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = make.NOW
        self.olga, self.rhea = make.staff("olga", Role.OPERATIONS), make.staff("rhea", Role.RISK)
        self.rolf = make.staff("rolf", Role.RISK_HEAD)
        self.rows: list[Repayment] = []
        self.did: list[str] = []

    def begin(self, loan: Loan, **agreed: object) -> None:
        """Have the clerk write down what was agreed; `agreed` is what is special about it."""
        self.pk, self.client = loan.pk, loan.client
        make.give(loan.client, "USD", FREE)
        self.begun_with = self.free()
        ends_at = midnight(loan.maturity_date) if loan.maturity_date else dt.datetime.max.replace(tzinfo=dt.UTC) - DAY
        usual = {
            "start": loan.start_at,
            "lent": loan.principal,
            "day_count": loan.day_count,
            "rates": [(loan.start_at, Fraction(loan.annual_rate))],
            "default_rates": [(loan.start_at, Fraction(loan.default_rate))],
            "default_at": ends_at + DAY,
        }
        self.paper = NaiveLoan(**{**usual, **agreed})

    @property
    def loan(self) -> Loan:
        named = ("asset", "client", "made_by", "accepted_by")
        return Loan.objects.select_related(*named).get(pk=self.pk)

    def free(self) -> Decimal:
        return ledger.owed(accounts.client_free("USD", self.client.pk))

    def walk(self) -> None:
        for _ in range(STEPS):
            self.step()
            self.compare()
        self.compare_income()
        assert [row for row in invariants.check() if row.code in {"I1", "I2", "I3", "I11", "I15"}] == []

    def step(self) -> None:
        self.now += dt.timedelta(seconds=self.rng.randrange(1, int(self.longest.total_seconds())))
        rolling.roll_due(now=self.now)
        dunning.work_due(now=self.now)
        amendments.work_due(now=self.now)
        self.before()
        verb = self.rng.choice(self.verbs())
        self.did.append(f"{self.now:%d.%m. %H:%M:%S} {verb.__name__}")
        verb()

    def before(self) -> None:
        """Do what the platform does by itself, and write down what that was."""

    def verbs(self) -> list[Callable[[], None]]:
        return [self.accrue, self.pay, self.pay_late, self.pay_back_dated, self.pay_back_dated, self.take_back]

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

    def sell(self) -> None:
        """A part of the collateral is sold, and what that brings pays the loan; a sale does not heal a default."""
        loan = self.loan
        if loan.state not in loans.OWING:
            return
        key, amount = f"sale:{len(self.did)}", self.amount()
        loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="a sale", now=self.now)
        make.sold(loan, "0.01", str(amount), now=self.now)
        repayments.apply(amount, loan, key=f"apply:{key}", cause="a sale", now=self.now)
        self.paid(Repayment.objects.get(key=f"apply:{key}"))
        loan = self.loan
        if loan.state == LoanState.LIQUIDATING:
            after = loans.by_its_dates(loan, now=self.now)
            loans.transition(loan, after, actor=None, cause="the sale is over", now=self.now)

    def take_back(self) -> None:
        standing = [n for n, payment in enumerate(self.paper.payments) if not (payment.gone or payment.sold)]
        if not standing:
            return
        n = self.rng.choice(standing)
        asked = corrections.ask_reversal(
            self.rows[n], cause=Correction.Cause.WRONG, reason="another's", maker=self.olga, now=self.now
        )
        approvals.decide(asked, checker=self.rhea, approve=True, now=self.now)
        self.gone(self.paper.payments[n])

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
        self.amended(maturity)

    def amended(self, maturity: dt.date | None) -> None:
        if maturity:
            self.paper.default_at = midnight(maturity) + DAY
            self.paper.ends.append((self.now, midnight(maturity)))

    def paid(self, row: Repayment) -> None:
        self.rows.append(row)
        sold = row.kind == Repayment.Kind.LIQUIDATION
        self.paper.payments.append(Payment(row.received_at, row.amount, self.now, freed=sold, sold=sold))

    def gone(self, payment: Payment) -> None:
        payment.gone = True

    def owed_at(self, at: dt.datetime) -> bool:
        return bool(self.paper.principal_at(at) or self.paper.interest_due_at(at) or self.paper.fees_due_at(at))

    def too_little(self, amount: Decimal, at: dt.datetime) -> bool:
        """Return whether an amount is the cent or two that pay no principal together with its price."""
        return amount <= D("0.02") and bool(self.paper.price(at)) and not self.paper.interest_due_at(at)

    # --- what both say -----------------------------------------------------------------------------------------------

    def compare(self) -> None:
        self.paper.settle()
        loan, paper, trail = self.loan, self.paper, "\n".join(self.did)
        until = self.now if loan.state in interest.ACCRUING else loan.accrued_at
        assert loan.principal_outstanding == paper.principal_at(until), trail
        assert loan.interest_posted == paper.earned(loan.accrued_at), trail
        assert loan.unused_posted == paper.undrawn(loan.accrued_at), trail
        assert loan.fees_due == paper.fees_due_at(loan.accrued_at), trail
        self.compare_state(loan, trail)
        assert interest.payoff(loan, now=self.now).total == self.total(until), trail
        parts = replays.parts_now(self.rows)
        for row, payment in zip(self.rows, paper.payments, strict=True):
            wanted = (payment.fees, payment.interest, payment.principal, payment.cost, payment.surplus)
            part = parts[row.pk]
            found = (part.fees, part.interest, part.principal, part.make_whole, part.surplus)
            assert found == ((0,) * 5 if payment.gone else wanted), trail
        standing = [p for p in paper.payments if not p.gone]
        kept = sum((p.amount - p.surplus for p in standing if not p.sold), Decimal(0))
        came = sum((p.surplus for p in standing if p.sold), Decimal(0))
        drawn = sum((amount for _, amount in paper.drawn), Decimal(0))
        assert self.free() == self.begun_with + drawn + came - kept, trail
        self.compare_books(loan, trail)
        times = [self.instant(paper.start) for _ in range(2)]
        for at, owed in zip(times, owed_over([loan], times)[loan.pk], strict=True):
            assert owed == paper.principal_at(at) + paper.interest_due_at(at), trail

    def total(self, until: dt.datetime) -> Decimal:
        """Return what pays the loan off at an instant, as the clerk adds it up."""
        return sum((owed(self.paper, until) for owed in KINDS.values()), Decimal(0))

    def compare_state(self, loan: Loan, trail: str) -> None:
        owes = loan.principal_outstanding or loan.interest_due or loan.fees_due
        assert (loan.state == LoanState.REPAID) != bool(owes), trail

    def compare_books(self, loan: Loan, trail: str) -> None:
        """The ledger as of any end of a day, and of any payment, is what was true then."""
        days = [self.paper.start.replace(hour=0) + n * DAY for n in range(1, (loan.accrued_at - self.paper.start).days)]
        at_ends = self.rng.sample(days, min(3, len(days)))
        payments = [p.at for p in self.paper.in_order()]
        for at in [*at_ends, *self.rng.sample(payments, min(2, len(payments))), loan.accrued_at]:
            # A day's interest counts in its last microsecond; a payment at that midnight belongs to the next day.
            for kind, owed in KINDS.items():
                key = accounts.of_loan(kind, "USD", loan.client_id, loan.pk).text()
                rows = Posting.objects.filter(account__key=key, entry__effective_at__lte=at)
                balance = rows.aggregate(total=Sum("amount"))["total"] or Decimal(0)
                assert balance == owed(self.paper, at), (kind, at, trail)

    def compare_income(self) -> None:
        """What was earned before the default and after it stands apart, and so does each fee."""
        rows = Posting.objects.filter(loan=self.loan)
        for category, wanted in self.income().items():
            booked = rows.filter(category=category).aggregate(total=Sum("amount"))["total"] or Decimal(0)
            assert -booked == wanted, (category, "\n".join(self.did))

    def income(self) -> dict[str, Decimal]:
        paper, until = self.paper, self.loan.accrued_at
        normal = paper.earned(min(until, paper.default_at))
        return {
            Category.INTEREST: normal,
            Category.DEFAULT_INTEREST: paper.earned(until) - normal,
            Category.MAKE_WHOLE: sum((p.cost for p in paper.payments if not p.gone), Decimal(0)),
            Category.UNUSED_FEE: paper.undrawn(until),
        }
