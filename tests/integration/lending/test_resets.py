"""Rates that follow a benchmark: reset once per period, by the fixing that is known, put right when it comes late."""

import datetime as dt
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext

from lending import (
    amendments,
    approvals,
    benchmarks,
    dunning,
    interest,
    invariants,
    offers,
    repayments,
    replays,
    resets,
    schedules,
)
from lending.engine.chart import Category
from lending.models import (
    Correction,
    Fixing,
    Loan,
    LoanEvent,
    Notice,
    Obligation,
    Overdue,
    Posting,
    Product,
    RateStep,
    Role,
)
from lending.other_terms import UnableToAmend, Wanted, preview
from risk import overdue
from risk.models import Incident
from tests import bad_input
from tests.factories import lending as make
from tests.independent.naive_loan import NaiveLoan, Payment

pytestmark = pytest.mark.django_db

D, DAY = Decimal, dt.timedelta(days=1)
START = dt.datetime(2021, 5, 19, tzinfo=dt.UTC)


def recorded(table: str, *, code: str = "SOFR", now: dt.datetime = START) -> None:
    """Have two persons record what a benchmark was fixed at."""
    asked = benchmarks.ask(
        code, "Secured overnight financing rate", f"date,rate\n{table}", reason="the publisher's page",
        maker=make.staff("olga", Role.OPERATIONS), now=now,
    )  # fmt: skip
    approvals.decide(asked, checker=make.staff("rhea", Role.RISK), approve=True, now=now)


def floating(**more: object) -> Product:
    terms = {
        "code": "floating", "benchmark": "SOFR", "spread": D("0.02"), "rate_floor": D("0.03"), "reset_months": 1,
        "schedule_kind": "interest_only", "fixing_lag_days": 2, "origination_fee": D(0),
    }  # fmt: skip
    return make.ProductFactory(**{**terms, **more})


def running(product: Product, *, days: int | None = 92, now: dt.datetime = START, **more: object) -> Loan:
    loan = make.active_loan(product=product, annual_rate=None, days=days, principal="360000", now=now, **more)
    resets.work_due(now=now)
    return Loan.objects.select_related("asset", "client", "margin_account", "product").get(pk=loan.pk)


def again(loan: Loan) -> Loan:
    return Loan.objects.select_related("asset", "client", "margin_account", "product").get(pk=loan.pk)


def posted(loan: Loan) -> Decimal:
    rows = Posting.objects.filter(loan=loan, category__in=(Category.INTEREST, Category.DEFAULT_INTEREST))
    return -(rows.aggregate(total=Sum("amount"))["total"] or D(0))


def paper(loan: Loan, *rates: tuple[dt.datetime, str]) -> NaiveLoan:
    known = [(START, Fraction(6, 100)), *((at, Fraction(rate)) for at, rate in rates)]
    over = [(at, rate + Fraction(5, 100)) for at, rate in known]
    return NaiveLoan(
        start=START, lent=loan.principal, day_count="ACT/360", rates=known, default_rates=over,
        default_at=interest.default_at(loan),
    )  # fmt: skip


def test_it_is_reset_by_the_fixing_of_its_day_and_told() -> None:
    recorded("2021-05-17,0.04\n2021-05-18,0.09")
    loan = running(floating())
    # Fixed two days before: not by what was fixed on the eve.
    assert (loan.annual_rate, loan.default_rate, loan.next_reset_at) == (D("0.06"), D("0.11"), START + 31 * DAY)
    expected = Obligation.objects.filter(loan=loan).order_by("due_at")
    # 31 days of 60.00 are fixed; of the rest today's fixing of 9 % is expected.
    assert [row.interest for row in expected] == [D("1860"), D("3300"), D("3410")]
    assert [row.is_fixed for row in resets.outlook.ahead(loan, now=START)] == [True, False, False]

    at = START + 31 * DAY
    recorded("2021-06-17,0.05\n2021-06-18,0.99", now=at - DAY)
    interest.accrue_due(now=at)
    dunning.work_due(now=at - 4 * DAY)
    assert resets.work_due(now=at - dt.timedelta(seconds=1)) == 0
    assert resets.work_due(now=at) == 1
    assert resets.work_due(now=at) == 0
    loan = again(loan)
    assert (loan.annual_rate, loan.default_rate, loan.next_reset_at) == (D("0.07"), D("0.12"), at + 30 * DAY)
    step = RateStep.objects.get(number=1, fixing__isnull=False)
    assert (step.at, step.fixing_date, str(step.fixing)) == (at, dt.date(2021, 6, 17), "SOFR 5 % of 17 Jun 2021")
    event = LoanEvent.objects.get(cause__startswith="rate reset to 7 %")
    assert (event.evidence["fixing"], event.evidence["fixing_of"], event.actor) == ("0.05", "2021-06-17", None)
    told = Notice.objects.get(kind="rate_reset").body
    assert "From 19 Jun 2021 on it is 7 % a year, by SOFR 5 % of 17 Jun 2021" in told
    make.give(loan.client, "USD", "1860", now=at)
    repayments.record(loan, D("1860"), key="june", received_at=at, now=at)
    interest.accrue_due(now=at + 10 * DAY)
    assert posted(loan) == paper(loan, (at, "0.07")).earned(at + 10 * DAY) == D("2560")
    # What was announced is exact, as the reset comes with the day of payment.
    now = at + 26 * DAY
    dunning.work_due(now=now)
    noticed = Obligation.objects.get(loan=loan, due_date=dt.date(2021, 7, 19))
    assert (noticed.amount, noticed.state) == (30 * D("70"), "noticed")


def test_floor_cap_and_the_last_fixing_that_is_known() -> None:
    recorded("2021-05-17,0.04")
    low, capped = running(floating()), running(floating(code="capped", rate_cap=D("0.065"), rate_floor=D(0)))
    at = START + 31 * DAY
    # Nothing is fixed for the day itself: the last one before it counts.
    recorded("2021-06-10,-0.005", now=at - DAY)
    assert resets.work_due(now=at) == 2
    assert (again(low).annual_rate, again(capped).annual_rate) == (D("0.03"), D("0.015"))
    at += 30 * DAY
    recorded("2021-07-17,0.06", now=at)
    resets.work_due(now=at)
    assert (again(low).annual_rate, again(capped).annual_rate) == (D("0.08"), D("0.065"))


def test_an_outage_is_caught_up_and_only_the_difference_is_posted() -> None:
    recorded("2021-05-17,0.04")
    loan = running(floating())
    at = START + 31 * DAY
    recorded("2021-06-17,0.05\n", now=at - DAY)
    interest.accrue_due(now=at + 5 * DAY)  # nobody has reset anything for five days
    make.give(loan.client, "USD", "100000")
    paid = repayments.record(loan, D("50000"), key="early", received_at=at + 5 * DAY + DAY / 2, now=at + 6 * DAY)
    interest.accrue_due(now=at + 7 * DAY)
    before = posted(loan)
    entries = Posting.objects.count()
    assert resets.work_due(now=at + 7 * DAY) == 1
    loan = again(loan)
    known = paper(loan, (at, "0.07"))
    known.payments.append(Payment(paid.received_at, D("50000"), at + 6 * DAY))
    known.settle()
    assert posted(loan) == known.earned(at + 7 * DAY) > before
    assert loan.principal_outstanding == known.principal_at(at + 7 * DAY)
    row = Correction.objects.get(kind=Correction.Kind.RATE)
    assert (row.effective_at, row.interest, row.repayment) == (at, posted(loan) - before, None)
    # A difference for each of the days since, and one for each side of the payment: nothing was taken back.
    assert Posting.objects.count() > entries
    assert resets.work_due(now=at + 7 * DAY) == 0

    # The fixing was wrong: another of the same day corrects it, and what the first brought too much goes back.
    recorded("2021-06-17,0.045", now=at + 8 * DAY)
    assert [row.number for row in Fixing.objects.filter(effective_date="2021-06-17").order_by("number")] == [1, 2]
    assert resets.work_due(now=at + 8 * DAY) == 1
    loan, known = again(loan), paper(loan, (at, "0.065"))
    known.payments.append(Payment(paid.received_at, D("50000"), at + 6 * DAY))
    known.settle()
    interest.accrue_due(now=at + 8 * DAY)
    assert posted(loan) == known.earned(at + 8 * DAY)
    assert loan.annual_rate == D("0.065")
    assert [(step.number, step.annual_rate) for step in resets.history(loan)] == [
        (2, D("0.065")), (1, D("0.07")), (1, D("0.06")),
    ]  # fmt: skip
    assert Correction.objects.filter(kind=Correction.Kind.RATE).count() == 2
    assert "which corrects what we told you before" in Notice.objects.filter(kind="rate_reset").latest("pk").body
    assert [violation for violation in invariants.check() if violation.code in {"I1", "I2", "I3", "I11", "I15"}] == []


def test_what_fails_about_one_loan_leaves_the_others_to_be_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded("2021-05-17,0.04")
    product, at, plan = floating(), START + 31 * DAY, replays.plan
    broken, sound = running(product), running(product, client=make.ClientFactory())
    recorded("2021-06-17,0.05", now=at - DAY)
    interest.accrue_due(now=at + DAY)

    def plan_all_but_one(loan: Loan, **more: Any) -> replays.Plan:
        if loan.pk == broken.pk:
            raise ZeroDivisionError
        return plan(loan, **more)

    monkeypatch.setattr(replays, "plan", plan_all_but_one)
    assert resets.work_due(now=at + DAY) == 1
    assert (again(sound).annual_rate, again(broken).annual_rate) == (D("0.07"), D("0.06"))
    monkeypatch.undo()
    assert resets.work_due(now=at + DAY) == 1
    assert again(broken).annual_rate == D("0.07")


def test_a_refused_one_is_seen_to_by_a_person_and_holds_no_later_one_up(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded("2021-05-17,0.04")
    loan, june, july = running(floating()), START + 31 * DAY, START + 61 * DAY
    recorded("2021-06-17,0.05\n2021-07-15,0.06", now=july - DAY)
    interest.accrue_due(now=july)  # June's was missed

    def refuse(*_: object, **__: object) -> None:
        raise replays.UnableToSettle("5 USD are missing")

    with monkeypatch.context() as patched:
        patched.setattr(replays, "book", refuse)
        assert [resets.work_due(now=july), resets.work_due(now=july)] == [1, 0]
    loan = again(loan)
    assert (loan.annual_rate, loan.next_reset_at, loan.interest_posted) == (D("0.08"), june, D("3660"))
    assert [overdue.watch_due(now=july), overdue.watch_due(now=july)] == [1, 0]
    seen = Incident.objects.get(kind="reset_overdue", margin_account=loan.margin_account)
    assert "its rate is not reset from 19 Jun 2021 on: 5 USD are missing" in seen.summary
    benchmarks.look_again("SOFR")
    assert overdue.watch_due(now=july) == 0  # nobody has looked yet
    with monkeypatch.context() as patched:
        patched.setattr(replays, "book", lambda *_, **__: 1 / 0)
        assert [resets.work_due(now=july), overdue.watch_due(now=july)] == [0, 0]
    seen.refresh_from_db()
    assert seen.facts == {"loan": str(loan.public_id), "reason": "something went wrong that nobody foresaw: the "
                          "worker's log says what"}  # fmt: skip

    # Other terms have other days to come: what was refused before them is due as it was.
    row = amendments.propose(
        loan, Wanted(maturity_date=dt.date(2021, 9, 19)), reason="longer", expires_at=july + DAY,
        maker=loan.client.relationship_manager, now=july,
    )  # fmt: skip
    amendments.approve(row, by=make.staff("rhea", Role.RISK), now=july)
    row.refresh_from_db()
    amendments.sign(row, by=loan.accepted_by, read=row.sheet.fingerprint, now=july)
    with monkeypatch.context() as patched:
        patched.setattr(replays, "book", refuse)
        assert [resets.work_due(now=july), overdue.watch_due(now=july)] == [0, 0]
    assert again(loan).next_reset_at == june
    seen.refresh_from_db()
    assert (seen.closed_at, seen.facts["reason"]) == (None, "5 USD are missing")

    interest.accrue_due(now=july + DAY)
    assert [resets.work_due(now=july + DAY), overdue.watch_due(now=july + DAY)] == [1, 1]
    loan = again(loan)
    assert (loan.annual_rate, loan.next_reset_at.date()) == (D("0.08"), dt.date(2021, 8, 19))
    assert posted(loan) == paper(loan, (june, "0.07"), (july, "0.08")).earned(july + DAY)
    seen.refresh_from_db()
    assert seen.closed_at == Overdue.objects.get(loan=loan, at=june).done_at == july + DAY


def test_one_pass_takes_the_same_queries_however_many_loans() -> None:
    recorded("2021-05-17,0.04")
    product = floating()
    running(product)
    at = START + 31 * DAY
    with CaptureQueriesContext(connection) as one:
        assert resets.work_due(now=at) == 1
    for _ in range(3):
        running(product, client=make.ClientFactory())
    at = START + 62 * DAY  # two resets each of the new ones, one of the first
    interest.accrue_due(now=START + 31 * DAY)
    with CaptureQueriesContext(connection) as four:
        assert resets.work_due(now=START + 31 * DAY) == 3
    assert len(four) == len(one), [row["sql"][:90] for row in four]
    assert at > START


def test_a_step_up_counts_from_its_day_on_top_of_every_rate() -> None:
    fixed = make.ProductFactory(code="fixed", schedule_kind="interest_only", origination_fee=D(0))
    offer = {"principal": D(360_000), "quoted_until": START + DAY, "now": START, "maturity_date": dt.date(2021, 8, 19)}
    client = make.ClientFactory()
    loan = offers.quote(
        client=client, product=fixed, made_by=client.relationship_manager, annual_rate=D("0.06"),
        step_up=D("0.01"), step_up_date=dt.date(2021, 7, 1), **offer,
    )  # fmt: skip
    shown = schedules.of_loan(loan, now=START)
    assert [row.interest for row in shown.rows] == [D("1860"), 12 * D(60) + 18 * D(70), 31 * D(70)]
    loan = make.funded(loan, now=START)
    interest.accrue_due(now=START + 60 * DAY)
    assert posted(loan) == 43 * D(60) + 17 * D(70)
    for more, says in (
        ({"step_up": D("0.01")}, "a step-up is a rate above 0 and the day"),
        ({"step_up": D("0.01"), "step_up_date": dt.date(2021, 8, 19)}, "is not after today and before the loan ends"),
        ({"step_up_date": dt.date(2021, 7, 1)}, "a step-up is a rate above 0 and the day"),
    ):
        with pytest.raises(offers.UnableToQuote, match=says):
            offers.quote(
                client=client,
                product=fixed,
                made_by=client.relationship_manager,
                annual_rate=D("0.06"),
                **offer,
                **more,
            )
    level = make.ProductFactory(code="level", schedule_kind="equal_instalment")
    with pytest.raises(offers.UnableToQuote, match="need one rate throughout"):
        offers.quote(
            client=client, product=level, made_by=client.relationship_manager, annual_rate=D("0.06"),
            step_up=D("0.01"), step_up_date=dt.date(2021, 7, 1), **offer,
        )  # fmt: skip


def test_what_is_refused() -> None:
    recorded("2021-05-17,0.04")
    product, fixed = floating(), make.ProductFactory()
    client = make.ClientFactory()
    offer = {
        "client": client, "made_by": client.relationship_manager, "principal": D(360_000), "now": START,
        "quoted_until": START + DAY, "maturity_date": dt.date(2021, 8, 19),
    }  # fmt: skip
    for sold, more, says in (
        (product, {"annual_rate": D("0.06")}, "is SOFR plus 2 %, reset every month, at least 3 %: say no other"),
        (product, {"annual_rate": None, "spread": D(2)}, "2 is not a spread; 2 % is 0.02"),
        (fixed, {"annual_rate": None}, "has a fixed rate: say which"),
        (fixed, {"annual_rate": D("0.06"), "spread": D("0.02")}, "which is over no benchmark"),
        (floating(code="other", benchmark="ESTR"), {"annual_rate": None}, "no fixing of ESTR is known of 17 May 2021"),
    ):
        with pytest.raises(offers.UnableToQuote, match=says):
            offers.quote(product=sold, **offer, **more)
    loan = running(product)
    with pytest.raises(UnableToAmend, match=r"its rate is SOFR plus 2 %, .*: amend its spread"):
        preview(loan, Wanted(annual_rate=D("0.05")), expires_at=START + DAY, now=START)
    # A later maturity is agreed on as ever, and its resets follow.
    wanted = Wanted(maturity_date=dt.date(2021, 9, 19))
    assert "SOFR" in preview(loan, wanted, expires_at=START + DAY, now=START).drawn.text

    olga = make.staff("olga", Role.OPERATIONS)
    read = {}
    for case, code, name, table in (
        ("rate “5.31”", "SOFR", "", "date,rate\n2021-05-18,5.31\n"),
        ("a day to come", "SOFR", "", "date,rate\n2021-05-20,0.05"),
        ("a day twice", "SOFR", "", "date,rate\n2021-05-18,0.05\n2021-05-18,0.06"),
        ("day “soon” and no rate", "SOFR", "", "date,rate\nsoon,\n"),
        ("rate “0.0500000000001”", "SOFR", "", "date,rate\n2021-05-18,0.0500000000001"),
        ("no row", "SOFR", "", "date,rate\n"),
        ("what is recorded already", "SOFR", "", "date,rate\n2021-05-17,0.040"),
        ("a new benchmark without a name", "EONIA", "", "date,rate\n2021-05-17,0.04"),
        ("code “€STR”", "€STR", "Euro short-term rate", "date,rate\n2021-05-17,0.04"),
    ):
        with pytest.raises(benchmarks.UnableToRecord) as refusal:
            benchmarks.ask(code, name, table, reason="typed", maker=olga, now=START)
        read[case] = [str(refusal.value)]
    bad_input.stands(bad_input.IMPORTS, "Fixings of benchmarks, CSV", read)
    asked = benchmarks.ask("SOFR", "", "date,rate\n2021-05-18,0.05", reason="typed", maker=olga, now=START)
    with pytest.raises(benchmarks.UnableToRecord, match="wait for a second person already"):
        benchmarks.ask("SOFR", "", "date,rate\n2021-05-18,0.06", reason="typed", maker=olga, now=START)
    with pytest.raises(approvals.UnableToApprove, match="made this request"):
        approvals.decide(asked, checker=olga, approve=True, now=START)

    # The database keeps what was fixed, and lets no rate be but what a fixing comes to.
    resets.work_due(now=START + 31 * DAY)
    step = RateStep.objects.get(fixing__isnull=False)
    cursor = connection.cursor()
    for statement, says in (
        ("UPDATE lending_fixing SET rate = 0", "lending_fixing"),
        ("DELETE FROM lending_benchmark", "lending_benchmark"),
        ("UPDATE lending_ratestep SET annual_rate = 0", "lending_ratestep"),
        (f"UPDATE lending_loan SET annual_rate = 0.01 WHERE id = {loan.pk}", "term sheet|amendment"),
        (f"UPDATE lending_loan SET spread = 0.01 WHERE id = {loan.pk}", "a loan runs by its term sheet"),
        (
            f"""INSERT INTO lending_ratestep (client_id, loan_id, at, annual_rate, default_rate, fixing_id, fixing_date,
                                              number, recorded_at)
                SELECT client_id, loan_id, at, 0.07, 0.12, fixing_id, fixing_date, 2, recorded_at
                  FROM lending_ratestep WHERE id = {step.pk}""",
            "what the fixing of its benchmark comes to",
        ),
    ):
        with pytest.raises(DatabaseError, match=says), transaction.atomic():
            cursor.execute(statement)
