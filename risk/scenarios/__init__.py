"""Recorded and simulated markets on a 15 s grid that play the part of the venues."""

from datetime import datetime
from pathlib import Path

from risk.scenarios.grid import FeedSpec, Patch, Scenario, UnableToLoad
from risk.scenarios.recorded import read
from risk.scenarios.simulated import SIMULATED, simulate

__all__ = ["FeedSpec", "Patch", "Scenario", "UnableToLoad", "load", "names", "stage"]


def names() -> tuple[str, ...]:
    """Return the scenarios that need no recording."""
    return tuple(sorted(SIMULATED))


def load(
    name: str,
    *,
    seed: int,
    directory: str | Path | None = None,
    start_at: datetime | None = None,
    end_at: datetime | None = None,
) -> Scenario:
    """
    Return a scenario by name, or the recordings of a folder when one is given, cut to [start_at, end_at].

    The same name, seed and instant give the same price whatever the cut.
    """
    if directory:
        scenario = read(Path(directory), seed=seed)
    elif name in SIMULATED:
        scenario = simulate(name, seed=seed)
    else:
        raise UnableToLoad(f"there is no scenario {name!r}; known are {', '.join(names())}")
    return scenario.between(start_at or scenario.start_at, end_at or scenario.end_at)


def stage(
    name: str,
    *,
    seed: int,
    directory: str | Path | None = None,
    start_at: datetime | None = None,
    end_at: datetime | None = None,
) -> tuple[Scenario, Scenario]:
    """
    Return the scenario that a desk is set up by, and the part of it that the desk then lives through.

    A named scenario starts in a quiet market, and a part from the middle of its crash meets the desk that the crash
    found. Recordings may hold months: a desk that lives through a part of them is set up at the part's start.
    """
    whole = load(name, seed=seed, directory=directory)
    part = whole.between(start_at or whole.start_at, end_at or whole.end_at)
    return (part if directory else whole), part
