"""Raw observations, and why some of them are refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

LARGEST = Decimal(10) ** 12
SMALLEST = Decimal(10) ** -12
PRICE_DECIMALS = 18
LARGEST_JUMP = 100
JUMP_FORGOTTEN_AFTER = timedelta(hours=1)
CLOCK_TOLERANCE = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class SourceTick:
    """A price of base in units of quote as one source published it at an instant."""

    source: str
    base: str
    quote: str
    price: Decimal
    at: datetime

    @property
    def pair(self) -> str:
        """Return the pair as BASE-QUOTE."""
        return f"{self.base}-{self.quote}"


def refusal(
    tick: SourceTick, *, received_at: datetime, last_at: datetime | None, last_price: Decimal | None
) -> str | None:
    """
    Return the reason for which a tick is refused, None if it may be recorded.

    Refused are NaN, infinite, zero and negative prices, absurd ones (beyond 10^±12, or a hundredfold jump from the
    same source's last price within an hour), times in the future, and times that are not after the source's last.
    """
    fault = _price_fault(tick.price) or _time_fault(tick.at, received_at=received_at, last_at=last_at)
    if fault:
        return fault
    if last_price and last_at is not None and tick.at - last_at < JUMP_FORGOTTEN_AFTER:
        low, high = sorted((tick.price, last_price))
        if high > LARGEST_JUMP * low:
            return "absurd"
    return None


def _price_fault(price: Decimal) -> str | None:
    """Return what is wrong with a price by itself."""
    if not isinstance(price, Decimal) or price.is_nan():
        return "nan"
    if price.is_infinite():
        return "infinite"
    if price <= 0:
        return "negative" if price < 0 else "zero"
    return None if SMALLEST <= price <= LARGEST else "absurd"


def _time_fault(at: datetime, *, received_at: datetime, last_at: datetime | None) -> str | None:
    """Return what is wrong with the time of a tick."""
    if at.tzinfo is None:
        return "naive_time"
    if at > received_at + CLOCK_TOLERANCE:
        return "future"
    if last_at is None or at > last_at:
        return None
    return "repeated" if at == last_at else "older"
