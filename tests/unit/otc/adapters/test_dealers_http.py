"""The dealers over a real socket: the same answers as in-process, words for nonsense, silence is not an answer."""

import datetime as dt
import json
import threading
from decimal import Decimal

import httpx
import pytest

from otc.adapters.dealers_http import HttpDealer
from otc.adapters.dealers_server import DealerServer
from otc.ports import QuoteRequest, Status, UnableToTell
from tests.factories.dealers import FlatMarket, simulated

AT = dt.datetime(2021, 5, 19, 12, tzinfo=dt.UTC)
D = Decimal


@pytest.fixture
def served():
    market = FlatMarket({"BTC": D(40_000)})
    dealers = {
        "harbour": simulated(market),
        "northgate": simulated(market, "northgate", lost_answer_chance=D(1)),
    }
    server = DealerServer(("127.0.0.1", 0), dealers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", dealers
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_wire_changes_nothing(served):
    url, dealers = served
    dealer = HttpDealer("harbour", url=url)
    quoted = dealer.request_quote(QuoteRequest("a/b c", "BTC", D("1.25"), AT))
    assert quoted.status == Status.QUOTED
    assert quoted == dealers["harbour"].query("a/b c", at=AT)
    assert dealer.query("a/b c", at=AT) == quoted
    accepted = dealer.accept("a/b c", at=AT)
    assert accepted == dealers["harbour"].query("a/b c", at=AT)
    assert accepted.fills[0].quantity == D("1.25")
    assert dealer.query("unknown", at=AT) is None
    dealer.request_quote(QuoteRequest("d", "BTC", D(1), AT))
    assert dealer.withdraw("d", at=AT).status == Status.WITHDRAWN


def test_a_lost_answer_is_unknown_and_shows_on_query(served):
    dealer = HttpDealer("northgate", url=served[0])
    dealer.request_quote(QuoteRequest("x", "BTC", D(1), AT))
    with pytest.raises(UnableToTell):
        dealer.accept("x", at=AT)
    assert dealer.query("x", at=AT).status == Status.ACCEPTED


def test_nobody_there_is_unknown():
    dealer = HttpDealer("harbour", url="http://127.0.0.1:9")
    with pytest.raises(UnableToTell):
        dealer.query("x", at=AT)


GOOD = {"client_order_id": "q", "asset": "BTC", "side": "sell", "quantity": "1", "at": AT.isoformat()}


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({**GOOD, "quantity": "0"}, "quantity"),
        ({**GOOD, "quantity": 1.5}, "quantity"),
        ({**GOOD, "quantity": "1e400"}, "quantity"),
        ({**GOOD, "side": "buy"}, "side"),
        ({**GOOD, "at": "2021-05-19T12:00:00"}, "zone"),
        ({**GOOD, "at": "soon"}, "at"),
        ({**GOOD, "asset": "DOGE"}, "DOGE"),
        ({**GOOD, "client_order_id": ""}, "client_order_id"),
        ({**GOOD, "client_order_id": "x" * 81}, "client_order_id"),
        ([], "object"),
    ],
)
def test_bad_requests_are_answered_in_words(served, body, word):
    response = httpx.post(f"{served[0]}/harbour/quotes", json=body)
    assert response.status_code == 400
    assert word in response.json()["error"]


def test_bodies_and_paths_that_make_no_sense(served):
    headers = {"Content-Type": "application/json"}
    assert httpx.post(f"{served[0]}/harbour/quotes", content=b"{not json", headers=headers).status_code == 400
    assert httpx.post(f"{served[0]}/harbour/quotes", content=b" " * 20_000, headers=headers).status_code == 400
    assert httpx.get(f"{served[0]}/nobody/orders/x?at=2021-05-19T12:00:00Z").status_code == 404
    assert httpx.get(f"{served[0]}/harbour/nothing").status_code == 404
    assert httpx.get(f"{served[0]}/harbour/orders/x").status_code == 400
    assert httpx.get(f"{served[0]}/health").json() == {"dealers": ["harbour", "northgate"]}


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_a_form_of_a_web_page_could_send_is_refused(served, kind):
    body = json.dumps({"client_order_id": "f", "asset": "BTC", "side": "sell", "quantity": "1", "at": AT.isoformat()})
    headers = {"Content-Type": kind} if kind else {}
    answer = httpx.post(f"{served[0]}/harbour/quotes", content=body.encode(), headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]
    assert served[1]["harbour"].query("f", at=AT) is None
