"""What was asked for follows when a loan's past is put right: not met after all, or met in time and no default."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction
from django.db.models import Sum

from lending import (
    amendments,
    approvals,
    corrections,
    dunning,
    interest,
    invariants,
    ledger,
    loans,
    obligations,
    repayments,
    replays,
)
from lending.engine import accounts
from lending.models import (
    Correction,
    Loan,
    LoanState,
    Notice,
    Obligation,
    Posting,
    Repayment,
    Role,
    ScheduleKind,
    TermSheet,
    User,
)
from lending.other_terms import Wanted
from tests.factories import lending as make

pytestmark = pytest.mark.django_db

FUNDED = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)
HOUR = dt.timedelta(hours=1)
D = Decimal


def at(day: str) -> dt.datetime:
    return dt.datetime.fromisoformat(f"{day}T00:00+00:00")


@pytest.fixture
def loan() -> Loan:
    """Return 500,000 USD at 9 % ACT/360 (125 a day), interest monthly: 3,875 on 19 June, 3,750 on 19 July."""
    product = make.ProductFactory(code="monthly", schedule_kind=ScheduleKind.INTEREST_ONLY, grace_days=3)
    row = make.active_loan(now=FUNDED, days=92, product=product)
    make.give(row.client, "USD", "700000", now=FUNDED)
    return row


@pytest.fixture
def olga() -> User:
    return make.staff("olga", Role.OPERATIONS)


@pytest.fixture
def oscar() -> User:
    return make.staff("oscar", Role.OPERATIONS)


def fresh() -> Loan:
    return Loan.objects.select_related("asset", "client").get()


def rows() -> list[Obligation]:
    return list(Obligation.objects.order_by("due_at"))


def states() -> list[str]:
    return [row.state for row in rows()]


def live_until(*days: str) -> None:
    for day in days:
        interest.accrue_due(now=at(day))
        dunning.work_due(now=at(day))


def income(kind: str, *, until: str = "2022-01-01") -> Decimal:
    rows = Posting.objects.filter(category=kind, entry__effective_at__lt=at(until))
    return -(rows.aggregate(all=Sum("amount"))["all"] or D(0))


def pay(amount: str, when: dt.datetime) -> Repayment:
    return repayments.record(fresh(), D(amount), key=f"pay:{when}", received_at=when, now=when)


def back(payment: Repayment, maker: User, checker: User, *, now: dt.datetime) -> None:
    asked = corrections.ask_reversal(payment, cause="wrong", reason="another client's", maker=maker, now=now)
    approvals.decide(asked, checker=checker, approve=True, now=now)


def late(amount: str, maker: User, checker: User, *, received_at: dt.datetime, now: dt.datetime) -> None:
    asked = corrections.ask_payment(fresh(), D(amount), received_at=received_at, reason="found", maker=maker, now=now)
    approvals.decide(asked, checker=checker, approve=True, now=now)


@pytest.mark.parametrize(
    ("day", "state", "acts"),
    [
        ("2021-06-16", "noticed", "2021-06-19"),
        ("2021-06-19", "due", "2021-06-20"),
        ("2021-06-20", "late", "2021-06-24"),  # its grace runs again: the rest of the day, and three days
        ("2021-06-30", "late", "2021-07-04"),
    ],
)
def test_what_a_payment_had_met_is_open_again(
    loan: Loan, olga: User, oscar: User, day: str, state: str, acts: str
) -> None:
    live_until("2021-06-14")
    payment = pay("3875", at("2021-06-15"))
    assert states()[0] == "met"
    live_until(day)
    back(payment, olga, oscar, now=at(day))
    first = rows()[0]
    assert (first.state, first.paid, first.amount, first.met_at) == (state, 0, 3875, None)
    assert first.act_at == at(acts)
    told = Notice.objects.get(kind="payment_taken_back").body
    assert "Your payment of 3,875.00 USD of 15 Jun 2021 00:00 UTC was taken back." in told
    assert "its money stands in your free balance" in told
    assert "Open again: 3,875.00 USD, interest due on 19 Jun 2021." in told


def test_who_does_not_pay_it_again_is_in_default_after_a_new_grace(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14")
    payment = pay("3875", at("2021-06-15"))
    live_until("2021-06-20", "2021-06-30")
    back(payment, olga, oscar, now=at("2021-06-30"))
    assert fresh().state == LoanState.ACTIVE
    live_until("2021-07-03")
    assert (fresh().state, states()[0]) == (LoanState.ACTIVE, "late")
    dunning.work_due(now=at("2021-07-04"))
    # The default rate counts from the instant that was agreed: without the payment it was never met.
    assert (fresh().state, fresh().default_at) == (LoanState.DEFAULTED, at("2021-06-23"))
    # 35 days of 125.00, and ten of 194.44... that were posted at 125.00: each day's is moved within that day.
    booked = {kind: income(kind) for kind in ("interest", "default_interest")}
    assert booked == {"interest": 35 * 125, "default_interest": D("1944.45")}
    assert fresh().interest_posted == 35 * 125 + D("1944.45")
    assert income("interest", until="2021-07-01") + income("default_interest", until="2021-07-01") == D("5930.56")
    interest.accrue_due(now=at("2021-07-05"))
    assert (income("interest"), income("default_interest")) == (35 * 125, D("2333.34"))
    assert [v for v in invariants.check() if v.code in {"I1", "I2", "I3", "I11", "I12", "I15"}] == []


def test_who_pays_within_the_new_grace_is_in_no_default_however_late_it_is_known(
    loan: Loan, olga: User, oscar: User
) -> None:
    live_until("2021-06-14")
    payment = pay("3875", at("2021-06-15"))
    live_until("2021-06-20", "2021-06-30")
    back(payment, olga, oscar, now=at("2021-06-30"))
    told = Notice.objects.get(kind="payment_taken_back").body
    assert "Not paid by 04 Jul 2021 00:00 UTC, the loan is in default." in told
    # Nothing is accrued that day: the default alone says that the payment came before what is on the books.
    dunning.work_due(now=at("2021-07-04"))
    assert fresh().state == LoanState.DEFAULTED
    assert "default rate of 14.00% a year from 23 Jun 2021" in Notice.objects.get(kind="loan_default").body
    paid_at = at("2021-07-04") - HOUR
    repayments.record(fresh(), D(3875), key="found", received_at=paid_at, now=at("2021-07-04") + HOUR)
    assert (fresh().state, rows()[0].state, rows()[0].met_at) == (LoanState.ACTIVE, "met", paid_at)
    assert income("default_interest") == 0
    # Its rate had counted from before the payment: each day has its own again.
    assert (income("interest", until="2021-06-26"), income("default_interest", until="2021-06-26")) == (38 * 125, 0)
    assert [v for v in invariants.check() if v.code in {"I1", "I2", "I3", "I11", "I12", "I15"}] == []


def test_what_was_paid_since_a_default_that_is_dated_back_is_split_anew(olga: User, oscar: User) -> None:
    product = make.ProductFactory(code="parts", schedule_kind=ScheduleKind.EQUAL_PRINCIPAL, grace_days=3)
    row = make.active_loan(now=FUNDED, days=92, product=product)
    make.give(row.client, "USD", "700000", now=FUNDED)
    live_until("2021-06-14")
    payment = pay("170541.67", at("2021-06-19"))  # a third of it, and 31 days of 125.00
    live_until("2021-06-20", "2021-06-30")
    back(payment, olga, oscar, now=at("2021-06-30"))
    again = pay("50000", at("2021-07-01"))
    assert (again.interest, again.principal) == (43 * 125, D(50_000 - 43 * 125))
    live_until("2021-07-03", "2021-07-04")
    assert (fresh().state, fresh().default_at) == (LoanState.DEFAULTED, at("2021-06-23"))
    # 35 days of 125.00 and eight of 194.44..., so that less of it was principal; then three on what that leaves.
    part = replays.parts_now([again])[again.pk]
    assert (part.interest, part.principal) == (D("5930.56"), D("44069.44"))
    assert fresh().principal_outstanding == D("455930.56")
    assert fresh().interest_due == D("531.92")
    made = Correction.objects.get(kind=Correction.Kind.DEFAULT)
    assert (made.effective_at, made.repayment, made.by) == (at("2021-06-23"), None, "the end of its grace")
    assert "was not paid by the end of its grace" in made.reason
    assert replays.plan(fresh(), reset_at=FUNDED).rows == []  # worked out once more, nothing differs
    assert [v for v in invariants.check() if v.code in {"I1", "I2", "I3", "I11", "I12", "I15"}] == []


def test_a_client_is_told_of_each_default_of_one_payment(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14", "2021-06-20", "2021-06-23")
    late("3875", olga, oscar, received_at=at("2021-06-22"), now=at("2021-06-24"))
    assert fresh().state == LoanState.ACTIVE
    back(Repayment.objects.get(), olga, oscar, now=at("2021-06-25"))
    live_until("2021-06-28")
    assert (fresh().state, Notice.objects.filter(kind="loan_default").count()) == (LoanState.ACTIVE, 1)
    live_until("2021-06-29")
    assert (fresh().state, Notice.objects.filter(kind="loan_default").count()) == (LoanState.DEFAULTED, 2)


def test_a_late_payment_counts_by_its_own_time(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14")
    payment = pay("3875", at("2021-06-15"))
    live_until("2021-06-20")
    back(payment, olga, oscar, now=at("2021-06-21"))
    paid_at = at("2021-06-22") + HOUR
    pay("3875", paid_at)
    assert (rows()[0].state, rows()[0].met_at) == ("met", paid_at)
    live_until("2021-06-30")
    assert fresh().state == LoanState.ACTIVE


def test_later_payments_move_up_to_what_is_open_again(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14")
    first = pay("3875", at("2021-06-19"))
    live_until("2021-06-20", "2021-07-14")
    pay("3750", at("2021-07-15"))
    assert states() == ["met", "met", "expected"]
    assert obligations.unmet(fresh(), replays.received(fresh())) == []
    back(first, olga, oscar, now=at("2021-07-16"))
    one, two, _ = rows()
    # 3,750 of July pay what June asked for but 125, and July's own is announced again.
    assert (one.state, one.paid, two.state, two.paid) == ("late", 3750, "noticed", 0)
    pay("125", at("2021-07-16"))
    assert (rows()[0].state, rows()[0].met_at) == ("met", at("2021-07-16"))


def test_a_payment_recorded_late_met_it_in_time(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14", "2021-06-19", "2021-06-20")
    assert states()[0] == "late"
    when = at("2021-06-19") + 9 * HOUR
    late("3875", olga, oscar, received_at=when, now=at("2021-06-22"))
    assert (rows()[0].state, rows()[0].met_at) == ("met", when)
    live_until("2021-06-30")
    assert fresh().state == LoanState.ACTIVE


def test_a_payment_that_was_there_in_time_undoes_the_default_and_its_rate(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14", "2021-06-20", "2021-06-23", "2021-07-03")
    assert (fresh().state, states()) == (LoanState.DEFAULTED, ["defaulted", "cancelled", "cancelled"])
    # 35 days of 125.00 and ten of 194.44...
    assert fresh().interest_posted == D("6319.45")
    agreed = obligations.agreed_default(fresh())
    late("3875", olga, oscar, received_at=at("2021-06-22"), now=at("2021-07-03"))
    after = fresh()
    assert (after.state, after.default_at) == (LoanState.ACTIVE, agreed)
    assert (rows()[0].met_at, states()) == (at("2021-06-22"), ["met", "expected", "expected"])
    # 34 days on 500,000, eleven on 500,000 less what was left of 3,875 after 34 days of 125: nothing, all is interest.
    assert (after.principal_outstanding, after.interest_posted) == (500_000, 45 * 125)
    assert [v for v in invariants.check() if v.code in {"I1", "I2", "I3", "I11", "I12", "I15"}] == []
    live_until("2021-07-14")
    assert states() == ["met", "noticed", "expected"]
    assert rows()[1].amount == D(30 * 125 + 31 * 125 - 3875)


def test_what_an_amendment_replaced_takes_nothing_of_what_undoes_a_default(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14")
    now, later = at("2021-06-15"), Wanted(maturity_date=dt.date(2021, 8, 29))
    row = amendments.propose(loan, later, reason="time", expires_at=now + HOUR, maker=loan.made_by, now=now)
    amendments.approve(row, by=make.staff("rhea", Role.RISK), now=now)
    amendments.sign(row, by=loan.accepted_by, read=row.sheet.fingerprint, now=now)
    live_until("2021-06-24", "2021-06-29", "2021-06-30", "2021-07-03")
    assert (fresh().state, states()[:2]) == (LoanState.DEFAULTED, ["replaced", "defaulted"])
    late("5125", olga, oscar, received_at=at("2021-06-30"), now=at("2021-07-05"))  # 41 days of 125.00
    assert (fresh().state, states()[:2]) == (LoanState.ACTIVE, ["replaced", "met"])


def test_it_undoes_the_default_of_a_loan_that_was_paid_off_since(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14", "2021-06-20", "2021-06-23", "2021-07-01")
    free = ledger.owed(accounts.client_free("USD", loan.client_id))
    pay("600000", at("2021-07-01"))
    # 35 days of 125.00 and eight of 194.44...
    assert (fresh().state, fresh().interest_posted) == (LoanState.REPAID, D("5930.56"))
    late("3875", olga, oscar, received_at=at("2021-06-18"), now=at("2021-07-10"))
    after = fresh()
    # 30 days on 500,000 and thirteen on 499,875, nothing in default; what the payoff paid too much for is free again.
    assert (after.state, after.interest_posted, loans.owes(after)) == (LoanState.REPAID, D("5374.60"), False)
    assert ledger.owed(accounts.client_free("USD", loan.client_id)) == free - 500_000 - D("5374.60")
    assert after.default_at == obligations.agreed_default(after)
    assert (states(), [row.met_at for row in rows()]) == (
        ["met"] * 3,
        [at("2021-06-18"), at("2021-07-01"), at("2021-07-01")],
    )
    assert [v for v in invariants.check() if v.code in {"I1", "I2", "I3", "I11", "I12", "I15"}] == []


def test_it_undoes_a_default_while_collateral_is_being_sold(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14", "2021-06-20", "2021-06-23", "2021-06-24")
    loans.transition(fresh(), LoanState.LIQUIDATING, actor=None, cause="sale", now=at("2021-06-24"))
    late("3875", olga, oscar, received_at=at("2021-06-18"), now=at("2021-06-25"))
    assert (fresh().state, states()) == (LoanState.LIQUIDATING, ["met", "expected", "expected"])
    loans.transition(fresh(), LoanState.ACTIVE, actor=None, cause="sale over", now=at("2021-06-26"))
    live_until("2021-06-30")
    assert (fresh().state, fresh().interest_posted) == (LoanState.ACTIVE, D("5249.63"))


@pytest.mark.parametrize(("amount", "when"), [("3874.99", "2021-06-22"), ("3875", "2021-06-23")])
def test_too_little_or_too_late_undoes_no_default(loan: Loan, olga: User, oscar: User, amount: str, when: str) -> None:
    live_until("2021-06-14", "2021-06-20", "2021-06-23", "2021-07-03")
    late(amount, olga, oscar, received_at=at(when), now=at("2021-07-03"))
    assert (fresh().state, fresh().default_at, states()[0]) == (LoanState.DEFAULTED, at("2021-06-23"), "defaulted")


def test_a_repaid_loan_that_is_opened_asks_again_as_agreed(loan: Loan, olga: User, oscar: User) -> None:
    payment = pay("505000", at("2021-06-01"))
    assert set(states()) == {"met"}
    back(payment, olga, oscar, now=at("2021-06-02"))
    assert (fresh().state, states()) == (LoanState.ACTIVE, ["expected"] * 3)
    assert [row.act_at for row in rows()] == [row.due_at - obligations.NOTICE for row in rows()]
    live_until("2021-06-14")
    assert (rows()[0].state, rows()[0].amount) == ("noticed", D(3875))


def test_a_loan_opened_after_its_maturity_has_a_grace_before_it_is_in_default(
    loan: Loan, olga: User, oscar: User
) -> None:
    payment = pay("505000", at("2021-06-01"))
    now = at("2021-09-01")
    back(payment, olga, oscar, now=now)
    assert (fresh().state, states()) == (LoanState.MATURED, ["late"] * 3)
    # Each asks for its own part, and none for what another asks for.
    assert [row.amount for row in rows()][:2] == [D(3875), D(3750)]
    live_until("2021-09-04")
    assert fresh().state == LoanState.MATURED
    dunning.work_due(now=at("2021-09-05"))
    assert fresh().state == LoanState.DEFAULTED


def test_a_payment_taken_back_from_a_loan_in_default_leaves_it_there(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14")
    payment = pay("3875", at("2021-06-15"))
    live_until("2021-07-14", "2021-07-20", "2021-07-23")
    assert states() == ["met", "defaulted", "cancelled"]
    back(payment, olga, oscar, now=at("2021-07-24"))
    assert (fresh().state, states()) == (LoanState.DEFAULTED, ["cancelled", "defaulted", "cancelled"])


def test_the_database_opens_nothing_again_without_a_correction(loan: Loan) -> None:
    live_until("2021-06-14")
    pay("505000", at("2021-06-15"))
    with pytest.raises(DatabaseError, match="an obligation can not go from met to late"), transaction.atomic():
        Obligation.objects.filter(pk=rows()[0].pk).update(state="late", act_at=FUNDED)
    for state in (LoanState.ACTIVE, LoanState.MATURED, LoanState.DEFAULTED):
        with pytest.raises(DatabaseError, match="by a correction of its payments"), transaction.atomic():
            Loan.objects.update(state=state)


def test_the_database_lets_no_loan_out_of_default_without_a_correction(loan: Loan) -> None:
    live_until("2021-06-14", "2021-06-20", "2021-06-23")
    assert fresh().state == LoanState.DEFAULTED
    with pytest.raises(DatabaseError, match="is defaulted becomes active by a correction"), transaction.atomic():
        Loan.objects.update(state=LoanState.ACTIVE)


def test_the_terms_stay_and_so_does_their_sheet(loan: Loan, olga: User, oscar: User) -> None:
    live_until("2021-06-14", "2021-06-20", "2021-06-23")
    sheets = list(TermSheet.objects.values_list("version", "content_hash"))
    late("3875", olga, oscar, received_at=at("2021-06-19"), now=at("2021-06-24"))
    assert fresh().state == LoanState.ACTIVE
    assert list(TermSheet.objects.values_list("version", "content_hash")) == sheets
    assert Correction.objects.get().effective_at == at("2021-06-19")
