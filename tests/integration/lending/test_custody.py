"""Custody: withdrawals sent once, and breaks found, shown and closed."""

import datetime as dt
from decimal import Decimal

import pytest

from lending import custody, ledger, reconciliation, withdrawals
from lending.adapters.paper_custodian import SLOW_S, PaperCustodian
from lending.engine import accounts
from lending.models import (
    Client,
    CustodyBreak,
    Event,
    Role,
    Withdrawal,
)
from tests.factories import lending as make

pytestmark = pytest.mark.django_db
NOW = make.NOW
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)
LATER = NOW + 3 * HOUR


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
    assert reconciliation.reconcile(now=NOW) == 0
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


# --- settlement with dealers ----------------------------------------------------------------------------------


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
