"""Deposits: dated by their confirmation, credited once, used as their address says, kept apart when nobody knows it."""

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from lending import custody, ledger, loans, margin_accounts, outbox, reconciliation, repayments
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.models import (
    Correction,
    CustodyBreak,
    Deposit,
    DepositAddress,
    Entry,
    Event,
    Loan,
    LoanState,
    MarginAccount,
    Pledge,
    PledgeMovement,
    Repayment,
)
from lending.ports import CustodianUnavailable, DepositReport
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)
LATER = NOW + 3 * HOUR


def address_of(loan: Loan, code: str, purpose: str = "collateral") -> str:
    """Return a deposit address of a loan, opened by the outbox."""
    outbox.deliver_due(now=NOW)
    return DepositAddress.objects.get(margin_account=loan.margin_account, asset__code=code, purpose=purpose).address


def settle_in(now: dt.datetime) -> None:
    """Read and credit what has arrived."""
    custody.poll_due(now=now)
    custody.credit_due(now=now)


def test_a_loan_gets_an_address_for_every_crypto_asset_and_one_for_payments() -> None:
    for code in ("ETH", "LINK", "USDC"):
        make.asset(code)
    make.asset("BTC")
    loan = make.pending_loan()
    address_of(loan, "BTC")
    found = DepositAddress.objects.filter(margin_account=loan.margin_account).order_by("purpose", "asset__code")
    assert list(found.values_list("purpose", "asset__code")) == [
        ("collateral", "BTC"),
        ("collateral", "ETH"),
        ("collateral", "LINK"),
        ("repayment", "USD"),
    ]
    assert outbox.deliver_due(now=NOW) == 0


def test_a_deposit_counts_when_it_is_confirmed_and_once(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_deposit("d1", address=address_of(loan, "BTC"), asset="BTC", quantity=Decimal(25), at=NOW)
    settle_in(NOW + 29 * MINUTE)  # two blocks of ten minutes; three are needed
    assert Deposit.objects.get().state == Deposit.State.PENDING
    assert not Pledge.objects.exists()
    for minutes in (30, 31, 60):
        settle_in(NOW + minutes * MINUTE)
    deposit = Deposit.objects.get()
    assert (deposit.state, deposit.confirmed_at) == (Deposit.State.CREDITED, NOW + 30 * MINUTE)
    assert Pledge.objects.get().quantity == 25
    movement = PledgeMovement.objects.get()
    assert (movement.kind, movement.effective_at) == ("pledge", NOW + 30 * MINUTE)
    assert ledger.balance(accounts.custody("BTC", "paper")) == 25


def test_a_deposit_is_dated_by_its_confirmation_however_late_it_is_heard_of(custodian: PaperCustodian) -> None:
    make.AssetNetworkFactory(asset=make.asset("BTC"))
    loan = make.pending_loan()
    custodian.simulate_deposit("d1", address=address_of(loan, "BTC"), asset="BTC", quantity=Decimal(25), at=NOW)
    settle_in(LATER)  # the first look since it was sent, hours after its third block
    confirmed_at = NOW + 30 * MINUTE
    assert Deposit.objects.get().confirmed_at == confirmed_at
    movement = PledgeMovement.objects.get()
    assert (movement.effective_at, movement.recorded_at) == (confirmed_at, LATER)
    for entry in Entry.objects.filter(idempotency_key__in=["deposit:paper:d1", "pledge:paper:d1"]):
        assert (entry.effective_at, entry.recorded_at) == (confirmed_at, LATER)


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        (NOW + 2 * HOUR, NOW + 2 * HOUR),
        (LATER + MINUTE, LATER),  # has not been yet: refused
        (None, LATER),
        (NOW - 5 * HOUR, NOW),  # before it was on the chain
    ],
)
def test_an_instant_that_can_not_be_is_not_believed(
    custodian: PaperCustodian, monkeypatch: pytest.MonkeyPatch, said: dt.datetime | None, counts: dt.datetime
) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_deposit("d1", address=address_of(loan, "BTC"), asset="BTC", quantity=Decimal(25), at=NOW)
    honest = custodian.deposits

    def claimed(**asked: Any) -> list[DepositReport]:
        return [dataclasses.replace(report, confirmed_at=said) for report in honest(**asked)]

    monkeypatch.setattr(custodian, "deposits", claimed)
    settle_in(LATER)
    assert PledgeMovement.objects.get().effective_at == counts


def test_a_payment_from_before_the_loan_counts_from_its_first_second(custodian: PaperCustodian) -> None:
    loan = make.active_loan(payout_address="wire:1")
    address = address_of(loan, "USD", "repayment")
    sent_at = NOW - HOUR
    custodian.simulate_deposit("d1", address=address, asset="USD", quantity=Decimal(10_000), at=sent_at)
    settle_in(LATER)
    payment = Repayment.objects.get()
    assert (payment.received_at, payment.arrived_at) == (loan.start_at, sent_at + MINUTE)


def test_what_had_arrived_is_known_only_from_a_look_after_it(
    custodian: PaperCustodian, monkeypatch: pytest.MonkeyPatch
) -> None:
    loan = make.active_loan()
    account, due_at = loan.margin_account_id, NOW + 40 * MINUTE
    custody.poll_due(now=NOW)
    monkeypatch.setattr(custodian, "deposits", _out_of_reach)
    custody.poll_due(now=LATER)
    assert custody.unheard(account, NOW) == ""
    assert custody.unheard(account, due_at) == "the custodian was not heard since the deadline"
    monkeypatch.undo()
    custodian.simulate_deposit("d1", address=address_of(loan, "BTC"), asset="BTC", quantity=Decimal(1), at=NOW)
    custody.poll_due(now=LATER)
    custody.poll_due(now=NOW)  # a slow worker's older look takes nothing back
    assert custody.unheard(account, due_at) == "a transfer that arrived in time is being credited"
    custody.credit_due(now=LATER)
    assert custody.unheard(account, due_at) == ""


def _out_of_reach(**asked: Any) -> list[DepositReport]:
    raise CustodianUnavailable("no answer")


def test_coins_for_a_running_loan_are_a_top_up(custodian: PaperCustodian) -> None:
    loan = make.active_loan()
    custodian.simulate_deposit("d1", address=address_of(loan, "BTC"), asset="BTC", quantity=Decimal(1), at=NOW)
    settle_in(LATER)
    assert PledgeMovement.objects.get(key="pledge:paper:d1").kind == "top_up"
    assert Pledge.objects.get().quantity == 26


def test_cash_at_the_payment_address_repays_from_the_moment_it_was_confirmed(custodian: PaperCustodian) -> None:
    loan = make.active_loan(payout_address="wire:1")
    address = address_of(loan, "USD", "repayment")
    custodian.simulate_deposit("d1", address=address, asset="USD", quantity=Decimal(10_000), at=NOW)
    custody.poll_due(now=NOW + MINUTE)
    custody.credit_due(now=LATER)
    payment = Repayment.objects.get()
    assert (payment.received_at, payment.recorded_at) == (NOW + MINUTE, LATER)
    assert payment.amount == 10_000


def test_payments_go_through_while_the_account_is_frozen_and_in_sale(custodian: PaperCustodian) -> None:
    loan = make.active_loan(payout_address="wire:1")
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="expired call", now=NOW)
    loan.margin_account.frozen = True
    loan.margin_account.save()
    for ref, code, purpose, quantity in (("d1", "USD", "repayment", 5000), ("d2", "BTC", "collateral", 2)):
        address = address_of(loan, code, purpose)
        custodian.simulate_deposit(ref, address=address, asset=code, quantity=Decimal(quantity), at=NOW)
    settle_in(LATER)
    assert Repayment.objects.get().amount == 5000
    assert Pledge.objects.get().quantity == 27


def test_two_payments_credited_out_of_order_both_count(custodian: PaperCustodian) -> None:
    loan = make.active_loan(payout_address="wire:1")
    address = address_of(loan, "USD", "repayment")
    custodian.simulate_deposit("d1", address=address, asset="USD", quantity=Decimal(1000), at=NOW)
    custodian.simulate_deposit("d2", address=address, asset="USD", quantity=Decimal(2000), at=NOW)
    custody.poll_due(now=NOW + 10 * MINUTE)
    Deposit.objects.filter(custodian_ref="d1").update(confirmed_at=NOW + 20 * MINUTE)
    Deposit.objects.filter(custodian_ref="d2").update(state="pending")
    custody.credit_due(now=LATER)
    Deposit.objects.filter(custodian_ref="d2").update(state="confirmed", confirmed_at=NOW + 15 * MINUTE)
    custody.credit_due(now=LATER)
    assert sorted(Repayment.objects.values_list("amount", "received_at")) == [
        (1000, NOW + 20 * MINUTE),
        (2000, NOW + 15 * MINUTE),
    ]
    # What came first is counted first: the one behind it paid five minutes' interest of less principal.
    assert Correction.objects.get().effective_at == NOW + 15 * MINUTE


def test_a_payment_overtaken_while_it_waits_for_the_account_still_counts_by_its_time(
    custodian: PaperCustodian, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process applies a payment, stamped a second later than our clock, before we get the account's lock."""
    loan = make.active_loan(payout_address="wire:1")
    make.give(loan.client, "USD", "2000")
    custodian.simulate_deposit(
        "d1", address=address_of(loan, "USD", "repayment"), asset="USD", quantity=Decimal(1000), at=NOW
    )
    custody.poll_due(now=NOW + 10 * MINUTE)
    overtaken_at = LATER + dt.timedelta(seconds=1)
    lock = margin_accounts.lock

    def lock_behind_another(pk: int) -> MarginAccount:
        monkeypatch.setattr(margin_accounts, "lock", lock)
        repayments.record(loan, Decimal(2000), key="other", received_at=overtaken_at, now=overtaken_at)
        return lock(pk)

    monkeypatch.setattr(margin_accounts, "lock", lock_behind_another)
    custody.credit_due(now=LATER)
    assert not Event.objects.filter(kind="kept_free").exists()
    payment = Repayment.objects.get(key="repayment:paper:d1")
    assert (payment.received_at, payment.arrived_at) == (NOW + MINUTE, None)
    assert Correction.objects.get().repayment == payment
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) == 0


def test_a_deposit_nobody_expects_is_kept_apart_and_shown(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    custodian.simulate_deposit("d1", address="bc1-who-knows", asset="BTC", quantity=Decimal(3), at=NOW)
    settle_in(LATER)
    deposit = Deposit.objects.get()
    assert (deposit.state, deposit.client, deposit.sent_to) == ("unmatched", None, "bc1-who-knows")
    assert ledger.owed(accounts.deposits_pending("BTC")) == 3
    assert reconciliation.reconcile(now=LATER) == 0
    assert not CustodyBreak.objects.exists()
    assert Event.objects.filter(stream="deposits", kind="unmatched", client=None).exists()


def test_the_wrong_asset_at_an_address_is_unmatched(custodian: PaperCustodian) -> None:
    make.asset("ETH")
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_deposit("d1", address=address_of(loan, "BTC"), asset="ETH", quantity=Decimal(3), at=NOW)
    settle_in(LATER)
    assert Deposit.objects.get().state == "unmatched"


def test_a_payment_for_a_loan_that_owes_nothing_stays_free(custodian: PaperCustodian) -> None:
    loan = make.pending_loan()
    address = address_of(loan, "USD", "repayment")
    custodian.simulate_deposit("d1", address=address, asset="USD", quantity=Decimal(10), at=NOW)
    settle_in(LATER)
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) == 10
    told = Event.objects.get(stream="deposits", kind="kept_free")
    assert told.payload["reason"] == "no loan in USD is owed on this margin account"


def test_capital_arrives_at_the_treasury(custodian: PaperCustodian) -> None:
    make.asset("USD")
    custodian.simulate_opening("o1", asset="USD", quantity=Decimal(5_000_000), at=NOW)
    settle_in(NOW)
    assert ledger.balance(accounts.house(AccountKind.CAPITAL, "USD")) == -5_000_000


def test_a_reorg_before_credit_takes_the_deposit_off(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_deposit("d1", address=address_of(loan, "BTC"), asset="BTC", quantity=Decimal(1), at=NOW)
    custody.poll_due(now=NOW + 15 * MINUTE)
    custodian.simulate_reorg("d1", at=NOW + 16 * MINUTE)
    settle_in(LATER)
    assert Deposit.objects.get().state == "reorged"
    assert not Pledge.objects.exists()
