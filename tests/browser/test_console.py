"""Risk's day at the console: a call is heard, claimed, worked on and closed; a crash and a broken line lose nothing."""

import sys
import time
from datetime import timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from selenium.webdriver.common.action_chains import ActionChains

from lending import events
from risk import incidents, margin_calls
from risk.models import CallState, Incident, MarginCall
from tests import stories
from tests.browser.serving import Web
from tests.browser.test_doors import relayed
from tests.browser.visitor import PHONE, Visitor
from tests.cast import NOW, Cast, assemble
from tests.factories import crowd

pytestmark = pytest.mark.browser

ADDRESS = "/console/"


def two_called(cast: Cast) -> list[MarginCall]:
    """Return two calls on two clients, not yet told to any page."""
    stories.running(cast)
    stories.running(cast, cast.quayside, signer=cast.charlie)
    stories.fall()
    return list(MarginCall.objects.order_by("pk"))


def closed(call: MarginCall) -> None:
    with transaction.atomic():
        margin_calls.close(margin_calls.locked(call.pk), CallState.CURED, "paid", now=NOW + timedelta(minutes=2))


def test_risk_claims_a_call_works_on_it_and_resolves_an_incident(visitor: Visitor) -> None:
    cast = assemble()
    visitor.sign_in(cast.rhea.email)
    visitor.find("#line.up")
    calls = two_called(cast)
    incidents.open_once("impossible_fill", "25 BTC were not delivered", now=NOW)
    relayed()
    visitor.wait(lambda: len(visitor.all("#queue tr[data-call]")) == 2, "both calls in the queue")
    visitor.wait(lambda: visitor.driver.title.startswith("(2) "), "two new calls in the title")

    # With keys alone: down to the second row, back, down again, and claim it.
    visitor.find("body").write("j")
    visitor.find("#queue tr[data-call] th a:focus").write("j")
    second = visitor.attributes("#queue tr[data-call] th a", "id")[1]
    assert visitor.find("a:focus").attribute("id") == second
    assert visitor.driver.title.startswith("Queue"), "somebody is there"
    visitor.find("a:focus").write("c")
    visitor.wait(lambda: "/console/calls/" in visitor.path, "the call's page")
    visitor.reads(".notes", "The call is yours")
    claimed = MarginCall.objects.get(claimed_by=cast.rhea)
    assert str(claimed.public_id) in visitor.path

    visitor.find("#spoke_with").write("Jane Doe")
    visitor.find(".tell button").click()
    visitor.reads(".notes", "Jane Doe has acknowledged")
    visitor.find("#note").write("Pays by wire before 14:00.")
    visitor.find("form[action$='/notes/'] button").click()
    visitor.reads("#steps", "Pays by wire before 14:00.")

    # What happens elsewhere comes by itself, and leaves what is being written alone.
    visitor.find("#note").write("Half a sent")
    closed(claimed)
    relayed()
    visitor.reads("#now", "closed")
    visitor.reads("#steps", "Cured")
    assert visitor.find("#note").attribute("value") == "Half a sent"

    visitor.open("/console/incidents/")
    visitor.find("textarea").write("The dealer sent them again.")
    visitor.find("button[name='resolve']").click()
    visitor.reads(".notes", "The incident is closed")
    assert Incident.objects.get().resolved_by == cast.rhea
    assert {call.state for call in calls} == {CallState.NOTIFIED}  # as they were read at first
    assert visitor.complaints() == []


def test_the_selection_outlives_its_row_and_keys_without_one_say_so(visitor: Visitor) -> None:
    cast = assemble()
    calls = {f"call-{call.public_id}": call for call in two_called(cast)}
    visitor.sign_in(cast.rhea.email)
    visitor.find("#line.up")
    press(visitor, "c")
    visitor.reads("#said", "No call is selected")
    press(visitor, "jj")
    above, below = visitor.attributes("#queue tr[data-call] th a", "id")
    assert visitor.find("a:focus").attribute("id") == below
    assert visitor.find("#said").text == ""
    redrawn = "return document.querySelector('#queue tr[data-call] a').dataset.old === undefined"
    visitor.driver.execute_script(
        "document.querySelector('#queue tr[data-call] a').dataset.old = 1; htmx.trigger('#queue', 'news')"
    )
    visitor.wait(lambda: visitor.driver.execute_script(redrawn), "the queue drawn anew")
    assert visitor.find("a:focus").attribute("id") == below
    closed(calls[below])
    relayed()
    visitor.reads("#said", "the one in its place is selected")
    assert visitor.find("a:focus").attribute("id") == above
    press(visitor, "c")
    visitor.reads(".notes", "The call is yours")
    visitor.open(ADDRESS)
    press(visitor, "jc")
    visitor.reads("#said", "Taken already, by Rhea")
    closed(calls[above])
    relayed()
    visitor.reads("#said", "no other is on it")
    assert visitor.complaints() == []


def test_the_figures_of_a_view_rest_on_one_reading_of_the_marks(visitor: Visitor) -> None:
    cast = assemble()
    call = stories.called(cast)
    visitor.sign_in(cast.rhea.email)
    paths = {f"calls/{call.public_id}/": "#standing", f"accounts/{call.margin_account.public_id}/": "#standing"}
    for step, (path, part) in enumerate({**paths, "marks/": "#marks", "marks/BTC/": "#figures"}.items(), start=1):
        visitor.open(f"{ADDRESS}{path}")
        visitor.find("#line.up")
        price = Decimal(34_000 - 100 * step)
        stories.market(str(price), at=NOW + timedelta(minutes=2, seconds=step))
        connection.close()
        visitor.reads("#ticker", f"{price:,.2f}")
        shown = "return [...document.querySelectorAll(arguments[0])].map(part => part.innerText).join(' ')"
        if path.startswith("calls/"):
            visitor.reads("#asked", "Ask to waive the call")  # a part of the page that loads by itself still does
        told = visitor.driver.execute_script(shown, f"{part}, #holdings")
        assert f"{25 * price if path in paths else price:,.2f}" in told
        assert told.count(f"{25 * price:,.2f}") == (2 if path in paths else 0)  # in sum, and beside its mark
    assert visitor.complaints() == []


def press(visitor: Visitor, keys: str) -> None:
    """Type without touching the focus first."""
    ActionChains(visitor.driver).send_keys(keys).perform()


def test_a_line_that_is_cut_while_calls_come_and_go_loses_and_doubles_nothing(visitor: Visitor, web: Web) -> None:
    cast = assemble()
    visitor.sign_in(cast.rhea.email)
    visitor.find("#line.up")
    web.stop()
    visitor.find("#line.down")
    first, second = two_called(cast)
    relayed()
    web.start()
    visitor.wait(lambda: len(visitor.all("#queue tr[data-call]")) == 2, "what was called while the line was cut")
    web.stop()
    visitor.find("#line.down")
    closed(first)
    relayed()
    web.start()
    visitor.wait(lambda: len(visitor.all("#queue tr[data-call]")) == 1, "one call less")
    assert visitor.all(f'#queue tr[data-call="{second.public_id}"]')
    newest = events.last_seq("console")
    connection.close()
    visitor.wait(lambda: len(visitor.all("#feed li")) >= newest, "every event in the feed")
    numbers = [int(seq) for seq in visitor.attributes("#feed li", "data-seq")]
    assert numbers == list(range(newest, 0, -1))
    assert visitor.driver.title.startswith("(2) ")  # each new call counted once


def test_five_thousand_calls_in_one_tick_leave_the_queue_usable(visitor: Visitor) -> None:
    cast = assemble()
    stories.market("30000", at=NOW + timedelta(minutes=1))
    visitor.sign_in(cast.rhea.email)
    visitor.find("#line.up")
    crowd.called([cast.harbourside, cast.quayside], cast.robin, count=5000, now=NOW + timedelta(minutes=1))
    events_of = [
        events.new(
            "console", "call_issued", {"call": str(call), "summary": "Margin call"}, now=NOW + timedelta(minutes=1)
        )
        for call in MarginCall.objects.values_list("public_id", flat=True)
    ]
    type(events_of[0]).objects.bulk_create(events_of)
    start = time.monotonic()
    for _ in range(3):
        relayed()
    visitor.reads("#queue", "4950 more")
    visitor.wait(lambda: visitor.driver.title.startswith("(5000) "), "every call counted, none twice")
    took = time.monotonic() - start
    assert len(visitor.all("#queue tr[data-call]")) == 50
    assert len(visitor.all("#feed li")) == 100
    assert visitor.find("#feed li").attribute("data-seq") == "5000"
    asked = visitor.driver.execute_script(
        "return performance.getEntriesByType('resource').filter(e => e.name.includes('/console/rows/')).length"
    )
    assert asked <= took / 1.5 + 2  # once in a while, and never once an event
    visitor.find("body").write("j")
    assert visitor.find("#queue th a:focus").shown()
    assert visitor.complaints() == []
    sys.stdout.write(f"5,000 calls in one tick: on the page after {took:.1f} s, read again {asked} times\n")


def test_switches_are_remembered_and_keys_can_be_turned_off(visitor: Visitor) -> None:
    cast = assemble()
    stories.called(cast)
    visitor.sign_in(cast.rhea.email)
    sound = visitor.find("[data-switch='sound']")
    assert (sound.text, sound.attribute("role"), sound.attribute("aria-checked")) == ("Sound: off", "switch", "false")
    sound.click()
    visitor.find("[data-switch='keys']").click()
    visitor.open(ADDRESS)
    assert visitor.find("[data-switch='sound']").text == "Sound: on"
    keys = visitor.find("[data-switch='keys']")
    assert (keys.text, keys.attribute("role"), keys.attribute("aria-checked")) == ("Keys: off", "switch", "false")
    visitor.find("body").write("j")
    assert not visitor.all("#queue a:focus")
    assert visitor.complaints() == []


def test_eight_calls_fit_a_phone_and_each_can_be_claimed(visitor: Visitor) -> None:
    cast = assemble()
    stories.market("30000", at=NOW + timedelta(minutes=2))
    crowd.called([cast.harbourside, cast.quayside], cast.robin, count=9, now=NOW)
    visitor.look(PHONE, dark=False)
    visitor.sign_in(cast.rhea.email)
    first, ninth = (visitor.all("#queue tr[data-call]")[place].rect["y"] for place in (0, 8))
    assert ninth - first <= PHONE[1]
    assert not visitor.wide()
    for button in visitor.all("#queue tr[data-call] button"):
        assert button.is_displayed()
        assert min(button.size.values()) >= 24
