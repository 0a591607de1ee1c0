"""The player emits each round once and in order, resumes where it stood, and jumps when far behind."""

from datetime import timedelta

import pytest

from risk import scenarios
from risk.scenarios.playing import MOST_ROUNDS_BEHIND, Player

STEP = timedelta(seconds=15)


@pytest.fixture(scope="module")
def scenario():
    return scenarios.load("may-2021", seed=7)


def instants(rounds):
    return [each.at for each in rounds]


def test_each_round_comes_once_and_stamped_with_its_instant(scenario):
    player, start = Player(scenario, last_at=None), scenario.start_at
    assert instants(player.due(start + timedelta(seconds=7))) == [start]
    assert player.due(start + timedelta(seconds=14)) == []
    rounds = player.due(start + 3 * STEP)
    assert instants(rounds) == [start + STEP, start + 2 * STEP, start + 3 * STEP]
    assert {tick.at for tick in rounds[-1].ticks} == {start + 3 * STEP}
    assert player.next_at(start + 3 * STEP) == start + 4 * STEP


def test_nothing_happens_before_the_scenario(scenario):
    assert Player(scenario, last_at=None).due(scenario.start_at - STEP) == []


def test_after_a_kill_it_goes_on_with_the_round_after_the_last_recorded_one(scenario):
    stood = scenario.start_at + 10 * STEP
    assert instants(Player(scenario, last_at=stood).due(stood + 2 * STEP)) == [stood + STEP, stood + 2 * STEP]
    assert Player(scenario, last_at=stood).due(stood) == []


def test_far_behind_it_jumps_to_the_current_round_and_counts_what_it_skipped(scenario):
    stood = scenario.start_at
    player = Player(scenario, last_at=stood)
    behind = stood + (MOST_ROUNDS_BEHIND + 2) * STEP
    assert instants(player.due(behind)) == [behind]
    assert player.skipped == MOST_ROUNDS_BEHIND + 1
    close = Player(scenario, last_at=stood)
    assert len(close.due(stood + (MOST_ROUNDS_BEHIND + 1) * STEP)) == MOST_ROUNDS_BEHIND + 1
    assert close.skipped == 0


def test_ticks_from_before_the_scenario_do_not_hold_it_up(scenario):
    player = Player(scenario, last_at=scenario.start_at - timedelta(hours=2))
    assert instants(player.due(scenario.start_at + STEP)) == [scenario.start_at, scenario.start_at + STEP]


def test_after_the_end_the_last_prices_are_repeated(scenario):
    later = scenario.end_at + 4 * STEP
    (last,) = Player(scenario, last_at=later - STEP).due(later)
    assert last.at == later
    assert [tick.price for tick in last.ticks] == [tick.price for tick in scenario.ticks(scenario.end_at)]


def test_what_somebody_else_has_played_is_left_out(scenario):
    player, start = Player(scenario, last_at=scenario.start_at), scenario.start_at
    player.heard(start + 8 * STEP)
    assert instants(player.due(start + 9 * STEP)) == [start + 9 * STEP]
    assert player.skipped == 0


def test_an_older_tick_does_not_have_rounds_played_again(scenario):
    player, start = Player(scenario, last_at=scenario.start_at + 8 * STEP), scenario.start_at
    player.heard(None)
    player.heard(start)
    assert player.due(start + 8 * STEP) == []
