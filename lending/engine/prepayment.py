"""
What it costs to pay principal back before its time: make-whole, worked out for the principal that a payment pays early.

It is a share of that principal; or the interest that it would have borne until it was due, at the rate that the loan
bears then, less what it earns elsewhere meanwhile. The second is what loan agreements call break costs (LMA, "Break
Costs"): simple interest by the loan's own day count, not discounted, never below zero.

What the schedule asks for anyway is no prepayment: principal that is due, and all that falls due within the notice.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction

from lending.engine import interest, money
from lending.engine.interest import Step
from lending.engine.waterfall import Claims, Split, allocate


class Kind(StrEnum):
    """What is charged for principal that is paid before its time."""

    NOTHING = ""
    SHARE = "share"
    INTEREST = "interest"


@dataclass(frozen=True, slots=True)
class Terms:
    """
    What was agreed: a kind, and its rate, which is the share, or what a year earns elsewhere; both in [0, 1).

    Within `notice` before it is due nothing is early. `since` is the first day of the loan's first period, which
    matters to 30/360 alone; `decimals` those of its asset.
    """

    kind: Kind
    rate: Decimal
    day_count: str
    decimals: int
    since: date
    notice: timedelta


@dataclass(frozen=True, slots=True)
class Position:
    """
    A loan just before a payment at an instant.

    `principal` is what was outstanding from instant to instant until then; `left` what may be left of it by its
    schedule from each day of payment on, down to zero; `annual_rate` what it bears at the payment.
    """

    at: datetime
    principal: Sequence[Step]
    left: Sequence[Step]
    annual_rate: Decimal

    @property
    def outstanding(self) -> Decimal:
        return self.principal[-1].value


def make_whole(terms: Terms, position: Position, principal: Decimal) -> Decimal:
    """
    Return what it costs that a payment pays some principal, rounded up at the asset's decimals.

    Parameters
    ----------
    principal : Decimal
        In the loan's asset, from zero to all that is outstanding.

    Raises
    ------
    ValueError
        If it is less than zero or more than is outstanding.
    """
    if not 0 <= principal <= position.outstanding:
        raise ValueError(f"{principal} is not a part of the principal of {position.outstanding}")
    early = _early(position, terms, principal)
    if not early or terms.kind == Kind.NOTHING:
        return money.ZERO
    if terms.kind == Kind.SHARE:
        return interest.round_up(Fraction(early[0].value) * Fraction(terms.rate), terms.decimals)
    with money.exact():
        lost = max(position.annual_rate - terms.rate, money.ZERO)
    exact = interest.cumulative(
        terms.day_count, early, [Step(position.at, lost)], early[-1].at, since=terms.since
    )  # fmt: skip
    return interest.round_up(exact, terms.decimals)


def early_part(terms: Terms, position: Position, principal: Decimal) -> Decimal:
    """Return how much of the principal that a payment pays is paid before its time."""
    early = _early(position, terms, principal)
    return early[0].value if early else money.ZERO


def allocate_early(amount: Decimal, claims: Claims, terms: Terms, position: Position) -> Split:
    """
    Return how a payment serves the claims where principal that it pays before its time has its price.

    Fees and interest come first, as ever; what is left pays the most principal that it can pay together with what
    that costs. A rest that is too small to pay another unit with its price is surplus.

    Raises
    ------
    ValueError
        If the amount or a claim is negative, or the claimed principal is not what is outstanding.
    """
    if claims.principal != position.outstanding:
        raise ValueError(f"{claims.principal} is claimed and {position.outstanding} is outstanding")
    before = allocate(amount, replace(claims, principal=money.ZERO))
    principal = _most(before.surplus, terms, position)
    cost = make_whole(terms, position, principal)
    with money.exact():
        left = before.surplus - principal - cost
        short = before.short + claims.principal - principal
    return replace(before, principal=principal, make_whole=cost, surplus=left, short=short)


def _most(amount: Decimal, terms: Terms, position: Position) -> Decimal:
    """Return the most principal that an amount pays together with its price, which only rises with it."""
    with money.exact():
        most = money.quantize_down(min(amount, position.outstanding), terms.decimals)
        unit = Decimal(1).scaleb(-terms.decimals)
        low, high = 0, int(most / unit)
        while low < high:
            middle = (low + high + 1) // 2
            if middle * unit + make_whole(terms, position, middle * unit) <= amount:
                low = middle
            else:
                high = middle - 1
        return low * unit


def _early(position: Position, terms: Terms, principal: Decimal) -> list[Step]:
    """
    Return how much less is outstanding because of a payment than would be by the schedule, from the payment on.

    The last step is zero: when all that was paid early would have been due. Empty, nothing is early.
    """
    ahead = [step for step in position.left if step.at > position.at]
    soon = [step for step in ahead if step.at - position.at <= terms.notice]
    due = [step for step in position.left if step.at <= position.at] + soon
    with money.exact():
        paid = max(principal - _interest_to_come(position, terms, due, soon), money.ZERO)
        before, after = position.outstanding, position.outstanding - paid
        levels = [Step(position.at, due[-1].value if due else before)]
        levels += [step for step in ahead if step not in soon]
        steps = [Step(step.at, min(before, step.value) - min(after, step.value)) for step in levels]
    return steps if steps[0].value else []


def _interest_to_come(position: Position, terms: Terms, due: Sequence[Step], soon: Sequence[Step]) -> Decimal:
    """
    Return how much of a payment is interest that was asked for and is not earned yet: it counts as principal today.

    What was paid like that within the same notice counts against it: nobody gets it twice.
    """
    if not soon:
        return money.ZERO
    now = Step(position.at, position.outstanding)
    until = soon[-1].at
    exact = interest.cumulative(
        terms.day_count, [now], [Step(position.at, position.annual_rate)], until, since=terms.since
    )  # fmt: skip
    begun = next((s.value for s in reversed(position.principal) if s.at < until - terms.notice), None)
    if begun is None:
        begun = position.principal[0].value
    with money.exact():
        asked = max(begun - due[-1].value, money.ZERO)
        had = max(begun - position.outstanding - asked, money.ZERO)
        return max(interest.round_up(exact, terms.decimals) - had, money.ZERO)
