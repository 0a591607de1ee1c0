"""Reconciliation: what differs is found in one, waits for nobody, blocks what it must, is worked and ends with how."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, transaction

from lending import approvals, breaks, collateral, custody, invariants, ledger, outbox, reconciliation, withdrawals
from lending.access import UnableToAccess
from lending.adapters.mischief import Fate
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.models import (
    AuditRecord,
    Client,
    CustodyBreak,
    Deposit,
    DepositAddress,
    Loan,
    Reconciliation,
    Role,
    User,
    Withdrawal,
)
from lending.ports import CustodianRefused, CustodianUnavailable, WithdrawalReport
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)
LATER = NOW + 3 * HOUR


@pytest.fixture
def olga() -> User:
    return make.staff("olga", Role.OPERATIONS)


@pytest.fixture
def loan() -> Loan:
    """Return a running loan with 25 BTC, its books in agreement."""
    loan = make.active_loan()
    assert reconciliation.reconcile(now=NOW) == 0
    return loan


def steal(custodian: PaperCustodian, quantity: str = "5") -> None:
    """Have the custodian send coins out that nobody here asked for."""
    stolen = {"kind": "withdraw", "id": "thief", "asset": "BTC", "destination": "x", "refused": "", "fates": []}
    custodian.replay({**stolen, "quantity": quantity, "at": NOW.isoformat()})


def swap(custodian: PaperCustodian, key: str, at: dt.datetime) -> None:
    """Have the custodian execute an exchange that is not booked."""
    swapped = {"kind": "settle", "id": key, "asset": "BTC", "quantity": "1", "destination": "harbour", "refused": ""}
    record = {**swapped, "receive_asset": "USD", "receive_quantity": "30000", "fates": [], "at": at.isoformat()}
    custodian.replay(record)


def address_of(loan: Loan) -> str:
    outbox.deliver_due(now=NOW)
    found = DepositAddress.objects.get(margin_account=loan.margin_account, asset__code="BTC", purpose="collateral")
    return found.address


def release(loan: Loan, key: str = "r1") -> None:
    collateral.release(
        loan.margin_account,
        make.asset("BTC"),
        Decimal(1),
        permit=make.release_permit(loan.margin_account, "BTC", "1", now=LATER),
        maker=make.staff("olga", Role.OPERATIONS),
        checker=make.staff("rhea", Role.RISK),
        key=key,
        now=LATER,
    )


def ask(client: Client, key: str, *, now: dt.datetime) -> Withdrawal:
    return withdrawals.request(
        client,
        make.asset("BTC"),
        Decimal(1),
        destination="bc1",
        purpose="release",
        maker=make.staff("olga"),
        checker=make.staff("rhea", Role.RISK),
        book=make.BookFactory(),
        key=key,
        now=now,
    )


def only() -> CustodyBreak:
    return CustodyBreak.objects.get(closed_at=None)


# --- what is found ----------------------------------------------------------------------------------------------------


def test_coins_that_left_unasked_are_found_at_once_and_stop_releases(loan: Loan, custodian: PaperCustodian) -> None:
    steal(custodian)
    assert reconciliation.reconcile(now=LATER) == 1
    row = only()
    assert (row.kind, row.ref, row.ledger_quantity, row.custodian_quantity) == ("withdrawal", "thief", 0, -5)
    assert row.words == "5 BTC executed 19 May 08:00:00 at the custodian, which nobody here asked for"
    with pytest.raises(collateral.UnableToRelease, match="nobody here asked for: releases wait until that is expl"):
        release(loan)
    # That the coins come back is another movement: the first is still one that nobody asked for.
    custodian.simulate_deposit("back", address="bc1-from-thief", asset="BTC", quantity=Decimal(5), at=LATER)
    assert reconciliation.reconcile(now=LATER + HOUR) == 1
    assert only() == row


def test_what_no_movement_explains_is_a_break_of_the_balance(loan: Loan, custodian: PaperCustodian) -> None:
    before = custodian.balances

    def short(*, at: dt.datetime) -> dict[str, Decimal]:
        held = before(at=at)
        return {**held, "BTC": held["BTC"] - Decimal("0.5")}

    custodian.balances = short  # type: ignore[method-assign]
    assert reconciliation.reconcile(now=LATER) == 1
    row = only()
    assert (row.kind, row.ledger_quantity, row.custodian_quantity) == ("balance", 25, Decimal("24.5"))
    assert row.words == "0.5 BTC less at the custodian than the ledger has, which no movement explains"
    custodian.balances = before  # type: ignore[method-assign]
    assert reconciliation.reconcile(now=LATER + MINUTE) == 0
    row.refresh_from_db()
    assert (row.closed_at, row.closed_how) == (LATER + MINUTE, "both books agree again")
    release(loan)


def test_a_difference_of_one_look_is_none(loan: Loan, custodian: PaperCustodian) -> None:
    before, looks = custodian.balances, []

    def restless(*, at: dt.datetime) -> dict[str, Decimal]:
        looks.append(at)
        held = before(at=at)
        return {**held, "BTC": held["BTC"] - len(looks)}

    custodian.balances = restless  # type: ignore[method-assign]
    assert reconciliation.reconcile(now=LATER) == 0
    assert len(looks) == 2
    assert not CustodyBreak.objects.exists()


def test_a_deposit_that_is_gone_after_it_was_credited_is_found_and_heals(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_deposit("d1", address=address_of(loan), asset="BTC", quantity=Decimal(2), at=NOW)
    custody.poll_due(now=NOW + HOUR)
    custody.credit_due(now=NOW + HOUR)
    assert reconciliation.reconcile(now=NOW + HOUR) == 0
    custodian.simulate_reorg("d1", at=NOW + 2 * HOUR)
    assert reconciliation.reconcile(now=NOW + 2 * HOUR) == 1
    row = only()
    assert (row.kind, row.ref, row.ledger_quantity, row.custodian_quantity) == ("deposit", "d1", 2, 0)
    assert row.words == "2 BTC credited here, and gone from the chain at the custodian"
    custodian.simulate_return("d1", at=NOW + 2 * HOUR + MINUTE)
    # As soon as it counts there again, both agree; it was credited once and is not credited again.
    assert reconciliation.reconcile(now=NOW + 3 * HOUR) == 0
    custody.credit_due(now=NOW + 3 * HOUR)
    assert ledger.balance(accounts.custody("BTC", "paper")) == 2
    assert invariants.check() == []


def test_what_is_confirmed_and_never_credited_is_found(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_deposit("d1", address=address_of(loan), asset="BTC", quantity=Decimal(2), at=NOW)
    assert [reconciliation.reconcile(now=NOW + minutes * MINUTE) for minutes in (20, 40, 90)] == [0, 0, 0]
    assert reconciliation.reconcile(now=NOW + 91 * MINUTE) == 1  # an hour after its third confirmation
    assert only().words == "2 BTC with 9 confirmations at the custodian, and confirmed here"
    custody.credit_due(now=NOW + 92 * MINUTE)
    assert reconciliation.reconcile(now=NOW + 92 * MINUTE) == 0


def test_a_withdrawal_given_up_here_and_executed_there_is_found(loan: Loan, custodian: PaperCustodian) -> None:
    make.give(loan.client, "BTC", "3")
    ask(loan.client, "w1", now=NOW)
    accept = custodian.withdraw

    def two_minded(client_id: str, **transfer: Any) -> WithdrawalReport:
        accept(client_id, **transfer)
        raise CustodianRefused("not today")

    custodian.withdraw = two_minded  # type: ignore[method-assign]
    custody.send_due(now=NOW)
    assert Withdrawal.objects.get().state == "failed"
    assert reconciliation.reconcile(now=LATER) == 1
    assert only().words.endswith("at the custodian, and failed here")


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.SLOW, Fate.FAILED])
def test_whatever_becomes_of_a_withdrawal_both_books_agree_at_every_instant(
    loan: Loan, custodian: PaperCustodian, fate: Fate
) -> None:
    make.give(loan.client, "BTC", "3")
    row = ask(loan.client, "w1", now=NOW)
    custodian.simulate_fate(fate)
    for minutes in (0, 1, 2, 3, 4, 9):
        custody.send_due(now=NOW + minutes * MINUTE)
        assert reconciliation.reconcile(now=NOW + minutes * MINUTE) == 0
    row.refresh_from_db()
    free = ledger.owed(accounts.client_free("BTC", loan.client_id))
    assert (row.state, free) == (("failed", 3) if fate == Fate.FAILED else ("done", 2))
    assert custodian.balances(at=LATER)["BTC"] == 25 + free


def test_an_exchange_is_on_its_way_for_five_minutes(loan: Loan, custodian: PaperCustodian) -> None:
    for n in range(3):
        swap(custodian, f"settlement:harbour:{n}", NOW + n * MINUTE)
        assert reconciliation.reconcile(now=NOW + n * MINUTE) == 0
    assert reconciliation.reconcile(now=NOW + 6 * MINUTE) == 2  # the first was never booked: both sides of it
    words = CustodyBreak.objects.filter(asset__code="USD", ref="settlement:harbour:0").get().words
    assert words.startswith("1 BTC against 30000 USD executed")
    assert words.endswith("at the custodian, and not booked here")


def test_a_custodian_that_does_not_answer_proves_nothing(loan: Loan, custodian: PaperCustodian) -> None:
    def silent(**_: object) -> dict[str, Decimal]:
        raise CustodianUnavailable("no line")

    custodian.balances = silent  # type: ignore[method-assign]
    with pytest.raises(reconciliation.UnableToReconcile, match="no line"):
        reconciliation.reconcile(now=LATER)
    assert reconciliation.reconcile_due(now=LATER) == 0
    assert not CustodyBreak.objects.exists()


# --- what is kept -----------------------------------------------------------------------------------------------------


def test_the_first_of_a_day_is_kept_and_those_that_somebody_asks_for(loan: Loan, olga: User) -> None:
    assert Reconciliation.objects.get().day == NOW.date()
    reconciliation.reconcile(now=LATER)
    assert Reconciliation.objects.count() == 1
    reconciliation.reconcile(now=LATER, by=olga)
    reconciliation.reconcile_due(now=NOW + 24 * HOUR)
    kept = Reconciliation.objects.order_by("pk")
    assert [(row.day, row.asked_by) for row in kept] == [
        (NOW.date(), None),
        (None, olga),
        ((NOW + 24 * HOUR).date(), None),
    ]
    line = kept[1].lines.get(asset__code="BTC")
    assert (line.ledger_quantity, line.custodian_quantity, line.under_way, line.unexplained) == (25, 25, 0, 0)
    with pytest.raises(UnableToAccess, match="does not hold the role"):
        reconciliation.reconcile(now=LATER, by=make.staff("robin", Role.RELATIONSHIP_MANAGER))
    with pytest.raises(DatabaseError, match="permission denied"), transaction.atomic():
        Reconciliation.objects.update(breaks=7)


# --- what it blocks ---------------------------------------------------------------------------------------------------


def test_an_aged_break_holds_back_what_would_leave(loan: Loan, custodian: PaperCustodian) -> None:
    make.give(loan.client, "BTC", "3")
    sent, waits = ask(loan.client, "w1", now=NOW), ask(loan.client, "w2", now=NOW)
    Withdrawal.objects.filter(pk=waits.pk).update(next_attempt_at=LATER)
    custody.send_due(now=NOW)
    steal(custodian)
    assert reconciliation.reconcile(now=NOW) == 1
    ask(loan.client, "w3", now=NOW + 29 * MINUTE)  # a young break stops releases, and nothing else
    with pytest.raises(withdrawals.UnableToWithdraw, match=r"since 2021-05-19 08:00 UTC: nothing of it leaves until"):
        ask(loan.client, "w4", now=NOW + 30 * MINUTE)
    custody.send_due(now=LATER)
    sent.refresh_from_db()
    waits.refresh_from_db()
    assert sent.state == "done"  # what was sent before is asked about as ever
    assert (waits.state, waits.attempts) == ("requested", 0)
    assert breaks.blocks_withdrawals(make.asset("ETH"), loan.client_id, now=LATER) == ""


# --- who works on it, and how it ends ---------------------------------------------------------------------------------


def test_a_break_is_taken_explained_and_booked_by_two_persons(
    loan: Loan, custodian: PaperCustodian, olga: User
) -> None:
    steal(custodian)
    reconciliation.reconcile(now=LATER)
    row = breaks.take(only(), by=olga, now=LATER)
    assert (row.worked_by, row.worked_since) == (olga, LATER)
    with pytest.raises(breaks.UnableToWork, match="explain it first"):
        breaks.ask(row, maker=olga, now=LATER)
    row = breaks.explain(row, " the custodian was robbed ", by=olga, now=LATER)
    asked = breaks.ask(row, maker=olga, now=LATER)
    with pytest.raises(breaks.UnableToWork, match="asked for already"):
        breaks.ask(row, maker=olga, now=LATER)
    with pytest.raises(approvals.UnableToApprove, match="made this request and can not decide it"):
        approvals.decide(asked, checker=olga, approve=True, now=LATER)
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=LATER)
    row.refresh_from_db()
    assert row.closed_how == "the difference was taken on the desk's books by Olga and Rhea"
    assert ledger.balance(accounts.custody("BTC", "paper")) == 20
    assert ledger.owed(accounts.client_pledged("BTC", loan.client_id, loan.margin_account_id)) == 25
    assert reconciliation.reconcile(now=LATER + MINUTE) == 0
    assert invariants.check() == []
    done = list(AuditRecord.objects.filter(action__startswith="break_").order_by("pk").values_list("action", flat=True))
    assert done == ["break_taken", "break_explained", "break_booked"]
    with pytest.raises(breaks.UnableToWork, match="it is closed: the difference was taken"):
        breaks.take(row, by=olga, now=LATER)


def test_a_break_that_changed_since_it_was_asked_for_is_not_booked(
    loan: Loan, custodian: PaperCustodian, olga: User
) -> None:
    steal(custodian)
    reconciliation.reconcile(now=LATER)
    asked = breaks.ask(breaks.explain(only(), "robbed", by=olga, now=LATER), maker=olga, now=LATER)
    CustodyBreak.objects.update(custodian_quantity=Decimal(-6))
    with pytest.raises(approvals.UnableToApprove, match="it is -6 BTC by now"):
        approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=LATER)
    assert ledger.balance(accounts.custody("BTC", "paper")) == 25


@pytest.mark.parametrize(
    ("words", "message"), [("  ", "say how it came about"), ("x" * 401, "say it in 400 characters, not in 401")]
)
def test_an_explanation_says_something(
    loan: Loan, custodian: PaperCustodian, olga: User, words: str, message: str
) -> None:
    steal(custodian)
    reconciliation.reconcile(now=LATER)
    with pytest.raises(breaks.UnableToWork, match=message):
        breaks.explain(only(), words, by=olga, now=LATER)
    with pytest.raises(UnableToAccess):
        breaks.take(only(), by=make.staff("dana", Role.DESK_TRADER), now=LATER)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ref": "other"}, "never changes"),
        ({"found_at": LATER}, "never changes"),
        ({"closed_at": LATER}, "closed with how"),
        ({"explanation": "nobody said so"}, "break_explained_by_somebody"),
    ],
)
def test_the_database_keeps_a_break_as_evidence(
    loan: Loan, custodian: PaperCustodian, change: dict[str, Any], message: str
) -> None:
    steal(custodian)
    reconciliation.reconcile(now=NOW)
    with pytest.raises(DatabaseError, match=message), transaction.atomic():
        CustodyBreak.objects.update(**change)
    breaks.close(only(), "for the test", now=LATER)
    with pytest.raises(DatabaseError, match="a closed break stays as it is"), transaction.atomic():
        CustodyBreak.objects.update(words="nothing")


# --- deposits that the chain drops ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fate", [Fate.LATE, Fate.GONE, Fate.MOVED])
def test_a_deposit_is_credited_once_or_never_and_is_never_a_break(custodian: PaperCustodian, fate: Fate) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_fate(fate)
    custodian.simulate_deposit("d1", address=address_of(loan), asset="BTC", quantity=Decimal(2), at=NOW)
    states = []
    for minutes in range(0, 120, 5):
        now = NOW + minutes * MINUTE
        custody.poll_due(now=now)
        custody.credit_due(now=now)
        assert reconciliation.reconcile(now=now) == 0
        states += list(Deposit.objects.values_list("state", flat=True))
    kept = list(dict.fromkeys(states))
    expected = {
        Fate.LATE: ["pending", "credited"],
        Fate.GONE: ["pending", "reorged"],
        Fate.MOVED: ["pending", "reorged", "credited"],
    }
    assert kept == expected[fate]
    held = Decimal(0) if fate == Fate.GONE else Decimal(2)
    assert ledger.balance(accounts.custody("BTC", "paper")) == held
    assert custodian.balances(at=now).get("BTC", Decimal(0)) == held
