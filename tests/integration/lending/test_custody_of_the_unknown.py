"""What a custodian holds that the desk does not know, or has not let in: no comparison stops, and nothing is lost."""

from decimal import Decimal

import pytest

from lending import approvals, breaks, custody, invariants, reconciliation
from lending.adapters.paper_custodian import PaperCustodian
from lending.models import CustodyBreak, Deposit, Loan, Role
from tests.factories import lending as make
from tests.integration.lending.test_reconciliation import HOUR, LATER, MINUTE, NOW, address_of, steal

pytestmark = pytest.mark.django_db


@pytest.fixture
def loan() -> Loan:
    """Return a running loan with 25 BTC, its books in agreement."""
    loan = make.active_loan()
    assert reconciliation.reconcile(now=NOW) == 0
    return loan


def test_what_the_desk_does_not_know_is_a_break_that_holds_nothing_back(loan: Loan, custodian: PaperCustodian) -> None:
    olga = make.staff("olga", Role.OPERATIONS)
    name = "PEPE-" * 20  # whatever the custodian calls it
    custodian.simulate_deposit("spam", address="bc1-of-ours", asset=name, quantity=Decimal(1000), at=NOW)
    steal(custodian)
    # What is wrong besides it is found as ever, and what both books say of it is one break, not two.
    assert [reconciliation.reconcile_due(now=at) for at in (LATER, LATER + MINUTE)] == [2, 2]
    row = CustodyBreak.objects.get(asset=None)
    assert (row.kind, row.ref, row.code, row.custodian_quantity) == ("deposit", "spam", name[:40], 1000)
    assert row.words.endswith("not booked here; the desk knows no such asset")
    asked = breaks.ask(breaks.explain(row, "sent by nobody we know", by=olga, now=LATER), maker=olga, now=LATER)
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=LATER)
    row.refresh_from_db()
    assert row.closed_how == "it was set aside by Olga and Rhea"
    # More of it is found again, also where no movement tells of it; what was set aside is not.
    before = custodian.balances
    custodian.balances = lambda *, at: {**before(at=at), name: Decimal(1001), "": Decimal(7)}  # type: ignore[method-assign]
    assert reconciliation.reconcile(now=LATER + HOUR) == 3
    found = CustodyBreak.objects.filter(asset=None, closed_at=None).order_by("code")
    assert [(row.code, row.ledger_quantity, row.custodian_quantity) for row in found] == [
        ("?", 0, 7),
        (name[:40], 1000, 1001),
    ]
    assert invariants.check() == []


def test_a_break_of_an_asset_that_is_taken_on_is_found_anew(loan: Loan, custodian: PaperCustodian) -> None:
    custodian.simulate_deposit("early", address="bc1-of-ours", asset="ETH", quantity=Decimal(3), at=NOW)
    assert reconciliation.reconcile(now=LATER) == 1
    make.asset("ETH")
    assert reconciliation.reconcile(now=LATER + HOUR) == 1
    assert CustodyBreak.objects.get(asset=None).closed_how == "the desk knows this asset by now"


def test_what_is_kept_apart_is_on_both_sides(custodian: PaperCustodian) -> None:
    make.asset("BTC")
    loan = make.pending_loan()
    custodian.simulate_deposit(
        "d1", address=address_of(loan), asset="BTC", quantity=Decimal(2), at=NOW, screened=False
    )  # fmt: skip
    custody.poll_due(now=NOW + HOUR)
    custody.credit_due(now=NOW + HOUR)
    assert Deposit.objects.get().state == "held"
    assert reconciliation.reconcile(now=LATER) == 0
    assert invariants.check() == []
