"""A borrower's worst day in Chromium: called, then cured by collateral, by cash, by both; without scripts too."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.db import connection

from deploy.demo import outside
from lending import clock, custody
from lending.models import PlatformClock
from risk import margin_calls
from risk.models import CallState, MarginCall
from tests import stories
from tests.browser.visitor import Visitor
from tests.cast import NOW, assemble
from tests.factories.lending import AssetNetworkFactory

pytestmark = pytest.mark.browser
COMING_IN = "[hx-get$='/transfers/']"
REFRESH = """
const [done] = arguments;
htmx.ajax('GET', location.href, {source: '#live', target: '#live', select: '#live', swap: 'outerHTML'}).then(done);
"""


@pytest.fixture
def bank() -> Iterator[outside.PaperBank]:
    """Have the paper custodian answer in this process."""
    with outside.in_process():
        yield outside.bank()


@pytest.fixture
def call(visitor: Visitor, bank: outside.PaperBank) -> MarginCall:
    """Return a call that alice has received, with addresses to send to; the page's clock stands 20 s after it."""
    cast = assemble()
    for code in ("BTC", "USD"):
        AssetNetworkFactory(asset__code=code)
    call = stories.called(cast)
    custody.open_all([call.margin_account], now=NOW)
    visitor.sign_in(cast.alice.email)
    visitor.open(f"/portal/calls/{call.public_id}/")
    return call


def read(visitor: Visitor, css: str) -> str:
    return visitor.find(css).text


def send(bank: outside.PaperBank, call: MarginCall, visitor: Visitor, way: str) -> None:
    """Send what a way of the page asks for to the address that it shows, as a wallet would."""
    amount, asset = read(visitor, f"#{way} .figure").split()
    address = read(visitor, f"#{way} .send code")
    quantity = Decimal(amount.replace(",", ""))
    bank.simulate_deposit(f"tx-{way}", address=address, asset=asset, quantity=quantity, at=NOW + timedelta(minutes=3))


def later(minutes: int) -> None:
    """Let platform time pass: the custodian is read, what is confirmed is credited, cures are counted."""
    at: datetime = NOW + timedelta(minutes=minutes)
    PlatformClock.objects.update(sim_origin=at, wall_origin=clock.wall_now())
    custody.poll_due(now=at)
    custody.credit_due(now=at)
    margin_calls.assess_due(now=at)
    connection.close()


def test_collateral_cures_a_call(visitor: Visitor, call: MarginCall, bank: outside.PaperBank) -> None:
    visitor.find("#collateral summary").click()
    assert visitor.find("#collateral .qr").shown()
    visitor.reads(COMING_IN, "Nothing was seen")
    send(bank, call, visitor, "collateral")
    later(14)
    visitor.reads(COMING_IN, "1 of 3")
    visitor.find("#transfer_ref").write("tx-collateral")
    visitor.find("form[action$='/transfers/'] button").click()
    visitor.reads("[role=status]", "It is on its way")
    later(40)
    visitor.driver.refresh()
    visitor.reads("[role=status]", "Yes, it arrived and counts")
    call.refresh_from_db()
    assert call.state == CallState.CURED
    visitor.find(".crumbs a[href*='/calls/']").click()
    visitor.reads("main", "There is nothing left to do")
    visitor.open("/portal/")
    visitor.reads("main", "No margin call is open")
    assert visitor.complaints() == []


def test_cash_cures_a_call(visitor: Visitor, call: MarginCall, bank: outside.PaperBank) -> None:
    visitor.find("main .card form button").click()
    visitor.reads(".notes", "Acknowledged")
    send(bank, call, visitor, "cash")
    later(5)
    visitor.driver.refresh()
    visitor.reads("h1", "This call is closed")
    call.refresh_from_db()
    assert (call.state, call.cured_fraction >= 1) == (CallState.CURED, True)
    visitor.reads(COMING_IN, "credited")
    assert visitor.complaints() == []


def test_part_of_each_way_cures_a_call(visitor: Visitor, call: MarginCall, bank: outside.PaperBank) -> None:
    address = read(visitor, "#collateral .send code")
    bank.simulate_deposit("tx-half", address=address, asset="BTC", quantity=Decimal("2.2"), at=NOW)
    later(35)
    visitor.driver.refresh()
    assert read(visitor, "progress") == "50 %"
    before = read(visitor, "#cash .figure")
    assert before.startswith("45,12")  # what 2.2 of 4.41 BTC leave of 90,000.24
    send(bank, call, visitor, "cash")
    later(40)
    call.refresh_from_db()
    assert call.state == CallState.CURED


def test_a_borrower_without_scripts_asks_looks_up_and_acknowledges(visitor: Visitor, call: MarginCall) -> None:
    visitor.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    visitor.open(f"/portal/calls/{call.public_id}/")
    visitor.find("form[action$='/acknowledge/'] button").click()
    visitor.reads(".notes", "Acknowledged")
    visitor.find("form[action$='/transfers/'] button").click()
    visitor.reads(".errors", "Fill in the transaction id")
    visitor.find("#transfer_ref").write("tx-never-sent")
    visitor.find("main form button").click()
    visitor.reads("[role=status]", "No, it has not arrived")
    assert visitor.find("#transfer_ref").attribute("value") == "tx-never-sent"
    loan = call.margin_account.loans.get()
    visitor.open(f"/portal/loans/{loan.public_id}/")
    visitor.find("#what_if_repaid").write("90000.28")
    visitor.find("#what-if button").click()
    visitor.reads("#what-if-answer", "60.00 %")


def test_a_slider_is_answered_while_it_moves(visitor: Visitor, call: MarginCall) -> None:
    loan = call.margin_account.loans.get()
    visitor.open(f"/portal/loans/{loan.public_id}/")
    script = "const s = arguments[0]; s.value = -20; s.dispatchEvent(new Event('input', {bubbles: true}));"
    visitor.find("#what_if_move").do(lambda field: visitor.driver.execute_script(script, field))
    visitor.reads("#what-if-answer", "88.24 %")
    assert read(visitor, "#what-if output") == "-20 %"
    assert visitor.complaints() == []


def test_the_history_is_drawn_by_day_and_by_night(visitor: Visitor, call: MarginCall) -> None:
    loan = call.margin_account.loans.get()
    visitor.open(f"/portal/loans/{loan.public_id}/")
    visitor.find("#history canvas")
    told = str(visitor.find("#history").attribute("aria-label")).replace("\N{NO-BREAK SPACE}", " ")
    assert "LTV between 60.00 % and 70.59 %" in told
    assert "Call issued 2021-05-19T12:02" in told
    visitor.find("[data-theme-switch]").click()
    visitor.find("html[data-theme] #history canvas")
    visitor.find("[data-span='6h']").click()
    visitor.find("[data-span='6h'][aria-pressed=true]")
    visitor.find("#history canvas")
    assert visitor.complaints() == []


def test_the_page_follows_the_call_by_itself(visitor: Visitor, call: MarginCall, bank: outside.PaperBank) -> None:
    send(bank, call, visitor, "cash")
    later(5)
    visitor.reads("#live", "There is nothing left to do")
    assert visitor.all("#cash") == []


def test_what_was_opened_stays_open_while_the_page_follows(visitor: Visitor, call: MarginCall) -> None:
    visitor.find("#cash summary").click()
    visitor.driver.execute_async_script(REFRESH)
    assert visitor.find("#cash .qr").shown()
    visitor.find("#cash summary").click()
    visitor.driver.execute_script("document.activeElement.blur(); document.getElementById('live').dataset.old = 'yes'")
    visitor.driver.execute_async_script(REFRESH)
    assert visitor.all("#live[data-old]") == []
    assert visitor.complaints() == []
