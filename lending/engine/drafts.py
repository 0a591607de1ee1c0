"""What an entry is before it is posted: balanced lines on natural account keys, with a content hash."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from lending.engine import money
from lending.engine.chart import CLIENT_KINDS, AccountKind, Category, category_fits


class UnableToDraft(ValueError):
    """Raised when lines do not form an entry: unbalanced, empty, or on accounts they do not belong to."""


@dataclass(frozen=True, slots=True)
class AccountKey:
    """The natural name of a ledger account; `asset` is its code, `party` a custodian, dealer or lender."""

    kind: AccountKind
    asset: str
    client_id: int | None = None
    margin_account_id: int | None = None
    loan_id: int | None = None
    book_id: int | None = None
    party: str = ""

    def text(self) -> str:
        """Return the key as it is stored: `client_pledged/BTC/c12/m34`."""
        parts = [self.kind.value, self.asset]
        for letter, value in (
            ("c", self.client_id),
            ("m", self.margin_account_id),
            ("l", self.loan_id),
            ("b", self.book_id),
        ):
            if value is not None:
                parts.append(f"{letter}{value}")
        if self.party:
            parts.append(f"@{self.party}")
        return "/".join(parts)


@dataclass(frozen=True, slots=True)
class Line:
    """A signed amount on one account: debit-positive."""

    account: AccountKey
    amount: Decimal
    category: Category = Category.BALANCE_SHEET


@dataclass(frozen=True, slots=True)
class Heading:
    """
    What all postings of one entry share.

    `key` is the natural idempotency key; `effective_at` belongs to the fact, not to the attempt to book it, or a
    repeated attempt would carry other content. client_id and loan_id are the dimensions of every posting, also of
    those on accounts of the house.
    """

    key: str
    effective_at: datetime
    book_id: int
    cause: str = ""
    client_id: int | None = None
    loan_id: int | None = None


@dataclass(frozen=True, slots=True)
class Draft:
    """A balanced entry that is not yet posted."""

    heading: Heading
    kind: str
    lines: tuple[Line, ...]

    @property
    def idempotency_key(self) -> str:
        return self.heading.key

    def content_hash(self) -> bytes:
        """Return the SHA-256 of what the entry says; the order of its lines does not matter."""
        h = self.heading
        lines = sorted(
            line_text(
                line.account.text(),
                line.amount,
                line.category,
                client_id=line.account.client_id or h.client_id,
                loan_id=line.account.loan_id or h.loan_id,
                book_id=h.book_id,
                cause=h.cause,
            )
            for line in self.lines
        )
        return hash_content(h.key, self.kind, h.effective_at, lines)


def line_text(
    account: str,
    amount: Decimal,
    category: str,
    *,
    client_id: int | None,
    loan_id: int | None,
    book_id: int,
    cause: str,
) -> str:
    """Return the canonical text of one posting."""
    return f"{account}|{amount_text(amount)}|{category}|{client_id or ''}|{loan_id or ''}|{book_id}|{cause}"


def amount_text(amount: Decimal) -> str:
    """Return an amount with all 18 decimals, so that 1 and 1.0 read alike."""
    return f"{amount:.{money.DECIMALS}f}"


def instant_text(at: datetime) -> str:
    """Return an instant in UTC with microseconds."""
    return at.astimezone(UTC).isoformat(timespec="microseconds")


def hash_content(key: str, kind: str, effective_at: datetime, lines: list[str]) -> bytes:
    """Return the SHA-256 of an entry's canonical text; `lines` are sorted texts of its postings."""
    text = "\n".join([key, kind, instant_text(effective_at), *lines])
    return hashlib.sha256(text.encode()).digest()


def draft(heading: Heading, kind: str, *lines: Line) -> Draft:
    """
    Return the entry made of these lines; lines of amount zero are left out.

    Raises
    ------
    UnableToDraft
        If fewer than two lines remain, an asset does not sum to zero, an amount has more than 18 decimals, a
        category does not fit its account, or a client's account lacks its client.
    """
    kept = tuple(line for line in lines if line.amount != 0)
    if heading.effective_at.tzinfo is None:
        raise UnableToDraft(f"{heading.key}: effective_at has no time zone")
    if len(kept) < 2:
        raise UnableToDraft(f"{heading.key}: an entry needs at least two postings")
    totals: defaultdict[str, Decimal] = defaultdict(Decimal)
    with money.exact():
        for line in kept:
            _check(heading, line)
            totals[line.account.asset] += line.amount
    unbalanced = {asset: str(total) for asset, total in totals.items() if total}
    if unbalanced:
        raise UnableToDraft(f"{heading.key}: does not sum to zero: {unbalanced}")
    return Draft(heading=heading, kind=kind, lines=kept)


def _check(heading: Heading, line: Line) -> None:
    if not line.amount.is_finite() or line.amount != money.quantize_down(line.amount, money.DECIMALS):
        raise UnableToDraft(f"{heading.key}: {line.amount} is not an amount of at most {money.DECIMALS} decimals")
    if not category_fits(line.account.kind, line.category):
        raise UnableToDraft(f"{heading.key}: {line.category} does not belong on {line.account.text()}")
    unclaimed = line.account.kind == AccountKind.DEPOSITS_PENDING and line.account.client_id is None
    if (line.account.kind in CLIENT_KINDS) != (line.account.client_id is not None) and not unclaimed:
        raise UnableToDraft(f"{heading.key}: {line.account.text()} has a client where none belongs, or lacks one")
