"""Amendments under way on the demo desk: one that its client may sign, one that waits for a second person."""

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from deploy.demo import reference
from lending import amendments
from lending.models import Loan, LoanState
from lending.other_terms import Wanted

_MAY_SIGN_FOR = timedelta(hours=48)
_CHEAPER, _LONGER = Decimal("0.0075"), timedelta(days=92)


@transaction.atomic
def load(*, now: datetime) -> None:
    """Propose a cheaper rate for the first loan, approved already, and a later maturity of another one."""
    named = ("client__relationship_manager", "asset", "product", "margin_account__terms")
    running = list(Loan.objects.filter(state=LoanState.ACTIVE).select_related(*named).order_by("pk")[:3])
    until = now + _MAY_SIGN_FOR
    if not running:
        return
    first, last = running[0], running[-1]
    cheaper = Wanted(annual_rate=first.annual_rate - _CHEAPER)
    said = "More business with us, so a better rate."
    offered = amendments.propose(
        first, cheaper, reason=said, expires_at=until, maker=first.client.relationship_manager, now=now
    )
    amendments.approve(offered, by=reference.staff("hugo"), now=now)
    if last.pk != first.pk and last.maturity_date is not None:
        longer = Wanted(maturity_date=last.maturity_date + _LONGER)
        maker = last.client.relationship_manager
        amendments.propose(last, longer, reason="A quarter more, as asked for.", expires_at=until, maker=maker, now=now)
