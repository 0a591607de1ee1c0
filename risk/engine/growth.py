"""
Years between instants for columns of loans at once, in float64: what a screen grows debts by.

It follows `lending.engine.interest`, which decides; a test holds the two together.
"""

from __future__ import annotations

import numpy as np

from lending.engine.interest import CONVENTIONS
from risk.engine.arrays import BoolArray, FloatArray, IntArray, same_length

DAY_S = 86_400.0
_ACT_360, _ACT_365F, _ACT_ACT_ISDA, _30_360, _30E_360 = range(len(CONVENTIONS))


def years(convention: IntArray, first: IntArray, at_s: FloatArray) -> FloatArray:
    """
    Return the years from each loan's first day to an instant, linear within the instant's day.

    Parameters
    ----------
    convention : int64 (L,)
        Position in `lending.engine.interest.CONVENTIONS`.
    first : int64 (L,)
        First day of the loan's calculation period, in days since 1970-01-01.
    at_s : float64 (L,)
        Seconds since 1970-01-01 00:00 UTC.

    Returns
    -------
    years : float64 (L,); negative before the first day.

    Raises
    ------
    ShapeMismatch
        If the columns differ in length.
    """
    same_length(len(convention), convention=convention, first=first, at_s=at_s)
    day = np.floor(at_s / DAY_S).astype(np.int64)
    return _whole(convention, first, day) + (at_s / DAY_S - day) * _of_day(convention, first, day)


def per_second(convention: IntArray, first: IntArray, at_s: FloatArray) -> FloatArray:
    """Return how many years a second of an instant's day counts for each loan; columns as `years` takes them."""
    same_length(len(convention), convention=convention, first=first, at_s=at_s)
    return _of_day(convention, first, np.floor(at_s / DAY_S).astype(np.int64)) / DAY_S


def changes_by_day(convention: IntArray) -> bool:
    """Return whether any of these loans may earn more on one day than on another: all but ACT/360 and ACT/365F."""
    return bool(np.any(convention > _ACT_365F))


def _of_day(convention: IntArray, first: IntArray, day: IntArray) -> FloatArray:
    return _whole(convention, first, day + 1) - _whole(convention, first, day)


def _whole(convention: IntArray, first: IntArray, day: IntArray) -> FloatArray:
    """Return the years between two days."""
    passed = (day - first) / np.where(convention == _ACT_365F, 365.0, 360.0)
    if changes_by_day(convention):
        isda, thirty = convention == _ACT_ACT_ISDA, convention >= _30_360
        passed[isda] = _place(day[isda]) - _place(first[isda])
        passed[thirty] = _thirty(convention[thirty] == _30E_360, first[thirty], day[thirty])
    return passed


def _place(day: IntArray) -> FloatArray:
    year = day.astype("datetime64[D]").astype("datetime64[Y]")
    start, end = year.astype("datetime64[D]").astype(np.int64), (year + 1).astype("datetime64[D]").astype(np.int64)
    place: FloatArray = year.astype(np.float64) + (day - start) / (end - start)
    return place


def _thirty(european: BoolArray, first: IntArray, day: IntArray) -> FloatArray:
    (start_month, start_day), (end_month, end_day) = _month_and_day(first), _month_and_day(day)
    start_day = np.minimum(start_day, 30)
    end_day = np.where(european | (start_day == 30), np.minimum(end_day, 30), end_day)
    return (30 * (end_month - start_month) + end_day - start_day) / 360.0


def _month_and_day(day: IntArray) -> tuple[IntArray, IntArray]:
    month = day.astype("datetime64[D]").astype("datetime64[M]")
    return month.astype(np.int64), day - month.astype("datetime64[D]").astype(np.int64) + 1
