"""The explain in worked numbers: totals from balances, lines from postings, and nothing can be plugged."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otc.engine.pnl import EARNED, Flow, Position, UnableToExplain, explain

D = Decimal
LOCAL = frozenset({"USD", "USDC"})


def usd(before, after):
    return Position("USD", D(before), D(after))


def test_interest_fees_and_a_credit_loss_in_cash():
    flows = [
        Flow("USD", 1, "interest", D(-100), D(-50), D(-50)),
        Flow("USD", 1, "liquidation_fee", D(0), D(-7), D(-7)),
        Flow("USD", 2, "credit_loss", D(0), D(20), D(20)),
    ]
    result = explain([usd(100, 137)], flows, start={"USD": D(1)}, end={"USD": D(1)}, local=LOCAL)
    assert result.total == 37
    assert {line: amount for line, amount in result.lines.items() if amount} == {
        "interest": 50,
        "liquidation_fee": 7,
        "credit_loss": -20,
    }
    assert result.residual == 0
    assert str(result.residual) == "0.00"
    assert result.by_client[1]["interest"] == 50
    assert result.by_client[2]["credit_loss"] == -20


def test_interest_earned_in_usdc_moves_with_its_mark():
    # 100 earned yesterday, 10 today at 0.99; USDC falls from 1.00 to 0.90.
    flows = [Flow("USDC", 1, "interest", D(-100), D(-10), D("-9.9"))]
    result = explain(
        [Position("USDC", D(100), D(110))], flows, start={"USDC": D(1)}, end={"USDC": D("0.9")}, local=LOCAL
    )
    assert result.total == D(-1)
    assert result.lines["interest"] == D("9.9")
    assert result.lines["fx"] == D("-10.9")
    assert result.residual == 0


def test_capital_is_no_profit_but_what_it_buys_moves():
    flows = [
        Flow("USD", None, "capital", D(0), D(-1000), D(-1000)),
        Flow("BTC", None, "trade", D(0), D("0.01"), D(400)),
        Flow("USD", None, "trade", D(0), D(-398), D(-398)),
    ]
    positions = [usd(0, 1398), Position("BTC", D(0), D("-0.01"))]
    result = explain(
        positions, flows, start={"USD": D(1), "BTC": D(40_000)}, end={"USD": D(1), "BTC": D(41_000)}, local=LOCAL
    )
    assert result.lines["trade"] == -2
    assert result.lines["inventory"] == -10
    assert result.total == -12
    assert result.residual == 0


def test_a_category_that_no_line_knows_is_left_unexplained():
    flows = [
        Flow("USD", 1, "interest", D(0), D(-50), D(-50)),
        Flow("USD", 1, "mystery", D(0), D("-0.001"), D("-0.001")),
    ]
    result = explain([usd(0, "50.001")], flows, start={"USD": D(1)}, end={"USD": D(1)}, local=LOCAL)
    assert result.unexplained == D("0.001")
    assert result.residual == D("0.01")


def test_an_unbalanced_ledger_is_left_unexplained():
    result = explain([usd(0, 5)], [], start={"USD": D(1)}, end={"USD": D(1)}, local=LOCAL)
    assert result.residual == 5


def test_what_was_never_marked_can_not_be_explained():
    with pytest.raises(UnableToExplain, match="LINK"):
        explain([Position("LINK", D(1), D(1))], [], start={}, end={}, local=LOCAL)


amounts = st.decimals("-1e9", "1e9", places=18)
marks = st.decimals("0.0001", "1e5", places=18)


@given(flows=st.lists(st.tuples(st.sampled_from(EARNED), amounts, amounts, marks), max_size=8), start=marks, end=marks)
def test_whatever_is_classified_is_explained_to_the_last_digit(flows, start, end):
    made = [
        Flow("ETH", n, category.value, before, during, D(0) if not during else _times(during, price))
        for n, (category, before, during, price) in enumerate(flows)
    ]
    before, during = sum((-f.before for f in made), D(0)), sum((-f.during for f in made), D(0))
    position = Position("ETH", before, before + during)
    result = explain([position], made, start={"ETH": start}, end={"ETH": end}, local=LOCAL)
    assert result.unexplained == 0


def _times(a, b):
    from decimal import Context

    return Context(prec=120).multiply(a, b)
