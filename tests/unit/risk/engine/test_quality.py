"""What a quality allows, and the bookkeeping of outages and grace."""

from datetime import UTC, datetime, timedelta

import pytest

from risk.engine.quality import Continuity, OutagePolicy, Quality, worst

START = datetime(2021, 5, 19, 13, 0, tzinfo=UTC)
POLICY = OutagePolicy()


def walk(*steps: tuple[int, Quality]) -> Continuity:
    state = Continuity()
    for second, quality in steps:
        state = state.after(quality, at=START + timedelta(seconds=second), policy=POLICY)
    return state


@pytest.mark.parametrize(
    ("quality", "may_call", "may_clear", "may_sell", "may_release"),
    [
        (Quality.GOOD, True, True, True, True),
        (Quality.DEGRADED, True, False, False, False),
        (Quality.STALE, False, False, False, False),
        (Quality.HALTED, False, False, False, False),
    ],
)
def test_the_table_of_what_a_quality_allows(quality, may_call, may_clear, may_sell, may_release):
    assert (quality.may_call, quality.may_clear, quality.may_sell, quality.may_release) == (
        may_call,
        may_clear,
        may_sell,
        may_release,
    )


def test_worst_takes_the_least_trustworthy():
    assert worst(Quality.GOOD, Quality.STALE, Quality.DEGRADED) is Quality.STALE
    assert worst() is Quality.GOOD


def test_sixty_seconds_without_a_good_mark_are_no_outage_and_sixty_one_are():
    assert walk((0, Quality.GOOD), (60, Quality.DEGRADED)).outage_since is None
    assert walk((0, Quality.GOOD), (61, Quality.DEGRADED)).outage_since == START


def test_an_outage_in_which_nothing_was_published_counts_too():
    state = walk((0, Quality.GOOD), (1200, Quality.GOOD))
    assert (state.outage_since, state.good_streak) == (None, 1)
    assert state.grace_until == START + timedelta(seconds=1800)


def good(start: int, stop: int, step: int = 60) -> list[tuple[int, Quality]]:
    return [(second, Quality.GOOD) for second in range(start, stop, step)]


OUTAGE = [(0, Quality.GOOD), (100, Quality.STALE)]


def test_grace_needs_its_time():
    assert walk(*OUTAGE).waiting
    assert walk(*OUTAGE, *good(200, 800)).waiting
    assert walk(*OUTAGE, *good(200, 800), (799, Quality.GOOD)).waiting
    assert not walk(*OUTAGE, *good(200, 801)).waiting


def test_grace_needs_three_good_marks_in_a_row():
    state = walk(*OUTAGE, *good(200, 760), (790, Quality.STALE))
    for second, waiting in ((800, True), (805, True), (810, False)):
        state = state.after(Quality.GOOD, at=START + timedelta(seconds=second), policy=POLICY)
        assert state.waiting is waiting, second


def test_an_asset_that_never_had_a_good_mark_has_no_outage():
    assert walk((0, Quality.STALE), (1000, Quality.STALE)).outage_since is None
