"""Clips, throttles and the facts of best execution."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal, FloatOperation, InvalidOperation, localcontext
from math import erf, exp, pi, sqrt

_WIDE = Context(prec=60, traps=[InvalidOperation, FloatOperation])
_BPS = Decimal("0.0001")


def slippage_bps(price: Decimal, mark: Decimal) -> Decimal:
    """
    Return what a sale cost against the mark, in basis points; > 0 costs the client.

    Parameters
    ----------
    price, mark : Decimal
        USD per asset unit; mark > 0.

    Returns
    -------
    Decimal, rounded to 0.0001 bps (a fact for reports; nothing is posted from it).
    """
    with localcontext(_WIDE):
        return ((mark - price) / mark * 10_000).quantize(_BPS)


def collar_price(mark: Decimal, collar: Decimal) -> Decimal:
    """Return the price below which nothing is sold: mark x (1 - collar), USD per asset unit, exact."""
    with localcontext(_WIDE):
        return mark * (1 - collar)


def clip_quantity(rest: Decimal, *, mark: Decimal, limit_usd: Decimal, lot: Decimal) -> Decimal:
    """
    Return how much of a rest may be put out for quote at once.

    The rest itself when it is worth no more than the limit; otherwise the limit's worth in whole lots. A remainder
    below one lot is added to this clip, so that no dust is left to sell.

    Parameters
    ----------
    rest : Decimal
        Asset units still to sell, >= 0.
    mark : Decimal
        USD per asset unit, > 0.
    limit_usd : Decimal
        The smaller of the clip size and the throttle that is left, >= 0.
    lot : Decimal
        Asset units, > 0.

    Returns
    -------
    Decimal, asset units; 0 when the limit does not buy one lot.
    """
    with localcontext(_WIDE):
        if rest * mark <= limit_usd:
            return rest
        clip = (limit_usd / mark / lot).to_integral_value(ROUND_FLOOR) * lot
        return rest if clip > 0 and rest - clip < lot else clip


def expected_loss(value_usd: float, ltv: float, volatility: float, horizon_days: float) -> float:
    """
    Return what the lender expects to lose if a sale waits for a horizon: E[max(0, debt - value)].

    The value moves with a normal change of standard deviation value x volatility x sqrt(horizon) (Bachelier's
    formula for a put struck at the debt). It ranks blocks for a scarce throttle; nothing is posted from it.

    Parameters
    ----------
    value_usd : float
        Market value of what is to be sold, USD, >= 0.
    ltv : float
        Debt over weighted collateral value of the account, >= 0.
    volatility : float
        Daily, as a fraction, >= 0.
    horizon_days : float
        >= 0.

    Returns
    -------
    float, USD, >= 0.
    """
    debt = value_usd * ltv
    deviation = value_usd * volatility * sqrt(horizon_days)
    if deviation <= 0:
        return max(0.0, debt - value_usd)
    d = (debt - value_usd) / deviation
    return deviation * (d * (1 + erf(d / sqrt(2))) / 2 + exp(-d * d / 2) / sqrt(2 * pi))


@dataclass(frozen=True)
class Wanted:
    """A block's claim on the throttle: its key, asset, expected loss and wish, both in USD."""

    key: int
    asset: str
    expected_loss: float
    wanted: Decimal


@dataclass(frozen=True)
class Granted:
    """What one claim was given, USD, and its place in the line (1 is first)."""

    key: int
    rank: int
    granted: Decimal


def share_throttle(claims: Sequence[Wanted], *, asset_left: Mapping[str, Decimal], left: Decimal) -> list[Granted]:
    """
    Return what every claim may put out for quote, the largest expected loss served first.

    Parameters
    ----------
    claims : sequence of Wanted
        Ties are served in the order of their keys.
    asset_left : mapping of asset to Decimal
        What the throttle of each asset still allows, USD.
    left : Decimal
        What the throttle over all assets still allows, USD.

    Returns
    -------
    list of Granted in the order of service, granted >= 0.
    """
    rest_of = dict(asset_left)
    grants: list[Granted] = []
    for rank, claim in enumerate(sorted(claims, key=lambda c: (-c.expected_loss, c.key)), start=1):
        granted = max(Decimal(0), min(claim.wanted, rest_of[claim.asset], left))
        with localcontext(_WIDE):
            left -= granted
            rest_of[claim.asset] -= granted
        grants.append(Granted(claim.key, rank, granted))
    return grants
