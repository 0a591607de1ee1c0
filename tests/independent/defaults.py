"""
A sale for a default, as a sceptic goes after it: from what was asked, told and paid, and who agreed, by plain SQL.

What was asked is taken from the notices that went out; that it was not paid, from the payments; that something is
owed, from the postings.
"""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

KINDS = {"payment_default", "maturity_default", "recall_default"}
_WHOLE = {"maturity": "maturity_default", "recall": "recall_default"}
DAY = timedelta(days=1)

# Who agreed is none where it was one person, something else, or later than the sale was declared.
_SALES = """
SELECT c.margin_account_id, c.episode, c.loan_id, c.kind, c.declared_at, l.grace_days,
       (SELECT count(*) FROM lending_approval v
        WHERE v.id = c.approval_id AND v.kind = 'sell_for_default' AND v.state = 'executed'
          AND v.maker_id <> v.checker_id AND v.decided_at <= c.declared_at AND v.payload ->> 'loan' = l.public_id::text)
FROM risk_salecause c JOIN lending_loan l ON l.id = c.loan_id
"""
_ASKED = """
SELECT loan_id, kind, amount, announced_at, due_at, default_at FROM lending_obligation
WHERE amount > 0 AND state NOT IN ('cancelled', 'replaced')
"""
_PAID = """
SELECT r.loan_id, coalesce(r.arrived_at, r.received_at), r.amount - r.surplus - r.make_whole FROM lending_repayment r
WHERE r.kind = 'cash' AND NOT EXISTS (SELECT FROM lending_correction x WHERE x.repayment_id = r.id
                                      AND x.kind = 'reversal')
"""
_TOLD = """
SELECT l.id, (SELECT max(first) FROM (SELECT min(d.delivered_at) AS first FROM lending_noticedelivery d
                                      WHERE d.notice_id = n.id GROUP BY d.channel HAVING min(d.delivered_at) IS NOT NULL
              ) channels)
FROM lending_notice n JOIN lending_loan l ON n.key LIKE 'loan_default:' || l.public_id::text || ':%%'
WHERE 2 <= (SELECT count(DISTINCT d.channel) FROM lending_noticedelivery d
            WHERE d.notice_id = n.id AND d.delivered_at IS NOT NULL)
"""
_OWED = """
SELECT l.loan_id, a.code, e.effective_at, p.amount
FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id JOIN lending_asset a ON a.id = p.asset_id
JOIN lending_ledgeraccount l ON l.id = p.account_id
JOIN risk_salecause c ON c.loan_id = l.loan_id
WHERE l.kind IN ('loan_principal', 'interest_receivable', 'fees_receivable')
GROUP BY p.id, l.loan_id, a.code, e.effective_at, p.amount
"""


@dataclass(frozen=True)
class Asked:
    """What a notice asked for, and until when."""

    kind: str
    amount: Decimal
    announced_at: datetime
    due_at: datetime
    default_at: datetime


class RawDefaults:
    """The sales for a default of one database, with what they rest on."""

    def __init__(self, cursor: Any) -> None:
        self._sales = {(row[0], row[1]): row[2:] for row in _rows(cursor, _SALES)}
        self._asked: dict[int, list[Asked]] = defaultdict(list)
        self._paid: dict[int, list[tuple[datetime, Decimal]]] = defaultdict(list)
        self._told: dict[int, list[datetime]] = defaultdict(list)
        self._owed: dict[int, list[tuple[str, datetime, Decimal]]] = defaultdict(list)
        for loan, *asked in _rows(cursor, _ASKED):
            self._asked[loan].append(Asked(*asked))
        for loan, at, amount in _rows(cursor, _PAID):
            self._paid[loan].append((at, amount))
        for loan, at in _rows(cursor, _TOLD):
            self._told[loan].append(at)
        for loan, code, at, amount in _rows(cursor, _OWED):
            self._owed[loan].append((code, at, amount))

    def why_wrong(self, account: int, episode: int) -> str:
        """Return what is missing behind the sale for a default of an account's episode; "" when nothing is."""
        sale = self._sales.get((account, episode))
        if sale is None:
            return "a sale for a default that names no loan"
        loan, kind, declared_at, grace_days, agreed = sale
        if not agreed:
            return "no two persons had agreed to a sale for the default"
        over = [
            asked
            for asked in self._asked[loan]
            if _WHOLE.get(asked.kind, "payment_default") == kind
            and asked.default_at <= declared_at
            and asked.default_at >= asked.due_at + (1 + grace_days) * DAY
        ]
        if not over:
            return f"nothing was asked for whose grace was over: no {kind}"
        first = min(asked.default_at for asked in over)
        if not any(first <= at <= declared_at for at in self._told[loan]):
            return "the letter of the default has no evidence of delivery on two channels before the sale"
        if not any(self._unpaid(loan, asked) for asked in over):
            return "what was asked for had been paid within its grace"
        return ""

    def owed(self, account: int, episode: int, at: datetime) -> dict[str, Decimal]:
        """Return what was owed of the loan that a sale was for, by asset, as posted by an instant."""
        debt: dict[str, Decimal] = defaultdict(Decimal)
        for code, posted_at, amount in self._owed[self._sales[account, episode][0]]:
            if posted_at <= at:
                debt[code] += amount
        return debt

    def _unpaid(self, loan: int, asked: Asked) -> bool:
        """Return whether less came in than was asked, while it was open; what was open before takes its part first."""
        if asked.kind in _WHOLE:  # paid only with everything
            posted = sum((amount for _, at, amount in self._owed[loan] if at <= asked.default_at), Decimal(0))
            return posted > 0
        if self._came(loan, asked.announced_at, asked.default_at) < asked.amount:
            return True
        return any(
            self._came(loan, older.announced_at, asked.announced_at) < older.amount
            and self._came(loan, older.announced_at, asked.default_at) < older.amount + asked.amount
            for older in self._asked[loan]
            if older.due_at < asked.due_at
        )

    def _came(self, loan: int, start: datetime, end: datetime) -> Decimal:
        return sum((amount for at, amount in self._paid[loan] if start <= at < end), Decimal(0))


def _rows(cursor: Any, statement: str) -> list[tuple[Any, ...]]:
    cursor.execute(statement)
    return list(cursor.fetchall())
