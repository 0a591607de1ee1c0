"""Platform time as every process derives it from one row."""

import datetime as dt
from decimal import Decimal

import pytest

from lending.clock import platform_time
from lending.models import PlatformClock

SIM = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
WALL = dt.datetime(2026, 11, 22, 8, 0, tzinfo=dt.UTC)


def test_without_a_row_platform_time_is_wall_time() -> None:
    assert platform_time(None, WALL) == WALL


@pytest.mark.parametrize(
    ("speed", "wall_s", "sim_s"), [("1", 10, 10), ("60", 10, 600), ("0", 3600, 0), ("0.5", 1, 0.5), ("90", 0.001, 0.09)]
)
def test_it_runs_at_its_speed(speed: str, wall_s: float, sim_s: float) -> None:
    clock = PlatformClock(sim_origin=SIM, wall_origin=WALL, speed=Decimal(speed))
    assert platform_time(clock, WALL + dt.timedelta(seconds=wall_s)) == SIM + dt.timedelta(seconds=sim_s)


def test_it_stands_still_at_the_end_of_a_scenario() -> None:
    stop = SIM + dt.timedelta(minutes=1)
    clock = PlatformClock(sim_origin=SIM, wall_origin=WALL, speed=Decimal(60), stop_at=stop)
    assert platform_time(clock, WALL + dt.timedelta(seconds=1)) == stop
    assert platform_time(clock, WALL + dt.timedelta(days=1)) == stop
