"""What the margin account's row is for: of two things at once, one comes first, and both are right."""

import datetime as dt
import threading
from collections.abc import Callable
from decimal import Decimal

import pytest
from django.db import connection, connections, transaction

from lending import collateral, custody, interest, ledger, margin_accounts, repayments
from lending.adapters.paper_custodian import PaperCustodian
from lending.engine import accounts
from lending.models import AddressKey, DepositAddress, Entry, Loan, Pledge, PledgeMovement, Repayment, Role
from tests.factories import lending as make
from tests.unit.lending.engine.test_addresses import ZPUB

NOW = make.NOW


def at_once(*verbs: Callable[[], object]) -> list[object]:
    """Run verbs at the same time, each on a connection of its own, and return results or exceptions in order."""
    barrier = threading.Barrier(len(verbs))
    results: list[object] = [None] * len(verbs)

    def run(n: int, verb: Callable[[], object]) -> None:
        try:
            barrier.wait(10)
            results[n] = verb()
        except Exception as error:  # noqa: BLE001 - the test looks at what was raised
            results[n] = error
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(n, verb)) for n, verb in enumerate(verbs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


@pytest.fixture
def loan(real_db: str) -> Loan:
    """Return an active loan with 25 BTC pledged, 5 BTC and 600,000 USD free."""
    row = make.active_loan(payout_address="wire:1")
    make.give(row.client, "BTC", "5")
    make.give(row.client, "USD", "600000")
    return row


def proved(loan: Loan) -> None:
    """Hold the pledge against the ledger."""
    owner = ("BTC", loan.client_id, loan.margin_account_id)
    pledge = Pledge.objects.get(margin_account=loan.margin_account)
    assert ledger.owed(accounts.client_pledged(*owner)) == pledge.quantity
    assert ledger.owed(accounts.liquidation_hold(*owner)) == pledge.held_quantity


def test_a_cure_and_a_hold_at_once_both_count(loan: Loan) -> None:
    btc = make.asset("BTC")
    results = at_once(
        lambda: collateral.top_up(loan.margin_account, btc, Decimal(5), key="cure", now=NOW),
        lambda: collateral.hold(loan.margin_account, btc, Decimal(20), key="order", now=NOW),
        lambda: repayments.record(loan, Decimal(1000), key="pay", received_at=NOW, now=NOW),
    )
    assert not [result for result in results if isinstance(result, Exception)]
    pledge = Pledge.objects.get()
    assert (pledge.quantity, pledge.held_quantity) == (10, 20)
    proved(loan)


def test_two_orders_can_not_hold_the_same_coins(loan: Loan) -> None:
    btc = make.asset("BTC")
    results = at_once(
        *(
            lambda key=f"order:{n}": collateral.hold(loan.margin_account, btc, Decimal(15), key=key, now=NOW)  # type: ignore[misc]
            for n in range(4)
        )
    )
    refused = [result for result in results if isinstance(result, collateral.UnableToHold)]
    assert len(refused) == 3
    assert {str(error) for error in refused} == {"there are 10 pledged BTC, not 15"}
    proved(loan)


def test_the_same_payment_from_several_workers_counts_once(loan: Loan) -> None:
    results = at_once(
        *(lambda: repayments.record(loan, Decimal(1000), key="pay", received_at=NOW, now=NOW) for _ in range(4))
    )
    assert {getattr(result, "pk", result) for result in results} == {Repayment.objects.get().pk}
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) == 599_000


def test_two_payments_can_not_spend_the_same_money(loan: Loan) -> None:
    results = at_once(
        *(
            lambda key=f"pay:{n}": repayments.record(loan, Decimal(400_000), key=key, received_at=NOW, now=NOW)  # type: ignore[misc]
            for n in range(2)
        )
    )
    refused = [result for result in results if isinstance(result, repayments.UnableToRepay)]
    assert [str(error).split(" has ")[1] for error in refused] == ["200000 USD free, not 400000"]


def test_a_deposit_polled_and_credited_by_several_workers_counts_once(real_db: str, custodian: PaperCustodian) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    address = custody.open_addresses({"margin_account": str(loan.margin_account.public_id)}, now=NOW)
    assert address is None
    where = loan.margin_account.deposit_addresses.get(asset__code="BTC").address
    for n in range(5):
        custodian.simulate_deposit(f"d{n}", address=where, asset="BTC", quantity=Decimal(1), at=NOW)
    later = NOW + dt.timedelta(hours=1)
    at_once(*(lambda: custody.poll_due(now=later) for _ in range(3)))
    results = at_once(*(lambda: custody.credit_due(now=later) for _ in range(3)))
    assert not [result for result in results if isinstance(result, Exception)]
    while custody.credit_due(now=later):
        continue
    assert PledgeMovement.objects.count() == 5
    assert Pledge.objects.get().quantity == 5


def test_interest_accrued_by_two_beats_is_posted_once(loan: Loan) -> None:
    later = NOW + dt.timedelta(days=3)
    results = at_once(*(lambda: interest.accrue_due(now=later) for _ in range(3)))
    assert not [result for result in results if isinstance(result, Exception)]
    interest.accrue_due(now=later)
    assert Entry.objects.filter(kind="accrual").count() == 3
    row = Loan.objects.get()
    assert row.interest_due == Decimal("333.34")  # two days and 16 hours at 125


def test_whoever_holds_the_row_makes_others_wait_and_not_for_ever(loan: Loan) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("5s",)
    held, done = threading.Event(), threading.Event()

    def hold_the_row() -> None:
        with transaction.atomic():
            margin_accounts.lock(loan.margin_account_id)
            held.set()
            done.wait(10)

    def pay() -> Repayment:
        held.wait(10)
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '200ms'")
        try:
            return repayments.record(loan, Decimal(1), key="pay", received_at=NOW, now=NOW)
        finally:
            done.set()

    _, waited = at_once(hold_the_row, pay)
    assert "lock timeout" in str(waited)
    assert not Repayment.objects.exists()


def test_many_who_open_addresses_at_once_leave_no_gap_in_a_keys_indexes(real_db: str) -> None:
    make.asset("BTC")
    key = AddressKey.objects.create(
        chain="bitcoin",
        xpub=ZPUB,
        maker=make.staff("olga", Role.OPERATIONS),
        checker=make.staff("rhea", Role.RISK),
        used_from=NOW,
    )
    owners = [make.pending_loan().margin_account for _ in range(6)]
    pairs = [[owners[n], owners[(n + 1) % len(owners)]] for n in range(len(owners))]
    results = at_once(*[lambda pair=pair: custody.open_all(pair, now=NOW) for pair in pairs])
    assert results == [None] * len(owners)
    given = DepositAddress.objects.filter(address_key=key).order_by("index")
    assert list(given.values_list("index", flat=True)) == list(range(len(owners)))
    key.refresh_from_db()
    assert key.next_index == len(owners)
