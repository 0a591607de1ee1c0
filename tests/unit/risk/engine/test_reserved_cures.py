"""The cheapest use of what is set aside for a call, worked by hand: D = 800,000, A = 1,000,000, t = 60 %."""

from decimal import Decimal
from fractions import Fraction

from risk.engine.cures import Way, cheapest_first

D = Decimal
# Cash 200,000; bitcoin at 40,000 without a haircut 333,333.34; ether at 2,000 with 20 % off 416,666.67.
WAYS = {
    "ETH": Way(D("208.33333334"), D("416666.68"), D(1000), 8),
    "USD": Way(D(200_000), D(200_000), D("50000.019"), 2),
    "BTC": Way(D("8.33333334"), D("333333.34"), D(5), 8),
}


def test_cash_is_used_first_and_then_what_counts_for_most() -> None:
    assert cheapest_first(WAYS) == ["USD", "BTC", "ETH"]
    missing, used = Fraction(1), {}
    for name in cheapest_first(WAYS):
        used[name] = WAYS[name].part(missing)
        missing -= WAYS[name].covers(used[name])
    # A quarter in cash, 60 % in bitcoin, and of ether what 15 % takes, rounded up by one in its last place at most.
    assert used["USD"] == D("50000.01")
    assert used["BTC"] == 5
    assert D("31.249") < used["ETH"] < D("31.251")
    assert used["ETH"] == used["ETH"].quantize(D("0.00000001"))
    assert Fraction(-1, 10**8) < missing <= 0


def test_no_more_is_used_than_is_missing() -> None:
    assert WAYS["BTC"].part(Fraction(1, 10)) == D("0.83333334")
    assert WAYS["BTC"].part(Fraction(0)) == 0
    assert cheapest_first({"USD": Way(D(0), D(0), D(5), 2)}) == []
