"""A spread that client and desk agree on anew: it counts from the next reset on, and never before."""

import pytest
from django.db import DatabaseError, connection, transaction

from lending import amendments, interest, resets
from lending.models import Notice, Obligation, Role
from lending.other_terms import UnableToAmend, Wanted, preview
from tests.factories import lending as make
from tests.integration.lending.test_resets import DAY, START, D, again, floating, paper, posted, recorded, running

pytestmark = pytest.mark.django_db


def test_another_spread_is_agreed_on_and_counts_for_the_resets_after_it() -> None:
    recorded("2021-05-17,0.04")
    loan, june, july = running(floating()), START + 31 * DAY, START + 61 * DAY
    recorded("2021-06-17,0.05", now=june - DAY)
    interest.accrue_due(now=june)
    resets.work_due(now=june)
    at, loan = june + 12 * DAY, again(loan)
    interest.accrue_due(now=at)
    looked = preview(loan, Wanted(spread=D("0.01")), expires_at=at + DAY, now=at)
    # 31 days of a hundredth less on 360,000, from the next reset on.
    assert looked.more == D("-310")
    row = amendments.propose(
        loan, Wanted(spread=D("0.01")), reason="a year of business", expires_at=at + DAY,
        maker=loan.client.relationship_manager, now=at,
    )  # fmt: skip
    amendments.approve(row, by=make.staff("rhea", Role.RISK), now=at)
    told = Notice.objects.get(kind="amendment").body
    assert "Spread over that, a year: 2 % becomes 1 %" in told
    assert "The new spread counts from the next reset of the rate on" in told
    with pytest.raises(DatabaseError, match="a loan runs by its term sheet"), transaction.atomic():
        connection.cursor().execute(f"UPDATE lending_loan SET spread = 0.01 WHERE id = {loan.pk}")
    row.refresh_from_db()
    amendments.sign(row, by=loan.accepted_by, read=row.sheet.fingerprint, now=at)
    resets.work_due(now=at)
    loan = again(loan)
    assert (loan.spread, loan.annual_rate, loan.next_reset_at) == (D("0.01"), D("0.07"), july)
    # The obligations are those of the preview, and what is printed is what runs.
    asked = Obligation.objects.filter(loan=loan, state="expected").order_by("due_at")
    assert [one.interest for one in asked] == [one.interest for one in looked.after.rows]

    recorded("2021-07-15,0.06", now=july - DAY)
    interest.accrue_due(now=july)
    assert resets.work_due(now=july) == 1
    assert again(loan).annual_rate == D("0.07")
    # June's fixing was wrong: it is put right by the spread that held in June.
    recorded("2021-06-17,0.045", now=july + DAY)
    interest.accrue_due(now=july + DAY)
    assert resets.work_due(now=july + DAY) == 1
    loan = again(loan)
    assert [(step.number, step.annual_rate) for step in resets.history(loan)] == [
        (1, D("0.07")), (2, D("0.065")), (1, D("0.07")), (1, D("0.06")),
    ]  # fmt: skip
    assert posted(loan) == paper(loan, (june, "0.065"), (july, "0.07")).earned(july + DAY)
    for wanted, says in (
        (Wanted(spread=D("0.01")), "nothing would change"),
        (Wanted(spread=D(1)), "1 is not a spread; 2 % is 0.02"),
        (Wanted(spread=D(0)), "its rate is not reset any more before it falls due"),
        (Wanted(spread=D(0), from_at=july + 9 * DAY), "its rate is not reset any more before it falls due"),
    ):
        with pytest.raises(UnableToAmend, match=says):
            preview(loan, wanted, expires_at=july + 2 * DAY, now=july + DAY)
    fixed = make.active_loan(now=START)
    with pytest.raises(UnableToAmend, match="its rate is fixed"):
        preview(fixed, Wanted(spread=D("0.01")), expires_at=START + DAY, now=START)
