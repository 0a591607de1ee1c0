"""Which open call a person should look at first: what may be lost, over the minutes that are left."""

import numpy as np

from risk.engine.arrays import FloatArray, IntArray, ShapeMismatch, same_length

DAY_MINUTES = 1440.0
# Six daily standard deviations: bitcoin, at 5 % a day, fell by those 30 % within 13 hours on 19 May 2021.
ADVERSE_SIGMAS = 6.0
# Below a minute nobody acts any faster; it also keeps what is over from dividing by zero.
LEAST_MINUTES = 1.0


def adverse_move(volatility: FloatArray) -> FloatArray:
    """
    Return the fall at which a sale is imagined: ADVERSE_SIGMAS daily standard deviations, at most everything.

    Parameters
    ----------
    volatility : float64 (A,)
        Daily, as a fraction, >= 0.

    Returns
    -------
    fall : float64 (A,), fraction of the mark in [0, 1].
    """
    return np.minimum(ADVERSE_SIGMAS * volatility, 1.0)


def account_volatility(value: FloatArray, account: IntArray, volatility: FloatArray, *, accounts: int) -> FloatArray:
    """
    Return the daily volatility of each account's collateral, as if all of it fell together.

    The mean of its assets' volatilities by value, without any credit for spreading: in a crash there is none.

    Parameters
    ----------
    value : float64 (P,)
        Weighted value of each pledge, USD, >= 0.
    account : int64 (P,)
        Account of each pledge in [0, L).
    volatility : float64 (P,)
        Daily volatility of each pledge's asset, as a fraction.
    accounts : int
        L.

    Returns
    -------
    volatility : float64 (L,), daily, as a fraction; 0 without collateral value.

    Raises
    ------
    ShapeMismatch
        If the arrays disagree in length or an account is out of range.
    """
    same_length(len(value), account=account, volatility=volatility)
    if len(account) and (account.min() < 0 or account.max() >= accounts):
        raise ShapeMismatch(f"account is outside [0, {accounts})")
    total = np.bincount(account, weights=value, minlength=accounts)
    moving = np.bincount(account, weights=value * volatility, minlength=accounts)
    return np.divide(moving, total, out=np.zeros(accounts), where=total > 0.0)


def minutes_to_breach(
    ltv: FloatArray, liquidation_ltv: FloatArray, volatility: FloatArray, clock_s: FloatArray
) -> FloatArray:
    """
    Return how many minutes are left until a call's collateral may be sold: by the market or by the clock.

    By the market: the time in which one standard deviation of the collateral's value is as large as the fall that
    brings the LTV to the liquidation level, 1440·(ln(liquidation_ltv / ltv) / volatility)². By the clock: what is left
    of the cure period. The earlier of the two counts. 0 at or above the liquidation level, once the clock has run out,
    and where the LTV is not known: then a person must look at once.

    At an LTV of 72 % under a liquidation level of 80 % and 5 % a day, the collateral may fall by ln(80/72) = 10.5 %:
    1440·(0.10536/0.05)² = 6,394 minutes; with an hour left on the clock, 60.

    Parameters
    ----------
    ltv : float64 (C,)
        Debt over weighted collateral value; inf without collateral, NaN where it is not known.
    liquidation_ltv : float64 (C,)
        Level of each account's ladder, > 0.
    volatility : float64 (C,)
        Of the collateral, daily, as a fraction, >= 0.
    clock_s : float64 (C,)
        Seconds left to cure, the whole period while it has not begun; <= 0 when it is over.

    Returns
    -------
    minutes : float64 (C,), >= 0; inf where neither can happen.

    Raises
    ------
    ShapeMismatch
        If the arrays disagree in length.
    """
    same_length(len(ltv), liquidation_ltv=liquidation_ltv, volatility=volatility, clock_s=clock_s)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.log(liquidation_ltv / ltv)
        market = DAY_MINUTES * np.square(distance / volatility)
    market = np.where(volatility > 0.0, market, np.inf)
    market = np.where(distance > 0.0, market, 0.0)  # NaN is not > 0
    return np.maximum(np.minimum(market, clock_s / 60.0), 0.0)


def expected_loss(debt: FloatArray, sold_for: FloatArray) -> FloatArray:
    """
    Return what a sale at the adverse move would leave unpaid: max(0, debt - sold_for), USD.

    A debt of 72,000 against bitcoin of 100,000 at 5 % a day would be sold for 100,000·(1 - 0.30) = 70,000: 2,000.

    Parameters
    ----------
    debt : float64 (C,)
        Payoff amounts in USD.
    sold_for : float64 (C,)
        Market value of the collateral, without haircuts, after its assets' adverse moves, USD.

    Returns
    -------
    loss : float64 (C,), USD, >= 0.

    Raises
    ------
    ShapeMismatch
        If the arrays disagree in length.
    """
    same_length(len(debt), sold_for=sold_for)
    return np.maximum(debt - sold_for, 0.0)


def order(minutes: FloatArray, loss: FloatArray, debt: FloatArray) -> IntArray:
    """
    Return the order in which calls are looked at: by loss per minute that is left, the largest first.

    Less than LEAST_MINUTES counts as that. Calls that would lose nothing come after those that would, the soonest
    first; what is alike stands by debt, the largest first, then as it came.

    Parameters
    ----------
    minutes : float64 (C,)
        As `minutes_to_breach` returns them.
    loss : float64 (C,)
        As `expected_loss` returns it.
    debt : float64 (C,)
        USD.

    Returns
    -------
    place : int64 (C,), indices of the calls, the most pressing first.

    Raises
    ------
    ShapeMismatch
        If the arrays disagree in length.
    """
    same_length(len(minutes), loss=loss, debt=debt)
    urgency = loss / np.maximum(minutes, LEAST_MINUTES)
    return np.lexsort((-debt, minutes, -urgency)).astype(np.int64)
