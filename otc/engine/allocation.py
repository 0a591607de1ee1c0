"""How a fill is shared out: pro rata at the average price, lot remainders to the largest fraction, sums exact."""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Context, Decimal, FloatOperation, InvalidOperation, localcontext

_WIDE = Context(prec=90, traps=[InvalidOperation, FloatOperation])


def pro_rata(quantity: Decimal, weights: Sequence[Decimal], *, lot: Decimal) -> list[Decimal]:
    """
    Return the share of every weight in a quantity.

    Each share is its exact fraction rounded down to whole lots; the lots that are left go one by one to the largest
    fractions that were cut off (ties: the earlier weight), and what is smaller than a lot goes to the first of these
    that has room. No share exceeds its weight, and the shares sum to the quantity exactly.

    Parameters
    ----------
    quantity : Decimal
        Asset units, 0 <= quantity <= sum(weights).
    weights : sequence of Decimal
        Asset units, >= 0: what each order may still receive.
    lot : Decimal
        Asset units, > 0: smallest quantity that is allocated on its own.

    Returns
    -------
    list of Decimal, as long as weights, asset units.

    Raises
    ------
    ValueError
        If the quantity is negative or exceeds the weights, a weight is negative, or the lot is not positive.
    """
    with localcontext(_WIDE):
        total = sum(weights, Decimal(0))
        if quantity < 0 or quantity > total or lot <= 0 or any(weight < 0 for weight in weights):
            raise ValueError("a quantity between 0 and the sum of weights >= 0 and a lot > 0 are needed")
        if quantity == 0:
            return [Decimal(0) for _ in weights]
        if quantity == total:
            return list(weights)
        lots = [quantity * weight / total / lot for weight in weights]
        shares = [
            min(whole.to_integral_value(ROUND_FLOOR) * lot, weight) for whole, weight in zip(lots, weights, strict=True)
        ]
        by_fraction = sorted(range(len(weights)), key=lambda i: (-(lots[i] % 1), i))
        left = quantity - sum(shares, Decimal(0))
        # One lot each in order of fraction; a weight without room for a whole lot takes what it can.
        while left > 0:
            for i in by_fraction:
                step = min(lot, left, weights[i] - shares[i])
                shares[i] += step
                left -= step
                if left == 0:
                    break
        return shares


def cash_shares(cash: Decimal, quantities: Sequence[Decimal], *, unit: Decimal) -> list[Decimal]:
    """
    Return every allocation's part of a fill's cash, so that each is paid the average price to the unit.

    Parameters
    ----------
    cash : Decimal
        Proceeds of the fill, >= 0, in whole units.
    quantities : sequence of Decimal
        Asset units allocated, > 0.
    unit : Decimal
        Smallest payable amount (0.01 for USD), > 0.

    Returns
    -------
    list of Decimal, as long as quantities; sums to cash exactly.

    Raises
    ------
    ValueError
        If there is nothing to share among, cash is negative, or a quantity is not positive.
    """
    if not quantities or cash < 0 or unit <= 0 or any(quantity <= 0 for quantity in quantities):
        raise ValueError("cash >= 0 is shared among quantities > 0")
    with localcontext(_WIDE):
        total = sum(quantities, Decimal(0))
        units = [cash * quantity / total / unit for quantity in quantities]
        shares = [whole.to_integral_value(ROUND_FLOOR) * unit for whole in units]
        left = cash - sum(shares, Decimal(0))
        for i in sorted(range(len(units)), key=lambda i: (-(units[i] % 1), i)):
            step = min(unit, left)
            shares[i] += step
            left -= step
        return shares
