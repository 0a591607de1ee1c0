"""Setting an account free: what stood still while it was frozen goes on from where it was."""

from datetime import datetime

from django.db import transaction

from lending import freezes
from lending.models import Approval, Freeze
from risk import margin_calls


@transaction.atomic
def lift(approval: Approval, *, now: datetime) -> Freeze:
    """
    Lift a freeze as two persons agreed, and give the account's running call the time that it stood still.

    Raises
    ------
    lending.approvals.UnableToApprove
        If the freeze that was meant is over.
    """
    row = freezes.lift(approval, now=now)
    margin_calls.restart_clock(row.margin_account, now=now)
    return row
