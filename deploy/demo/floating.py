"""A benchmark on the demo desk: what it was fixed at, a product that follows it, and an offer of one such loan."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.db import transaction

from deploy.demo import reference
from deploy.demo.books import VISITORS
from lending import approvals, benchmarks, calendars, offers
from lending.models import Calendar, Loan, LoanState, Product

CODE = "SOFR"
_FIXED = Decimal("0.0001")  # as it was published for every day of May 2021
_DAYS, _LENT, _STANDS_FOR = 40, Decimal(500_000), timedelta(hours=72)
_SPREAD, _FLOOR = Decimal("0.085"), Decimal("0.08")
_STEP_UP, _STEPS_AFTER, _TERM = Decimal("0.01"), timedelta(days=90), timedelta(days=180)


@transaction.atomic
def load(*, now: datetime) -> None:
    """Record what the benchmark was fixed at, but for the last day, which waits, and offer a loan that follows it."""
    today = now.astimezone(UTC).date()
    days = [today - timedelta(days=back) for back in range(_DAYS, 0, -1)]
    days = [day for day in days if calendars.is_business_day(Calendar.FEDWIRE, day)]
    for some, waits in ((days[:-1], False), (days[-1:], True)):
        table = "\n".join(["date,rate", *(f"{day},{_FIXED}" for day in some)])
        asked = benchmarks.ask(
            CODE, "Secured Overnight Financing Rate", table, reason="As published by the New York Fed.",
            maker=reference.staff("olga"), now=now,
        )  # fmt: skip
        if not waits:
            approvals.decide(asked, checker=reference.staff("hugo"), approve=True, now=now)
    like = Product.objects.get(code=reference.INTEREST.product("USD"))
    product, _ = Product.objects.get_or_create(
        code="floating-usd-24h",
        defaults={
            **{name: getattr(like, name) for name in ("asset", "day_count", "terms", "origination_fee", "book")},
            **{name: getattr(like, name) for name in ("schedule_kind", "calendar", "grace_days")},
            "name": "USD floating loan, cure period of one day",
            "benchmark": CODE,
            "spread": _SPREAD,
            "rate_floor": _FLOOR,
            "reset_months": 1,
            "fixing_lag_days": 2,
        },
    )
    running = Loan.objects.filter(state=LoanState.ACTIVE).exclude(client__client_users__user__name__in=VISITORS)
    known = running.select_related("client__relationship_manager").order_by("pk").first()
    if known is None:
        return
    offers.quote(
        client=known.client,
        product=product,
        principal=_LENT,
        annual_rate=None,
        step_up=_STEP_UP,
        step_up_date=today + _STEPS_AFTER,
        maturity_date=today + _TERM,
        quoted_until=now + _STANDS_FOR,
        opens_pool=True,  # so that a later loan of its client can be booked into it
        made_by=known.client.relationship_manager,
        now=now,
    )
