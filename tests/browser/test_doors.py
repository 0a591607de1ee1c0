"""Chromium opens every door: each role signs in, a call appears by itself, a borrower acknowledges it."""

from datetime import timedelta

import pytest
from django.db import connection

from lending import events
from risk.models import CallState, MarginCall
from tests import stories
from tests.browser.serving import Web
from tests.browser.visitor import PHONE, Visitor
from tests.cast import NOW, assemble

pytestmark = pytest.mark.browser

DOORS = {
    "alice": "/portal/",
    "bob": "/portal/",
    "rhea": "/console/",
    "dana": "/admin/",
    "dirk": "/admin/",
    "robin": "/admin/",
}


def relayed() -> None:
    """Number what has happened; a test commits at once, so the line hears of it."""
    events.relay(now=NOW + timedelta(minutes=2))
    connection.close()


def test_each_role_signs_in_at_its_door(visitor: Visitor) -> None:
    cast = assemble()
    for who, door in DOORS.items():
        assert visitor.sign_in(getattr(cast, who).email) == door
        assert visitor.find("h1, #site-name").shown()
    assert visitor.complaints() == []


def test_a_call_appears_in_the_queue_by_itself(visitor: Visitor) -> None:
    cast = assemble()
    loan = stories.running(cast)
    visitor.sign_in(cast.rhea.email)
    visitor.find("#line.up")
    visitor.reads("#queue", "No call is open")
    stories.fall()
    relayed()
    visitor.find("#queue tr[data-call]")
    visitor.reads("#queue", "Harbourside Trading")
    call = MarginCall.objects.get(margin_account=loan.margin_account_id)
    assert visitor.all(f'#queue tr[data-call="{call.public_id}"]')
    visitor.find("#feed li[data-seq]")
    assert visitor.complaints() == []


def test_the_feed_misses_nothing_while_the_web_process_is_away(visitor: Visitor, web: Web) -> None:
    cast = assemble()
    visitor.sign_in(cast.rhea.email)
    visitor.find("#line.up")
    said = 0
    for away in (False, True, False):
        if away:
            web.stop()
            visitor.find("#line.down")
        for _ in range(3):
            said += 1
            events.emit("console", "word", {"summary": f"word {said}"}, now=NOW)
        relayed()
        if away:
            web.start()
    visitor.wait(lambda: len(visitor.all("#feed li")) >= said, "every event in the feed")
    numbers = [int(seq) for seq in visitor.attributes("#feed li", "data-seq")]
    assert numbers == list(range(said, 0, -1))


def test_a_borrower_acknowledges_a_call(visitor: Visitor) -> None:
    cast = assemble()
    call = stories.called(cast)
    visitor.sign_in(cast.alice.email)
    visitor.find(f'a[href="/portal/calls/{call.public_id}/"]').click()
    visitor.wait(lambda: visitor.path == f"/portal/calls/{call.public_id}/", "the page of the call")
    assert visitor.find(".countdown").text.startswith("23:59:")
    visitor.find("main form button").click()
    visitor.find(".notes li")
    visitor.reads(".notes", "Acknowledged")
    call.refresh_from_db()
    assert call.state == CallState.ACKNOWLEDGED
    assert visitor.complaints() == []


def test_no_page_scrolls_sideways_on_a_phone(visitor: Visitor) -> None:
    cast = assemble()
    call = stories.called(cast)
    loan = call.margin_account.loans.get()
    visitor.driver.set_window_size(*PHONE)
    pages = {
        cast.alice: [
            "/portal/",
            "/portal/notices/",
            f"/portal/loans/{loan.public_id}/",
            f"/portal/calls/{call.public_id}/",
        ],
        cast.rhea: ["/console/", "/console/marks/", "/console/incidents/", f"/console/calls/{call.public_id}/"],
    }
    for who, paths in pages.items():
        visitor.sign_in(who.email)
        for path in paths:
            visitor.open(path)
            assert not visitor.wide(), path
    assert visitor.complaints() == []


def test_the_admin_obeys_the_content_policy(visitor: Visitor) -> None:
    cast = assemble()
    loan = stories.called(cast).margin_account.loans.get()
    visitor.sign_in(cast.rolf.email)
    for path in (
        "/admin/",
        "/admin/lending/loan/",
        f"/admin/lending/loan/{loan.pk}/change/",
        "/admin/pnl/?day=2021-05-19",
    ):
        visitor.open(path)
        assert visitor.find("#content").shown()
    assert visitor.complaints() == []


def test_countdowns_run_in_the_admin_too(visitor: Visitor) -> None:
    cast = assemble()
    loan = stories.called(cast).margin_account.loans.get()
    visitor.sign_in(cast.rolf.email)
    visitor.open(f"/admin/lending/loan/{loan.pk}/change/")
    assert visitor.find(".plimsoll .countdown").text == "23:59:40"
    assert visitor.find("[data-age]").text == "20 s ago"
