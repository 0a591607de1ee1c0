"""Bank statements: imported once, matched by references, and what is left worked by a person, or by two."""

import datetime as dt
from decimal import Decimal

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from lending import (
    access,
    approvals,
    bank_lines,
    bank_matching,
    bank_statements,
    custody,
    ledger,
    matching,
    reconciliation,
)
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.models import (
    Approval,
    BankAccount,
    BankLine,
    BankStatement,
    Deposit,
    DepositAddress,
    Entry,
    Loan,
    Posting,
    Repayment,
    Role,
    User,
)
from tests import bad_input
from tests.factories import lending as make
from tests.factories.bank import BankAccountFactory, camt, line, mt940

pytestmark = pytest.mark.django_db
D = Decimal
NOW = make.NOW
LATER = NOW + dt.timedelta(hours=30)
REFERENCE = "usd-0123456789abcdef0123456789abcdef"


def take(data: bytes, *, now: dt.datetime = LATER) -> list[bank_statements.Taken]:
    return bank_statements.import_file(data, file_name="statement.xml", by=None, now=now)


def only() -> BankLine:
    return BankLine.objects.select_related("account", "asset").get()


def olga() -> User:
    return make.staff("olga", Role.OPERATIONS)


def payable(loan: Loan) -> DepositAddress:
    """Return the payment reference under which a loan is paid."""
    return DepositAddress.objects.create(
        client=loan.client, margin_account=loan.margin_account, asset=loan.asset,
        purpose=DepositAddress.Purpose.REPAYMENT, address=REFERENCE, created_at=NOW,
    )  # fmt: skip


@pytest.fixture
def bank() -> BankAccount:
    return BankAccountFactory()


@pytest.fixture
def loan(custodian: PaperCustodian) -> Loan:
    return make.active_loan(payout_address="wire:1")


# --- import ---------------------------------------------------------------------------------------------------------


def test_the_same_file_twice_and_overlaps_add_only_what_is_new(bank: BankAccount) -> None:
    first, second, third = line("10", "A"), line("20", "B"), line("30")
    (taken,) = take(camt(first, second))
    assert (taken.is_new, taken.new_lines, taken.known_lines) == (True, 2, 0)
    (taken,) = take(camt(first, second))
    assert (taken.is_new, taken.new_lines, taken.known_lines) == (False, 0, 2)
    (taken,) = take(mt940(second, third, third, opening="10", number="2"))
    assert (taken.is_new, taken.new_lines, taken.known_lines) == (True, 2, 1)
    (taken,) = take(mt940(third, third, opening="30", number="3"))
    assert (taken.new_lines, taken.known_lines) == (0, 2)
    assert sorted(BankLine.objects.values_list("amount", flat=True)) == [10, 20, 30, 30]


BAD = {
    "another account": camt(line("1"), account="DE89370400440532013000"),
    "another currency": camt(line("1"), currency="EUR"),
    "tomorrow's": camt(line("1"), day="2021-05-21"),
    "finer than cents": camt(line("1.005"), number="2"),
    "does not add up": camt(line("1"), closing="2"),
    "no statement": b"hello",
    "another end": camt(line("10", "A"), line("5", "Z")),
    "another amount": camt(line("11", "A"), number="2"),
}


def test_a_file_that_is_not_taken_leaves_nothing(bank: BankAccount) -> None:
    take(camt(line("10", "A")))
    read = {}
    for case, data in BAD.items():
        with pytest.raises(bank_statements.UnableToImport) as refusal:
            take(data)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.IMPORTS, "Bank statements: what is not ours, or not so", read)
    assert (BankStatement.objects.count(), BankLine.objects.count()) == (1, 1)


def test_a_file_is_taken_whole_or_not_at_all(bank: BankAccount) -> None:
    with pytest.raises(bank_statements.UnableToImport, match="none of the desk's"):
        take(mt940(line("1")) + mt940(line("2"), number="2", account="DE1"))
    assert not BankStatement.objects.exists()


def test_only_operations_import(bank: BankAccount) -> None:
    rhea = make.staff("rhea", Role.RISK)
    with pytest.raises(access.UnableToAccess, match="does not hold the role operations"):
        bank_statements.import_file(camt(line("1")), file_name="x", by=rhea, now=LATER)


def test_the_command_takes_files_and_says_what_came(bank: BankAccount, tmp_path, capsys) -> None:
    path = tmp_path / "may.xml"
    path.write_bytes(camt(line("10", "A", day="2021-05-18"), day="2021-05-18"))
    call_command("bank_statement", str(path))
    assert "Alpine Bank, dollars 1 of 2021-05-18: 1 new line, 0 known" in capsys.readouterr().out
    path.write_bytes(b"hello")
    read = {}
    for case, name in (("a file that is no statement", "may.xml"), ("a file that is not there", "none.xml")):
        with pytest.raises(CommandError) as refusal:
            call_command("bank_statement", str(tmp_path / name))
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.COMMANDS, "bank_statement", read)


# --- matching -------------------------------------------------------------------------------------------------------


def test_what_was_reported_live_is_confirmed_and_not_booked_again(loan: Loan, custodian: PaperCustodian) -> None:
    BankAccountFactory(custodian="paper", reported_live=True)
    address = payable(loan)
    custodian.simulate_deposit("wire-1", address=address.address, asset="USD", quantity=D(5000), at=NOW)
    take(camt(line("5000", "wire-1", REFERENCE)), now=LATER)
    assert only().state == BankLine.State.OPEN
    custody.poll_due(now=LATER)
    custody.credit_due(now=LATER)
    assert bank_matching.match_due(now=LATER) == 1
    assert only().entry.idempotency_key == "deposit:paper:wire-1"
    assert Repayment.objects.count() == 1
    assert reconciliation.reconcile(now=LATER) == 0


def test_a_live_receipt_is_found_by_its_payment_reference(loan: Loan, custodian: PaperCustodian) -> None:
    BankAccountFactory(custodian="paper", reported_live=True)
    address = payable(loan)
    custodian.simulate_deposit("live-id", address=address.address, asset="USD", quantity=D(5000), at=NOW)
    custody.poll_due(now=LATER)
    custody.credit_due(now=LATER)
    parted = f"{REFERENCE[:20]} {REFERENCE[20:]}".upper()
    take(camt(line("4999", "B-1", REFERENCE), line("5000", "B-2", parted), line("5000", "B-3", REFERENCE)))
    states = dict(BankLine.objects.values_list("ref", "state"))
    assert states == {"B-1": "open", "B-2": "matched", "B-3": "open"}


def test_an_expected_receipt_is_booked_once_and_pays_from_its_value_date(loan: Loan, bank: BankAccount) -> None:
    payable(loan)
    take(camt(line("5000", "B-1", f"loan {REFERENCE} may")))
    take(camt(line("5000", "B-1", f"loan {REFERENCE} may")))
    payment = Repayment.objects.get()
    assert (payment.amount, payment.received_at.date()) == (5000, dt.date(2021, 5, 19))
    assert only().entry.idempotency_key == "deposit:alpine:B-1"
    assert ledger.balance(accounts.custody("USD", "alpine")) == 5000


def test_a_line_that_names_two_clients_is_left_to_a_person(loan: Loan, bank: BankAccount) -> None:
    payable(loan)
    other = make.active_loan()
    DepositAddress.objects.create(
        client=other.client, margin_account=other.margin_account, asset=other.asset,
        purpose=DepositAddress.Purpose.REPAYMENT, address="usd-feed", created_at=NOW,
    )  # fmt: skip
    take(camt(line("5000", "B-1", f"{REFERENCE} usd-feed")))
    assert only().state == BankLine.State.OPEN


def test_transfers_out_are_found_by_our_id_and_by_the_custodians(loan: Loan, custodian: PaperCustodian) -> None:
    BankAccountFactory(custodian="paper", reported_live=True)
    custody.send_due(now=NOW + dt.timedelta(minutes=10))
    custody.send_due(now=NOW + dt.timedelta(minutes=20))
    entry = Entry.objects.get(kind="withdrawal")
    from lending.models import Withdrawal

    row = Withdrawal.objects.get()
    take(camt(line(f"-{row.quantity}", "B-9", e2e=str(row.public_id)), opening="2000000"))
    assert only().entry == entry


# --- a person's work ------------------------------------------------------------------------------------------------


def test_one_person_gives_a_small_receipt_to_a_loan(loan: Loan, bank: BankAccount) -> None:
    take(camt(line("900", "B-1", "rent?", "J. Doe")))
    assert bank_lines.assign(only(), loan, reason="they wrote", maker=olga(), now=LATER) is None
    payment = Repayment.objects.get()
    assert (payment.loan, payment.amount) == (loan, 900)
    assert only().entry.idempotency_key == "deposit:alpine:B-1"
    assert ledger.owed(accounts.deposits_pending("USD")) == 0


def test_above_the_limit_a_second_person_gives_it(loan: Loan, bank: BankAccount) -> None:
    take(camt(line("5000", "B-1", payer="J. Doe")))
    asked = bank_lines.assign(only(), loan, reason="they wrote", maker=olga(), now=LATER)
    assert asked is not None
    assert ledger.owed(accounts.deposits_pending("USD")) == 5000  # at the bank it is, whoever it belongs to
    assert not Repayment.objects.exists()
    with pytest.raises(bank_lines.UnableToAccount, match="waits for a second person already"):
        bank_lines.assign(only(), loan, reason="again", maker=olga(), now=LATER)
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=False, now=LATER)
    again = bank_lines.assign(only(), loan, reason="it is theirs", maker=olga(), now=LATER)
    assert again is not None
    approvals.decide(again, checker=make.staff("rhea", Role.RISK), approve=True, now=LATER)
    assert Repayment.objects.get().amount == 5000
    assert Deposit.objects.get(custodian="alpine").state == Deposit.State.CREDITED


def test_what_a_statement_told_first_is_not_counted_when_reported_live(loan: Loan, custodian: PaperCustodian) -> None:
    BankAccountFactory(custodian="paper", reported_live=True)
    address = payable(loan)
    take(camt(line("900", "wire-1", REFERENCE)))
    bank_lines.assign(only(), loan, reason="no report came", maker=olga(), now=LATER)
    custodian.simulate_deposit("wire-1", address=address.address, asset="USD", quantity=D(900), at=NOW)
    custodian.simulate_deposit("wire-2", address=address.address, asset="USD", quantity=D(100), at=NOW)
    assert custody.poll_due(now=LATER) == 1
    custody.credit_due(now=LATER)
    assert sorted(Repayment.objects.values_list("amount", flat=True)) == [100, 900]
    assert reconciliation.reconcile(now=LATER) == 0


def test_a_person_ties_a_line_to_what_is_in_the_books(loan: Loan, custodian: PaperCustodian) -> None:
    BankAccountFactory(custodian="paper", reported_live=True)
    make.give(loan.client, "USD", "900")
    take(camt(line("900", "odd", "no reference")))
    (entry,) = bank_lines.candidates(only())
    assert bank_lines.tie(only(), entry, reason="amount and day", maker=olga(), now=LATER) is None
    assert only().entry == entry
    other = Entry.objects.exclude(pk=entry.pk).first()
    take(camt(line("900", "odd2"), opening="900", number="2"))
    second = BankLine.objects.get(ref="odd2")
    for wrong in (entry, other):
        with pytest.raises(bank_lines.UnableToAccount, match="did not move exactly 900 USD"):
            bank_lines.tie(second, wrong, reason="guess", maker=olga(), now=LATER)


def test_a_charge_of_the_bank_is_a_cost(bank: BankAccount) -> None:
    take(camt(line("-20", "B-2", "charges"), opening="100"))
    assert bank_lines.charge(only(), reason="price list", maker=olga(), now=LATER) is None
    cost = Posting.objects.get(category="execution_cost")
    assert (cost.amount, cost.entry) == (20, only().entry)


def test_not_ours_above_the_limit_takes_two(bank: BankAccount) -> None:
    take(camt(line("5000", "B-1")))
    asked = bank_lines.not_ours(only(), reason="the bank's mistake", maker=olga(), now=LATER)
    assert isinstance(asked, Approval)
    assert only().state == BankLine.State.OPEN
    make.staff("olga", Role.RISK)
    with pytest.raises(approvals.UnableToApprove, match="can not decide"):
        approvals.decide(asked, checker=olga(), approve=True, now=LATER)
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=LATER)
    row = only()
    assert (row.state, row.maker.name, row.checker.name) == ("not_ours", "Olga", "Rhea")


def test_what_was_accounted_for_meanwhile_is_refused(loan: Loan, custodian: PaperCustodian) -> None:
    BankAccountFactory(custodian="paper", reported_live=True)
    make.give(loan.client, "USD", "5000")
    take(camt(line("5000", "B-1"), line("5000", "B-2")))
    first, second = BankLine.objects.select_related("account").order_by("ref")
    (entry,) = bank_lines.candidates(first)
    asked = [bank_lines.tie(row, entry, reason="theirs", maker=olga(), now=LATER) for row in (first, second)]
    rhea = make.staff("rhea", Role.RISK)
    approvals.decide(asked[0], checker=rhea, approve=True, now=LATER)
    with pytest.raises(approvals.UnableToApprove, match="another line is tied to"):
        approvals.decide(asked[1], checker=rhea, approve=True, now=LATER)


REFUSED = {
    "no reason": (line("5", "B"), {"reason": " "}, "say how it is known"),
    "money out": (line("-5", "B"), {}, "money went out"),
    "valued ahead": (line("5", "B", day="2021-05-21"), {}, "valued on 2021-05-21, which lies ahead"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_given_is_refused_in_words(loan: Loan, bank: BankAccount, case: str) -> None:
    row, said, says = REFUSED[case]
    take(camt(row, opening="10"))
    with pytest.raises(bank_lines.UnableToAccount, match=says):
        bank_lines.assign(only(), loan, **{"reason": "theirs", "maker": olga(), "now": LATER, **said})
    assert only().state == BankLine.State.OPEN


def test_more_refusals_in_words(loan: Loan, bank: BankAccount) -> None:
    take(camt(line("5", "B-1"), line("-7", "B-2"), opening="10"))
    receipt, charge = BankLine.objects.select_related("account", "asset").order_by("ref")
    with pytest.raises(bank_lines.UnableToAccount, match="money came in"):
        bank_lines.charge(receipt, reason="x", maker=olga(), now=LATER)
    with pytest.raises(access.UnableToAccess, match="operations"):
        bank_lines.not_ours(charge, reason="x", maker=make.staff("rhea", Role.RISK), now=LATER)
    bank_lines.not_ours(charge, reason="a mistake", maker=olga(), now=LATER)
    with pytest.raises(bank_lines.UnableToAccount, match="is not ours already"):
        bank_lines.charge(charge, reason="x", maker=olga(), now=LATER)
    other = make.active_loan(product=make.ProductFactory(asset=make.asset("USDC")))
    with pytest.raises(matching.UnableToMatch, match="can not take USD"):
        bank_lines.assign(receipt, other, reason="theirs", maker=olga(), now=LATER)


def test_reported_live_without_a_reference_is_left_to_the_report(loan: Loan, custodian: PaperCustodian) -> None:
    BankAccountFactory(custodian="paper", reported_live=True)
    take(camt(line("5")))
    with pytest.raises(bank_lines.UnableToAccount, match="it would count twice"):
        bank_lines.assign(only(), loan, reason="theirs", maker=olga(), now=LATER)


# --- what the database refuses by itself ------------------------------------------------------------------------------

BY_HAND = {
    "an amount": ("UPDATE lending_bankline SET amount = 1", "permission denied"),
    "a statement": ("UPDATE lending_bankstatement SET closing = 1", "permission denied"),
    "a line": ("DELETE FROM lending_bankline", "permission denied"),
    "one person": (
        "UPDATE lending_bankline SET state = 'not_ours', reason = 'x', maker_id = {user}, decided_at = now()",
        "takes two persons: one may decide up to 1000",
    ),
    "twice the same": (
        "UPDATE lending_bankline SET state = 'not_ours', reason = 'x', maker_id = {user}, checker_id = {user}, decided_at = now()",  # noqa: E501
        "bank_line_maker_is_not_checker",
    ),
    "another entry": (
        "UPDATE lending_bankline SET state = 'matched', entry_id = {entry}, decided_at = now()",
        "did not move exactly 5000",
    ),
    "nothing": ("UPDATE lending_bankline SET state = 'matched', decided_at = now()", "bank_line_is_accounted_for"),
}


@pytest.mark.parametrize("case", BY_HAND)
def test_the_database_refuses(bank: BankAccount, custodian: PaperCustodian, case: str) -> None:
    make.capital("USD", "400")
    take(camt(line("5000", "B-1")))
    statement, says = BY_HAND[case]
    written = statement.format(user=olga().pk, entry=Entry.objects.get().pk)
    with pytest.raises(DatabaseError, match=says), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(written)


def test_what_is_accounted_for_stays(bank: BankAccount) -> None:
    take(camt(line("-7", "B-2"), opening="10"))
    bank_lines.not_ours(only(), reason="a mistake", maker=olga(), now=LATER)
    with pytest.raises(DatabaseError, match="accounted for once"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE lending_bankline SET state = 'open', reason = '', decided_at = NULL")
