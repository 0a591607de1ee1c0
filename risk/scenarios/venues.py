"""Three venues that do not exist: one price path, quoted three times with a noise of each venue's own."""

from collections.abc import Mapping
from decimal import Decimal

import numpy as np

from risk.scenarios.grid import FeedSpec, FloatArray, generator

VENUES = ("alder", "birch", "cedar")
STABLECOINS = ("USDC", "USDT")
DECIMALS = {"BTC": 2, "ETH": 2, "LINK": 4, "USDC": 5, "USDT": 5}
OTHER_DECIMALS = 6
# Standard deviation of a venue's distance from the mid, as a ratio, and how much of it is left after one step.
NOISE = {"BTC": 0.0003, "ETH": 0.0004, "LINK": 0.0008, "USDC": 0.0002, "USDT": 0.0002}
OTHER_NOISE = 0.0010
PERSISTENCE = 0.9
COIN_DEVIATION = {"USDT": 0.0008, "USDC": 0.0004}
COIN_PERSISTENCE = 0.998


def spread(
    path: FloatArray, base: str, quote: str, *, seed: int, stale_after_s: int
) -> tuple[list[FeedSpec], list[FloatArray]]:
    """Return a feed and its prices for each synthetic venue around a path; where the path is NaN nobody quotes."""
    feeds, prices = [], []
    for venue in VENUES:
        feeds.append(
            FeedSpec(
                venue,
                f"{venue.title()} (synthetic venue)",
                True,
                base,
                quote,
                Decimal(1),
                stale_after_s,
                DECIMALS.get(base, OTHER_DECIMALS),
            )
        )
        noise = wander(len(path), NOISE.get(base, OTHER_NOISE), PERSISTENCE, seed, "venue", venue, base, quote)
        prices.append(path * (1.0 + noise))
    return feeds, prices


def coin_path(coin: str, steps: int, *, seed: int) -> FloatArray:
    """Return a simulated USD price of a stablecoin that wanders closely around 1."""
    return 1.0 + wander(steps, COIN_DEVIATION[coin], COIN_PERSISTENCE, seed, "coin", coin)


def wander(steps: int, deviation: float, persistence: float, seed: int, *labels: str) -> FloatArray:
    """Return a stationary first-order autoregression with a standard deviation, at most four of them from zero."""
    shocks = generator(seed, *labels).standard_normal(steps)
    values = np.empty(steps)
    last = shocks[0]
    scale = float(np.sqrt(1.0 - persistence * persistence))
    for step, shock in enumerate(shocks):
        last = shock if step == 0 else persistence * last + scale * shock
        values[step] = last
    return np.clip(values, -4.0, 4.0) * deviation


def add_simulated_coins(
    coins: tuple[str, ...],
    steps: int,
    feeds: list[FeedSpec],
    prices: list[FloatArray],
    *,
    seed: int,
    stale_after_s: int,
) -> Mapping[str, FloatArray]:
    """Add feeds of simulated stablecoins to lists of feeds and prices, and return their paths."""
    paths = {}
    for coin in coins:
        paths[coin] = coin_path(coin, steps, seed=seed)
        more_feeds, more_prices = spread(paths[coin], coin, "USD", seed=seed, stale_after_s=stale_after_s)
        feeds += more_feeds
        prices += more_prices
    return paths
