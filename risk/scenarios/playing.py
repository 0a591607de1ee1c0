"""Playing a scenario against platform time: every round once, in order, from where the last recorded tick stands."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from risk.engine.ticks import SourceTick
from risk.scenarios.grid import Scenario

# Behind by more than this, rounds that nobody could act on any more are skipped and counted.
MOST_ROUNDS_BEHIND = 60


@dataclass(frozen=True, slots=True)
class Round:
    """One instant of the grid and what the venues say at it."""

    at: datetime
    ticks: list[SourceTick]


class Player:
    """Turns platform time into rounds of ticks; after the scenario's end the venues repeat their last prices."""

    def __init__(self, scenario: Scenario, *, last_at: datetime | None) -> None:
        self._scenario = scenario
        self._last_at = last_at
        self.played = 0
        self.skipped = 0

    @property
    def step(self) -> timedelta:
        """Return the platform time from one round to the next."""
        return timedelta(seconds=self._scenario.step_s)

    def heard(self, at: datetime | None) -> None:
        """Leave out what somebody else has played: the rounds up to the newest tick on record."""
        if at is not None and (self._last_at is None or at > self._last_at):
            self._last_at = at

    def next_at(self, now: datetime) -> datetime:
        """Return the instant of the first round after `now`."""
        return self._grid(now) + self.step

    def due(self, now: datetime) -> list[Round]:
        """Return the rounds since the last one played up to `now`, oldest first; far behind, the current one alone."""
        if now < self._scenario.start_at:
            return []
        newest = self._grid(now)
        first = newest if self._last_at is None else max(self._grid(self._last_at) + self.step, self._scenario.start_at)
        if first > newest:
            return []
        behind = (newest - first) // self.step
        if behind > MOST_ROUNDS_BEHIND:
            self.skipped += behind
            first = newest
        self._last_at = newest
        count = (newest - first) // self.step + 1
        self.played += count
        return [self._round(first + number * self.step) for number in range(count)]

    def _grid(self, at: datetime) -> datetime:
        """Return the newest instant of the grid that is not after `at`; it goes on beyond both ends of the scenario."""
        start = self._scenario.start_at
        return start + (at - start) // self.step * self.step

    def _round(self, at: datetime) -> Round:
        return Round(at, self._scenario.ticks(min(at, self._scenario.end_at), stamped=at))
