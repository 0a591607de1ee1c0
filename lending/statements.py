"""
Statements of account: what a client had and owed, and every posting that changed it, for a period.

A statement rests on the sealed ledger up to one link of its chain. What lies below a link never changes, so the same
client, period and link give the same statement for ever, whatever is booked or dated back later.
"""

import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

from django.db.models import QuerySet, Sum

from lending import ports
from lending.engine import capitalisation, money
from lending.engine.cells import safe
from lending.engine.chart import GUARDS, SECURED_KINDS, AccountKind
from lending.models import Client, LedgerAccount, Posting, Seal

MOST_DAYS = 366
MOST_LINES = 20_000
_DAY = timedelta(days=1)

# What a client sees of the chart of accounts; the desk's own allowance against a claim is not theirs to see.
LABELS = {
    AccountKind.CLIENT_FREE: "Free balance",
    AccountKind.CLIENT_RESERVED: "Set aside for margin calls",
    AccountKind.CLIENT_PLEDGED: "Collateral pledged",
    AccountKind.COLLATERAL_TO_RETURN: "Collateral to be returned",
    AccountKind.LIQUIDATION_HOLD: "Collateral held for a sale",
    AccountKind.SALE_PROCEEDS: "Proceeds being settled",
    AccountKind.DEPOSITS_PENDING: "Transfers in, being credited",
    AccountKind.WITHDRAWALS_PENDING: "Transfers out, under way",
    AccountKind.LOAN_PRINCIPAL: "Principal owed",
    AccountKind.INTEREST_RECEIVABLE: "Interest owed",
    AccountKind.FEES_RECEIVABLE: "Fees owed",
    AccountKind.DEFICIENCY_CLAIM: "Owed after a shortfall",
}
_KINDS = tuple(LABELS)
_INTEREST = AccountKind.INTEREST_RECEIVABLE
_COLLATERAL = {LABELS[kind] for kind in (*SECURED_KINDS, AccountKind.LIQUIDATION_HOLD)}


class UnableToDraw(ValueError):
    """The period is none, is not over before it begins, or is too long; the message says which."""


@dataclass(frozen=True, slots=True)
class Basis:
    """The link of the ledger's chain that a statement rests on: all that was sealed up to it, and when that was."""

    seq: int
    sealed_at: datetime | None
    hash: str


@dataclass(frozen=True, slots=True)
class Row:
    """One change: when it counts, when the desk knew of it, what it was, by how much, and what then stood."""

    effective_at: datetime
    recorded_at: datetime
    what: str
    change: Decimal
    balance: Decimal


@dataclass(frozen=True, slots=True)
class Section:
    """One account over the period, in units of its asset; amounts owed by the client are positive on their accounts."""

    label: str
    asset: str
    of: str
    owed: bool
    opening: Decimal
    rows: tuple[Row, ...]
    closing: Decimal


@dataclass(frozen=True, slots=True)
class Held:
    """Collateral at the end of the period: its units, and its value in USD by the newest mark of before then."""

    asset: str
    of: str
    quantity: Decimal
    price: Decimal | None
    quality: str
    age_s: int | None
    value: Decimal | None


@dataclass(frozen=True, slots=True)
class Earned:
    """
    Interest of one loan that was booked in the period, in its asset, and by which rules; days that booked some.

    `grown` is the interest that became principal in the period, whenever it was earned.
    """

    of: str
    asset: str
    day_count: str
    days: int
    interest: Decimal
    grown: Decimal


@dataclass(frozen=True, slots=True)
class Statement:
    """The accounts of a client over [from_date, to_date], both days whole in UTC; collateral valued at `valued_at`."""

    client: Client
    from_date: date
    to_date: date
    basis: Basis
    sections: tuple[Section, ...]
    earned: tuple[Earned, ...]
    held: tuple[Held, ...]
    valued_at: datetime

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the statement's CSV: two copies are the same when these are."""
        return hashlib.sha256(as_csv(self).encode()).hexdigest()


def basis(*, known_at: datetime | None = None, seq: int | None = None) -> Basis:
    """
    Return the link that a statement rests on: the one named, or the newest that was sealed by an instant, or at all.

    Raises
    ------
    UnableToDraw
        If no link has that number.
    """
    links = Seal.objects.order_by("-seq")
    if seq is not None:
        links = links.filter(seq=seq)
    elif known_at is not None:
        links = links.filter(sealed_at__lte=known_at)
    link = links.first()
    if link is None:
        if seq:
            raise UnableToDraw(f"nothing is sealed under the number {seq}")
        return Basis(0, None, "")
    return Basis(link.seq, link.sealed_at, bytes(link.hash).hex())


def draw(client: Client, *, from_date: date, to_date: date, rests_on: Basis) -> Statement:
    """
    Return a client's statement for a period of whole UTC days, both included, as known at a link of the chain.

    Raises
    ------
    UnableToDraw
        If the period ends before it begins, is longer than a year, or holds more lines than a person could read.
    """
    if to_date < from_date:
        raise UnableToDraw("the period ends before it begins")
    if (to_date - from_date).days >= MOST_DAYS:
        raise UnableToDraw(f"a statement covers at most {MOST_DAYS} days")
    start_at = datetime.combine(from_date, time.min, tzinfo=UTC)
    end_at = datetime.combine(to_date, time.min, tzinfo=UTC) + _DAY
    known = Posting.objects.filter(account__client=client, account__kind__in=_KINDS, entry__seal__seq__lte=rests_on.seq)
    before = known.filter(entry__effective_at__lt=start_at).values_list("account")
    opening = dict(before.annotate(total=Sum("amount")).order_by())
    inside = known.filter(entry__effective_at__gte=start_at, entry__effective_at__lt=end_at)
    changes = _changes(inside)
    accounts = LedgerAccount.objects.filter(pk__in={*opening, *changes}).select_related(
        "asset", "loan", "margin_account"
    )
    ordered = sorted(accounts, key=lambda account: (_KINDS.index(AccountKind(account.kind)), account.key))
    sections = [_section(account, opening.get(account.pk, money.ZERO), changes[account.pk]) for account in ordered]
    earned = [_earned(account, changes[account.pk]) for account in ordered if account.kind == _INTEREST]
    # Nothing that became known after the link may show, so no later mark either.
    valued_at = min(end_at, rests_on.sealed_at or end_at)
    return Statement(
        client=client,
        from_date=from_date,
        to_date=to_date,
        basis=rests_on,
        sections=tuple(section for section in sections if section.rows or section.opening),
        earned=tuple(row for row in earned if row.interest or row.grown),
        held=_held([section for section in sections if section.label in _COLLATERAL and section.closing], valued_at),
        valued_at=valued_at,
    )


def _earned(account: LedgerAccount, postings: Sequence[Posting]) -> Earned:
    """Return what accrued on a loan; its day count is that of its term sheet."""
    loan, booked = account.loan, [row for row in postings if row.entry.kind in ("accrual", "accrual_correction")]
    if loan is None:
        raise UnableToDraw(f"{account} bears interest and belongs to no loan")
    moved = [row for row in postings if row.entry.kind in capitalisation.KINDS]
    with money.exact():
        interest = sum((row.amount for row in booked), money.ZERO)
        grown = -sum((row.amount for row in moved), money.ZERO)
    days = {row.entry.effective_at.astimezone(UTC).date() for row in booked}
    return Earned(shown_as(account), account.asset.code, loan.day_count, len(days), interest, grown)


def _held(sections: Sequence[Section], at: datetime) -> tuple[Held, ...]:
    marks = ports.valuer()({section.asset for section in sections}, at=at) if sections else {}
    found = []
    for section in sections:
        mark = marks.get(section.asset)
        if mark is None:
            found.append(Held(section.asset, section.of, section.closing, None, "", None, None))
            continue
        # To cents, downwards: nobody's collateral is stated higher than it is.
        with money.exact():
            value = money.quantize_down(section.closing * mark.price, 2)
        age_s = int((at - mark.at).total_seconds())
        found.append(Held(section.asset, section.of, section.closing, mark.price, mark.quality, age_s, value))
    return tuple(found)


def _changes(inside: QuerySet[Posting]) -> defaultdict[int, list[Posting]]:
    rows = list(
        inside.select_related("entry").order_by("entry__effective_at", "entry__seal__seq", "pk")[: MOST_LINES + 1]
    )
    if len(rows) > MOST_LINES:
        raise UnableToDraw(f"the period holds more than {MOST_LINES:,} lines; ask for a shorter one")
    changes: defaultdict[int, list[Posting]] = defaultdict(list)
    for row in rows:
        changes[row.account_id].append(row)
    return changes


def _section(account: LedgerAccount, opening: Decimal, postings: Sequence[Posting]) -> Section:
    kind = AccountKind(account.kind)
    owed = GUARDS[kind] > 0
    # The ledger is debit-positive: what a client has stands there with a minus.
    balance = _shown(opening, owed)
    first, rows = balance, []
    for posting in postings:
        change = _shown(posting.amount, owed)
        with money.exact():
            balance += change
        entry = posting.entry
        rows.append(Row(entry.effective_at, entry.recorded_at, _what(entry.kind, kind, change), change, balance))
    return Section(LABELS[kind], account.asset.code, shown_as(account), owed, first, tuple(rows), balance)


def shown_as(account: LedgerAccount) -> str:
    """Return what an account belongs to, as its client knows it; nothing for what is the client's alone."""
    of = account.loan or account.margin_account
    return "" if of is None else f"{'loan' if account.loan else 'margin account'} {str(of.public_id)[:8]}"


def _shown(amount: Decimal, owed: bool) -> Decimal:
    return amount if owed or not amount else amount.copy_negate()


def _what(kind: str, account: AccountKind, change: Decimal) -> str:
    if kind == "repayment" and account == AccountKind.FEES_RECEIVABLE and change > 0:
        return "Make-whole, for paying early"  # a repayment raises no other fee
    if kind in capitalisation.KINDS:
        return "Interest became principal" if kind == "capitalisation" else "Became principal, anew"
    return kind.replace("_", " ").capitalize()


def as_csv(statement: Statement) -> str:
    """Return a statement as CSV: one line per opening, change and closing, amounts in full, instants in UTC."""
    text = io.StringIO()
    write = csv.writer(text, lineterminator="\r\n").writerow
    write(("account", "of", "asset", "effective_at", "recorded_at", "what", "change", "balance"))
    for section in statement.sections:
        named = (safe(section.label), section.of, section.asset)
        write((*named, statement.from_date.isoformat(), "", "Opening balance", "", money.text(section.opening)))
        for row in section.rows:
            instants = (row.effective_at.astimezone(UTC).isoformat(), row.recorded_at.astimezone(UTC).isoformat())
            write((*named, *instants, safe(row.what), money.text(row.change), money.text(row.balance)))
        write((*named, statement.to_date.isoformat(), "", "Closing balance", "", money.text(section.closing)))
    for earned in statement.earned:
        of = (earned.of, earned.asset, statement.to_date.isoformat(), "")
        by = f"{earned.day_count}, {earned.days} days booked"
        write(("Interest earned", *of, by, money.text(earned.interest), ""))
        if earned.grown:
            write(("Interest that became principal", *of, "in the period", money.text(earned.grown), ""))
    for held in statement.held:
        at = statement.valued_at.astimezone(UTC).isoformat()
        mark = f"at {money.text(held.price)} USD, mark {held.quality}, {held.age_s} s old" if held.price else "no mark"
        value = "" if held.value is None else money.text(held.value)
        write(("Collateral value, USD", held.of, held.asset, at, "", mark, money.text(held.quantity), value))
    return text.getvalue()
