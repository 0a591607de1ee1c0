"""Bank statements, imported once: the same file, or one that overlaps an earlier one, adds only what is new."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal

from django.db import connection, transaction

from lending import access, audit, bank_files, bank_matching, ids
from lending.bank_lines import WORKERS
from lending.engine import money
from lending.models import BankAccount, BankLine, BankStatement, User


class UnableToImport(ValueError):
    """A statement is not taken; nothing of its file is. The message says why."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What came of one statement of a file."""

    statement: BankStatement
    is_new: bool
    new_lines: int
    known_lines: int


@transaction.atomic
def import_file(data: bytes, *, file_name: str, by: User | None, now: datetime) -> list[Taken]:
    """
    Take the statements of a file down and match their lines; the same file, or one that overlaps, adds what is new.

    Raises
    ------
    UnableToImport
        If the file is no statement that adds up, is for an account or in a currency that is not ours, contradicts what
        was imported before, or ends after today.
    lending.access.UnableToAccess
        If a person imports it who is not of operations.
    """
    if by is not None:
        access.require_role(by, *WORKERS)
    try:
        found = bank_files.read(data)
    except bank_files.UnableToRead as broken:
        raise UnableToImport(str(broken)) from broken
    digest = hashlib.sha256(data).hexdigest()
    taken = [_take(statement, digest, file_name[:120], by, now) for statement in found]
    bank_matching.match_due(now=now)
    return taken


def _take(found: bank_files.Statement, digest: str, file_name: str, by: User | None, now: datetime) -> Taken:
    account = _account(found)
    if found.closing_date > now.astimezone(UTC).date():
        raise UnableToImport(f"statement {found.number} closes on {found.closing_date}, and today is {now:%Y-%m-%d}")
    statement, is_new = BankStatement.objects.get_or_create(
        account=account,
        number=found.number,
        closing_date=found.closing_date,
        defaults={
            "asset": account.asset,
            "form": found.form,
            "opening_date": found.opening_date,
            "opening": found.opening,
            "closing": found.closing,
            "file_name": file_name,
            "sha256": digest,
            "imported_by": by,
            "imported_at": now,
        },
    )
    if (statement.opening, statement.closing) != (found.opening, found.closing):
        raise UnableToImport(
            f"statement {statement} was imported before, from {money.text(statement.opening)} to "
            f"{money.text(statement.closing)}: this one goes from {money.text(found.opening)} to "
            f"{money.text(found.closing)}"
        )
    keys = list(_keys(found.lines))
    known = {row.key: row for row in BankLine.objects.filter(account=account, key__in=keys)}
    new = []
    for key, line in zip(keys, found.lines, strict=True):
        _check_line(line, account, known.get(key), found.number)
        if key not in known:
            new.append(_row(key, line, statement, now))
    BankLine.objects.bulk_create(new)
    if is_new:
        facts = {"number": statement.number, "lines": len(new), "file": file_name, "sha256": digest}
        audit.write("bank_statement_imported", actor=by, obj=statement, after=facts, now=now)
    return Taken(statement, is_new, len(new), len(known))


def _account(found: bank_files.Statement) -> BankAccount:
    """Return the account that a statement is about, locked: two files are taken one after the other."""
    said = _bare(found.account)
    for account in BankAccount.objects.select_for_update(of=("self",)).select_related("asset").order_by("pk"):
        ours = _bare(account.identifier)
        if said in {ours, ours + account.asset.code}:
            if found.currency != account.asset.code:
                said_in = found.currency or "no currency"
                raise UnableToImport(
                    f"statement {found.number} is in {said_in}; the account {account} is kept in {account.asset}"
                )
            return account
    raise UnableToImport(f"the account {found.account} of statement {found.number} is none of the desk's")


def _bare(identifier: str) -> str:
    return "".join(letter for letter in identifier.upper() if letter.isalnum())


def _keys(lines: Sequence[bank_files.Line]) -> Iterator[str]:
    """
    Return what makes each line the same one in another statement: its day and the bank's reference, or all it says.

    Lines that say the same on one day are told apart by their order, as a statement repeats whole days.
    """
    seen: Counter[str] = Counter()
    for line in lines:
        said = f"{line.value_date}|{money.text(line.amount)}|{line.end_to_end}|{line.payer}|{line.text}"
        name = f"ref:{line.ref}" if line.ref else hashlib.sha256(said.encode()).hexdigest()[:40]
        key = f"{line.booked_date}:{name}"
        seen[key] += 1
        yield key if seen[key] == 1 else f"{key}#{seen[key]}"


def _check_line(line: bank_files.Line, account: BankAccount, known: BankLine | None, number: str) -> None:
    where = f"statement {number}, line {line.position}"
    if line.amount != money.quantize_down(line.amount, account.asset.decimals):
        raise UnableToImport(f"{where}: {money.text(line.amount)} is finer than {account.asset}")
    if known is not None and known.amount != line.amount:
        raise UnableToImport(
            f"{where}: {line.ref} of {line.booked_date} was imported before with {money.text(known.amount)}, "
            f"not {money.text(line.amount)}"
        )


def _row(key: str, line: bank_files.Line, statement: BankStatement, now: datetime) -> BankLine:
    ended = datetime.combine(line.value_date, time.max, tzinfo=UTC)
    # A bank that says only the day is believed for its end: an earlier instant could undo a deadline that had passed.
    arrived_at = line.booked_at if line.booked_at and line.booked_at.date() == line.value_date else ended
    return BankLine(
        public_id=ids.derived("bank_line", statement.account.code, key),
        account=statement.account,
        statement=statement,
        asset=statement.account.asset,
        key=key,
        position=line.position,
        ref=line.ref,
        end_to_end=line.end_to_end,
        booked_date=line.booked_date,
        value_date=line.value_date,
        arrived_at=min(arrived_at, now) if line.value_date <= now.astimezone(UTC).date() else ended,
        amount=line.amount,
        payer=line.payer,
        text=line.text,
    )


# --- bank and books side by side ------------------------------------------------------------------------------------

_STANDING = """
WITH last AS (
    SELECT DISTINCT ON (account_id) account_id, closing, closing_date FROM lending_bankstatement
    ORDER BY account_id, closing_date DESC, id DESC
), cash AS (
    SELECT last.account_id, p.amount, e.effective_at, line.id AS line_id,
           (SELECT min(opening_date) FROM lending_bankstatement s WHERE s.account_id = last.account_id) AS first_date
    FROM last JOIN lending_bankaccount b ON b.id = last.account_id
    JOIN lending_ledgeraccount a ON a.kind = 'custody' AND a.party = b.custodian AND a.asset_id = b.asset_id
    JOIN lending_posting p ON p.account_id = a.id
    JOIN lending_entry e ON e.id = p.entry_id
    LEFT JOIN lending_bankline line ON line.entry_id = e.id
    WHERE e.effective_at < (last.closing_date + 1)::timestamp AT TIME ZONE 'UTC'
), booked AS (
    SELECT account_id, sum(amount) AS amount,
           sum(amount) FILTER (
               WHERE line_id IS NULL AND effective_at >= first_date::timestamp AT TIME ZONE 'UTC'
           ) AS unlined
    FROM cash GROUP BY account_id
), lines AS (
    SELECT account_id, sum(amount) FILTER (WHERE state = 'open') AS open,
           sum(amount) FILTER (WHERE state = 'not_ours') AS not_ours
    FROM lending_bankline GROUP BY account_id
)
SELECT last.account_id, last.closing_date, last.closing, coalesce(booked.amount, 0), coalesce(-booked.unlined, 0),
       coalesce(lines.open, 0), coalesce(lines.not_ours, 0)
FROM last LEFT JOIN booked USING (account_id) LEFT JOIN lines USING (account_id)
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """
    A bank account at the end of its last statement: what the bank says, what the books say, and why they differ.

    `difference` is bank less books, and the sum of its parts: `open` and `not_ours` are lines that no entry accounts
    for, `unlined` entries since the first statement that no line shows, which take from it. `before` is what remains:
    it was so when the first statement opened.
    """

    account: BankAccount
    closing_date: date
    closing: Decimal
    booked: Decimal
    unlined: Decimal
    open: Decimal
    not_ours: Decimal

    @property
    def difference(self) -> Decimal:
        with money.exact():
            return self.closing - self.booked

    @property
    def before(self) -> Decimal:
        with money.exact():
            return self.difference - self.open - self.not_ours - self.unlined


def standing() -> list[Standing]:
    """Return each bank account that has a statement, held against the books."""
    with connection.cursor() as cursor:
        cursor.execute(_STANDING)
        rows = cursor.fetchall()
    known = BankAccount.objects.select_related("asset").in_bulk([row[0] for row in rows])
    return sorted((Standing(known[row[0]], *row[1:]) for row in rows), key=lambda one: one.account.name)
