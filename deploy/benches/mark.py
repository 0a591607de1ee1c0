"""The full mark of a book against a copy of the bytes that it reads."""

from collections.abc import Iterator
from itertools import cycle

import numpy as np

from deploy.benches.compare import Result, alternate, machine
from risk.engine import kernel
from risk.engine.arrays import FloatArray

ASSETS = 200
PLEDGES_OF_AN_ACCOUNT = {1: 0.25, 2: 0.30, 3: 0.25, 4: 0.12, 5: 0.08}  # 2.48 on average
LEVELS = (0.65, 0.70, 0.75, 0.80)


def run(*, loans: int = 1_000_000, rounds: int = 21, seed: int = 7) -> list[Result]:
    """
    Compare a full mark with np.copy of the same bytes.

    The mark values the collateral and the debt of every account at new prices and finds those that may have left
    their rung, as the marking worker does; each round has prices of its own.
    """
    book, prices = synthetic(loans, seed=seed)
    data = np.ones(book.nbytes // 8)
    a_s, b_s = alternate(lambda: kernel.screen(book, next(prices)), lambda: np.copy(data), rounds=rounds)
    return [
        Result(
            bench="mark",
            loans=loans,
            rounds=rounds,
            a=f"full mark, {sum(group.quantity.size for group in book.groups)} positions, {ASSETS} assets",
            b=f"np.copy of {book.nbytes} bytes",
            a_s=a_s,
            b_s=b_s,
            ratio=a_s / b_s,
            target="<= 8",
            machine=machine(),
        )
    ]


def synthetic(loans: int, *, seed: int) -> tuple[kernel.WarmBook, Iterator[FloatArray]]:
    """Return a warm book whose accounts are decided, and an endless run of prices a few basis points around it."""
    rng = np.random.default_rng(seed)
    price = np.exp(rng.normal(3.0, 2.0, ASSETS + 1))
    price[0] = 1.0  # the debt asset
    sizes, shares = list(PLEDGES_OF_AN_ACCOUNT), list(PLEDGES_OF_AN_ACCOUNT.values())
    owner = np.repeat(np.arange(loans), rng.choice(sizes, size=loans, p=shares))
    asset = rng.integers(1, ASSETS + 1, len(owner))
    value = rng.lognormal(11.0, 1.0, len(owner))
    weight = rng.choice([1.0, 0.9, 0.8], len(owner))
    collateral = np.bincount(owner, weights=value * weight, minlength=loans)
    ltv = rng.triangular(0.2, 0.5, 0.85, loans)
    flat = kernel.FlatBook(
        levels=np.repeat(np.array(LEVELS)[:, None], loans, axis=1),
        rung=np.searchsorted(LEVELS, ltv).astype(np.int8),
        debt_account=np.arange(loans),
        debt_asset=np.zeros(loans, np.int64),
        debt_amount=ltv * collateral,
        debt_per_s=np.zeros(loans),
        pledge_account=owner,
        pledge_asset=asset,
        pledge_quantity=value / price[asset],
        pledge_weight=weight,
    )
    moves = np.exp(rng.normal(0.0, 0.00015, (16, ASSETS + 1)))
    moves[:, 0] = 1.0
    return kernel.warm(flat), cycle(price * moves)
