"""Clips, collars, the throttle and the facts of best execution in worked numbers."""

from decimal import Decimal

import pytest

from otc.engine.execution import Wanted, clip_quantity, collar_price, expected_loss, share_throttle, slippage_bps

D = Decimal


@pytest.mark.parametrize(
    ("price", "mark", "bps"),
    [("99", "100", "100"), ("101", "100", "-100"), ("29985", "30000", "5"), ("1", "3", "6666.6667")],
)
def test_slippage(price, mark, bps):
    assert slippage_bps(D(price), D(mark)) == D(bps)


def test_collar():
    assert collar_price(D(40_000), D("0.05")) == D(38_000)


@pytest.mark.parametrize(
    ("rest", "mark", "limit", "lot", "clip"),
    [
        ("10", "100", "5000", "0.1", "10"),  # all of it fits
        ("10", "100", "333", "0.1", "3.3"),
        ("10", "100", "5", "0.1", "0"),  # not one lot
        ("10", "100", "0", "0.1", "0"),
        ("1.05", "100", "100", "0.1", "1.05"),  # the 0.05 left would be dust
    ],
)
def test_clips(rest, mark, limit, lot, clip):
    assert clip_quantity(D(rest), mark=D(mark), limit_usd=D(limit), lot=D(lot)) == D(clip)


def test_expected_loss_grows_with_ltv_and_is_the_shortfall_when_nothing_moves():
    losses = [expected_loss(1_000_000, ltv, 0.08, 1 / 24) for ltv in (0.7, 0.8, 0.9, 1.0, 1.1)]
    assert losses == sorted(losses)
    assert expected_loss(1_000_000, 1.1, 0, 1) == pytest.approx(100_000)
    assert expected_loss(1_000_000, 0.9, 0, 1) == 0
    # At the money a normal loses sigma / sqrt(2 pi).
    assert expected_loss(1_000_000, 1.0, 0.08, 1) == pytest.approx(80_000 / 2.5066283, rel=1e-6)


def test_the_throttle_serves_the_largest_expected_loss_first():
    claims = [
        Wanted(key=1, asset="BTC", expected_loss=10, wanted=D(500)),
        Wanted(key=2, asset="ETH", expected_loss=90, wanted=D(700)),
        Wanted(key=3, asset="BTC", expected_loss=10, wanted=D(500)),
        Wanted(key=4, asset="LINK", expected_loss=1, wanted=D(500)),
    ]
    left = {"BTC": D(600), "ETH": D(900), "LINK": D(900)}
    grants = share_throttle(claims, asset_left=left, left=D(1_500))
    assert [(g.key, g.rank, g.granted) for g in grants] == [
        (2, 1, D(700)),
        (1, 2, D(500)),
        (3, 3, D(100)),  # what BTC has left
        (4, 4, D(200)),  # what the desk has left
    ]
