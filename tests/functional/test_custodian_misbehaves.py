"""
A custodian as real ones are, over real HTTP both ways: nothing is credited twice or lost, and both books always agree.

The paper custodian and our web process listen on ports of their own; webhooks are signed and come to our door.
"""

import contextlib
import datetime as dt
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpx
import pytest
from django.conf import LazySettings
from django.core.wsgi import get_wsgi_application
from django.db import connections

from lending import breaks, clock, custody, invariants, ledger, outbox, ports, reconciliation, withdrawals
from lending.adapters import custodian_hooks, custodian_server
from lending.adapters.custodian_http import HttpCustodian
from lending.adapters.custodian_server import CustodianServer
from lending.adapters.mischief import DIFFICULT, Fate, Temper
from lending.engine import accounts, signatures
from lending.models import (
    CustodianWebhook,
    CustodyBreak,
    Deposit,
    DepositAddress,
    Loan,
    Notice,
    Pledge,
    Role,
    Withdrawal,
)
from tests import bad_input
from tests.factories import lending as make

pytestmark = pytest.mark.usefixtures("real_db")
NOW = make.NOW
HOUR = dt.timedelta(hours=1)
MINUTE = dt.timedelta(minutes=1)
SECRET = "whsec_" + "QUFB" * 10
_CALM = Temper(lost=0, slow=0)


class _Web(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def handle(self) -> None:
        try:
            super().handle()
        finally:
            connections.close_all()


@dataclass
class World:
    """A custodian's process, our door, and a loan that waits for collateral."""

    server: CustodianServer
    custodian: HttpCustodian
    door: str
    loan: Loan

    def address(self, purpose: str = "collateral", code: str = "BTC") -> str:
        outbox.deliver_due(now=NOW)
        rows = DepositAddress.objects.filter(margin_account=self.loan.margin_account)
        return rows.get(purpose=purpose, asset__code=code).address

    def send(self, ref: str, quantity: str, at: dt.datetime) -> None:
        self.custodian.simulate_deposit(ref, address=self.address(), asset="BTC", quantity=Decimal(quantity), at=at)

    def pass_minutes(self, *minutes: int) -> None:
        """Take the platform through some minutes; both books agree after each of its steps."""
        for minute in minutes:
            now = NOW + minute * MINUTE
            for step in (custody.poll_due, custody.credit_due, custody.send_due):
                step(now=now)
                assert reconciliation.reconcile(now=now) == 0, breaks.standing().values_list("words", flat=True)

    def pledged(self) -> Decimal:
        return sum((row.quantity for row in Pledge.objects.all()), Decimal(0))


@contextlib.contextmanager
def serving(server: WSGIServer | CustodianServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def temper() -> Temper:
    """Return how the custodian behaves when nothing else is asked of it."""
    return _CALM


@pytest.fixture
def world(tmp_path: Path, settings: LazySettings, monkeypatch: pytest.MonkeyPatch, temper: Temper) -> Iterator[World]:
    monkeypatch.setattr(custodian_server, "LOST_ANSWER_S", 0.0)
    monkeypatch.setattr(custodian_hooks, "LATE_S", 0.3)
    web = make_server("127.0.0.1", 0, get_wsgi_application(), server_class=_Web, handler_class=_Quiet)
    door = f"http://127.0.0.1:{web.server_port}/hooks/custodian/"
    settings.LENDING_CUSTODIAN_SECRETS = [SECRET]
    settings.CELERY_BROKER_URL = "memory://"
    server = CustodianServer(
        ("127.0.0.1", 0), seed=7, journal=tmp_path / "custodian.jsonl", temper=temper, hooks=door, secret=SECRET
    )
    settings.LENDING_CUSTODIAN = "lending.adapters.custodian_http.HttpCustodian"
    settings.LENDING_CUSTODIAN_URL = f"http://127.0.0.1:{server.server_port}"
    ports.custodian.cache_clear()
    with serving(web), serving(server):
        clock.start(sim_origin=NOW + 5 * MINUTE, wall_origin=clock.wall_now(), speed=Decimal(0))
        make.asset("BTC")
        custodian = ports.custodian()
        assert isinstance(custodian, HttpCustodian)
        yield World(server, custodian, door, make.pending_loan())
    ports.custodian.cache_clear()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def heard() -> list[tuple[str, int]]:
    return list(CustodianWebhook.objects.order_by("pk").values_list("kind", "times"))


# --- transfers in -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fate", "state", "pledged"),
    [(Fate.LATE, "credited", 2), (Fate.GONE, "reorged", 0), (Fate.MOVED, "credited", 2)],
)
def test_a_transfer_in_counts_once_or_never(world: World, fate: Fate, state: str, pledged: int) -> None:
    world.custodian.simulate_fate(fate)
    world.send("d1", "2", NOW)
    world.pass_minutes(*range(0, 150, 7))
    assert (Deposit.objects.get().state, world.pledged()) == (state, pledged)
    assert ledger.balance(accounts.custody("BTC", "paper")) == pledged
    assert invariants.check() == []


def test_a_transfer_that_is_gone_after_it_was_credited_is_found_in_one_reconciliation(world: World) -> None:
    world.send("d1", "2", NOW)
    world.pass_minutes(0, 20, 40)
    world.custodian.simulate_reorg("d1", at=NOW + 41 * MINUTE)
    assert reconciliation.reconcile(now=NOW + 41 * MINUTE) == 1
    row = CustodyBreak.objects.get()
    assert (row.ref, row.words) == ("d1", "2 BTC credited here, and gone from the chain at the custodian")
    assert "gone from the chain" in breaks.blocks_releases(row.asset, world.loan.client_id)
    world.custodian.simulate_return("d1", at=NOW + 42 * MINUTE)
    world.pass_minutes(60, 90)
    row.refresh_from_db()
    assert row.closed_how == "both books agree again"
    assert world.pledged() == 2


# --- transfers out ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fate", "state", "left"), [(Fate.LOST, "done", 1), (Fate.SLOW, "done", 1), (Fate.FAILED, "failed", 3)]
)
def test_a_transfer_out_leaves_once_or_comes_back(world: World, fate: Fate, state: str, left: int) -> None:
    world.custodian.simulate_deposit(
        "cash", address=world.address("repayment", "USD"), asset="USD", quantity=Decimal(3), at=NOW
    )
    world.pass_minutes(0, 2)
    world.custodian.simulate_fate(fate)
    for _ in range(2):
        withdrawals.request(
            world.loan.client, world.loan.asset, Decimal(2), destination="bank", purpose="release",
            maker=make.staff("olga"), checker=make.staff("rhea", Role.RISK), book=make.BookFactory(), key="w1",
            now=NOW + 3 * MINUTE,
        )  # fmt: skip
    world.pass_minutes(3, 4, 5, 6, 7, 8, 20)
    assert Withdrawal.objects.get().state == state
    assert world.custodian.balances(at=NOW + HOUR)["USD"] == left
    assert ledger.owed(accounts.client_free("USD", world.loan.client_id)) == left
    told = [notice.subject for notice in Notice.objects.filter(kind="withdrawal_stopped")]
    assert told == (["2 USD of yours are not sent"] if state == "failed" else [])
    until(lambda: any(kind.startswith("withdrawal.") for kind, _ in heard()))
    assert invariants.check() == []


def test_a_transfer_out_that_nobody_asked_for_is_found_in_one_reconciliation(world: World) -> None:
    world.send("d1", "2", NOW)
    world.pass_minutes(0, 40)
    world.custodian.withdraw("thief", asset="BTC", quantity=Decimal(1), destination="x", at=NOW + 41 * MINUTE)
    assert reconciliation.reconcile(now=NOW + 41 * MINUTE) == 1
    assert CustodyBreak.objects.get().words.endswith("which nobody here asked for")


# --- webhooks ---------------------------------------------------------------------------------------------------------


def test_a_webhook_that_comes_twice_is_kept_once(world: World) -> None:
    world.custodian.simulate_fate("hook_twice")
    world.send("d1", "2", NOW)
    until(lambda: heard() == [("deposit.seen", 2)])
    world.pass_minutes(1, 30, 60)
    until(lambda: heard() == [("deposit.seen", 2), ("deposit.confirmed", 1)])
    assert world.pledged() == 2


def test_webhooks_out_of_order_and_lost_ones_change_nothing(world: World) -> None:
    world.address()
    world.custodian.simulate_fate("hook_late")
    world.send("d1", "2", NOW)  # that it was seen is told late
    world.custodian.deposits(after=0, refs=[], needed={"BTC": 3}, at=NOW + 30 * MINUTE)
    until(lambda: len(heard()) == 2)
    assert [kind for kind, _ in heard()] == ["deposit.confirmed", "deposit.seen"]
    world.custodian.simulate_fate("hook_lost")
    world.send("d2", "3", NOW + 31 * MINUTE)
    world.pass_minutes(31, 50, 70, 90)
    assert world.pledged() == 5
    told = CustodianWebhook.objects.filter(subject="d2")
    until(lambda: list(told.values_list("kind", flat=True)) == ["deposit.confirmed"])  # that it was seen was lost


def test_news_of_a_withdrawal_has_it_asked_about_at_once(world: World) -> None:
    world.custodian.simulate_deposit(
        "cash", address=world.address("repayment", "USD"), asset="USD", quantity=Decimal(3), at=NOW
    )
    world.pass_minutes(0, 2)
    row = withdrawals.request(
        world.loan.client, world.loan.asset, Decimal(2), destination="bank", purpose="release",
        maker=make.staff("olga"), checker=make.staff("rhea", Role.RISK), book=make.BookFactory(), key="w1", now=NOW,
    )  # fmt: skip
    world.custodian.simulate_fate(Fate.SLOW)
    custody.send_due(now=NOW + 3 * MINUTE)
    Withdrawal.objects.filter(pk=row.pk).update(next_attempt_at=NOW + 9 * HOUR)
    world.custodian.balances(at=NOW + 7 * MINUTE)  # the custodian's clock reaches its end
    until(lambda: CustodianWebhook.objects.filter(kind="withdrawal.executed").exists())
    until(lambda: Withdrawal.objects.filter(pk=row.pk, next_attempt_at__lt=NOW + 9 * HOUR).exists())


def signed(body: bytes, *, message_id: str = "msg_1", at: int | None = None, secret: str = SECRET) -> dict[str, str]:
    at = int(time.time()) if at is None else at
    signature = signatures.sign(signatures.secret_of(secret), message_id, at, body)
    return {"webhook-id": message_id, "webhook-timestamp": str(at), "webhook-signature": signature}


_TOLD = json.dumps({"type": "deposit.seen", "data": {"ref": "d1"}}).encode()


def bad() -> dict[str, tuple[bytes, dict[str, str], int]]:
    """Return what is refused, signed now: a signature is good for five minutes."""
    fitting = {
        "no JSON": b"{",
        "no text in UTF-8": b"\xff",
        "a list": b"[]",
        "nothing that it happened to": b'{"type": "x", "data": {}}',
        "nothing that happened": b'{"data": {"ref": "x"}}',
        "NUL": b'{"type": "deposit.seen", "data": {"ref": "d\\u0000"}}',
        "half a sign": b'{"type": "deposit.seen", "data": {"ref": "d\\ud800"}}',
        "NaN": b'{"type": "deposit.seen", "data": {"ref": "d1", "quantity": NaN}}',
        "nested without end": b"[" * 60_000,
        "too long": b" " * 65537,
    }
    return {
        "not signed": (_TOLD, {}, 401),
        "signed for other words": (_TOLD, signed(b"something else"), 401),
        "signed with another secret": (_TOLD, signed(_TOLD, secret="whsec_" + "QkJC" * 10), 401),
        "a stale signature": (_TOLD, signed(_TOLD, at=1), 401),
        **{case: (body, signed(body), 400) for case, body in fitting.items()},
        "an id beyond measure": (_TOLD, signed(_TOLD, message_id="m" * 121), 400),
    }


def test_what_is_not_the_custodians_word_is_refused_in_words(world: World) -> None:
    read = {}
    for case, (body, headers, status) in bad().items():
        answer = httpx.post(world.door, content=body, headers=headers)
        assert answer.status_code == status, f"{case}: {answer.text}"
        read[case] = [answer.json()["error"]]
    bad_input.stands(bad_input.DOORS, "Webhooks of the custodian", read)
    assert heard() == []


def test_a_message_that_is_sent_again_by_anybody_is_told_and_done_once(world: World) -> None:
    headers = signed(_TOLD)
    for _ in range(3):
        assert httpx.post(world.door, content=_TOLD, headers=headers).status_code == 204
    assert heard() == [("deposit.seen", 3)]
    assert not Deposit.objects.exists()  # what it says is not believed: the custodian has no such deposit
    assert httpx.get(world.door).status_code == 405


def test_without_a_secret_there_is_no_door(world: World, settings: LazySettings) -> None:
    settings.LENDING_CUSTODIAN_SECRETS = []
    assert httpx.post(world.door, content=_TOLD, headers=signed(_TOLD)).status_code == 404


# --- everything at once -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("temper", [DIFFICULT])
def test_a_difficult_day(world: World) -> None:
    for n in range(25):
        world.send(f"d{n}", "1", NOW + n * MINUTE)
    world.pass_minutes(*range(0, 240, 12))
    states = list(Deposit.objects.values_list("state", flat=True))
    assert len(states) == 25
    assert {"credited", "reorged"} == set(states)
    assert world.pledged() == states.count("credited") == world.custodian.balances(at=NOW + 4 * HOUR)["BTC"]
    assert not CustodyBreak.objects.exists()
    assert invariants.check() == []
