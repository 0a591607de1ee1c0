"""A small tick by way of the distance index against a full mark of the same book: the same answer, sooner."""

import statistics
import time

import numpy as np

from deploy.benches import mark
from deploy.benches.compare import Result, UnableToBench, machine
from risk.engine import kernel, nearest
from risk.engine.arrays import FloatArray, IntArray

MOVE = 0.00015  # of a price in a tick of two seconds: a fifth of a percent in ten minutes
TICK_S = 2.0
TICKS = 30  # of a run that pays for its anchor too


def run(*, loans: int = 1_000_000, rounds: int = 21, seed: int = 7) -> list[Result]:
    """
    Compare a tick of 1.5 bp with a full mark, alone and as a minute of ticks with the anchor that they need.

    Both sides look for the accounts that may have left their rung. Each tick's answers are compared, outside the time
    that is taken.

    Raises
    ------
    UnableToBench
        If the index does not return exactly what the full mark does.
    """
    book, prices = mark.synthetic(loans, seed=seed)
    index = nearest.Nearest(book)
    start = next(prices)
    nearest.screen(index, start, start)
    pairs = [_both(index, next(prices), 0.0) for _ in range(rounds)]
    judged = index.judged
    rng = np.random.default_rng(seed)
    minutes = [_minute(index, next(prices), rng, elapsed_s=120.0 * (n + 1)) for n in range(max(1, rounds // 5))]
    return [
        _result("tick", f"a tick of 1.5 bp, {judged} accounts looked at", "full mark", loans, pairs),
        _result("tick minute", f"{TICKS} ticks in a row, anchored once", f"{TICKS} full marks", loans, minutes),
    ]


def _both(index: nearest.Nearest, price: FloatArray, elapsed_s: float) -> tuple[float, float]:
    """Return the seconds that the index and the full mark take at some prices."""
    began = time.perf_counter()
    few = nearest.screen(index, price, price, elapsed_s=elapsed_s)
    between = time.perf_counter()
    full = kernel.screen(index.book, price, elapsed_s=elapsed_s)
    ended = time.perf_counter()
    _same(few, full)
    return between - began, ended - between


def _minute(
    index: nearest.Nearest, price: FloatArray, rng: np.random.Generator, *, elapsed_s: float
) -> tuple[float, float]:
    """Return what both sides take for a minute of ticks that starts long after the last anchor."""
    times = []
    for tick in range(TICKS):
        times.append(_both(index, price, elapsed_s + tick * TICK_S))
        price = price * np.exp(rng.normal(0.0, MOVE, len(price)))
    return sum(index_s for index_s, _full_s in times), sum(full_s for _index_s, full_s in times)


def _same(few: IntArray, full: IntArray) -> None:
    if not np.array_equal(few, full):
        raise UnableToBench(f"the index found {len(few)} accounts and the full mark {len(full)}, not the same ones")


def _result(name: str, a: str, b: str, loans: int, pairs: list[tuple[float, float]]) -> Result:
    a_s, b_s = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Result(
        bench=name,
        loans=loans,
        rounds=len(pairs),
        a=a,
        b=b,
        a_s=a_s,
        b_s=b_s,
        ratio=a_s / b_s,
        target="<= 0.01" if name == "tick" else "reported",
        machine=machine(),
    )
