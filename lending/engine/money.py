"""Exact arithmetic for money and quantities; every rounding says its direction in its name."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import (
    ROUND_05UP,
    ROUND_CEILING,
    ROUND_DOWN,
    ROUND_FLOOR,
    ROUND_HALF_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    ROUND_UP,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
    localcontext,
)
from fractions import Fraction
from typing import Self

PRECISION = 60
DECIMALS = 18  # columns are numeric(38, 18)
ZERO = Decimal(0)

MODES = (
    ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_UP, ROUND_05UP,
)  # fmt: skip

_FATAL = [InvalidOperation, DivisionByZero, Overflow, FloatOperation]


@dataclass(frozen=True, slots=True)
class Rounding:
    """
    A rounding that two parties agreed: amounts are multiples of a step, and a mode says where what lies between goes.

    Ledger amounts are never rounded by it: there the direction stands in the function's name.

    Raises
    ------
    ValueError
        If the step is not above zero, or the mode is none of the decimal module's.
    """

    step: Decimal = Decimal("0.01")
    mode: str = ROUND_HALF_EVEN

    def __post_init__(self) -> None:
        if not is_positive(self.step):
            raise ValueError(f"amounts can not be multiples of {self.step}; cents are 0.01")
        if self.mode not in MODES:
            raise ValueError(f"unknown rounding mode {self.mode!r}; known are {', '.join(MODES)}")

    @classmethod
    def of(cls, agreed: Self | Decimal | int | str) -> Self:
        """Return a rounding as it is, or to a Decimal step, to a number of decimals, or to cents by a named mode."""
        if isinstance(agreed, cls):
            return agreed
        if isinstance(agreed, Decimal):
            return cls(step=agreed)
        if isinstance(agreed, str):
            return cls(mode=agreed)
        if isinstance(agreed, int) and not isinstance(agreed, bool) and agreed >= 0:
            return cls(step=Decimal(1).scaleb(-agreed))
        raise ValueError(f"{agreed!r} is no rounding: give a number of decimals, a Decimal step or a mode's name")

    def apply(self, value: Decimal | Fraction) -> Decimal:
        """Return the multiple of the step that stands for an exact value."""
        whole, over = divmod(Fraction(value) / Fraction(self.step), 1)
        # Which side of the middle it lies on is all that a mode asks, however many digits the value has.
        place = (
            Decimal("0.5") if over == Fraction(1, 2) else Decimal("0.25") if over < Fraction(1, 2) else Decimal("0.75")
        )
        with localcontext(Context(prec=PRECISION, rounding=self.mode, traps=_FATAL)):
            return (whole + (place if over else ZERO)).quantize(Decimal(1)) * self.step


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
