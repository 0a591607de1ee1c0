"""How far a mark can be trusted, and what that allows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum


class Quality(StrEnum):
    """The quality of a mark, best first."""

    GOOD = "good"
    DEGRADED = "degraded"
    STALE = "stale"
    HALTED = "halted"

    @property
    def usable(self) -> bool:
        """Return whether an LTV may be computed from this mark without bounding it."""
        return self in (Quality.GOOD, Quality.DEGRADED)

    @property
    def may_call(self) -> bool:
        """Return whether warnings and calls may rest on this mark alone."""
        return self.usable

    @property
    def may_clear(self) -> bool:
        """Return whether a call may clear by market on this mark."""
        return self is Quality.GOOD

    @property
    def may_sell(self) -> bool:
        """Return whether an automatic sale may start on this mark."""
        return self is Quality.GOOD

    @property
    def may_release(self) -> bool:
        """Return whether draws and releases may rest on this mark."""
        return self is Quality.GOOD


_ORDER = (Quality.GOOD, Quality.DEGRADED, Quality.STALE, Quality.HALTED)


def worst(*qualities: Quality) -> Quality:
    """Return the least trustworthy of some qualities; GOOD when there are none."""
    return max(qualities, key=_ORDER.index, default=Quality.GOOD)


@dataclass(frozen=True, slots=True)
class OutagePolicy:
    """When an asset counts as out, and what it must show before sales start again."""

    gap_s: int = 60
    grace_s: int = 600
    good_marks: int = 3

    @property
    def gap(self) -> timedelta:
        """Return how long an asset may do without a GOOD mark."""
        return timedelta(seconds=self.gap_s)


@dataclass(frozen=True, slots=True)
class Continuity:
    """
    What the published marks of one asset say about its outages.

    Parameters
    ----------
    last_good_at : datetime or None
        The newest instant with a GOOD mark.
    good_streak : int
        Number of consecutive GOOD marks up to the newest one.
    outage_since : datetime or None
        The last GOOD mark before the present outage; None when there is none.
    grace_until : datetime or None
        End of the grace period after the newest outage; None once sales may start again.
    """

    last_good_at: datetime | None = None
    good_streak: int = 0
    outage_since: datetime | None = None
    grace_until: datetime | None = None

    def after(self, quality: Quality, *, at: datetime, policy: OutagePolicy) -> Continuity:
        """Return the bookkeeping after a mark of this quality was published at an instant."""
        outage, grace = self.outage_since, self.grace_until
        if self.last_good_at is not None and at - self.last_good_at > policy.gap:
            outage = outage or self.last_good_at
        if quality is not Quality.GOOD:
            return Continuity(self.last_good_at, 0, outage, grace)
        if outage is not None:
            return Continuity(at, 1, None, at + timedelta(seconds=policy.grace_s))
        streak = self.good_streak + 1
        if grace is not None and at >= grace and streak >= policy.good_marks:
            grace = None
        return Continuity(at, streak, None, grace)

    @property
    def waiting(self) -> bool:
        """
        Return whether automatic sales of the asset must wait: during an outage, and after it until the grace period
        is over and enough consecutive GOOD marks were seen.
        """
        return self.outage_since is not None or self.grace_until is not None
