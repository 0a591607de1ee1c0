"""Exact arithmetic for money and quantities; every rounding says its direction in its name."""

import contextlib
from collections.abc import Iterator
from decimal import (
    ROUND_CEILING,
    ROUND_FLOOR,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)

PRECISION = 60
DECIMALS = 18  # columns are numeric(38, 18)
ZERO = Decimal(0)

_FATAL = [InvalidOperation, DivisionByZero, Overflow, FloatOperation]


@contextlib.contextmanager
def exact() -> Iterator[Context]:
    """
    Open a context in which arithmetic is exact or raises.

    Precision is 60 digits; a result that would need rounding raises decimal.Inexact, a float that meets a Decimal
    raises decimal.FloatOperation. The default context (28 digits) silently rounds an 18-decimal balance.
    """
    with localcontext(Context(prec=PRECISION, traps=[*_FATAL, Inexact])) as context:
        yield context


def is_positive(value: Decimal) -> bool:
    """Return whether a value is a number above zero; NaN and infinity are none."""
    return value.is_finite() and value > 0


def text(value: Decimal) -> str:
    """Return an amount as people read it: every digit that counts, no exponent, no trailing zeros."""
    digits = f"{value:f}"
    return digits.rstrip("0").rstrip(".") if "." in digits else digits


def quantize_up(value: Decimal, decimals: int) -> Decimal:
    """Return value rounded towards +infinity to a number of decimal places."""
    return _quantize(value, decimals, ROUND_CEILING)


def quantize_down(value: Decimal, decimals: int) -> Decimal:
    """Return value rounded towards -infinity to a number of decimal places."""
    return _quantize(value, decimals, ROUND_FLOOR)


def div_up(a: Decimal, b: Decimal, decimals: int) -> Decimal:
    """Return a / b rounded towards +infinity to a number of decimal places."""
    return _divide(a, b, decimals, ROUND_CEILING)


def div_down(a: Decimal, b: Decimal, decimals: int) -> Decimal:
    """Return a / b rounded towards -infinity to a number of decimal places."""
    return _divide(a, b, decimals, ROUND_FLOOR)


def _quantize(value: Decimal, decimals: int, rounding: str) -> Decimal:
    with localcontext(Context(prec=PRECISION, rounding=rounding, traps=_FATAL)):
        return value.quantize(Decimal(1).scaleb(-decimals))


def _divide(a: Decimal, b: Decimal, decimals: int, rounding: str) -> Decimal:
    # Rounding twice in one direction is rounding once: the coarse grid is part of the fine one.
    with localcontext(Context(prec=PRECISION, rounding=rounding, traps=_FATAL)):
        return (a / b).quantize(Decimal(1).scaleb(-decimals))
