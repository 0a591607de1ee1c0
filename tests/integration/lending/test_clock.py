"""Platform time across stops of the platform."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from lending import clock
from lending.models import PlatformClock

pytestmark = pytest.mark.django_db

SIM = datetime(2021, 5, 19, 12, tzinfo=UTC)
WALL = datetime(2026, 3, 1, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def running() -> PlatformClock:
    return clock.start(sim_origin=SIM, wall_origin=WALL, speed=Decimal(60))


def shows(wall: datetime) -> datetime:
    return clock.platform_time(PlatformClock.objects.get(), wall)


def test_time_does_not_pass_while_the_platform_is_down(running):
    clock.resume(stopped_at=WALL + timedelta(minutes=1), wall_origin=WALL + 5 * HOUR)
    assert shows(WALL + 5 * HOUR) == SIM + HOUR
    assert shows(WALL + 5 * HOUR + timedelta(seconds=1)) == SIM + HOUR + timedelta(minutes=1)


def test_time_never_goes_back_when_a_run_was_killed_before_it_noted_that_it_lived(running):
    clock.resume(stopped_at=WALL - HOUR, wall_origin=WALL + HOUR)
    assert shows(WALL + HOUR) == SIM


def test_a_stop_in_the_future_counts_until_now(running):
    clock.resume(stopped_at=WALL + 9 * HOUR, wall_origin=WALL + timedelta(minutes=2))
    assert shows(WALL + timedelta(minutes=2)) == SIM + 2 * HOUR


def test_it_stands_still_at_speed_zero_and_then_runs_at_the_speed_it_is_given(running):
    clock.resume(stopped_at=WALL, wall_origin=WALL, speed=Decimal(0))
    assert shows(WALL + HOUR) == SIM
    clock.resume(stopped_at=WALL + HOUR, wall_origin=WALL + HOUR, speed=Decimal(2))
    assert shows(WALL + 2 * HOUR) == SIM + 2 * HOUR


def test_time_is_led_ahead_and_stands_still_there(running):
    clock.advance(to=SIM + HOUR, wall_origin=WALL + timedelta(seconds=1))
    assert shows(WALL + timedelta(seconds=1)) == shows(WALL + HOUR) == SIM + HOUR


def test_leading_never_takes_time_back(running):
    clock.advance(to=SIM - HOUR, wall_origin=WALL + timedelta(seconds=10))
    assert shows(WALL + HOUR) == SIM + timedelta(minutes=10)


def test_without_an_instant_time_stops_where_it_stands(running):
    clock.advance(wall_origin=WALL + timedelta(seconds=10))
    assert shows(WALL + HOUR) == SIM + timedelta(minutes=10)


def test_time_is_not_led_past_its_end(running):
    PlatformClock.objects.update(stop_at=SIM + HOUR)
    clock.advance(to=SIM + 9 * HOUR, wall_origin=WALL)
    assert shows(WALL) == SIM + HOUR
