"""
A loan's life worked out again from what happened to it: what each payment paid, and what was earned at any instant.

A payment that was dated back, or taken back, changes what every later one was for. Nothing is corrected by hand: the
life is lived again from its facts, and what differs is booked.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise

from lending.engine import interest, money, prepayment
from lending.engine.interest import Step
from lending.engine.waterfall import Claims, Split, allocate


class UnableToReplay(ValueError):
    """The facts do not make a life: nothing was lent, or something happened before it was; the message says what."""


@dataclass(frozen=True, slots=True)
class Flow:
    """
    Something that moved at an instant, in the loan's asset, > 0; a line that was opened lends 0 at first.

    `prepays` says of a payment that principal which it pays before its time costs what was agreed.
    """

    at: datetime
    amount: Decimal
    prepays: bool = False


@dataclass(frozen=True, slots=True)
class Parts:
    """What a payment was for, in the loan's asset; as a difference each part may be negative."""

    fees: Decimal = money.ZERO
    interest: Decimal = money.ZERO
    principal: Decimal = money.ZERO
    surplus: Decimal = money.ZERO
    make_whole: Decimal = money.ZERO

    @property
    def each(self) -> tuple[Decimal, ...]:
        return self.fees, self.interest, self.principal, self.surplus, self.make_whole

    @property
    def total(self) -> Decimal:
        with money.exact():
            return _sum(self.each)

    def __bool__(self) -> bool:
        return any(self.each)

    def __add__(self, other: "Parts") -> "Parts":
        with money.exact():
            return Parts(*(one + more for one, more in zip(self.each, other.each, strict=True)))

    def __neg__(self) -> "Parts":
        # Not by a minus sign, which would round to the precision of whatever context is open.
        return Parts(*(part.copy_negate() for part in self.each))

    def __sub__(self, other: "Parts") -> "Parts":
        return self + -other


@dataclass(frozen=True, slots=True)
class Agreed:
    """What may be left of the principal from each day of payment on, as it was agreed at an instant."""

    at: datetime
    left: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Unused:
    """What it costs that a line is not drawn: a rate of a year, on what is left of its limit, until an instant."""

    limit: Decimal
    annual_rate: Decimal
    until: datetime


@dataclass(frozen=True, slots=True)
class Facts:
    """
    What happened to a loan, each list ascending by instant.

    `lent` is the principal, from its first flow on; `fees` are charges, beside those on what is `unused` of a line;
    `paid` are payments in the order in which they count. `rate` is as `interest.cumulative` takes it, and so is
    `since`; `brought` is interest that was due already when a loan was taken over from another system, which is what
    its first lending stands for. `early` is what was agreed for principal that is paid before its time, and `agreed`
    by which schedule that is. At `capitalised_at` all interest that is due becomes principal.
    """

    day_count: str
    decimals: int
    lent: tuple[Flow, ...]
    rate: tuple[Step, ...]
    fees: tuple[Flow, ...] = ()
    paid: tuple[Flow, ...] = ()
    brought: Decimal = money.ZERO
    since: date | None = None
    early: prepayment.Terms | None = None
    agreed: tuple[Agreed, ...] = ()
    capitalised_at: tuple[datetime, ...] = ()
    unused: Unused | None = None


@dataclass(frozen=True, slots=True)
class Life:
    """
    What came of it: what each payment was for, and the principal from instant to instant.

    `capitalised` is the interest that became principal at each instant of `facts.capitalised_at`.
    """

    facts: Facts
    parts: tuple[Parts, ...]
    principal: tuple[Step, ...]
    capitalised: tuple[Decimal, ...] = ()

    def earned(self, until: datetime) -> Decimal:
        """Return all interest from the first lending to an instant, rounded up at the asset's decimals."""
        return _earned(self.facts, self.principal, until)

    def unused_fee(self, until: datetime) -> Decimal:
        """Return all fees on what is not drawn of a line to an instant, rounded up like interest; else 0."""
        return _unused_fee(self.facts, self.principal, until)

    def fees_due(self, until: datetime) -> Decimal:
        """Return what was charged and not paid, with the fee on what is not drawn to an instant."""
        with money.exact():
            charged = _sum(flow.amount for flow in self.facts.fees) + self.unused_fee(until)
            return charged - _sum(part.fees for part in self.parts)

    @property
    def interest_paid(self) -> Decimal:
        """Return the interest that all payments together have paid, or that became principal."""
        with money.exact():
            return _sum(part.interest for part in self.parts) + _sum(self.capitalised)


def live(facts: Facts) -> Life:
    """
    Return a loan's life from its facts: each payment serves fees, then interest to the instant, then principal, with
    what it costs to pay that before its time.

    Interest at an instant is what was earned until then, rounded up once, less what earlier payments paid of it, and
    so is the fee on what is not drawn; so nothing depends on when or how often they were posted.

    Raises
    ------
    UnableToReplay
        If nothing was lent, or a payment or fee lies before the first lending, or facts are out of order.
    """
    if not facts.lent:
        raise UnableToReplay("nothing was lent")
    start_at = facts.lent[0].at
    for what, flows in (("lending", facts.lent), ("fee", facts.fees), ("payment", facts.paid)):
        if any(flow.at < start_at for flow in flows):
            raise UnableToReplay(f"a {what} lies before the first lending, at {start_at:%Y-%m-%d %H:%M:%S}")
        if any(after.at < before.at for before, after in pairwise(flows)):
            raise UnableToReplay(f"a {what} is out of order")
    principal: list[Step] = []
    parts: list[Parts] = []
    capitalised: list[Decimal] = []
    # What is lent at an instant is there before interest becomes principal at it, and that before what is paid at it.
    moves: list[tuple[datetime, int, Flow | None]] = [(flow.at, 0, flow) for flow in facts.lent]
    moves += [(at, 1, None) for at in facts.capitalised_at]
    moves += [(flow.at, 2, flow) for flow in facts.paid]
    for at, kind, flow in sorted(moves, key=lambda move: move[:2]):
        outstanding = principal[-1].value if principal else money.ZERO
        if flow is None:
            change = _due(facts, principal, parts, capitalised, at)
            capitalised.append(change)
        elif kind == 0:
            change = flow.amount
        else:
            part = _paid(facts, principal, parts, capitalised, flow)
            parts.append(part)
            change = part.principal.copy_negate()
        if change or not principal:
            with money.exact():
                principal.append(Step(at, outstanding + change))
    return Life(facts, tuple(parts), tuple(principal), tuple(capitalised))


def _due(
    facts: Facts, principal: Sequence[Step], parts: Sequence[Parts], capitalised: Sequence[Decimal], at: datetime
) -> Decimal:
    """Return the interest that is due at an instant and was neither paid nor made principal."""
    with money.exact():
        settled = _sum(part.interest for part in parts) + _sum(capitalised)
        return facts.brought + _earned(facts, principal, at) - settled


def _paid(
    facts: Facts, principal: Sequence[Step], before: Sequence[Parts], capitalised: Sequence[Decimal], payment: Flow
) -> Parts:
    with money.exact():
        charged = _sum(fee.amount for fee in facts.fees if fee.at <= payment.at)
        claims = Claims(
            fees=charged + _unused_fee(facts, principal, payment.at) - _sum(part.fees for part in before),
            interest=_due(facts, principal, before, capitalised, payment.at),
            principal=principal[-1].value,
        )
    split = served(facts, principal, payment, claims)
    return Parts(split.fees, split.interest, split.principal, split.surplus, split.make_whole)


def served(facts: Facts, principal: Sequence[Step], payment: Flow, claims: Claims) -> Split:
    """Return how a payment serves the claims, where the principal was this from instant to instant until then."""
    place = position(facts, principal, payment.at) if payment.prepays else None
    if facts.early is None or place is None:
        return allocate(payment.amount, claims)
    return prepayment.allocate_early(payment.amount, claims, facts.early, place)


def position(facts: Facts, principal: Sequence[Step], at: datetime) -> prepayment.Position | None:
    """Return where a loan stands by the schedule that was agreed at an instant; None where none was."""
    agreed = next((row for row in reversed(facts.agreed) if row.at <= at), None)
    if agreed is None:
        return None
    bears = next(step.value for step in reversed(facts.rate) if step.at <= at)
    return prepayment.Position(at, tuple(principal), agreed.left, bears)


def _earned(facts: Facts, principal: Sequence[Step], until: datetime) -> Decimal:
    earned = interest.cumulative(facts.day_count, principal, facts.rate, until, since=facts.since)
    return interest.round_up(earned, facts.decimals)


def _unused_fee(facts: Facts, principal: Sequence[Step], until: datetime) -> Decimal:
    line = facts.unused
    if line is None:
        return money.ZERO
    end = min(until, line.until)
    return interest.unused(facts.day_count, line.limit, principal, line.annual_rate, end, facts.decimals)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    return sum(amounts, money.ZERO)
