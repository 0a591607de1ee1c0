"""Minutes of the crash twice: by the real processes over HTTP, broker and sockets, and by replay in one process."""

import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from django.db import connection

from deploy import replay
from deploy.run.started import Started, started
from risk import scenarios

# Platform time waits for marks: on a busy machine that takes much longer than minutes at ten times their pace.
pytestmark = [pytest.mark.processes, pytest.mark.timeout(900)]
PATIENCE_S = 600

SEED, LOANS = 7, 30
START, END = datetime(2021, 5, 19, 12, 51, tzinfo=UTC), datetime(2021, 5, 19, 12, 57, tzinfo=UTC)
# What was under way at the end may have come one round later in one of the two: the last minute is not compared.
JUDGED_UNTIL = datetime(2021, 5, 19, 12, 56, tzinfo=UTC)

CALLS = """
SELECT m.public_id::text, c.episode FROM risk_margincall c
JOIN lending_marginaccount m ON m.id = c.margin_account_id WHERE c.issued_at < %s
"""
ORDERS = """
SELECT m.public_id::text, o.episode, o.slice, a.code FROM risk_liquidationorder o
JOIN lending_marginaccount m ON m.id = o.margin_account_id
JOIN lending_asset a ON a.id = o.asset_id WHERE o.slice = 1 AND o.ordered_at < %s
"""


def _facts(cursor: Any) -> dict[str, set[tuple[Any, ...]]]:
    found = {}
    for name, statement in (("calls", CALLS), ("orders", ORDERS)):
        cursor.execute(statement, [JUDGED_UNTIL])
        found[name] = set(cursor.fetchall())
    return found


@pytest.fixture(scope="module")
def replayed(django_db_setup: None, django_db_blocker: Any) -> dict[str, set[tuple[Any, ...]]]:
    scenario = scenarios.load("may-2021", seed=SEED)
    with django_db_blocker.unblock(), replay.world(scenario, seed=SEED):
        replay.play(scenario, seed=SEED, loans=LOANS, span=scenario.between(START, END))
        with connection.cursor() as cursor:
            return _facts(cursor)


@pytest.fixture(scope="module")
def lived() -> dict[str, set[tuple[Any, ...]]]:
    options = {
        "SPEED": "16",  # a round that the worker can not keep up with is passed over, and decides nothing
        "START": START.isoformat(),
        "PLIMSOLL_DEMO_LOANS": str(LOANS),
        "PLIMSOLL_SEED": str(SEED),
    }
    with started(options) as platform:
        _wait_for(platform, END)
        with platform.connect() as database, database.cursor() as cursor:
            return _facts(cursor)


def _wait_for(platform: Started, until: datetime) -> None:
    url = platform.wait_until_ready()["url"]
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if datetime.fromisoformat(httpx.get(f"{url}/healthz", timeout=60).json()["now"]) >= until:
            return
        time.sleep(0.5)
    raise AssertionError(f"platform time did not come to {until}:\n{platform.last_words()}")


def test_the_same_calls_are_issued(replayed: dict[str, Any], lived: dict[str, Any]) -> None:
    assert replayed["calls"]
    assert lived["calls"] == replayed["calls"]


def test_the_same_sales_are_ordered(replayed: dict[str, Any], lived: dict[str, Any]) -> None:
    assert replayed["orders"]
    assert lived["orders"] == replayed["orders"]
