"""The production step functions in the order in which a replay calls them; the workers call the same ones by beat."""

from datetime import datetime
from typing import Protocol

from lending import (
    amendments,
    capitalisations,
    custody,
    dunning,
    events,
    interest,
    lapses,
    ledger,
    loans,
    notices,
    outbox,
    resets,
    rolling,
)
from otc import fills, quotes, rfqs, settlement
from otc.models import Fill, Settlement
from risk import conditional_credits, held_transfers, instructions, liquidations, margin_calls, overdue, reserved_cures
from risk.models import LIVE_ORDER_STATES, LiquidationOrder, SaleCause


class Step(Protocol):
    """A step looks for rows that are due at `now`, works them, and returns how many it worked."""

    def __call__(self, *, now: datetime) -> int: ...


# Every round: money and coins that arrived, notices, and what they mean for open calls.
EACH_ROUND: tuple[Step, ...] = (
    custody.poll_due,
    custody.credit_due,
    reserved_cures.carry_out_due,
    conditional_credits.work_due,
    notices.send_due,
    margin_calls.assess_due,
    margin_calls.expire_due,
    liquidations.order_due,
    custody.send_due,
)

# Every round in which a sale is under way: from the order to the postings of its settlement.
TRADING: tuple[Step, ...] = (
    rfqs.open_due,
    quotes.collect_due,
    quotes.accept_due,
    fills.poll_due,
    settlement.settle_due,
    liquidations.complete_due,
)

# Once a minute of platform time is soon enough for these.
EACH_MINUTE: tuple[Step, ...] = (
    interest.accrue_due,
    amendments.work_due,
    resets.work_due,
    capitalisations.work_due,
    overdue.watch_due,
    held_transfers.watch_due,
    rolling.roll_due,
    dunning.work_due,
    loans.close_due,
    lapses.work_due,
    instructions.end_due,
    outbox.deliver_due,
    events.relay,
    ledger.seal,
)


def sale_under_way() -> bool:
    """Return whether anything is ordered, declared or traded that is not yet settled and closed."""
    return (
        SaleCause.objects.filter(closed_at=None).exists()
        or LiquidationOrder.objects.filter(state__in=LIVE_ORDER_STATES).exists()
        or Fill.objects.filter(settled_at=None).exists()
        or Settlement.objects.filter(state=Settlement.State.INSTRUCTED).exists()
    )


def run(steps: tuple[Step, ...], *, now: datetime) -> int:
    """Run each step once and return how many rows they worked together."""
    return sum(step(now=now) for step in steps)
