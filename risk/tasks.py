"""The workers' doors to risk: each reads the clock and makes one call. Rows carry the truth, so any may be lost."""

import logging
import os
import socket
from datetime import datetime, timedelta

from celery import shared_task

from lending import clock, events
from risk import (
    conditional_credits,
    cycle,
    held_transfers,
    instructions,
    leases,
    liquidations,
    margin_calls,
    overdue,
    reserved_cures,
    substitutions,
)
from risk.models import ShardLease

log = logging.getLogger(__name__)

LEASE_S = 10  # of wall time: how long a group is without a marker after its worker was killed
SILENCE = timedelta(seconds=90)  # of platform time: six rounds of a scenario


@shared_task
def run_cycle(*, group: int, at: str | None = None) -> None:
    """Mark a shard group at the instant of a round, if this worker holds the group's lease or can have it."""
    _mark(group, now=datetime.fromisoformat(at) if at else clock.now())


@shared_task
def mark_when_silent(*, group: int) -> None:
    """Mark a shard group although no round came, so that its prices go stale in everybody's sight."""
    now = clock.now()
    last = ShardLease.objects.filter(group=group).values_list("last_round_at", flat=True).first()
    if last is None or now - last > SILENCE:
        _mark(group, now=now)


@shared_task
def assess_calls() -> None:
    """Count what has come in towards open calls."""
    margin_calls.assess_due(now=clock.now())


@shared_task
def expire_calls() -> None:
    """Decide calls whose time is over."""
    margin_calls.expire_due(now=clock.now())


@shared_task
def order_sales() -> None:
    """Order the sales that are due."""
    liquidations.order_due(now=clock.now())


@shared_task
def complete_sales() -> None:
    """Close sales that have reached their aim, or order their next slice."""
    liquidations.complete_due(now=clock.now())


@shared_task
def carry_out_instructions() -> None:
    """Use what clients have set aside for the calls that were made."""
    reserved_cures.carry_out_due(now=clock.now())


@shared_task
def credit_conditionally() -> None:
    """Let transfers count that are not final yet, where a policy says so, and end what counts no more."""
    conditional_credits.work_due(now=clock.now())


@shared_task
def end_instructions() -> None:
    """Make free what was set aside for loans on which nothing is owed any more."""
    instructions.end_due(now=clock.now())


@shared_task
def watch_overdue() -> None:
    """Have a person look at what is overdue of loans by itself, and at transfers that are kept apart."""
    now = clock.now()
    overdue.watch_due(now=now)
    held_transfers.watch_due(now=now)


@shared_task
def exchange_collateral() -> None:
    """Carry out the exchanges of collateral whose other side has come."""
    substitutions.carry_out_due(now=clock.now())


def _mark(group: int, *, now: datetime) -> None:
    holder = f"{socket.gethostname()}/{os.getpid()}"
    lease = leases.acquire(group, holder, wall_now=clock.wall_now(), lease_s=LEASE_S)
    if lease is None:
        return
    try:
        report = cycle.run(group, now=now, fence=lease.fence)
    except leases.UnableToFence as lost:
        log.warning("round of %s not marked: %s", now, lost)
        return
    log.debug("%s", report)
    if report.calls or report.changed:
        events.relay(now=now)  # whoever watches the console sees a call now, not at the relay's next beat
    # At the instant that decided, not at the next beat: a level that held is sold at whatever speed the workers run.
    liquidations.order_due(now=now)
