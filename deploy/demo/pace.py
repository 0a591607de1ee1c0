"""
The pace of platform time in the demo: as fast as was asked for, slower in the crash, or as fast as this machine marks.

One second of wall time is a minute at the usual speed. A round that takes as long to work, because a crash has a
hundred calls in it, would leave a hole of a minute between two marks: an outage that is the time-lapse's own and no
market's. So time is held back while marks fall behind, and let go when they have caught up.
"""

from datetime import timedelta
from decimal import Decimal

from django.db.models import Min

from deploy.demo import controls
from lending import clock
from risk.models import ShardLease

# Rounds come every 15 s of platform time; marks count as missing after 60 s.
BEHIND, CAUGHT_UP = timedelta(seconds=40), timedelta(seconds=20)
HELD_BACK = Decimal("0.1")


def keep() -> None:
    """Hold time back or let it go, by how far the newest marked round lies behind, and slow it in the crash."""
    now, speed, _ = clock.reading()
    wanted = controls.wanted_speed()
    marked = ShardLease.objects.aggregate(last=Min("last_round_at"))["last"]
    if not speed or marked is None:
        return
    slow = max(wanted * HELD_BACK, Decimal(1))
    if speed > slow and now - marked > BEHIND:
        _go(slow)
    elif speed > wanted or (speed < wanted and now - marked <= CAUGHT_UP):
        _go(wanted)


def _go(speed: Decimal) -> None:
    wall = clock.wall_now()
    clock.resume(stopped_at=wall, wall_origin=wall, speed=speed)
