"""Risk staff see the queue, take a call, read its evidence, and look after incidents."""

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
import time_machine
from django.test import Client as Browser

from risk import cycle, margin_calls, prices
from risk.models import OPEN_CALL_STATES, Incident, MarginCall
from tests import stories
from tests.cast import NOW, Cast
from tests.factories.prices import ticks
from tests.queries import Asked

ROW = re.compile(r'<tr><th scope="row">([^<]*)</th>' + 7 * r'<td class="num">([^<]*)</td>')


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(NOW + timedelta(minutes=2, seconds=20), tick=False):
        yield


@pytest.fixture
def call(cast: Cast) -> MarginCall:
    return stories.called(cast)


def test_an_empty_queue_says_so(cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get("/console/").content.decode()
    assert "No call is open" in page
    assert "No mark has been published yet" in page


def test_the_queue_shows_the_call_and_the_age_of_marks(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get("/console/").content.decode()
    assert f'data-call="{call.public_id}"' in page
    assert "20 s ago" in page


def test_any_state_and_manager_can_be_filtered_by_before_a_call_is_in_it(
    call: MarginCall, cast: Cast, client: Browser
) -> None:
    """The list is live and the filters stand still, so they offer what may come, and counts stand with the list."""
    client.force_login(cast.rhea)
    page = client.get("/console/").content.decode()
    for state in OPEN_CALL_STATES:
        assert f'<option value="{state.value}">{state.label}</option>' in page
    for manager in ("Robin", "Rita"):  # who has no open call may have one in a minute
        assert f">{manager}</option>" in page
    assert "<strong>1</strong> open" in client.get("/console/rows/").content.decode()
    chosen = client.get("/console/?state=liquidating").content.decode()
    assert '<option value="liquidating" selected>' in chosen
    assert "No open call is like that" in chosen


def test_a_call_is_taken_once(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    assert "The call is yours" in client.post(f"/console/calls/{call.public_id}/claim/", follow=True).content.decode()
    client.force_login(cast.rolf)
    answer = client.post(f"/console/calls/{call.public_id}/claim/", follow=True).content.decode()
    assert "Rhea has taken this call" in answer
    call.refresh_from_db()
    assert call.claimed_by == cast.rhea


def test_the_evidence_names_sources_and_steps(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get(f"/console/calls/{call.public_id}/evidence/").content.decode()
    for said in ("alder", "birch", "cedar", "Issued", str(call.snapshot.public_id), "Harbourside Trading", "Email"):
        assert said in page
    assert "0.003333333333" not in page  # figures are written for people


def test_marks_stand_with_their_sources(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    page = client.get("/console/marks/").content.decode()
    assert "34,000.00" in page
    assert "cedar" in page


def test_a_source_that_is_left_out_carries_no_weight(call: MarginCall, cast: Cast, client: Browser) -> None:
    at = NOW + timedelta(minutes=9)
    prices.record(ticks([(venue, "BTC-USD", "34100") for venue in ("birch", "cedar")], at=at), received_at=at)
    cycle.run(0, now=at)
    with time_machine.travel(at + timedelta(seconds=5), tick=False):
        marks = rhea_reads(client, cast, "/console/marks/")
        asset = rhea_reads(client, cast, "/console/marks/BTC/")
    cells = {row[0]: row[1:] for row in ROW.findall(marks)}
    assert [cells[f"{venue}:BTC-USD"][2:5] for venue in ("alder", "birch")] == [
        ("left out", "–", "stale"),
        ("34,100", "1", "–"),
    ]
    assert asset.count("silent</span>") == 1


def test_a_level_has_one_name_everywhere(call: MarginCall, cast: Cast, client: Browser) -> None:
    pages = {"calls/{call}/": "level: margin call", "calls/{call}/evidence/": "Level</span> margin call"}
    for page, said in pages.items():
        assert said in rhea_reads(client, cast, "/console/" + page.format(call=call.public_id))
    later = NOW + timedelta(minutes=3)
    stories.market("31500", at=later)
    margin_calls.assess_due(now=later)
    with time_machine.travel(later + timedelta(seconds=5), tick=False):
        worked = rhea_reads(client, cast, f"/console/calls/{call.public_id}/")
        client.force_login(cast.alice)
        theirs = client.get(f"/portal/calls/{call.public_id}/").content.decode()
    assert "level: accelerated" in worked
    assert "accelerated</span>" in theirs
    for page in (worked, theirs):
        assert "Accelerated" in page  # the ladder's line
        assert "less time" not in page.lower()


def test_an_incident_is_looked_after(cast: Cast, client: Browser) -> None:
    incident = Incident.objects.create(key="x", kind="outage", summary="LINK has no good mark", opened_at=NOW)
    client.force_login(cast.rhea)
    assert "LINK has no good mark" in client.get("/console/incidents/").content.decode()
    client.post(f"/console/incidents/{incident.public_id}/acknowledge/")
    incident.refresh_from_db()
    assert incident.acknowledged_by == cast.rhea


def rhea_reads(client: Browser, cast: Cast, address: str) -> str:
    client.force_login(cast.rhea)
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_account_tells_all_that_risk_knows(call: MarginCall, cast: Cast, client: Browser) -> None:
    page = rhea_reads(client, cast, f"/console/accounts/{call.margin_account.public_id}/")
    for said in (
        "70.59\N{NO-BREAK SPACE}%",
        "What would cure it",
        "90,000.",
        "Nothing was ordered for sale",
        "alice@harbourside.example",
    ):
        assert said in page


def test_the_accounts_chart_has_levels_and_calls(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    told = client.get(f"/console/accounts/{call.margin_account.public_id}/ltv/?hours=6").json()
    assert told["ltv"][-1] == pytest.approx(0.70588, abs=0.0001)
    assert len(told["at"]) == len(told["ltv"]) == len(told["quality"])
    assert ["Margin call", 0.7] in told["levels"]
    assert len(told["calls"]) == 1


def test_an_asset_has_sources_feeds_and_spans(call: MarginCall, cast: Cast, client: Browser) -> None:
    page = rhea_reads(client, cast, "/console/marks/BTC/")
    for said in ("34,000.00", "Alder", "in 1 account", "3 live sources", "Quality over the last 24 hours"):
        assert said in page
    told = client.get("/console/marks/BTC/history/?hours=nonsense").json()
    assert told["price"] == [34000.0]  # a day comes in steps of five minutes, six hours in steps of two
    assert client.get("/console/marks/BTC/history/?hours=6").json()["price"] == [34000.0, 34000.0]
    assert client.get("/console/marks/GOLD/").status_code == 404
    assert client.get("/console/marks/USD/").status_code == 404


def test_the_book_has_its_ladder(call: MarginCall, cast: Cast, client: Browser) -> None:
    page = rhea_reads(client, cast, "/console/book/")
    for said in ("Ladder of liquidations", "−15\N{NO-BREAK SPACE}%", "600,000.00", "BTC", "book-figures"):
        assert said in page


def test_a_silent_source_stands_on_the_book_page(call: MarginCall, cast: Cast, client: Browser) -> None:
    with time_machine.travel(NOW + timedelta(minutes=9), tick=False):
        assert "silent for more than" in rhea_reads(client, cast, "/console/book/")


def test_a_note_that_is_too_long_comes_back_as_it_was_written(call: MarginCall, cast: Cast, client: Browser) -> None:
    client.force_login(cast.rhea)
    address = f"/console/calls/{call.public_id}/"
    answer = client.post(f"{address}notes/", {"note": "so " * 400})
    assert answer.status_code == 422
    assert "so so so" in answer.content.decode()
    assert "Not kept: it has 1199 characters" in answer.content.decode()
    kept = client.post(f"{address}notes/", {"note": "Called at 12:10, no answer."}, follow=True).content.decode()
    assert "Called at 12:10, no answer." in kept
    client.force_login(cast.alice)
    assert "no answer" not in client.get(f"/portal/calls/{call.public_id}/").content.decode()


def test_taking_over_and_putting_back(call: MarginCall, cast: Cast, client: Browser) -> None:
    address = f"/console/calls/{call.public_id}/"
    client.force_login(cast.rhea)
    client.post(f"{address}claim/")
    client.force_login(cast.rolf)
    assert "Take it over from Rhea" in client.get(address).content.decode()
    said = client.post(f"{address}take-over/", {"held_by": str(cast.rhea.public_id)}, follow=True).content.decode()
    assert "The call is yours now" in said
    assert "From Rhea" in said
    assert "back in the queue" in client.post(f"{address}hand-back/", follow=True).content.decode()
    call.refresh_from_db()
    assert call.claimed_by is None


def test_an_incident_is_resolved_with_words(cast: Cast, client: Browser) -> None:
    incident = Incident.objects.create(key="x", kind="impossible_fill", summary="25 BTC are missing", opened_at=NOW)
    address = f"/console/incidents/{incident.public_id}/handle/"
    client.force_login(cast.rhea)
    refused = client.post(address, {"note": "", "resolve": ""})
    assert refused.status_code == 422
    assert "Not done: say what it is about" in refused.content.decode()
    client.post(address, {"note": "The dealer sent them again.", "resolve": ""})
    page = client.get("/console/incidents/").content.decode()
    assert "Nothing is open" in page
    assert "The dealer sent them again." in page
    incident.refresh_from_db()
    assert incident.resolved_by == cast.rhea


@pytest.mark.parametrize(
    "page",
    [
        "calls/{call}/",
        "calls/{call}/evidence/",
        "calls/{call}/row/",
        "accounts/{account}/",
        "accounts/{account}/ltv/",
        "marks/",
        "marks/BTC/",
        "marks/BTC/history/",
        "book/",
        "incidents/",
    ],
)
def test_pages_ask_the_database_little(
    call: MarginCall, cast: Cast, client: Browser, page: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Incident.objects.create(key="x", kind="impossible_fill", summary="25 BTC are missing", opened_at=NOW)
    client.force_login(cast.rhea)
    address = "/console/" + page.format(call=call.public_id, account=call.margin_account.public_id)
    questions, _page = Asked(client, monkeypatch).page(address)
    assert questions <= 12
