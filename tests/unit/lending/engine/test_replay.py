"""A life worked out again from its facts is what a clerk writes down, whatever the facts: small lives, no books."""

import datetime as dt
import random
from decimal import Decimal
from fractions import Fraction

import pytest

from lending.engine import prepayment, replay
from lending.engine.interest import CONVENTIONS, Step
from lending.engine.replay import Agreed, Facts, Flow, Parts, Unused
from tests.independent.naive_dues import midnight
from tests.independent.naive_loan import NaiveLoan, Payment

START = dt.datetime(2021, 5, 19, 8, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
D = Decimal
LIVES = 20


def told_twice(seed: int) -> tuple[Facts, NaiveLoan]:
    """Return what happened to some loan, once for the engine and once for the clerk."""
    rng = random.Random(seed)

    def instants(most: int) -> list[dt.datetime]:
        found = [START + DAY * 50 * rng.random() for _ in range(rng.randrange(most + 1))]
        return sorted(max(midnight(at.date()) if rng.random() < 0.3 else at, START) for at in found)

    def cents(most: int) -> Decimal:
        return D(rng.randrange(1, most * 100)) / 100

    def rate() -> Decimal:
        return rng.choice([D(0), D("0.01"), D("0.0731"), D("0.12"), D("0.053100000001")])

    is_line, limit = rng.random() < 0.5, cents(10**6)
    drawn = [(at, cents(10**5)) for at in instants(5)] if is_line else []
    moved = [START, *(at for at in instants(2) if at > START)]
    rates, default_rates = [(at, rate()) for at in moved], [(at, rate() + D("0.05")) for at in moved]
    default_at, over_at = START + DAY * rng.randrange(10, 70), START + DAY * rng.randrange(10, 70)
    fees = [(at, cents(5_000)) for at in instants(3)]
    paid = [(at, cents(rng.choice([1, 1_000, 10**5, 10**6]))) for at in instants(6)]
    grow_at = [] if is_line else sorted({midnight(at.date() + DAY) for at in instants(2)})
    day_count, unused = rng.choice(CONVENTIONS), rng.choice([D("0.006"), D("0.21")]) if is_line else D(0)
    kind, costs = ("", D(0)) if is_line else rng.choice([("", D(0)), ("share", D("0.0213")), ("interest", D("0.0107"))])
    ends_at = midnight(default_at.date())
    early = prepayment.Terms(prepayment.Kind(kind), costs, day_count, 2, START.date(), 5 * DAY)
    bears = [Step(at, value) for at, value in rates if at < default_at]
    bears.append(Step(default_at, [value for at, value in default_rates if at <= default_at][-1]))
    bears += [Step(at, value) for at, value in default_rates if at > default_at]
    facts = Facts(
        day_count=day_count,
        decimals=2,
        lent=(Flow(START, D(0) if is_line else limit), *(Flow(at, amount) for at, amount in drawn)),
        rate=tuple(bears),
        fees=tuple(Flow(at, amount) for at, amount in fees),
        paid=tuple(Flow(at, amount, prepays=at < default_at) for at, amount in paid),
        early=early if kind else None,
        agreed=(Agreed(START, (Step(ends_at, D(0)),)),),
        capitalised_at=tuple(grow_at),
        unused=Unused(limit, unused, min(default_at, over_at)) if is_line else None,
    )
    paper = NaiveLoan(
        start=START, lent=D(0) if is_line else limit, day_count=day_count,
        rates=[(at, Fraction(value)) for at, value in rates],
        default_rates=[(at, Fraction(value)) for at, value in default_rates],
        default_at=default_at, ends=[(START, ends_at)], early=kind, early_rate=Fraction(costs), drawn=drawn,
        limit=limit, unused_rate=Fraction(unused), over_at=over_at, charged=fees,
        payments=[Payment(at, amount, at) for at, amount in paid], grows_at=grow_at,
    )  # fmt: skip
    return facts, paper


@pytest.mark.parametrize("seed", range(LIVES))
def test_a_life_is_what_a_clerk_writes_down(seed: int) -> None:
    facts, paper = told_twice(seed)
    paper.settle()
    life = replay.live(facts)
    written = tuple(Parts(p.fees, p.interest, p.principal, p.surplus, p.cost) for p in paper.payments)
    assert life.parts == written
    assert life.capitalised == tuple(p.interest for p in paper.grown)
    for at in (START, START + 17.3 * DAY, START + 60 * DAY):
        assert life.earned(at) == paper.earned(at)
        assert life.unused_fee(at) == paper.undrawn(at)
        assert [step.value for step in life.principal if step.at <= at][-1] == paper.principal_at(at)
