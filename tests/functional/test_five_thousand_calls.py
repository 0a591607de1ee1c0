"""A tick that calls five thousand accounts at once: the console asks the database no more than for ten."""

import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from statistics import median

import pytest
import time_machine
from django.test import Client as Browser

from tests import stories
from tests.cast import NOW, Cast, assemble
from tests.factories import crowd
from tests.queries import Asked

AT = NOW + timedelta(minutes=1)
CALLS = 5000
MOST_QUERIES = 12
# Each with how many calls stand behind the page that it shows.
ADDRESSES = {"/console/": 4950, "/console/rows/": 4950, "/console/?state=notified&asset=BTC&page=2": 4900}


@pytest.fixture(autouse=True)
def _just_after() -> Iterator[None]:
    with time_machine.travel(AT + timedelta(seconds=20), tick=False):
        yield


@pytest.fixture
def desk(real_db: str) -> Cast:
    """Everybody, in a database of their own: what other tests leave in the statistics makes plans that no desk has."""
    return assemble()


@pytest.fixture
def asked(desk: Cast, client: Browser, monkeypatch: pytest.MonkeyPatch) -> Asked:
    stories.market("30000", at=AT)
    client.force_login(desk.rhea)
    return Asked(client, monkeypatch)


def test_the_queue_asks_for_thousands_what_it_asks_for_ten(
    desk: Cast, asked: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    crowd.called([desk.harbourside, desk.quayside], desk.robin, count=150, now=AT)
    few = {address: asked.page(address)[0] for address in ADDRESSES}
    crowd.called([desk.harbourside, desk.quayside], desk.robin, count=CALLS - 150, now=AT)
    for address, more in ADDRESSES.items():
        many, page = asked.page(address)
        assert few[address] == many <= MOST_QUERIES
        assert page.count("data-call=") == 50
        assert f"{more} more" in page
        with capsys.disabled():
            sys.stdout.write(f"\n{address}: {CALLS} open calls, {many} queries, {timed(asked, address)}\n")


def timed(asked: Asked, address: str) -> str:
    """Return how long a page takes; told, and never asserted: machines differ."""
    taken = []
    for _ in range(9):
        start = time.perf_counter()
        asked.page(address)
        taken.append(1000 * (time.perf_counter() - start))
    return f"median {median(taken):.0f} ms, slowest {max(taken):.0f} ms"


def test_one_row_is_read_without_the_others(desk: Cast, asked: Asked) -> None:
    crowd.called([desk.harbourside], desk.robin, count=60, now=AT)
    call = desk.harbourside.margin_calls.first()
    queries, row = asked.page(f"/console/calls/{call.public_id}/row/")
    assert queries <= MOST_QUERIES
    assert row.count("data-call=") == 1
