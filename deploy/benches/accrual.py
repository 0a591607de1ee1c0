"""A day's interest of many loans, against one set-based INSERT of as many ledger rows."""

import statistics
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, transaction

from deploy import databases
from deploy.benches import desk as desks
from deploy.benches.compare import Result, UnableToBench, against
from deploy.demo import onboarded
from lending import clock, interest
from lending.models import Client, Loan, LoanState, User

# A day's accruals once more under other keys, as one statement: all that the books demand of an entry is done.
_GUARDED = """
    WITH entry AS (
        INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid)
        SELECT idempotency_key || %(suffix)s, kind, effective_at, recorded_at, content_hash, 0
          FROM lending_entry WHERE kind = 'accrual' AND effective_at = %(day)s
        RETURNING id, idempotency_key
    )
    INSERT INTO lending_posting (entry_id, account_id, asset_id, amount, category, client_id, loan_id, book_id, cause)
    SELECT entry.id, p.account_id, p.asset_id, p.amount, p.category, p.client_id, p.loan_id, p.book_id, p.cause
      FROM lending_entry before JOIN entry ON entry.idempotency_key = before.idempotency_key || %(suffix)s
      JOIN lending_posting p ON p.entry_id = before.id
     WHERE before.kind = 'accrual' AND before.effective_at = %(day)s
"""
# The same rows into tables of the same columns without a key, an index, a guard or a balance.
_BARE = """
    WITH entry AS (
        INSERT INTO bare_entry SELECT * FROM lending_entry WHERE kind = 'accrual' AND effective_at = %(day)s
           AND idempotency_key NOT LIKE '%%' || %(suffix)s RETURNING id
    )
    INSERT INTO bare_posting SELECT p.* FROM lending_posting p JOIN entry ON entry.id = p.entry_id
"""


def run(*, loans: int = 10_000, rounds: int = 5) -> list[Result]:
    """
    Compare `interest.accrue_due` for one day of a book with one INSERT of the entries and postings that it writes.

    Accrual reads the loans and their payments, works the interest out exactly, writes entries, postings and loans,
    and commits. The INSERT copies a day's rows inside the database: into the ledger with its guards and balances,
    and into tables that have none.
    """
    with databases.scratch():
        first = clock.wall_now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        desks.fill(loans, now=first, assets=20)
        _fund()
        _bare_tables()
        taken = [_round(first + timedelta(days=number), loans) for number in range(1, rounds + 2)]
        connection.close()
    # The first day opens the loans' accounts; it is not timed.
    accrued_s, guarded_s, bare_s = (statistics.median(seconds) for seconds in zip(*taken[1:], strict=True))
    rows = f"{loans} entries and {2 * loans} postings"
    ours = f"interest.accrue_due, a day of {loans} loans: {rows}, {loans} loans changed"
    sizes = {"loans": loans, "rounds": rounds}
    kept, bare = f"one INSERT of {rows}, guards and balances kept", "the same INSERT into tables without key or guard"
    return [
        *against(kept, guarded_s, [("accrual", ours, accrued_s, "reported")], **sizes),
        *against(bare, bare_s, [("accrual bare", ours, accrued_s, "reported")], **sizes),
    ]


def _round(midnight: datetime, loans: int) -> tuple[float, float, float]:
    """Return the seconds of a day's accrual, and of its rows as one INSERT, into the books and past them."""
    began = time.perf_counter()
    days = interest.accrue_due(now=midnight)
    accrued = time.perf_counter()
    if days != loans:
        raise UnableToBench(f"a day of {loans} loans should have been posted, not {days}")
    with transaction.atomic(), connection.cursor() as cursor:
        values: dict[str, Any] = {"day": midnight - timedelta(microseconds=1), "suffix": ":again"}
        again = time.perf_counter()
        cursor.execute(_GUARDED, values)
    guarded = time.perf_counter()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_BARE, values)
    bare = time.perf_counter()
    return accrued - began, guarded - again, bare - guarded


def _fund() -> None:
    """Move the quoted loans of a filled desk through the declared states, as rows, so that they accrue."""
    checker, funder = (User.objects.create(email=f"{one}@bench.example", name=one) for one in ("checker", "funder"))
    now = clock.wall_now()
    client = Client.objects.get()
    onboarded.rules(by=checker, second=client.relationship_manager, now=now)
    onboarded.complete([onboarded.Newcomer(client=client, signers=[])], checker=checker, now=now)
    Loan.objects.update(approved_by=checker, funded_by=funder, interest_due=0, interest_posted=0)
    desks.sign(Loan.objects.all(), by=checker, now=now)
    for state in (LoanState.ACCEPTED, LoanState.APPROVED, LoanState.COLLATERAL_PENDING, LoanState.ACTIVE):
        Loan.objects.update(state=state)


def _bare_tables() -> None:
    name = str(connection.settings_dict["NAME"])
    with psycopg.connect(databases.url_of(settings.OWNER_DATABASE_URL, name)) as owner:
        for table in ("entry", "posting"):
            owner.execute(f"CREATE TABLE bare_{table} (LIKE lending_{table})".encode())
            owner.execute(f"GRANT INSERT, SELECT ON bare_{table} TO app".encode())
