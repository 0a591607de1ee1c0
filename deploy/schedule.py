"""
What beat asks for, and how often in seconds of wall time.

Each entry is a hint: rows hold the truth, so one that comes twice or never costs nothing but time. A hint that waited
longer than its period is worth nothing, so it expires.
"""

from typing import Any

EVERY_S: dict[str, float] = {
    "lending.tasks.poll_deposits": 1,
    "lending.tasks.credit_deposits": 1,
    "lending.tasks.send_notices": 1,
    "lending.tasks.send_withdrawals": 1,
    "risk.tasks.assess_calls": 1,
    "risk.tasks.expire_calls": 1,
    "risk.tasks.order_sales": 1,
    "risk.tasks.complete_sales": 1,
    "risk.tasks.carry_out_instructions": 1,
    "risk.tasks.credit_conditionally": 1,
    "risk.tasks.exchange_collateral": 3,
    "risk.tasks.end_instructions": 5,
    "risk.tasks.watch_overdue": 30,
    "lending.tasks.relay_events": 0.5,
    "lending.tasks.deliver_outbox": 2,
    "lending.tasks.accrue_interest": 5,
    "lending.tasks.reset_rates": 5,
    "lending.tasks.capitalise_interest": 5,
    "lending.tasks.roll_schedules": 5,
    "lending.tasks.amend_loans": 5,
    "lending.tasks.mature_loans": 5,
    "lending.tasks.close_loans": 5,
    "lending.tasks.end_unpaid_loans": 30,
    "lending.tasks.expire_approvals": 5,
    "lending.tasks.seal_ledger": 2,
    "lending.tasks.reconcile_custody": 30,
    "lending.tasks.match_bank_lines": 30,
    "lending.tasks.take_in_lists": 3,
    "lending.tasks.screen_clients": 5,
    "otc.tasks.trade": 0.5,
}

# Marking goes to the queue of the shard group, where one worker takes one round after another.
SILENT_EVERY_S = 2.0


def beat(mark_groups: int) -> dict[str, dict[str, Any]]:
    """Return the schedule in Celery's form."""
    general: dict[str, dict[str, Any]] = {
        name: {"task": name, "schedule": seconds, "options": {"expires": max(1, round(seconds))}}
        for name, seconds in EVERY_S.items()
    }
    marking = {
        f"mark.{group}": {
            "task": "risk.tasks.mark_when_silent",
            "schedule": SILENT_EVERY_S,
            "kwargs": {"group": group},
            "options": {"queue": f"mark.{group}", "expires": round(SILENT_EVERY_S)},
        }
        for group in range(mark_groups)
    }
    return general | marking
