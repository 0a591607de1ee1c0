"""A bank statement as any bank could have sent it."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from lending.engine import money

SIZE = 5_000_000  # bytes
LINES = 10_000  # of one statement
_MOST = Decimal(10) ** 18
_TEXT = 1_000
_REF = 120


class UnableToRead(ValueError):
    """A file is no bank statement that can be believed; the message says why, and where."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """
    One booked movement: `amount` is positive where money came in.

    `ref` is the bank's own reference, `end_to_end` the one that whoever pays gave; each "" where there is none. `text`
    is what the payer wrote. `booked_at` is known only where the bank says more than the day.
    """

    position: int
    ref: str
    end_to_end: str
    booked_date: date
    value_date: date
    amount: Decimal
    payer: str
    text: str
    booked_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Statement:
    """The movements of one account between two balances, positive where the account is in credit."""

    form: str
    account: str
    number: str
    currency: str
    opening: Decimal
    closing: Decimal
    opening_date: date
    closing_date: date
    lines: tuple[Line, ...]

    def check(self) -> None:
        """
        Check that the lines lead from the opening to the closing balance.

        Raises
        ------
        UnableToRead
            If they do not, if there are too many, or the period ends before it begins.
        """
        if len(self.lines) > LINES:
            raise UnableToRead(f"statement {self.number} has {len(self.lines):,} lines; at most {LINES:,} are taken")
        if self.closing_date < self.opening_date:
            raise UnableToRead(
                f"statement {self.number} closes on {self.closing_date}, before it opens on {self.opening_date}"
            )
        with money.exact():
            total = sum((line.amount for line in self.lines), money.ZERO)
            reached = self.opening + total
        if reached != self.closing:
            raise UnableToRead(
                f"statement {self.number} does not add up: opening {money.text(self.opening)} and lines of "
                f"{money.text(total)} make {money.text(reached)}, but it closes at {money.text(self.closing)}"
            )


def amount(words: str, where: str) -> Decimal:
    """Return an amount that is written without a sign."""
    try:
        value = Decimal(words.strip())
    except InvalidOperation:
        raise UnableToRead(f"{where}: {words.strip()[:40]!r} is no amount") from None
    if not value.is_finite() or not 0 <= value < _MOST:
        raise UnableToRead(f"{where}: {words.strip()[:40]} is not an amount that an account can have")
    if value != money.quantize_down(value, money.DECIMALS):
        raise UnableToRead(f"{where}: {words.strip()[:40]} has more than {money.DECIMALS} decimals")
    return value


def plain(words: str, *, most: int = _TEXT) -> str:
    """Return words on one line, without what no page could show."""
    printable = "".join(letter if letter.isprintable() else " " for letter in words)
    return " ".join(printable.split())[:most]


def reference(words: str) -> str:
    """Return a reference, or nothing where the bank says that there is none."""
    said = plain(words, most=_REF)
    return "" if said.upper() in {"NONREF", "NOTPROVIDED", "NOT PROVIDED"} else said
