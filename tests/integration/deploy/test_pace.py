"""The time-lapse waits for the marks."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from deploy.demo import controls, pace
from lending import clock
from risk.models import ShardLease

pytestmark = pytest.mark.django_db

SIM = datetime(2021, 5, 19, 12, tzinfo=UTC)
IN_THE_CRASH = datetime(2021, 5, 19, 12, 40, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _folder(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    settings.PLIMSOLL_SPEED, settings.PLIMSOLL_CRASH_SPEED = 60.0, 10.0
    (tmp_path / "run").mkdir()


def at(speed: int, *, marked_before: float, sim: datetime = SIM) -> Decimal:
    """Return the speed after a look at a platform whose newest marked round lies so many seconds behind."""
    clock.start(sim_origin=sim, wall_origin=clock.wall_now(), speed=Decimal(speed))
    ShardLease.objects.update_or_create(group=0, defaults={"last_round_at": sim - timedelta(seconds=marked_before)})
    pace.keep()
    return clock.reading().speed


def test_time_is_held_back_while_marks_lie_behind():
    assert at(60, marked_before=45) == 6


def test_a_round_that_is_a_moment_old_holds_nothing_back():
    assert at(60, marked_before=20) == 60


def test_time_is_let_go_when_the_marks_have_caught_up():
    assert at(6, marked_before=10) == 60


def test_between_the_two_nothing_changes():
    assert at(6, marked_before=30) == 6
    assert at(6, marked_before=300) == 6


def test_a_pause_stays_a_pause():
    assert at(0, marked_before=0) == 0


def test_the_speed_that_was_asked_for_last_is_gone_back_to():
    clock.start(sim_origin=SIM, wall_origin=clock.wall_now(), speed=Decimal(60))
    controls.run_at(Decimal(120))
    controls.run_at(Decimal(0))
    assert controls.wanted_speed() == 120
    controls.run_at(Decimal(1))
    assert at(1, marked_before=500) == 1
    assert controls.wanted_speed() == 1


def test_before_the_first_round_there_is_nothing_to_wait_for():
    clock.start(sim_origin=SIM, wall_origin=clock.wall_now(), speed=Decimal(60))
    pace.keep()
    assert clock.reading().speed == 60


def test_the_crash_is_slower():
    assert at(60, marked_before=10, sim=IN_THE_CRASH) == 10


def test_the_crash_is_as_fast_as_somebody_asked_for():
    clock.start(sim_origin=IN_THE_CRASH, wall_origin=clock.wall_now(), speed=Decimal(10))
    controls.run_at(Decimal(120))
    assert at(120, marked_before=10, sim=IN_THE_CRASH) == 120


def test_after_the_crash_time_goes_on_as_before():
    assert at(10, marked_before=10, sim=IN_THE_CRASH + controls.CRASH_LASTS) == 60
