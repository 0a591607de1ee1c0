"""
What must hold in the books at every instant, each asked in one statement and so of one snapshot.

Tests, crash runs and the monitor of a running platform ask the same questions; nothing here trusts the rule that is
meant to keep an invariant from breaking.
"""

from dataclasses import dataclass

from django.db import connection

from lending import seals
from lending.engine.violations import Violation

SHOWN = 20  # rows of a broken invariant that are reported


@dataclass(frozen=True, slots=True)
class Question:
    """A statement that returns the rows which break an invariant."""

    code: str
    message: str
    sql: str


QUESTIONS = (
    Question(
        "I1",
        "postings of an entry sum to zero per asset and book",
        """
        SELECT e.idempotency_key, s.code AS asset, p.book_id, sum(p.amount) AS amount
        FROM lending_posting p JOIN lending_entry e ON e.id = p.entry_id JOIN lending_asset s ON s.id = p.asset_id
        GROUP BY e.id, s.code, p.book_id HAVING sum(p.amount) <> 0
        """,
    ),
    Question(
        "I1",
        "an entry has at least two postings",
        """
        SELECT e.idempotency_key, count(p.id) AS postings
        FROM lending_entry e LEFT JOIN lending_posting p ON p.entry_id = e.id GROUP BY e.id HAVING count(p.id) < 2
        """,
    ),
    Question(
        "I2",
        "a stored balance equals the sum of its account's postings",
        """
        SELECT a.key, b.amount AS stored, coalesce(p.amount, 0) AS postings
        FROM lending_ledgeraccount a
        LEFT JOIN lending_ledgerbalance b ON b.account_id = a.id
        LEFT JOIN (SELECT account_id, sum(amount) AS amount FROM lending_posting GROUP BY 1) p ON p.account_id = a.id
        WHERE b.amount IS DISTINCT FROM coalesce(p.amount, 0)
        """,
    ),
    Question(
        "I3",
        "what is owed to a client is never below zero, nor what a borrower owes",
        """
        SELECT a.key, b.amount FROM lending_ledgerbalance b JOIN lending_ledgeraccount a ON a.id = b.account_id
        WHERE a.kind IN ('deposits_pending', 'withdrawals_pending', 'client_free', 'client_reserved',
                         'client_pledged', 'collateral_to_return', 'liquidation_hold', 'sale_proceeds',
                         'deficiency_allowance') AND b.amount > 0
           OR a.kind IN ('loan_principal', 'interest_receivable', 'fees_receivable', 'deficiency_claim')
              AND b.amount < 0
        """,
    ),
    Question(
        "I3",
        "per asset, what is held, lent and in transit equals what is owed to clients and the desk's own",
        """
        SELECT s.code AS asset, sum(b.amount) AS difference
        FROM lending_ledgerbalance b JOIN lending_ledgeraccount a ON a.id = b.account_id
        JOIN lending_asset s ON s.id = a.asset_id GROUP BY s.code HAVING sum(b.amount) <> 0
        """,
    ),
    Question(
        "I3",
        "a pledge says what stands on the ledger as pledged and as held for a sale",
        """
        WITH booked AS (
            SELECT a.margin_account_id, a.asset_id,
                   -coalesce(sum(b.amount) FILTER (WHERE a.kind <> 'liquidation_hold'), 0) AS quantity,
                   -coalesce(sum(b.amount) FILTER (WHERE a.kind = 'liquidation_hold'), 0) AS held
            FROM lending_ledgeraccount a JOIN lending_ledgerbalance b ON b.account_id = a.id
            WHERE a.kind IN ('client_pledged', 'collateral_to_return', 'liquidation_hold') GROUP BY 1, 2
        )
        SELECT coalesce(p.margin_account_id, k.margin_account_id) AS margin_account, s.code AS asset,
               p.quantity, k.quantity AS booked, p.held_quantity, k.held AS booked_held
        FROM lending_pledge p
        FULL JOIN booked k ON k.margin_account_id = p.margin_account_id AND k.asset_id = p.asset_id
        JOIN lending_asset s ON s.id = coalesce(p.asset_id, k.asset_id)
        WHERE coalesce(p.quantity, 0) <> coalesce(k.quantity, 0)
           OR coalesce(p.held_quantity, 0) <> coalesce(k.held, 0)
        """,
    ),
    Question(
        "I3",
        "a standing instruction says what stands on the ledger as set aside",
        """
        WITH booked AS (
            SELECT a.margin_account_id, a.asset_id, -sum(b.amount) AS quantity
            FROM lending_ledgeraccount a JOIN lending_ledgerbalance b ON b.account_id = a.id
            WHERE a.kind = 'client_reserved' GROUP BY 1, 2
        ), said AS (
            SELECT margin_account_id, asset_id, sum(quantity) AS quantity FROM lending_standinginstruction GROUP BY 1, 2
        )
        SELECT margin_account_id, asset_id, s.quantity, k.quantity AS booked
        FROM said s FULL JOIN booked k USING (margin_account_id, asset_id)
        WHERE coalesce(s.quantity, 0) <> coalesce(k.quantity, 0)
        """,
    ),
    Question(
        "I3",
        "a loan says what stands on the ledger as principal, interest and fees due",
        """
        WITH booked AS (
            SELECT a.loan_id, coalesce(sum(b.amount) FILTER (WHERE a.kind = 'loan_principal'), 0) AS principal,
                   coalesce(sum(b.amount) FILTER (WHERE a.kind = 'interest_receivable'), 0) AS interest,
                   coalesce(sum(b.amount) FILTER (WHERE a.kind = 'fees_receivable'), 0) AS fees
            FROM lending_ledgeraccount a JOIN lending_ledgerbalance b ON b.account_id = a.id
            WHERE a.kind IN ('loan_principal', 'interest_receivable', 'fees_receivable') GROUP BY 1
        )
        SELECT l.public_id::text AS loan, l.principal_outstanding, k.principal, l.interest_due, k.interest,
               l.fees_due, k.fees
        FROM lending_loan l LEFT JOIN booked k ON k.loan_id = l.id
        WHERE (l.principal_outstanding, l.interest_due, l.fees_due)
           <> (coalesce(k.principal, 0), coalesce(k.interest, 0), coalesce(k.fees, 0))
        """,
    ),
    Question(
        "I11",
        "interest of a loan is posted once: the sum of its postings is what the loan says was posted",
        """
        SELECT l.public_id::text AS loan, l.interest_posted, k.posted
        FROM lending_loan l LEFT JOIN (
            SELECT loan_id, -sum(amount) AS posted FROM lending_posting
            WHERE category IN ('interest', 'default_interest') GROUP BY 1
        ) k ON k.loan_id = l.id
        WHERE l.interest_posted <> coalesce(k.posted, 0)
        """,
    ),
    Question(
        "I11",
        "at most one accrual closes a loan's day",
        """
        SELECT p.loan_id AS loan, (e.effective_at AT TIME ZONE 'UTC')::date AS day, count(DISTINCT e.id) AS entries
        FROM lending_entry e JOIN lending_posting p ON p.entry_id = e.id
        WHERE e.kind = 'accrual'
          AND e.idempotency_key LIKE '%:' || (e.effective_at AT TIME ZONE 'UTC')::date::text
        GROUP BY 1, 2 HAVING count(DISTINCT e.id) > 1
        """,
    ),
    Question(
        "I12",
        "nobody checks what they made",
        """
        SELECT 'approval' AS kind, id FROM lending_approval
        WHERE maker_id = checker_id OR state IN ('approved', 'rejected', 'executed') AND checker_id IS NULL
        UNION ALL
        SELECT 'loan', id FROM lending_loan WHERE made_by_id = approved_by_id
           OR state NOT IN ('quoted', 'accepted', 'cancelled') AND approved_by_id IS NULL
        UNION ALL
        SELECT 'release', id FROM lending_pledgemovement
        WHERE kind = 'release' AND (maker_id = checker_id OR maker_id IS NULL OR checker_id IS NULL)
        UNION ALL
        SELECT 'withdrawal', id FROM lending_withdrawal
        WHERE maker_id = checker_id OR checker_id IS NOT NULL AND maker_id IS NULL
        """,
    ),
    Question(
        "I15",
        "a loan goes only where a declared transition leads, and its events say how it got there",
        """
        WITH steps AS (
            SELECT loan_id, id, from_state, to_state, evidence,
                   lag(to_state) OVER (PARTITION BY loan_id ORDER BY id) AS before,
                   lead(id) OVER (PARTITION BY loan_id ORDER BY id) AS next_id
            FROM lending_loanevent
        )
        SELECT s.loan_id AS loan, s.from_state, s.to_state, l.state, 'undeclared' AS reason
        FROM steps s JOIN lending_loan l ON l.id = s.loan_id
        WHERE s.from_state <> '' AND NOT EXISTS (
            SELECT FROM lending_loantransition t WHERE t.from_state = s.from_state AND t.to_state = s.to_state
        ) AND NOT (s.from_state = s.to_state AND EXISTS (
            SELECT FROM lending_amendment a JOIN lending_termsheet t ON t.id = a.sheet_id
            WHERE a.state = 'in_force' AND encode(t.content_hash, 'hex') = s.evidence ->> 'sha256'
            UNION ALL
            SELECT FROM lending_ratestep r WHERE r.loan_id = s.loan_id AND r.fixing_id IS NOT NULL
               AND r.at = (s.evidence ->> 'at')::timestamptz AND r.number = (s.evidence ->> 'number')::integer
        ))
        UNION ALL
        SELECT s.loan_id, s.from_state, s.to_state, l.state, 'a step is missing'
        FROM steps s JOIN lending_loan l ON l.id = s.loan_id
        WHERE s.before IS NOT NULL AND s.before <> s.from_state OR s.next_id IS NULL AND s.to_state <> l.state
        UNION ALL
        SELECT l.id, '', '', l.state, 'no step was recorded' FROM lending_loan l
        WHERE l.state <> 'quoted' AND NOT EXISTS (SELECT FROM steps s WHERE s.loan_id = l.id)
        """,
    ),
)


def check() -> list[Violation]:
    """Return every invariant of the books that does not hold, with the rows that break it."""
    return [*_answers(), *_chains()]


def _answers() -> list[Violation]:
    found = []
    with connection.cursor() as cursor:
        for question in QUESTIONS:
            cursor.execute(question.sql)
            names = [column.name for column in cursor.description]
            rows = [
                ", ".join(f"{name}={value}" for name, value in zip(names, row, strict=True))
                for row in cursor.fetchmany(SHOWN)
            ]
            if rows:
                found.append(Violation(question.code, question.message, tuple(rows)))
    return found


def _chains() -> list[Violation]:
    broken = seals.verify_seals()
    rows = tuple(f"{link.chain} {link.seq} {link.subject}: {link.reason}" for link in broken[:SHOWN])
    return [Violation("I13", "the ledger and the audit trail verify link by link", rows)] if rows else []
