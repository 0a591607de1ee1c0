"""The warm screen never misses an account that exact arithmetic would move, up or down, known or bounded."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.engine import kernel, ladder
from risk.engine.arrays import ShapeMismatch
from risk.engine.ladder import Ladder, MarginState
from risk.engine.ltv import (
    Band,
    Book,
    Owed,
    Pledged,
    Position,
    bounded_exposure,
    collateral_value,
    exposure,
    unusable_band,
)

LADDER = Ladder(
    Decimal("0.5"),
    Decimal("0.7"),
    Decimal("0.8"),
    Decimal("0.6"),
    Decimal("0.6"),
    Decimal("0.65"),
    (Decimal("0.65"),),
    Decimal("0.75"),
)
LEVELS = np.array([float(level) for level, _state in LADDER.rungs])
ASSETS = ("USD", "BTC", "ETH", "LINK", "USDC")


def flat(positions: list[Position], rung: list[int]) -> kernel.FlatBook:
    debts = [(n, ASSETS.index(o.asset), float(o.amount)) for n, p in enumerate(positions) for o in p.debts]
    pledges = [
        (n, ASSETS.index(h.asset), float(h.quantity), float(h.weight))
        for n, p in enumerate(positions)
        for h in p.pledges
    ]
    column = lambda rows, n, kind: np.array([row[n] for row in rows], dtype=kind)  # noqa: E731
    return kernel.FlatBook(
        levels=np.repeat(LEVELS[:, None], len(positions), axis=1),
        rung=np.array(rung, dtype=np.int8),
        debt_account=column(debts, 0, np.int64),
        debt_asset=column(debts, 1, np.int64),
        debt_amount=column(debts, 2, float),
        debt_per_s=np.zeros(len(debts)),
        pledge_account=column(pledges, 0, np.int64),
        pledge_asset=column(pledges, 1, np.int64),
        pledge_quantity=column(pledges, 2, float),
        pledge_weight=column(pledges, 3, float),
    )


def prices_of(prices: dict[str, Decimal]) -> np.ndarray:
    return np.array([float(prices[asset]) for asset in ASSETS])


quantity = st.one_of(st.just(Decimal(0)), st.decimals(Decimal("1e-8"), Decimal(1000), places=18))
weight = st.sampled_from([Decimal(1), Decimal("0.9"), Decimal("0.85"), Decimal("0.5")])
pledged = st.lists(st.builds(Pledged, st.sampled_from(["BTC", "ETH", "LINK"]), quantity, weight), max_size=4)
ltvs = st.one_of(
    st.decimals(Decimal("0.2"), Decimal("1.2"), places=6),
    st.sampled_from([level for level, _state in LADDER.rungs]),
    st.sampled_from([level for level, _state in LADDER.rungs]).map(lambda level: level + Decimal("1e-17")),
)
price = st.decimals(Decimal("0.01"), Decimal(60000), places=12)


@st.composite
def books(draw):
    """Draw prices and accounts whose LTV lies on, by a hair above, or anywhere around the levels."""
    prices = {
        "USD": Decimal(1),
        "BTC": draw(price),
        "ETH": draw(price),
        "LINK": draw(price),
        "USDC": draw(st.sampled_from([Decimal(1), Decimal("0.88")])),
    }
    positions = []
    for _ in range(draw(st.integers(1, 12))):
        pledges = tuple(draw(pledged))
        value = exposure(Position(pledges), prices).weighted
        debt = (draw(ltvs) * value).quantize(Decimal("1e-18"))
        owed = (Owed("USD", debt),) if draw(st.booleans()) else (Owed("USD", debt / 2), Owed("USDC", debt / 2))
        positions.append(Position(pledges, owed))
    return prices, positions


@settings(max_examples=200)
@given(books(), st.data())
def test_the_screen_never_under_selects(drawn, data):
    prices, positions = drawn
    exact = [ladder.rung(exposure(position, prices), LADDER) for position in positions]
    stored = [data.draw(st.sampled_from([rung, rung, 0, 1, 2, 3, 4, -1])) for rung in exact]
    candidates = set(kernel.screen(kernel.warm(flat(positions, stored)), prices_of(prices)).tolist())
    moved = {n for n, (now, then) in enumerate(zip(exact, stored, strict=True)) if now != then}
    assert moved <= candidates


@settings(max_examples=200)
@given(books(), st.data(), st.sampled_from(["BTC", "ETH", "USDC"]), st.booleans())
def test_the_bounded_screen_never_under_selects(drawn, data, out, ever_good):
    prices, positions = drawn
    bands = {asset: Band(value, value) for asset, value in prices.items()}
    bands[out] = unusable_band(prices[out] if ever_good else None, Decimal("0.1"))
    exact = [_bounded_rung(position, bands) for position in positions]
    stored = [data.draw(st.sampled_from([rung, rung, 0, 1, 2, 3, 4, -1])) for rung in exact]
    low = np.array([float(bands[asset].low) for asset in ASSETS])
    high = np.array([float(bands[asset].high) for asset in ASSETS])
    candidates = set(kernel.screen_bounded(kernel.warm(flat(positions, stored)), low, high).tolist())
    assert {n for n, (now, then) in enumerate(zip(exact, stored, strict=True)) if now != then} <= candidates


def _bounded_rung(position: Position, bands: dict[str, Band]) -> int:
    worst, best = (ladder.rung(end, LADDER) for end in bounded_exposure(position, bands))
    return worst if worst == best else kernel.UNKNOWN_RUNG


def random_book(accounts: int, seed: int) -> tuple[kernel.FlatBook, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    count = rng.integers(0, 5, accounts)
    owner = np.repeat(np.arange(accounts), count)
    pledges = len(owner)
    book = kernel.FlatBook(
        levels=np.repeat(LEVELS[:, None], accounts, axis=1),
        rung=np.zeros(accounts, np.int8),
        debt_account=np.arange(accounts),
        debt_asset=np.zeros(accounts, np.int64),
        debt_amount=rng.random(accounts) * 50000,
        debt_per_s=rng.random(accounts) * 0.001,
        pledge_account=owner,
        pledge_asset=rng.integers(1, 9, pledges),
        pledge_quantity=rng.random(pledges) * 100,
        pledge_weight=rng.random(pledges) * 0.5 + 0.5,
    )
    return book, rng.random(9) * 900 + 1, rng.permutation(pledges)


def test_the_warm_layout_values_accounts_like_the_plain_book():
    book, price, _shuffle = random_book(20_000, 5)
    warm = kernel.warm(book)
    plain = Book(book.debt_amount, book.pledge_quantity, book.pledge_account, book.pledge_asset, book.pledge_weight)
    np.testing.assert_allclose(kernel.collateral(warm, price), collateral_value(plain, price)[warm.order], rtol=1e-13)
    owed = (book.debt_amount + 3600 * book.debt_per_s) * price[0]
    np.testing.assert_allclose(kernel.debt(warm, price, elapsed_s=3600.0), owed[warm.order], rtol=1e-13)


def test_the_order_of_pledges_does_not_matter():
    book, price, shuffle = random_book(2_000, 6)
    shuffled = kernel.FlatBook(
        book.levels,
        book.rung,
        book.debt_account,
        book.debt_asset,
        book.debt_amount,
        book.debt_per_s,
        *(getattr(book, f"pledge_{name}")[shuffle] for name in ("account", "asset", "quantity", "weight")),
    )
    np.testing.assert_array_equal(kernel.screen(kernel.warm(book), price), kernel.screen(kernel.warm(shuffled), price))


def test_a_decided_account_is_left_alone_until_it_moves():
    book, price, _shuffle = random_book(5_000, 7)
    warm = kernel.warm(book)
    first = kernel.screen(warm, price)
    assert 0 < len(first) < 5_000
    rungs = np.empty(5_000, np.int8)
    rungs[warm.order] = kernel.rungs(warm, kernel.collateral(warm, price), kernel.debt(warm, price))
    kernel.decided(warm, first, rungs[first])
    again = kernel.screen(warm, price)
    assert set(again) <= {n for n in first if not len(book.pledge_account[book.pledge_account == n])}
    fallen = price * 0.8
    fallen[0] = price[0]
    moved = np.empty(5_000, np.int8)
    moved[warm.order] = kernel.rungs(warm, kernel.collateral(warm, fallen), kernel.debt(warm, fallen))
    assert set(np.flatnonzero(moved != rungs)) <= set(kernel.screen(warm, fallen))


def test_interest_alone_can_move_an_account():
    position = Position((Pledged("BTC", Decimal(1)),), (Owed("USD", Decimal("0.65") * 10000 - 2),))
    book = flat([position], [0])
    book.debt_per_s[:] = 0.01
    price = np.array([1.0, 10000.0, 1.0, 1.0, 1.0])
    assert kernel.screen(kernel.warm(book), price).tolist() == []
    assert kernel.screen(kernel.warm(book), price, elapsed_s=200.0).tolist() == [0]


def test_an_account_with_an_unusable_mark_is_always_a_candidate():
    positions = [
        Position((Pledged("BTC", Decimal(1)),), (Owed("USD", Decimal(1)),)),
        Position((Pledged("ETH", Decimal(1)),), (Owed("USD", Decimal(1)),)),
    ]
    price = np.array([1.0, np.nan, 1000.0, 1.0, 1.0])
    assert kernel.screen(kernel.warm(flat(positions, [0, 0])), price).tolist() == [0]


def test_a_bounded_account_is_unknown_once_and_then_left_alone():
    position = Position((Pledged("BTC", Decimal(1)),), (Owed("USD", Decimal(100)),))
    bands = {asset: Band(Decimal(1), Decimal(1)) for asset in ASSETS} | {
        "BTC": unusable_band(Decimal(1000), Decimal("0.1"))
    }
    low = np.array([float(bands[asset].low) for asset in ASSETS])
    high = np.array([float(bands[asset].high) for asset in ASSETS])
    assert ladder.bounded_state(*bounded_exposure(position, bands), LADDER) is MarginState.UNKNOWN
    assert kernel.screen_bounded(kernel.warm(flat([position], [0])), low, high).tolist() == [0]
    assert kernel.screen_bounded(kernel.warm(flat([position], [-1])), low, high).tolist() == []


def test_arrays_that_do_not_fit_are_refused():
    good = flat([Position((Pledged("BTC", Decimal(1)),), (Owed("USD", Decimal(1)),))], [0])
    with pytest.raises(ShapeMismatch):
        kernel.FlatBook(**{**good.__dict__, "pledge_account": np.array([1])})
    with pytest.raises(ShapeMismatch):
        kernel.FlatBook(**{**good.__dict__, "debt_amount": np.array([1.0, 2.0])})
    with pytest.raises(ShapeMismatch):
        kernel.FlatBook(**{**good.__dict__, "levels": LEVELS})
