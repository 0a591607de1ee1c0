"""I18: a better price never worsens the margin state, on exact decisions with and without usable marks."""

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from risk.engine.ladder import Ladder, MarginState
from risk.engine.ltv import Owed, Pledged, Position
from risk.engine.marks import AssetMark, Marks
from risk.engine.quality import Quality
from risk.exposures import judge

AT = datetime(2021, 5, 19, 12, tzinfo=UTC)
LADDER = Ladder(
    initial_ltv=Decimal("0.50"),
    warning_ltv=(Decimal("0.65"),),
    margin_call_ltv=Decimal("0.70"),
    accelerated_ltv=Decimal("0.75"),
    liquidation_ltv=Decimal("0.80"),
    cure_to=Decimal("0.60"),
    liquidate_to=Decimal("0.60"),
    clear_ltv=Decimal("0.65"),
)
cents = st.decimals(min_value=Decimal("0.01"), max_value=Decimal(100_000), places=2)
units = st.decimals(min_value=0, max_value=1000, places=8)


def mark(price: Decimal, quality: Quality) -> AssetMark:
    usable = price if quality.usable else None
    return AssetMark("", usable, quality, AT, Decimal("0.1"), price, AT, 5, None, None, None)


def state(quantity: dict[str, Decimal], debt: Decimal, price: dict[str, Decimal], quality: Quality) -> MarginState:
    pledged = tuple(Pledged(code, amount, Decimal("0.9")) for code, amount in quantity.items())
    facts = SimpleNamespace(position=Position(pledged, (Owed("USDC", debt),)), ladder=LADDER)
    of = {code: mark(value, Quality.GOOD) for code, value in price.items()} | {"LINK": mark(price["LINK"], quality)}
    return MarginState(judge(facts, Marks(AT, of)).state.value)


@given(
    quantity=st.fixed_dictionaries({"BTC": units, "LINK": units}),
    debt=cents,
    price=st.fixed_dictionaries({"BTC": cents, "LINK": cents, "USDC": st.just(Decimal(1))}),
    better=st.sampled_from(["BTC", "LINK", "USDC"]),
    factor=st.decimals(min_value=1, max_value=3, places=4),
    quality=st.sampled_from([Quality.GOOD, Quality.DEGRADED]),
)
def test_a_better_price_never_worsens_the_state(quantity, debt, price, better, factor, quality):
    before = state(quantity, debt, price, quality)
    moved = price[better] / factor if better == "USDC" else price[better] * factor
    after = state(quantity, debt, price | {better: moved.quantize(Decimal("1e-12"))}, quality)
    assert after.severity <= before.severity


@given(
    quantity=st.fixed_dictionaries({"BTC": units, "LINK": units}),
    debt=cents,
    price=st.fixed_dictionaries({"BTC": cents, "LINK": cents, "USDC": st.just(Decimal(1))}),
    true_price=st.decimals(min_value=0, max_value=Decimal("1.1"), places=4),
)
def test_bounds_never_contradict_what_the_hidden_price_would_have_said(quantity, debt, price, true_price):
    bounded = state(quantity, debt, price, Quality.STALE)
    hidden = price["LINK"] * true_price
    told = state(quantity, debt, price | {"LINK": max(hidden, Decimal("1e-12"))}, Quality.GOOD)
    assert bounded in (MarginState.UNKNOWN, told)
