"""What is typed after a command, read: what can not be is refused with how it is written."""

from argparse import ArgumentTypeError
from datetime import UTC, date, datetime
from decimal import Decimal

from lending import csv_tables


def day(text: str) -> date:
    """Return a date, as 2026-11-23."""
    if (found := csv_tables.day(text)) is None:
        raise ArgumentTypeError(f"{text!r} is no date, such as 2026-11-23")
    return found


def instant(text: str) -> datetime:
    """Return an instant, as 2026-11-23T09:30, in UTC where it says no other zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise ArgumentTypeError(f"{text!r} is no time, such as 2026-11-23T09:30") from error
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def number(text: str) -> Decimal:
    """Return a plain number, as 0.01."""
    if (found := csv_tables.number(text)) is None:
        raise ArgumentTypeError(f"{text!r} is no number, such as 0.01")
    return found
