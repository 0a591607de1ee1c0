"""The loan's page in the admin: everything about a loan in one place, for those who may see its client."""

import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import collateral, freezes, lapses, offers, repayments
from lending.models import Loan, Role, RoleGrant
from tests import stories
from tests.cast import NOW, Cast

LATER = NOW + timedelta(minutes=3)


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def page(browser: Browser, user: object, loan: Loan) -> str:
    browser.force_login(user)  # type: ignore[arg-type]
    answer = browser.get(f"/admin/lending/loan/{loan.pk}/change/")
    assert answer.status_code == 200
    story = browser.get(f"/admin/lending/loan/{loan.pk}/story/", headers={"HX-Request": "true"})
    assert story.status_code == 200
    payments = browser.get(f"/admin/lending/loan/{loan.pk}/payments/", headers={"HX-Request": "true"})
    assert payments.status_code == 200
    return str(answer.content.decode() + story.content.decode() + payments.content.decode())


def test_an_offer_shows_its_next_step_and_its_schedule(cast: Cast, client: Browser) -> None:
    html = page(client, cast.robin, stories.offered(cast))
    assert "Accept the offer in the portal" in html
    assert "Alice" in html
    assert "To be paid back in all" in html
    assert "Cancel it" in html


def acts(browser: Browser, user: object, loan: Loan) -> set[str]:
    ways = rf'action="/admin/(?:lending/loan/)?(funding/{loan.pk}|{loan.pk}/[a-z-]+)/"'
    return set(re.findall(ways, page(browser, user, loan)))


def test_a_button_stands_only_where_its_reader_may_press_it(cast: Cast, client: Browser) -> None:
    loan = stories.offered(cast)
    approve, ask, cancel = (f"{loan.pk}/{name}" for name in ("approve", "ask-collateral", "cancel"))
    fund = f"funding/{loan.pk}"
    assert acts(client, cast.robin, loan) == {cancel}
    assert acts(client, cast.rhea, loan) == set()
    loan = offers.accept(loan, by=cast.alice, now=NOW)
    assert acts(client, cast.olga, loan) == {cancel}
    assert acts(client, cast.robin, loan) == {cancel}  # who offered it is no second person
    assert acts(client, cast.rhea, loan) == {approve}
    assert acts(client, cast.rolf, loan) == {approve, cancel}
    RoleGrant.objects.create(user=cast.robin, role=Role.RISK, granted_at=NOW)
    assert acts(client, cast.robin, loan) == {cancel}
    loan = offers.approve(loan, by=cast.rhea, now=NOW)
    assert acts(client, cast.rhea, loan) == set()
    assert acts(client, cast.olga, loan) == {ask, cancel}
    loan = offers.collateral_pending(loan, actor=cast.olga, now=NOW)
    assert acts(client, cast.olga, loan) == {fund, cancel}
    RoleGrant.objects.create(user=cast.rhea, role=Role.OPERATIONS, granted_at=NOW)
    assert acts(client, cast.rhea, loan) == {cancel}  # she approved it


def test_what_is_not_lent_yet_is_not_judged(cast: Cast, client: Browser) -> None:
    loan = stories.offered(cast)
    html = page(client, cast.rhea, loan)
    assert "Nothing is lent yet" in html
    assert "healthy" not in re.sub(r"<[^>]+>", " ", html)
    assert "Rests on marks" not in html
    assert "Offer stands until" in html
    with time_machine.travel(loan.quoted_until, tick=False):
        assert "Offer stood until" in page(client, cast.rhea, loan)
    lapses.cancel(loan, actor=cast.robin, cause="changed their mind", now=NOW)
    html = page(client, cast.rhea, loan)
    assert "It was cancelled before it was paid out." in html
    assert "Offer stood until" in html
    running = page(client, cast.rhea, stories.running(cast))
    assert "Nothing is lent yet" not in running
    assert "Rests on marks" in running


@pytest.mark.parametrize(
    ("payout", "said"),
    [
        ("", "the money lies in the client&#x27;s free balance"),
        ("wire:GB29", "is on its way to the client&#x27;s address"),
    ],
)
def test_who_funds_reads_where_the_money_is(cast: Cast, client: Browser, payout: str, said: str) -> None:
    stories.market("40000", at=LATER)
    loan = offers.accept(stories.offered(cast, payout_address=payout), by=cast.alice, now=NOW)
    loan = offers.approve(loan, by=cast.rhea, now=NOW)
    loan = offers.collateral_pending(loan, actor=cast.olga, now=NOW)
    bitcoin = stories.deposited(loan.client, "BTC", Decimal(31))
    collateral.pledge(loan.margin_account, bitcoin, Decimal(31), key="pledge", now=NOW)
    client.force_login(cast.olga)
    assert said in client.post(f"/admin/funding/{loan.pk}/", follow=True).content.decode()


def test_the_step_says_who_may_do_it(cast: Cast, client: Browser) -> None:
    loan = offers.accept(stories.offered(cast), by=cast.alice, now=NOW)
    assert "(you may)" in page(client, cast.rhea, loan)
    assert "(you may)" not in page(client, cast.robin, loan)
    assert "anybody of risk but Robin" in page(client, cast.robin, loan)


def test_a_called_loan_shows_margin_money_calls_notices_and_trail(cast: Cast, client: Browser) -> None:
    loan = stories.called(cast).margin_account.loans.get()
    html = page(client, cast.rhea, loan)
    assert "70.59\N{NO-BREAK SPACE}%" in html
    assert "34,000.00" in html
    assert "1 min ago" in html  # the age of the mark that the LTV rests on
    assert "Payoff now" in html
    assert "600,000.00" in html
    assert "90,0" in html  # what cures the call in cash
    assert "Nothing was ordered to be sold" in html
    assert "The client was told nothing yet" not in html
    for cause in ("quoted", "accepted by the client&#x27;s signer", "approved by a second person", "funded"):
        assert cause in html


def test_a_payment_shows_with_what_it_paid(cast: Cast, client: Browser) -> None:
    loan = stories.running(cast)
    stories.deposited(cast.harbourside, "USD", Decimal(1_000))
    repayments.record(loan, Decimal(1_000), key="test", received_at=NOW, now=NOW)
    html = page(client, cast.rhea, loan)
    assert "principal <span" in html
    assert "Nothing was paid yet" not in html


def test_another_managers_loan_is_not_there(cast: Cast, client: Browser) -> None:
    loan = stories.running(cast, cast.quayside, signer=cast.charlie)
    client.force_login(cast.robin)
    address = f"/admin/lending/loan/{loan.pk}/change/"
    assert client.get(address, follow=True).redirect_chain[-1][0] == "/admin/"
    for page_of in ("story", "payments"):
        assert client.get(f"/admin/lending/loan/{loan.pk}/{page_of}/").status_code == 404
    client.force_login(cast.dana)
    assert client.get(address).status_code in {302, 403}
    for page_of in ("story", "payments"):
        assert client.get(f"/admin/lending/loan/{loan.pk}/{page_of}/").status_code == 404


def test_the_page_writes_nothing(cast: Cast, client: Browser) -> None:
    loan = stories.offered(cast)
    client.force_login(cast.robin)
    assert client.post(f"/admin/lending/loan/{loan.pk}/change/", {"principal": "1"}).status_code == 403
    loan.refresh_from_db()
    assert loan.principal == 600_000


def test_no_page_links_to_what_its_reader_may_not_open(cast: Cast, client: Browser) -> None:
    loan = stories.called(cast).margin_account.loans.get()
    client.force_login(cast.robin)
    for address in (
        f"/admin/lending/client/{loan.client_id}/change/",
        f"/admin/lending/loan/{loan.pk}/change/",
        f"/admin/lending/loan/{loan.pk}/story/",
        f"/admin/lending/loan/{loan.pk}/payments/",
        f"/admin/lending/marginaccount/{loan.margin_account_id}/change/",
        "/admin/lending/client/",
    ):
        html = client.get(address).content.decode()
        found = set(re.findall(r'href="(/admin/[a-z]+/[a-z]+/\d+/change/)"', html))
        assert {link for link in found if client.get(link).status_code != 200} == set(), address


@pytest.mark.parametrize("who", ["robin", "rolf", "olga", "dirk", "rhea"])
@pytest.mark.parametrize("frozen", [False, True], ids=["free", "frozen"])
def test_the_pages_hold_their_queries(
    cast: Cast, client: Browser, django_assert_max_num_queries, who: str, frozen: bool
) -> None:
    loan = stories.called(cast).margin_account.loans.get()
    stories.running(cast)
    if frozen:
        freezes.freeze(loan.margin_account, reason="A court order", by=cast.rhea, now=LATER)
        freezes.ask_to_lift(loan.margin_account, reason="Withdrawn", maker=cast.rhea, now=LATER)
    client.force_login(getattr(cast, who))
    pages = [f"/admin/lending/loan/{loan.pk}/{page_of}/" for page_of in ("change", "story", "payments")]
    if who in {"robin", "olga"}:
        pages.append(f"/admin/releases/{loan.pk}/")
    for address in pages:
        with django_assert_max_num_queries(12):
            assert client.get(address).status_code == 200


@pytest.mark.parametrize("who", ["robin", "olga"])
def test_the_form_that_asks_for_a_release_comes_as_a_part_or_as_a_page(cast: Cast, client: Browser, who: str) -> None:
    loan = stories.running(cast)
    client.force_login(getattr(cast, who))
    address = f"/admin/releases/{loan.pk}/"
    html = client.get(f"/admin/lending/loan/{loan.pk}/change/").content.decode()
    assert f'hx-get="{address}"' in html
    assert f'<a href="{address}">' in html
    part = client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert f'action="{address}"' in part
    assert "<html" not in part
    alone = client.get(address).content.decode()
    assert f'action="{address}"' in alone
    assert "<html" in alone


def test_where_nothing_is_pledged_nothing_can_be_asked_back(cast: Cast, client: Browser) -> None:
    address = f"/admin/releases/{stories.offered(cast).pk}/"
    client.force_login(cast.robin)
    part = client.get(address, headers={"HX-Request": "true"}).content.decode()
    assert "money and coins may go" in part  # an address can be named before anything is pledged
    assert 'name="quantity"' not in part
    page = client.get(address).content.decode()
    assert "Nothing is pledged" in page
    assert '<form method="post" action="/admin/releases' not in page
