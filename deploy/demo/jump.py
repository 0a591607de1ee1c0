"""
A jump ahead: time is not skipped but played, one round a minute, through the same steps as ever.

Moved by hand, the clock would leave a hole without marks: an outage that never was, which stops the clocks of calls,
and deadlines that pass while nobody could have paid. So platform time is stopped and led from round to round, and
every round is marked, answered by the borrowers and worked before the next. The workers go on beside it: all steps
are theirs too, and rows, locks and the lease of the marking worker see to it that each is done once. To them is left
what no deadline hangs on: interest of days that have ended, mail, events, seals.
"""

import logging
import os
import socket
from datetime import datetime, timedelta

from django.conf import settings

from deploy import steps
from deploy.demo import controls
from deploy.demo.borrowers import Borrowers
from lending import clock
from risk import cycle, leases, prices
from risk.scenarios import Scenario, silence

log = logging.getLogger("jump")

ROUND = timedelta(minutes=1)
_LEASE_S = 10
_GROUP = 0


class Jumper:
    """Carries out the jump that was asked for, round by round, so that a jump may be ended between two."""

    def __init__(self, scenario: Scenario, borrowers: Borrowers) -> None:
        self._scenario = scenario
        self._borrowers = borrowers
        self._holder = f"{socket.gethostname()}/{os.getpid()}/jump"

    def advance(self) -> bool:
        """Play the next minute of the jump under way, or end it; returns whether there is one."""
        wish = controls.jump_under_way()
        if wish is None:
            return False
        wall = clock.wall_now()
        now = clock.advance(wall_origin=wall).sim_origin  # from the first round on, time moves only with us
        lease = leases.acquire(_GROUP, self._holder, wall_now=wall, lease_s=_LEASE_S)
        if wish.stop or now >= wish.to:
            if lease is not None:
                leases.release(lease, wall_now=wall)
            self._end(wish)
        elif lease is not None:
            self._round(min(_after(now), wish.to), fence=lease.fence)
        return True

    def _round(self, at: datetime, *, fence: int) -> None:
        """Play one minute: prices first, then the clock, so that the feed finds nothing left to play."""
        ticks = self._scenario.ticks(min(at, self._scenario.end_at), stamped=at)
        prices.record(silence.heard(ticks, silence.silent(settings.RISK_SILENT_VENUES)), received_at=at)
        clock.advance(to=at, wall_origin=clock.wall_now())
        cycle.run(_GROUP, now=at, fence=fence)
        self._borrowers.act_due(now=at)
        steps.run(steps.EACH_ROUND, now=at)
        if steps.sale_under_way():
            steps.run(steps.TRADING, now=at)

    def _end(self, wish: controls.Wish) -> None:
        wall = clock.wall_now()
        row = clock.resume(stopped_at=wall, wall_origin=wall, speed=wish.speed)
        controls.jump_is_over()
        log.info("the jump ended at %s", row.sim_origin)


def _after(now: datetime) -> datetime:
    """Return the next instant to play: never so long after the last one that marks would count as missing."""
    newest = prices.newest_tick_at()
    if newest is not None and newest > now:
        return newest  # a round that was cut short between its ticks and the clock
    return (newest if newest is not None and now - newest < ROUND else now) + ROUND
