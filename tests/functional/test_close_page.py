"""The page of the month-end close: what is open is said, two persons close, and the trail is there to be read."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import time_machine
from django.test import Client as Browser

from lending import closing, interest
from lending.models import Approval, Period
from tests import stories
from tests.cast import Cast
from tests.functional import trying

JUNE = datetime(2021, 6, 2, 9, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _in_june(settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings.LENDING_INVARIANTS = "lending.invariants.check"
    # A seal waits for a commit that this test never makes.
    monkeypatch.setattr(closing, "_UNSEALED", "SELECT 0 WHERE %s IS NOT NULL")
    with time_machine.travel(JUNE, tick=False):
        yield


@pytest.fixture
def desk(cast: Cast) -> Cast:
    stories.running(cast)
    interest.accrue_due(now=JUNE)
    return cast


def ask(browser: Browser, **said: str):
    return browser.post("/admin/close/", {"what": "close", "month": "2021-05-01", "reason": "", **said}, follow=True)


def test_a_month_is_closed_and_opened_again_on_the_page(desk: Cast, client: Browser) -> None:
    client.force_login(desk.olga)
    page = client.get("/admin/close/").content.decode()
    assert "May 2021, the next to close" in page
    assert "Ask a second person to close it" in page
    trying.hold(trying.of_page(client, "/admin/close/"))
    assert "it waits on the page Approvals" in ask(client, reason="as agreed").content.decode()
    asked = Approval.objects.get()
    client.force_login(desk.rolf)
    words = client.get(f"/admin/lending/approval/{asked.pk}/change/").content.decode()
    assert "Olga asks to close a month" in words
    client.post(f"/admin/lending/approval/{asked.pk}/approve/", {"reason": "seen"})
    page = client.get("/admin/close/").content.decode()
    assert "June 2021, the next to close" in page
    assert "Olga and Rolf" in page
    client.force_login(desk.olga)
    told = ask(client, what="reopen", reason="a wrong rate").content.decode()
    assert "Olga asked" in told
    client.force_login(desk.rolf)
    asked = Approval.objects.latest("pk")
    client.post(f"/admin/lending/approval/{asked.pk}/approve/", {"reason": ""})
    period = Period.objects.get()
    assert period.state == "open"
    trail = client.get(f"/admin/lending/period/{period.pk}/change/").content.decode()
    assert "a wrong rate" in trail


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ({"month": "may"}, "Refused: Month: Enter a valid date, such as 2026-11-23."),
        ({"month": "2021-06-01"}, "Refused: May 2021 is to be closed first."),
        ({"what": "burn"}, "Refused: What: Select a valid choice."),
        ({"what": "reopen", "reason": "x"}, "Refused: no month is locked."),
        ({"reason": "x" * 401}, "Refused: Why: Ensure this value has at most 400 characters"),
    ],
)
def test_bad_input_is_refused_in_words(desk: Cast, client: Browser, said: dict[str, str], says: str) -> None:
    client.force_login(desk.olga)
    answer = ask(client, **said)
    assert answer.status_code == 422
    assert says in answer.content.decode()
    assert not Approval.objects.exists()


def test_what_is_open_stops_it_or_needs_a_reason(desk: Cast, client: Browser) -> None:
    stories.transfer_seen(stories.running(desk, desk.quayside, signer=desk.charlie).margin_account)
    client.force_login(desk.olga)
    page = client.get("/admin/close/").content.decode()
    assert "stops the close" in page
    assert "Ask a second person to close it" not in page
    refused = ask(client)
    assert refused.status_code == 422
    assert "Refused: this must be settled first: Loans whose interest" in refused.content.decode()


def test_others_read_and_do_not_ask(desk: Cast, client: Browser) -> None:
    for who, code in ((desk.rhea, 403), (desk.rolf, 403), (desk.robin, 403), (desk.dana, 403)):
        client.force_login(who)
        assert ask(client, reason="x").status_code == code
