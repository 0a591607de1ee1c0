"""Where money goes that reaches a loan: costs, fees, interest, principal, and what is left belongs to the client."""

from dataclasses import dataclass
from decimal import Decimal

from lending.engine import money

ZERO = Decimal(0)


@dataclass(frozen=True, slots=True)
class Claims:
    """What is due on a loan, in its asset, in the order in which it is served."""

    costs: Decimal = ZERO
    fees: Decimal = ZERO
    interest: Decimal = ZERO
    principal: Decimal = ZERO


@dataclass(frozen=True, slots=True)
class Split:
    """
    How an amount was spent on claims; costs + fees + interest + principal + make_whole + surplus is the amount.

    `make_whole` is what principal cost that was paid before its time (`lending.engine.prepayment`).
    """

    costs: Decimal
    fees: Decimal
    interest: Decimal
    principal: Decimal
    surplus: Decimal
    short: Decimal
    make_whole: Decimal = ZERO


def allocate(amount: Decimal, claims: Claims) -> Split:
    """
    Return how an amount serves the claims, first to last, without rounding.

    Parameters
    ----------
    amount : Decimal
        In the loan's asset, >= 0.
    claims : Claims
        Each >= 0, in the loan's asset.

    Returns
    -------
    split : Split
        What each claim received; `surplus` is what no claim needed, `short` what the claims still miss. One of the
        two is always zero.

    Raises
    ------
    ValueError
        If the amount or a claim is negative or not a number.
    TypeError
        If the amount or a claim is no Decimal, or the claims are no Claims.
    """
    if not isinstance(claims, Claims):
        raise TypeError(f"what is due on a loan is given as Claims, not {claims!r}")
    parts = (claims.costs, claims.fees, claims.interest, claims.principal)
    for value in (amount, *parts):
        if not isinstance(value, Decimal):
            raise TypeError(f"an amount and its claims are Decimal, not {value!r}")
    if not all(value.is_finite() and value >= 0 for value in (amount, *parts)):
        raise ValueError("an amount and its claims can not be negative")
    with money.exact():
        left = amount
        paid = []
        for claim in parts:
            part = min(left, claim)
            paid.append(part)
            left -= part
        short = sum(parts, ZERO) - sum(paid, ZERO)
    costs, fees, interest, principal = paid
    return Split(costs, fees, interest, principal, surplus=left, short=short)
