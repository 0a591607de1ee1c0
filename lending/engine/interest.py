"""
Simple interest, exactly: a principal that changes at instants, a rate that changes at instants, a day count.

Interest is linear in seconds, from the instant of funding to the instant asked for, so a whole day is one day of the
convention and a part of a day is its share. Nothing is rounded before the end, and the end names its direction.
"""

from bisect import bisect_right
from calendar import isleap
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from itertools import pairwise

from lending.engine import money

CONVENTIONS = ("ACT/360", "ACT/365F", "ACT/ACT ISDA", "30/360", "30E/360")

# A year is counted in whole parts that 360, 365 and 366 divide, so that every convention counts in whole numbers.
_YEAR = 1_603_080
_PARTS = {"ACT/360": _YEAR // 360, "ACT/365F": _YEAR // 365, "30/360": _YEAR // 360, "30E/360": _YEAR // 360}
_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
_MICROSECONDS_A_DAY = _DAY // _MICROSECOND
_SHOWN = Context(prec=28, rounding=ROUND_HALF_EVEN)


class UnknownDayCount(ValueError):
    """The day-count convention is not one that this engine knows."""


@dataclass(frozen=True, slots=True)
class Step:
    """A value that holds from an instant until the next step."""

    at: datetime
    value: Decimal


def year_fraction(convention: str, start_date: date, end_date: date) -> Decimal:
    """
    Return the years from start_date to end_date; the first day counts, the last does not.

    It is `years` to 28 significant digits, half even: to be read and compared. Books are kept with `years`.

    Parameters
    ----------
    convention : str
        One of CONVENTIONS, as `years` defines them.
    start_date, end_date : date
        A period of one calculation: 30/360 and 30E/360 look at its two ends, so that two periods in a row need not
        add up to the period that holds both.

    Returns
    -------
    fraction : Decimal, in years, >= 0.

    Raises
    ------
    UnknownDayCount
        If the convention is none of CONVENTIONS.
    ValueError
        If end_date is before start_date.
    TypeError
        If one of them is not a date, or is an instant.
    """
    exact = years(convention, start_date, end_date)
    return _SHOWN.divide(Decimal(exact.numerator), Decimal(exact.denominator))


def years(convention: str, start_date: date, end_date: date) -> Fraction:
    """
    Return the years from start_date to end_date exactly, as `year_fraction` says.

    Source: ISDA 2006 definitions 4.16: (b) ACT/ACT ISDA, each day over the days of its own calendar year; (d)
    ACT/365F; (e) ACT/360; (f) 30/360, bond basis: a start on the 31st is the 30th, and so is an end on the 31st after
    a start on the 30th or 31st; (g) 30E/360, eurobond basis: the 31st is always the 30th. No rule is made for the end
    of February.
    """
    check_date(start_date)
    check_date(end_date)
    if end_date < start_date:
        raise ValueError(f"a period can not end ({end_date}) before it starts ({start_date})")
    return Fraction(_parts(convention, start_date, end_date), _YEAR)


def check_date(day: date) -> None:
    """Raise TypeError unless a day is a date without a time: an instant would silently lose its time."""
    if not isinstance(day, date) or isinstance(day, datetime):
        raise TypeError(f"a day count needs dates without a time, not {day!r}")


def cumulative(
    convention: str,
    principal: Sequence[Step],
    rate: Sequence[Step],
    until: datetime,
    *,
    period_dates: Sequence[date] = (),
    since: date | None = None,
) -> Fraction:
    """
    Return the interest from the first principal step to `until`, exact and unrounded.

    Parameters
    ----------
    convention : str
        One of CONVENTIONS.
    principal : sequence of Step
        Outstanding principal in the loan's asset, ascending by instant, at least one.
    rate : sequence of Step
        Annual rate as a fraction (0.085 is 8.5 %), ascending; the first holds at the first principal step.
    until : datetime
        Aware. Before the first principal step the interest is 0.
    period_dates : sequence of date
        On which a new calculation period starts (00:00 UTC), ascending; the first period starts with the principal.
        They matter to 30/360 and 30E/360 alone: every other convention adds up across periods.
    since : date, optional
        On which the first period started, where that was before the principal was taken over: it matters to the same.

    Returns
    -------
    interest : Fraction, in the loan's asset.

    Raises
    ------
    UnknownDayCount
        If the convention is unknown.
    ValueError
        If steps or period dates are missing or out of order, or the first rate starts after the first principal.
    """
    _check_ascending("principal", principal)
    _check_ascending("rate", rate)
    if rate[0].at > principal[0].at:
        raise ValueError("no rate is known when the principal starts")
    start = principal[0].at
    if any(after <= before for before, after in pairwise(period_dates)):
        raise ValueError("period dates are out of order")
    anchors = [
        min(_midnight(since), start) if since else start,
        *(at for day in period_dates if (at := _midnight(day)) > start),
    ]
    changes = (start, *anchors[1:], *(step.at for step in (*principal, *rate)))
    cuts = sorted({at for at in changes if start <= at < until} | {until})
    total = Fraction(0)
    for begin, end in pairwise(cuts):
        anchor = anchors[bisect_right(anchors, begin) - 1]
        parts = _parts_until(convention, anchor, end) - _parts_until(convention, anchor, begin)
        total += Fraction(_value_at(principal, begin)) * Fraction(_value_at(rate, begin)) * parts
    return total / (_YEAR * _MICROSECONDS_A_DAY)


def stepped_up(rate: Sequence[Step], more: Decimal, at: datetime) -> tuple[Step, ...]:
    """Return a rate to which something is added from an instant on; the first step may lie before or after it."""
    held = [step for step in rate if step.at <= at]
    with money.exact():
        raised = [Step(step.at, step.value + more) for step in rate if step.at > at]
        if held:
            raised.insert(0, Step(at, held[-1].value + more))
    return (*(step for step in held if step.at < at), *raised)


def unused(
    day_count: str, limit: Decimal, drawn: Sequence[Step], rate: Decimal, until: datetime, decimals: int
) -> Decimal:
    """
    Return what is to be paid, at a rate of a year, on what is left of a limit: from the first step of what is drawn on.

    Beyond the limit nothing is left, and no less than that. It is rounded up at the decimals of the asset.
    """
    with money.exact():
        left = [Step(step.at, max(limit - step.value, money.ZERO)) for step in drawn]
    return round_up(cumulative(day_count, left, [Step(drawn[0].at, rate)], until), decimals)


def round_up(value: Fraction, decimals: int) -> Decimal:
    """Return the smallest amount of `decimals` places that is not below value."""
    return _scaled(-((-value.numerator * 10**decimals) // value.denominator), decimals)


def round_down(value: Fraction, decimals: int) -> Decimal:
    """Return the largest amount of `decimals` places that is not above value."""
    return _scaled((value.numerator * 10**decimals) // value.denominator, decimals)


def _parts(convention: str, start_date: date, end_date: date) -> int:
    """Return how many parts of a year lie between two dates under a convention."""
    if convention == "ACT/ACT ISDA":
        return _place(end_date) - _place(start_date)
    if convention not in _PARTS:
        raise UnknownDayCount(f"unknown day count {convention!r}; known are {', '.join(CONVENTIONS)}")
    if convention.startswith("ACT"):
        return (end_date - start_date).days * _PARTS[convention]
    first, last = min(start_date.day, 30), end_date.day
    if first == 30 or convention == "30E/360":
        last = min(last, 30)
    months = 12 * (end_date.year - start_date.year) + end_date.month - start_date.month
    return (30 * months + last - first) * _PARTS[convention]


def _place(day: date) -> int:
    """Return where a date stands on the line of years, in parts: its year, and its share of that year's own days."""
    passed = day.toordinal() - date(day.year, 1, 1).toordinal()
    return day.year * _YEAR + passed * (_YEAR // (366 if isleap(day.year) else 365))


def _parts_until(convention: str, anchor: datetime, at: datetime) -> int:
    """Return the parts of a year from the anchor's day to an instant, times the microseconds of a day."""
    first, at = anchor.astimezone(UTC).date(), at.astimezone(UTC)
    day = at.date()
    passed = _parts(convention, first, day)
    if not (into_day := (at - _midnight(day)) // _MICROSECOND):
        return passed * _MICROSECONDS_A_DAY
    return passed * _MICROSECONDS_A_DAY + into_day * (_parts(convention, first, day + _DAY) - passed)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, tzinfo=UTC)


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
