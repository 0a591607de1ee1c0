"""The admin's home page: whose clients, what waits and for whom, which loans are close to a call."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from lending import approvals, offers
from lending.models import Client, ClientUser, Loan
from lending.templatetags.plimsoll import percent, plain
from risk.models import MarginCall, Mark
from tests import stories
from tests.cast import NOW, Cast
from tests.factories import files

LATER = NOW + timedelta(minutes=3)


@pytest.fixture(autouse=True)
def _a_bit_later() -> Iterator[None]:
    with time_machine.travel(LATER, tick=False):
        yield


def home(browser: Browser, user: object) -> str:
    browser.force_login(user)  # type: ignore[arg-type]
    return browser.get("/admin/").content.decode()


def closest(browser: Browser, user: object) -> str:
    browser.force_login(user)  # type: ignore[arg-type]
    return browser.get("/admin/close-to-a-call/", headers={"HX-Request": "true"}).content.decode()


def test_a_manager_sees_their_own_clients_and_nobody_elses(cast: Cast, client: Browser) -> None:
    stories.running(cast)
    stories.running(cast, cast.quayside, signer=cast.charlie, principal=Decimal(123_456))
    page = home(client, cast.robin)
    assert "Harbourside Trading" in page
    assert "600,000.00" in page
    assert "Quayside" not in page
    assert "123,456" not in page
    assert "Quayside" not in closest(client, cast.robin)


def test_an_offer_waits_for_the_clients_signer(cast: Cast, client: Browser) -> None:
    loan = stories.offered(cast)
    page = home(client, cast.robin)
    assert str(loan.public_id) in page
    assert "Accept the offer in the portal" in page
    assert "Alice" in page
    assert "Bob" not in page  # who may look, but not sign


def test_an_offer_that_has_ended_says_so(cast: Cast, client: Browser) -> None:
    loan = stories.offered(cast)
    Loan.objects.filter(pk=loan.pk).update(quoted_until=NOW)
    assert "The offer has ended" in home(client, cast.robin)


def test_a_client_for_whom_nobody_signs_is_a_task(cast: Cast, client: Browser) -> None:
    assert "Nobody can sign for this client" not in home(client, cast.robin)
    ClientUser.objects.filter(user=cast.alice).update(role="borrower_viewer")
    stories.offered(cast)
    page = home(client, cast.robin)
    assert "Nobody can sign for this client" in page
    assert "Nobody can sign for the client: add a person" in page


@pytest.mark.parametrize(("who", "may"), [("rhea", True), ("robin", False), ("olga", False)])
def test_who_may_approve_reads_so(cast: Cast, client: Browser, who: str, may: bool) -> None:
    offers.accept(stories.offered(cast), by=cast.alice, now=NOW)
    page = home(client, getattr(cast, who))
    assert "anybody of risk but Robin" in page
    assert ("(you may)" in page) is may


def test_a_request_waits_for_those_who_decide_its_kind(cast: Cast, client: Browser) -> None:
    approvals.request("full_close", {"x": "1"}, maker=cast.robin, client=cast.harbourside, now=NOW)
    assert "risk head, but not Robin" in home(client, cast.robin)
    assert "(you may)" not in home(client, cast.rhea)
    assert "(you may)" in home(client, cast.rolf)


def test_a_call_shows_with_its_time_left(cast: Cast, client: Browser) -> None:
    call = stories.called(cast)
    page = home(client, cast.robin)
    assert f'data-call="{call.public_id}"' in page
    assert "23:59:" in page
    row = page[page.index(f'data-call="{call.public_id}"') :].partition("</tr>")[0]
    assert "Harbourside Trading" in row
    assert percent(call.ltv) in row
    assert call.cash_cure
    assert plain(call.cash_cure, call.cure_asset.code) in row
    assert "Open it in the console" not in page  # a manager has no console


def test_loans_stand_by_their_ltv_with_the_age_of_their_marks(cast: Cast, client: Browser) -> None:
    safe = stories.running(cast, principal=Decimal(100_000))
    near = stories.running(cast, principal=Decimal(560_000))
    stories.market("34000", at=NOW + timedelta(minutes=2))
    assert not MarginCall.objects.exists()
    part = closest(client, cast.robin)
    assert part.index(f"/loan/{near.pk}/") < part.index(f"/loan/{safe.pk}/")
    assert "65.88\N{NO-BREAK SPACE}%" in part
    assert "1 min ago</time>" in part
    assert "good" in part


def test_a_loan_that_nobody_can_judge_comes_first(cast: Cast, client: Browser) -> None:
    stories.running(cast)
    stories.market("40000", at=NOW + timedelta(minutes=2))
    Mark.objects.update(price=None, quality="stale")
    assert "unknown" in closest(client, cast.robin)


def test_a_loan_that_is_called_is_no_longer_close(cast: Cast, client: Browser) -> None:
    stories.called(cast)
    assert "No running loan" in closest(client, cast.robin)


def test_what_falls_due_within_thirty_days_is_listed(cast: Cast, client: Browser) -> None:
    stories.running(cast)
    assert "Nothing falls due" in home(client, cast.robin)
    stories.running(cast, maturity_date=(NOW + timedelta(days=30)).date())
    page = home(client, cast.robin)
    assert "18 Jun 2021" in page
    assert "604,916.67" in page  # 29.5 days of interest, as agreed
    # 600,000 at 10 % ACT/360: 166.666... a day, rounded up
    assert "166.67" in page


def test_the_home_of_others_has_no_clients_of_their_own(cast: Cast, client: Browser) -> None:
    stories.called(cast)
    for who, calls in (("rhea", True), ("dirk", True), ("olga", True), ("dana", False)):
        page = home(client, getattr(cast, who))
        assert "My clients" not in page
        assert ("Open margin calls" in page) is calls
        assert ("Harbourside" in page) is calls


def test_the_number_of_queries_does_not_grow(cast: Cast, client: Browser, django_assert_max_num_queries) -> None:
    for n in range(3):
        stories.running(cast, principal=Decimal(400_000 + n))
        stories.offered(cast)
        other = Client.objects.create(
            name=f"More {n}", kind="entity", jurisdiction="GB", relationship_manager=cast.robin, created_at=NOW
        )
        files.complete({other: []}, now=NOW)
        stories.offered(cast, other)
    stories.fall()
    client.force_login(cast.robin)
    with django_assert_max_num_queries(12):
        client.get("/admin/")
    with django_assert_max_num_queries(12):
        client.get("/admin/close-to-a-call/", headers={"HX-Request": "true"})


def test_calls_stand_above_the_days_work_of_those_who_work_on_them_and_below_that_of_others(
    cast: Cast, client: Browser
) -> None:
    stories.called(cast)
    stories.offered(cast, principal=Decimal(300_000))
    for user, first in ((cast.robin, True), (cast.rhea, True), (cast.dirk, True), (cast.olga, False)):
        page = home(client, user)
        assert page.count("Open margin calls") == 1, user
        assert (page.index("Open margin calls") < page.index("300,000.00")) is first, user
