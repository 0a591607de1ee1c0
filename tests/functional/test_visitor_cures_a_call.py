"""A visitor of the demo who plays a borrower has money or coins sent: towards a call, or as a loan's collateral."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from deploy.demo import outside
from lending import custody, lapses, notices, offers
from lending.models import Deposit, DepositAddress, Loan
from lending.ports import CustodianRefused, CustodianUnavailable
from risk import margin_calls
from risk.models import CallState, MarginCall
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.lending import AssetFactory

LOOKS = NOW + timedelta(minutes=2, seconds=20)


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(LOOKS, tick=False), outside.in_process():
        yield


@pytest.fixture
def call(cast: Cast, settings) -> MarginCall:
    settings.PLIMSOLL_DEMO = True
    made = stories.called(cast)
    for code, purpose in (("USD", DepositAddress.Purpose.REPAYMENT), ("BTC", DepositAddress.Purpose.COLLATERAL)):
        DepositAddress.objects.create(
            client=made.client,
            margin_account=made.margin_account,
            asset=AssetFactory(code=code),
            purpose=purpose,
            address=f"paper-{code}-{made.margin_account.public_id}",
            created_at=NOW,
        )
    return made


def alice(cast: Cast) -> Browser:
    browser = Browser()
    browser.force_login(cast.alice)
    return browser


def press(browser: Browser, call: MarginCall, what: str) -> str:
    return browser.post(f"/demo/send/{call.public_id}/", {"send": what}, follow=True).content.decode()


def arrived(*, minutes: int) -> None:
    later = LOOKS + timedelta(minutes=minutes)
    for step in (custody.poll_due, custody.credit_due, notices.send_due, margin_calls.assess_due):
        step(now=later)


@pytest.mark.parametrize(("what", "minutes"), [("cash:USD:all", 5), ("collateral:BTC:all", 40)])
def test_what_is_asked_for_is_sent_and_cures(call: MarginCall, cast: Cast, what: str, minutes: int) -> None:
    page = press(alice(cast), call, what)
    assert "Watch it come in." in page
    arrived(minutes=minutes)
    call.refresh_from_db()
    assert call.state == CallState.CURED


def test_half_of_it_cures_half(call: MarginCall, cast: Cast) -> None:
    press(alice(cast), call, "cash:USD:half")
    arrived(minutes=5)
    call.refresh_from_db()
    assert call.state == CallState.PARTIALLY_CURED
    assert round(float(call.cured_fraction), 3) == 0.5
    press(alice(cast), call, "cash:USD:all")
    arrived(minutes=10)
    call.refresh_from_db()
    assert call.state == CallState.CURED


def test_pressed_twice_it_is_sent_once(call: MarginCall, cast: Cast) -> None:
    press(alice(cast), call, "cash:USD:all")
    press(alice(cast), call, "cash:USD:all")
    arrived(minutes=5)
    assert Deposit.objects.filter(address__margin_account=call.margin_account).count() == 1


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("cash:BTC:all", "paid in USD"),
        ("collateral:LINK:all", "not cured in"),
        ("cash:USD:double", "all of it can be sent, or half"),
        ("", "all of it can be sent, or half"),
        ("wire:USD:all", "not cured in"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(call: MarginCall, cast: Cast, what: str, words: str) -> None:
    assert words in press(alice(cast), call, what)


def test_a_closed_call_takes_nothing(call: MarginCall, cast: Cast) -> None:
    MarginCall.objects.filter(pk=call.pk).update(state=CallState.CURED, closed_at=NOW)
    assert "the call is closed" in press(alice(cast), call, "cash:USD:all")


@pytest.mark.parametrize(
    ("problem", "words"), [(CustodianUnavailable, "does not answer"), (CustodianRefused, "the paper bank refuses")]
)
def test_a_bank_that_is_away_or_says_no_is_told(call: MarginCall, cast: Cast, monkeypatch, problem, words) -> None:
    def silent(*_: object, **__: object) -> None:
        raise problem("no")

    monkeypatch.setattr(outside.bank(), "simulate_deposit", silent)
    assert words in press(alice(cast), call, "cash:USD:all")


def test_only_a_signer_of_the_client_sends(call: MarginCall, cast: Cast) -> None:
    address = f"/demo/send/{call.public_id}/"
    for who, status in ((cast.bob, 403), (cast.charlie, 404), (cast.rhea, 403)):
        browser = Browser()
        browser.force_login(who)
        assert browser.post(address, {"send": "cash:USD:all"}).status_code == status
    assert Browser().post(address).status_code == 302
    assert alice(cast).get(address).status_code == 405


def test_the_bank_shows_to_signers_while_the_demo_runs(call: MarginCall, cast: Cast, settings) -> None:
    page, browser = f"/portal/calls/{call.public_id}/", alice(cast)
    assert "Paper bank" in browser.get(page).content.decode()
    other = Browser()
    other.force_login(cast.bob)
    assert "Paper bank" not in other.get(page).content.decode()
    settings.PLIMSOLL_DEMO = False
    assert "Paper bank" not in browser.get(page).content.decode()
    assert browser.post(f"/demo/send/{call.public_id}/", {"send": "cash:USD:all"}).status_code == 404


@pytest.fixture
def waiting(cast: Cast, settings) -> Loan:
    """A loan of 600,000 that waits for its collateral, at 40,000 a coin."""
    settings.PLIMSOLL_DEMO = True
    stories.market("40000", at=LOOKS - timedelta(seconds=20))
    loan = stories.offered(cast)
    now = NOW + timedelta(minutes=1)
    loan = offers.accept(loan, by=cast.alice, now=now)
    loan = offers.approve(loan, by=cast.rhea, now=now)
    loan = offers.collateral_pending(loan, actor=cast.olga, now=now)
    DepositAddress.objects.create(
        client=loan.client,
        margin_account=loan.margin_account,
        asset=AssetFactory(code="BTC"),
        purpose=DepositAddress.Purpose.COLLATERAL,
        address=f"paper-BTC-{loan.margin_account.public_id}",
        created_at=NOW,
    )
    return loan


def test_a_borrower_is_told_how_much_collateral_a_loan_waits_for_and_sends_it(waiting: Loan, cast: Cast) -> None:
    browser, page = alice(cast), f"/portal/loans/{waiting.public_id}/"
    home = browser.get("/portal/").content.decode()
    assert "Send the collateral" in home
    assert "There is nothing" not in home
    told = browser.get(page).content.decode()
    assert "Still needed" in told
    assert '30.00 <abbr class="asset">BTC' in told or "30 <abbr" in told  # 600,000 at an LTV of 50 %
    sent = browser.post(f"/demo/pledge/{waiting.public_id}/", {"asset": "BTC"}, follow=True).content.decode()
    assert "Sent 31.5 BTC." in sent
    arrived(minutes=5)
    coming = browser.get(page).content.decode()
    assert "Your collateral is on its way" in coming
    assert "Nothing more has to be sent" in coming
    assert "Still needed" not in coming
    assert "Where to send more BTC, if you want to" in coming
    assert "Send BTC</button>" not in coming  # who presses it again would send twice
    assert re.search(r'On its way</dt><dd><strong>(<[^>]*>)?31\.50* <abbr class="asset">BTC', coming)
    assert re.search(r'<progress max="\d" value="\d"', coming)
    twice = browser.post(f"/demo/pledge/{waiting.public_id}/", {"asset": "BTC"}, follow=True).content.decode()
    assert "Not sent: what it needs is on its way." in twice
    arrived(minutes=40)
    assert "Your collateral is there" in browser.get(page).content.decode()
    again = browser.post(f"/demo/pledge/{waiting.public_id}/", {"asset": "BTC"}, follow=True).content.decode()
    assert "Not sent: no &#x27;BTC&#x27; is needed for it." in again


def test_what_is_on_its_way_and_not_enough_counts_beside_what_is_still_needed(waiting: Loan, cast: Cast) -> None:
    where = DepositAddress.objects.get(margin_account=waiting.margin_account)
    outside.bank().simulate_deposit(
        "half", address=where.address, asset="BTC", quantity=Decimal(12), at=LOOKS + timedelta(seconds=1)
    )
    arrived(minutes=5)
    told = alice(cast).get(f"/portal/loans/{waiting.public_id}/").content.decode()
    assert "Send the collateral" in told
    assert re.search(r'Still needed</dt><dd><strong>(<[^>]*>)?18(\.0+)? <abbr class="asset">BTC', told)
    assert "besides what is on its way" in told
    assert re.search(r'On its way</dt><dd><strong>(<[^>]*>)?12(\.0+)? <abbr class="asset">BTC', told)


def test_a_page_that_was_left_open_is_read_anew_once_its_loan_is_paid_out(waiting: Loan, cast: Cast) -> None:
    browser, page = alice(cast), f"/portal/loans/{waiting.public_id}/"
    polls = re.search(r'id="live" data-live hx-get="([^"]+)"', browser.get(page).content.decode())
    assert polls is not None
    itself = {"HX-Request": "true"}
    assert "HX-Refresh" not in browser.get(polls[1], headers=itself).headers
    lapses.cancel(waiting, actor=cast.robin, cause="changed their mind", now=LOOKS)
    assert browser.get(polls[1], headers=itself).headers["HX-Refresh"] == "true"
    assert "HX-Refresh" not in browser.get(page).headers


def test_only_who_signs_sends_and_only_in_the_demo(waiting: Loan, cast: Cast, settings) -> None:
    outsider = Browser()
    outsider.force_login(cast.charlie)
    assert outsider.post(f"/demo/pledge/{waiting.public_id}/", {"asset": "BTC"}).status_code == 404
    settings.PLIMSOLL_DEMO = False
    assert alice(cast).post(f"/demo/pledge/{waiting.public_id}/", {"asset": "BTC"}).status_code == 404
