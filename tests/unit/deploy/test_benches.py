"""The benches report what they must, and what they time is right: a bench of a wrong mark proves nothing."""

import json
from io import StringIO

import numpy as np
import pytest
from django.core.management import call_command

from deploy.benches import mark, tick
from deploy.benches.compare import UnableToBench, alternate
from risk.engine import kernel, nearest

KEYS = {"bench", "loans", "rounds", "a_s", "b_s", "ratio", "target", "machine"}


def test_bench_mark_reports_both_sides_as_one_object():
    out = StringIO()
    call_command("bench", "mark", "--loans", "2000", "--rounds", "3", "--json", stdout=out)
    found = json.loads(out.getvalue())
    assert found.keys() >= KEYS
    assert (found["bench"], found["loans"], found["rounds"]) == ("mark", 2000, 3)
    assert found["a_s"] > 0
    assert found["b_s"] > 0
    assert found["ratio"] == found["a_s"] / found["b_s"]


def test_bench_tick_reports_a_tick_and_a_minute_of_them():
    out = StringIO()
    call_command("bench", "tick", "--loans", "20000", "--rounds", "5", "--json", stdout=out)
    found = json.loads(out.getvalue())["results"]
    assert [result["bench"] for result in found] == ["tick", "tick minute"]
    assert all(result.keys() >= KEYS and result["ratio"] == result["a_s"] / result["b_s"] for result in found)


def test_bench_tick_refuses_an_index_that_misses_an_account(monkeypatch):
    right = nearest.screen
    monkeypatch.setattr(nearest, "screen", lambda *args, **kwargs: right(*args, **kwargs)[1:])
    with pytest.raises(UnableToBench, match="not the same"):
        tick.run(loans=2000, rounds=1)


def test_what_is_timed_finds_exactly_the_accounts_near_a_level():
    book, prices = mark.synthetic(20_000, seed=3)
    for _ in range(4):
        price = next(prices)
        moved = kernel.rungs(book, kernel.collateral(book, price), kernel.debt(book, price)) != book.rung
        candidates = kernel.screen(book, price)
        assert 0 < len(candidates) < 200
        assert set(np.sort(book.order[moved])) <= set(candidates)


def test_both_sides_run_equally_often():
    calls = {"a": 0, "b": 0}
    a_s, b_s = alternate(lambda: calls.update(a=calls["a"] + 1), lambda: calls.update(b=calls["b"] + 1), rounds=5)
    assert calls == {"a": 7, "b": 7}
    assert a_s > 0
    assert b_s > 0
