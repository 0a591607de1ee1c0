"""The invariants of the books: silent on sound books, and each one speaks when it is broken behind the guards' back."""

import json
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from io import StringIO

import psycopg
import pytest
from django.core.management import call_command
from django.db import connection

from lending import invariants, ledger
from lending.engine import entries
from lending.engine.entries import Heading
from lending.models import Approval, Loan, LoanEvent, Pledge
from tests.factories.lending import AT, AssetFactory, BookFactory, LoanFactory, UserFactory

D = Decimal


@pytest.fixture
def loan(real_db: str) -> Loan:
    """A client with 2 BTC pledged, 0.5 of them held, and interest of 13.89 posted."""
    loan: Loan = LoanFactory()
    btc, heading = AssetFactory(code="BTC"), Heading("deposit", AT, BookFactory().pk, client_id=loan.client_id)
    account = loan.margin_account_id
    ledger.post_many(
        [
            entries.deposit(heading, asset="BTC", quantity=D(2), custodian="paper"),
            entries.pledge(replace(heading, key="p"), asset="BTC", quantity=D(2), margin_account_id=account),
        ],
        now=AT,
    )
    ledger.post_many(
        [
            entries.hold(replace(heading, key="h"), asset="BTC", quantity=D("0.5"), margin_account_id=account),
            entries.accrual(
                replace(heading, key=f"accrual:{loan.public_id}:2021-05-19", loan_id=loan.pk),
                asset="USD",
                amount=D("13.89"),
            ),
        ],
        now=AT,
    )
    Pledge.objects.create(
        client=loan.client,
        margin_account=loan.margin_account,
        asset=btc,
        quantity=D("1.5"),
        held_quantity=D("0.5"),
    )
    loan.interest_due = loan.interest_posted = D("13.89")
    loan.save()
    maker = UserFactory()
    Approval.objects.create(kind="x", payload={}, payload_hash=b"", maker=maker, requested_at=AT, expires_at=AT)
    return loan


@pytest.fixture
def intruder(loan: Loan) -> Iterator[psycopg.Cursor[tuple[object, ...]]]:
    """The owner with triggers and constraints out of the way."""
    config = connection.settings_dict
    with psycopg.connect(
        host=config["HOST"], port=config["PORT"] or None, user="owner", dbname=config["NAME"], autocommit=True
    ) as owner:
        cursor = owner.cursor()
        for table in ("entry", "posting", "loan", "loanevent", "seal"):
            cursor.execute(f"ALTER TABLE lending_{table} DISABLE TRIGGER USER")
        cursor.execute("ALTER TABLE lending_ledgerbalance DROP CONSTRAINT balance_within_guard")
        cursor.execute("ALTER TABLE lending_approval DROP CONSTRAINT approval_maker_is_not_checker")
        cursor.execute("ALTER TABLE lending_loan DROP CONSTRAINT loan_active_was_approved")
        yield cursor


# What is done, how it is undone, and which invariants must speak.
BREAKS = (
    (
        "UPDATE lending_posting SET amount = amount + 1 WHERE id = 1",
        "UPDATE lending_posting SET amount = amount - 1 WHERE id = 1",
        {"I1", "I2", "I13"},
    ),
    (
        """INSERT INTO lending_entry (idempotency_key, kind, effective_at, recorded_at, content_hash, txid)
        VALUES ('empty', '', now(), now(), '', 0)""",
        "DELETE FROM lending_entry WHERE idempotency_key = 'empty'",
        {"I1", "I13"},
    ),
    (
        "UPDATE lending_ledgerbalance SET amount = amount + 1",
        "UPDATE lending_ledgerbalance SET amount = amount - 1",
        {"I2", "I3"},
    ),
    ("UPDATE lending_pledge SET quantity = 2", "UPDATE lending_pledge SET quantity = 1.5", {"I3"}),
    ("UPDATE lending_pledge SET held_quantity = 0", "UPDATE lending_pledge SET held_quantity = 0.5", {"I3"}),
    ("UPDATE lending_loan SET fees_due = 1", "UPDATE lending_loan SET fees_due = 0", {"I3"}),
    ("UPDATE lending_loan SET interest_posted = 14", "UPDATE lending_loan SET interest_posted = 13.89", {"I11"}),
    ("UPDATE lending_approval SET checker_id = maker_id", "UPDATE lending_approval SET checker_id = NULL", {"I12"}),
    ("UPDATE lending_loan SET state = 'active'", "UPDATE lending_loan SET state = 'quoted'", {"I12", "I15"}),
)


def test_sound_books_break_nothing(loan: Loan) -> None:
    ledger.seal(now=AT)
    assert invariants.check() == []


def test_each_invariant_speaks(intruder: psycopg.Cursor[tuple[object, ...]]) -> None:
    ledger.seal(now=AT)
    for broken, mended, codes in BREAKS:
        intruder.execute(broken)
        found = invariants.check()
        assert {violation.code for violation in found} == codes, broken
        assert all(violation.rows for violation in found)
        intruder.execute(mended)
        assert invariants.check() == [], mended


def test_an_undeclared_step_and_a_missing_one_speak(loan: Loan) -> None:
    for before, after, reason in (("quoted", "closed", "undeclared"), ("matured", "quoted", "a step is missing")):
        LoanEvent.objects.create(
            client=loan.client, loan=loan, from_state=before, to_state=after, cause="forged", happened_at=AT
        )
        assert reason in str([violation.rows for violation in invariants.check() if violation.code == "I15"])


def test_a_second_accrual_of_one_day_speaks(loan: Loan) -> None:
    heading = Heading("other:2021-05-19", AT, loan.book_id, client_id=loan.client_id, loan_id=loan.pk)
    ledger.post(entries.accrual(heading, asset="USD", amount=D("13.89")), now=AT)
    assert [violation.message for violation in invariants.check() if violation.code == "I11"] == [
        "interest of a loan is posted once: the sum of its postings is what the loan says was posted",
        "at most one accrual closes a loan's day",
    ]


def test_the_command_prints_one_object_and_exits_by_what_it_found(loan: Loan) -> None:
    # Nothing is ordered here, so risk would ask what the hold is for.
    heading = Heading("u", AT, loan.book_id, client_id=loan.client_id)
    unheld = entries.unhold(heading, asset="BTC", quantity=D("0.5"), margin_account_id=loan.margin_account_id)
    ledger.post(unheld, now=AT)
    Pledge.objects.update(quantity=2, held_quantity=0)
    out = StringIO()
    call_command("check_invariants", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"invariants": "ok"}
    Pledge.objects.update(quantity=3)
    out = StringIO()
    with pytest.raises(SystemExit) as left:
        call_command("check_invariants", "--json", stdout=out)
    assert left.value.code == 1
    (broken,) = json.loads(out.getvalue())["invariants"]
    assert broken["code"] == "I3"
    assert "booked=2.0" in broken["rows"][0]


def test_the_hash_command_prints_the_hash(loan: Loan) -> None:
    out = StringIO()
    call_command("ledger_hash", "--json", stdout=out)
    assert json.loads(out.getvalue()) == {"ledger_hash": ledger.ledger_hash()}
