"""
Loans of every kind are taken over and run on: without a fixed end, floating, growing, and a line that is partly drawn.

Each of them has 360,000 outstanding, so that 1 % a year is 10.00 a day. The opening entries, as T-accounts (debits
positive):

    loan principal, USD      1,440,000.00      opening balance, USD  -1,441,650.40
    interest receivable          1,600.00
    fees receivable                 50.40
    custody, BTC                       80      client pledged, BTC             -80
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, transaction

from lending import (
    capitalisations,
    draws,
    interest,
    invariants,
    parallel,
    repayments,
    resets,
    rolling,
    schedules,
    term_sheets,
)
from lending.models import Draw, Entry, Loan, Obligation, Posting, Role, ScheduleRow
from tests import stories
from tests.cast import NOW, Cast
from tests.factories import lending as make
from tests.factories.lending import AssetFactory, AssetNetworkFactory
from tests.factories.takeovers import (
    CUT_OVER,
    FLOATING,
    INTEREST,
    LINE,
    PLEDGE,
    every_product,
    files,
    fixed,
    of_every_kind,
    taken_over,
)

pytestmark = pytest.mark.django_db
D, DAY = Decimal, timedelta(days=1)


@pytest.fixture(autouse=True)
def _offered(cast: Cast) -> None:
    stories.product()
    AssetNetworkFactory(asset=AssetFactory(code="BTC"))
    every_product()


def of(reference: str) -> Loan:
    rows = Loan.objects.select_related("asset", "client", "origin", "margin_account", "product")
    return rows.get(origin__reference=reference)


def standing(kind: str) -> Decimal:
    rows = Posting.objects.filter(account__kind=kind).values_list("amount", flat=True)
    return sum(rows, D(0))


def day_by_day(until: date) -> None:
    """Run what the platform runs each midnight."""
    at = CUT_OVER
    while at.date() <= until:
        interest.accrue_due(now=at)
        resets.work_due(now=at)
        capitalisations.work_due(now=at)
        rolling.roll_due(now=at)
        at += DAY


def test_each_runs_by_its_terms_from_the_cut_over_on(cast: Cast) -> None:
    taken_over(cast, *of_every_kind())
    assert {kind: standing(kind) for kind in ("loan_principal", "interest_receivable", "fees_receivable")} == {
        "loan_principal": 1_440_000, "interest_receivable": 1600, "fees_receivable": D("50.40"),
    }  # fmt: skip
    assert (standing("opening_balance"), standing("client_pledged")) == (D("-1441650.40"), -80)
    assert set(Entry.objects.values_list("effective_at", flat=True)) == {CUT_OVER}
    assert invariants.check() == []
    for loan in Loan.objects.select_related("asset"):
        sheet = term_sheets.of(term_sheets.newest(loan))  # type: ignore[arg-type]
        assert {name: getattr(loan, name) for name in sheet.loan} == sheet.loan
    # What is asked for next: periods of what has no end count from its start, and a period that was agreed holds.
    first = {row.loan_id: row for row in ScheduleRow.objects.filter(number=1)}
    assert {name: (first[of(name).pk].due_date.isoformat(), first[of(name).pk].interest) for name in
            ("OT-1", "FR-1", "CA-1", "RL-1")} == {
        "OT-1": ("2021-06-10", D(22 * 90 + 1000)), "FR-1": ("2021-05-25", D(6 * 60 + 100)), "CA-1": ("2021-05-24", 0),
        "RL-1": ("2021-06-01", D(13 * 90)),
    }  # fmt: skip
    grows = schedules.of_loan(of("CA-1"), now=NOW).rows
    assert [row.due_date.isoformat()[5:] for row in grows] == ["05-24", "06-24", "07-24", "08-19"]
    assert grows[0].balance == 360_950
    # On what is drawn of the line, and the fee on what is not: 7.20 a day.
    line = of("RL-1")
    assert Obligation.objects.get(loan=line).interest == 13 * 90 + D("50.40") + 13 * D("7.20")
    assert (line.principal, line.principal_outstanding, draws.available(line)) == (720_000, 360_000, 360_000)
    assert term_sheets.of(term_sheets.newest(line)).origin["outstanding"] == "360000"  # type: ignore[arg-type,index]
    assert (line.origin.principal, line.origin.unused, of("FR-1").origin.fixing) == (360_000, D("30.4"), D("0.04"))


def test_days_pass_and_both_sides_agree(cast: Cast) -> None:
    """Seven days: the rate of one is reset, another grows, and each day equals what the other system says of it."""
    taken_over(cast, *of_every_kind())
    fixed("2021-05-19,0.04\n2021-05-23,0.05\n2021-05-24,0.09", cast, now=CUT_OVER + 5 * DAY)
    day_by_day(date(2021, 5, 26))
    floats, grows = of("FR-1"), of("CA-1")
    assert (floats.annual_rate, floats.default_rate) == (D("0.07"), D("0.12"))
    assert grows.principal_outstanding == 360_950  # 450.00 of five days, and what was brought
    now = datetime(2021, 5, 26, 12, tzinfo=UTC)
    given = {"source": "loanbook", "tolerance": D("0.01"), "ltv_tolerance": D(0), "by": cast.olga, "now": now}
    head = "loan,principal,interest,fees,unused_fee,annual_rate\n"
    says = {
        19: "OT-1,360000,1090,0,,0.09\nFR-1,360000,160,0,,0.06\nCA-1,360000,590,0,,\nRL-1,360000,90,20,37.60,0.09",
        25: "OT-1,360000,1630,0,,0.09\nFR-1,360000,530,0,,0.07\nCA-1,360950,180.48,0,,\nRL-1,360000,630,20,80.80,0.09",
    }
    for day, text in says.items():
        run = parallel.compare(head + text, day=date(2021, 5, day), **given)  # type: ignore[arg-type]
        assert (run.compared, run.agreeing) == (4, 4)
    wrong = says[25].replace("0.07", "0.06").replace("80.80", "81")
    run = parallel.compare(head + wrong, day=date(2021, 5, 25), **given)  # type: ignore[arg-type]
    assert [(row.reference, row.column, row.theirs, row.ours) for row in run.differences.order_by("pk")] == [
        ("FR-1", "annual_rate", D("0.06"), D("0.07")), ("RL-1", "fees", 101, D("100.8")),
    ]  # fmt: skip
    text = parallel.as_csv(parallel.report("loanbook"))  # type: ignore[arg-type]
    assert ",annual_rate,,0.06,0.07,-0.01," in text
    day_by_day(date(2021, 6, 10))
    rows = ScheduleRow.objects.filter(loan=of("OT-1")).order_by("number")
    assert [(row.due_date.isoformat(), row.interest) for row in rows] == [
        ("2021-06-10", 2980), ("2021-07-10", 30 * 90),
    ]  # fmt: skip
    assert invariants.check() == []


def test_a_line_is_drawn_on_and_its_past_put_right(cast: Cast) -> None:
    """What was drawn when it was taken over counts in a payment that comes to be known late, as what is drawn since."""
    taken_over(cast, *of_every_kind())
    oscar = make.staff("oscar", Role.OPERATIONS)
    now = CUT_OVER + 4 * DAY
    interest.accrue_due(now=now)
    line = of("RL-1")
    asked = draws.ask(line, D(120_000), by=cast.alice, now=now)
    permit = make.draw_permit(line, amount=D(120_000), now=now)
    with pytest.raises(draws.UnableToDraw, match="made its line, and can not also pay it out"):
        draws.pay_out(asked, permit=permit, actor=cast.olga, now=now)
    draws.pay_out(asked, permit=permit, actor=oscar, now=now)
    stories.deposited(line.client, "USD", D(100_000))
    # Two days late: 20 and 30.40 brought, two days of 7.20 and of 90.00, and the rest off the principal.
    paid = repayments.record(of("RL-1"), D("60244.80"), key="late", received_at=CUT_OVER + 2 * DAY, now=now)
    assert (paid.fees, paid.interest, paid.principal) == (D("64.80"), 180, 60_000)
    line = of("RL-1")
    assert line.principal_outstanding == 420_000
    assert line.interest_due == 2 * 75  # of 300,000 since
    assert line.fees_due == 2 * D("8.40")  # of 420,000 that were not drawn
    assert list(Draw.objects.order_by("pk").values_list("amount", "state")) == [
        (360_000, "paid_out"), (120_000, "paid_out"),
    ]  # fmt: skip
    assert invariants.check() == []


def test_an_undrawn_line_owes_nothing_and_is_there(cast: Cast) -> None:
    empty = {**LINE, "principal": "0"}
    dues = [
        {**INTEREST, "loan": "RL-1", "amount": "0"},
        {**INTEREST, "loan": "RL-1", "kind": "unused_fee", "amount": "0"},
    ]
    taken_over(cast, *files([empty], [{**PLEDGE, "loan": "RL-1"}], dues))
    line = of("RL-1")
    assert (line.state, line.principal_outstanding, draws.available(line)) == ("active", 0, 720_000)
    assert not Draw.objects.exists()
    assert not Entry.objects.filter(kind="loan_taken_over").exists()
    interest.accrue_due(now=CUT_OVER + DAY)
    assert of("RL-1").fees_due == D("14.40")
    assert invariants.check() == []


def test_terms_that_cost_something_later_come_along(cast: Cast) -> None:
    """A step-up, a late fee and what is paid for an early payment are those that were agreed there."""
    row = {
        **FLOATING, "step_up": "0.01", "step_up_date": "2021-05-21", "late_fee": "0.02", "prepayment": "share",
        "prepayment_rate": "0.005", "rate_cap": "0.09", "spread": "0.015", "fixing": "0.045",
    }  # fmt: skip
    taken_over(cast, *files([row], [{**PLEDGE, "loan": "FR-1"}], [{**INTEREST, "loan": "FR-1", "amount": "0"}]))
    loan = of("FR-1")
    assert (loan.late_fee, loan.how_prepaid, loan.rate_cap) == (D("0.02"), "0.5 % of it", D("0.09"))
    assert loan.how_it_floats == "SOFR plus 1.5 %, reset every month, at least 3 %, at most 9 %"
    assert interest.payoff(loan, now=CUT_OVER + 4 * DAY).pending == 2 * 60 + 2 * 70


def test_the_database_holds_a_loan_to_its_origin(cast: Cast) -> None:
    """No role of the platform can have a line run with more drawn, or less accrued, than two persons took over."""
    taken_over(cast, *of_every_kind())
    run = """
        INSERT INTO lending_marginaccount
        SELECT (jsonb_populate_record(a, '{"id": 9999, "public_id": "00000000-0000-0000-0000-000000000001"}')).*
          FROM lending_marginaccount a JOIN lending_loan l ON l.margin_account_id = a.id WHERE l.principal = 720000;
        INSERT INTO lending_loan SELECT (jsonb_populate_record(l, %s::jsonb)).* FROM lending_loan l
         WHERE l.principal = 720000;
        INSERT INTO lending_loanorigin
        SELECT (jsonb_populate_record(o, '{"id": 9999, "reference": "X", "loan_id": 9999}')).*
          FROM lending_loanorigin o WHERE o.reference = 'RL-1';
        UPDATE lending_loan SET state = 'active' WHERE id = 9999
    """
    same = '"id": 9999, "public_id": "00000000-0000-0000-0000-000000000001"'
    copy = f'{{{same}, "margin_account_id": 9999, "state": "quoted", %s}}'
    with transaction.atomic():
        connection.cursor().execute(run, [copy % '"unused_posted": 0'])
        transaction.set_rollback(True)
    for more in ('"principal_outstanding": 370000', '"fees_due": 1', '"principal": 350000'):
        with pytest.raises(DatabaseError, match="when two persons take it over"), transaction.atomic():
            connection.cursor().execute(run, [copy % more])
