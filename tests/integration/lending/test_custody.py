"""Custody: deposits credited once, withdrawals sent once, and breaks found, shown and closed."""

import dataclasses
import datetime as dt
from decimal import Decimal
from typing import Any

import pytest

from lending import collateral, custody, ledger, loans, margin_accounts, outbox, repayments, withdrawals
from lending.adapters.paper_custodian import SLOW_S, PaperCustodian
from lending.engine import accounts
from lending.engine.chart import AccountKind
from lending.models import (
    Client,
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
    Role,
    Withdrawal,
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


# --- deposits -------------------------------------------------------------------------------------------------------


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
        (2000, NOW + 20 * MINUTE),
    ]


def test_a_payment_overtaken_while_it_waits_for_the_account_is_applied_behind_it(
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
    assert (payment.received_at, payment.arrived_at) == (overtaken_at, NOW + MINUTE)
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) == 0


def test_a_deposit_nobody_expects_is_kept_apart_and_shown(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    custodian.simulate_deposit("d1", address="bc1-who-knows", asset="BTC", quantity=Decimal(3), at=NOW)
    settle_in(LATER)
    deposit = Deposit.objects.get()
    assert (deposit.state, deposit.client, deposit.sent_to) == ("unmatched", None, "bc1-who-knows")
    assert ledger.owed(accounts.deposits_pending("BTC")) == 3
    assert custody.reconcile(now=LATER) == 0
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


# --- withdrawals ----------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Client:
    """Return a client with 100 BTC free."""
    row = make.ClientFactory()
    make.give(row, "BTC", "100")
    return row


def ask(client: Client, key: str, quantity: str = "1", **changes: object) -> Withdrawal:
    given = {
        "destination": "bc1",
        "purpose": "release",
        "maker": make.staff("olga"),
        "checker": make.staff("rhea", Role.RISK),
        "book": make.BookFactory(),
        "now": NOW,
        **changes,
    }
    return withdrawals.request(client, make.asset("BTC"), Decimal(quantity), key=key, **given)  # type: ignore[arg-type]


def test_every_withdrawal_ends_once_whatever_the_answers(client: Client, custodian: PaperCustodian) -> None:
    for n in range(60):
        ask(client, f"w{n}")
    assert ledger.owed(accounts.withdrawals_pending("BTC", client.pk)) == 60
    custody.send_due(now=NOW)
    states = set(Withdrawal.objects.values_list("state", flat=True))
    assert {"done", "unknown", "sent"} <= states  # some answers were lost, some transfers are slow
    assert custody.reconcile(now=NOW) == 0
    assert not CustodyBreak.objects.exists()
    for seconds in (10, 20, SLOW_S, SLOW_S + 60):
        custody.send_due(now=NOW + dt.timedelta(seconds=seconds))
    assert set(Withdrawal.objects.values_list("state", flat=True)) == {"done"}
    assert custodian.balances(at=LATER)["BTC"] == 40
    assert ledger.balance(accounts.custody("BTC", "paper")) == 40
    assert ledger.owed(accounts.withdrawals_pending("BTC", client.pk)) == 0


def test_a_crash_between_claim_and_answer_is_resolved_by_a_query(client: Client, custodian: PaperCustodian) -> None:
    row = ask(client, "w1")
    # The process died after the custodian took the request and before anything was noted.
    Withdrawal.objects.update(state="sent", attempts=1, next_attempt_at=NOW)
    custodian.replay(
        {
            "kind": "withdraw",
            "id": str(row.public_id),
            "asset": "BTC",
            "quantity": "1",
            "destination": "bc1",
            "refused": "",
            "at": NOW.isoformat(),
        }
    )
    for minutes in (0, 5):
        custody.send_due(now=NOW + minutes * MINUTE)
    assert Withdrawal.objects.get().state == "done"
    assert custodian.balances(at=LATER)["BTC"] == 99


def test_a_refused_withdrawal_gives_the_amount_back(client: Client, custodian: PaperCustodian) -> None:
    ask(client, "w1", "60")
    custodian.replay(
        {
            "kind": "withdraw",
            "id": "somebody-else",
            "asset": "BTC",
            "quantity": "70",
            "destination": "x",
            "refused": "",
            "at": (NOW - HOUR).isoformat(),
        }
    )
    custody.send_due(now=NOW)
    assert Withdrawal.objects.get().state == "failed"
    assert ledger.owed(accounts.client_free("BTC", client.pk)) == 100
    assert "30 BTC are held" in Event.objects.get(stream="withdrawals").payload["reason"]


@pytest.mark.parametrize(
    ("quantity", "changes", "message"),
    [
        ("0", {}, "0 is not an amount that BTC can move"),
        ("NaN", {}, "NaN is not an amount that BTC can move"),
        ("0.000000001", {}, r"not an amount that BTC can move \(8 decimals\)"),
        ("101", {}, "has 100 BTC free, not 101"),
        ("1", {"destination": ""}, "a withdrawal of 1 BTC to nowhere needs a destination"),
    ],
)
def test_a_withdrawal_that_can_not_be_is_refused_in_words(
    client: Client, quantity: str, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(withdrawals.UnableToWithdraw, match=message):
        ask(client, "w1", quantity, **changes)


def test_a_withdrawal_takes_two_persons_and_a_key_of_its_own(client: Client) -> None:
    olga = make.staff("olga")
    with pytest.raises(withdrawals.UnableToWithdraw, match="Olga can not both ask for and approve"):
        ask(client, "w1", maker=olga, checker=olga)
    first = ask(client, "w1")
    assert ask(client, "w1") == first
    with pytest.raises(withdrawals.UnableToWithdraw, match="the key w1 was used for another withdrawal"):
        ask(client, "w1", "2")


# --- settlement and reconciliation ----------------------------------------------------------------------------------


def test_delivery_versus_payment_happens_once_per_key(client: Client, custodian: PaperCustodian) -> None:
    done = [
        custody.deliver_versus_payment(
            f"settlement:{n}",
            deliver_asset="BTC",
            deliver_quantity=Decimal(1),
            receive_asset="USD",
            receive_quantity=Decimal(30_000),
            counterparty="harbour",
            now=NOW,
        )
        for n in range(40)
        for _ in range(2)
    ]
    assert not all(done[::2])  # an answer was lost
    assert all(done[1::2])  # and found by asking again
    assert custodian.balances(at=NOW) == {"BTC": 60, "USD": 1_200_000}
    with pytest.raises(custody.UnableToSettle, match="60 BTC are held, not 61"):
        custody.deliver_versus_payment(
            "settlement:x",
            deliver_asset="BTC",
            deliver_quantity=Decimal(61),
            receive_asset="USD",
            receive_quantity=Decimal(1),
            counterparty="harbour",
            now=NOW,
        )


def test_a_break_is_found_blocks_releases_and_is_closed(custodian: PaperCustodian) -> None:
    loan = make.active_loan()
    assert custody.reconcile(now=NOW) == 0
    stolen = {"kind": "withdraw", "id": "thief", "asset": "BTC", "quantity": "5", "destination": "x", "refused": ""}
    custodian.replay({**stolen, "at": NOW.isoformat()})
    assert [custody.reconcile(now=LATER + n * MINUTE) for n in range(3)] == [0, 1, 1]
    gap = CustodyBreak.objects.get()
    assert (gap.ledger_quantity, gap.custodian_quantity, gap.closed_at) == (25, 20, None)
    with pytest.raises(collateral.UnableToRelease, match="the ledger has 25 BTC and paper has 20"):
        collateral.release(
            loan.margin_account,
            make.asset("BTC"),
            Decimal(1),
            permit=make.release_permit(loan.margin_account, "BTC", "1"),
            maker=make.staff("olga", Role.OPERATIONS),
            checker=make.staff("rhea", Role.RISK),
            key="r1",
            now=NOW,
        )
    # It comes back: while that waits to be credited, it explains why the custodian holds more than before.
    custodian.simulate_deposit("returned", address="bc1-from-thief", asset="BTC", quantity=Decimal(5), at=NOW)
    closed_at = LATER + 5 * MINUTE
    assert custody.reconcile(now=closed_at) == 0
    assert CustodyBreak.objects.get().closed_at == closed_at


def test_an_exchange_that_is_not_booked_yet_is_no_break(client: Client, custodian: PaperCustodian) -> None:
    make.capital("USD", "100000")
    for n in range(3):
        custodian.replay(
            {
                "kind": "settle",
                "id": f"s{n}",
                "asset": "BTC",
                "quantity": "1",
                "receive_asset": "USD",
                "receive_quantity": "30000",
                "destination": "harbour",
                "refused": "",
                "at": NOW.isoformat(),
            }
        )
        # Each round meets another exchange between execution and booking.
        assert custody.reconcile(now=NOW + n * MINUTE) == 0
    assert not CustodyBreak.objects.filter(closed_at=None).exists()
    assert custody.reconcile(now=NOW + 3 * MINUTE) == 2  # the last was never booked
