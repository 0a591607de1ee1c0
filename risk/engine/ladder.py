"""The ladder of LTV levels: which state an exposure is in, whether a ladder is valid, when calls clear and reopen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from itertools import pairwise

from risk.engine.ltv import Exposure


class UnableToOrderLadder(ValueError):
    """The levels of a ladder contradict each other."""


class MarginState(StrEnum):
    """Where a margin account stands on its ladder; UNKNOWN when its marks cannot say."""

    HEALTHY = "healthy"
    WARNING = "warning"
    CALL = "call"
    ACCELERATED = "accelerated"
    LIQUIDATE = "liquidate"
    UNKNOWN = "unknown"

    @property
    def severity(self) -> int:
        """Return 0 for HEALTHY up to 4 for LIQUIDATE, and -1 for UNKNOWN, which has no place in the order."""
        return -1 if self is MarginState.UNKNOWN else _SEVERITY.index(self)

    @property
    def breached(self) -> bool:
        """Return whether the state calls for a margin call or more."""
        return self.severity >= 2


_SEVERITY = (
    MarginState.HEALTHY,
    MarginState.WARNING,
    MarginState.CALL,
    MarginState.ACCELERATED,
    MarginState.LIQUIDATE,
)


@dataclass(frozen=True, slots=True)
class Ladder:
    """
    The LTV terms of a margin account, as ratios (0.65 is 65 %).

    An LTV of exactly a level still belongs to the state below it: states compare debt > level x value. Levels
    that a contract does not have are None (warnings: an empty tuple).
    """

    initial_ltv: Decimal
    margin_call_ltv: Decimal
    liquidation_ltv: Decimal
    cure_to: Decimal
    liquidate_to: Decimal
    clear_ltv: Decimal
    warning_ltv: tuple[Decimal, ...] = ()
    accelerated_ltv: Decimal | None = None
    release_trigger: Decimal | None = None
    release_to: Decimal | None = None

    @property
    def rungs(self) -> tuple[tuple[Decimal, MarginState], ...]:
        """Return every level with the state that begins above it, in rising order."""
        levels = [(level, MarginState.WARNING) for level in self.warning_ltv]
        levels.append((self.margin_call_ltv, MarginState.CALL))
        if self.accelerated_ltv is not None:
            levels.append((self.accelerated_ltv, MarginState.ACCELERATED))
        levels.append((self.liquidation_ltv, MarginState.LIQUIDATE))
        return tuple(levels)


def rung(exposed: Exposure, ladder: Ladder) -> int:
    """Return how many levels of the ladder the exposure exceeds, decided without dividing."""
    return sum(1 for level, _state in ladder.rungs if exposed.exceeds(level))


def state_at(rung_number: int, ladder: Ladder) -> MarginState:
    """Return the state that begins above a rung's level; rung 0 is HEALTHY."""
    return MarginState.HEALTHY if rung_number == 0 else ladder.rungs[rung_number - 1][1]


def state_of(exposed: Exposure, ladder: Ladder) -> MarginState:
    """Return the margin state of an exact exposure: no debt is HEALTHY, debt without collateral LIQUIDATE."""
    return state_at(rung(exposed, ladder), ladder)


def bounded_state(worst: Exposure, best: Exposure, ladder: Ladder) -> MarginState:
    """Return the state on which both ends of the price bands agree, else UNKNOWN."""
    worst_state = state_of(worst, ladder)
    return worst_state if worst_state is state_of(best, ladder) else MarginState.UNKNOWN


def watch_levels(rung_number: int, ladder: Ladder) -> tuple[float, float]:
    """
    Return the LTV levels (down, up) at which an account leaves its rung; 0 and infinity at the ends.

    They are floats for the screen of `risk.engine.kernel`, which widens them before it compares.
    """
    levels = [float(level) for level, _state in ladder.rungs]
    down = levels[rung_number - 1] if rung_number > 0 else 0.0
    up = levels[rung_number] if rung_number < len(levels) else float("inf")
    return down, up


def validate(ladder: Ladder, *, sale_cost: Decimal = Decimal(0)) -> None:
    """
    Raise UnableToOrderLadder, naming every fault, unless the ladder can be signed.

    release_to ≤ initial < warnings < call < accelerated < liquidation ≤ 1 - cost of selling this size; cure_to,
    liquidate_to and clear_ltv below the call; release_trigger below release_to (margin.md, section 3).
    """
    faults: list[str] = []
    rising = [("initial_ltv", ladder.initial_ltv)]
    rising += [(f"warning_ltv[{n}]", level) for n, level in enumerate(ladder.warning_ltv)]
    rising.append(("margin_call_ltv", ladder.margin_call_ltv))
    if ladder.accelerated_ltv is not None:
        rising.append(("accelerated_ltv", ladder.accelerated_ltv))
    rising.append(("liquidation_ltv", ladder.liquidation_ltv))
    for (low_name, low), (high_name, high) in pairwise(rising):
        if not low < high:
            faults.append(f"{low_name} {low} must be below {high_name} {high}")
    if ladder.initial_ltv <= 0:
        faults.append(f"initial_ltv {ladder.initial_ltv} must be positive")
    if ladder.liquidation_ltv > 1 - sale_cost:
        faults.append(f"liquidation_ltv {ladder.liquidation_ltv} must not be above 1 - sale cost {sale_cost}")
    for name in ("cure_to", "liquidate_to", "clear_ltv"):
        level = getattr(ladder, name)
        if not 0 < level < ladder.margin_call_ltv:
            faults.append(f"{name} {level} must be positive and below margin_call_ltv {ladder.margin_call_ltv}")
    faults += _release_faults(ladder)
    if faults:
        raise UnableToOrderLadder("; ".join(faults))


def _release_faults(ladder: Ladder) -> list[str]:
    """Return what is wrong with the release levels; a contract has both or neither."""
    trigger, target = ladder.release_trigger, ladder.release_to
    if trigger is None and target is None:
        return []
    if trigger is None or target is None:
        return ["release_trigger and release_to come together"]
    faults = []
    if target > ladder.initial_ltv:
        faults.append(f"release_to {target} must not be above initial_ltv {ladder.initial_ltv}")
    if not 0 < trigger < target:
        faults.append(f"release_trigger {trigger} must be positive and below release_to {target}")
    return faults


def clears_by_market(*, below_since: datetime | None, now: datetime, hold_s: int) -> bool:
    """Return whether an account that has been below clear_ltv since an instant has held there long enough."""
    return below_since is not None and now - below_since >= timedelta(seconds=hold_s)


def reopens(*, closed_at: datetime | None, now: datetime, window_s: int) -> bool:
    """Return whether a new breach belongs to the episode that closed at an instant."""
    return closed_at is not None and now - closed_at < timedelta(seconds=window_s)


def remaining_s(*, due_at: datetime, closed_at: datetime) -> int:
    """Return the whole seconds of cure period that were left when a call closed; never negative."""
    return max(int((due_at - closed_at).total_seconds()), 0)


def stepped_deadline(*, original_due_at: datetime, period_s: int | None, now: datetime) -> datetime:
    """
    Return the deadline at a higher level: the earlier of the original one and now + that level's period.

    A period of None is a level without a clock of its own; falling back restores `original_due_at`.
    """
    if period_s is None:
        return original_due_at
    return min(original_due_at, now + timedelta(seconds=period_s))


def breach_held(*, evaluations: int, since: datetime, now: datetime, min_evaluations: int = 3, min_s: int = 10) -> bool:
    """Return whether a breach has held for enough evaluations and seconds to act irreversibly."""
    return evaluations >= min_evaluations and now - since >= timedelta(seconds=min_s)


def past_gap_limit(exposed: Exposure, ladder: Ladder, gap_limit: Decimal = Decimal("0.03")) -> bool:
    """Return whether the LTV is further past the liquidation level than the gap limit."""
    return exposed.exceeds(ladder.liquidation_ltv + gap_limit)
