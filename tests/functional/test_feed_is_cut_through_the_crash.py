"""Every venue falls silent for twenty minutes of the crash: nothing is sold blind, everybody may still pay."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from deploy import replay
from deploy.demo import outside
from lending.models import DepositAddress, Loan, PledgeMovement, Repayment
from risk import scenarios
from risk.models import AssetOutage, Incident, LiquidationOrder, MarginState, MarginStatus, SaleCause

START, END = datetime(2021, 5, 19, 12, 28, tzinfo=UTC), datetime(2021, 5, 19, 13, 24, tzinfo=UTC)
CUT = scenarios.Patch(datetime(2021, 5, 19, 12, 40, tzinfo=UTC), datetime(2021, 5, 19, 13, 0, tzinfo=UTC))
SILENCE_NOTICED = timedelta(seconds=60)
GRACE = timedelta(minutes=10)
SEED = 5


@dataclass
class Seen:
    """What stood in the database at some instants of the cut, and what the replay reported at its end."""

    unknown: int = 0
    report: dict[str, Any] = field(default_factory=dict)
    orders: list[tuple[datetime, dict[str, Any]]] = field(default_factory=list)
    causes: int = 0
    outages: int = 0
    incidents: int = 0
    payments_in_the_dark: int = 0
    top_ups_in_the_dark: int = 0


@pytest.fixture(scope="module")
def seen(django_db_setup: None, django_db_blocker: Any) -> Seen:
    found = Seen()

    def observe(at: datetime) -> None:
        if at == CUT.start_at + timedelta(minutes=5):
            _pay_and_top_up(at)
        if at == CUT.end_at - timedelta(seconds=30):
            found.unknown = MarginStatus.objects.filter(state=MarginState.UNKNOWN).count()
            found.incidents = Incident.objects.filter(closed_at=None).count()

    scenario = scenarios.load("may-2021", seed=SEED).patched([CUT])
    span = scenario.between(START, END)
    with django_db_blocker.unblock(), replay.world(scenario, seed=SEED):
        played = replay.play(scenario, seed=SEED, loans=50, span=span, observe=observe)
        found.report = replay.report(span, played)
        found.orders = list(LiquidationOrder.objects.values_list("ordered_at", "plan"))
        found.outages = AssetOutage.objects.filter(end_at__isnull=False).count()
        found.causes = SaleCause.objects.count()
        dark = {"recorded_at__gte": CUT.start_at + SILENCE_NOTICED, "recorded_at__lt": CUT.end_at}
        found.payments_in_the_dark = Repayment.objects.filter(kind=Repayment.Kind.CASH, **dark).count()
        found.top_ups_in_the_dark = PledgeMovement.objects.filter(kind=PledgeMovement.Kind.TOP_UP, **dark).count()
    return found


def _pay_and_top_up(at: datetime) -> None:
    """Have the borrower of the first loan send a payment, and that of the second more collateral."""
    paying, securing = Loan.objects.order_by("pk").select_related("asset")[:2]
    for loan, purpose, code, quantity in (
        (paying, DepositAddress.Purpose.REPAYMENT, paying.asset.code, Decimal(1000)),
        (securing, DepositAddress.Purpose.COLLATERAL, "ETH", Decimal("0.5")),
    ):
        address = loan.margin_account.deposit_addresses.get(purpose=purpose, asset__code=code)
        outside.bank().simulate_deposit(
            f"dark:{purpose}", address=address.address, asset=code, quantity=quantity, at=at
        )


def test_nothing_is_ordered_while_marks_are_stale(seen: Seen) -> None:
    assert not [at for at, _ in seen.orders if CUT.start_at + SILENCE_NOTICED <= at < CUT.end_at]
    assert seen.report["wrongful_sales"] == 0


def test_accounts_are_bounded_or_unknown_and_a_person_is_told(seen: Seen) -> None:
    assert seen.unknown > 0
    assert seen.incidents > 0
    assert seen.outages > 0


def test_sales_wait_for_the_grace_period(seen: Seen) -> None:
    """Sales do come, but none of them within ten minutes of the first good mark, unless past the gap limit."""
    assert any(at >= CUT.end_at for at, _ in seen.orders)
    early = [plan for at, plan in seen.orders if CUT.end_at <= at < CUT.end_at + GRACE]
    assert early == []


def test_repayments_and_top_ups_go_through_all_the_while(seen: Seen) -> None:
    assert seen.payments_in_the_dark > 0
    assert seen.top_ups_in_the_dark > 0


def test_the_books_are_whole_afterwards(seen: Seen) -> None:
    assert seen.report["invariants"] == "ok"
    assert seen.report["pnl_residual"] == "0.00"
