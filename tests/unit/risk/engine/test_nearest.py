"""The distance-to-threshold index answers what the full screen answers, tick after tick, and looks at far fewer."""

from dataclasses import dataclass, field, replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from risk.engine import kernel, ladder, nearest
from risk.engine.ltv import exposure
from tests.unit.risk.engine.test_kernel import ASSETS as NAMED
from tests.unit.risk.engine.test_kernel import LADDER, books, flat, prices_of

LEVELS = (0.40, 0.60, 0.65, 0.70, 0.75, 0.80)  # a release trigger and clear_ltv among them: falling LTV fires too
ASSETS = 12
USD, USDC, BTC = 0, 1, 2
UNKNOWN = kernel.UNKNOWN_RUNG
EDGES = [Decimal(1), 1 + Decimal("1e-9"), 1 - Decimal("1e-9"), Decimal("1.05"), 1 / Decimal("1.05")]


@dataclass
class Desk:
    """A book that lives: prices move, interest accrues, marks fail, accounts change and are decided."""

    rng: np.random.Generator
    accounts: int
    now_s: float = 0.0
    out: dict[int, tuple[int, bool]] = field(default_factory=dict)  # asset: ticks left, whether it has a band

    def __post_init__(self) -> None:
        rng, count = self.rng, self.accounts
        self.price = np.exp(rng.normal(3.0, 2.0, ASSETS))
        self.price[[USD, USDC]] = 1.0
        owner = np.repeat(np.arange(count), rng.choice(6, count, p=[0.03, 0.25, 0.3, 0.25, 0.12, 0.05]))
        pledges = len(owner)
        asset, value = rng.integers(1, ASSETS, pledges), rng.lognormal(10.0, 1.5, pledges)
        weight = rng.choice([1.0, 0.9, 0.8], pledges)
        worth = np.bincount(owner, weights=value * weight, minlength=count)
        # A third are pools with a second and a third debt, some owe nothing, some next to nothing.
        debtor = np.concatenate((np.arange(count), rng.choice(count, count // 3), rng.choice(count, count // 6)))
        ltv = rng.uniform(0.3, 0.9, count)
        ltv[rng.random(count) < 0.05] = 0.0
        ltv[rng.random(count) < 0.02] = 1e-5
        owed = (ltv * worth)[debtor] / np.bincount(debtor, minlength=count)[debtor]
        debt_asset = rng.choice([USD, USDC, BTC], len(debtor), p=[0.6, 0.3, 0.1])
        self.flat = kernel.FlatBook(
            levels=np.repeat(np.array(LEVELS)[:, None], count, axis=1),
            rung=np.full(count, UNKNOWN, dtype=np.int8),
            debt_account=debtor,
            debt_asset=debt_asset,
            debt_amount=owed / self.price[debt_asset],
            debt_per_s=owed / self.price[debt_asset] * rng.choice([0.0, 3e-9, 1e-8], len(debtor)),
            pledge_account=owner,
            pledge_asset=asset,
            pledge_quantity=value / self.price[asset],
            pledge_weight=weight,
        )
        self.whole = kernel.warm(self.flat)
        self.lay_out()

    def lay_out(self) -> None:
        """Lay the whole book out anew, as it is done once enough of it has changed."""
        self.base = nearest.Nearest(kernel.warm(self.flat))
        self.late, self.late_book = np.empty(0, dtype=np.int64), None

    def change(self, account: np.ndarray) -> None:
        """Let some accounts have other pledges and debts: they stand in a small book of their own from now on."""
        scale = np.ones(self.accounts)
        scale[account] = self.rng.uniform(0.9, 1.1, len(account))
        flat = self.flat
        flat.rung[account] = UNKNOWN
        self.flat = replace(flat, pledge_quantity=flat.pledge_quantity * scale[flat.pledge_account])
        self.whole = kernel.warm(self.flat)
        self.late = np.union1d(self.late, account)
        at = np.sort(self.whole.position[self.late])
        self.late_book = kernel.part(self.whole, at)

    def move(self) -> tuple[np.ndarray, np.ndarray]:
        """Move prices and time by a tick, mostly a small one, and return the ends of each price's band."""
        rng = self.rng
        size = rng.choice([0.00015, 0.0005, 0.002, 0.01, 0.08], p=[0.7, 0.2, 0.07, 0.02, 0.01])
        self.price = self.price * np.exp(rng.normal(0.0, size, ASSETS))
        self.price[USD] = 1.0
        self.price[USDC] = np.clip(1.0 + rng.normal(0.0, 0.0001), 0.8, 1.2) if rng.random() < 0.99 else 0.88
        self.now_s += rng.choice([0.5, 2.0, 15.0, 300.0], p=[0.3, 0.6, 0.09, 0.01])
        self.out = {asset: (left - 1, band) for asset, (left, band) in self.out.items() if left}
        if rng.random() < 0.01:
            self.out[int(rng.integers(1, ASSETS))] = (int(rng.integers(1, 20)), bool(rng.random() < 0.7))
        low, high = self.price.copy(), self.price.copy()
        for asset, (_left, band) in self.out.items():
            low[asset], high[asset] = (0.0, self.price[asset] * 1.1) if band else (np.nan, np.nan)
        return low, high

    def screened(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the candidates by way of the index, those that changed from their small book."""
        found = nearest.screen(self.base, low, high, elapsed_s=self.now_s)
        found = found[~np.isin(found, self.late)]
        if self.late_book is None:
            return found
        return np.union1d(found, self.full(self.late_book, low, high))

    def full(self, book: kernel.WarmBook, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        if np.array_equal(low, high, equal_nan=True):
            return kernel.screen(book, low, elapsed_s=self.now_s)
        return kernel.screen_bounded(book, low, high, elapsed_s=self.now_s)

    def rungs(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Return the rung of every account, by arithmetic that shares nothing with the kernel."""
        flat, rungs = self.flat, []
        owed = flat.debt_amount + flat.debt_per_s * self.now_s
        for worth, due in ((low, high), (high, low)):
            value = np.zeros(self.accounts)
            np.add.at(value, flat.pledge_account, flat.pledge_quantity * flat.pledge_weight * worth[flat.pledge_asset])
            debt = np.zeros(self.accounts)
            np.add.at(debt, flat.debt_account[owed > 0], (owed * due[flat.debt_asset])[owed > 0])
            rung = (debt > np.array(LEVELS)[:, None] * value).sum(axis=0)
            rungs.append(np.where(np.isnan(value + debt) & (debt != 0.0), UNKNOWN, rung))
        return np.where(rungs[0] == rungs[1], rungs[0], UNKNOWN).astype(np.int8)

    def decide(self, account: np.ndarray, rung: np.ndarray) -> None:
        """Note what was decided, everywhere that the account stands."""
        self.flat.rung[account] = rung
        kernel.decided(self.whole, account, rung)
        nearest.decided(self.base, account, rung)
        if self.late_book is not None:
            self.late_book = kernel.part(self.whole, np.sort(self.whole.position[self.late]))


@pytest.mark.parametrize("seed", range(3))
def test_the_index_answers_what_the_full_screen_answers(seed):
    ticks, accounts = 2000, 1000
    desk = Desk(np.random.default_rng(seed), accounts)
    judged, bounded, changes, moved = [], 0, 0, 0
    for tick in range(ticks):
        if desk.rng.random() < 0.03:
            desk.change(desk.rng.choice(accounts, 5, replace=False))
            changes += 1
        if tick % 500 == 499:
            desk.lay_out()
        low, high = desk.move()
        bounded += bool(desk.out)
        found, whole = desk.screened(low, high), desk.full(desk.whole, low, high)
        assert np.array_equal(found, whole), f"tick {tick}"
        rungs = desk.rungs(low, high)
        changed = np.flatnonzero(rungs != desk.flat.rung)
        assert np.isin(changed, found).all()
        moved += len(changed)
        judged.append(desk.base.judged)
        desk.decide(found, rungs[found])
    assert bounded > ticks * 0.05
    assert changes > 20
    assert moved > accounts
    # The full screen looks at every account at every tick.
    assert np.median(judged) < accounts * 0.3
    assert np.mean(np.array(judged) < accounts) > 0.75


@settings(max_examples=100, deadline=None)
@given(books(), st.data())
def test_on_the_very_edge_of_a_level_the_index_never_under_selects(drawn, data):
    prices, positions = drawn
    rungs = [ladder.rung(exposure(position, prices), LADDER) for position in positions]
    stored = [data.draw(st.sampled_from([rung, rung, rung, UNKNOWN])) for rung in rungs]
    book = kernel.warm(flat(positions, stored))
    index = nearest.Nearest(kernel.warm(flat(positions, stored)))
    factor = st.decimals(Decimal("0.94"), Decimal("1.06"), places=9) | st.sampled_from(EDGES)
    for _ in range(3):
        low = prices_of(prices)
        found = nearest.screen(index, low, low)
        np.testing.assert_array_equal(found, kernel.screen(book, low))
        exact = [ladder.rung(exposure(position, prices), LADDER) for position in positions]
        assert {n for n, rung in enumerate(exact) if rung != stored[n]} <= set(found.tolist())
        moves = {asset: data.draw(factor) for asset in NAMED if asset != "USD"}
        prices = {asset: price * moves.get(asset, 1) for asset, price in prices.items()}


def quiet(accounts: int = 20_000) -> tuple[Desk, nearest.Nearest]:
    """Return a decided book, anchored at its prices."""
    desk = Desk(np.random.default_rng(11), accounts)
    rungs = desk.rungs(desk.price, desk.price)
    desk.decide(np.arange(accounts), rungs)
    nearest.screen(desk.base, desk.price, desk.price)
    assert desk.base.judged == accounts
    return desk, desk.base


def test_a_small_move_looks_at_few_and_time_alone_anchors_anew():
    desk, index = quiet()
    nearest.screen(index, desk.price * 1.0001, desk.price * 1.0001, elapsed_s=2.0)
    assert index.judged < 400
    nearest.screen(index, desk.price, desk.price, elapsed_s=nearest.LONGEST_S + 1.0)
    assert index.judged == 20_000


def test_a_price_that_leaves_the_band_anchors_anew():
    desk, index = quiet()
    fallen = desk.price.copy()
    fallen[5] *= 0.94
    found = nearest.screen(index, fallen, fallen)
    np.testing.assert_array_equal(found, desk.full(desk.whole, fallen, fallen))
    assert index.judged == 20_000
    desk.decide(found, desk.rungs(fallen, fallen)[found])
    for _ in range(2):
        np.testing.assert_array_equal(nearest.screen(index, fallen, fallen), desk.full(desk.whole, fallen, fallen))
    assert index.judged < 1000


def test_an_asset_that_loses_its_mark_puts_its_accounts_aside_until_it_has_one_again():
    desk, index = quiet(2000)
    low, high = desk.price.copy(), desk.price.copy()
    low[7], high[7] = 0.0, desk.price[7] * 1.1
    holders = set(desk.flat.pledge_account[desk.flat.pledge_asset == 7].tolist())
    found = nearest.screen(index, low, high)
    np.testing.assert_array_equal(found, desk.full(desk.whole, low, high))
    assert holders & set(found.tolist())
    again = nearest.screen(index, desk.price, desk.price)
    np.testing.assert_array_equal(again, desk.full(desk.whole, desk.price, desk.price))


def test_an_account_that_owes_and_holds_nothing_is_left_alone():
    """Closed loans stay in the book for good: they must not be decided at every tick."""
    empty = kernel.FlatBook(
        np.repeat(np.array(LEVELS)[:, None], 3, axis=1),
        np.zeros(3, dtype=np.int8),
        *(np.empty(0, dtype=kind) for kind in (np.int64, np.int64, float, float, np.int64, np.int64, float, float)),
    )
    index = nearest.Nearest(kernel.warm(empty))
    price = np.ones(3)
    for _ in range(2):
        assert nearest.screen(index, price, price).tolist() == []
    assert kernel.screen(index.book, price).tolist() == []
