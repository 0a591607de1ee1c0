"""The benches that fill a database of their own, small: they run, and report both sides under the fixed keys."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from deploy.benches import alert, peers, programs
from deploy.benches.compare import UnableToBench
from tests.unit.deploy.test_benches import KEYS

pytestmark = pytest.mark.usefixtures("real_db")


def bench(name: str, *, loans: int, rounds: int) -> list[dict[str, Any]]:
    out = StringIO()
    call_command("bench", name, "--loans", str(loans), "--rounds", str(rounds), "--json", stdout=out)
    said = json.loads(out.getvalue())
    found = said.get("results", [said])
    for result in found:
        assert result.keys() >= KEYS
        assert (result["loans"], result["rounds"]) == (loans, rounds)
        assert result["ratio"] == pytest.approx(result["a_s"] / result["b_s"])
    return found


def test_load_times_a_book_cold_warm_and_merged() -> None:
    assert [found["bench"] for found in bench("load", loans=300, rounds=1)] == [
        "load",
        "load cold",
        "load warm",
        "load merged",
    ]


def test_cycle_decides_accounts_and_times_the_mark_beside_it() -> None:
    (found,) = bench("cycle", loans=3000, rounds=3)
    assert "decided" in found["a"]
    assert found["a_s"] > found["b_s"]


def test_accrual_posts_a_day_of_every_loan_beside_an_insert_of_as_many_rows() -> None:
    kept, bare = bench("accrual", loans=40, rounds=1)
    assert "a day of 40 loans: 40 entries and 80 postings" in kept["a"] == bare["a"]
    assert kept["a_s"] == bare["a_s"]


def test_crash_calls_a_part_of_the_book_in_one_tick_and_opens_the_queue() -> None:
    tick, queue = bench("crash", loans=40, rounds=3)
    assert "calls 10 accounts" in tick["a"]
    assert "30 open calls" in queue["a"]


def test_peers_name_the_same_accounts_and_the_loop_says_that_it_is_extrapolated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peers, "ORM_LOANS", 50)
    found = {result["bench"]: result for result in bench("peers", loans=500, rounds=1)}
    assert list(found) == ["peers SQL", "peers DuckDB", "peers Polars", "peers ORM"]
    assert "EXTRAPOLATED from 50 accounts" in found["peers ORM"]["a"]


def test_a_peer_that_names_other_accounts_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_polars", lambda columns: lambda price: [1, 2])
    with pytest.raises(UnableToBench, match="Polars names 2 accounts"):
        peers.run(loans=300, rounds=1)


@pytest.mark.processes
def test_alert_hears_of_every_call_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert, "BLOCK", 3)
    monkeypatch.setattr(programs, "SCALE", 1)
    (found,) = bench("alert", loans=200, rounds=6)
    assert found["a_s"] > 0
    assert found["b_s"] > 0
