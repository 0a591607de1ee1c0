"""What the demo desk leaves open for its visitors: a line drawn in part, a second signature, policies of credit."""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import time_machine
from django.test import Client as Browser

from deploy.demo import books, credited, desk, joint, lines, outside
from lending import invariants
from lending.models import Draw, Loan, User
from risk import cycle, scenarios

SEED, START = 7, datetime(2021, 5, 19, 11, tzinfo=UTC)


@pytest.fixture
def _built(db: None) -> Iterator[None]:
    """A desk whose one client is Alice's."""
    scenario = scenarios.load("may-2021", seed=SEED)
    book = books.showcase(desk.first_prices(scenario), seed=SEED, loans=1)[:1]
    cycle.forget()
    with outside.in_process(), time_machine.travel(START, tick=False):
        desk.build(scenario, book, now=START)
        lines.load(now=START)
        joint.load(now=START)
        credited.load(now=START)
        yield
    cycle.forget()


@pytest.mark.usefixtures("_built")
def test_they_meet_a_line_a_signature_and_a_policy(client: Browser, django_assert_max_num_queries) -> None:
    line = Loan.objects.select_related("margin_account").get(product__code="line-usd-24h")
    assert (line.state, line.principal, line.principal_outstanding) == ("active", 600_000, 200_000)
    assert line.margin_account.pledges.get().quantity == 45
    assert list(Draw.objects.values_list("amount", "state")) == [(200_000, "paid_out")]
    client.force_login(User.objects.get(email="alice@client1.example"))
    with django_assert_max_num_queries(12):
        page = client.get(f"/portal/loans/{line.public_id}/line/").content.decode()
    assert "400,000.00" in page
    assert "Ask for it" in page
    with django_assert_max_num_queries(12):
        home = client.get("/portal/").content.decode()
    assert "signed by Henry Thornbury" in home
    with django_assert_max_num_queries(12):
        page = client.get("/portal/signatures/").content.decode()
    sign = page.partition('class="acts" action="')[2].partition('"')[0]
    assert "Signed by both" in client.post(sign, follow=True).content.decode()
    offer = Loan.objects.get(client__name="Thornbury Family Trust")
    assert (offer.state, offer.principal) == ("accepted", Decimal(400_000))
    for email in ("olga", "rhea"):
        client.force_login(User.objects.get(email=f"{email}@plimsoll.example"))
        with django_assert_max_num_queries(12):
            page = client.get(f"/admin/lending/loan/{line.pk}/change/").content.decode()
        assert ("Draws" in page) == (email == "olga")
    page = client.get("/admin/conditional-credit/").content.decode()
    for words in ("Four blocks were never undone", "A transfer in a block, from an address that we know"):
        assert words in page
    assert "Open the request" in page
    client.force_login(User.objects.get(email="robin@plimsoll.example"))  # who is shown no requests about no client
    page = client.get("/admin/conditional-credit/").content.decode()
    assert "Waits for a second person" in page
    assert "Open the request" not in page
    assert invariants.check() == []
