"""A loan's past is put right by two persons: what followed is worked out again, and only differences are posted."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from lending import approvals, corrections, custody, dunning, interest, invariants, ledger, loans, repayments, replays
from lending.access import UnableToAccess
from lending.engine import accounts, entries
from lending.engine.chart import AccountKind
from lending.models import (
    Approval,
    Correction,
    Entry,
    Loan,
    LoanState,
    Repayment,
    Role,
    SplitChange,
    User,
)
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
DAY = dt.timedelta(days=1)
D = Decimal


@pytest.fixture
def loan() -> Loan:
    """Return 500,000 USD at 9 % ACT/360 (125 a day) for 30 days, with 700,000 USD free."""
    row = make.active_loan(payout_address="wire:1")
    make.give(row.client, "USD", "700000")
    return row


@pytest.fixture
def olga() -> User:
    return make.staff("olga", Role.OPERATIONS)


@pytest.fixture
def oscar() -> User:
    return make.staff("oscar", Role.OPERATIONS)


def fresh(loan: Loan) -> Loan:
    return Loan.objects.select_related("asset", "client").get(pk=loan.pk)


def pay(loan: Loan, amount: str, *, at: dt.datetime, key: str = "wire:1") -> Repayment:
    return repayments.record(fresh(loan), D(amount), key=key, received_at=at, now=at)


def late(loan: Loan, amount: str, *, at: dt.datetime, now: dt.datetime, maker: User, checker: User) -> Repayment:
    asked = corrections.ask_payment(fresh(loan), D(amount), received_at=at, reason="found", maker=maker, now=now)
    approvals.decide(asked, checker=checker, approve=True, now=now)
    return Repayment.objects.get(key=f"back_dated:{asked.public_id}")


def back(payment: Repayment, *, now: dt.datetime, maker: User, checker: User, cause: str = "wrong") -> Correction:
    asked = corrections.ask_reversal(payment, cause=cause, reason="not theirs", maker=maker, now=now)
    approvals.decide(asked, checker=checker, approve=True, now=now)
    return Correction.objects.get(repayment=payment, kind="reversal")


def of_loan(loan: Loan, kind: AccountKind) -> Decimal:
    return ledger.balance(accounts.of_loan(kind, "USD", loan.client_id, loan.pk))


def free(loan: Loan) -> Decimal:
    return ledger.owed(accounts.client_free("USD", loan.client_id))


def test_a_payment_of_the_past_posts_differences_day_by_day(loan: Loan, olga: User, oscar: User) -> None:
    """
    250,062.50 that came after half a day, recorded after five: 62.50 a day less from then on.

    Interest receivable      Loan principal
    20 May +83.34 ...        19 May 20:00 -250,000
    """
    interest.accrue_due(now=NOW + 5 * DAY)
    posted = Entry.objects.filter(kind="accrual").count()
    payment = late(loan, "250062.50", at=NOW + DAY / 2, now=NOW + 5 * DAY, maker=olga, checker=oscar)
    assert (payment.interest, payment.principal) == (D("62.50"), 250_000)
    assert Entry.objects.filter(kind="accrual").count() == posted, "nothing that stood was touched"
    changed = list(Entry.objects.filter(kind="accrual_correction").order_by("effective_at", "pk"))
    days = [entry.effective_at.date() for entry in changed]
    # The day of the payment is split at it: until then as before, after it half.
    assert days[0] == NOW.date()
    assert set(days) == {(NOW + n * DAY).date() for n in range(5)}
    loan = fresh(loan)
    # Until the midnight after the fifth day: 4 2/3 days, the first half of one at 125 a day.
    assert loan.interest_posted == D("62.50") + D("260.42")
    assert loan.interest_due == of_loan(loan, AccountKind.INTEREST_RECEIVABLE) == D("260.42")
    row = payment.corrections.get()
    assert (row.kind, row.maker, row.checker, row.effective_at) == ("payment", olga, oscar, NOW + DAY / 2)
    assert row.interest == D("260.42") + D("62.50") - D("583.34")


def test_a_payment_of_the_past_gives_back_what_the_payoff_took_too_much(loan: Loan, olga: User, oscar: User) -> None:
    pay(loan, "501250", at=NOW + 10 * DAY)
    assert fresh(loan).state == LoanState.REPAID
    make.give(loan.client, "USD", "100000", now=NOW + 11 * DAY)
    late(loan, "250125", at=NOW + DAY, now=NOW + 12 * DAY, maker=olga, checker=oscar)
    loan = fresh(loan)
    assert loan.state == LoanState.REPAID
    # Nine days on half of it instead of all: 562.50 of interest less.
    assert loan.interest_posted == D("1250") - D("562.50")
    assert free(loan) == 800_000 - 500_000 - D("687.50")
    assert SplitChange.objects.get().surplus == D("250125") + D("562.50")


def test_a_payment_that_was_none_opens_a_repaid_loan_again(loan: Loan, olga: User, oscar: User) -> None:
    first = pay(loan, "100125", at=NOW + DAY)
    pay(loan, "410000", key="wire:2", at=NOW + 2 * DAY)
    assert fresh(loan).state == LoanState.REPAID
    before = Entry.objects.count()
    row = back(first, now=NOW + 3 * DAY, maker=olga, checker=oscar)
    loan = fresh(loan)
    assert loan.state == LoanState.ACTIVE
    # 410,000 paid 250 of interest after two days, and the rest of it principal: it has no surplus any more.
    assert loan.principal_outstanding == of_loan(loan, AccountKind.LOAN_PRINCIPAL) == D("90250")
    assert loan.interest_due == of_loan(loan, AccountKind.INTEREST_RECEIVABLE) == 0
    assert free(loan) == 700_000 - 410_000
    assert replays.parts_now([first])[first.pk].total == 0
    mirror = Entry.objects.get(reverses=first.entry)
    assert (mirror.kind, mirror.effective_at, mirror.actor) == ("reversal", NOW + DAY, oscar)
    assert Entry.objects.count() > before
    assert (row.cause, row.reason) == ("wrong", "not theirs")
    interest.accrue_due(now=NOW + 4 * DAY)
    # From the payment at 08:00 on the second day to the midnight before the fourth: 1 2/3 days on 90,250.
    assert fresh(loan).interest_due == D("37.61")
    assert [v for v in invariants.check() if v.code in {"I1", "I2", "I3", "I11", "I12", "I15"}] == []


@pytest.mark.parametrize(("days", "state"), [(29, "active"), (30, "matured"), (32, "matured")])
def test_what_it_opens_as_is_what_it_would_be(loan: Loan, olga: User, oscar: User, days: int, state: str) -> None:
    payment = pay(loan, "510000", at=NOW + DAY)
    back(payment, now=NOW + days * DAY, maker=olga, checker=oscar)
    assert fresh(loan).state == state
    # Past its maturity it has the day, and its grace, again before it is in default from the instant that was agreed.
    dunning.work_due(now=NOW + days * DAY + dt.timedelta(hours=1))
    assert fresh(loan).state == ("active" if days < 30 else "matured")
    dunning.work_due(now=NOW + 33 * DAY)
    loan = fresh(loan)
    assert (loan.state, loan.default_at) == ("defaulted", interest.maturity_at(loan) + DAY)


def test_a_late_fee_is_served_again_by_the_payments_that_are_left(loan: Loan, olga: User, oscar: User) -> None:
    heading = entries.Heading(
        key="fee:1", effective_at=NOW + DAY / 2, book_id=loan.book_id, client_id=loan.client_id, loan_id=loan.pk
    )
    ledger.post(entries.fee(heading, asset="USD", amount=D(50)), now=NOW + DAY / 2)
    Loan.objects.filter(pk=loan.pk).update(fees_due=50)
    first = pay(loan, "175", at=NOW + DAY)
    second = pay(loan, "100", key="wire:2", at=NOW + 2 * DAY)
    assert (first.fees, first.interest) == (50, 125)
    assert (second.fees, second.interest) == (0, 100)
    back(first, now=NOW + 3 * DAY, maker=olga, checker=oscar)
    part = replays.parts_now([second])[second.pk]
    assert (part.fees, part.interest, part.principal) == (50, 50, 0)
    loan = fresh(loan)
    assert (loan.fees_due, loan.interest_due) == (0, of_loan(loan, AccountKind.INTEREST_RECEIVABLE)) == (0, 200)


def test_a_transfer_that_came_back_leaves_the_books(loan: Loan, olga: User, oscar: User) -> None:
    account = loan.margin_account
    custody.open_all([account], now=NOW)
    address = account.deposit_addresses.get(purpose="repayment", asset__code="USD")
    at = NOW + 2 * DAY
    make.paper().simulate_deposit("wire-9", address=address.address, asset="USD", quantity=D("100250"), at=at)
    later = at + dt.timedelta(minutes=5)
    custody.poll_due(now=later)
    custody.credit_due(now=later)
    payment = Repayment.objects.get()
    assert payment.amount == 100_250
    held = ledger.balance(accounts.custody("USD", "paper"))
    back(payment, now=later + DAY, maker=olga, checker=oscar, cause="bounced")
    assert free(loan) == 700_000
    assert ledger.balance(accounts.custody("USD", "paper")) == held - 100_250
    assert fresh(loan).principal_outstanding == 500_000


def test_one_person_is_not_enough(loan: Loan, olga: User) -> None:
    payment = pay(loan, "1000", at=NOW + DAY)
    asked = corrections.ask_reversal(payment, cause="wrong", reason="x", maker=olga, now=NOW + 2 * DAY)
    with pytest.raises(approvals.UnableToApprove, match="made this request and can not decide it"):
        approvals.decide(asked, checker=olga, approve=True, now=NOW + 2 * DAY)
    assert not Correction.objects.exists()
    assert not payment.corrections.exists()


def test_the_database_refuses_one_person_and_a_changed_past(loan: Loan, olga: User, oscar: User) -> None:
    payment = pay(loan, "1000", at=NOW + DAY)
    row = back(payment, now=NOW + 2 * DAY, maker=olga, checker=oscar)
    facts = {
        "client": loan.client, "loan": loan, "cause": "wrong", "repayment": payment, "reason": "x",
        "effective_at": NOW, "recorded_at": NOW, "interest": 0,
    }  # fmt: skip
    for people in ({"maker": olga, "checker": olga}, {"maker": olga, "checker": None}, {}):
        with pytest.raises(IntegrityError, match="two_persons"), transaction.atomic():
            Correction.objects.create(kind="reversal", **facts, **people)
    with pytest.raises(IntegrityError, match="payment_taken_back_once"), transaction.atomic():
        Correction.objects.create(kind="reversal", **facts, maker=olga, checker=oscar)
    for sql in (
        "UPDATE lending_correction SET reason = 'y'",
        "DELETE FROM lending_correction",
        "UPDATE lending_splitchange SET amount = 0",
    ):
        with pytest.raises(DatabaseError, match=r"permission denied|is refused"), transaction.atomic():
            connection.cursor().execute(sql)
    assert row.split_changes.get().amount == -1000


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"amount": "0"}, "0 USD is not an amount above zero"),
        ({"amount": "NaN"}, "NaN USD is not an amount above zero"),
        ({"amount": "1.005"}, "finer than USD can be paid"),
        ({"amount": "700000.01"}, "has 700000 USD free, not 700000.01"),
        ({"received_at": NOW + 9 * DAY}, "can not have arrived in the future"),
        ({"received_at": NOW - DAY}, "before the loan was funded"),
        ({"reason": "  "}, "say how it is known"),
        ({"reason": "x" * 401}, "the reason has 401 characters, and 400 are kept"),
    ],
)
def test_a_payment_of_the_past_that_can_not_be_is_refused_in_words(
    loan: Loan, olga: User, changes: dict[str, object], says: str
) -> None:
    asked = {"amount": "1000", "received_at": NOW + DAY, "reason": "found"} | changes
    with pytest.raises(corrections.UnableToCorrect, match=says):
        corrections.ask_payment(
            loan,
            D(str(asked.pop("amount"))),
            maker=olga,
            now=NOW + 5 * DAY,
            **asked,  # type: ignore[arg-type]
        )
    assert not Approval.objects.exists()


def test_what_else_is_refused_in_words(loan: Loan, olga: User, oscar: User) -> None:
    now = NOW + 5 * DAY
    payment = pay(loan, "1000", at=NOW + DAY)

    def ask(**changes: str) -> Approval:
        wanted = {"cause": "wrong", "reason": "x"} | changes
        return corrections.ask_reversal(payment, maker=olga, now=now, **wanted)

    for changes, says in (
        ({"cause": "late"}, "say whether it was booked wrongly or its transfer came back"),
        ({"cause": ""}, "say whether it was booked wrongly or its transfer came back"),
        ({"reason": ""}, "say how it is known"),
        ({"cause": "bounced"}, "paid out of the free balance: no transfer of its own brought it"),
    ):
        with pytest.raises(corrections.UnableToCorrect, match=says):
            ask(**changes)
    first = ask()
    with pytest.raises(corrections.UnableToCorrect, match="it was asked for already"):
        ask()
    approvals.decide(first, checker=oscar, approve=True, now=now)
    with pytest.raises(corrections.UnableToCorrect, match="it was taken back already"):
        ask()
    with pytest.raises(UnableToAccess):
        corrections.ask_reversal(payment, cause="wrong", reason="x", maker=make.staff("rhea"), now=now)
    with pytest.raises(UnableToAccess):
        stranger = make.staff("rita", Role.RELATIONSHIP_MANAGER)
        corrections.ask_payment(loan, D(1), received_at=now, reason="x", maker=stranger, now=now)


def test_the_past_of_a_closed_loan_is_closed(loan: Loan, olga: User) -> None:
    payment = pay(loan, "510000", at=NOW + DAY)
    loans.transition(fresh(loan), LoanState.CLOSED, actor=None, cause="test", now=NOW + DAY)
    payment = Repayment.objects.get(pk=payment.pk)
    with pytest.raises(corrections.UnableToCorrect, match="is closed: its past is closed"):
        corrections.ask_reversal(payment, cause="wrong", reason="x", maker=olga, now=NOW + 2 * DAY)


def test_what_a_later_payment_left_over_must_still_be_there(loan: Loan, olga: User, oscar: User) -> None:
    first = pay(loan, "100125", at=NOW + DAY)
    second = pay(loan, "510000", key="wire:2", at=NOW + 2 * DAY)
    assert second.surplus == 109_900
    heading = entries.Heading(key="out", effective_at=NOW + 2 * DAY, book_id=loan.book_id, client_id=loan.client_id)
    ledger.post(entries.withdrawal_request(heading, asset="USD", quantity=free(loan)), now=NOW + 2 * DAY)
    asked = corrections.ask_reversal(first, cause="wrong", reason="x", maker=olga, now=NOW + 3 * DAY)
    # The second would need a day's interest on 100,000 more than the first gives back.
    with pytest.raises(approvals.UnableToApprove, match="25 USD are missing: what later payments had left over"):
        approvals.decide(asked, checker=oscar, approve=True, now=NOW + 3 * DAY)
    assert not Correction.objects.exists()
    make.give(loan.client, "USD", "25", now=NOW + 3 * DAY)
    approvals.decide(asked, checker=oscar, approve=True, now=NOW + 3 * DAY)
    assert (free(loan), replays.parts_now([second])[second.pk].surplus) == (0, 9_750)


def test_a_request_that_was_overtaken_is_refused_when_it_is_decided(loan: Loan, olga: User, oscar: User) -> None:
    asked = corrections.ask_payment(
        loan, D(600_000), received_at=NOW + DAY, reason="found", maker=olga, now=NOW + 2 * DAY
    )
    pay(loan, "200000", at=NOW + 2 * DAY)
    with pytest.raises(approvals.UnableToApprove, match="has 500000 USD free, not 600000"):
        approvals.decide(asked, checker=oscar, approve=True, now=NOW + 2 * DAY)
    asked.refresh_from_db()
    assert asked.state == Approval.State.REQUESTED
    assert Repayment.objects.count() == 1
