"""A simulated dealer answers as a function of seed, id and market, and shows every bad habit of a real one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from otc.engine import dealer as core

D = Decimal
AT = datetime(2021, 5, 19, 13, 10, tzinfo=UTC)
CALM = core.Market(D(40_000), D(40_000), D(40_000), D("0.05"), D(8_000_000_000))
CRASH = replace(CALM, mid=D(30_000), mid_1m=D(31_000))
HARBOUR = core.CHARACTERS["harbour"]
TAME = replace(
    HARBOUR,
    partial_chance=D(0),
    lost_answer_chance=D(0),
    stale_chance=D(0),
    crossed_chance=D(0),
)


def bid(character=TAME, seed=7, order="a", quantity="1", market=CALM):
    return core.offer(character, seed, order, D(quantity), market, at=AT)


def test_the_same_question_gets_the_same_answer_and_another_id_another():
    assert bid() == bid()
    assert bid() != bid(order="b")
    assert bid() != bid(seed=8)


def test_bids_stand_below_the_mid_and_fall_with_the_root_of_size():
    prices = [bid(quantity=q).price for q in ("1", "100", "400", "900")]
    assert prices[0] < CALM.mid
    assert prices == sorted(prices, reverse=True)
    impact = [
        TAME.impact_y * CALM.daily_volatility * (D(q) * CALM.mid / CALM.daily_volume_usd).sqrt() for q in (100, 400)
    ]
    assert impact[1] == 2 * impact[0]
    assert abs((prices[1] - prices[2]) / CALM.mid - (impact[1] - impact[0])) < D("0.000001")


def test_spreads_widen_and_bids_go_missing_in_a_crash():
    answers = [bid(order=str(n), market=CRASH) for n in range(200)]
    refused = [answer for answer in answers if isinstance(answer, str)]
    assert 90 < len(refused) < 150
    assert not any(isinstance(bid(order=str(n)), str) for n in range(200))
    cost = min(1 - answer.price / CRASH.mid for answer in answers if isinstance(answer, core.Offer))
    assert cost > 3 * (1 - bid().price / CALM.mid)


def test_a_stale_quote_rests_on_an_old_price_and_a_crossed_one_stands_above_the_market():
    falling = replace(CALM, mid_1m=D(40_800))
    assert bid(replace(TAME, stale_chance=D(1)), market=falling).price > falling.mid
    assert bid(replace(TAME, crossed_chance=D(1))).price > CALM.mid


def test_last_look_rejects_only_a_fall():
    assert core.last_look(TAME, D(40_000), D(39_980), replace(CALM, mid=D(39_000)))
    assert core.last_look(TAME, D(40_000), D(39_980), replace(CALM, mid=D(41_000))) is None
    assert core.last_look(TAME, D(40_000), D(39_980), replace(CALM, mid=D(39_900))) is None


def test_last_look_saves_a_dealer_from_its_own_stale_bid():
    assert core.last_look(TAME, D(40_000), D(40_700), CALM)


def test_parts_are_whole_lots_and_never_more_than_was_accepted():
    partial = replace(HARBOUR, partial_chance=D(1))
    counts = set()
    for n in range(100):
        fills = core.executions(partial, 7, str(n), core.Offer(D(1), D("1.2345"), AT), lot=D("0.1"), at=AT)
        counts.add((len(fills), sum(fill.quantity for fill in fills) == D("1.2345")))
        assert sum(fill.quantity for fill in fills) <= D("1.2345")
        assert fills[0].quantity % D("0.1") == 0
        assert fills[-1].executed_at <= AT + timedelta(seconds=5)
    assert counts == {(1, False), (2, True)}


def test_chances_are_met_over_many_orders():
    lost = sum(core.answer_is_lost(core.CHARACTERS["northgate"], 7, str(n)) for n in range(5_000))
    assert 150 < lost < 250
