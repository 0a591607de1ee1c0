"""Copper's platform API as our custodian port: signed, idempotent, page by page, every status and error mapped."""

import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.conf import LazySettings

from lending import custody, ledger, outbox, ports, reconciliation
from lending.adapters.copper import CopperCustodian
from lending.engine import accounts
from lending.models import Deposit, DepositAddress
from lending.ports import CustodianRefused, CustodianUnavailable
from tests import copper_world
from tests.copper_world import KEY, PORTFOLIO, SECRET, CopperServer
from tests.factories import lending as make

NOW = make.NOW  # 1621411200000 ms
LATER = NOW + dt.timedelta(hours=1)


@pytest.fixture
def server() -> Iterator[CopperServer]:
    with copper_world.serving() as running:
        yield running


@pytest.fixture
def copper(server: CopperServer) -> CopperCustodian:
    return CopperCustodian(url=server.url, key=KEY, secret=SECRET, portfolio=PORTFOLIO, page=2)


def withdraw(copper: CopperCustodian, client_id: str = "w1", quantity: str = "1") -> Any:
    return copper.withdraw(client_id, asset="BTC", quantity=Decimal(quantity), destination="bc1", at=NOW)


def test_a_request_that_is_not_signed_by_our_secret_is_not_answered(server: CopperServer) -> None:
    stranger = CopperCustodian(url=server.url, key=KEY, secret="another", portfolio=PORTFOLIO)
    with pytest.raises(CustodianUnavailable, match="status 401 unauthorized: the signature does not fit"):
        stranger.withdrawal("w1", at=NOW)


def test_an_address_belongs_to_its_reference_and_a_derived_one_is_watched(
    server: CopperServer, copper: CopperCustodian
) -> None:
    first = copper.deposit_address("account-1", "BTC")
    assert copper.deposit_address("account-1", "BTC") == first
    assert copper.deposit_address("account-2", "BTC") != first
    copper.watch("bc1qours", asset="BTC", reference="account-3", at=NOW)
    copper.watch("bc1qours", asset="BTC", reference="account-3", at=NOW)
    assert [row["address"] for row in server.targets] == ["copper-0", "copper-1", "bc1qours"]
    assert {(row["currency"], row["mainCurrency"]) for row in server.targets} == {("BTC", "BTC")}
    with pytest.raises(CustodianRefused, match="is at bc1qours, not at bc1qother"):
        copper.watch("bc1qother", asset="BTC", reference="account-3", at=NOW)
    with pytest.raises(CustodianRefused, match="DOGE has no network at copper"):
        copper.deposit_address("account-1", "DOGE")
    server.target_status = "approval-pending"
    with pytest.raises(CustodianUnavailable, match="the deposit target account-4:BTC is approval-pending"):
        copper.deposit_address("account-4", "BTC")


@pytest.mark.parametrize(
    ("status", "confirmations", "told", "confirmed", "reorged"),
    [
        ("new", "", 0, False, False),
        ("working", "1", 1, False, False),
        ("working", "9", 2, False, False),  # until it is executed the last one is missing
        ("blocked", "9", 2, False, False),
        ("executed", "2", 3, True, False),
        ("rejected", "1", 0, False, True),
        ("canceled", "1", 0, False, True),
    ],
)
def test_a_deposit_is_what_its_order_says(
    server: CopperServer, copper: CopperCustodian, status: str, confirmations: str, told: int, confirmed: bool,
    reorged: bool,
) -> None:  # fmt: skip
    extra = {"toAddress": "copper-0", "confirmations": confirmations}
    server.order("deposit", "d1", "BTC", "1.5", status, extra=extra, terminatedAt="1621412000000")
    (report,) = copper.deposits(after=0, refs=[], needed={"BTC": 3}, at=LATER)
    assert (report.ref, report.address, report.quantity, report.seen_at) == ("d1", "copper-0", Decimal("1.5"), NOW)
    assert (report.confirmations, report.confirmed_at is not None, report.reorged) == (told, confirmed, reorged)
    if confirmed:
        assert report.confirmed_at == NOW + dt.timedelta(seconds=800)


def test_deposits_come_page_by_page_in_order_and_by_name(server: CopperServer, copper: CopperCustodian) -> None:
    for n in range(5):
        server.order("deposit", f"d{n}", "BTC", "1", "working", created=str(1621411200000 + n * 3_600_000))
    reports = copper.deposits(after=0, refs=[], needed={}, at=LATER)
    assert [report.ref for report in reports] == ["d0", "d1", "d2", "d3", "d4"]
    assert len(server.pages) == 3
    assert len({report.position for report in reports}) == 5
    later = copper.deposits(after=reports[3].position, refs=["d0"], needed={}, at=LATER)
    assert [report.ref for report in later] == ["d0", "d3", "d4"]  # what is named, the last read, and what is new


@pytest.mark.parametrize(
    ("status", "executed", "refused"),
    [
        ("queued", False, ""),
        ("co-sign-require", False, ""),
        ("processing", False, ""),
        ("executed", True, ""),
        ("rejected", False, "rejected: the signers said no"),
        ("error", False, "error: the signers said no"),
    ],
)
def test_a_withdrawal_is_what_its_order_says(
    server: CopperServer, copper: CopperCustodian, status: str, executed: bool, refused: str
) -> None:
    assert copper.withdrawal("w1", at=NOW) is None
    withdraw(copper)
    server.orders[0].update(status=status, terminatedAt="1621412000000")
    server.orders[0]["extra"]["description"] = "the signers said no"
    report = copper.withdrawal("w1", at=LATER)
    assert report is not None
    assert (report.executed_at is not None, report.refused) == (executed, refused)


def test_the_same_id_orders_once_and_another_transfer_under_it_is_refused(
    server: CopperServer, copper: CopperCustodian
) -> None:
    assert withdraw(copper) == withdraw(copper)
    assert len(server.orders) == 1
    with pytest.raises(CustodianRefused, match="the id w1 was used for another transfer"):
        withdraw(copper, quantity="2")


def test_an_order_whose_answer_was_lost_is_found_by_our_id(server: CopperServer, copper: CopperCustodian) -> None:
    server.after_order.append((504, "<html>gateway</html>"))
    with pytest.raises(CustodianUnavailable):
        withdraw(copper)
    assert copper.withdrawal("w1", at=NOW) is not None
    assert withdraw(copper).executed_at is None
    assert len(server.orders) == 1


@pytest.mark.parametrize(
    ("status", "body", "error", "words"),
    [
        (400, {"error": "bad-request", "message": "no such currency"}, CustodianRefused, "bad-request: no such"),
        (401, {"error": "unauthorized", "message": "key"}, CustodianUnavailable, "status 401 unauthorized: key"),
        (403, {"error": "forbidden", "message": "role"}, CustodianUnavailable, "status 403 forbidden: role"),
        (429, {"error": "too-many", "message": "slow down"}, CustodianUnavailable, "status 429 too-many: slow down"),
        (500, {"error": "internal", "message": ""}, CustodianUnavailable, "status 500"),
        (200, "not json", CustodianUnavailable, "JSONDecodeError"),
        (200, [], CustodianUnavailable, "status 200"),
    ],
)
def test_only_a_definite_no_is_a_refusal(
    server: CopperServer, copper: CopperCustodian, status: int, body: Any, error: type[Exception], words: str
) -> None:
    server.broken.append((status, body))
    with pytest.raises(error, match=words):
        withdraw(copper)
    assert server.orders == []


def test_an_amount_or_an_instant_that_is_none_is_not_believed(server: CopperServer, copper: CopperCustodian) -> None:
    server.order("deposit", "d1", "BTC", "NaN", "working")
    with pytest.raises(CustodianUnavailable, match="'NaN' is no amount"):
        copper.deposits(after=0, refs=[], needed={}, at=NOW)
    server.orders[0].update(amount="1", status="executed", terminatedAt="soon")
    with pytest.raises(CustodianUnavailable, match="'soon' is no instant"):
        copper.deposits(after=0, refs=[], needed={}, at=NOW)


def test_an_exchange_is_payment_versus_payment(server: CopperServer, copper: CopperCustodian) -> None:
    what: dict[str, Any] = {
        "deliver_asset": "BTC", "deliver_quantity": Decimal("0.5"), "receive_asset": "USD",
        "receive_quantity": Decimal(15_000), "counterparty": "harbour", "at": NOW,
    }  # fmt: skip
    assert copper.settle("settlement:harbour:1", **what).executed_at is None
    assert server.orders[0]["extra"]["deliveryType"] == "payment-vs-payment"
    server.orders[0].update(status="settled", terminatedAt="1621412000000")
    report = copper.settlement("settlement:harbour:1", at=LATER)
    assert report is not None
    assert report.executed_at == NOW + dt.timedelta(seconds=800)
    (moved,) = copper.transfers(since=NOW, at=LATER)
    assert (moved.kind, dict(moved.deltas)) == ("exchange", {"BTC": Decimal("-0.5"), "USD": Decimal(15_000)})


@pytest.mark.django_db
def test_a_deposit_is_credited_and_both_books_agree_on_the_way(server: CopperServer, settings: LazySettings) -> None:
    settings.LENDING_COPPER = {"url": server.url, "key": KEY, "secret": SECRET, "portfolio": PORTFOLIO}
    settings.LENDING_CUSTODIAN = "lending.adapters.copper.build"
    ports.custodian.cache_clear()
    make.asset("BTC")
    loan = make.pending_loan()
    outbox.deliver_due(now=NOW)
    address = DepositAddress.objects.get(margin_account=loan.margin_account, asset__code="BTC").address
    order = server.order("deposit", "d1", "BTC", "2", "working", extra={"toAddress": address, "confirmations": "1"})
    server.wallets = [{"currency": "BTC", "totalBalance": "0"}, {"currency": "USD", "totalBalance": "0.00"}]
    assert reconciliation.reconcile(now=LATER) == 0
    assert Deposit.objects.get().state == "pending"
    order.update(status="executed", terminatedAt="1621412000000")
    server.wallets[0]["totalBalance"] = "2"
    for _ in range(2):
        custody.poll_due(now=LATER)
        custody.credit_due(now=LATER)
        assert reconciliation.reconcile(now=LATER) == 0
    assert Deposit.objects.get().state == "credited"
    assert ledger.balance(accounts.custody("BTC", "copper")) == 2
    server.wallets[0]["totalBalance"] = "1.9"
    assert reconciliation.reconcile(now=LATER) == 1
    ports.custodian.cache_clear()
