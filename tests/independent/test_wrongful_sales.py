"""The checker itself: sales that must be found wrongful, beside the same sales with a reason."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.independent import clocks, defaults, ticks, wrongful_sales
from tests.independent.wrongful_sales import Checker

D = Decimal
T0 = datetime(2021, 5, 19, 12, 0, tzinfo=UTC)
STEP = timedelta(seconds=15)
ACCOUNT, CALL = 1, 5


def at(step: int) -> datetime:
    return T0 + step * STEP


class Facts:
    """One account of 1 BTC and 8,150 USD of debt, and a cursor that answers the checker's statements with them."""

    def __init__(self) -> None:
        self.price = dict.fromkeys(range(60), D(10_000))
        self.silent: set[int] = set()
        self.debt = D(8_150)
        self.order: tuple[Any, ...] = (1, ACCOUNT, "BTC", 1, D("0.55"), at(50), "liquidation_level", None, 1, at(50))
        self.calls: list[tuple[Any, ...]] = []
        self.paid: list[tuple[Any, ...]] = []
        self.agreed: list[tuple[Any, ...]] = []
        self.trades: list[tuple[Any, ...]] = []
        self.outages: list[tuple[Any, ...]] = []
        self.freezes: list[tuple[Any, ...]] = []
        self.disputes: list[tuple[Any, ...]] = []
        self.spoken: list[tuple[Any, ...]] = []
        self.venues = (1, 2, 3)
        self.default: dict[str, list[tuple[Any, ...]]] = {}
        self._answer: list[tuple[Any, ...]] = []

    def called(
        self, *, step: int, received: datetime | None, channels: int = 2, period_s: int = 300, paused_s: int = 0
    ) -> None:
        """Issue a call at a step, and sell because of it."""
        self.calls = [(CALL, at(step), D(2_100), paused_s, None, period_s, received, channels)]
        self.order = (*self.order[:6], "expired_call", CALL, 1, self.order[5])

    def execute(self, statement: str) -> None:
        venues = self.venues
        heard = [step for step in self.price if step not in self.silent]
        self._answer = {
            ticks._FEEDS: [(venue, "BTC", "USD", 40) for venue in venues],
            ticks._TICKS: [(venue, at(step), self.price[step]) for venue in venues for step in heard],
            ticks._QUORUM: [("BTC", 3)],
            wrongful_sales._ORDERS: [self.order],
            wrongful_sales._ACCOUNTS: [
                (ACCOUNT, D("0.70"), D("0.75"), D("0.80"), D("0.60"), D("0.65"), D("0.03"), 300, 150)
            ],
            wrongful_sales._FLOWS: [
                (ACCOUNT, "client_pledged", "BTC", at(0), D(-1)),
                (ACCOUNT, "loan_principal", "USD", at(0), self.debt),
            ],
            wrongful_sales._CALLS: self.calls,
            wrongful_sales._PAID: self.paid,
            wrongful_sales._AGREED: self.agreed,
            wrongful_sales._TRADES: self.trades,
            clocks._OUTAGES: self.outages,
            clocks._FREEZES: self.freezes,
            clocks._DISPUTES: self.disputes,
            clocks._SPOKEN: self.spoken,
            wrongful_sales._LOTS: [("BTC", D("0.0001"))],
            **self.default,
        }.get(statement, [])

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self._answer


@pytest.fixture
def facts() -> Facts:
    return Facts()


def reasons(facts: Facts) -> list[str]:
    return [sale.reason for sale in Checker(facts).wrongful()]


def test_a_sale_above_the_liquidation_level_that_held_is_rightful(facts: Facts) -> None:
    assert reasons(facts) == []


def test_a_sale_well_below_the_level(facts: Facts) -> None:
    facts.debt = D(7_000)
    assert "LTV was" in reasons(facts)[0]


def test_a_breach_of_one_round(facts: Facts) -> None:
    facts.debt = D(7_000)
    facts.price[50] = D(8_700)  # 0.8046 for a single round
    assert "LTV was" in reasons(facts)[0]


def test_a_sale_while_nobody_was_heard(facts: Facts) -> None:
    facts.silent = set(range(45, 60))
    assert "no quorum" in reasons(facts)[0]


def test_a_sale_just_after_an_outage(facts: Facts) -> None:
    facts.debt = D(8_050)
    facts.silent = set(range(30, 46))
    assert "outage" in reasons(facts)[0]


def agreed(at_step: int, *, until: int = 60, kind: str = "sale_on_degraded", episode: int = 1) -> list[tuple[Any, ...]]:
    return [(ACCOUNT, episode, kind, at(at_step), at(until))]


def test_two_venues_are_no_quorum_and_two_persons_may_sell_on_them(facts: Facts) -> None:
    facts.venues = (1, 2)
    assert "no quorum" in reasons(facts)[0]
    facts.agreed = agreed(49)
    assert reasons(facts) == []


@pytest.mark.parametrize(
    "other", [agreed(51), agreed(10, until=50), agreed(49, kind="full_close"), agreed(49, episode=2)]
)
def test_an_agreement_too_late_too_old_or_to_something_else(facts: Facts, other: list[tuple[Any, ...]]) -> None:
    facts.venues = (1, 2)
    facts.agreed = other
    assert "no quorum" in reasons(facts)[0]


def test_two_persons_do_not_make_a_level(facts: Facts) -> None:
    facts.venues = (1, 2)
    facts.agreed = agreed(49)
    facts.debt = D(7_000)
    assert "LTV was" in reasons(facts)[0]


def test_two_persons_can_not_sell_without_any_price(facts: Facts) -> None:
    facts.agreed = agreed(49)
    facts.silent = set(range(45, 60))
    assert "no quorum" in reasons(facts)[0]


def test_a_trade_needs_two_bids_and_a_quorum_or_two_persons(facts: Facts) -> None:
    facts.trades = [(1, at(52), "BTC", 1)]
    assert "against 1 bids" in reasons(facts)[0]
    facts.trades = [(1, at(55), "BTC", 3)]
    assert reasons(facts) == []
    facts.silent = set(range(51, 60))
    assert "without a quorum" in reasons(facts)[0]
    facts.agreed = agreed(54)
    assert reasons(facts) == []


def test_past_the_gap_limit_two_persons_may_end_the_grace(facts: Facts) -> None:
    facts.debt = D(8_500)  # 0.85, the gap limit at 0.83
    facts.order = (*facts.order[:4], D("0.7"), *facts.order[5:])
    facts.silent = set(range(30, 46))
    assert "outage" in reasons(facts)[0]
    facts.agreed = agreed(49, kind="sale_in_grace")
    assert reasons(facts) == []
    facts.debt = D(8_150)  # at the level, not past the limit
    facts.order = (*facts.order[:4], D("0.55"), *facts.order[5:])
    assert "outage" in reasons(facts)[0]


def test_a_trade_in_the_grace_needs_two_persons(facts: Facts) -> None:
    facts.order = (*facts.order[:5], at(20), *facts.order[6:])
    facts.silent = set(range(30, 46))
    facts.trades = [(1, at(50), "BTC", 3)]
    assert "only just come back" in reasons(facts)[0]
    facts.agreed = agreed(49, kind="sale_in_grace")
    assert reasons(facts) == []


def test_a_sale_of_more_than_restores_the_target(facts: Facts) -> None:
    facts.order = (*facts.order[:4], D(1), *facts.order[5:])
    assert "restores the target" in reasons(facts)[0]


def test_an_expired_call_is_a_reason(facts: Facts) -> None:
    facts.debt = D(7_200)
    facts.order = (*facts.order[:4], D("0.35"), *facts.order[5:])
    facts.called(step=10, received=at(11))
    assert reasons(facts) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"received": at(45)}, "expired at"),
        ({"received": None}, "no evidence of delivery"),
        ({"received": at(11), "channels": 1}, "no evidence of delivery"),
    ],
)
def test_a_call_that_had_not_run_out(facts: Facts, change: dict[str, Any], said: str) -> None:
    facts.debt = D(7_200)
    facts.order = (*facts.order[:4], D("0.35"), *facts.order[5:])
    facts.called(step=10, **change)
    assert said in reasons(facts)[0]


def test_a_call_that_had_been_paid(facts: Facts) -> None:
    facts.debt = D(7_200)
    facts.order = (*facts.order[:4], D("0.35"), *facts.order[5:])
    facts.called(step=10, received=at(11))
    facts.paid = [(ACCOUNT, at(20), D(2_100))]
    assert "cured in time" in reasons(facts)[0]


def test_a_call_after_which_the_market_came_back(facts: Facts) -> None:
    facts.debt = D(7_200)
    facts.called(step=10, received=at(11))
    for step in range(40, 60):
        facts.price[step] = D(12_500)
    assert "had come back" in reasons(facts)[0]


def clock(facts: Facts, *, paused_s: int) -> list[str]:
    """Return what is wrong with a call that was received at step 11, has 420 s, and was sold 585 s later."""
    facts.debt = D(7_200)
    facts.order = (*facts.order[:4], D("0.35"), *facts.order[5:])
    facts.called(step=10, received=at(11), period_s=420, paused_s=paused_s)
    return reasons(facts)


@pytest.mark.parametrize("stop", ["outages", "freezes"])
def test_what_stopped_the_clock_is_counted_from_its_own_rows(facts: Facts, stop: str) -> None:
    whose: object = "BTC" if stop == "outages" else ACCOUNT
    setattr(facts, stop, [(whose, at(20), at(28)), (whose, at(24), at(30))])  # two and a half minutes, the overlap once
    assert clock(facts, paused_s=150) == []
    assert "are on it" in clock(facts, paused_s=0)[0]
    assert "are on it" in clock(facts, paused_s=400)[0]
    setattr(facts, stop, [(whose, at(20), at(40))])
    # Whatever the call's own row says: with five minutes more it was not due.
    assert "expired at" in clock(facts, paused_s=0)[0]
    assert "expired at" in clock(facts, paused_s=300)[0]


def test_outages_of_others_and_from_before_the_receipt_stop_nothing(facts: Facts) -> None:
    facts.outages = [("ETH", at(12), at(50)), ("BTC", at(0), at(11))]
    facts.freezes = [(ACCOUNT + 1, at(12), None)]
    assert clock(facts, paused_s=0) == []


def test_a_stop_that_is_open_counts_up_to_the_expiry_and_six_hours_at_most(facts: Facts) -> None:
    facts.freezes = [(ACCOUNT, at(20), None)]
    assert "expired at" in clock(facts, paused_s=0)[0]
    stops = clocks.RawStops(facts)
    day = timedelta(days=1)
    assert stops.between(ACCOUNT, set(), at(0), at(0) + day) == timedelta(hours=6)


def test_a_dispute_stops_the_clock_until_its_answer_while_the_rest_is_paid(facts: Facts) -> None:
    facts.disputes = [(CALL, at(20), at(40), at(60), D("0.5"))]
    assert clock(facts, paused_s=0) == []  # nothing was paid of what was not disputed
    facts.paid = [(ACCOUNT, at(21), D(1_050))]
    assert "expired at" in clock(facts, paused_s=0)[0]
    facts.disputes = [(CALL, at(20), None, at(28), D("0.5"))]  # never answered: two minutes, and no more
    assert clock(facts, paused_s=120) == []


def test_the_shorter_clock_of_the_accelerated_level_stands_still_too(facts: Facts) -> None:
    facts.debt = D(7_700)
    facts.order = (*facts.order[:4], D("0.45"), *facts.order[5:])
    facts.called(step=30, received=at(31), period_s=3600)  # accelerated from the start: 150 s
    assert reasons(facts) == []
    facts.freezes = [(ACCOUNT, at(32), at(49))]
    facts.called(step=30, received=at(31), period_s=3600, paused_s=255)
    assert "expired at" in reasons(facts)[0]


def test_falling_back_below_the_accelerated_level_restores_the_deadline(facts: Facts) -> None:
    facts.debt = D(7_700)
    facts.order = (*facts.order[:4], D("0.45"), *facts.order[5:])
    facts.price[45] = D(10_600)  # 0.726, four and a half minutes after the call
    facts.called(step=30, received=at(31), period_s=3600)
    assert "expired at" in reasons(facts)[0]


def test_a_logged_phone_call_is_receipt(facts: Facts) -> None:
    facts.debt = D(7_200)
    facts.order = (*facts.order[:4], D("0.35"), *facts.order[5:])
    facts.called(step=10, received=at(11), channels=1)
    assert "no evidence of delivery" in reasons(facts)[0]
    facts.spoken = [(CALL, at(12))]
    assert reasons(facts) == []
    facts.spoken = [(CALL, at(45))]
    assert "expired at" in reasons(facts)[0]


LOAN = 7


def in_default(facts: Facts) -> dict[str, list[tuple[Any, ...]]]:
    """Sell 0.22 BTC for a loan of 2,000 USD that was due at step 0 and in default a day later, at a low LTV."""
    late = at(50) - timedelta(hours=1)
    facts.debt = D(2_000)
    facts.order = (1, ACCOUNT, "BTC", 1, D("0.2"), at(50), "maturity_default", None, 4, at(50))
    facts.default = {
        defaults._SALES: [(ACCOUNT, 4, LOAN, "maturity_default", at(50), 0, 1)],
        defaults._ASKED: [(LOAN, "maturity", D(2_000), late - timedelta(days=6), late - timedelta(days=1), late)],
        defaults._PAID: [],
        defaults._TOLD: [(LOAN, late + timedelta(minutes=1))],
        defaults._OWED: [(LOAN, "USD", late - timedelta(days=90), D(2_000))],
    }
    return facts.default


def test_a_sale_for_a_default_is_rightful_at_a_low_ltv(facts: Facts) -> None:
    in_default(facts)
    assert reasons(facts) == []


def test_a_sale_for_a_default_that_lacks_something(facts: Facts) -> None:
    late = in_default(facts)[defaults._ASKED][0][5]
    part = ("instalment", D(500), late - timedelta(days=6), late - timedelta(days=1), late)
    for statement, row, says in (
        (defaults._SALES, (ACCOUNT, 4, LOAN, "maturity_default", at(50), 0, 0), "no two persons"),
        (defaults._SALES, (ACCOUNT, 4, LOAN, "maturity_default", at(50), 2, 1), "grace"),
        (defaults._SALES, (ACCOUNT, 4, LOAN, "recall_default", at(50), 0, 1), "no recall_default"),
        (defaults._TOLD, (LOAN, at(51)), "no evidence of delivery"),
        (defaults._ASKED, (LOAN, "maturity", D(2_000), *part[2:4], at(51)), "no maturity_default"),
        (defaults._OWED, (LOAN, "USD", at(49), D(2_000)), "had been paid"),
        (defaults._OWED, (LOAN, "USD", late - timedelta(days=90), D(1_000)), "restores the target"),
    ):
        in_default(facts)[statement] = [row]
        assert says in reasons(facts)[0], says


def test_a_payment_default_counts_what_came_in_while_it_was_asked_for(facts: Facts) -> None:
    late = in_default(facts)[defaults._ASKED][0][5]
    asked = (LOAN, "instalment", D(500), late - timedelta(days=6), late - timedelta(days=1), late)
    older = (LOAN, "interest", D(100), late - timedelta(days=36), late - timedelta(days=31), late + timedelta(days=9))
    for rows, paid, rightful in (
        ([asked], [], True),
        ([asked], [(LOAN, late - timedelta(days=2), D(499))], True),
        ([asked], [(LOAN, late - timedelta(days=2), D(500))], False),
        ([asked], [(LOAN, late - timedelta(days=20), D(500))], True),  # before it was asked for
        ([asked, older], [(LOAN, late - timedelta(days=2), D(500))], True),  # the older one took its part first
        ([asked, older], [(LOAN, late - timedelta(days=2), D(600))], False),
    ):
        known = in_default(facts)
        known[defaults._SALES] = [(ACCOUNT, 4, LOAN, "payment_default", at(50), 0, 1)]
        facts.order = (*facts.order[:6], "payment_default", *facts.order[7:])
        known[defaults._ASKED], known[defaults._PAID] = rows, paid
        assert (reasons(facts) == []) is rightful, (rows, paid)
