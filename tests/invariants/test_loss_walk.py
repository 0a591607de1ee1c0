"""A walk over what a sale left unpaid: recovered, taken back, written off, paid after all, beside a clerk's paper."""

import datetime as dt
import random
from collections import Counter
from decimal import Decimal

import pytest
from django.db.models import Sum

from lending import approvals, corrections, invariants, ledger, recoveries, repayments, workouts
from lending.engine import accounts
from lending.engine.chart import AccountKind, Category
from lending.models import Entry, Loan, LoanState, Posting, Role
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
D = Decimal
STEPS, FREE = 40, D(900_000)


class LossWalk:
    """A loan whose collateral is sold, and what a clerk writes down of it: what was lost, and what of that came."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now = make.NOW + dt.timedelta(days=1)
        self.olga, self.rhea = make.staff("olga", Role.OPERATIONS), make.staff("rhea", Role.RISK)
        self.rolf = make.staff("rolf", Role.RISK_HEAD)
        loan = make.active_loan(principal="300000")
        self.pk, self.client = loan.pk, loan.client
        brought = D(self.rng.randrange(10**7, 29 * 10**6)) / 100
        self.lost = make.broken(loan, "25", str(brought), now=self.now)
        make.give(self.client, "USD", FREE, now=self.now)
        self.begun_with = self.free()
        self.came: dict[int, Decimal] = {}  # by entry
        self.given_up = False
        self.did: Counter[str] = Counter()

    @property
    def loan(self) -> Loan:
        return Loan.objects.select_related("asset", "client").get(pk=self.pk)

    @property
    def unpaid(self) -> Decimal:
        return self.lost - sum(self.came.values(), D(0))

    def free(self) -> Decimal:
        return ledger.owed(accounts.client_free("USD", self.client.pk))

    def walk(self) -> None:
        for number in range(STEPS):
            self.now += dt.timedelta(seconds=self.rng.randrange(1, 100_000))
            verb = self.rng.choice([self.recover, self.recover, self.take_back, self.take_back, self.write_off])
            self.did[verb.__name__] += verb(f"step:{number}")
            self.compare()
        assert [row for row in invariants.check() if row.code in {"I1", "I2", "I3", "I11", "I15"}] == []

    def recover(self, key: str) -> bool:
        amount = (self.unpaid * self.rng.choice([D("0.01"), D("0.3"), D(1), D("1.2")])).quantize(D("0.01")) or D(1)
        was_unpaid = self.unpaid
        try:
            entry = workouts.recover(self.loan, amount, key=key, now=self.now)
        except repayments.UnableToRepay:
            assert not was_unpaid
            return False
        self.came[entry.pk] = min(amount, was_unpaid)
        assert workouts.recover(self.loan, amount, key=key, now=self.now) == entry
        return True

    def take_back(self, key: str) -> bool:
        if not self.came:
            return False
        chosen = self.rng.choice(sorted(self.came))
        asked = recoveries.ask(self.loan, chosen, cause="wrong", reason=key, maker=self.olga, now=self.now)
        approvals.decide(asked, checker=self.rhea, approve=True, now=self.now)
        del self.came[chosen]
        with pytest.raises(corrections.UnableToCorrect):
            recoveries.ask(self.loan, chosen, cause="wrong", reason=key, maker=self.olga, now=self.now)
        return True

    def write_off(self, key: str) -> bool:
        if self.given_up or not self.unpaid or self.rng.random() < 0.7:
            return False
        asked = workouts.ask(self.loan, closes=False, reason=key, maker=self.rhea, now=self.now)
        approvals.decide(asked, checker=self.rolf, approve=True, now=self.now)
        self.given_up = True
        return True

    def compare(self) -> None:
        loan, unpaid = self.loan, self.unpaid
        open_state = LoanState.WRITTEN_OFF if self.given_up else LoanState.WORKOUT
        assert loan.state == (open_state if unpaid else LoanState.RECOVERED)
        loss = workouts.loss_of(loan)
        assert (loss.lost, loss.unpaid) == (self.lost, unpaid)
        assert {entry.pk: amount for entry, amount in workouts.recoveries(loan)} == self.came
        claim = D(0) if self.given_up else unpaid
        assert self.balance(AccountKind.DEFICIENCY_CLAIM) == claim
        assert self.balance(AccountKind.DEFICIENCY_ALLOWANCE) == -claim
        rows = Posting.objects.filter(loan=loan)
        income = dict(rows.values_list("category").annotate(total=Sum("amount")))
        assert income[Category.CREDIT_LOSS] == self.lost
        assert income.get(Category.RECOVERY, D(0)) == unpaid - self.lost
        assert self.free() == self.begun_with - (self.lost - unpaid)

    def balance(self, kind: AccountKind) -> Decimal:
        found = Posting.objects.filter(loan=self.pk, account__kind=kind).aggregate(total=Sum("amount"))["total"]
        return found or D(0)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_walk_over_what_a_sale_left_unpaid_agrees_with_a_clerk(seed: int) -> None:
    walk = LossWalk(seed)
    walk.walk()
    assert walk.did["recover"] >= 5
    assert walk.did["take_back"] >= 5
    assert walk.did["write_off"] == 1
    assert Entry.objects.filter(reverses__isnull=False).count() == walk.did["take_back"]
