"""A fill is shared out exactly, fairly and within what each order may receive."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otc.engine.allocation import cash_shares, pro_rata

D = Decimal


@pytest.mark.parametrize(
    ("quantity", "weights", "lot", "shares"),
    [
        ("3", ["1", "2", "3"], "1", ["1", "1", "1"]),  # 0.5, 1, 1.5: the fractions tie, the earlier order is served
        ("4", ["1", "2", "3"], "1", ["1", "1", "2"]),  # 0.67, 1.33, 2: the one lot left goes to 0.67
        ("6", ["1", "2", "3"], "1", ["1", "2", "3"]),
        ("0", ["1", "2"], "1", ["0", "0"]),
        ("0.05", ["0.5", "0.5"], "0.1", ["0.05", "0"]),  # less than a lot goes to one order
        ("1.23456789", ["3"], "0.0001", ["1.23456789"]),
        ("1.5", ["1", "0.5", "1"], "0.1", ["0.6", "0.3", "0.6"]),
    ],
)
def test_worked_shares(quantity, weights, lot, shares):
    assert pro_rata(D(quantity), [D(w) for w in weights], lot=D(lot)) == [D(s) for s in shares]


@pytest.mark.parametrize(
    ("quantity", "weights", "lot"), [("2", ["1"], "1"), ("-1", ["1"], "1"), ("1", ["2", "-1"], "1"), ("1", ["1"], "0")]
)
def test_nonsense_is_refused(quantity, weights, lot):
    with pytest.raises(ValueError, match="needed"):
        pro_rata(D(quantity), [D(w) for w in weights], lot=D(lot))


amounts = st.integers(min_value=0, max_value=10**26).map(lambda units: D(units).scaleb(-18))


@given(
    weights=st.lists(amounts, min_size=1, max_size=12),
    part=st.integers(0, 10**6),
    lot=st.sampled_from(["0.0001", "0.01", "1"]),
)
def test_shares_are_exact_bounded_and_close_to_the_fraction(weights, part, lot):
    total = sum(weights)
    quantity = (total * part / 10**6).quantize(D("1e-18"))
    quantity = min(quantity, total)
    shares = pro_rata(quantity, weights, lot=D(lot))
    assert sum(shares) == quantity
    assert all(0 <= share <= weight for share, weight in zip(shares, weights, strict=True))
    if total:
        exact = [quantity * weight / total for weight in weights]
        # Below its fraction by less than a lot; above it by no more than the lots that were left to go round.
        assert all(fraction - share < D(lot) for share, fraction in zip(shares, exact, strict=True))


@given(
    units=st.integers(0, 10**12),
    quantities=st.lists(amounts.filter(lambda a: a > 0), min_size=1, max_size=12),
)
def test_cash_is_shared_to_the_cent(units, quantities):
    cash = D(units) / 100
    shares = cash_shares(cash, quantities, unit=D("0.01"))
    assert sum(shares) == cash
    for share, quantity in zip(shares, quantities, strict=True):
        assert abs(share - cash * quantity / sum(quantities)) < D("0.02")


def test_cash_needs_somebody():
    with pytest.raises(ValueError, match="shared"):
        cash_shares(D(1), [], unit=D("0.01"))
