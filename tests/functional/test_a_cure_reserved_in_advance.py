"""A client sets money and coins aside for a loan: its call is cured with them at once, and nothing more is taken."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.db import DatabaseError, connection, transaction
from django.test import Client as Browser

from lending import approvals, arrivals, corrections, ledger, reserves
from lending import invariants as books
from lending.engine import accounts
from lending.models import (
    Asset,
    AuditRecord,
    ClientUser,
    Correction,
    Loan,
    Notice,
    PledgeMovement,
    Repayment,
    Role,
    StandingInstruction,
    User,
)
from risk import cures, instructions, invariants, liquidations, margin_calls, payouts, reserved_cures
from risk.models import CallEvent, CallState, MarginCall, SaleCause
from tests import stories
from tests.cast import NOW, Cast
from tests.factories import lending as make
from tests.factories.risk import Desk

D = Decimal


@pytest.fixture
def desk(db: None) -> Desk:
    return Desk()


def signer(loan: Loan) -> User:
    return ClientUser.objects.get(client=loan.client).user


def free(loan: Loan, code: str) -> Decimal:
    return ledger.owed(accounts.client_free(code, loan.client_id))


def reserve(desk: Desk, loan: Loan, code: str, quantity: str, *, more: str = "0") -> StandingInstruction:
    """Have a client pay in, and set a part of it aside."""
    desk.deposit(loan, code, str(D(quantity) + D(more)))
    return instructions.give(loan, Asset.objects.get(code=code), D(quantity), by=signer(loan), now=desk.now)


def sound() -> None:
    assert books.check() == []
    assert invariants.check() == []


def test_a_call_is_cured_in_cash_with_what_it_takes_and_the_rest_stays_aside(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    row = reserve(desk, loan, "USD", "9000", more="100")
    reserve(desk, loan, "BTC", "0.5")
    before = free(loan, "USD")
    desk.round(BTC="28000")
    call = desk.call(loan)
    assert (reserved_cures.carry_out_due(now=desk.now), reserved_cures.carry_out_due(now=desk.now)) == (1, 0)
    call.refresh_from_db()
    assert (call.state, call.cash_cured) == (CallState.CURED, call.cash_cure)
    row.refresh_from_db()
    assert (row.quantity, row.used) == (9000 - call.cash_cure, call.cash_cure)
    assert free(loan, "USD") == before
    assert desk.pledged(loan, "BTC") == 1  # the least value that cures is taken, and cash is less than bitcoin
    told = Notice.objects.get(kind="standing_instruction")
    assert "Nothing is missing: the call is cured." in told.body
    step = CallEvent.objects.get(kind="standing_instruction")
    assert step.facts["reason"].endswith("paid; nothing is missing")
    assert AuditRecord.objects.filter(action="instruction_used", object_id=str(row.public_id)).count() == 1
    desk.steps(2)
    assert desk.state(loan) == "healthy"
    sound()
    # The next call has it again, with what is left.
    desk.round(BTC="21000")
    assert reserved_cures.carry_out_due(now=desk.now) == 1
    row.refresh_from_db()
    assert row.quantity < 9000 - call.cash_cure
    assert Repayment.objects.count() == 2


def test_what_is_not_enough_is_used_whole_and_the_client_reads_what_is_missing(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    reserve(desk, loan, "USD", "1000")
    reserve(desk, loan, "BTC", "0.05")
    desk.step(BTC="28000")
    reserved_cures.carry_out_due(now=desk.now)
    call = desk.call(loan)
    assert call.state == CallState.PARTIALLY_CURED
    part = D(1000) / call.cash_cure + D("0.05") / call.collateral_cures.get().quantity
    assert abs(call.cured_fraction - part) < D("1e-9")
    assert desk.pledged(loan, "BTC") == D("1.05")
    told = Notice.objects.get(kind="standing_instruction")
    assert "1,000 USD paid, 0.05 BTC added as collateral" in told.body
    assert "Still missing: " in told.body
    browser = Browser()
    browser.force_login(signer(loan))
    with time_machine.travel(desk.now, tick=False):
        page = browser.get(f"/portal/calls/{call.public_id}/").content.decode()
        assert "Your standing instruction was carried out" in page
        assert "1,000 USD paid" in page
        console = Browser()
        console.force_login(desk.risk)
        shown = console.get(f"/console/calls/{call.public_id}/").content.decode()
        assert "Set aside by the client for calls" in shown
        assert "still missing" in shown
    sound()


def test_nothing_is_sold_before_what_is_set_aside_was_used(desk: Desk) -> None:
    """A fall past the liquidation level sells at once; no worker has come to the instruction yet."""
    loan = desk.loan("20000", BTC="1")
    reserve(desk, loan, "USD", "9000")
    desk.round(BTC="23000")
    liquidations.order_due(now=desk.now)
    assert desk.call(loan).state == CallState.CURED
    assert not SaleCause.objects.exists()


def test_a_worker_that_was_killed_leaves_nothing_half_done(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    loan = desk.loan("20000", BTC="1")
    row = reserve(desk, loan, "USD", "9000")
    desk.round(BTC="28000")
    with monkeypatch.context() as killed:
        killed.setattr(reserved_cures.letters, "told", lambda *args, **kwargs: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            reserved_cures.carry_out_due(now=desk.now)
    row.refresh_from_db()
    assert (row.quantity, row.used, Repayment.objects.count()) == (9000, 0, 0)
    assert reserved_cures.carry_out_due(now=desk.now) == 1
    assert Repayment.objects.get().amount == desk.call(loan).cash_cure
    sound()


def test_what_comes_after_the_deadline_by_our_fault_is_in_time(desk: Desk) -> None:
    """Nothing is sold after an expired call either before what is set aside was used."""
    loan = desk.loan("20000", BTC="1")
    reserve(desk, loan, "BTC", "0.5")
    desk.step(BTC="28000")
    desk.minutes(22)  # no worker carries it out
    assert (desk.call(loan).state, desk.orders(loan)) == (CallState.CURED, [])
    moved = PledgeMovement.objects.get(kind="top_up")
    assert moved.effective_at == desk.call(loan).cure_due_at
    assert desk.pledged(loan, "BTC") == 1 + moved.quantity
    sound()


def test_one_call_that_fails_holds_back_no_other(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    loans = [desk.loan("20000", BTC="1") for _ in range(2)]
    for loan in loans:
        reserve(desk, loan, "USD", "9000")
    desk.round(BTC="28000")
    first, second = (desk.call(loan) for loan in loans)
    bad = MarginCall.objects.order_by("issued_at", "public_id").values_list("pk", flat=True)[0]
    carry_out = reserved_cures.carry_out
    monkeypatch.setattr(
        reserved_cures, "carry_out", lambda call, now: 1 // (call.pk != bad) and carry_out(call, now=now)
    )
    assert reserved_cures.carry_out_due(now=desk.now) == 1
    good = second if first.pk == bad else first
    good.refresh_from_db()
    assert good.state == CallState.CURED


def in_a_pool(desk: Desk) -> tuple[Loan, Loan]:
    """Return two loans on one margin account: 1,000 that is paid first, and 19,000."""
    first = desk.loan("1000", opens_pool=True, BTC="1")
    return first, desk.loan("19000", pool=first)


def owed(loan: Loan) -> Decimal:
    return Loan.objects.get(pk=loan.pk).principal_outstanding


def test_in_a_pool_it_pays_whichever_loans_the_call_is_about(desk: Desk) -> None:
    first, other = in_a_pool(desk)
    reserve(desk, first, "USD", "9000", more="100")
    before = free(first, "USD")
    desk.round(BTC="28000")
    assert reserved_cures.carry_out_due(now=desk.now) == 1
    call = desk.call(first)
    assert (call.state, call.cash_cured) == (CallState.CURED, call.cash_cure)
    assert (owed(first), owed(other) < 19_000) == (0, True)
    assert free(first, "USD") == before
    sound()


def test_in_a_pool_it_stands_until_every_loan_is_paid(desk: Desk) -> None:
    first, other = in_a_pool(desk)
    row = reserve(desk, first, "USD", "9000")
    desk.pay(first, desk.payoff(first))
    assert instructions.end_due(now=desk.now) == 0
    desk.round(BTC="26000")
    assert reserved_cures.carry_out_due(now=desk.now) == 1
    assert desk.call(other).state == CallState.CURED
    desk.pay(other, desk.payoff(other))
    assert instructions.end_due(now=desk.now) == 1
    row.refresh_from_db()
    assert row.ended_at == desk.now
    sound()


def test_what_a_payment_leaves_over_cures_no_call(desk: Desk) -> None:
    """What is sent to an account pays one of its loans, and under a call the next; what is for one loan pays that."""
    first, other = in_a_pool(desk)

    def send_in(amount: Decimal) -> list[Repayment]:
        desk.deposit(first, "USD", str(amount))
        at = desk.now
        key = f"repayment:test:{desk.count}"
        return arrivals.repay(first.margin_account, first.asset, amount, key=key, arrived_at=at, now=at)

    with transaction.atomic():  # nobody is called: the other loan is not paid before its time
        (paid,) = send_in(D(1500))
        assert (paid.loan, paid.surplus, owed(other)) == (first, 500, 19_000)
        transaction.set_rollback(True)
    desk.round(BTC="28000")
    call = desk.call(first)
    with transaction.atomic():
        desk.pay(first, call.cash_cure)
        margin_calls.assess(margin_calls.locked(call.pk), now=desk.now)
        partly = desk.call(first)
        assert (partly.state, partly.cash_cured < 1_001) == (CallState.PARTIALLY_CURED, True)
        transaction.set_rollback(True)
    before = free(first, "USD")
    paid, rest = send_in(call.cash_cure)
    assert (paid.loan, rest.loan) == (first, other)
    margin_calls.assess(margin_calls.locked(call.pk), now=desk.now)
    assert desk.call(first).state == CallState.CURED
    sound()

    # The transfer comes back: whichever loan it is asked about, one request takes back all that it paid.
    olga, oscar = (make.staff(name, Role.OPERATIONS) for name in ("olga", "oscar"))
    asked = corrections.ask_reversal(rest, cause="bounced", reason="the bank's word", maker=olga, now=desk.now)
    for row in (paid, rest):
        with pytest.raises(corrections.UnableToCorrect, match="it was asked for already"):
            corrections.ask_reversal(row, cause="wrong", reason="another's", maker=olga, now=desk.now)
        assert corrections.waiting(row.loan, now=desk.now) == [asked]
    assert [loan for loan, _ in corrections.foreseen(asked)] == [first, other]
    approvals.decide(asked, checker=oscar, approve=True, now=desk.now)
    made = Correction.objects.order_by("pk")
    assert [(row.repayment, row.maker, row.checker) for row in made] == [(rest, olga, oscar), (paid, olga, oscar)]
    assert (owed(first), owed(other), free(first, "USD")) == (1_000, 19_000, before)
    with pytest.raises(corrections.UnableToCorrect, match="it was taken back already"):
        corrections.ask_reversal(paid, cause="wrong", reason="another's", maker=olga, now=desk.now)
    sound()


def test_in_a_pool_nothing_is_set_aside_that_no_call_could_use(desk: Desk) -> None:
    first = desk.loan("1000", opens_pool=True, BTC="2")
    desk.loan("100", asset="LINK", pool=first)
    asked = cures.asked_in(first.margin_account_id)
    assert asked is not None
    for code in ("USD", "LINK"):
        desk.deposit(first, code, "50")
        asset = Asset.objects.get(code=code)
        if asset == asked:
            assert instructions.give(first, asset, D(50), by=signer(first), now=desk.now).quantity == 50
        else:
            with pytest.raises(instructions.UnableToInstruct, match=f"no {code} of yours is free that could cure"):
                instructions.give(first, asset, D(50), by=signer(first), now=desk.now)


def test_it_comes_free_when_the_loan_is_paid(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    row = reserve(desk, loan, "BTC", "0.5")
    assert instructions.end_due(now=desk.now) == 0
    desk.pay(loan, desk.payoff(loan))
    assert instructions.end_due(now=desk.now) == 1
    row.refresh_from_db()
    assert (row.quantity, row.ended_by, row.ended_why) == (0, None, "nothing is owed on the loan")
    assert free(loan, "BTC") == D("0.5")
    with pytest.raises(reserves.UnableToReserve, match="ended already"):
        reserves.end(row, by=None, why="again", now=desk.now)


# --- the door -------------------------------------------------------------------------------------------------------


@pytest.fixture
def _now() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2, seconds=20), tick=False):
        yield


def send(who: Any, loan: Loan, address: str = "give/", **sent: str) -> Any:
    browser = Browser()
    browser.force_login(who)
    return browser.post(f"/portal/loans/{loan.public_id}/reserved/{address}", sent, follow=True)


@pytest.mark.usefixtures("_now")
def test_a_signer_sets_aside_changes_and_takes_back(cast: Cast, django_assert_max_num_queries: Any) -> None:
    loan = stories.running(cast)
    stories.deposited(cast.harbourside, "USD", D(1000))
    stories.deposited(cast.harbourside, "BTC", D(2))
    stories.deposited(cast.harbourside, "LINK", D(5))  # no collateral of this loan
    free_usd = free(loan, "USD")
    assert "Nothing is set aside" in send(cast.alice, loan, "take-back/").content.decode()
    for sent, said in (
        ({"asset": "", "quantity": "1"}, "Choose what to use."),
        ({"asset": "BTC", "quantity": ""}, "Say up to how much."),
        ({"asset": "BTC", "quantity": "much"}, "That is not a number"),
        ({"asset": "BTC", "quantity": "0"}, "0 is not an amount that BTC can move"),
        ({"asset": "BTC", "quantity": "-1"}, "-1 is not an amount that BTC can move"),
        ({"asset": "BTC", "quantity": "0.123456789"}, "0.123456789 is not an amount that BTC can move"),
        ({"asset": "BTC", "quantity": "2.1"}, "2 BTC can be set aside"),
        ({"asset": "LINK", "quantity": "5"}, "not one of the available choices"),
    ):
        answer = send(cast.alice, loan, **sent)
        assert (answer.status_code, said in answer.content.decode()) == (422, True), sent
    assert send(cast.bob, loan, asset="BTC", quantity="1").status_code == 403
    assert send(cast.charlie, loan, asset="BTC", quantity="1").status_code == 404
    assert "is used as soon as" in send(cast.alice, loan, asset="BTC", quantity="1.5").content.decode()
    row = StandingInstruction.objects.get()
    assert (row.quantity, free(loan, "BTC")) == (D("1.5"), D("0.5"))
    send(cast.alice, loan, asset="BTC", quantity="0.25")
    row.refresh_from_db()
    assert (row.quantity, free(loan, "BTC")) == (D("0.25"), D("1.75"))
    # What is set aside is not paid out, and what is asked for as a payout is not set aside.
    browser = Browser()
    browser.force_login(cast.alice)
    assert "Set aside for margin calls" in browser.get("/portal/money/").content.decode()
    (left,) = [each.left for each in payouts.free([cast.harbourside]) if each.asset.code == "BTC"]
    assert left == D("1.75")
    with django_assert_max_num_queries(12):
        assert "added as its collateral" in browser.get(f"/portal/loans/{loan.public_id}/reserved/").content.decode()
    page = browser.get(f"/portal/loans/{loan.public_id}/reserved/", headers={"HX-Request": "true"}).content.decode()
    assert "up to" in page
    assert "0.25" in page
    stories.fall()  # while a call is open it stays as it is
    robin = Browser()
    robin.force_login(cast.robin)
    assert "Set aside by the client" in robin.get(f"/admin/lending/loan/{loan.pk}/change/").content.decode()
    taken = send(cast.alice, loan, "take-back/", instruction=str(row.public_id)).content.decode()
    assert "Not taken back: a margin call is open" in taken
    assert "a margin call is open" in send(cast.alice, loan, asset="BTC", quantity="0.5").content.decode().lower()
    row.refresh_from_db()
    assert (row.quantity, row.ended_at, free(loan, "USD")) == (D("0.25"), None, free_usd)


@pytest.mark.usefixtures("_now")
def test_it_is_taken_back(cast: Cast) -> None:
    loan = stories.running(cast)
    stories.deposited(cast.harbourside, "BTC", D(2))
    send(cast.alice, loan, asset="BTC", quantity="2")
    row = StandingInstruction.objects.get()
    assert (
        "Not taken back: it has ended already" in send(cast.alice, loan, "take-back/", instruction="x").content.decode()
    )
    assert "is free again" in send(cast.alice, loan, "take-back/", instruction=str(row.public_id)).content.decode()
    row.refresh_from_db()
    assert (row.quantity, row.ended_by, free(loan, "BTC")) == (0, cast.alice, 2)


def test_the_database_holds_an_instruction_against_the_ledger(real_db: str) -> None:
    desk = Desk()
    loan = desk.loan("20000", BTC="1")
    row = reserve(desk, loan, "BTC", "0.5")
    for wrong, words in (
        ({"quantity": D("0.6"), "steps": 9}, "0.5.* stand on the ledger"),
        ({"used": D(1)}, "stays with its loan"),
        ({"ended_at": desk.now, "steps": 9}, "instruction_that_ended_holds_nothing"),
    ):
        with pytest.raises(DatabaseError, match=words), transaction.atomic():
            StandingInstruction.objects.filter(pk=row.pk).update(**wrong)
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM lending_standinginstruction")
    sound()
