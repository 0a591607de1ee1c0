"""The worst of the crash, replayed: the same seed gives the same ledger, and every cent is explained."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from deploy import replay
from risk import scenarios

START, END = datetime(2021, 5, 19, 12, 55, tzinfo=UTC), datetime(2021, 5, 19, 13, 20, tzinfo=UTC)


def _replayed(seed: int, after: Callable[[], object] = lambda: None) -> dict[str, Any]:
    scenario = scenarios.load("may-2021", seed=seed)
    span = scenario.between(START, END)
    with replay.world(scenario, seed=seed):
        played = replay.play(scenario, seed=seed, loans=40, span=span)
        after()
        return replay.report(span, played)


@pytest.fixture(scope="module")
def first(django_db_setup: None, django_db_blocker: Any) -> dict[str, Any]:
    with django_db_blocker.unblock():
        return _replayed(3)


def test_everything_happens_and_nothing_is_broken(first: dict[str, Any]) -> None:
    assert first["invariants"] == "ok"
    assert first["calls"] > 0
    assert first["cures"] > 0
    assert first["liquidations"] > 0
    assert first["wrongful_sales"] == 0
    assert first["pnl_residual"] == "0.00"


def test_the_same_seed_gives_the_same_ledger(first: dict[str, Any], django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        again = _replayed(3)
    assert again["ledger_hash"] == first["ledger_hash"]


def test_another_seed_gives_another_ledger(first: dict[str, Any], django_db_blocker: Any) -> None:
    with django_db_blocker.unblock():
        other = _replayed(4)
    assert other["ledger_hash"] != first["ledger_hash"]
