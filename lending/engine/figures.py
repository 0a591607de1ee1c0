"""Figures on paper: exact to the last digit, because people sign them and other programs read them back."""

from datetime import UTC, date, datetime
from decimal import Decimal

from lending.engine import money

CASH = frozenset({"USD", "EUR", "USDC", "USDT"})
_SPANS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
_CENTS = 2


def amount(value: Decimal, asset: str) -> str:
    """Return an amount beside its asset: every digit that counts, thousands apart, cash with its cents."""
    return f"{bare(value, asset)} {asset}"


def bare(value: Decimal, asset: str) -> str:
    """Return an amount as `amount` does, where the asset stands beside it already."""
    whole, _, part = money.text(value).partition(".")
    part = part.ljust(_CENTS, "0") if asset in CASH else part
    sign, digits = ("−", whole[1:]) if whole.startswith("-") else ("", whole)
    return f"{sign}{int(digits):,}" + (f".{part}" if part else "")


def percent(ratio: Decimal) -> str:
    """Return a ratio as a percentage with every digit that counts."""
    return f"{money.text(ratio.scaleb(2))} %"


def span(seconds: int) -> str:
    """Return a length of time to the second: 1 d 6 h, 90 s as 1 min 30 s, nothing as 0 s."""
    parts = []
    for name, size in _SPANS:
        count, seconds = divmod(seconds, size)
        if count:
            parts.append(f"{count} {name}")
    return " ".join(parts) or "0 s"


def day(value: date) -> str:
    """Return a day."""
    return f"{value:%d %b %Y}"


def instant(at: datetime) -> str:
    """Return an instant in UTC, with parts of a second only where it has some."""
    at = at.astimezone(UTC)
    part = f".{at.microsecond:06d}".rstrip("0") if at.microsecond else ""
    return f"{at:%d %b %Y %H:%M:%S}{part} UTC"
