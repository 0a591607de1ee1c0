"""Loans in default for tests, and the agreement of two persons to sell their collateral."""

import datetime as dt

from lending import dunning
from lending.models import Loan, LoanState, Obligation, Product
from risk import default_sales
from risk.models import SaleCause
from tests.factories.lending import AssetFactory, ProductFactory
from tests.factories.risk import Desk


def in_default(desk: Desk, loan: Loan, *, part: str = "") -> Loan:
    """Let what a loan asks for first go by unpaid, or paid in part, with good marks when its default has been told."""
    row = Obligation.objects.filter(loan=loan).earliest("due_at")
    for at in (row.act_at, row.due_at, row.due_at + dt.timedelta(days=1)):
        desk.now = at
        dunning.work_due(now=at)
        if part and at == row.act_at:
            desk.pay(loan, part)
    desk.minutes(13)
    loan.refresh_from_db()
    assert loan.state == LoanState.DEFAULTED
    return loan


def in_default_in_a_pool(desk: Desk, *, beside: str = "USD") -> tuple[Loan, Loan]:
    """Return a loan in default and another, of any asset, that shares its collateral and is not."""
    loan = desk.loan("20000", opens_pool=True, BTC="2")
    line: Product = ProductFactory(
        tenor="open", notice_days=5, schedule_kind="interest_only", terms=desk.terms, asset=AssetFactory(code=beside)
    )
    other = desk.loan("10000", pool=loan, product=line)
    row = Obligation.objects.get(loan=loan)
    for at in (row.act_at, row.due_at, row.due_at + dt.timedelta(days=1)):
        desk.now = at
        Obligation.objects.filter(loan=other).update(state="cancelled", act_at=None)  # it pays its interest elsewhere
        dunning.work_due(now=at)
    desk.minutes(13)
    loan.refresh_from_db()
    return loan, other


def agreed(desk: Desk, loan: Loan) -> SaleCause:
    """Have two persons agree to a sale for a default."""
    asked = default_sales.ask(loan, reason="Nothing came", maker=desk.risk, now=desk.now)
    desk.page(desk.second, f"/admin/lending/approval/{asked.pk}/approve/", reason="so be it")
    return SaleCause.objects.get(loan=loan)
