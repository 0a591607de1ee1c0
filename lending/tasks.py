"""The workers' doors: each reads the clock and makes one call. Rows carry the truth, so any of them may be lost."""

import logging

from celery import shared_task

from lending import (
    amendments,
    approvals,
    bank_matching,
    capitalisations,
    clock,
    custody,
    dunning,
    events,
    interest,
    lapses,
    ledger,
    loans,
    notices,
    outbox,
    reconciliation,
    resets,
    rolling,
    sanctions,
    screening,
)

log = logging.getLogger(__name__)

STAFF = "console"
LINES = 20  # at most, of one look: a log is for reading


@shared_task(ignore_result=True)
def poll_deposits() -> None:
    """Take down what the custodian reports."""
    custody.poll_due(now=clock.now())


@shared_task(ignore_result=True)
def credit_deposits() -> None:
    """Credit confirmed deposits."""
    custody.credit_due(now=clock.now())


@shared_task(ignore_result=True)
def send_withdrawals() -> None:
    """Send what was asked for."""
    custody.send_due(now=clock.now())


@shared_task(ignore_result=True)
def reconcile_custody() -> None:
    """Hold the ledger against the custodian."""
    reconciliation.reconcile_due(now=clock.now())


@shared_task(ignore_result=True)
def match_bank_lines() -> None:
    """Hold open lines of bank statements against what was booked since."""
    bank_matching.match_due(now=clock.now())


@shared_task(ignore_result=True)
def amend_loans() -> None:
    """Put in force what was agreed for an instant that has come, and end what nobody signed."""
    amendments.work_due(now=clock.now())


@shared_task(ignore_result=True)
def accrue_interest() -> None:
    """Post the interest of the days that have ended."""
    interest.accrue_due(now=clock.now())


@shared_task(ignore_result=True)
def reset_rates() -> None:
    """Reset the rates of loans that follow a benchmark."""
    resets.work_due(now=clock.now())


@shared_task(ignore_result=True)
def capitalise_interest() -> None:
    """Make principal of the interest of periods that have ended, where that was agreed."""
    capitalisations.work_due(now=clock.now())


@shared_task(ignore_result=True)
def roll_schedules() -> None:
    """Write down what the periods ask for that have begun."""
    rolling.roll_due(now=clock.now())


@shared_task(ignore_result=True)
def mature_loans() -> None:
    """Announce what falls due, and see what was not paid through to default."""
    dunning.work_due(now=clock.now())


@shared_task(ignore_result=True)
def end_unpaid_loans() -> None:
    """End what was signed and not paid out in time."""
    lapses.work_due(now=clock.now())


@shared_task(ignore_result=True)
def close_loans() -> None:
    """Close loans that are repaid and whose collateral is back."""
    loans.close_due(now=clock.now())


@shared_task(ignore_result=True)
def send_notices() -> None:
    """Send notices on every channel."""
    notices.send_due(now=clock.now())


@shared_task(ignore_result=True)
def deliver_outbox() -> None:
    """Carry out what the outbox holds."""
    outbox.deliver_due(now=clock.now())


@shared_task(ignore_result=True)
def relay_events() -> None:
    """Number the committed events, wake the listeners, and tell what staff see in the worker's log too."""
    before = events.last_seq(STAFF)
    if events.relay(now=clock.now()):
        for event in events.read(STAFF, before, LINES):
            log.info("%s %s: %s", f"{event.happened_at:%d %b %H:%M:%S}", event.kind, event.payload.get("summary", ""))


@shared_task(ignore_result=True)
def expire_approvals() -> None:
    """Close approvals whose time is over."""
    approvals.expire_due(now=clock.now())


@shared_task(ignore_result=True)
def seal_ledger() -> None:
    """Append the newest entries to the seal chain."""
    ledger.seal(now=clock.now())


@shared_task(ignore_result=True)
def take_in_lists() -> None:
    """Take in the sanctions lists that wait."""
    sanctions.take_in_due(now=clock.now())


@shared_task(ignore_result=True)
def screen_clients() -> None:
    """Screen the clients for whom a list or a fact has changed."""
    screening.screen_due(now=clock.now())
