"""The waterfall: first claims first, to the last digit, and nothing is made or lost."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lending.engine.waterfall import Claims, Split, allocate

CLAIMS = Claims(costs=Decimal(5), fees=Decimal(10), interest=Decimal(20), principal=Decimal(100))


@pytest.mark.parametrize(
    ("amount", "split"),
    [
        (0, (0, 0, 0, 0, 0, 135)),
        (3, (3, 0, 0, 0, 0, 132)),
        (12, (5, 7, 0, 0, 0, 123)),
        (35, (5, 10, 20, 0, 0, 100)),
        (100, (5, 10, 20, 65, 0, 35)),
        (135, (5, 10, 20, 100, 0, 0)),
        (200, (5, 10, 20, 100, 65, 0)),
    ],
)
def test_first_claims_first(amount: int, split: tuple[int, ...]) -> None:
    assert allocate(Decimal(amount), CLAIMS) == Split(*map(Decimal, split))


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity"])
def test_an_amount_that_is_none_is_refused(amount: str) -> None:
    with pytest.raises(ValueError, match="can not be negative"):
        allocate(Decimal(amount), CLAIMS)
    with pytest.raises(ValueError, match="can not be negative"):
        allocate(Decimal(1), Claims(fees=Decimal(amount)))


@pytest.mark.parametrize("amount", [5, 1.5, None, "5", True])
def test_what_is_no_decimal_is_refused_in_words(amount: object) -> None:
    with pytest.raises(TypeError, match="an amount and its claims are Decimal, not"):
        allocate(amount, CLAIMS)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an amount and its claims are Decimal, not"):
        allocate(Decimal(1), Claims(fees=amount))  # type: ignore[arg-type]


@pytest.mark.parametrize("claims", [{"principal": Decimal(1)}, [Decimal(1)], None])
def test_claims_that_are_none_are_refused_in_words(claims: object) -> None:
    with pytest.raises(TypeError, match="what is due on a loan is given as Claims, not"):
        allocate(Decimal(1), claims)  # type: ignore[arg-type]


exact = st.decimals(min_value=0, max_value=10**18, places=18)


@given(exact, exact, exact, exact, exact)
def test_nothing_is_made_or_lost(
    amount: Decimal, costs: Decimal, fees: Decimal, interest: Decimal, principal: Decimal
) -> None:
    split = allocate(amount, Claims(costs, fees, interest, principal))
    paid = sum(map(Fraction, (split.costs, split.fees, split.interest, split.principal)))
    assert paid + Fraction(split.surplus) == Fraction(amount)
    owed = sum(map(Fraction, (costs, fees, interest, principal)))
    assert owed - paid == Fraction(split.short)
    assert split.surplus == 0 or split.short == 0
