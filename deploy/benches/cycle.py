"""A whole marking cycle, database included, against what the mark alone takes."""

import statistics
import time
from datetime import timedelta
from decimal import Decimal

import numpy as np

from deploy import databases
from deploy.benches import desk as desks
from deploy.benches.compare import Result, machine
from lending import clock
from risk import book as books
from risk import cycle, prices
from risk.engine import kernel

ASSETS = 20
MOVE = 0.00015
TICK_S = 2.0
LTVS = (0.2, 0.68)  # some beyond the warning, so that a tick moves accounts both ways over a level


def run(*, loans: int = 100_000, rounds: int = 21, seed: int = 7) -> list[Result]:
    """
    Compare `risk.cycle.run` in a warm worker with the full mark of the same book at the same prices.

    A cycle publishes marks, asks what has changed, screens by the index, decides candidates exactly under their locks
    and writes those that crossed a level, with their letters. The feed's part, recording the ticks, is not timed.
    """
    rng = np.random.default_rng(seed)
    with databases.scratch():
        now = clock.wall_now()
        desk = desks.fill(loans, now=now, assets=ASSETS, ltvs=LTVS)
        desks.open_venues(desk.codes)
        desks.quote(desk.price, round_number=0, now=now)
        cycle.forget()
        cycle.run(0, now=now)
        book, factor = books.load(desks.SHARDS, now=now), np.ones(ASSETS)
        taken, decided, crossed = [], [], []
        for number in range(1, rounds + 1):
            now += timedelta(seconds=TICK_S)
            factor *= np.exp(rng.normal(0.0, MOVE, ASSETS))
            moved = {code: usd * Decimal(f"{factor[n]:.9f}") for n, (code, usd) in enumerate(desk.price.items())}
            desks.quote(moved, round_number=number, now=now)
            price = np.array([float(moved.get(code, 1)) for code in book.codes])
            began = time.perf_counter()
            report = cycle.run(0, now=now)
            between = time.perf_counter()
            kernel.screen(book.base.warm, price, elapsed_s=number * TICK_S)
            taken.append((between - began, time.perf_counter() - between))
            decided.append(report.candidates)
            crossed.append(report.changed)
        marks = prices.current(now=now)
        cycle.forget()
    cycle_s, mark_s = (statistics.median(seconds) for seconds in zip(*taken, strict=True))
    said = f"{statistics.median(decided):.0f} decided, {statistics.median(crossed):.0f} crossed a level"
    return [
        Result(
            bench="cycle",
            loans=loans,
            rounds=rounds,
            a=f"the marking cycle, {len(marks.of)} assets from {len(desks.VENUES)} venues: {said}",
            b="the full mark of its book alone",
            a_s=cycle_s,
            b_s=mark_s,
            ratio=cycle_s / mark_s,
            target="reported",
            machine=machine(),
        )
    ]
