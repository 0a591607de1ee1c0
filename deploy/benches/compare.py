"""Time two sides of a comparison in turn, so that a busy minute of the machine is shared by both."""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


class UnableToBench(RuntimeError):
    """A side of a comparison is missing or wrong; the message says which, and what it said."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One comparison: medians of both sides in seconds, their ratio, and the ratio that is aimed at."""

    bench: str
    loans: int
    rounds: int
    a: str
    b: str
    a_s: float
    b_s: float
    ratio: float
    target: str
    machine: str

    def as_json(self) -> dict[str, Any]:
        """Return the result under the keys that are fixed for it."""
        return asdict(self)


def machine() -> str:
    """Return what the figures were measured on, in words."""
    return f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, NumPy {np.__version__}"


def against(
    yardstick: str, yardstick_s: float, sides: Iterable[tuple[str, str, float, str]], *, loans: int, rounds: int
) -> list[Result]:
    """Return the results of several sides, each (bench, what it does, seconds, aim), beside one yardstick."""
    return [
        Result(
            bench=name,
            loans=loans,
            rounds=rounds,
            a=what,
            b=yardstick,
            a_s=seconds,
            b_s=yardstick_s,
            ratio=seconds / yardstick_s,
            target=target,
            machine=machine(),
        )
        for name, what, seconds, target in sides
    ]


def alternate(
    a: Callable[[], object], b: Callable[[], object], *, rounds: int, warm_up: int = 2
) -> tuple[float, float]:
    """Return the median seconds of a and of b over some rounds, each round timing both, after a warm-up."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(warm_up + rounds):
        for side, work in enumerate((a, b)):
            started = time.perf_counter()
            work()
            if number >= warm_up:
                times[side].append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])
