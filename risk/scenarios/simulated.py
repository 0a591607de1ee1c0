"""Scenarios that the project carries itself: a table of published figures and a seeded bridge between them."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from risk.scenarios import venues
from risk.scenarios.grid import STEP, FeedSpec, FloatArray, Scenario, UnableToLoad, generator, utc

STALE_AFTER_S = 60
CORRELATION = 0.8


@dataclass(frozen=True, slots=True)
class Table:
    """A table of published figures: where it stands, the window it covers, and that day's volatility."""

    path: Path
    month: str
    start_at: datetime
    end_at: datetime
    quote: str
    volatility_per_minute: dict[str, float]


SIMULATED = {
    "may-2021": Table(
        Path(__file__).with_name("may_2021.csv"),
        "2021-05",
        utc("2021-05-19T00:00"),
        utc("2021-05-20T20:00"),
        "USDT",
        {"BTC": 0.0030, "ETH": 0.0044, "LINK": 0.0046},
    )
}


def simulate(name: str, *, seed: int) -> Scenario:
    """Return a scenario of the project's own table, bridged and spread over synthetic venues from a seed."""
    table = SIMULATED[name]
    steps = (table.end_at - table.start_at) // STEP + 1
    feeds: list[FeedSpec] = []
    prices: list[FloatArray] = []
    coins = venues.add_simulated_coins(venues.STABLECOINS, steps, feeds, prices, seed=seed, stale_after_s=STALE_AFTER_S)
    mids = dict(coins)
    common = generator(seed, name, "common").standard_normal(steps)
    for asset, figures in figures_of(table).items():
        own = generator(seed, name, asset).standard_normal(steps)
        shocks = CORRELATION * common + np.sqrt(1.0 - CORRELATION**2) * own
        path = bridge(
            figures, steps, shocks, volatility=table.volatility_per_minute[asset] * np.sqrt(STEP.seconds / 60)
        )
        mids[asset] = path * coins[table.quote]
        more_feeds, more_prices = venues.spread(path, asset, table.quote, seed=seed, stale_after_s=STALE_AFTER_S)
        feeds += more_feeds
        prices += more_prices
    return Scenario(name, seed, table.start_at, tuple(feeds), np.vstack(prices), mids)


def figures_of(table: Table) -> dict[str, dict[int, float]]:
    """Return the published figures of a table by asset and step of the grid."""
    figures: dict[str, dict[int, float]] = {}
    for line in table.path.read_text(encoding="ascii").splitlines():
        if line.startswith("#"):
            continue
        asset, day, price = line.split(",")
        step = (utc(f"{table.month}-{day}") - table.start_at) // STEP
        figures.setdefault(asset, {})[step] = float(price)
    for asset, known in figures.items():
        if 0 not in known:
            raise UnableToLoad(f"{table.path.name}: {asset} has no figure at {table.start_at}")
    return figures


def bridge(figures: dict[int, float], steps: int, shocks: FloatArray, *, volatility: float) -> FloatArray:
    """
    Return a price path through every figure: Brownian bridges on the log price, kept within lowest and highest figure.

    Parameters
    ----------
    figures : dict of step to price
        At least the first and the last step.
    steps : int
        Length T of the path.
    shocks : float64 (T,)
        Standard normal numbers.
    volatility : float
        Standard deviation of the log price over one step.
    """
    at = np.array(sorted(figures))
    known = np.log(np.array([figures[step] for step in at]))
    walk = np.cumsum(shocks) * volatility
    grid = np.arange(steps)
    # A random walk less the line between its own values at the figures is zero there: a bridge per gap.
    path = np.interp(grid, at, known) + walk - np.interp(grid, at, walk[at])
    return np.exp(np.clip(path, known.min(), known.max()))
