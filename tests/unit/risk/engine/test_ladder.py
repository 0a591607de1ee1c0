"""The ladder: states, bounded states, validation and the clocks of calls."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from risk.engine import ladder as ladders
from risk.engine.ladder import Ladder, MarginState, UnableToOrderLadder
from risk.engine.ltv import Exposure, Owed, Pledged, Position, exposure

LADDER = Ladder(
    initial_ltv=Decimal("0.50"),
    warning_ltv=(Decimal("0.65"),),
    margin_call_ltv=Decimal("0.70"),
    accelerated_ltv=Decimal("0.75"),
    liquidation_ltv=Decimal("0.80"),
    cure_to=Decimal("0.60"),
    liquidate_to=Decimal("0.60"),
    clear_ltv=Decimal("0.65"),
    release_trigger=Decimal("0.40"),
    release_to=Decimal("0.50"),
)
NOW = datetime(2021, 5, 19, 13, 10, tzinfo=UTC)


def at(ltv: str) -> Exposure:
    return Exposure(Decimal(ltv), Decimal(1), Decimal(1))


@pytest.mark.parametrize(
    ("ltv", "state"),
    [
        ("0", MarginState.HEALTHY),
        ("0.65", MarginState.HEALTHY),
        ("0.650000000000000001", MarginState.WARNING),
        ("0.70", MarginState.WARNING),
        ("0.7000001", MarginState.CALL),
        ("0.76", MarginState.ACCELERATED),
        ("0.81", MarginState.LIQUIDATE),
        ("9", MarginState.LIQUIDATE),
    ],
)
def test_state_of_an_ltv(ltv, state):
    assert ladders.state_of(at(ltv), LADDER) is state


def test_no_debt_is_healthy_and_debt_without_collateral_liquidates():
    assert ladders.state_of(Exposure(Decimal(0), Decimal(0), Decimal(0)), LADDER) is MarginState.HEALTHY
    assert ladders.state_of(Exposure(Decimal("0.01"), Decimal(0), Decimal(0)), LADDER) is MarginState.LIQUIDATE


def test_a_bounded_state_stands_only_if_both_ends_agree():
    assert ladders.bounded_state(at("0.85"), at("0.81"), LADDER) is MarginState.LIQUIDATE
    assert ladders.bounded_state(at("0.85"), at("0.79"), LADDER) is MarginState.UNKNOWN
    assert ladders.bounded_state(at("0.6"), at("0.1"), LADDER) is MarginState.HEALTHY


def test_severity_orders_states_and_unknown_has_no_place():
    assert [state.severity for state in MarginState] == [0, 1, 2, 3, 4, -1]
    assert [state.breached for state in MarginState] == [False, False, True, True, True, False]


def test_watch_levels_are_the_ends_of_the_rung():
    assert ladders.watch_levels(0, LADDER) == (0.0, 0.65)
    assert ladders.watch_levels(2, LADDER) == (0.70, 0.75)
    assert ladders.watch_levels(4, LADDER) == (0.80, float("inf"))


PRESETS = {
    "unchained": ("0.50", ("0.571", "0.625"), "0.667", "0.741", "0.909", "0.606", "0.50", None, None),
    "prime": ("0.752", (), "0.870", None, "0.952", "0.752", "0.752", "0.606", "0.752"),
    "retail": ("0.50", ("0.65",), "0.70", None, "0.80", "0.60", "0.60", None, None),
}


@pytest.mark.parametrize("name", PRESETS)
def test_presets_can_be_signed(name):
    initial, warnings, call, accelerated, liquidation, cure, liquidate, trigger, release = PRESETS[name]
    ladders.validate(
        Ladder(
            Decimal(initial),
            Decimal(call),
            Decimal(liquidation),
            Decimal(cure),
            Decimal(liquidate),
            Decimal(cure),
            tuple(map(Decimal, warnings)),
            accelerated and Decimal(accelerated),
            trigger and Decimal(trigger),
            release and Decimal(release),
        ),
        sale_cost=Decimal("0.03"),
    )


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"initial_ltv": Decimal("0.65")}, "warning_ltv"),
        ({"warning_ltv": (Decimal("0.71"),)}, "margin_call_ltv"),
        ({"accelerated_ltv": Decimal("0.70")}, "accelerated_ltv"),
        ({"liquidation_ltv": Decimal("0.75")}, "liquidation_ltv"),
        ({"liquidation_ltv": Decimal("0.98")}, "sale cost"),
        ({"cure_to": Decimal("0.70")}, "cure_to"),
        ({"liquidate_to": Decimal("0.71")}, "liquidate_to"),
        ({"clear_ltv": Decimal("0.70")}, "clear_ltv"),
        ({"release_to": Decimal("0.51")}, "release_to"),
        ({"release_trigger": Decimal("0.50")}, "release_trigger"),
        ({"release_to": None}, "come together"),
        ({"initial_ltv": Decimal(0)}, "initial_ltv"),
    ],
)
def test_a_ladder_out_of_order_is_refused_by_name(change, names):
    ladders.validate(LADDER, sale_cost=Decimal("0.03"))
    with pytest.raises(UnableToOrderLadder, match=names):
        ladders.validate(replace(LADDER, **change), sale_cost=Decimal("0.03"))


def test_market_clears_a_call_only_after_its_hold():
    since = NOW - timedelta(minutes=10)
    assert ladders.clears_by_market(below_since=since, now=NOW, hold_s=600)
    assert not ladders.clears_by_market(below_since=since, now=NOW, hold_s=601)
    assert not ladders.clears_by_market(below_since=None, now=NOW, hold_s=0)


def test_a_breach_inside_the_window_reopens_the_episode():
    closed = NOW - timedelta(hours=24)
    assert not ladders.reopens(closed_at=closed, now=NOW, window_s=86400)
    assert ladders.reopens(closed_at=closed, now=NOW - timedelta(seconds=1), window_s=86400)
    assert not ladders.reopens(closed_at=None, now=NOW, window_s=86400)
    assert ladders.remaining_s(due_at=NOW, closed_at=closed) == 86400
    assert ladders.remaining_s(due_at=closed, closed_at=NOW) == 0


def test_a_higher_level_shortens_a_deadline_and_never_lengthens_it():
    due = NOW + timedelta(hours=24)
    assert ladders.stepped_deadline(original_due_at=due, period_s=4 * 3600, now=NOW) == NOW + timedelta(hours=4)
    assert ladders.stepped_deadline(original_due_at=due, period_s=48 * 3600, now=NOW) == due
    assert ladders.stepped_deadline(original_due_at=due, period_s=None, now=NOW) == due


def test_a_breach_must_hold_for_evaluations_and_seconds():
    since = NOW - timedelta(seconds=10)
    assert ladders.breach_held(evaluations=3, since=since, now=NOW)
    assert not ladders.breach_held(evaluations=2, since=since, now=NOW)
    assert not ladders.breach_held(evaluations=9, since=since + timedelta(seconds=1), now=NOW)


def test_past_the_gap_limit():
    assert not ladders.past_gap_limit(at("0.83"), LADDER)
    assert ladders.past_gap_limit(at("0.8300001"), LADDER)


price = st.decimals(Decimal("0.01"), Decimal(100000), places=8)


@given(st.lists(st.tuples(price, price), min_size=1, max_size=4), price, price, st.integers(0, 3), price)
def test_a_dearer_collateral_or_a_cheaper_debt_never_worsens_the_state(pledges, debt, debt_price, which, rise):
    prices = {f"C{n}": value for n, (_q, value) in enumerate(pledges)} | {"D": debt_price}
    position = Position(
        tuple(Pledged(f"C{n}", quantity, Decimal("0.9")) for n, (quantity, _v) in enumerate(pledges)),
        (Owed("D", debt),),
    )
    before = ladders.state_of(exposure(position, prices), LADDER).severity
    dearer = f"C{which % len(pledges)}"
    up = ladders.state_of(exposure(position, prices | {dearer: prices[dearer] + rise}), LADDER).severity
    cheaper = prices | {"D": max(debt_price - rise, Decimal("0.00000001"))}
    assert up <= before
    assert ladders.state_of(exposure(position, cheaper), LADDER).severity <= before
