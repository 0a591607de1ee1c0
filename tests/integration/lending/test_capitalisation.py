"""Interest that becomes principal at the end of each period: once, exactly, and anew when the past is another."""

import datetime as dt
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction
from django.test.utils import CaptureQueriesContext

from lending import (
    approvals,
    benchmarks,
    capitalisations,
    corrections,
    dunning,
    interest,
    invariants,
    ledger,
    prepayments,
    repayments,
    resets,
    schedules,
)
from lending.engine import accounts, schedule
from lending.engine.chart import AccountKind
from lending.models import (
    Capitalisation,
    Correction,
    Entry,
    Loan,
    LoanState,
    Notice,
    Obligation,
    Overdue,
    Product,
    Role,
)
from lending.other_terms import UnableToAmend, Wanted, preview
from risk import overdue
from risk.models import Incident
from tests.factories import lending as make

pytestmark = pytest.mark.django_db

D, DAY = Decimal, dt.timedelta(days=1)
START = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)


def product(**more: object) -> Product:
    found: Product = make.ProductFactory(
        **{"code": "growing", "schedule_kind": "capitalised", "origination_fee": D(0), **more}
    )
    return found


def running(sold: Product, *, days: int = 92, **more: object) -> Loan:
    loan = make.active_loan(
        product=sold, now=START, **{"annual_rate": "0.06", "days": days, "principal": "360000", **more}
    )
    return again(loan)


def again(loan: Loan) -> Loan:
    return Loan.objects.select_related("asset", "client", "margin_account__terms", "product").get(pk=loan.pk)


def until(now: dt.datetime) -> None:
    interest.accrue_due(now=now)
    resets.work_due(now=now)
    capitalisations.work_due(now=now)
    dunning.work_due(now=now)


def books(loan: Loan) -> tuple[Decimal, Decimal]:
    """Return principal and interest receivable as they stand on the ledger."""
    key = ("USD", loan.client_id, loan.pk)
    return (
        ledger.balance(accounts.of_loan(AccountKind.LOAN_PRINCIPAL, *key)),
        ledger.balance(accounts.of_loan(AccountKind.INTEREST_RECEIVABLE, *key)),
    )


def sound() -> bool:
    return not [one for one in invariants.check() if one.code in {"I1", "I2", "I3", "I11", "I15"}]


def test_each_period_becomes_principal_once_and_the_schedule_says_so() -> None:
    loan = running(product())
    # 31 days of 60.00; then 30 days on 361,860.00, 60.31 each; then 31 days on 363,669.30, 60.61155 each.
    shown = schedules.of_loan(loan, now=START)
    assert [row.balance for row in shown.rows] == [D("361860"), D("363669.30"), D(0)]
    assert [row.total for row in shown.rows] == [D(0), D(0), D("365548.26")]
    assert (shown.interest, shown.total, shown.grows) == (D("5548.26"), D("365548.26"), True)
    assert [row.kind for row in Obligation.objects.filter(loan=loan)] == ["maturity"]
    at = START + 31 * DAY
    assert capitalisations.work_due(now=at) == 0  # its last day is not posted yet
    until(at)
    assert capitalisations.work_due(now=at + DAY / 2) == 0
    loan = again(loan)
    assert (loan.principal_outstanding, loan.interest_due) == books(loan) == (D("361860"), D(0))
    entry = Entry.objects.get(kind="capitalisation")
    assert (entry.effective_at, entry.idempotency_key) == (at, f"capitalisation:{loan.public_id}:2021-06-19")
    assert "1,860.00 USD, became principal" in Notice.objects.get(kind="interest_capitalised").body
    assert interest.payoff(loan, now=at + DAY).total == D("361920.31")
    until(at + 30 * DAY)
    until(START + 92 * DAY)
    loan = again(loan)
    last = Obligation.objects.get(loan=loan)
    assert (last.amount, loan.state, loan.default_at > START) == (D("365548.26"), LoanState.MATURED, True)
    make.give(loan.client, "USD", "10000")
    repayments.record(loan, D("365548.26"), key="last", received_at=START + 92 * DAY, now=START + 92 * DAY)
    assert (again(loan).state, books(loan)) == (LoanState.REPAID, (D(0), D(0)))
    assert sound()


def test_what_is_quoted_before_a_period_ends_is_enough_after_it() -> None:
    loan = running(product(prepayment="share", prepayment_rate=D("0.01")), days=92)
    make.give(loan.client, "USD", "20000")
    now, good_at = START + 30.5 * DAY, START + 31.5 * DAY
    until(now)
    loan = again(loan)
    owed, later = (found[loan.pk] for found in interest.payoffs_at([loan], now, good_at))
    # 31 days of 60.00 are principal by then, and half a day on 361,860.00 costs 30.155: not another half of 60.00.
    assert (owed.principal, owed.total) == (D("360000"), D("361830.00"))
    assert (later.principal, later.interest, later.pending, later.total) == (D("361860"), 0, D("30.16"), D("361890.16"))
    closing, quote = prepayments.paid_off(loan, owed, later)
    assert (closing.make_whole, quote.make_whole) == (D(3_600), D("3618.60"))
    # It is as much where nobody has made it principal yet, and a part of it is split likewise.
    until(START + 31 * DAY - DAY / 4)
    interest.accrue_due(now=good_at)
    loan = again(loan)
    assert (loan.principal_outstanding, interest.payoff(loan, now=good_at).total) == (D("360000"), later.total)
    found = prepayments.paid_off(loan, interest.payoff(loan, now=good_at))[0]
    assert prepayments.foreseen(loan, found.total, found).short == 0
    until(good_at)
    loan = again(loan)
    assert interest.payoff(loan, now=good_at) == later
    repayments.record(loan, quote.total, key="all", received_at=good_at, now=good_at)
    assert (again(loan).state, books(loan)) == (LoanState.REPAID, (D(0), D(0)))
    assert sound()


def test_a_loan_that_fails_holds_back_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    failing, other = running(product()), running(product(), client=make.ClientFactory())
    for days in range(1, 34):
        interest.accrue_due(now=START + days * DAY)
    book = capitalisations.replays.book

    def broken(loan: Loan, *args: object, **more: object) -> object:
        if loan.pk == failing.pk:
            raise ZeroDivisionError
        return book(loan, *args, **more)

    monkeypatch.setattr(capitalisations.replays, "book", broken)
    assert capitalisations.work_due(now=START + 33 * DAY) == 1
    assert [again(loan).principal_outstanding for loan in (failing, other)] == [D(360000), D(361860)]
    assert overdue.watch_due(now=START + 33 * DAY) == 1
    seen = Incident.objects.get(kind="capitalisation_overdue", closed_at=None)
    assert "its interest of the period to 19 Jun 2021 is not principal: something went wrong" in seen.summary
    monkeypatch.undo()
    assert capitalisations.work_due(now=START + 33 * DAY) == 1
    assert [overdue.watch_due(now=START + 33 * DAY), Incident.objects.filter(closed_at=None).count()] == [1, 0]
    assert books(again(failing)) == books(again(other))
    assert sound()


def test_a_payment_makes_principal_of_no_period_after_one_that_was_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    loan, now = running(product()), START + 79 * DAY
    make.give(loan.client, "USD", "2000", now=now)
    for days in range(1, 80):
        interest.accrue_due(now=START + days * DAY)
    book, tried = capitalisations.replays.book, []

    def refused_first(*args: object, **more: object) -> object:
        tried.append(args)
        if len(tried) == 1:
            raise capitalisations.replays.UnableToSettle("its month is locked")
        return book(*args, **more)

    monkeypatch.setattr(capitalisations.replays, "book", refused_first)
    repayments.record(again(loan), D(1), key="first", received_at=now, now=now)
    assert not Capitalisation.objects.exists()
    assert Overdue.objects.get(done_at=None).reason == "its month is locked"
    repayments.record(again(loan), D(1), key="second", received_at=now, now=now)
    assert [row.amount for row in Capitalisation.objects.order_by("at")] == [D("1860"), D("1809.30")]
    assert not Overdue.objects.filter(done_at=None).exists()
    assert sound()


def test_an_outage_and_a_payment_of_the_past_leave_what_was_true() -> None:
    """Two periods nobody looked at are as if somebody had; a payment that was there before them changes both."""
    looked_at, late = running(product()), running(product(), client=make.ClientFactory())
    for days in range(1, 80):
        interest.accrue_due(now=START + days * DAY)
        if days < 70:
            capitalisations.work_due(now=START + days * DAY)
            break
    for days in range(1, 80):
        interest.accrue_due(now=START + days * DAY)
    now = START + 79 * DAY
    assert capitalisations.work_due(now=now) == 4
    one, other = again(looked_at), again(late)
    assert books(one) == books(other) == (one.principal_outstanding, one.interest_due)
    assert one.principal_outstanding == D("363669.30")
    assert one.interest_posted == other.interest_posted == D("1860") + D("1809.30") + D("1091.01")
    assert Correction.objects.filter(kind=Correction.Kind.CAPITALISED).count() == 2

    # 100,000 had arrived on 29 May: ten days before anybody asked, and before either period ended.
    make.give(one.client, "USD", "100000")
    asked = corrections.ask_payment(
        one, D("100000"), received_at=START + 10 * DAY, reason="found", maker=make.staff("olga", Role.OPERATIONS),
        now=now,
    )  # fmt: skip
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=now)
    one = again(one)
    # It paid 600.00 of interest and 99,400.00 of principal: 260,600 for 21 days, 43.43333 each.
    first = D("912.10")
    assert one.principal_outstanding == D("260600") + first + D("1307.57")
    rows = Capitalisation.objects.filter(loan=one).order_by("at", "number")
    assert [(row.number, row.amount) for row in rows][:2] == [(1, D("1860")), (2, first - D("1860"))]
    assert books(one) == (one.principal_outstanding, one.interest_due)
    assert sound()
    taken = approvals.decide(
        corrections.ask_reversal(
            one.repayments.get(), cause="wrong", reason="another's", maker=make.staff("olga", Role.OPERATIONS), now=now
        ),
        checker=make.staff("rhea", Role.RISK), approve=True, now=now,
    )  # fmt: skip
    assert taken.state == "executed"
    one = again(one)
    assert (one.principal_outstanding, one.interest_due) == books(one) == books(again(late))
    assert sound()


def test_what_was_there_before_a_period_ended_and_is_credited_behind_it_is_told_of_once() -> None:
    loan = running(product())
    end = dt.datetime(2021, 6, 19, tzinfo=dt.UTC)
    make.give(loan.client, "USD", "1000", now=end)
    at, now = end - dt.timedelta(minutes=2), end + dt.timedelta(minutes=4)
    repayments.record(loan, D(1000), key="wire:1", received_at=at, now=now)
    assert not Capitalisation.objects.exists()
    until(now)
    loan = again(loan)
    (grown,) = Capitalisation.objects.all()
    assert grown.amount == loan.interest_posted - 1000
    assert books(loan) == (loan.principal + grown.amount, 0)
    assert f"{grown.amount:,.2f} USD of interest became principal" in [row.subject for row in Notice.objects.all()]
    assert Notice.objects.filter(kind="interest_capitalised").count() == 1
    assert sound()


def test_it_floats_too_and_a_late_fixing_changes_what_became_principal() -> None:
    def fixed(table: str, now: dt.datetime) -> None:
        asked = benchmarks.ask(
            "SOFR", "Overnight", f"date,rate\n{table}", reason="its page", maker=make.staff("olga", Role.OPERATIONS),
            now=now,
        )  # fmt: skip
        approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=now)

    fixed("2021-05-17,0.04", START)
    loan = running(product(benchmark="SOFR", spread=D("0.02"), reset_months=1, fixing_lag_days=2), annual_rate=None)
    for days in range(1, 70):
        until(START + days * DAY)
    assert again(loan).principal_outstanding == D("363669.30")
    fixed("2021-06-17,0.05", START + 69 * DAY)
    until(START + 70 * DAY)
    # The second period at 7 %: 30 days on 361,860.00.
    loan = again(loan)
    assert loan.principal_outstanding == D("361860") + D("2110.85") == books(loan)[0]
    assert [ahead.principal for ahead in resets.outlook.ahead(loan, now=START + 70 * DAY)] == [D("363970.85")]
    assert sound()


def test_a_pass_takes_the_same_queries_however_many_loans() -> None:
    sold, at = product(), START + 31 * DAY
    running(sold)
    interest.accrue_due(now=at)
    with CaptureQueriesContext(connection) as one:
        assert capitalisations.work_due(now=at) == 1
    for _ in range(3):
        running(sold, client=make.ClientFactory())
    interest.accrue_due(now=at)
    with CaptureQueriesContext(connection) as three:
        assert capitalisations.work_due(now=at) == 3
    assert len(three) == len(one), [row["sql"][:90] for row in three]


def test_what_is_refused() -> None:
    loan = running(product())
    for wanted in (Wanted(annual_rate=D("0.05")), Wanted(maturity_date=dt.date(2021, 9, 19))):
        with pytest.raises(UnableToAmend, match="its interest becomes principal"):
            preview(loan, wanted, expires_at=START + DAY, now=START)
    until(START + 31 * DAY)
    row = Capitalisation.objects.get()
    cursor = connection.cursor()
    for statement, says in (
        ("UPDATE lending_capitalisation SET amount = 1", "lending_capitalisation"),
        ("DELETE FROM lending_capitalisation", "lending_capitalisation"),
        (
            f"""INSERT INTO lending_capitalisation
                       (client_id, loan_id, row_id, at, number, amount, entry_id, recorded_at)
                SELECT client_id, loan_id, row_id, at, 3, 5, entry_id, recorded_at
                  FROM lending_capitalisation WHERE id = {row.pk}""",
            "of which that was agreed",
        ),
    ):
        with pytest.raises(DatabaseError, match=says), transaction.atomic():
            cursor.execute(statement)
    built = schedule.build(D("1000"), D("0.12"), "30/360", dt.date(2021, 1, 1), 3, 1, "capitalised", D("0.01"))
    assert [(line.principal, line.interest, line.balance) for line in built] == [
        (D(0), D(0), D("1010.00")), (D(0), D(0), D("1020.10")), (D("1020.10"), D("10.20"), D(0)),
    ]  # fmt: skip
