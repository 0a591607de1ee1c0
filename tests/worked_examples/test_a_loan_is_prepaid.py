"""
A loan that is paid back before its time: what that costs, from quote to close, taken back, paid again, and waived.

300,000 USD at 12 %, ACT/360, for 90 days from 19 May 2021, 00:00 UTC; no origination fee. Principal that is paid before
its time costs the interest that it would have borne until it was due, less 3 % a year that it earns elsewhere: 9 %,
25.00 a day on every 100,000.

              principal    interest    make-whole    paid
    18 June     100,000    3,000.00      1,500.00    104,500.00   (1) 60 days before it is due
    18 July     200,000    2,000.00      1,500.00    203,500.00   (2) 30 days before it is due

           client free USD                       principal                   fees receivable
    (f)            | 300,000.00       (f) 300,000.00 |               (1)  1,500.00 |  1,500.00
    (w)            |   8,000.00       (1)            | 100,000.00    (2)  1,500.00 |  1,500.00
    (1) 104,500.00 |                  (2)            | 200,000.00    --------------+----------
    (2) 203,500.00 |                      -----------+-----------                0 |
        -----------+-----------                    0 |
                 0 |

The desk has earned 5,000.00 of interest and 3,000.00 of make-whole. If the second is waived, its 1,500.00 are the
client's again. If (1) was none, (2) has to pay 6,000.00 of interest, and pays with the rest what principal it can:
196,029.77, which costs 1,470.23.
"""

from decimal import Decimal

import pytest
from django.db import DatabaseError, transaction

from lending import approvals, corrections, interest, loans, prepayments, replays, waivers
from lending.engine.chart import Category
from lending.models import Correction, Loan, LoanState, Posting
from otc import pnl
from tests.factories import lending as make
from tests.worked_examples.story import DAY, FUNDED, D, Story

pytestmark = pytest.mark.django_db

FIRST, SECOND = FUNDED + 30 * DAY, FUNDED + 60 * DAY


class Early(Story):
    """One loan that is paid early, and what that costs."""

    def __init__(self, *, kind: str = "interest", rate: str = "0.03", more: str = "8000") -> None:
        self.product = make.ProductFactory(
            code=f"early-{kind}", origination_fee=D(0), prepayment=kind, prepayment_rate=D(rate)
        )
        super().__init__(
            make.active_loan(now=FUNDED, days=90, principal="300000", annual_rate="0.12", product=self.product)
        )
        make.give(self.loan.client, "USD", more, now=FUNDED)

    def income(self) -> Decimal:
        """Return what prepayments of the loan have earned."""
        return -sum(
            Posting.objects.filter(loan=self.loan, category=Category.MAKE_WHOLE).values_list("amount", flat=True)
        )

    def parts(self) -> list[tuple[Decimal, ...]]:
        """Return principal, interest, make-whole and surplus of each payment as it stands."""
        rows = replays.standing(self.loan)
        found = replays.parts_now(rows)
        return [(p.principal, p.interest, p.make_whole, p.surplus) for p in (found[row.pk] for row in rows)]


def test_paid_in_two_parts_before_its_time() -> None:
    story = Early()
    closing = prepayments.paid_off(story.read(), interest.payoff(story.loan, now=FIRST))[0]
    assert (closing.owed.total, closing.make_whole, closing.total) == (D(303_000), D(4_500), D(307_500))
    quoted = prepayments.foreseen(story.loan, D(104_500), closing)
    assert (quoted.interest, quoted.principal, quoted.make_whole, quoted.surplus) == (3_000, 100_000, 1_500, 0)

    first = story.pays("104500", on=FIRST)
    assert (first.interest, first.principal, first.make_whole, first.prepays) == (3_000, 100_000, 1_500, True)
    assert story.t() == {
        "custody": D(608_000), "principal": D(200_000), "free": D(-203_500), "income": D(-4_500),
    }  # fmt: skip
    assert story.pays("104500", on=FIRST) == first  # by the same key once

    assert prepayments.paid_off(story.read(), interest.payoff(story.loan, now=SECOND))[0].total == D(203_500)
    story.pays("203500", on=SECOND)
    assert (story.read().state, story.t()) == (LoanState.REPAID, {"custody": D(608_000), "income": D(-8_000)})
    explained = pnl.explain(None, FUNDED, SECOND + DAY)
    assert (explained.lines["make_whole"], explained.lines["interest"]) == (D(3_000), D(5_000))
    assert (explained.total, explained.residual) == (D(8_000), D(0))
    assert prepayments.paid_off(story.loan, interest.payoff(story.loan, now=SECOND))[0].total == 0


def test_a_payment_that_was_none_and_one_that_nobody_recorded() -> None:
    """What followed is worked out anew, make-whole and all, and only differences are posted."""
    story = Early()
    first = story.pays("104500", on=FIRST)
    story.pays("203500", on=SECOND)
    now = story.now = SECOND + DAY
    asked = corrections.ask_reversal(
        first, cause=Correction.Cause.WRONG, reason="another's wire", maker=story.olga, now=now
    )  # fmt: skip
    story.agreed(asked)
    assert story.loan.state == LoanState.ACTIVE
    assert story.parts() == [(D("196029.77"), D(6_000), D("1470.23"), D(0))]
    assert story.t() == {
        "custody": D(608_000), "principal": D("103970.23"), "free": D(-104_500), "income": D("-7470.23"),
    }  # fmt: skip
    assert story.income() == D("1470.23")

    asked = corrections.ask_payment(
        story.loan, D(104_500), received_at=FIRST, reason="it was theirs", maker=story.olga, now=now
    )  # fmt: skip
    ((found, plan),) = corrections.foreseen(asked)
    assert (found, plan.added.make_whole) == (story.loan, 1_500)
    story.agreed(asked)
    assert story.parts() == [(D(100_000), D(3_000), D(1_500), D(0)), (D(200_000), D(2_000), D(1_500), D(0))]
    assert story.t() == {"custody": D(608_000), "income": D(-8_000)}
    assert (story.loan.state, story.income()) == (LoanState.REPAID, D(3_000))
    assert story.loan.interest_posted == 5_000


def test_two_persons_waive_what_it_cost_or_nobody_does() -> None:
    story = Early()
    first = story.pays("104500", on=FIRST)
    second = story.pays("203500", on=SECOND)
    now = story.now = SECOND + DAY
    asked = waivers.ask(second, reason="they stay with us", maker=story.olga, now=now)
    with pytest.raises(corrections.UnableToCorrect, match="asked about this payment already"):
        waivers.ask(second, reason="again", maker=story.olga, now=now)
    with pytest.raises(approvals.UnableToApprove, match="made this request and can not decide it"):
        approvals.decide(asked, checker=story.olga, approve=True, now=now)
    story.agreed(asked)
    assert story.parts()[1] == (D(200_000), D(2_000), D(0), D(1_500))
    assert story.t() == {"custody": D(608_000), "free": D(-1_500), "income": D(-6_500)}
    assert story.income() == D(1_500)
    row = Correction.objects.get()
    assert (row.kind, row.maker, row.checker, row.interest) == ("waiver", story.olga, story.head, 0)
    with pytest.raises(corrections.UnableToCorrect, match="it was waived already"):
        waivers.ask(second, reason="again", maker=story.olga, now=now)
    with pytest.raises(corrections.UnableToCorrect, match="say how it is known"):
        waivers.ask(first, reason=" ", maker=story.olga, now=now)

    # Of the first one the waived part pays principal on 18 June, which bears no interest from then on.
    story.agreed(waivers.ask(first, reason="they stay with us", maker=story.olga, now=now))
    assert story.parts() == [(D(101_500), D(3_000), D(0), D(0)), (D(198_500), D("1985.00"), D(0), D("3015.00"))]
    assert story.t() == {"custody": D(608_000), "free": D(-3_015), "income": D(-4_985)}
    assert story.income() == D(0)
    with pytest.raises(DatabaseError, match="payment_taken_back_by_two_persons"), transaction.atomic():
        Correction.objects.create(
            client=row.client, loan=row.loan, kind="waiver", cause="waived", repayment=first, reason="alone",
            effective_at=now, recorded_at=now, interest=D(0),
        )  # fmt: skip
    # A loan without the term costs nothing, and has nothing to waive.
    plain = Early(kind="", rate="0")
    free = plain.pays("104500", on=FIRST)
    assert (free.principal, free.make_whole, free.prepays) == (101_500, 0, False)
    with pytest.raises(corrections.UnableToCorrect, match="cost nothing that could be waived"):
        waivers.ask(free, reason="they asked", maker=plain.olga, now=now)


@pytest.mark.parametrize("when", ["within five days of its end", "once it is due", "out of a sale", "in default"])
def test_what_costs_nothing(when: str) -> None:
    story = Early(kind="share", rate="0.02")
    end = FUNDED + 90 * DAY
    if when == "out of a sale":
        loan, at = story.read(), FIRST
        loans.transition(loan, LoanState.LIQUIDATING, actor=None, cause="a sale", now=at)
        row = story.pays("104500", on=at)
    elif when == "in default":
        loan, at = story.read(), FIRST
        loans.transition(loan, LoanState.DEFAULTED, actor=None, cause="interest", now=at, default_at=at)
        row = story.pays("104500", on=at)
    else:
        row = story.pays("104500", on=end if when == "once it is due" else end - 5 * DAY)
    assert row.make_whole == 0
    assert row.principal + row.interest == 104_500
    early = Early(kind="share", rate="0.02")
    assert early.pays("105040", on=FIRST).make_whole == D("2000.79")  # 2 % of 100,039.21, up


def test_the_database_keeps_the_terms_that_were_agreed() -> None:
    story = Early()
    for change in ({"prepayment_rate": D("0.01")}, {"prepayment": "share"}, {"prepayment": ""}):
        with pytest.raises(DatabaseError, match="a loan runs by its term sheet"), transaction.atomic():
            Loan.objects.filter(pk=story.loan.pk).update(**change)
    for wrong in ({"prepayment": "share", "prepayment_rate": 0}, {"prepayment": "", "prepayment_rate": D("0.1")}):
        with pytest.raises(DatabaseError, match="product_prepayment_of_a_fixed_term"), transaction.atomic():
            type(story.product).objects.filter(pk=story.product.pk).update(**wrong)
