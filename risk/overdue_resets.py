"""
Rates whose reset is overdue: interest runs at another rate than was agreed, and a person must see to it.

What lending can not book stays due there and is tried again; here it becomes an incident of its margin account.
"""

from datetime import datetime, timedelta

from django.db.models import Q

from lending import interest
from lending.engine import figures
from lending.models import Loan
from risk import incidents
from risk.models import Incident

PATIENCE = timedelta(hours=1)  # of platform time: a busy account, or a worker that starts again, is no incident


def watch_due(*, now: datetime) -> int:
    """
    Open an incident for each margin account with an overdue reset, and close it once that is done; return how many.

    A loan that is to be looked at anew leaves its incident as it is until that has happened.
    """
    floats = Loan.objects.filter(state__in=interest.ACCRUING).exclude(benchmark="")
    rows = floats.filter(Q(next_reset_at__isnull=True) | Q(next_reset_at__lte=now - PATIENCE))
    found, undecided = dict[int, incidents.Finding](), set[int]()
    for loan in rows.select_related("margin_account", "client", "asset").order_by("next_reset_at", "pk"):
        if loan.next_reset_at is None:
            undecided.add(loan.margin_account_id)
        elif loan.margin_account_id not in found:
            found[loan.margin_account_id] = incidents.Finding(loan.margin_account, _said(loan), _facts(loan))
    standing = Incident.objects.filter(kind=incidents.RESET_OVERDUE, closed_at=None).select_related("margin_account")
    accounts = {row.margin_account.pk: row.margin_account for row in standing if row.margin_account is not None}
    fresh = [finding for key, finding in found.items() if key not in accounts]
    incidents.open_for(incidents.RESET_OVERDUE, fresh, now=now)
    over = [account for key, account in accounts.items() if key not in found and key not in undecided]
    return len(fresh) + incidents.close_for(incidents.RESET_OVERDUE, over, now=now)


def _said(loan: Loan) -> str:
    said = f"{loan.client}, loan {str(loan.public_id)[:8]}: its rate is not reset from {_day(loan)} on"
    return f"{said}; what payments left over since may be spent: see its client's free {loan.asset.code}"[:300]


def _facts(loan: Loan) -> dict[str, str]:
    return {"loan": str(loan.public_id), "benchmark": loan.benchmark, "reset": _day(loan)}


def _day(loan: Loan) -> str:
    return figures.day(loan.next_reset_at.date()) if loan.next_reset_at else ""
