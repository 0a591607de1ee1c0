"""
The only source of now: wall time, or platform time that runs faster.

Ticks, deadlines, accrual and every countdown use platform time: read here at the doors and passed on as `now`.
"""

import datetime as dt
from decimal import Decimal
from typing import NamedTuple

from django.db import transaction

from lending.models.clock import PlatformClock


def wall_now() -> dt.datetime:
    """Return wall time: for sessions, leases, time-outs and the age of a process, never for money."""
    return dt.datetime.now(dt.UTC)


def now() -> dt.datetime:
    """Return platform time, which every process derives from the same row; without one it is wall time."""
    return platform_time(PlatformClock.objects.filter(id=1).first(), wall_now())


def platform_time(clock: PlatformClock | None, wall: dt.datetime) -> dt.datetime:
    """Return the platform time that a clock shows at an instant of wall time; it stands still at stop_at."""
    if clock is None:
        return wall
    elapsed_us = (wall - clock.wall_origin) // dt.timedelta(microseconds=1)
    at = clock.sim_origin + dt.timedelta(microseconds=int(elapsed_us * clock.speed))
    return min(at, clock.stop_at) if clock.stop_at else at


def start(
    *, sim_origin: dt.datetime, wall_origin: dt.datetime, speed: Decimal, stop_at: dt.datetime | None = None
) -> PlatformClock:
    """Set platform time going from sim_origin, unless it runs already: a restart goes on where time stands."""
    clock, _ = PlatformClock.objects.get_or_create(
        id=1,
        defaults={"sim_origin": sim_origin, "wall_origin": wall_origin, "speed": speed, "stop_at": stop_at},
    )
    return clock


def resume(*, stopped_at: dt.datetime, wall_origin: dt.datetime, speed: Decimal | None = None) -> PlatformClock:
    """
    Have platform time go on from what it was when the platform stopped, as if the wall had stood still between.

    A deadline must not pass while nothing ran that could have sent a notice or taken a payment.
    """
    clock = PlatformClock.objects.get(id=1)
    # Never back: a run may have been killed before it first noted that it was alive.
    clock.sim_origin = platform_time(clock, max(min(stopped_at, wall_origin), clock.wall_origin))
    clock.wall_origin = wall_origin
    clock.speed = clock.speed if speed is None else speed
    clock.save(update_fields=["sim_origin", "wall_origin", "speed"])
    return clock


def advance(*, wall_origin: dt.datetime, to: dt.datetime | None = None) -> PlatformClock:
    """
    Have platform time stand still where it is, or at an instant ahead of it; it never goes back.

    Who moves it ahead so has played what happens on the way, or deadlines pass that nobody could have met.
    """
    with transaction.atomic():
        clock = PlatformClock.objects.select_for_update().get(id=1)
        stands = platform_time(clock, max(wall_origin, clock.wall_origin))
        ahead = max(stands, to) if to else stands
        clock.sim_origin = min(ahead, clock.stop_at) if clock.stop_at else ahead
        clock.wall_origin, clock.speed = wall_origin, Decimal(0)
        clock.save(update_fields=["sim_origin", "wall_origin", "speed"])
    return clock


class Reading(NamedTuple):
    """Platform time, how many of its seconds pass in one of wall time (0 once it stands still), where it will stop."""

    now: dt.datetime
    speed: Decimal
    stop_at: dt.datetime | None


def reading() -> Reading:
    """Return what somebody needs to follow platform time without asking again."""
    clock = PlatformClock.objects.filter(id=1).first()
    at = platform_time(clock, wall_now())
    if clock is None:
        return Reading(at, Decimal(1), None)
    return Reading(at, Decimal(0) if at == clock.stop_at else clock.speed, clock.stop_at)
