"""The custodian over HTTP: the same answers, bad input in words, a memory that survives a kill."""

import datetime as dt
import json
import threading
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import httpx
import pytest

from lending.adapters import custodian_server
from lending.adapters.custodian_http import HttpCustodian
from lending.adapters.custodian_server import CustodianServer
from lending.ports import CustodianRefused, CustodianUnavailable

AT = dt.datetime(2021, 5, 19, 8, 0, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """Return where the custodian remembers."""
    return tmp_path / "custodian.jsonl"


@pytest.fixture
def server(journal: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[CustodianServer]:
    """Serve a custodian on a free port."""
    monkeypatch.setattr(custodian_server, "LOST_ANSWER_S", 0.0)
    running = CustodianServer(("127.0.0.1", 0), seed=7, journal=journal)
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield running
    running.shutdown()
    thread.join()
    running.server_close()


@pytest.fixture
def client(server: CustodianServer) -> HttpCustodian:
    """Return the adapter that speaks to it."""
    return HttpCustodian(f"http://127.0.0.1:{server.server_port}")


def withdraw(client: HttpCustodian, client_id: str, quantity: str = "1") -> bool:
    """Ask for a transfer out and return whether the answer came back."""
    try:
        client.withdraw(client_id, asset="BTC", quantity=Decimal(quantity), destination="bc1", at=AT)
    except CustodianUnavailable:
        return False
    return True


def test_the_adapter_says_what_the_custodian_knows(server: CustodianServer, client: HttpCustodian) -> None:
    core = server.custodian
    assert client.deposit_address("m1", "BTC") == core.deposit_address("m1", "BTC")
    assert client.treasury_address("USD") == core.treasury_address("USD")
    client.simulate_opening("o1", asset="BTC", quantity=Decimal("100.5"), at=AT)
    client.simulate_deposit("d1", address="a1", asset="ETH", quantity=Decimal("1.000000000000000001"), at=AT)
    assert client.deposits(after=0, refs=["d1"], needed={"BTC": 3}, at=AT + HOUR) == core.deposits(
        after=0, refs=[], needed={"BTC": 3}, at=AT + HOUR
    )
    client.simulate_deposit("d2", address="a1", asset="ETH", quantity=Decimal(1), at=AT, screened=False)
    told = client.deposits(after=1, refs=[], needed={}, at=AT + HOUR)
    assert [(report.ref, report.screened) for report in told] == [("d1", True), ("d2", False)]
    assert client.balances(at=AT + HOUR) == core.balances(at=AT + HOUR)
    assert client.withdrawal("w1", at=AT) is None
    for n in range(60):
        withdraw(client, f"w{n}", "0.1")
        assert client.withdrawal(f"w{n}", at=AT + HOUR) == core.withdrawal(f"w{n}", at=AT + HOUR)
    client.simulate_reorg("d1", at=AT + HOUR)
    assert client.deposits(after=2, refs=["d1"], needed={"BTC": 3}, at=AT + HOUR)[0].reorged


def test_an_answer_lost_on_the_way_is_unknown_and_the_query_finds_it(client: HttpCustodian) -> None:
    client.simulate_opening("o1", asset="BTC", quantity=Decimal(100), at=AT)
    lost = next(client_id for client_id in map(str, range(200)) if not withdraw(client, client_id, "0.1"))
    assert client.withdrawal(lost, at=AT) is not None


def test_a_refusal_is_final(client: HttpCustodian) -> None:
    with pytest.raises(CustodianRefused, match="0 BTC are held, not 1"):
        client.withdraw("w1", asset="BTC", quantity=Decimal(1), destination="bc1", at=AT)


def test_no_server_is_unavailable() -> None:
    with pytest.raises(CustodianUnavailable, match="ConnectError"):
        HttpCustodian("http://127.0.0.1:9").balances(at=AT)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        ("/nowhere", "{}", 404, "no such address: /nowhere"),
        ("/balances", "", 400, "a body of 1 to 1048576 bytes of JSON is needed, not of 0"),
        ("/balances", "[]", 400, "the body must be a JSON object"),
        ("/balances", "{", 400, "Expecting property name"),
        ("/balances", "{}", 400, "'at' is missing"),
        ("/balances", '{"at": "yesterday"}', 400, "Invalid isoformat string: 'yesterday'"),
        ("/balances", '{"at": "2021-05-19T08:00:00"}', 400, "at has no time zone"),
        (
            "/deposits/query",
            '{"after": "x", "refs": [], "at": "2021-05-19T08:00:00Z"}',
            400,
            "after must be a position",
        ),
        ("/withdrawals", '{"client_id": 5}', 400, "client_id must be a text that is not empty"),
        (
            "/simulate/deposit",
            '{"ref": "d", "address": "a", "asset": "BTC", "quantity": "much", "at": "2021-05-19T08:00:00Z"}',
            400,
            "quantity must be a number in a text, not 'much'",
        ),
        (
            "/simulate/deposit",
            '{"ref": "d", "address": "a", "asset": "BTC", "quantity": "-1", "at": "2021-05-19T08:00:00Z"}',
            400,
            "-1 is not an amount above zero",
        ),
    ],
)
def test_bad_input_is_answered_in_words(
    server: CustodianServer, path: str, body: str, status: int, message: str
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"http://127.0.0.1:{server.server_port}{path}", content=body, headers=headers)
    assert answer.status_code == status
    assert message in answer.json()["error"]


def test_a_kill_loses_nothing_that_was_answered(journal: Path, client: HttpCustodian) -> None:
    client.simulate_opening("o1", asset="BTC", quantity=Decimal(10), at=AT)
    withdraw(client, "w1", "4")
    kept = journal.read_bytes()
    # The power went while a third record was being written.
    journal.write_bytes(kept + b'{"kind":"withdraw","id":"w2","quan')
    again = CustodianServer(("127.0.0.1", 0), seed=7, journal=journal)
    again.server_close()
    assert again.custodian.balances(at=AT + HOUR)["BTC"] == 6
    assert again.custodian.withdrawal("w2", at=AT) is None
    assert [json.loads(line)["kind"] for line in journal.read_text().splitlines()] == ["deposit", "withdraw"]


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_what_a_form_of_a_web_page_could_send_is_refused(server: CustodianServer, kind: str | None) -> None:
    body = json.dumps({"ref": "o1", "asset": "BTC", "quantity": "1", "at": AT.isoformat()}).encode()
    headers = {"Content-Type": kind} if kind else {}
    answer = httpx.post(f"http://127.0.0.1:{server.server_port}/simulate/opening", content=body, headers=headers)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["error"]
    assert not server.custodian.balances(at=AT)
