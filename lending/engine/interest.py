"""
Simple interest, exactly: a principal that changes at instants, a rate that changes at instants, a day-count basis.

Interest is linear in seconds, from the instant of funding to the instant asked for, so a whole day is one day of the
convention and a part of a day is its share. Nothing is rounded before the end, and the end names its direction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

DAYS_IN_YEAR = {"ACT/360": 360, "ACT/365F": 365}

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)


class UnknownDayCount(ValueError):
    """The day-count convention is not one that this engine knows."""


@dataclass(frozen=True, slots=True)
class Step:
    """A value that holds from an instant until the next step."""

    at: datetime
    value: Decimal


def days_in_year(convention: str) -> int:
    """Return the days of a year under a day-count convention: 360 or 365."""
    try:
        return DAYS_IN_YEAR[convention]
    except KeyError:
        known = ", ".join(DAYS_IN_YEAR)
        raise UnknownDayCount(f"unknown day count {convention!r}; known are {known}") from None


def year_fraction(convention: str, start_date: date, end_date: date) -> Fraction:
    """
    Return the years from start_date to end_date, exactly; the first day counts, the last does not.

    Source: ISDA 2006 definitions, 4.16 (d) Actual/365 (Fixed) and (e) Actual/360.

    Raises
    ------
    UnknownDayCount
        If the convention is not ACT/360 or ACT/365F.
    ValueError
        If end_date is before start_date.
    """
    if end_date < start_date:
        raise ValueError(f"a period can not end ({end_date}) before it starts ({start_date})")
    return Fraction((end_date - start_date).days, days_in_year(convention))


def cumulative(convention: str, principal: Sequence[Step], rate: Sequence[Step], until: datetime) -> Fraction:
    """
    Return the interest from the first principal step to `until`, exact and unrounded.

    Parameters
    ----------
    convention : str
        ACT/360 or ACT/365F.
    principal : sequence of Step
        Outstanding principal in the loan's asset, ascending by instant, at least one.
    rate : sequence of Step
        Annual rate as a fraction (0.085 is 8.5 %), ascending; the first holds at the first principal step.
    until : datetime
        Aware UTC. Before the first principal step the interest is 0.

    Returns
    -------
    interest : Fraction, in the loan's asset.

    Raises
    ------
    UnknownDayCount
        If the convention is unknown.
    ValueError
        If steps are missing or out of order, or the first rate starts after the first principal.
    """
    year = days_in_year(convention) * (_DAY // _MICROSECOND)
    _check_ascending("principal", principal)
    _check_ascending("rate", rate)
    if rate[0].at > principal[0].at:
        raise ValueError("no rate is known when the principal starts")
    start = principal[0].at
    cuts = sorted({step.at for step in (*principal, *rate) if start <= step.at < until} | {until})
    total = Fraction(0)
    for begin, end in pairwise(cuts):
        micros = (end - begin) // _MICROSECOND
        total += Fraction(_value_at(principal, begin)) * Fraction(_value_at(rate, begin)) * micros
    return total / year


def round_up(value: Fraction, decimals: int) -> Decimal:
    """Return the smallest amount of `decimals` places that is not below value."""
    return _scaled(-((-value.numerator * 10**decimals) // value.denominator), decimals)


def round_down(value: Fraction, decimals: int) -> Decimal:
    """Return the largest amount of `decimals` places that is not above value."""
    return _scaled((value.numerator * 10**decimals) // value.denominator, decimals)


def _scaled(units: int, decimals: int) -> Decimal:
    # From digits, so that no context precision can round it.
    sign = 1 if units < 0 else 0
    return Decimal((sign, tuple(int(digit) for digit in str(abs(units))), -decimals))


def _value_at(steps: Sequence[Step], at: datetime) -> Decimal:
    return next(step.value for step in reversed(steps) if step.at <= at)


def _check_ascending(name: str, steps: Sequence[Step]) -> None:
    if not steps:
        raise ValueError(f"no {name} steps were given")
    if any(after.at < before.at for before, after in pairwise(steps)):
        raise ValueError(f"{name} steps are out of order")
