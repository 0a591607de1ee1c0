"""Once a call is in sale, pages show no clock but how far it is: what is sold, what is left, what it waits for."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser

from lending.models import ClientUser, Loan
from risk import incidents, sales
from risk.models import CallState, LiquidationOrder, MarginCall
from tests.factories.risk import Desk, expired
from tests.queries import Asked

pytestmark = pytest.mark.django_db


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def loan(desk: Desk) -> Loan:
    return expired(desk)


@pytest.fixture(autouse=True)
def _then(request: pytest.FixtureRequest) -> Iterator[None]:
    """Read pages at the instant at which the desk has arrived."""
    desk: Desk = request.getfixturevalue("desk")
    if "loan" in request.fixturenames:
        request.getfixturevalue("loan")
    with time_machine.travel(desk.now, tick=False):
        yield


def sale_of(loan: Loan) -> sales.Sale:
    found = sales.of(sales.with_sales(MarginCall.objects).get(margin_account=loan.margin_account_id))
    assert found is not None
    return found


def reads(client: Browser, user: object, address: str) -> str:
    client.force_login(user)  # type: ignore[arg-type]
    answer = client.get(address)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def test_a_running_call_has_no_sale(desk: Desk) -> None:
    loan = desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    assert sales.of(sales.with_sales(MarginCall.objects).get(margin_account=loan.margin_account_id)) is None


def test_parts_add_up_over_slices(desk: Desk) -> None:
    loan = expired(desk)
    (first,) = desk.orders(loan)
    assert [(part.asset, part.ordered, part.filled) for part in sale_of(loan).parts] == [("BTC", first.quantity, 0)]
    assert not sale_of(loan).begun
    desk.sell(first, price="26000")  # too little to restore the account, so a rest is ordered
    desk.steps(2)
    first, second = desk.orders(loan)
    (part,) = sale_of(loan).parts
    assert (part.ordered, part.filled) == (first.quantity + second.quantity, first.quantity)
    assert sale_of(loan).begun
    LiquidationOrder.objects.filter(pk=second.pk).update(cancelled_quantity=second.quantity)  # given back
    assert sale_of(loan).parts[0].ordered == first.quantity


def test_what_it_waits_for_is_told_until_it_is_ordered(desk: Desk) -> None:
    loan = expired(desk)
    call = desk.call(loan)
    incidents.log(call.margin_account, call.episode, "sale_waits", "frozen by compliance", now=desk.now)
    assert sale_of(loan).waits == ""  # an order is live
    (order,) = desk.orders(loan)
    order.state, order.ordered_at = "filled", desk.now - timedelta(minutes=1)
    order.save()
    assert sale_of(loan).waits == "frozen by compliance"
    order.ordered_at = desk.now + timedelta(seconds=1)
    order.save()
    assert sale_of(loan).waits == ""


def test_every_door_says_how_far_it_is(desk: Desk, loan: Loan, client: Browser) -> None:
    call = desk.call(loan)
    assert call.state == CallState.LIQUIDATING
    borrower = ClientUser.objects.get(client=loan.client).user
    doors = {
        "/console/": desk.risk,
        f"/console/calls/{call.public_id}/": desk.risk,
        f"/console/calls/{call.public_id}/row/": desk.risk,
        f"/console/calls/{call.public_id}/two-persons/": desk.risk,
        "/admin/": desk.manager,
        f"/admin/lending/loan/{loan.pk}/change/": desk.manager,
        f"/admin/lending/loan/{loan.pk}/story/": desk.manager,
        "/portal/": borrower,
        f"/portal/loans/{loan.public_id}/": borrower,
        f"/portal/calls/{call.public_id}/": borrower,
        f"/portal/calls/{call.public_id}/transfers/": borrower,
    }
    since = f"{sale_of(loan).since:%H:%M} UTC"
    for address, user in doors.items():
        page = reads(client, user, address)
        assert "nothing filled yet" in page, address
        assert since in page, address
        assert "data-due" not in page, address
    (order,) = desk.orders(loan)
    desk.sell(order, price="28000", part="0.5")
    half = f"{order.quantity / 2:.8f}".rstrip("0")
    for address, user in doors.items():
        page = reads(client, user, address)
        assert half in page, address
        assert "nothing filled yet" not in page, address


def test_the_queue_says_how_far_collateral_covers(desk: Desk, loan: Loan, client: Browser) -> None:
    # 20,000 and interest against bitcoin of 28,000: a fall of 28.6 % leaves it worth the debt.
    page = reads(client, desk.risk, "/console/")
    assert "covers the debt until</span> −28.6 %" in page
    desk.step(BTC="19000")
    with time_machine.travel(desk.now, tick=False):
        assert "above collateral" in reads(client, desk.risk, "/console/")


def test_the_desks_reasons_are_not_told_to_borrowers(desk: Desk, loan: Loan, client: Browser) -> None:
    call = desk.call(loan)
    LiquidationOrder.objects.update(state="filled", ordered_at=desk.now - timedelta(minutes=1))
    incidents.log(call.margin_account, call.episode, "sale_waits", "a second person must agree", now=desk.now)
    assert "waits: a second person must agree" in reads(client, desk.risk, "/console/")
    borrower = ClientUser.objects.get(client=loan.client).user
    for address in ("/portal/", f"/portal/calls/{call.public_id}/", f"/portal/loans/{loan.public_id}/"):
        assert "a second person" not in reads(client, borrower, address)


def test_more_sales_are_not_more_questions(desk: Desk, client: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    expired(desk)
    client.force_login(desk.risk)
    asked = Asked(client, monkeypatch)
    with time_machine.travel(desk.now, tick=False):
        few, page = asked.page("/console/")
    assert page.count("in sale") == 1
    desk.step(BTC="40000")
    for _ in range(3):
        desk.loan("20000", BTC="1")
    desk.step(BTC="28000")
    desk.minutes(22)
    with time_machine.travel(desk.now, tick=False):
        many, page = asked.page("/console/")
    assert page.count("in sale") >= 3
    assert many == few <= 12
