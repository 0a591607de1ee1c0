"""What falls due: announced, met by what is paid, late when its day is over, in default when its grace is."""

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from itertools import permutations

import pytest
from django.db import DatabaseError, connection, transaction

from lending import amendments, dunning, interest, loans, obligations, one_by_one, repayments, rolling
from lending.models import (
    AMENDED_TRANSITIONS,
    CORRECTED_TRANSITIONS,
    OBLIGATION_TRANSITIONS,
    Calendar,
    Correction,
    Loan,
    LoanState,
    Notice,
    Obligation,
    Overdue,
    ScheduleKind,
)
from lending.other_terms import Wanted
from lending.overdue import failing
from risk import overdue
from risk.models import Incident
from tests.factories import lending as make

pytestmark = pytest.mark.django_db

FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
SECOND = dt.timedelta(seconds=1)
D = Decimal


def lent(kind: str = ScheduleKind.INTEREST_ONLY, *, grace_days: int = 0, calendar: str = "", days: int = 92) -> Loan:
    product = make.ProductFactory(code="kind", schedule_kind=kind, grace_days=grace_days, calendar=calendar)
    return make.active_loan(now=FUNDED, days=days, product=product)


def at(day: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{day}T00:00+00:00")


def first() -> Obligation:
    return Obligation.objects.order_by("due_at", "pk")[0]


def pay(loan: Loan, amount: str, when: dt.datetime) -> None:
    make.give(loan.client, "USD", amount, now=when)
    repayments.record(loan, D(amount), key=f"pay:{when}:{amount}", received_at=when, now=when)


def test_a_loan_asks_for_each_row_of_its_schedule() -> None:
    lent()
    rows = Obligation.objects.order_by("due_at")
    assert [(row.kind, row.due_date.isoformat(), row.asks) for row in rows] == [
        ("interest", "2021-06-19", D("3875.00")),  # 31 days at 125.00
        ("interest", "2021-07-19", D("3750.00")),
        ("maturity", "2021-08-19", D("503875.00")),
    ]
    assert {row.state for row in rows} == {"expected"}


def test_five_days_before_a_notice_says_what_is_to_be_paid() -> None:
    lent()
    assert dunning.work_due(now=at("2021-06-14") - SECOND) == 0
    assert dunning.work_due(now=at("2021-06-14")) == 1
    assert dunning.work_due(now=at("2021-06-14")) == 0
    assert (first().state, first().amount) == ("noticed", D("3875.00"))
    notice = Notice.objects.get(kind="payment_due")
    assert "3,875.00 USD" in notice.subject
    assert "Saturday, 19 June 2021" in notice.body
    assert "20 Jun 2021 00:00 UTC" in notice.body


def test_a_loan_of_which_a_step_fails_holds_back_no_other_and_a_person_sees_it(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = lent()
    other = make.active_loan(now=FUNDED, days=92, product=broken.product)
    honest = obligations.asked_for

    def fails(loan: Loan, row: Obligation) -> Decimal:
        if loan.pk == broken.pk:
            raise ZeroDivisionError
        return honest(loan, row)

    monkeypatch.setattr(obligations, "asked_for", fails)
    now = at("2021-06-14")
    assert [dunning.work_due(now=when) for when in (now, now + HOUR)] == [1, 0]
    states = Obligation.objects.filter(due_date="2021-06-19").order_by("loan")
    assert list(states.values_list("loan", "state")) == [(broken.pk, "expected"), (other.pk, "noticed")]
    row = Overdue.objects.get()
    assert (row.loan, row.kind, row.at, row.done_at) == (broken, "dunning", now, None)
    assert overdue.watch_due(now=now + HOUR) == 1
    seen = Incident.objects.get(kind="step_fails", margin_account=broken.margin_account, closed_at=None)
    assert "it is held up since 14 Jun 2021: what falls due of it failed; something went wrong that nob" in seen.summary
    assert "(ZeroDivisionError)" in seen.facts["reason"]
    monkeypatch.undo()
    assert dunning.work_due(now=now + 2 * HOUR) == 1
    row.refresh_from_db()
    assert row.done_at == now + 2 * HOUR
    assert overdue.watch_due(now=now + 2 * HOUR) == 1
    assert not Incident.objects.filter(closed_at=None).exists()


@pytest.mark.parametrize("step", [amendments.work_due, rolling.roll_due, loans.close_due])
def test_what_ends_or_goes_on_by_itself_is_over_once_it_fails_no_more(step: Callable[..., int]) -> None:
    loan = lent()
    kinds = {amendments.work_due: "amendment", rolling.roll_due: "rolling", loans.close_due: "closing"}
    one_by_one.keep(loan, Overdue.Kind(kinds[step]), [FUNDED], "it failed", FUNDED)
    assert [late.loan for late in failing(before=FUNDED)] == [loan]
    # What a call that began later has seen fail is not this one's to end.
    one_by_one.keep(loan, Overdue.Kind(kinds[step]), [FUNDED + 2 * HOUR], "it failed", FUNDED + 2 * HOUR)
    step(now=FUNDED + HOUR)
    assert failing(before=FUNDED + HOUR) == []
    assert [late.since for late in Overdue.objects.filter(done_at=None)] == [FUNDED + 2 * HOUR]


def test_a_notice_asks_for_less_when_principal_was_paid_before() -> None:
    loan = lent()
    pay(loan, "200000", at("2021-06-09"))  # 21 days of 125.00 are interest; ten days are left at 75.65...
    dunning.work_due(now=at("2021-06-14"))
    assert first().amount == D("756.57")  # 302,625.00 at 9 % for ten days


@pytest.mark.parametrize("when", ["2021-06-14T00:00", "2021-06-19T14:00", "2021-06-19T23:59"])
def test_what_is_paid_after_the_notice_meets_it(when: str) -> None:
    loan = lent()
    dunning.work_due(now=at("2021-06-14"))
    paid_at = dt.datetime.fromisoformat(f"{when}+00:00")
    dunning.work_due(now=paid_at)
    pay(loan, "3875", paid_at)
    assert (first().state, first().met_at) == ("met", paid_at)
    dunning.work_due(now=at("2021-06-25"))
    assert Loan.objects.get().state == LoanState.ACTIVE
    assert not Notice.objects.filter(kind__in=("payment_late", "loan_default")).exists()


def test_parts_add_up_and_serve_the_oldest_first() -> None:
    loan = lent(grace_days=60)
    for day in ("2021-06-14", "2021-06-20", "2021-07-14", "2021-07-20"):
        dunning.work_due(now=at(day))
    one, two, _ = Obligation.objects.order_by("due_at")
    assert (one.state, two.state) == ("late", "late")
    assert (one.amount, two.amount) == (D("3875.00"), D("3750.00"))  # what is late already is not asked for twice
    pay(loan, "5000", at("2021-07-20"))
    one, two, _ = Obligation.objects.order_by("due_at")
    assert (one.state, one.paid, two.state, two.paid) == ("met", D(3875), "late", D(1125))
    pay(loan, "2625", at("2021-07-21"))
    assert Obligation.objects.filter(state="met").count() == 2


def test_what_is_not_paid_is_late_and_then_in_default() -> None:
    loan = lent(grace_days=3)
    late_at, default_at = at("2021-06-20"), at("2021-06-23")
    dunning.work_due(now=late_at - SECOND)
    assert first().state == "due"
    dunning.work_due(now=late_at)
    assert (first().state, Loan.objects.get().state) == ("late", LoanState.ACTIVE)
    assert "has not arrived" in Notice.objects.get(kind="payment_late").body
    pay(loan, "875", late_at + HOUR)  # not enough
    dunning.work_due(now=default_at - SECOND)
    assert Loan.objects.get().state == LoanState.ACTIVE
    dunning.work_due(now=default_at)
    loan = Loan.objects.get()
    assert (loan.state, loan.default_at) == (LoanState.DEFAULTED, default_at)
    assert list(Obligation.objects.order_by("due_at").values_list("state", flat=True)) == [
        "defaulted", "cancelled", "cancelled",
    ]  # fmt: skip
    assert "at the default rate of 14.00% a year" in Notice.objects.get(kind="loan_default").body


def test_the_default_rate_counts_from_the_instant_of_default_however_late_it_is_noticed() -> None:
    loan = lent(grace_days=3)
    dunning.work_due(now=at("2021-06-26"))
    interest.accrue_due(now=at("2021-06-26"))
    loan = Loan.objects.get()
    # 35 days at 9 % and three at 14 %: 125.00 and 194.4444... a day
    assert loan.interest_due == D("4375.00") + D("583.34")


def test_a_loan_matures_and_defaults_a_day_later_and_does_neither_before() -> None:
    loan = make.active_loan(days=30)
    maturity = dt.datetime(2021, 6, 18, tzinfo=dt.UTC)
    version = loan.margin_account.version
    assert dunning.work_due(now=maturity - SECOND) == 1  # announced
    assert Loan.objects.get().state == LoanState.ACTIVE
    assert dunning.work_due(now=maturity) == 1
    assert dunning.work_due(now=maturity + 23 * HOUR) == 0
    assert Loan.objects.get().state == LoanState.MATURED
    assert dunning.work_due(now=maturity + 24 * HOUR) == 1
    assert Loan.objects.get().state == LoanState.DEFAULTED
    loan.margin_account.refresh_from_db()
    assert loan.margin_account.version > version


def test_a_maturity_on_a_saturday_is_paid_on_monday_and_in_default_on_tuesday() -> None:
    lent(ScheduleKind.BULLET, calendar=Calendar.FEDWIRE, days=31)  # Saturday, 19 June 2021
    dunning.work_due(now=at("2021-06-20"))
    assert Loan.objects.get().state == LoanState.ACTIVE
    dunning.work_due(now=at("2021-06-21"))
    assert Loan.objects.get().state == LoanState.MATURED
    dunning.work_due(now=at("2021-06-22"))
    loan = Loan.objects.get()
    assert (loan.state, loan.default_at) == (LoanState.DEFAULTED, at("2021-06-22"))


def test_who_pays_off_early_is_asked_for_nothing_more() -> None:
    loan = lent()
    dunning.work_due(now=at("2021-06-14"))
    pay(loan, "503250", at("2021-06-14"))
    assert Loan.objects.get().state == LoanState.REPAID
    assert set(Obligation.objects.values_list("state", flat=True)) == {"met"}
    assert dunning.work_due(now=at("2022-01-01")) == 0


def test_instalments_are_met_one_after_the_other() -> None:
    loan = lent(ScheduleKind.EQUAL_INSTALMENT)
    for row in list(Obligation.objects.order_by("due_at")):
        dunning.work_due(now=row.due_at)
        row.refresh_from_db()
        assert row.amount == row.principal + row.interest
        pay(loan, str(row.amount), row.due_at)
    assert Loan.objects.get().state == LoanState.REPAID


def test_nothing_is_late_while_collateral_is_sold_and_a_default_outlives_the_sale() -> None:
    loan = lent(grace_days=3)
    dunning.work_due(now=at("2021-06-20"))
    loan.refresh_from_db()
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="test", now=at("2021-06-20"))
    assert dunning.work_due(now=at("2021-06-24")) == 0
    loans.transition(loan, LoanState.ACTIVE, actor=None, cause="test", now=at("2021-06-24"))
    dunning.work_due(now=at("2021-06-24"))
    loan.refresh_from_db()
    assert loan.state == LoanState.DEFAULTED
    loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="test", now=at("2021-06-25"))
    loans.transition(loan, LoanState.ACTIVE, actor=None, cause="test", now=at("2021-06-25"))
    assert first().state == "late"
    dunning.work_due(now=at("2021-06-25"))
    loan.refresh_from_db()
    assert loan.state == LoanState.DEFAULTED


def test_the_number_of_queries_of_an_idle_look_does_not_grow(django_assert_max_num_queries) -> None:
    for _ in range(3):
        make.active_loan(now=FUNDED)
    with django_assert_max_num_queries(2):
        assert dunning.work_due(now=FUNDED) == 0


@pytest.mark.parametrize("kind", ["", "payment", "reversal", "amendment"])
def test_declared_and_guarded_transitions_are_the_same(kind: str) -> None:
    """
    What was met is open again, and a default undone, only after a correction of the loan's payments; what was to be
    paid is replaced only once the loan was amended.
    """
    loan = lent()
    row = first()
    declared = set(OBLIGATION_TRANSITIONS)
    if kind == "amendment":
        wanted = Wanted(annual_rate=D("0.01"))
        made = amendments.propose(
            loan, wanted, reason="x", expires_at=FUNDED + DAY, maker=loan.made_by, now=FUNDED + HOUR
        )
        amendments.approve(made, by=make.staff("rhea"), now=FUNDED + HOUR)
        amendments.sign(made, by=loan.accepted_by, read=None, now=FUNDED + HOUR)
        row = Obligation.objects.filter(state="expected").order_by("pk")[0]
        declared |= set(AMENDED_TRANSITIONS)
    elif kind:
        pay(loan, "1", FUNDED + DAY)
        Correction.objects.create(
            client=loan.client, loan=loan, kind=kind, cause="wrong", repayment=loan.repayments.get(), reason="x",
            maker=make.staff("olga"), checker=make.staff("rhea"), effective_at=FUNDED, recorded_at=FUNDED, interest=0,
        )  # fmt: skip
        declared |= {step for step in CORRECTED_TRANSITIONS if kind == "reversal" or step[0] != "met"}
    for before, after in permutations(Obligation.State.values, 2):
        if before == "replaced" and kind != "amendment":
            continue
        with transaction.atomic():
            _lead_to(row, before)
            assert _may_go(row, after) is ((before, after) in declared), (before, after)
            transaction.set_rollback(True)


def _lead_to(row: Obligation, state: str) -> None:
    way: dict[str, list[str]] = {
        "expected": [],
        "noticed": ["noticed"],
        "due": ["noticed", "due"],
        "late": ["noticed", "due", "late"],
    }
    way |= {"defaulted": [*way["late"], "defaulted"], "met": ["met"], "cancelled": ["cancelled"]}
    way |= {"replaced": ["replaced"]}
    for step in way[state]:
        _go(row, step)


def _go(row: Obligation, state: str) -> None:
    is_open = state in {"expected", "noticed", "due", "late"}
    Obligation.objects.filter(pk=row.pk).update(state=state, act_at=FUNDED if is_open else None)


def _may_go(row: Obligation, state: str) -> bool:
    try:
        with transaction.atomic():
            _go(row, state)
    except DatabaseError as refusal:
        if "an obligation can not go from" not in str(refusal):
            raise
        return False
    return True


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM lending_obligation",
        "UPDATE lending_obligation SET paid = 1",  # nothing was asked yet
        "UPDATE lending_obligation SET paid = -1",
        "UPDATE lending_obligation SET act_at = NULL",
        "UPDATE lending_obligation SET default_at = due_at",
    ],
)
def test_the_database_refuses_what_can_not_be(sql: str) -> None:
    lent()
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.mark.parametrize(
    ("calendar", "day", "grace", "expected"),
    [
        (Calendar.EVERY_DAY, "2021-06-19", 0, "2021-06-20"),
        (Calendar.EVERY_DAY, "2021-06-19", 3, "2021-06-23"),
        (Calendar.FEDWIRE, "2021-06-19", 0, "2021-06-22"),  # Saturday: paid on Monday
        (Calendar.FEDWIRE, "2021-07-02", 1, "2021-07-07"),  # Friday; the fourth is kept on Monday, grace is Tuesday
    ],
)
def test_when_it_is_in_default(calendar: str, day: str, grace: int, expected: str) -> None:
    assert obligations.default_at(calendar, dt.date.fromisoformat(day), grace) == at(expected)
