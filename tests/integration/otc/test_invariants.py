"""An invariant that can not fail proves nothing: each is broken here by hand, past the verbs."""

import pytest
from django.db import connection

from lending.models import Book
from otc import invariants, tasks
from otc.models import Block, Commitment, Rfq, Settlement
from risk.models import LiquidationOrder


@pytest.fixture
def traded(desk):
    desk.until_quoted()
    for _ in range(3):
        desk.step()
        desk.wait()
    assert invariants.check() == []
    return desk


def broken():
    return {(violation.code, row.split()[0]) for violation in invariants.check() for row in violation.rows}


@pytest.mark.parametrize(
    ("breakage", "shown"),
    [
        (lambda: Block.objects.update(quantity=11), {("I6", "block")}),
        (
            lambda: LiquidationOrder.objects.update(committed_quantity=0, filled_quantity=10, cancelled_quantity=0),
            set(),
        ),
        (lambda: Commitment.objects.update(released_at=None, quantity=11), {("I6", "order")}),
        (lambda: Settlement.objects.update(quantity=9), {("I15", "fill")}),
        (lambda: Rfq.objects.update(collar_price=28_000), {("I7", "fill"), ("I16", "quote")}),
    ],
)
def test_each_is_noticed(traded, breakage, shown):
    breakage()
    assert broken() == shown


def test_a_posting_that_no_line_knows_is_noticed(traded):
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid)"
            " VALUES ('planted', 'planted', %s, %s, '\\x00', 0) RETURNING id",
            [traded.now, traded.now],
        )
        entry = cursor.fetchone()[0]
        for kind, amount, category in (("custody/USD/", 5, "balance_sheet"), ("fee_income/USD", -5, "mystery")):
            cursor.execute(
                "INSERT INTO lending_posting (entry_id, account_id, asset_id, amount, book_id, category, cause)"
                " SELECT %s, id, asset_id, %s, %s, %s, '' FROM lending_ledgeraccount"
                " WHERE key LIKE %s ORDER BY id LIMIT 1",
                [entry, amount, Book.objects.get(code="house").pk, category, f"{kind}%"],
            )
            assert cursor.rowcount == 1
    assert ("I14", "book") in broken()


def test_the_task_takes_one_step_at_platform_time(desk):
    assert tasks.trade() >= 0
    assert Block.objects.get().quantity == 10
