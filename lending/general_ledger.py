"""
The books for the desk's own general ledger: the journal of a month, and what it moves per account.

A journal rests on the sealed ledger up to one link of its chain: the same month, link and codes give the same bytes for
ever. What it moves ties to the balances that the database keeps; where the two differ, entries wait for their seal.
"""

import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Max

from lending import access, audit, closing
from lending.engine import money
from lending.engine.cells import safe
from lending.engine.chart import AccountKind
from lending.models import Asset, GlCode, Seal, User

MAKERS = closing.MAKERS
COLUMNS = (
    "seal", "entry", "effective_at", "recorded_at", "entry_kind", "gl_code", "gl_name", "account", "asset", "debit",
    "credit", "client", "loan", "cause",
)  # fmt: skip

_LINES = """
SELECT s.seq, e.idempotency_key, e.effective_at, e.recorded_at, e.kind, a.kind, asset.code, p.amount,
       coalesce(c.public_id::text, ''), coalesce(l.public_id::text, ''), p.cause
FROM lending_entry e
JOIN lending_seal s ON s.entry_id = e.id
JOIN lending_posting p ON p.entry_id = e.id
JOIN lending_ledgeraccount a ON a.id = p.account_id
JOIN lending_asset asset ON asset.id = p.asset_id
LEFT JOIN lending_client c ON c.id = p.client_id
LEFT JOIN lending_loan l ON l.id = p.loan_id
WHERE e.effective_at >= %(start)s AND e.effective_at < %(end)s AND s.seq <= %(upto)s
ORDER BY s.seq, p.id
"""

# Balances are kept by the database: what they were is what they are less what was posted since.
_MOVED = """
WITH since AS (
    SELECT p.account_id,
           sum(p.amount) AS moved,
           sum(p.amount) FILTER (WHERE e.effective_at >= %(end)s) AS later,
           sum(greatest(p.amount, 0)) FILTER (WHERE e.effective_at < %(end)s AND s.seq <= %(upto)s) AS debit,
           sum(greatest(-p.amount, 0)) FILTER (WHERE e.effective_at < %(end)s AND s.seq <= %(upto)s) AS credit
      FROM lending_entry e
      JOIN lending_posting p ON p.entry_id = e.id
      LEFT JOIN lending_seal s ON s.entry_id = e.id
     WHERE e.effective_at >= %(start)s
     GROUP BY p.account_id
)
SELECT a.kind, asset.code, sum(b.amount - coalesce(m.moved, 0)), sum(b.amount - coalesce(m.later, 0)),
       coalesce(sum(m.debit), 0), coalesce(sum(m.credit), 0)
  FROM lending_ledgerbalance b
  JOIN lending_ledgeraccount a ON a.id = b.account_id
  JOIN lending_asset asset ON asset.id = a.asset_id
  LEFT JOIN since m ON m.account_id = b.account_id
 GROUP BY a.kind, asset.code
"""


class UnableToExport(Exception):
    """A journal can not be written, or a code not be set; the message says why."""


@dataclass(frozen=True, slots=True)
class Total:
    """What a month's journal moves over one GL account in one asset, between two balances; debit-positive."""

    code: str
    name: str
    asset: str
    opening: Decimal
    debit: Decimal
    credit: Decimal
    closing: Decimal

    @property
    def unsealed(self) -> Decimal:
        """Return what the balances moved by beyond the journal: what is not sealed, or sealed after its link."""
        with money.exact():
            return self.closing - self.opening - self.debit + self.credit


def last_seal() -> int:
    """Return the newest link of the ledger's chain."""
    return Seal.objects.aggregate(last=Max("seq"))["last"] or 0


def to_csv(month: date, *, upto: int) -> str:
    """
    Return the journal of a month as CSV with COLUMNS, of what was sealed up to a link of the chain.

    Amounts in full, in units of their asset, on one side each; instants in UTC; the order is that of the chain.

    Raises
    ------
    UnableToExport
        If a kind of account that was posted on has no GL code.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(_journal(month, upto))
    return text.getvalue()


def totals(month: date, *, upto: int) -> list[Total]:
    """Return what a month moves per GL account and asset; an account without a code goes by its kind."""
    codes = _codes()
    found: dict[tuple[str, str, str], list[Decimal]] = {}
    with connection.cursor() as cursor, money.exact():
        cursor.execute(_MOVED, _bounds(month, upto))
        for kind, asset, *amounts in cursor.fetchall():
            code, name = codes.get((kind, asset)) or codes.get((kind, "")) or ("", kind.replace("_", " "))
            standing = found.setdefault((code, name, asset), [money.ZERO] * 4)
            for place, amount in enumerate(amounts):
                standing[place] += amount
    return [
        Total(*of, opening, debit, credit, closing_)
        for of, (opening, closing_, debit, credit) in sorted(found.items())
        if any((opening, closing_, debit, credit))
    ]


def codes() -> list[GlCode]:
    """Return a row for every kind of account, those without a code unsaved, and after each what single assets have."""
    standing = GlCode.objects.select_related("asset").order_by("asset__code")
    rows: dict[str, list[GlCode]] = {kind.value: [] for kind in AccountKind}
    for row in standing:
        rows[row.kind].insert(0 if row.asset is None else len(rows[row.kind]), row)
    for kind, found in rows.items():
        if not found or found[0].asset is not None:
            found.insert(0, GlCode(kind=kind))
    return [row for found in rows.values() for row in found]


@transaction.atomic
def set_code(kind: str, asset: Asset | None, *, code: str, name: str, by: User, now: datetime) -> GlCode:
    """
    Say under which code a kind of account goes into the general ledger, for all assets or for one.

    Raises
    ------
    UnableToExport
        If the kind is none, or code or name are empty, too long or, of a code, more than one word.
    lending.access.UnableToAccess
        If the user is neither of operations nor the head of the desk.
    """
    access.require_role(by, *MAKERS)
    if kind not in set(AccountKind):
        raise UnableToExport(f"{kind} is no kind of account")
    number, called = code.strip(), " ".join(name.split())
    if not number or len(number) > 20 or len(number.split()) != 1:
        raise UnableToExport("a GL code is one word of at most 20 characters, as 1200")
    if not called or len(called) > 80:
        raise UnableToExport("say what the account is called, in at most 80 characters")
    before = GlCode.objects.select_for_update().filter(kind=kind, asset=asset).first()
    facts = {"kind": kind, "asset": asset.code if asset else "", "code": number, "name": called}
    if before is not None and (before.code, before.name) == (number, called):
        return before
    row, _ = GlCode.objects.update_or_create(kind=kind, asset=asset, defaults={"code": number, "name": called})
    was = {"code": before.code, "name": before.name} if before else None
    audit.write("gl_code_set", actor=by, obj=row, before=was, after=facts, now=now)
    return row


def _journal(month: date, upto: int) -> Iterator[list[str]]:
    known = _codes()
    with transaction.atomic(), connection.chunked_cursor() as cursor:
        cursor.execute(_LINES, _bounds(month, upto))
        while rows := cursor.fetchmany(2000):
            for row in rows:
                yield _line(known, *row)


def _line(known: Mapping[tuple[str, str], tuple[str, str]], seal: int, key: str, *rest: Any) -> list[str]:
    effective_at, recorded_at, of, kind, asset, amount, client, loan, cause = rest
    found = known.get((kind, asset)) or known.get((kind, ""))
    if found is None:
        raise UnableToExport(f"{kind.replace('_', ' ')} has no GL code: set one first")
    code, name = found
    instants = [at.astimezone(UTC).isoformat() for at in (effective_at, recorded_at)]
    sides = [money.text(amount), ""] if amount > 0 else ["", money.text(amount.copy_negate())]
    return [str(seal), safe(key), *instants, of, safe(code), safe(name), kind, asset, *sides, client, loan, safe(cause)]


def _codes() -> dict[tuple[str, str], tuple[str, str]]:
    rows = GlCode.objects.values_list("kind", "asset__code", "code", "name")
    return {(kind, asset or ""): (code, name) for kind, asset, code, name in rows}


def _bounds(month: date, upto: int) -> dict[str, Any]:
    first = month.replace(day=1)
    return {"start": datetime.combine(first, time.min, tzinfo=UTC), "end": closing.end_of(first), "upto": upto}
